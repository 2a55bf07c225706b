"""Whose turn it is to call the provider, among processes that share a store.

The store gives a lease on the key. Who has it calls; the others look whether the
answer has come, or the lease is free again because its holder died: when the store
tells news of the key, and from time to time. A store without leases, or one that
fails, lets everybody call.

Who has it for longer than a term, because the provider does not answer, gives it up:
one of the others then takes over, and has a term as well. A process that is stopped may
keep what it has; then one of the others takes over with a spare lease.

A lease may be lost while its holder is at work. So who calls draws a fence first:
what others have stored by the time the answer is there, stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, NamedTuple, TypeAlias

from ..backends.base import EverybodysLease, Lease, SupportsLease
from .guard import Budget
from .store import Store
from .tier import Held

__all__ = ["Turn", "aside", "turn"]

_FIRST_PAUSE: Final = 0.005
_LONGEST_PAUSE: Final = 0.25
# Seconds that giving a lease up may take, behind the call.
_RELEASE: Final = 10.0

Look = Callable[[Budget], Awaitable[Held | None]]


async def _nothing(_: Budget) -> None:
    return None


class Turn(NamedTuple):
    """What somebody else has made meanwhile, or the fence for the own answer; see `Store.write`."""

    found: Held | None = None
    fence: int | None = None


_Taken: TypeAlias = tuple[Lease, Turn]


@asynccontextmanager
async def turn(
    store: Store,
    place: tuple[str, str],
    budget: Budget,
    *,
    term: float,
    patience: float | None = None,
    look: Look = _nothing,
) -> AsyncGenerator[Turn, None]:
    """Hold the lease of `place`; yield what `look` found, if somebody else made it meanwhile.

    The lease is held for `term` seconds at most, and others are waited for during two
    terms, that of who has it now and that of who takes over, and one more for who has the
    spare lease; or for `patience` seconds. Then the call goes on without a lease: a process
    that hangs must not make others hang. Neither the waiting nor the asking in between is
    charged to `budget`, which is for the store's own slowness; but asking once that takes all
    that is left of it is the end of both.
    """
    spare = (place[0], f"spare{place[1]}")
    waits = [(place, 2 * term), (spare, term)] if patience is None else [(place, patience)]
    lease, got = await _take(store, waits, budget, look)
    async with _held(store, lease, budget, term):
        yield got


@asynccontextmanager
async def aside(
    store: Store,
    place: tuple[str, str],
    budget: Budget,
    *,
    term: float,
    look: Look = _nothing,
) -> AsyncGenerator[Turn, None]:
    """Hold the lease of `place` if it is free, as `turn` does; else go on without it, at once.

    For who has waited for others already. Yields what `look` found, if there is something.
    """
    lease: Lease | None = None
    if isinstance(store.backend, SupportsLease):
        lease = await _try(store, store.backend, place, budget)
    lease = lease or EverybodysLease()
    got = await _looked(store, lease, place, budget, look)
    async with _held(store, lease, budget, term):
        yield got


@asynccontextmanager
async def _held(
    store: Store, lease: Lease, budget: Budget, term: float
) -> AsyncGenerator[None, None]:
    """Give a lease up at the end, and after `term` seconds at the latest."""
    if isinstance(lease, EverybodysLease):
        yield
        return
    # A term of 0 is that of who keeps nobody waiting: there is no end to it.
    loop = asyncio.get_running_loop()
    end = loop.call_later(term, _end_term, store, lease, term) if term > 0 else None
    try:
        yield
    finally:
        if end is not None:
            end.cancel()
        await _release(store, lease, budget)


def _end_term(store: Store, lease: Lease, term: float) -> None:
    reason = f"no answer within {term:.3g} s, another may take over"
    store.guard.warn("lease", "term", reason, failed=False)
    _let_go(store, lease)


async def _release(store: Store, lease: Lease, budget: Budget) -> None:
    """Give a lease up; wait for that as long as the budget lasts, then it goes on behind the call."""
    started = time.monotonic()
    await asyncio.wait({_let_go(store, lease)}, timeout=max(0.0, budget.left))
    budget.left -= time.monotonic() - started


def _let_go(store: Store, lease: Lease) -> asyncio.Task[None]:
    """Return the task that gives a lease up, whatever becomes of the call."""
    release = store.guard.run("release", lease.release, Budget(_RELEASE), None)
    return store.spawn(release)


async def _looked(
    store: Store, lease: Lease, place: tuple[str, str], budget: Budget, look: Look
) -> Turn:
    """Return what is there now that `lease` was given, which is given up if the call ends here."""
    try:
        got = await _fenced(store, place, budget)
        return got._replace(found=await look(budget))
    except BaseException:
        _let_go(store, lease)
        raise


async def _take(
    store: Store, waits: Sequence[tuple[tuple[str, str], float]], budget: Budget, look: Look
) -> _Taken:
    """Return the first lease that can be had, each after so many seconds of waiting for it."""
    backend, place = store.backend, waits[0][0]
    if not isinstance(backend, SupportsLease):
        return EverybodysLease(), await _fenced(store, place, budget)

    async def taken(where: tuple[str, str], asking: Budget) -> _Taken | None:
        lease = await _try(store, backend, where, asking)
        if lease is None:
            return None
        budget.left = asking.left
        # Between our look before and now, its holder may have stored the answer and left.
        return lease, await _looked(store, lease, place, budget, look)

    for where, seconds in waits:
        mine = await taken(where, Budget(budget.left))
        if mine is None:
            take = partial(taken, where)
            mine = await _wait(store, place, budget, seconds, look, take)
        if mine is not None:
            return mine
    reason = f"no answer from its holder within {sum(each for _, each in waits):.3g} s"
    store.guard.warn("lease", "patience", reason, failed=False)
    return EverybodysLease(), await _fenced(store, place, budget)


async def _try(
    store: Store, backend: SupportsLease, place: tuple[str, str], budget: Budget
) -> Lease | None:
    """Return a lease, `None` when another has it, and everybody's when the store fails."""
    given: Lease | None = None

    async def take() -> Lease | None:
        nonlocal given
        given = await backend.try_lease(*place)
        return given

    everybodys: Lease | None = EverybodysLease()
    try:
        return await store.guard.run("lease", take, budget, everybodys)
    except BaseException:
        if given is not None:  # it came with the cancellation: nobody else would give it back
            _let_go(store, given)
        raise


async def _wait(
    store: Store,
    place: tuple[str, str],
    budget: Budget,
    patience: float,
    look: Look,
    take: Callable[[Budget], Awaitable[_Taken | None]],
) -> _Taken | None:
    """Look for the answer and try for the lease, at any news and from time to time."""
    give_up = time.monotonic() + patience
    pause = _FIRST_PAUSE
    with store.coherence.watching(place) as news:
        while time.monotonic() < give_up:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await news.wait()
            news.clear()
            pause = min(pause * 1.5, _LONGEST_PAUSE)
            # Each asking has what the call has: a long wait for others uses nothing up.
            asking = Budget(budget.left)
            found = await look(asking)
            if found is not None:
                return EverybodysLease(), Turn(found)
            mine = await take(asking)
            if mine is not None:
                return mine
    return None


async def _fenced(store: Store, place: tuple[str, str], budget: Budget) -> Turn:
    return Turn(fence=await store.fence(place[0], budget))
