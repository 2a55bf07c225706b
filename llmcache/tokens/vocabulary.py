"""Text into tokens, without a network: tiktoken's engine over the vocabularies of `bpe-openai`.

tiktoken would download its vocabularies; the wheel `bpe-openai` has the same files inside
(their hashes are compared with those in tiktoken's source).
"""

from __future__ import annotations

import base64
import functools
import gzip
import hashlib
import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

__all__ = ["text_counter", "vocabulary_of"]


class _Source(NamedTuple):
    """A vocabulary's file, the SHA-256 of its text, and what cuts a text into words."""

    file: str
    digest: str
    pattern: str


# Patterns and hashes: tiktoken `tiktoken_ext/openai_public.py`.
_O200K: Final = _Source(
    "o200k_base.tiktoken.gz",
    "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    "|".join(  # noqa: FLY002 - one alternative a line
        [
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
            r"\p{N}{1,3}",
            r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
            r"\s*[\r\n]+",
            r"\s+(?!\S)",
            r"\s+",
        ]
    ),
)
_CL100K: Final = _Source(
    "cl100k_base.tiktoken.gz",
    "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
)
_SOURCES: Final = {
    "cl100k_base": _CL100K,
    "o200k_base": _O200K,
    # The same words; it has more marks of its own, and text never contains a mark.
    "o200k_harmony": _O200K,
}


def vocabulary_of(model: Any) -> str | None:
    """Return the vocabulary that a model reads text with; `None` where that is not public.

    `model` is a profile, which says so itself, or a name, which tiktoken may know.
    """
    stated = getattr(model, "tokenizer", None)
    if stated is not None or not isinstance(model, str):
        return stated
    tiktoken = _tiktoken()
    if tiktoken is None:
        return None
    try:
        name: str = tiktoken.encoding_name_for_model(model.removeprefix("openai/"))
    except KeyError:
        return None
    return name


@functools.cache
def text_counter(vocabulary: str) -> Callable[[str], int] | None:
    """Return what counts the tokens of a text; `None` without the `tokens` extra.

    The first call for a vocabulary takes half a second and some 60 MB.
    """
    source, engine = _SOURCES.get(vocabulary), _tiktoken()
    ranks = None if source is None or engine is None else _ranks(source)
    if source is None or engine is None or ranks is None:
        return None
    # Without special tokens: what looks like one in a text is text, as it is to the API.
    encoding = engine.Encoding(
        vocabulary, pat_str=source.pattern, mergeable_ranks=ranks, special_tokens={}
    )

    def count(text: str) -> int:
        return len(encoding.encode_ordinary(text))

    return count


@functools.cache
def _tiktoken() -> Any:
    found = importlib.util.find_spec("tiktoken")
    return None if found is None else importlib.import_module("tiktoken")


def _ranks(source: _Source) -> dict[bytes, int] | None:
    """Return the vocabulary's tokens and their ranks; `None` where it is not, or not the same."""
    # Not imported: its own engine, of 74 MB, is not needed.
    found = importlib.util.find_spec("bpe_openai")
    for folder in (found and found.submodule_search_locations) or ():
        path = Path(folder, "data", source.file)
        if path.is_file():
            text = gzip.decompress(path.read_bytes())
            if hashlib.sha256(text).hexdigest() == source.digest:
                pairs = (line.split() for line in text.splitlines() if line)
                return {base64.b64decode(token): int(rank) for token, rank in pairs}
    return None
