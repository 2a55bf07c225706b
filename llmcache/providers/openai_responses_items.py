"""Output items of a streamed response, for servers whose last event leaves them out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..types._json import Json
from .growing_text import GrowingText

__all__ = ["Items"]

# Where the text of a delta belongs: the field of the item, or the list of parts and their type.
_FIELDS: Final = {
    "response.function_call_arguments.delta": "arguments",
    "response.custom_tool_call_input.delta": "input",
}
_PARTS: Final = {
    "response.output_text.delta": ("content", "content_index", "output_text", "text"),
    "response.refusal.delta": ("content", "content_index", "refusal", "refusal"),
    "response.reasoning_text.delta": ("content", "content_index", "reasoning_text", "text"),
    "response.reasoning_summary_text.delta": ("summary", "summary_index", "summary_text", "text"),
}
_Place = tuple[str, int]


class Items:
    """The items so far; the text of one that is not finished is kept in pieces."""

    def __init__(self) -> None:
        self._items: dict[int, Mapping[str, Any]] = {}
        self._pieces: dict[int, dict[_Place, tuple[str, GrowingText]]] = {}

    @property
    def are_none(self) -> bool:
        """Whether nothing was sent."""
        return not (self._items or self._pieces)

    def add(self, place: int, item: Mapping[str, Any]) -> None:
        """Note an item that begins.

        Raises:
            TypeError: `place` is no number, or `item` no object.
        """
        if type(place) is not int or not isinstance(item, Mapping):
            msg = f"{place!r} is no place of an item"
            raise TypeError(msg)
        self._items[place] = item

    def close(self, place: int, item: Mapping[str, Any]) -> bool:
        """Note a finished item; return whether its beginning was seen."""
        known = place in self._items
        self.add(place, item)
        self._pieces.pop(place, None)
        return known

    def grow(self, told: Mapping[str, Any]) -> str:
        """Keep the text of a delta, and return it.

        Raises:
            KeyError, TypeError: it has none, or no place.
        """
        kind, text, place = told["type"], told["delta"], told["output_index"]
        if type(text) is not str or type(place) is not int:
            msg = "a delta without text and place"
            raise TypeError(msg)
        field = _FIELDS.get(kind)
        if field is not None:
            part = (field, 0)
        else:
            holder, index, _, _ = _PARTS[kind]
            part = (holder, told.get(index) or 0)
        parts = self._pieces.setdefault(place, {})
        if part not in parts:
            parts[part] = (kind, GrowingText())
        parts[part][1].add(text)
        return text

    def whole(self) -> list[Json]:
        """Return the items in order, with what arrived of those that were not finished."""
        return [self._item(place) for place in sorted(self._items)]

    def _item(self, place: int) -> Json:
        item = dict(self._items[place])
        for (holder, _), (kind, pieces) in sorted(self._pieces.get(place, {}).items()):
            text = str(pieces)
            if kind in _FIELDS:
                item[holder] = (item.get(holder) or "") + text
            else:
                _, _, part, word = _PARTS[kind]
                item[holder] = [*(item.get(holder) or ()), {"type": part, word: text}]
        return item
