"""From what is stored or made to what the caller gets: the result, labelled, and counted."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial

from ..errors import ProviderError
from ..prices import priced
from ..providers.base import Call
from ..streaming.events import result_events
from ..types import CacheEntry, CacheInfo, CompletionResult, StreamEvent, StreamEventType
from .control import Control
from .flight import Flight, StreamFlight
from .recording import live
from .savings import CacheStats
from .store import Store
from .tier import Held

__all__ = ["Answer", "Labels", "events_of"]


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
        """Count where the store does."""
        self._counters = store.counters
        self._store = store

    @property
    def counters(self) -> CacheStats:
        """What the cache did so far."""
        return self._store.counted()

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
        counters = self._counters
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
        self._counters.hits += 1
        self._counters.shared += 1
        self._counters.spare(answer.duration, answer.cost)
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
        self._counters.bypassed += 1
        return result.with_cache(CacheInfo("bypass", reason=reason))

    async def live(self, call: Call, reason: str) -> AsyncGenerator[StreamEvent, None]:
        """Yield the events of a call that the cache takes no part in.

        Raises:
            ProviderError: the provider failed; an `ERROR` event comes before it.
        """
        try:
            async with contextlib.aclosing(live(call)) as events:
                async for event in events:
                    if event.type is StreamEventType.DONE:
                        result = await priced(event.data, call.dialect.provider)
                        event = replace(event, data=self.bypassed(result, reason))  # noqa: PLW2901 - the same, labelled
                    yield event
        except ProviderError as error:
            yield StreamEvent(StreamEventType.ERROR, {"status": error.status, "error": str(error)})
            raise

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


async def events_of(flight: Flight[Answer]) -> AsyncGenerator[StreamEvent, None]:
    """Yield the events of a flight; those of a whole answer when it is there."""
    if isinstance(flight, StreamFlight):
        async with contextlib.aclosing(flight.tail()) as events:
            async for event in events:
                yield event
    else:
        for event in result_events((await flight.join()).result):
            yield event
