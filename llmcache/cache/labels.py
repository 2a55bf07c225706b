"""From what is stored or made to what the caller gets: the result, labelled, and counted."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial

from ..types import CacheEntry, CacheInfo, CompletionResult
from .control import Control
from .savings import CacheStats
from .store import Store
from .tier import Held

__all__ = ["Answer", "Labels"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a flight brings home.

    `info` is the leader's. `found` is set when another process made the answer
    while this one waited; then nobody here paid for it.
    """

    result: CompletionResult
    info: CacheInfo
    duration: float | None = None
    cost: Decimal | None = None
    found: Held | None = None


class Labels:
    """Says of every answer of one cache where it came from, and counts them."""

    def __init__(self, store: Store) -> None:
        """Start counting at zero."""
        self.counters = CacheStats()
        self._store = store

    def hit(
        self,
        held: Held,
        control: Control,
        tier: str,
        *,
        stale: bool = False,
        reason: str | None = None,
    ) -> CompletionResult:
        """Return a stored answer."""
        entry = held.entry
        counters = self.counters
        counters.hits += 1
        counters.memory_hits += tier == "memory"
        counters.stale_hits += stale
        counters.spare(entry.duration, held.cost)
        info = CacheInfo.of(
            status="hit",
            key=entry.key,
            collection=control.collection,
            sample=control.sample,
            tier=tier,
            age=max(0.0, time.time() + self._store.coherence.ahead - entry.created_at),
            stale=stale,
            saved_seconds=entry.duration,
            saved_cost=held.cost,
            stored=True,
            reason=reason,
            items_hit=1,
            _reject=partial(self.reject, control.collection, entry),
        )
        if held.result is None:
            msg = f"{entry.key} holds no completion"
            raise TypeError(msg)
        return held.result.with_cache(info)

    def landed(self, answer: Answer, control: Control, *, joined: bool) -> CompletionResult:
        """Return a flight's answer: as its leader's, or as that of one who joined it."""
        if answer.found is not None:
            return self.hit(answer.found, control, "flight" if joined else "backend")
        if not joined:
            return answer.result.with_cache(answer.info)
        self.counters.hits += 1
        self.counters.shared += 1
        self.counters.spare(answer.duration, answer.cost)
        info = replace(
            answer.info,
            status="hit",
            tier="flight",
            age=0.0,
            saved_seconds=answer.duration,
            saved_cost=answer.cost,
            items_hit=1,
        )
        return answer.result.with_cache(info)

    def bypassed(self, result: CompletionResult, reason: str) -> CompletionResult:
        """Return the answer of a call that the cache took no part in."""
        self.counters.bypassed += 1
        return result.with_cache(CacheInfo("bypass", reason=reason))

    async def reject(self, collection: str, entry: CacheEntry) -> bool:
        """Remove `entry`, unless another answer has taken its place; return whether it was there.

        Raises:
            BackendError: the store failed; the answer may still be there.
        """
        await self._store.written()
        found = (await self._store.fetch(collection, [entry.key])).get(entry.key)
        if isinstance(found, CacheEntry) and found.created_at != entry.created_at:
            return False
        return bool(await self._store.remove(collection, [entry.key]))
