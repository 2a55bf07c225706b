"""Leases in Postgres: the advisory locks of this process, all on one connection of their own."""

from __future__ import annotations

import asyncio
import contextlib
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
        own = self._bound.get()
        async with own.turn:
            if own.connection is None or own.connection.is_closed():
                own.held.clear()  # the server has freed what a lost session held
                own.connection = await self._database.connect("lease")
            # The session may lock twice what it has locked: between our own tasks we decide.
            if name in own.held:
                return None
            session = own.connection
            try:
                taken = await self._database.on(session, "lease", self._sql["lock"], name)
            except asyncio.CancelledError:
                own.held.add(name)
                spawn(own.tasks, self._give_back(session, name))
                raise
            if not taken:
                return None
            own.held.add(name)
            return _AdvisoryLease(self, session, name)

    async def _give_back(self, session: Any, name: str) -> None:
        """Free what was perhaps locked for a caller who had gone."""
        with contextlib.suppress(BackendUnavailableError):
            await self.release(session, name)

    async def release(self, session: Any, name: str) -> None:
        own = self._bound.get()
        async with own.turn:
            # The name may be held anew, by the session that came after this one was lost.
            if session is own.connection and name in own.held:
                own.held.discard(name)
                await self._database.on(session, "lease", self._sql["unlock"], name)

    async def aclose(self) -> None:
        own = self._bound.get()
        session, own.connection = own.connection, None
        own.held.clear()
        if session is not None:
            await self._database.disconnect(session)


class _Session:
    """The connection that holds the locks, and what it holds. It runs one statement at a time."""

    def __init__(self) -> None:
        self.connection: Any = None
        self.held: set[str] = set()
        self.tasks: set[asyncio.Task[None]] = set()
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
