"""Pieces of JSON, added up to the whole that a server cut them from.

The rule is the official SDK's (openai-python `lib/streaming/_deltas.py`): text is
appended, objects are merged, list items meet by their `index`. A piece costs its
own length, however long the whole has grown; `joined` puts everything together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from ..types._json import Json
from .growing_text import GrowingText

__all__ = ["joined", "merge", "merge_logprobs"]

# Fields that chunks repeat: the last one holds, where others are appended.
_REPEATED: Final = frozenset({"role", "type", "id", "name", "index", "channel", "format"})


class _Items(list[Any]):
    """Items that meet by their `index`; those without one are appended."""

    def __init__(self, items: Iterable[Any]) -> None:
        super().__init__(items)
        self._places: dict[Any, dict[str, Any]] = {}
        for item in self:
            index = item.get("index") if isinstance(item, dict) else None
            if index is not None:
                self._places.setdefault(index, item)

    def meet(self, more: Iterable[Any]) -> None:
        """Add `more` to the items that are there."""
        for item in more:
            index = item.get("index") if isinstance(item, dict) else None
            known = item if index is None else self._places.setdefault(index, item)
            if known is item:
                self.append(item)
            else:
                merge(known, item)


def merge(held: dict[str, Any], delta: Mapping[str, Any]) -> None:
    """Add `delta` to `held`, which takes its lists and objects over."""
    for name, value in delta.items():
        known = held.get(name)
        if isinstance(known, GrowingText) and isinstance(value, str):
            known.add(value)
        elif value is None:
            held.setdefault(name, None)
        elif known is None:
            held[name] = value
        elif name in _REPEATED:
            held[name] = value or known
        elif isinstance(known, str) and isinstance(value, str):
            # Appending strings is quadratic in a long answer.
            text = held[name] = GrowingText(known)
            text.add(value)
        elif isinstance(known, dict) and isinstance(value, dict):
            merge(known, value)
        elif name == "content":
            parts = held[name] = _as_parts(known)
            parts.extend(_as_parts(value))
        elif isinstance(known, list) and isinstance(value, list):
            items = known if isinstance(known, _Items) else _Items(known)
            items.meet(value)
            held[name] = items
        else:
            held[name] = value


def _as_parts(content: Any) -> list[Any]:
    if isinstance(content, list):
        return content
    return [{"type": "text", "text": content}]


def merge_logprobs(held: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Add `more` to `held`: lists of tokens are appended, whatever index the tokens have."""
    for name, value in more.items():
        known = held.get(name)
        if known is None:
            held[name] = value
        elif isinstance(known, list) and isinstance(value, list):
            known.extend(value)


def joined(value: Json) -> Json:
    """Return a copy of what was merged, with every text in one piece."""
    if isinstance(value, GrowingText):
        return str(value)
    if isinstance(value, dict):
        return {name: joined(item) for name, item in value.items()}
    if isinstance(value, list):
        return [joined(item) for item in value]
    return value
