"""The environment, read here and nowhere else."""

from __future__ import annotations

import os

__all__ = ["environment"]


def environment(name: str) -> str | None:
    """Return a variable's value, `None` when it is unset or blank."""
    return os.environ.get(name, "").strip() or None
