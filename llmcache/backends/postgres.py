"""Entries in a Postgres table: durable, shared by any number of processes and machines.

Every operation is one statement and one round trip, made through a pool. The SQL
stands in `sql/entries.sql`, the schema in the numbered files beside it.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

import orjson

from ..errors import ConfigurationError
from ._batches import Batches
from ._circuit import Circuit
from ._closing import AsyncClosing
from ._pg_copy import Loaded, load
from ._pg_database import Database
from ._pg_errors import check_dsn
from ._pg_finding import Finding
from ._pg_leases import Leases
from ._pg_partition import partition
from ._pg_prune import Pruning
from ._pg_sql import as_text, moved, statements
from ._settings import check_count, check_seconds
from .base import (
    BackendStats,
    EntryInfo,
    EverybodysLease,
    Lease,
    LoadReport,
    OnConflict,
    PruneReport,
    Removed,
    StoredEntry,
    VersionedEntry,
    Written,
    check_collection,
    check_key,
    check_keys,
)
from .powers import FoundEntry, Order, Sought

__all__ = ["PostgresBackend"]

_SCAN: Final = 500
_PARTS: Final = range(2, 1_025)


class PostgresBackend(AsyncClosing):
    """A table of entries, by collection and key.

    The pool is opened by the first operation, and the schema made or upgraded then
    (`migrate=False` leaves that to `llmcache db upgrade`). Works behind PgBouncer in
    transaction mode with `statement_cache_size=0`.

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
        leases: bool | None = None,
        migrate: bool = True,
        max_bytes: int | None = None,
    ) -> None:
        """Name the database; nothing is connected yet. A `pool` that is given is never closed.

        `statement_timeout` is seconds; `max_bytes` the ceiling that `prune` evicts to.
        `leases=False`: give a lease to everybody who asks. Advisory locks belong to a
        session; who is given another one for every transaction would lock in this one and
        unlock in that, and the lock stays. Default: `False` with `statement_cache_size=0`,
        which is for such poolers, and `True` else.

        Raises:
            ConfigurationError: `pg_dsn` is not one of Postgres, or a number cannot be.
        """
        if pool is None:
            check_dsn(pg_dsn)
        check_count("max_connections", max_connections)
        check_count("statement_cache_size", statement_cache_size, least=0)
        check_seconds("statement_timeout", statement_timeout)
        if max_bytes is not None:
            check_count("max_bytes", max_bytes, least=0)
        self.max_bytes = max_bytes
        self.circuit = Circuit(self.name)
        self._sql = statements("entries.sql") | statements("load.sql")
        self._database = Database(
            pg_dsn,
            pool=pool,
            max_connections=max_connections,
            statement_timeout=statement_timeout,
            statement_cache_size=statement_cache_size,
            migrate=migrate,
        )
        self._reads = Batches(self._read, at_once=self._database.readers or 1)
        self._finding = Finding(self._database.fetch)
        own_sessions = statement_cache_size > 0 if leases is None else leases
        self._leases = Leases(self._database) if own_sessions else None
        self._pruning = Pruning(self._database)

    async def open(self) -> None:
        """Connect now, make or upgrade the schema, and check that this user may use it.

        Raises:
            ConfigurationError: wrong password, no such database, no privilege, a schema
                of a later version; the message says what to do.
            BackendUnavailableError: the server cannot be reached.
        """
        await self._database.open()
        sql = statements("migrate.sql")["lacking"]
        lacking = [row["lacking"] for row in await self._database.fetch("open", sql)]
        if lacking:
            msg = f"Postgres: the user of pg_dsn needs, and has not: {', '.join(lacking)}"
            raise ConfigurationError(msg)

    async def upgrade(self) -> list[int]:
        """Apply the migrations that are missing, and return their numbers; raises as `open`."""
        return await self._database.upgrade()

    async def partition(self, parts: int = 16) -> int:
        """Divide the tables into partitions by hash, see `sql/partition.sql`; return how many there are.

        Takes as long as to write all entries anew, in which nobody else can use the tables.
        Tables that are divided already stay as they are.

        Raises:
            ConfigurationError: not from 2 to 1024 parts, or as `open`.
            BackendUnavailableError: as `open`; or others held the tables for more than ten
                seconds, or the disk is full. Nothing is changed.
        """
        if isinstance(parts, bool) or not isinstance(parts, int) or parts not in _PARTS:
            msg = f"partitions: a number from {_PARTS[0]} to {_PARTS[-1]}, not {parts!r}"
            raise ConfigurationError(msg)
        await self.open()
        session = await self._database.connect("partition")
        try:
            return await partition(session, parts)
        finally:
            await self._database.disconnect(session)

    # --- the map ----------------------------------------------------------------------------

    async def get(self, collection: str, keys: Sequence[str], /) -> Mapping[str, bytes]:
        """Return the entries that exist among `keys`."""
        rows = await self._rows(collection, keys)
        return {key: rows[key][1] for key in keys if key in rows}

    async def get_versions(
        self, collection: str, keys: Sequence[str], /
    ) -> Mapping[str, VersionedEntry]:
        """Return the entries that exist among `keys`, with what orders them among others of a key."""
        rows = await self._rows(collection, keys)
        found, now = {}, time.time()
        for key in keys:
            if key in rows:
                _, data, version, left = rows[key]
                entry = StoredEntry(key, data, keep_until=moved(left, now))
                found[key] = VersionedEntry(entry, version)
        return found

    async def _rows(self, collection: str, keys: Sequence[str]) -> Mapping[str, Any]:
        """Return the rows that exist among `keys`, and perhaps others that were read with them."""
        check_collection(collection)
        return await self._reads.get(collection, check_keys(keys))

    async def _read(self, collection: str, keys: Sequence[str]) -> Mapping[str, Any]:
        # For an array Postgres makes a new plan each time, which takes as long as the rest.
        if len(keys) == 1:
            rows = await self._database.read("get", self._sql["get_one"], collection, keys[0])
        else:
            name = "get_divided" if self._database.is_divided else "get"
            rows = await self._database.read("get", self._sql[name], collection, keys)
        return {row[0]: row for row in rows}

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
            [as_text(row.model) for row in rows],
            [orjson.dumps([as_text(tag) for tag in row.tags]).decode() for row in rows],
            [row.created_at for row in rows],
            [moved(row.keep_until, -now) for row in rows],
            [as_text(row.answered_by) for row in rows],
            fence,
        )
        written = [VersionedEntry(last.pop(key), version) for key, version, _ in stored]
        return Written(written, list(last), stored[0][2] if stored else None)

    async def load(
        self,
        collection: str,
        entries: Sequence[StoredEntry],
        /,
        *,
        on_conflict: OnConflict = "replace",
    ) -> LoadReport:
        """Store `entries` through COPY, all of them or none."""
        return (await self.load_versions(collection, entries, on_conflict)).report

    async def load_versions(
        self, collection: str, entries: Sequence[StoredEntry], on_conflict: OnConflict, /
    ) -> Loaded:
        """As `load`; return a version above all that the entries have, too."""
        return await load(self._database, self._sql, collection, entries, on_conflict)

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
        if self._leases is not None:
            await self._leases.aclose()
        await self._database.aclose()

    # --- leases -------------------------------------------------------------------------------

    async def try_lease(self, collection: str, key: str, /) -> Lease | None:
        """Return an advisory lock on `key`, or `None` when somebody else holds it.

        It is the session's: the server frees it when this process or its connection dies.
        With `leases=False` everybody gets one.
        """
        name = f"{check_collection(collection)}/{check_key(key)}"
        return EverybodysLease() if self._leases is None else await self._leases.acquire(name)

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
        """Return totals: counted while the table is below 32 MiB, else from a sample of as much."""
        return await self._finding.stats(await self._count("quarantined"))

    async def count(self) -> BackendStats:
        """Return the totals of every entry; reads the whole table, 64 MiB at a time."""
        return await self._finding.count(await self._count("quarantined"))

    async def names(self) -> Sequence[str]:
        """Return the names of the collections that have entries."""
        return await self._finding.names()

    def ranked(self, collection: str, order: Order, /) -> AsyncIterator[EntryInfo]:
        """Yield the entries of a collection, the best first."""
        return self._finding.ranked(check_collection(collection), order)

    def find(self, collection: str, sought: Sought, /) -> AsyncIterator[FoundEntry]:
        """Yield the entries that match, by one index, or a look through the table if they are many."""
        return self._finding.find(check_collection(collection), sought)

    async def prune(
        self, collection: str | None = None, /, *, max_bytes: int | None = None
    ) -> PruneReport:
        """Remove entries past their time, then the least recently used above `max_bytes`.

        In batches of a thousand, each a statement of its own: nobody waits for long.
        Of two prunes at the same time neither waits for the other.
        """
        if collection is not None:
            check_collection(collection)
        ceiling = self.max_bytes if max_bytes is None else max_bytes
        return await self._pruning.prune(collection, ceiling)

    # --- inside ---------------------------------------------------------------------------------

    async def _run(self, name: str, *arguments: Any) -> Sequence[Any]:
        return await self._database.fetch(name, self._sql[name], *arguments)

    async def _count(self, name: str, *arguments: Any) -> int:
        rows = await self._run(name, *arguments)
        return int(rows[0][0]) if rows else 0
