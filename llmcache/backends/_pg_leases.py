"""Leases in Postgres: the advisory locks of this process, all on one connection of their own.

Statements on that connection run in tasks of their own, never in those of callers: who
is cancelled while one is under way would not know what it has done. Of a statement that
fails nobody knows that either. Then the session ends, and the server frees whatever it
held; those who had their leases from it find out when they store, by the fence.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import Any

from ..errors import BackendUnavailableError
from ._loop_bound import LoopBound, spawn
from ._pg_database import Database
from ._pg_sql import statements
from .base import Lease

__all__ = ["Leases"]


class Leases:
    """The advisory locks of this process, all on one connection of their own."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sql = statements("entries.sql")
        self._bound = LoopBound(_Session)

    async def acquire(self, name: str) -> Lease | None:
        """Return a lease, or `None` when somebody else has it. A caller who leaves holds none.

        Raises:
            BackendUnavailableError: the server cannot be reached, or refused.
        """
        own = self._bound.get()
        given_up = False

        async def take() -> _AdvisoryLease | None:
            async with own.turn:
                return None if given_up else await self._lock(own, name)

        attempt = spawn(own.tasks, take())
        try:
            return await asyncio.shield(attempt)
        except asyncio.CancelledError:
            given_up = True
            attempt.add_done_callback(partial(self._give_back, own))
            raise

    def _give_back(self, own: _Session, attempt: asyncio.Task[_AdvisoryLease | None]) -> None:
        """Free what was locked for a caller who had gone."""
        if not attempt.cancelled() and attempt.exception() is None and (lease := attempt.result()):
            spawn(own.tasks, lease.release())

    async def _lock(self, own: _Session, name: str) -> _AdvisoryLease | None:
        if own.connection is None or self._database.is_lost(own.connection):
            own.held.clear()  # the server has freed what a lost session held
            own.connection = await self._database.connect("lease")
            with contextlib.suppress(BackendUnavailableError):
                await self._run(own.connection, "watch")
        session = own.connection
        # The session may lock twice what it has locked: between our own tasks we decide.
        if name in own.held or not await self._run(session, "lock", name):
            return None
        own.held.add(name)
        return _AdvisoryLease(self, session, name)

    async def release(self, session: Any, name: str) -> None:
        """Free a lease; who is cancelled meanwhile need not know, it goes on."""
        own = self._bound.get()
        await asyncio.shield(spawn(own.tasks, self._unlock(own, session, name)))

    async def _unlock(self, own: _Session, session: Any, name: str) -> None:
        async with own.turn:
            # The name may be held anew, by the session that came after this one was lost.
            if session is own.connection and name in own.held:
                with contextlib.suppress(BackendUnavailableError):
                    await self._run(session, "unlock", name)
                own.held.discard(name)

    async def _run(self, session: Any, statement: str, *arguments: str) -> Any:
        try:
            return await self._database.on(session, "lease", self._sql[statement], *arguments)
        except BaseException:
            self._database.lose(session)
            raise

    async def aclose(self) -> None:
        """End what is under way and the session, with all that it holds."""
        own = self._bound.get()
        tasks = set(own.tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        session, own.connection = own.connection, None
        own.held.clear()
        if session is not None:
            await self._database.disconnect(session)


class _Session:
    """The connection that holds the locks, and what it holds. It runs one statement at a time."""

    def __init__(self) -> None:
        self.connection: Any = None
        self.held: set[str] = set()
        self.tasks: set[asyncio.Task[Any]] = set()
        self.turn = asyncio.Lock()


class _AdvisoryLease:
    def __init__(self, leases: Leases, session: Any, name: str) -> None:
        self._leases = leases
        self._session = session
        self._name = name
        self._released = False

    async def release(self) -> None:
        if not self._released:
            self._released = True
            with contextlib.suppress(Exception):
                await self._leases.release(self._session, self._name)
