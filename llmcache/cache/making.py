"""Making an answer: take the turn, call the provider, let admission decide, store.

These are the bodies of flights. They run once per answer, whoever waits for it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from ..errors import ProviderError
from ..keys import KEY_VERSION, Request, components, has_secret_url
from ..prices import priced
from ..providers.base import Call
from ..providers.failures import identified
from ..types import (
    CacheEntry,
    CacheInfo,
    CompletionResult,
    Recording,
    StreamEvent,
    StreamEventType,
    Usage,
)
from ..types._json import decimal_text
from .admission import Freshness, freshness, refusal
from .control import CachePolicy, Control
from .flight import Flight, StreamFlight
from .guard import Budget
from .labels import Answer, Labels
from .recording import Recorder, close, drain, parse_entry, play
from .store import Store
from .tier import Held
from .turn import Turn, aside, turn

__all__ = ["Facts", "Maker", "make_entry"]

_SAMPLES_AT_ONCE: Final = 16


@dataclass(frozen=True, slots=True)
class _Made:
    """A fresh answer: what was sent, what it says, the seconds it took, and why it is not whole."""

    recording: Recording
    result: CompletionResult
    duration: float
    flaw: str | None = None


class Maker:
    """Makes the answers of one cache."""

    def __init__(
        self,
        store: Store,
        policy: CachePolicy,
        labels: Labels,
        *,
        flight_timeout: float,
        older_keys: Sequence[Callable[[Request, int], str]],
    ) -> None:
        """Arguments as the manager's."""
        self._store = store
        self._policy = policy
        self._labels = labels
        self._flight_timeout = flight_timeout
        self._older_keys = tuple(older_keys)

    def look(
        self, call: Call, control: Control, key: str, budget: Budget
    ) -> Awaitable[Held | None]:
        """Return what the backend holds for a call, under its key or an older version's."""
        keys = [key]
        if self._older_keys:
            keys += [older(call.request, control.sample) for older in self._older_keys]
        parse = partial(parse_entry, dialect=call.dialect)
        return self._store.find(control.collection, keys, parse, budget)

    async def lead(
        self, flight: Flight[Answer], call: Call, control: Control, key: str, budget: Budget
    ) -> Answer:
        """Return a whole answer, from the provider or from whoever made it meanwhile."""
        async with self._turn(flight, call, control, key, budget) as got:
            if got.found is not None:
                flight.answered = True
                return _found(got.found, control)
            started = time.monotonic()
            recording = await call.send()
            duration = time.monotonic() - started
            flight.answered = True
            with identified(recording):
                result = call.dialect.parse(recording.body or b"")
            made = _Made(recording, result, duration)
            return await self._keep(call, control, key, made, budget, got.fence)

    async def pump(
        self, flight: StreamFlight[Answer], call: Call, control: Control, key: str, budget: Budget
    ) -> Answer:
        """Publish the events of an answer as they come; return the whole, stored, at the end."""
        try:
            async with self._turn(flight, call, control, key, budget) as got:
                held = got.found
                if held is not None and held.result is not None:
                    flight.answered = True
                    async for event in play(held.entry, call.dialect, held.result, control.replay):
                        flight.publish([event])
                    return _found(held, control)
                made = await self._record(flight, call)
                flight.answered = True
                answer = await self._keep(call, control, key, made, budget, got.fence)
            flight.publish([StreamEvent(StreamEventType.DONE, answer.result)])
        except ProviderError as error:
            failure = {"status": error.status, "error": str(error)}
            flight.publish([StreamEvent(StreamEventType.ERROR, failure)])
            raise
        return answer

    async def _record(self, flight: StreamFlight[Answer], call: Call) -> _Made:
        """Read the provider's stream to its end."""
        decoder = call.dialect.decoder()
        recorder = Recorder(self._store.codec.max_bytes)
        started = time.monotonic()
        stream = call.stream()
        with identified(stream):
            try:
                async for wire in stream:
                    recorder.add(wire)
                    flight.publish(decoder.feed(wire))
                    if decoder.terminal:
                        await drain(stream)
                        break
            finally:
                await close(stream)
            result = decoder.finish()
        flaw = None if decoder.is_whole else "no terminal marker of the stream or of a choice"
        if flaw and decoder.terminal and result.usage is None:
            flaw += ", or no usage because the call asked for none"
        if recorder.overflown:
            flaw = "the stream is larger than max_entry_bytes"
        return _Made(recorder.recording(stream), result, time.monotonic() - started, flaw)

    def _turn(
        self, flight: Flight[Answer], call: Call, control: Control, key: str, budget: Budget
    ) -> AbstractAsyncContextManager[Turn]:
        """Hold the right to make the answer; find it instead if somebody else has made it."""
        if not control.is_plain:
            return nullcontext(Turn())

        async def look(budget: Budget) -> Held | None:
            held = await self.look(call, control, key, budget)
            fresh = held and freshness(held.entry, control, self._store.now()) is Freshness.FRESH
            return held if fresh else None

        place = (control.collection, key)
        enter = aside if flight.is_aside else turn
        return enter(self._store, place, budget, term=self._flight_timeout, look=look)

    def _numbering(
        self, call: Call, control: Control, budget: Budget
    ) -> AbstractAsyncContextManager[Turn]:
        """Hold the right to give samples of a request their numbers, if one is to be added.

        Waits for others as long as the budget lasts; then two that came at the same
        moment may take the same number, and one of them is lost.
        """
        if not control.adds_sample:
            return nullcontext(Turn())
        name = call.request.key(control.sample).replace(KEY_VERSION, "samples", 1)
        patience = max(0.0, budget.left)
        place = (control.collection, name)
        return turn(self._store, place, budget, term=self._flight_timeout, patience=patience)

    async def _keep(
        self,
        call: Call,
        control: Control,
        key: str,
        made: _Made,
        budget: Budget,
        fence: int | None,
    ) -> Answer:
        """Store what admission lets in, and say what became of it."""
        result, counters = await priced(made.result, call.dialect.provider), self._labels.counters
        counters.misses += 1
        cost = None if result.usage is None else result.usage.total_cost
        reason = made.flaw or refusal(
            result,
            store_truncated=control.store_truncated,
            store_refusals=control.store_refusals,
            store_paused=control.store_paused,
        )
        if reason is None and call.is_given_away_by(made.recording):
            reason = "the answer repeats a credential of the call"
        if reason is not None:
            counters.refused += 1
            info = CacheInfo("miss", key, control.collection, control.sample, reason=reason)
            return Answer(result, info, made.duration, cost)
        async with self._numbering(call, control, budget) as numbered:
            if control.adds_sample:
                control = replace(control, sample=await self._free_sample(call, control, budget))
                key = call.request.key(control.sample)
            await self._store.meet(control.collection, budget)
            facts = Facts(made.recording, result.model, made.duration, result.usage)
            entry = make_entry(call.request, control, key, facts, self._policy, self._store.now())
            held = Held(entry, result, cost, control.collection)
            if control.adds_sample:
                fence = numbered.fence
            reason = await self._store.write(control.collection, [held], budget, fence)
        info = CacheInfo(
            "miss",
            key,
            control.collection,
            control.sample,
            stored=reason is None,
            reason=reason,
            _reject=partial(self._labels.reject, control.collection, entry),
        )
        return Answer(result, info, made.duration, cost)

    async def _free_sample(self, call: Call, control: Control, budget: Budget) -> int:
        """Return the first number from `control.sample` under which the request has no sample."""
        start = control.sample
        parse = partial(parse_entry, dialect=call.dialect)
        while True:
            numbers = range(start, start + _SAMPLES_AT_ONCE)
            keys = [call.request.key(number) for number in numbers]
            found = await self._store.read(control.collection, keys, parse, budget)
            free = [n for n, key in zip(numbers, keys, strict=True) if key not in found]
            if free:
                return free[0]
            start += _SAMPLES_AT_ONCE


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a fresh answer when it becomes an entry."""

    recording: Recording
    answered_by: str | None
    duration: float
    usage: Usage | None


def make_entry(
    request: Request,
    control: Control,
    key: str,
    facts: Facts,
    policy: CachePolicy,
    now: float,
) -> CacheEntry:
    """Return the entry of a fresh answer, created `now`."""
    now = round(now, 3)
    ttl = control.ttl
    stateful_ttl = request.rules.stateful_ttl
    if stateful_ttl is not None and request.is_stateful:
        ttl = stateful_ttl if ttl is None else min(ttl, stateful_ttl)
    expires_at = _later(now, ttl)
    grace = max(control.stale_while_revalidate, control.stale_if_error)
    identity = request.identity(control.sample)
    # A URL with a signature is part of the key as it stands, and of no entry.
    readable = policy.store_request and not has_secret_url(identity)
    model = str(request.body.get("model") or "") or None
    usage = facts.usage or Usage()
    return CacheEntry(
        key=key,
        recording=facts.recording,
        kind=request.kind,
        model=model,
        answered_by=None if facts.answered_by == model else facts.answered_by,
        tags=control.tags,
        created_at=now,
        expires_at=expires_at,
        keep_until=_later(expires_at, grace),
        duration=facts.duration,
        cost=decimal_text(usage.total_cost),
        input_cost=None if usage.price_list is None else decimal_text(usage.input_cost),
        price_list=usage.price_list,
        identity=identity if readable else b"",
        components={} if readable else components(identity),
    )


def _later(moment: float | None, seconds: float | None) -> float | None:
    """Return the moment so many seconds later; `None` is never, and so is what is infinitely far."""
    if moment is None or seconds is None:
        return None
    later = moment + seconds
    return None if later == math.inf else later


def _found(held: Held, control: Control) -> Answer:
    """Return what another process stored while this one waited for its turn."""
    if held.result is None:
        msg = f"{held.entry.key} holds no completion"
        raise TypeError(msg)
    info = CacheInfo("hit", held.entry.key, control.collection, control.sample)
    return Answer(held.result, info, found=held)
