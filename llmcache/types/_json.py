"""JSON values that nobody can change: what the value types hold inside."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping
from typing import Any, Final, TypeAlias

__all__ = ["FrozenDict", "Json", "decimal_text", "freeze", "thaw"]

Json: TypeAlias = Any
"""Any JSON value: None, bool, int, float, str, list of them, dict from str to them."""


_SCALARS: Final = frozenset({str, int, float, bool, type(None)})


class FrozenDict(Mapping[str, Json]):
    """A JSON object that cannot be changed; hashable, equal to any mapping with the same items."""

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, Json] | None = None) -> None:
        """Freeze `items` and everything inside them."""
        self._items: dict[str, Json] = {k: freeze(v) for k, v in (items or {}).items()}

    def __getitem__(self, key: str) -> Json:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def items(self) -> ItemsView[str, Json]:
        """Return the items in their original order."""
        return self._items.items()

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        return f"FrozenDict({self._items!r})"

    def __reduce__(self) -> tuple[type[FrozenDict], tuple[dict[str, Json]]]:
        return type(self), (self._items,)


def freeze(value: Json) -> Json:
    """Return `value` with every dict a `FrozenDict` and every list a tuple."""
    if isinstance(value, FrozenDict):
        return value
    if isinstance(value, Mapping):
        return FrozenDict(value)
    if isinstance(value, list | tuple):
        return tuple(freeze(item) for item in value)
    return value


def thaw(value: Json) -> Json:
    """Return a fresh plain copy: dicts and lists that the caller may change."""
    # By far the most are one of these, and to ask an abstract class costs as much as ten of them.
    if type(value) in _SCALARS:
        return value
    if isinstance(value, dict | Mapping):
        return {key: thaw(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [thaw(item) for item in value]
    return value


def decimal_text(value: object) -> str | None:
    """Return a money amount as JSON text (exact, no exponent), `None` when it is unknown."""
    return None if value is None else format(value, "f")
