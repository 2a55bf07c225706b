"""Entries in a Postgres table: durable, shared by any number of processes and machines.

Every operation is one statement and one round trip, made through a pool. The SQL
stands in `sql/entries.sql`, the schema in the numbered files beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

import orjson

from ..errors import BackendUnavailableError
from ._closing import AsyncClosing
from ._loop_bound import LoopBound, spawn
from ._pg_database import Database, check_dsn
from ._pg_sql import statements
from .base import (
    BackendStats,
    EntryInfo,
    Lease,
    PruneReport,
    Removed,
    StoredEntry,
    VersionedEntry,
    Written,
    check_collection,
    check_key,
)

__all__ = ["PostgresBackend"]

_BATCH: Final = 1_000
_SCAN: Final = 500
_EVICT_TO: Final = 0.9


class PostgresBackend(AsyncClosing):
    """A table of entries, by collection and key.

    The pool is opened by the first operation, and the schema made or upgraded then
    (`migrate=False` leaves that to `llmcache db upgrade`). Works behind PgBouncer in
    transaction mode with `statement_cache_size=0` and `leases=False`.

    Times that decide anything are the database's own: the clocks of the machines
    that use it need not agree.
    """

    name = "pg"

    def __init__(  # noqa: PLR0913 - settings of a constructor, all keyword-only with defaults
        self,
        pg_dsn: str | None = None,
        *,
        pool: Any = None,
        max_connections: int = 10,
        statement_timeout: float = 10.0,
        statement_cache_size: int = 100,
        migrate: bool = True,
        max_bytes: int | None = None,
    ) -> None:
        """Name the database; nothing is connected yet. A `pool` that is given is never closed.

        `statement_timeout` is seconds; `max_bytes` the ceiling that `prune` evicts to.

        Raises:
            ConfigurationError: `pg_dsn` is not one of Postgres.
        """
        if pool is None:
            check_dsn(pg_dsn)
        self.max_bytes = max_bytes
        self._sql = statements("entries.sql")
        self._database = Database(
            pg_dsn,
            pool=pool,
            max_connections=max_connections,
            statement_timeout=statement_timeout,
            statement_cache_size=statement_cache_size,
            migrate=migrate,
        )
        self._leases = _Leases(self._database)

    async def open(self) -> None:
        """Connect now, and make or upgrade the schema.

        Raises:
            ConfigurationError: wrong password, no such database, no privilege, a schema
                of a later version; the message says what to do.
            BackendUnavailableError: the server cannot be reached.
        """
        await self._database.open()

    async def upgrade(self) -> list[int]:
        """Apply the migrations that are missing, and return their numbers; raises as `open`."""
        return await self._database.upgrade()

    # --- the map ----------------------------------------------------------------------------

    async def get(self, collection: str, keys: Sequence[str], /) -> Mapping[str, bytes]:
        """Return the entries that exist among `keys`."""
        wanted = [check_key(key) for key in keys]
        rows = await self._run("get", check_collection(collection), wanted)
        return {key: data for key, data in rows}  # noqa: C416 - rows are records, not pairs

    async def get_versions(
        self, collection: str, keys: Sequence[str], /
    ) -> Mapping[str, VersionedEntry]:
        """Return the entries that exist among `keys`, with what orders them among others of a key."""
        wanted = [check_key(key) for key in keys]
        rows = await self._run("get_versions", check_collection(collection), wanted)
        now = time.time()
        return {
            key: VersionedEntry(StoredEntry(key, data, keep_until=_plus(left, now)), version)
            for key, data, version, left in rows
        }

    async def put(self, collection: str, entries: Sequence[StoredEntry], /) -> None:
        """Store `entries` in one statement: all of them, or none."""
        await self.put_versions(collection, entries)

    async def put_unless_newer(
        self,
        collection: str,
        entries: Sequence[StoredEntry],
        /,
        *,
        fence: int | None,
        author: str = "",  # noqa: ARG002 - there are no news here for it to be named in
    ) -> Sequence[str]:
        """As `put`, but what was stored above `fence` stays; return the keys of these."""
        return (await self.put_versions(collection, entries, fence)).late

    async def put_versions(
        self, collection: str, entries: Sequence[StoredEntry], fence: int | None = None, /
    ) -> Written:
        """As `put_unless_newer`; return what was stored with its versions, the last of each key."""
        check_collection(collection)
        last = {check_key(entry.key): entry for entry in entries}
        rows, now = list(last.values()), time.time()
        stored = await self._run(
            "put",
            collection,
            [row.key for row in rows],
            [row.data for row in rows],
            [_text(row.model) for row in rows],
            [orjson.dumps([_text(tag) for tag in row.tags]).decode() for row in rows],
            [row.created_at for row in rows],
            [_plus(row.keep_until, -now) for row in rows],
            fence,
        )
        written = [VersionedEntry(last.pop(key), version) for key, version, _ in stored]
        return Written(written, list(last), stored[0][2] if stored else None)

    async def delete(self, collection: str, keys: Sequence[str], /) -> int:
        """Remove `keys` and return how many existed."""
        return (await self.remove(collection, keys)).existed

    async def remove(self, collection: str, keys: Sequence[str], /) -> Removed:
        """Remove `keys`; return how many existed, and a version above all that they had."""
        wanted = [check_key(key) for key in keys]
        return Removed(*(await self._run("delete", check_collection(collection), wanted))[0])

    async def scan(self, collection: str | None = None, /) -> AsyncIterator[EntryInfo]:
        """Yield the entries of one collection, or of all, in the order of their keys."""
        if collection is not None:
            check_collection(collection)
        place, after = collection or "", ""
        name = "scan" if collection is None else "scan_collection"
        while True:
            rows = await self._run(name, place, after, _SCAN)
            for row in rows:
                yield EntryInfo(*row)
            if len(rows) < _SCAN:
                return
            place, after = rows[-1][:2]

    async def aclose(self) -> None:
        """Free the leases, close the pool if it is ours. The object can go on being used."""
        await self._leases.aclose()
        await self._database.aclose()

    # --- leases -------------------------------------------------------------------------------

    async def try_lease(self, collection: str, key: str, /) -> Lease | None:
        """Return an advisory lock on `key`, or `None` when somebody else holds it.

        It is the session's: the server frees it when this process or its connection dies.
        """
        return await self._leases.acquire(f"{check_collection(collection)}/{check_key(key)}")

    async def fence(self, collection: str, /) -> int:
        """Return a version that no entry is above now, and every later one is."""
        check_collection(collection)
        return await self._count("fence")

    # --- what else a database can do -------------------------------------------------------------

    async def quarantine(self, collection: str, key: str, data: bytes, /) -> None:
        """Move the entry into the table `quarantine` if it still holds `data`."""
        await self._run("quarantine", check_collection(collection), check_key(key), data)

    async def dictionaries(self, collection: str, /) -> Sequence[bytes]:
        """Return the dictionaries of the collection, oldest first."""
        rows = await self._run("dictionaries", check_collection(collection))
        return [row[0] for row in rows]

    async def put_dictionary(self, collection: str, data: bytes, /) -> None:
        """Keep one more."""
        await self._run("put_dictionary", check_collection(collection), data)

    async def clock(self) -> float:
        """Return the database's time in Unix seconds."""
        return float((await self._run("clock"))[0][0])

    async def revision(self, collection: str, /) -> int:
        """Return how many changes replaced or removed entries."""
        return await self._count("revision", check_collection(collection))

    async def touch(self, collection: str, uses: Mapping[str, int], /) -> None:
        """Add `uses` to the keys' counts and set their time of last use to the database's now."""
        keys = [check_key(key) for key in uses]
        await self._run("touch", check_collection(collection), keys, list(uses.values()))

    async def stats(self) -> BackendStats:
        """Return totals."""
        rows = await self._run("stats")
        return BackendStats(
            entries=sum(row["entries"] for row in rows),
            bytes=sum(row["bytes"] for row in rows),
            collections={row["collection"]: (row["entries"], row["bytes"]) for row in rows},
            quarantined=await self._count("quarantined"),
            oldest_use=min((row["oldest"] for row in rows), default=None),
            newest_use=max((row["newest"] for row in rows), default=None),
        )

    async def prune(
        self, collection: str | None = None, /, *, max_bytes: int | None = None
    ) -> PruneReport:
        """Remove entries past their time, then the least recently used above `max_bytes`.

        In batches of a thousand, each a statement of its own: nobody waits for long.
        """
        if collection is not None:
            check_collection(collection)
        ceiling = self.max_bytes if max_bytes is None else max_bytes
        swept, swept_bytes = (await self._run("sweep", collection))[0]
        expired, expired_bytes = await self._expire(collection)
        left, kept = (await self._run("totals", collection))[0]
        evicted, evicted_bytes = 0, 0
        if ceiling is not None and kept > ceiling:
            evicted, evicted_bytes = await self._evict(collection, kept - int(ceiling * _EVICT_TO))
        return PruneReport(
            expired=expired,
            evicted=evicted,
            leftovers=swept,
            bytes_freed=swept_bytes + expired_bytes + evicted_bytes,
            entries_left=left - evicted,
            bytes_left=kept - evicted_bytes,
        )

    async def _expire(self, collection: str | None) -> tuple[int, int]:
        total = freed = 0
        while True:
            number, size = (await self._run("expire", collection, _BATCH))[0]
            total += number
            freed += size
            if number < _BATCH:
                return total, freed

    async def _evict(self, collection: str | None, surplus: int) -> tuple[int, int]:
        total = freed = 0
        while freed < surplus:
            rows = await self._run("least_used", collection, _BATCH)
            going = _oldest(rows, surplus - freed)
            if not going:
                break
            collections, keys = zip(*going, strict=True)
            number, size = (await self._run("evict", list(collections), list(keys)))[0]
            total += number
            freed += size
        return total, freed

    # --- inside ---------------------------------------------------------------------------------

    async def _run(self, name: str, *arguments: Any) -> Sequence[Any]:
        return await self._database.fetch(name, self._sql[name], *arguments)

    async def _count(self, name: str, *arguments: Any) -> int:
        rows = await self._run(name, *arguments)
        return int(rows[0][0]) if rows else 0


def _oldest(rows: Sequence[Any], surplus: int) -> list[tuple[str, str]]:
    """Return the places of the first rows, as many as make up `surplus` bytes."""
    going: list[tuple[str, str]] = []
    for collection, key, size in rows:
        if surplus <= 0:
            break
        going.append((collection, key))
        surplus -= size
    return going


def _plus(moment: float | None, seconds: float) -> float | None:
    return None if moment is None else moment + seconds


def _text(value: str | None) -> str | None:
    """Return text as Postgres can hold it: without NUL, and only what is Unicode."""
    if value is None:
        return None
    return value.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


class _Leases:
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
    def __init__(self, leases: _Leases, session: Any, name: str) -> None:
        self._leases = leases
        self._session = session
        self._name = name
        self._released = False

    async def release(self) -> None:
        if not self._released:
            self._released = True
            with contextlib.suppress(Exception):
                await self._leases.release(self._session, self._name)
