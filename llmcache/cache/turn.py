"""Whose turn it is to call the provider, among processes that share a store.

The store gives a lease on the key. Who has it calls; the others look whether the
answer has come, or the lease is free again because its holder died: when the store
tells news of the key, and from time to time. A store without leases, or one that
fails, lets everybody call.

A lease may be lost while its holder is at work. So who calls draws a fence first:
what others have stored by the time the answer is there, stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from ..backends.base import EverybodysLease, Lease, SupportsLease
from .guard import Budget, Guard
from .store import Store
from .tier import Held

__all__ = ["Turn", "turn"]

_FIRST_PAUSE: Final = 0.005
_LONGEST_PAUSE: Final = 0.25
_RELEASE: Final = 1.0

Look = Callable[[Budget], Awaitable[Held | None]]


async def _nothing(_: Budget) -> None:
    return None


class Turn(NamedTuple):
    """What somebody else has made meanwhile, or the fence for the own answer; see `Store.write`."""

    found: Held | None = None
    fence: int | None = None


@asynccontextmanager
async def turn(
    store: Store,
    place: tuple[str, str],
    budget: Budget,
    *,
    patience: float,
    look: Look = _nothing,
) -> AsyncGenerator[Turn, None]:
    """Hold the lease of `place`; yield what `look` found, if somebody else made it meanwhile.

    Waits for another holder at most `patience` seconds, then goes on without a
    lease: a process that hangs must not make others hang. Neither the waiting nor the
    asking in between is charged to `budget`, which is for the store's own slowness; but
    asking once that takes all that is left of it is the end of both.
    """
    lease, got = await _take(store, place, budget, patience, look)
    try:
        yield got
    finally:
        await store.guard.run("lease", lease.release, Budget(_RELEASE), None)


async def _take(
    store: Store, place: tuple[str, str], budget: Budget, patience: float, look: Look
) -> tuple[Lease, Turn]:
    backend, guard = store.backend, store.guard
    if not isinstance(backend, SupportsLease):
        return EverybodysLease(), await _fenced(store, place, budget)

    async def taken(asking: Budget) -> tuple[Lease, Turn] | None:
        lease = await _try(guard, backend, place, asking)
        if lease is None:
            return None
        budget.left = asking.left
        # Between our look before and now, its holder may have stored the answer and left.
        try:
            got = await _fenced(store, place, budget)
            return lease, got._replace(found=await look(budget))
        except BaseException:
            await guard.run("lease", lease.release, Budget(_RELEASE), None)
            raise

    mine = await taken(Budget(budget.left))
    return mine or await _wait(store, place, budget, patience, look, taken)


async def _try(
    guard: Guard, backend: SupportsLease, place: tuple[str, str], budget: Budget
) -> Lease | None:
    """Return a lease, `None` when another has it, and everybody's when the store fails."""
    given: Lease | None = None

    async def take() -> Lease | None:
        nonlocal given
        given = await backend.try_lease(*place)
        return given

    everybodys: Lease | None = EverybodysLease()
    try:
        return await guard.run("lease", take, budget, everybodys)
    except BaseException:
        if given is not None:  # it came with the cancellation: nobody else would give it back
            await guard.run("lease", given.release, Budget(_RELEASE), None)
        raise


async def _wait(
    store: Store,
    place: tuple[str, str],
    budget: Budget,
    patience: float,
    look: Look,
    taken: Callable[[Budget], Awaitable[tuple[Lease, Turn] | None]],
) -> tuple[Lease, Turn]:
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
            mine = await taken(asking)
            if mine is not None:
                return mine
    reason = f"no answer from its holder within {patience:.3g} s"
    store.guard.warn("lease", "patience", reason)
    return EverybodysLease(), await _fenced(store, place, budget)


async def _fenced(store: Store, place: tuple[str, str], budget: Budget) -> Turn:
    return Turn(fence=await store.fence(place[0], budget))
