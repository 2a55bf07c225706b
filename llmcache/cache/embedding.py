"""Embeddings on the one path: each input is an entry, one call makes all that are missing."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from ..errors import CacheMissError
from ..keys.canonical import digest
from ..providers.base import EmbedCall
from ..types import CacheEntry, CacheInfo, EmbeddingResult, Usage
from .admission import Freshness, freshness
from .control import CachePolicy, Control
from .delivery import Delivery
from .flight import Flight, Flights
from .guard import Budget
from .making import Facts, make_entry
from .savings import price
from .store import Store
from .tier import Held
from .turn import turn

__all__ = ["Embedder"]

_Found = dict[str, Held]
_Parsed = tuple[tuple[float, ...], Usage | None, str | None]
_Place = TypeVar("_Place", str, int)


@dataclass(frozen=True, slots=True)
class _Batch:
    """The vectors a flight made or found, by key."""

    vectors: _Found
    made: int
    stored: bool
    reason: str | None


class Embedder:
    """Answers embedding calls from a store, and the rest from their provider."""

    def __init__(
        self,
        store: Store,
        policy: CachePolicy,
        delivery: Delivery,
        flights: Flights,
        *,
        deadline: float,
        flight_timeout: float,
    ) -> None:
        """Arguments as the manager's."""
        self._store = store
        self._policy = policy
        self._delivery = delivery
        self._flights = flights
        self._deadline = deadline
        self._flight_timeout = flight_timeout

    async def embed(self, call: EmbedCall, control: Control) -> EmbeddingResult:
        """Return a vector per input; a list that is half known sends only the other half.

        Raises:
            InvalidRequestError, CacheMissError, ProviderError: as for completions.
        """
        call = call.snapshot()  # others run meanwhile, and may change what they passed in
        if not control.reads and not control.writes:
            recordings = await call.send(range(len(call.requests)))
            self._delivery.counters.bypassed += 1
            info = CacheInfo("bypass", reason="cache_response=False", items=len(recordings))
            parsed = dict(enumerate(map(call.parse, recordings)))
            return _result(parsed, range(len(recordings)), info)
        keys = [request.key(control.sample) for request in call.requests]
        budget = Budget(self._deadline)
        found = await self._read(call, control, keys, budget) if control.reads else {}
        missing = [key for key in dict.fromkeys(keys) if key not in found]
        batch = _Batch({}, 0, stored=True, reason=None)
        joined = False
        if missing:
            if not control.calls:
                raise CacheMissError(missing[0], collection=control.collection)
            batch, joined = await self._fly(call, control, keys, missing, budget)
        vectors = {**found, **batch.vectors}
        known = sum(key in found for key in keys) if batch.made and not joined else len(keys)
        self._count(batch, vectors, known, len(keys))
        info = CacheInfo(
            "miss" if batch.made and not joined else "hit",
            keys[0] if len(keys) == 1 else None,
            control.collection,
            control.sample,
            tier="flight" if joined else None if batch.made else "backend",
            stored=batch.stored,
            reason=batch.reason,
            items=len(keys),
            items_hit=known,
            _reject=partial(self._reject, control.collection, [vectors[k].entry for k in keys]),
        )
        said = {key: call.parse(held.entry.recording) for key, held in vectors.items()}
        return _result(said, keys, info)

    async def _fly(
        self,
        call: EmbedCall,
        control: Control,
        keys: Sequence[str],
        missing: Sequence[str],
        budget: Budget,
    ) -> tuple[_Batch, bool]:
        """Make the missing vectors, together with whoever misses the same ones now."""
        name = "embed:" + digest("\n".join(missing).encode())
        place = (control.collection, name) if control.is_plain else None
        flight = self._flights.find(place)
        joined = flight is not None
        if flight is None:
            flight = Flight[_Batch]()
            indices = {key: keys.index(key) for key in missing}
            work = partial(self._lead, flight, call, control, indices, name, budget)
            self._flights.start(place, flight, work)
        return await flight.join(), joined

    async def _lead(
        self,
        flight: Flight[_Batch],
        call: EmbedCall,
        control: Control,
        indices: Mapping[str, int],
        name: str,
        budget: Budget,
    ) -> _Batch:
        async with self._turn(control, name, budget):
            found: _Found = {}
            if control.is_plain:
                found = await self._read(call, control, list(indices), budget)
            wanted = {key: index for key, index in indices.items() if key not in found}
            if not wanted:
                return _Batch(found, 0, stored=True, reason=None)
            started = time.monotonic()
            recordings = await call.send(list(wanted.values()))
            duration = (time.monotonic() - started) / len(wanted)
            flight.answered = True
            made: _Found = {}
            for (key, index), recording in zip(wanted.items(), recordings, strict=True):
                _, usage, model = call.parse(recording)
                cost = await price(usage, call.provider, model)
                facts = Facts(recording, model, duration, cost)
                entry = make_entry(call.requests[index], control, key, facts, self._policy)
                made[key] = Held(entry, None, cost, control.collection)
            reason = await self._store.write(control.collection, list(made.values()), budget)
            return _Batch({**found, **made}, len(made), stored=reason is None, reason=reason)

    def _turn(
        self, control: Control, name: str, budget: Budget
    ) -> AbstractAsyncContextManager[Held | None]:
        """Hold the right to make this very list; lists that overlap otherwise do not wait."""
        if not control.is_plain:
            return nullcontext()
        place = (control.collection, name)
        return turn(self._store, place, budget, patience=self._flight_timeout)

    async def _read(
        self, call: EmbedCall, control: Control, keys: Sequence[str], budget: Budget
    ) -> _Found:
        """Return the fresh vectors among `keys`, from memory and then from the backend."""
        found: _Found = {}
        now = time.time()
        for key in keys:
            held = self._store.held(control.collection, key)
            if held is not None and freshness(held.entry, control, now) is Freshness.FRESH:
                found[key] = held
        rest = [key for key in dict.fromkeys(keys) if key not in found]

        def check(entry: CacheEntry) -> None:
            call.parse(entry.recording)

        if rest:
            read = await self._store.read(control.collection, rest, check, budget)
            for key, held in read.items():
                if freshness(held.entry, control, now) is Freshness.FRESH:
                    found[key] = held
        return found

    def _count(self, batch: _Batch, vectors: _Found, known: int, asked: int) -> None:
        counters = self._delivery.counters
        counters.hits += known
        counters.misses += asked - known
        counters.stored += batch.made if batch.stored else 0
        made = set(batch.vectors) if batch.made else set()
        for key, held in vectors.items():
            if key not in made:
                counters.spare(held.entry.duration, held.cost)

    async def _reject(self, collection: str, entries: Sequence[CacheEntry]) -> bool:
        removed = [await self._delivery.reject(collection, entry) for entry in entries]
        return any(removed)


def _result(
    parsed: Mapping[_Place, _Parsed], order: Sequence[_Place], info: CacheInfo
) -> EmbeddingResult:
    """Return the vectors in `order`; what is in it twice was paid once."""
    usages = [usage for _, usage, _ in parsed.values() if usage is not None]
    return EmbeddingResult(
        embeddings=tuple(parsed[place][0] for place in order),
        usage=Usage.sum(usages) if usages else None,
        model=next((model for _, _, model in parsed.values() if model), None),
        cache=info,
    )
