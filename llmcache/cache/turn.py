"""Whose turn it is to call the provider, among processes that share a store.

The store gives a lease on the key. Who has it calls; the others look from time
to time whether the answer has come, or the lease is free again because its
holder died. A store without leases, or one that fails, lets everybody call.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from ..backends.base import EverybodysLease, Lease, SupportsLease
from .guard import Budget, Guard
from .store import Store
from .tier import Held

__all__ = ["turn"]

_FIRST_PAUSE: Final = 0.005
_LONGEST_PAUSE: Final = 0.25
_RELEASE: Final = 1.0

Look = Callable[[Budget], Awaitable[Held | None]]


async def _nothing(_: Budget) -> None:
    return None


@asynccontextmanager
async def turn(
    store: Store,
    place: tuple[str, str],
    budget: Budget,
    *,
    patience: float,
    look: Look = _nothing,
) -> AsyncGenerator[Held | None, None]:
    """Hold the lease of `place`; yield what `look` found, if somebody else made it meanwhile.

    Waits for another holder at most `patience` seconds, then goes on without a
    lease: a process that hangs must not make others hang. Neither the waiting nor the
    asking in between is charged to `budget`, which is for the store's own slowness; but
    asking once that takes all that is left of it is the end of both.
    """
    lease, found = await _take(store, place, budget, patience, look)
    try:
        yield found
    finally:
        await store.guard.run("lease", lease.release, Budget(_RELEASE), None)


async def _take(
    store: Store, place: tuple[str, str], budget: Budget, patience: float, look: Look
) -> tuple[Lease, Held | None]:
    backend, guard = store.backend, store.guard
    if not isinstance(backend, SupportsLease):
        return EverybodysLease(), None
    give_up = time.monotonic() + patience
    pause = _FIRST_PAUSE
    while True:
        asking = Budget(budget.left)
        lease = await _try(guard, backend, place, asking)
        if lease is not None:
            budget.left = asking.left
            # Between our look before and now, its holder may have stored the answer and left.
            try:
                return lease, await look(budget)
            except BaseException:
                await guard.run("lease", lease.release, Budget(_RELEASE), None)
                raise
        if time.monotonic() >= give_up:
            guard.warn("lease", "patience", f"no answer from its holder within {patience:.3g} s")
            return EverybodysLease(), None
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE)
        found = await look(asking)
        if found is not None:
            return EverybodysLease(), found
        if asking.left <= 0:
            budget.left = 0.0


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
