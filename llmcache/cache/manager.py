"""The one path that every call takes: key, look up, call, record, store.

    key = request.key(sample)
      memory tier → backend.get → admission: fresh?        → hit
      else offline                                         → CacheMissError, with the nearest entry
      else flight(key): one leader calls, the others wait for its answer or tail its stream
           → admission: storable? → codec → backend.put → memory

What a key is stands in `llmcache.keys`, whether an answer may be used or stored in `admission`,
what one call may do in `control`, how an answer is made in `making`, and in `guard` that a cache
in trouble costs a warning, a provider call and `deadline` seconds at most.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from ..backends.base import Backend
from ..codec import MAX_ENTRY_BYTES, Codec, Envelope
from ..errors import (
    CacheMissError,
    ConfigurationError,
    InvalidRequestError,
    LLMCacheError,
    ProviderError,
)
from ..keys import Request
from ..prices import priced
from ..providers.base import Call, EmbedCall, Terms, terms_of
from ..types import CompletionResult, EmbeddingResult, StreamEvent, StreamEventType
from . import inspection
from .admission import Freshness, freshness
from .asked import NOTHING, Asked, Stored
from .control import CachePolicy, Control
from .embedding import Embedder
from .flight import Flight, Flights, StreamFlight
from .guard import Budget
from .labels import Answer, Labels, events_of
from .making import Maker
from .recording import play, whole
from .savings import CacheStats
from .store import Store
from .tier import Held
from .upkeep import Upkeep

__all__ = ["CacheManager"]

_MEMORY: Final = 64 * 2**20
_SAMPLES_AT_ONCE: Final = 16


class CacheManager(Upkeep):
    """Answers calls from a backend, and the rest from their provider.

    Serves any number of tasks on one event loop. What an operator does with it
    (`invalidate`, `stats`, `prune`, `verify`, `export`, `import_`, `warm`) is `Upkeep`.
    """

    def __init__(  # noqa: PLR0913 - settings of a constructor, all keyword-only with defaults
        self,
        backend: Backend,
        *,
        policy: CachePolicy | None = None,
        collection: str = "default",
        memory_bytes: int = _MEMORY,
        deadline: float = 1.0,
        flight_timeout: float = 300.0,
        coherence: float = 1.0,
        background_timeout: float = 10.0,
        max_entry_bytes: int = MAX_ENTRY_BYTES,
        compress: bool = True,
        envelope: Envelope | None = None,
        older_keys: Sequence[Callable[[Request, int], str]] = (),
    ) -> None:
        """Put a cache in front of nothing yet; calls bring their provider along.

        Args:
            backend: where answers live. Closed with the manager.
            policy: defaults for every call.
            collection: where calls that name none keep their answers.
            memory_bytes: ceiling of the tier in this process's memory; 0 turns it off.
            deadline: seconds that the backend may hold up one call in all.
            flight_timeout: seconds for which a process may keep others waiting that want the
                same answer; then one of them takes over, and the rest wait as long again.
            coherence: seconds for which this process's memory may serve what another one
                has replaced or removed, at most, as long as the backend answers. Where the
                backend tells news, as Redis does, milliseconds are usual; see `Coherence`.
            background_timeout: seconds that work behind the calls may take: a write
                that outlasted the deadline, and closing.
            max_entry_bytes: larger answers pass by unstored.
            compress: `False` stores answers as they are.
            envelope: seals entries before they reach the backend.
            older_keys: key functions of earlier versions, whose entries still count.

        Raises:
            ConfigurationError: a number out of range, or a policy that is none.
        """
        if not deadline > 0 or not background_timeout > 0:
            msg = "deadline and background_timeout must be above 0 seconds"
            raise ConfigurationError(msg)
        if not min(memory_bytes, flight_timeout, coherence) >= 0:
            msg = "memory_bytes, flight_timeout and coherence must not be negative"
            raise ConfigurationError(msg)
        if not isinstance(policy, CachePolicy | None):
            msg = f"policy must be a CachePolicy(ttl=…), not {type(policy).__name__}"
            raise ConfigurationError(msg)
        self.policy = policy or CachePolicy()
        self.collection = collection
        self.dialects = {}
        codec = Codec(max_bytes=max_entry_bytes, compress=compress, envelope=envelope)
        self.store = Store(
            backend,
            codec,
            memory_bytes=memory_bytes,
            coherence=coherence,
            background_timeout=background_timeout,
        )
        self._deadline = deadline
        self._labels = Labels(self.store)
        self._maker = Maker(
            self.store,
            self.policy,
            self._labels,
            flight_timeout=flight_timeout,
            older_keys=older_keys,
        )
        self._flights = Flights()
        self._embedder = Embedder(
            self.store,
            self.policy,
            self._labels,
            self._flights,
            deadline=deadline,
            flight_timeout=flight_timeout,
        )

    def __repr__(self) -> str:
        """Return the store and the collection of calls that name none."""
        return f"{type(self).__name__}({self.backend.name!r}, collection={self.collection!r})"

    @property
    def counters(self) -> CacheStats:
        """What this cache did so far in this process."""
        return self._labels.counters

    async def complete(self, call: Call, control: Control) -> CompletionResult:
        """Return the answer to `call`, stored or fresh; `result.cache` says which.

        Raises:
            InvalidRequestError: the request has no canonical form.
            CacheMissError: nothing stored, and the control forbids the call.
            ProviderError: the provider failed; errors are not stored.
        """
        reason = _bypass_reason(call.request, control)
        if reason is not None:
            _check_allowed(call, control, reason)
            _check_one(control, reason)
            result = await whole(call)
            return self._labels.bypassed(await priced(result, call.dialect.provider), reason)
        if control.samples is not None:
            return await self._samples(call, control, control.samples)
        key = call.request.key(control.sample)
        held = self.store.held(control.collection, key) if control.reads else None
        if held is not None and self._state(held, control) is Freshness.FRESH:
            return self._labels.hit(held, control, "memory")
        asked = Asked(call)
        budget = Budget(self._deadline, before_waiting=asked.own)
        stored = await self._stored(call, control, key, held, budget)
        if stored.held is not None and stored.state is Freshness.FRESH:
            return self._labels.hit(stored.held, control, stored.tier)
        if stored.held is not None and stored.serves(control):
            return self._serve(stored.held, stored, asked, control)
        return await self._fresh(asked.own(), control, key, budget, stored)

    async def _fresh(
        self, call: Call, control: Control, key: str, budget: Budget, stored: Stored
    ) -> CompletionResult:
        """Return the answer of a flight; `stored` is what may stand in when the provider fails."""
        if not control.calls:
            raise await self._offline_miss(call.request, control, key)
        try:
            return await self._shared(call, control, key, budget)
        except ProviderError as error:
            if stored.spare is None:
                raise
            return self._labels.hit(
                stored.spare, control, stored.tier, stale=True, reason=f"provider: {error}"
            )

    async def _shared(
        self, call: Call, control: Control, key: str, budget: Budget
    ) -> CompletionResult:
        """Return the answer of the flight of this call, or of one on its own terms if that failed."""
        place = (control.collection, key) if control.is_plain else None
        terms: Terms | None = None
        while True:
            flight = self._flights.find(place, terms)
            joined = flight is not None
            if flight is None:
                flight = Flight[Answer](call, terms)
                work = partial(self._maker.lead, flight, call, control, key, budget)
                self._flights.start(place, flight, work)
            try:
                answer = await flight.join()
            except LLMCacheError as error:
                if not joined or not flight.spares(error, call):
                    raise
                terms = terms_of(call)
            else:
                return self._labels.landed(answer, control, joined=joined)

    async def embed(self, call: EmbedCall, control: Control) -> EmbeddingResult:
        """Return a vector per input; only those that are not stored are sent.

        Raises:
            InvalidRequestError, CacheMissError, ProviderError: as `complete`.
        """
        return await self._embedder.embed(call, control)

    async def stream(self, call: Call, control: Control) -> AsyncGenerator[StreamEvent, None]:
        """Yield the answer to `call`: as it arrives, or as it was recorded; `DONE` is the last.

        Raises:
            InvalidRequestError, CacheMissError: as `complete`.
            ProviderError: the provider failed, before the first event or between
                two; an `ERROR` event comes before it.
        """
        _check_one(control, "one stream cannot carry several answers")
        reason = _bypass_reason(call.request, control)
        if reason is not None:
            _check_allowed(call, control, reason)
            events = self._labels.live(call, reason)
        else:
            events = self._stream(call, control)
        async with contextlib.aclosing(events):
            async for event in events:
                yield event

    async def _stream(self, call: Call, control: Control) -> AsyncGenerator[StreamEvent, None]:
        key = call.request.key(control.sample)
        held = self.store.held(control.collection, key) if control.reads else None
        asked = Asked(call)
        budget = Budget(self._deadline, before_waiting=asked.own)
        stored = await self._stored(call, control, key, held, budget)
        if stored.held is not None and stored.serves(control):
            result = self._serve(stored.held, stored, asked, control)
            events = play(stored.held.entry, call.dialect, result, control.replay)
        elif not control.calls:
            raise await self._offline_miss(asked.own().request, control, key)
        else:
            events = self._follow(asked.own(), control, key, budget, stored)
        async with contextlib.aclosing(events):
            async for event in events:
                yield event

    async def _follow(
        self, call: Call, control: Control, key: str, budget: Budget, stored: Stored
    ) -> AsyncGenerator[StreamEvent, None]:
        """Tail the flight of this call, or start one; fall back on a stale answer if it fails."""
        terms: Terms | None = None
        while True:
            flight, joined = self._stream_flight(call, control, key, budget, terms)
            begun, withheld = False, None
            try:
                async with contextlib.aclosing(events_of(flight)) as events:
                    async for event in events:
                        if event.type is StreamEventType.DONE:
                            break
                        if event.type is StreamEventType.ERROR and not begun:
                            withheld = event
                            continue
                        begun = True
                        yield event
                result = self._labels.landed(await flight.join(), control, joined=joined)
                break
            except LLMCacheError as error:
                if joined and not begun and flight.spares(error, call):
                    terms = terms_of(call)
                    continue
                if begun or stored.spare is None or not isinstance(error, ProviderError):
                    if withheld is not None:
                        yield withheld
                    raise
                result = self._labels.hit(
                    stored.spare, control, stored.tier, stale=True, reason=f"provider: {error}"
                )
                async for event in play(stored.spare.entry, call.dialect, result, control.replay):
                    yield event
                return
        yield StreamEvent(StreamEventType.DONE, result)

    def _stream_flight(
        self, call: Call, control: Control, key: str, budget: Budget, terms: Terms | None
    ) -> tuple[Flight[Answer], bool]:
        """Return the flight to follow, and whether somebody else started it."""
        place = (control.collection, key) if control.is_plain else None
        running = self._flights.find(place, terms)
        if running is not None:
            return running, True
        flight = StreamFlight[Answer](call, terms)
        work = partial(self._maker.pump, flight, call, control, key, budget)
        self._flights.start(place, flight, work)
        if self.policy.drain_streams:
            flight.waiters += 1  # the cache itself waits: nobody's leaving stops the stream
        return flight, False

    async def _stored(
        self, call: Call, control: Control, key: str, held: Held | None, budget: Budget
    ) -> Stored:
        """Return the best that memory (`held`) and the backend have for a call."""
        if not control.reads:
            return NOTHING
        if held is None and self.store.tier.bytes:
            held = await self.store.confirmed(control.collection, key, budget)
        state = Freshness.EXPIRED if held is None else self._state(held, control)
        # A flight in progress knows better than the backend, where it looked itself; but it
        # keeps to itself what may serve past its time.
        place = (control.collection, key) if control.is_plain else None
        alone = control.has_grace or self._flights.find(place) is None
        if state is not Freshness.FRESH and alone:
            found = await self._maker.look(call, control, key, budget)
            if found is not None:
                now = time.time() + self.store.coherence.ahead
                return Stored(found, "backend", freshness(found.entry, control, now))
        return Stored(held, "memory", state)

    def _state(self, held: Held, control: Control) -> Freshness:
        return freshness(held.entry, control, self.store.now())

    def _serve(
        self, held: Held, stored: Stored, asked: Asked, control: Control
    ) -> CompletionResult:
        """Return a stored answer; one that is past its time is refreshed behind the call."""
        stale = stored.state is not Freshness.FRESH
        if stale:
            self._refresh(asked.own(), control, held.entry.key)
        return self._labels.hit(held, control, stored.tier, stale=stale)

    def _refresh(self, call: Call, control: Control, key: str) -> None:
        place = (control.collection, key)
        if self._flights.find(place) is None:
            flight = Flight[Answer](call)
            flight.waiters += 1  # the cache itself waits: nobody's leaving cancels it
            work = partial(self._maker.lead, flight, call, control, key, Budget(self._deadline))
            self._flights.start(place, flight, work)

    async def _samples(self, call: Call, control: Control, count: int) -> CompletionResult:
        """Return the first of `count` samples, with all of them; some of those missing at a time."""
        turns = asyncio.Semaphore(_SAMPLES_AT_ONCE)

        async def one(number: int) -> CompletionResult:
            async with turns:
                return await self.complete(call, replace(control, sample=number, samples=None))

        tasks = [asyncio.ensure_future(one(number)) for number in range(count)]
        try:
            results = await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            raise
        return results[0].with_samples(results)

    async def _offline_miss(self, request: Request, control: Control, key: str) -> CacheMissError:
        return await inspection.offline_miss(self.store, request, control, key)

    async def aclose(self) -> None:
        """Stop the calls under way, finish the writes, close the backend. Idempotent."""
        flights = self._flights.tasks()  # those of this loop; another's ended with it
        for task in flights:
            task.cancel()
        if flights:
            await asyncio.wait(flights, timeout=self._deadline)
        await self.store.settle()
        await self.store.guard.run("close", self.backend.aclose, Budget(self._deadline), None)


def _bypass_reason(request: Request, control: Control) -> str | None:
    if not control.reads and not control.writes:
        return "cache_response=False"
    return request.bypass()


def _check_allowed(call: Call, control: Control, reason: str) -> None:
    """Refuse a call that the cache cannot answer and the control forbids."""
    if not control.calls:
        key = call.request.key(control.sample)
        raise CacheMissError(key, collection=control.collection, reason=reason)


def _check_one(control: Control, reason: str) -> None:
    """Refuse to make several samples where they cannot be stored or returned."""
    if control.samples is not None:
        raise InvalidRequestError("samples", f"cannot be given: {reason}")
