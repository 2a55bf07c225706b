"""Postgres keeps every entry, Redis keeps the hot ones near.

A composition of two backends. Reads ask Redis, then Postgres, and fill Redis behind
the call. Writes go to Postgres first, which orders them by a version; Redis takes
an entry only where nothing newer is known of, so that a slow reader or writer cannot
bring back what was replaced or removed.

    Redis down      Postgres serves; what Redis missed runs out with its time to live
    Postgres down   Redis serves; writes fail, and the cache drops them with a warning
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Generator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from ..errors import BackendError, BackendUnavailableError
from ._warner import Warner
from .base import BackendStats, EntryInfo, Lease, PruneReport, StoredEntry, VersionedEntry
from .postgres import PostgresBackend
from .redis import RedisBackend

__all__ = ["HybridRedisPostgreSQLCache"]


class HybridRedisPostgreSQLCache:
    """A `PostgresBackend` with a `RedisBackend` in front, for any number of machines."""

    name = "pg_redis"

    def __init__(
        self,
        pg_dsn: str | None = None,
        redis_url: str | None = None,
        *,
        redis_ttl_seconds: float | None = 86_400.0,
        postgres: PostgresBackend | None = None,
        redis: RedisBackend | None = None,
    ) -> None:
        """Name both servers, or give backends made with other settings; those are closed too.

        Raises:
            ConfigurationError: as the two backends'.
        """
        self.postgres = postgres or PostgresBackend(pg_dsn)
        self.redis = redis or RedisBackend(redis_url, redis_ttl_seconds=redis_ttl_seconds)
        self._warner = Warner(self.redis.name)
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Connect to Postgres now, and make or upgrade the schema; raises as `PostgresBackend.open`."""
        await self.postgres.open()

    async def __aenter__(self) -> Self:
        """Return self."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        await self.aclose()

    # --- the map ----------------------------------------------------------------------------

    async def get(self, collection: str, keys: Sequence[str], /) -> Mapping[str, bytes]:
        """Return the entries that exist among `keys`, from Redis as far as it has them."""
        near: Mapping[str, bytes] = {}
        tickets: Mapping[str, bytes] = {}
        failure: BackendError | None = None
        try:
            near, tickets = await self.redis.look(collection, keys)
        except BackendError as error:
            failure = error
            self._warner.warn("get", type(error).__name__, str(error))
        missing = [key for key in keys if key not in near]
        if not missing:
            return near
        try:
            found = await self.postgres.get_versions(collection, missing)
        except BackendError as error:
            if failure is not None or not near:
                raise
            self._warner.warn("get", type(error).__name__, str(error))
            return near
        if found and failure is None:
            self._behind(self._fill(collection, list(found.values()), tickets))
        return {**near, **{key: entry.data for key, (entry, _) in found.items()}}

    async def put(self, collection: str, entries: Sequence[StoredEntry], /) -> None:
        """Store `entries` in Postgres, then in Redis."""
        written = await self.postgres.put_versions(collection, entries)
        with self._unharmed("put"):
            await self.redis.put_newer(collection, written)

    async def delete(self, collection: str, keys: Sequence[str], /) -> int:
        """Remove `keys` from both, and return how many Postgres had."""
        removed, version = await self.postgres.remove(collection, keys)
        with self._unharmed("delete"):
            await self.redis.remove(collection, keys, version)
        return removed

    async def scan(self, collection: str | None = None, /) -> AsyncIterator[EntryInfo]:
        """Yield the entries that Postgres has."""
        async for info in self.postgres.scan(collection):
            yield info

    async def aclose(self) -> None:
        """Finish what goes on behind the calls, and close both."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.postgres.aclose()
        with self._unharmed("close"):
            await self.redis.aclose()

    # --- leases -------------------------------------------------------------------------------

    async def try_lease(self, collection: str, key: str, /) -> Lease | None:
        """Return a lease from Redis; while Redis is down, an advisory lock of Postgres."""
        try:
            return await self.redis.try_lease(collection, key)
        except BackendUnavailableError as error:
            self._warner.warn("lease", type(error).__name__, str(error))
        return await self.postgres.try_lease(collection, key)

    # --- what else the two can do -------------------------------------------------------------

    async def quarantine(self, collection: str, key: str, data: bytes, /) -> None:
        """Set the entry aside in whichever of the two still holds `data`."""
        with self._unharmed("quarantine"):
            await self.redis.quarantine(collection, key, data)
        await self.postgres.quarantine(collection, key, data)

    async def dictionaries(self, collection: str, /) -> Sequence[bytes]:
        """Return the dictionaries of the collection, oldest first."""
        return await self.postgres.dictionaries(collection)

    async def put_dictionary(self, collection: str, data: bytes, /) -> None:
        """Keep one more."""
        await self.postgres.put_dictionary(collection, data)

    async def revision(self, collection: str, /) -> int:
        """Return how many changes replaced or removed entries."""
        return await self.postgres.revision(collection)

    async def touch(self, collection: str, uses: Mapping[str, int], /) -> None:
        """Add `uses` to the keys' counts and set their time of last use to the database's now."""
        await self.postgres.touch(collection, uses)

    async def stats(self) -> BackendStats:
        """Return the totals of Postgres."""
        return await self.postgres.stats()

    async def prune(
        self, collection: str | None = None, /, *, max_bytes: int | None = None
    ) -> PruneReport:
        """Shrink Postgres; in Redis, entries go with their own time to live."""
        return await self.postgres.prune(collection, max_bytes=max_bytes)

    # --- inside ---------------------------------------------------------------------------------

    async def _fill(
        self, collection: str, found: Sequence[VersionedEntry], tickets: Mapping[str, bytes]
    ) -> None:
        with self._unharmed("fill"):
            await self.redis.fill(collection, found, tickets)

    @contextlib.contextmanager
    def _unharmed(self, operation: str) -> Generator[None, None, None]:
        """Go on when Redis fails, with a warning: Postgres has what counts."""
        try:
            yield
        except BackendError as error:
            self._warner.warn(operation, type(error).__name__, str(error))

    def _behind(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
