"""Fields of a request that its response repeats, and that another caller must not read there.

`user`, `metadata` and the like do not count in the key: two callers who differ in
nothing else share an answer. What the response repeats of them is the first caller's.
On a hit these values become the present caller's; every other byte stays as it came.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import orjson

from ..types import CompletionResult
from ..types._json import Json

__all__ = ["members", "readdressed"]

# What names a caller: absent means that nothing was said, whoever recorded the answer.
_NAMES: Final[Mapping[str, Json]] = {
    "metadata": {},
    "prompt_cache_key": None,
    "safety_identifier": None,
    "user": None,
}
# What a server fills in when the caller says nothing: only what was said replaces it.
_SETTINGS: Final = ("prompt_cache_options", "prompt_cache_retention")
_SPACE: Final = " \t\n\r"
_DECODER: Final = json.JSONDecoder()


def readdressed(result: CompletionResult, body: Mapping[str, Json]) -> CompletionResult:
    """Return a stored answer as one to `body`: itself, unless it repeats another caller's fields."""
    raw = result.raw_json
    if raw is None:
        return result
    told: Any = orjson.loads(raw)
    changed = {
        name: value for name, value in _said(body).items() if name in told and told[name] != value
    }
    for name, nothing in _NAMES.items():
        if name in changed and not changed[name] and not told[name]:
            del changed[name]  # null and {} both say nothing
        elif name in changed and changed[name] is None:
            changed[name] = nothing
    if not changed:
        return result
    return replace(result, raw_json=_spliced(raw, changed))


def _said(body: Mapping[str, Json]) -> dict[str, Json]:
    said = {name: body.get(name) for name in _NAMES}
    said.update({name: body[name] for name in _SETTINGS if body.get(name) is not None})
    return said


def _spliced(raw: bytes, values: Mapping[str, Json]) -> bytes:
    """Return a JSON object's text with other values for some of its members."""
    text = raw.decode()
    pieces, done = [], 0
    for name, start, end in members(text):
        if name in values:
            pieces += [text[done:start], json.dumps(values[name], ensure_ascii=False)]
            done = end
    return "".join([*pieces, text[done:]]).encode()


def members(text: str) -> Iterator[tuple[str, int, int]]:
    """Yield name, start and end of each member's value of the JSON object that `text` is.

    Raises:
        ValueError: it is no JSON object.
    """
    at = _after_space(text, 0)
    if text[at : at + 1] != "{":
        msg = "not a JSON object"
        raise ValueError(msg)
    at = _after_space(text, at + 1)
    while text[at : at + 1] == '"':
        name, at = _DECODER.raw_decode(text, at)
        start = _after_space(text, _after_space(text, at) + 1)
        _, end = _DECODER.raw_decode(text, start)
        yield name, start, end
        at = _after_space(text, end)
        if text[at : at + 1] == ",":
            at = _after_space(text, at + 1)


def _after_space(text: str, at: int) -> int:
    while at < len(text) and text[at] in _SPACE:
        at += 1
    return at
