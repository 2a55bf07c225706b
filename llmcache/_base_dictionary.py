"""The compression dictionary that ships with the package.

It knows what answers of the supported APIs look like, so that the first entries
of a collection are already small. Trained on answers made up by
`benchmarks/make_base_dictionary.py`, not on anybody's traffic. Entries name it by
its hash: it may be joined by others, and is never changed.
"""

from __future__ import annotations

from importlib import resources

from .codec import Dictionary

__all__ = ["load"]


def load() -> Dictionary:
    """Return the shipped dictionary."""
    return Dictionary(resources.files("llmcache").joinpath("data/base.zdict").read_bytes())
