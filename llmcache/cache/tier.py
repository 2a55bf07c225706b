"""The tier in this process's memory: decoded answers, least recently used first to go."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable
from decimal import Decimal, InvalidOperation
from typing import Final, NamedTuple

from ..types import CacheEntry, CompletionResult, Usage

__all__ = ["Held", "MemoryTier", "Place"]

Place = tuple[str, str]
"""Collection and key."""

# What the containers of one entry cost beside its texts and bytes: the objects, their slots
# and dicts, the place and its slot in the table. Measured with tracemalloc on CPython 3.11
# to 3.13 (`tests/cache/test_tier.py` holds the sum to the ceiling).
_OVERHEAD: Final = 2_048
_PER_EVENT: Final = 200
_PER_CALL: Final = 500
_LARGEST_COST: Final = 10**9


class Held(NamedTuple):
    """An entry with its parsed answer. Shared by every hit, so it never changes.

    `result` is `None` for entries that are not completions (vectors).
    """

    entry: CacheEntry
    result: CompletionResult | None
    cost: Decimal | None
    collection: str

    @classmethod
    def of(cls, entry: CacheEntry, result: CompletionResult | None, collection: str) -> Held:
        """Return an entry with its answer."""
        cost = None if entry.cost is None else _amount(entry.cost)
        held = cls(entry, result, cost, collection)
        if entry.price_list is None or result is None or result.usage is None:
            return held
        usage = held.at_cost(result.usage)
        return held if usage is None else held._replace(result=result.with_usage(usage))

    def at_cost(self, usage: Usage | None) -> Usage | None:
        """Return `usage` with the costs that were stored with it: price lists change."""
        price_list, cost, stated = self.entry.price_list, self.cost, self.entry.input_cost
        if usage is None or usage.total_cost is not None or price_list is None or cost is None:
            return usage
        return usage.with_costs(cost, None if stated is None else _amount(stated), price_list)

    @property
    def size(self) -> int:
        """Estimated bytes of memory."""
        entry = self.entry
        size = _OVERHEAD + len(entry.identity) + len(entry.recording.body or b"")
        for event in entry.recording.events or ():
            size += _PER_EVENT + len(event.data)
        if self.result is not None:
            size += _result_size(self.result)
        return size


def _amount(text: str) -> Decimal | None:
    """Return an amount of money; `None` for what would spoil the sum of what hits spare."""
    try:
        amount = Decimal(text)
        return amount if abs(amount) < _LARGEST_COST else None
    except InvalidOperation:  # no number, or NaN, which compares with none
        return None


def _result_size(result: CompletionResult) -> int:
    texts = (result.content, result.reasoning, result.refusal)
    size = sum(sys.getsizeof(text) for text in texts if text)
    for call in result.tool_calls or ():
        size += _PER_CALL + 2 * len(call.arguments)
    if result.choices or result.logprobs or result.extra:
        # Frozen copies of parsed JSON: some ten times their text.
        size += 10 * len(result.raw_json or b"")
    if result.raw_json is not None:
        size += len(result.raw_json)
    return size


class MemoryTier:
    """A map from place to answer with a ceiling in bytes. Plain and synchronous: used on one loop."""

    def __init__(self, max_bytes: int) -> None:
        """Hold at most `max_bytes`; 0 turns the tier off."""
        self.max_bytes = max_bytes
        self.bytes = 0
        self._held: OrderedDict[Place, tuple[Held, int]] = OrderedDict()

    def __contains__(self, place: Place) -> bool:
        """Return whether an answer is held."""
        return place in self._held

    def __len__(self) -> int:
        """Return the number of answers held."""
        return len(self._held)

    def get(self, place: Place) -> Held | None:
        """Return what is held at `place`, and make it the last to go."""
        found = self._held.get(place)
        if found is None:
            return None
        self._held.move_to_end(place)
        return found[0]

    def put(self, place: Place, held: Held) -> bool:
        """Hold an answer; the least recently used make room. Return whether it fits at all."""
        if not self.max_bytes:
            return False
        size = held.size
        self.discard(place)
        if size > self.max_bytes:
            return False
        self._held[place] = (held, size)
        self.bytes += size
        while self.bytes > self.max_bytes:
            _, (_, freed) = self._held.popitem(last=False)
            self.bytes -= freed
        return True

    def fits(self, size: int) -> bool:
        """Return whether `size` more bytes fit without anything having to go."""
        return self.bytes + size <= self.max_bytes

    def discard(self, place: Place) -> None:
        """Forget one answer."""
        found = self._held.pop(place, None)
        if found is not None:
            self.bytes -= found[1]

    def forget(self, which: Callable[[str, CacheEntry], bool]) -> None:
        """Forget every answer for whose collection and entry `which` holds."""
        chosen = [p for p, (held, _) in self._held.items() if which(p[0], held.entry)]
        for place in chosen:
            self.discard(place)

    def places(self) -> Iterable[Place]:
        """Return the places held, least recently used first."""
        return list(self._held)
