"""Embeddings on the one path: each input is an entry, one call makes all that are missing."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import NamedTuple, TypeVar

from ..errors import CacheMissError, InvalidRequestError, LLMCacheError, ProviderError
from ..keys.canonical import digest
from ..prices import priced_usage
from ..providers.base import EmbedCall, Terms, terms_of
from ..types import CacheEntry, CacheInfo, EmbeddingResult, Usage
from . import inspection
from .admission import Freshness, freshness
from .control import CachePolicy, Control
from .flight import Flight, Flights
from .guard import Budget
from .labels import Labels
from .making import Facts, make_entry
from .store import Store
from .tier import Held
from .turn import Turn, aside, turn

__all__ = ["Embedder"]

_Parsed = tuple[tuple[float, ...], Usage | None, str | None]
_Place = TypeVar("_Place", str, int)


class _Vector(NamedTuple):
    """A vector, where it was found (`None`: made for this call), and what it may be used for."""

    held: Held
    tier: str | None = None
    state: Freshness = Freshness.FRESH


_Vectors = dict[str, _Vector]


@dataclass(frozen=True, slots=True)
class _Batch:
    """The vectors that answer a call, by key; `reason` says why they are not what they might be."""

    vectors: _Vectors
    stored: bool = True
    reason: str | None = None


class Embedder:
    """Answers embedding calls from a store, and the rest from their provider."""

    def __init__(
        self,
        store: Store,
        policy: CachePolicy,
        labels: Labels,
        flights: Flights,
        *,
        deadline: float,
        flight_timeout: float,
    ) -> None:
        """Arguments as the manager's."""
        self._store = store
        self._policy = policy
        self._labels = labels
        self._flights = flights
        self._deadline = deadline
        self._flight_timeout = flight_timeout

    async def embed(self, call: EmbedCall, control: Control) -> EmbeddingResult:
        """Return a vector per input; a list that is half known sends only the other half.

        Raises:
            InvalidRequestError, CacheMissError, ProviderError: as for completions.
        """
        _check_samples(control)
        call = call.snapshot()  # others run meanwhile, and may change what they passed in
        reason = _bypass_reason(call, control)
        if reason is not None:
            if not control.calls:
                key = call.requests[0].key(control.sample)
                raise CacheMissError(key, collection=control.collection, reason=reason)
            recordings = await call.send(range(len(call.requests)))
            self._labels.counters.bypassed += 1
            info = CacheInfo("bypass", reason=reason, items=len(recordings))
            bare: dict[int, _Parsed] = {}
            for index, recording in enumerate(recordings):
                vector, usage, model = call.parse(recording)
                usage = await priced_usage(usage or Usage(), call.provider, model)
                bare[index] = (vector, usage, model)
            return _result(bare, range(len(recordings)), info)
        keys = [request.key(control.sample) for request in call.requests]
        batch = await self._answered(call, control, keys, Budget(self._deadline))
        self._count(batch, keys)
        entries = [vector.held.entry for vector in batch.vectors.values()]
        info = _label(batch, keys, control, partial(self._reject, control.collection, entries))
        said: dict[str, _Parsed] = {}
        for key, each in batch.vectors.items():
            vector, usage, model = call.parse(each.held.entry.recording)
            said[key] = (vector, each.held.at_cost(usage), model)
        return _result(said, keys, info)

    async def _answered(
        self, call: EmbedCall, control: Control, keys: Sequence[str], budget: Budget
    ) -> _Batch:
        """Return a vector for every key: fresh ones, new ones, or what serves past its time."""
        known = await self._read(call, control, keys, budget) if control.reads else {}
        fresh = {k: vector for k, vector in known.items() if vector.state is Freshness.FRESH}
        wanted = [key for key in dict.fromkeys(keys) if key not in fresh]
        if not wanted:
            return _Batch(fresh)
        if not control.calls:
            request = call.requests[keys.index(wanted[0])]
            raise await inspection.offline_miss(self._store, request, control, wanted[0])
        flight, joined = self._flight(call, control, keys, wanted, budget)
        spare = {key: known[key] for key in wanted if key in known}
        if len(spare) == len(wanted) and all(
            vector.state is Freshness.REVALIDATE for vector in spare.values()
        ):
            # Nobody waits for this flight but the cache itself: nobody's leaving cancels it.
            flight.waiters += not joined
            return _Batch({**fresh, **spare})
        try:
            while True:
                try:
                    batch = await flight.join()
                    break
                except LLMCacheError as error:
                    if not joined or not flight.spares(error, call):
                        raise
                terms = terms_of(call)
                flight, joined = self._flight(call, control, keys, wanted, budget, terms)
        except ProviderError as error:
            if len(spare) < len(wanted):
                raise
            return _Batch({**fresh, **spare}, reason=f"provider: {error}")
        made = batch.vectors
        if joined:
            made = {key: vector._replace(tier="flight") for key, vector in made.items()}
        return _Batch({**fresh, **made}, batch.stored, batch.reason)

    def _flight(
        self,
        call: EmbedCall,
        control: Control,
        keys: Sequence[str],
        wanted: Sequence[str],
        budget: Budget,
        terms: Terms | None = None,
    ) -> tuple[Flight[_Batch], bool]:
        """Return the flight that makes these very vectors, and whether somebody else started it.

        `terms` are those of a call that was spared, and goes aside with its like.
        """
        name = "embed:" + digest("\n".join(wanted).encode())
        place = (control.collection, name) if control.is_plain else None
        running = self._flights.find(place, terms)
        if running is not None:
            return running, True
        flight = Flight[_Batch](call, terms)
        indices = {key: keys.index(key) for key in wanted}
        work = partial(self._lead, flight, call, control, indices, name, budget)
        self._flights.start(place, flight, work)
        return flight, False

    async def _lead(
        self,
        flight: Flight[_Batch],
        call: EmbedCall,
        control: Control,
        indices: Mapping[str, int],
        name: str,
        budget: Budget,
    ) -> _Batch:
        async with self._turn(flight, control, name, budget) as got:
            found: _Vectors = {}
            if control.is_plain:
                known = await self._read(call, control, list(indices), budget)
                found = {k: each for k, each in known.items() if each.state is Freshness.FRESH}
            wanted = {key: index for key, index in indices.items() if key not in found}
            if not wanted:
                return _Batch(found)
            started = time.monotonic()
            recordings = await call.send(list(wanted.values()))
            duration = (time.monotonic() - started) / len(wanted)
            flight.answered = True
            made: _Vectors = {}
            await self._store.meet(control.collection, budget)
            for (key, index), recording in zip(wanted.items(), recordings, strict=True):
                _, usage, model = call.parse(recording)
                usage = await priced_usage(usage or Usage(), call.provider, model)
                facts = Facts(recording, model, duration, usage)
                entry = make_entry(
                    call.requests[index], control, key, facts, self._policy, self._store.now()
                )
                made[key] = _Vector(Held(entry, None, usage.total_cost, control.collection))
            helds = [vector.held for vector in made.values()]
            reason = await self._store.write(control.collection, helds, budget, got.fence)
            return _Batch({**found, **made}, stored=reason is None, reason=reason)

    def _turn(
        self, flight: Flight[_Batch], control: Control, name: str, budget: Budget
    ) -> AbstractAsyncContextManager[Turn]:
        """Hold the right to make this very list; lists that overlap otherwise do not wait."""
        if not control.is_plain:
            return nullcontext(Turn())
        place = (control.collection, name)
        enter = aside if flight.is_aside else turn
        return enter(self._store, place, budget, term=self._flight_timeout)

    async def _read(
        self, call: EmbedCall, control: Control, keys: Sequence[str], budget: Budget
    ) -> _Vectors:
        """Return what memory and then the backend have among `keys`, but for what is of no use."""
        found: _Vectors = {}
        now = self._store.now()

        def note(key: str, held: Held, tier: str) -> None:
            state = freshness(held.entry, control, now)
            if state is not Freshness.EXPIRED:
                found[key] = _Vector(held, tier, state)

        def check(entry: CacheEntry) -> None:
            call.parse(entry.recording)

        unique = dict.fromkeys(keys)
        await self._store.confirm(control.collection, keys, budget)
        for key in unique:
            held = self._store.held(control.collection, key)
            if held is not None:
                note(key, held, "memory")
        # What is past its time in memory, another process may have made anew.
        rest = [k for k in unique if k not in found or found[k].state is not Freshness.FRESH]
        if rest:
            read = await self._store.read(control.collection, rest, check, budget)
            for key, held in read.items():
                note(key, held, "backend")
        return found

    def _count(self, batch: _Batch, keys: Sequence[str]) -> None:
        counters = self._labels.counters
        for key in keys:
            vector = batch.vectors[key]
            counters.hits += vector.tier is not None
            counters.memory_hits += vector.tier == "memory"
            counters.shared += vector.tier == "flight"
            counters.stale_hits += vector.state is not Freshness.FRESH
            counters.misses += vector.tier is None
        for vector in batch.vectors.values():
            if vector.tier is not None:
                counters.spare(vector.held.entry.duration, vector.held.cost)

    async def _reject(self, collection: str, entries: Sequence[CacheEntry]) -> bool:
        removed = [await self._labels.reject(collection, entry) for entry in entries]
        return any(removed)


def _bypass_reason(call: EmbedCall, control: Control) -> str | None:
    if not control.reads and not control.writes:
        return "cache_response=False"
    return call.requests[0].bypass()


def _check_samples(control: Control) -> None:
    """Refuse what makes several answers to one question: a vector has no others."""
    if control.adds_sample:
        raise InvalidRequestError(
            "regen_cache", "embeddings have no further samples; rewrite_cache=True replaces them"
        )
    if control.samples is not None:
        raise InvalidRequestError("samples", "embeddings have no samples; leave it out")


def _label(
    batch: _Batch,
    keys: Sequence[str],
    control: Control,
    reject: Callable[[], Awaitable[bool]],
) -> CacheInfo:
    """Return where the vectors came from; tier, age and savings are those of the ones found."""
    hits = [vector for vector in batch.vectors.values() if vector.tier is not None]
    tiers = {vector.tier for vector in hits}
    costs = [vector.held.cost for vector in hits if vector.held.cost is not None]
    seconds = [vector.held.entry.duration for vector in hits]
    known = [each for each in seconds if each is not None]
    oldest = min((vector.held.entry.created_at for vector in hits), default=None)
    slowest = next((tier for tier in ("flight", "backend", "memory") if tier in tiers), None)
    return CacheInfo(
        "hit" if len(hits) == len(batch.vectors) else "miss",
        keys[0] if len(keys) == 1 else None,
        control.collection,
        control.sample,
        tier=slowest,
        age=None if oldest is None else max(0.0, time.time() - oldest),
        stale=any(vector.state is not Freshness.FRESH for vector in hits),
        saved_seconds=sum(known) if known else None,
        saved_cost=sum(costs, Decimal()) if costs else None,
        stored=batch.stored,
        reason=batch.reason,
        items=len(keys),
        items_hit=sum(batch.vectors[key].tier is not None for key in keys),
        _reject=reject,
    )


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
