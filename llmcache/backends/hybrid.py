"""Postgres keeps every entry, Redis keeps the hot ones near.

A composition of two backends. Reads ask Redis, then Postgres, and fill Redis behind
the call. Writes go to Postgres first, which orders them by a version; Redis takes
an entry only where nothing newer is known of, so that a slow reader or writer cannot
bring back what was replaced or removed.

    Redis down      Postgres serves; what Redis missed meanwhile is removed when it is back
    Postgres down   Redis serves; writes fail, and the cache drops them with a warning
    both            the provider is asked

Redis also tells every process which entries another one has changed. So what a process
has in its memory is outdated for milliseconds, as a rule. News may get lost, and a change
made while Redis is down is none: the revision, which Postgres counts, bounds the time by
the `coherence` of the cache (a second) in every case. What Redis itself has is outdated
only while the one process that changed it cannot reach Redis and others can; it is
removed when that process reaches it again, or its time to live is over.

A store that is down is left alone for a while (`_circuit`), so that it costs one call
its deadline and not all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final

from ..errors import BackendError, BackendUnavailableError, LLMCacheError
from ._closing import AsyncClosing
from ._loop_bound import own_tasks, spawn
from ._redis_news import NO_REVISION, named
from ._warner import Warner
from .base import (
    BackendStats,
    EntryInfo,
    Lease,
    LoadReport,
    OnConflict,
    PruneReport,
    StoredEntry,
    VersionedEntry,
)
from .postgres import PostgresBackend
from .powers import Change, Copied, FoundEntry, Order, Sought
from .redis import RedisBackend

__all__ = ["HybridRedisPostgreSQLCache"]

_PAY_EVERY: Final = 1.0
# Who writes into a key's bucket while it is being copied makes the copy void.
_ATTEMPTS: Final = 3
_MOST_OWED: Final = 100_000


class HybridRedisPostgreSQLCache(AsyncClosing):
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
        self._near, self._far = self.redis.circuit, self.postgres.circuit
        self._warner = Warner(self.redis.name)
        self._tasks: set[asyncio.Task[None]] = set()
        self._paying: set[asyncio.Task[None]] = set()
        self._owed: dict[tuple[str, str], int] = {}
        self.near_hits = self.far_hits = 0
        """Entries that Redis and that Postgres gave, in this process."""

    async def open(self) -> None:
        """Connect to both now, and make or upgrade the schema.

        Raises:
            ConfigurationError, BackendUnavailableError: as the two backends' `open`;
                where both fail, with what Redis said as a note.
        """
        try:
            await self.postgres.open()
        except LLMCacheError as error:
            try:
                await self.redis.open()
            except LLMCacheError as other:
                error.add_note(str(other))
            raise
        await self.redis.open()

    # --- the map ----------------------------------------------------------------------------

    async def get(self, collection: str, keys: Sequence[str], /) -> Mapping[str, bytes]:
        """Return the entries that exist among `keys`, from Redis as far as it has them."""
        near: Mapping[str, bytes] = {}
        tickets: Mapping[str, bytes] = {}
        failure: BackendError | None = None
        try:
            with self._near.use("get"):
                near, tickets = await self.redis.look(collection, keys)
        except BackendError as error:
            failure = error
            self._warner.warn("get", type(error).__name__, str(error))
        if self._owed:
            # What Redis has yet to be told of, it may have as it was before.
            near = {key: data for key, data in near.items() if (collection, key) not in self._owed}
        self.near_hits += len(near)
        missing = [key for key in keys if key not in near]
        if not missing:
            return near
        try:
            with self._far.use("get"):
                found = await self.postgres.get_versions(collection, missing)
        except BackendError as error:
            if failure is not None or not near:
                raise
            self._warner.warn("get", type(error).__name__, str(error))
            return near
        self.far_hits += len(found)
        fresh = [each for key, each in found.items() if key in tickets]
        if fresh:
            spawn(self._tasks, self._fill(collection, fresh, tickets))
        return {**near, **{key: entry.data for key, (entry, _) in found.items()}}

    async def put(self, collection: str, entries: Sequence[StoredEntry], /) -> None:
        """Store `entries` in Postgres, then in Redis."""
        await self.put_unless_newer(collection, entries, fence=None)

    async def put_unless_newer(
        self,
        collection: str,
        entries: Sequence[StoredEntry],
        /,
        *,
        fence: int | None,
        author: str = "",
    ) -> Sequence[str]:
        """As `put`, but what Postgres has above `fence` stays; return the keys of these."""
        with self._far.use("put"):
            written = await self.postgres.put_versions(collection, entries, fence)
        told = {"author": author, "revision": named(written.revision)}
        to_redis = partial(self.redis.put_newer, collection, written.entries, **told)
        if written.entries and not await self._try("put", to_redis):
            versions = {each.entry.key: each.version or 0 for each in written.entries}
            self._owe(collection, versions)
        return written.late

    async def load(
        self,
        collection: str,
        entries: Sequence[StoredEntry],
        /,
        *,
        on_conflict: OnConflict = "replace",
    ) -> LoadReport:
        """Store `entries` in Postgres; Redis forgets what it has of them, and gets none.

        Who loads many does not say that they will be asked for: they must not push out
        what is.

        Raises:
            BackendUnavailableError: Postgres failed; or Redis is away, and has more to be
                told when it is back than can be remembered. Nothing is stored.
        """
        if len(self._owed) + len(entries) > _MOST_OWED:
            msg = "too much was replaced that it still has; go on when it is back"
            raise BackendUnavailableError(msg, backend=self.redis.name, operation="load")
        with self._far.use("load"):
            loaded = await self.postgres.load_versions(collection, entries, on_conflict)
        keys = list(dict.fromkeys(entry.key for entry in entries))
        # Also what is new to Postgres: Redis may have what was pruned there.
        if keys:
            await self._remove("load", collection, keys, loaded.version, loaded.revision)
        return loaded.report

    async def peek(self, collection: str, keys: Sequence[str], /) -> Mapping[str, bytes]:
        """Return the entries that Postgres has among `keys`; Redis is neither asked nor filled."""
        with self._far.use("get"):
            return await self.postgres.get(collection, keys)

    async def delete(self, collection: str, keys: Sequence[str], /) -> int:
        """Remove `keys` from both, and return how many Postgres had."""
        with self._far.use("delete"):
            removed = await self.postgres.remove(collection, keys)
        await self._remove("delete", collection, keys, removed.version, removed.revision)
        return removed.existed

    async def scan(self, collection: str | None = None, /) -> AsyncIterator[EntryInfo]:
        """Yield the entries that Postgres has."""
        async for info in self.postgres.scan(collection):
            yield info

    async def aclose(self) -> None:
        """Finish what goes on behind the calls, and close both."""
        for task in own_tasks(self._paying):
            task.cancel()
        try:
            while tasks := own_tasks(self._tasks):
                await asyncio.wait(tasks)
            await self._pay_once()
        finally:
            # Whoever waits for us may be out of patience with a Redis that hangs.
            await self.postgres.aclose()
            await self.redis.aclose()

    # --- leases -------------------------------------------------------------------------------

    async def try_lease(self, collection: str, key: str, /) -> Lease | None:
        """Return a lease from Redis; while Redis is down, an advisory lock of Postgres."""
        try:
            with self._near.use("lease"):
                return await self.redis.try_lease(collection, key)
        except BackendUnavailableError as error:
            self._warner.warn("lease", type(error).__name__, str(error))
        with self._far.use("lease"):
            return await self.postgres.try_lease(collection, key)

    async def fence(self, collection: str, /) -> int:
        """Return a version of Postgres, whoever gave the lease."""
        with self._far.use("fence"):
            return await self.postgres.fence(collection)

    # --- what else the two can do -------------------------------------------------------------

    async def quarantine(self, collection: str, key: str, data: bytes, /) -> None:
        """Set the entry aside in whichever of the two still holds `data`."""
        await self._try("quarantine", partial(self.redis.quarantine, collection, key, data))
        with self._far.use("quarantine"):
            await self.postgres.quarantine(collection, key, data)

    async def dictionaries(self, collection: str, /) -> Sequence[bytes]:
        """Return the dictionaries of the collection, oldest first."""
        with self._far.use("dictionaries"):
            return await self.postgres.dictionaries(collection)

    async def put_dictionary(self, collection: str, data: bytes, /) -> None:
        """Keep one more."""
        with self._far.use("put_dictionary"):
            await self.postgres.put_dictionary(collection, data)

    async def clock(self) -> float:
        """Return the time of Postgres in Unix seconds."""
        with self._far.use("clock"):
            return await self.postgres.clock()

    async def revision(self, collection: str, /) -> int:
        """Return how many changes replaced or removed entries."""
        with self._far.use("revision"):
            return await self.postgres.revision(collection)

    def news(self, collection: str, /) -> AsyncGenerator[Change, None]:
        """Yield what happens in a collection, as Redis tells it.

        What was written while Redis could not be reached is not told; the revision, which
        Postgres counts, has it.
        """
        return self.redis.news(collection)

    async def touch(self, collection: str, uses: Mapping[str, int], /) -> None:
        """Add `uses` to the keys' counts and set their time of last use to the database's now."""
        with self._far.use("touch"):
            await self.postgres.touch(collection, uses)

    async def stats(self) -> BackendStats:
        """Return the totals of Postgres; of a large table, estimated."""
        return await self.postgres.stats()

    async def count(self) -> BackendStats:
        """Return the totals of Postgres, however long it takes."""
        return await self.postgres.count()

    async def names(self) -> Sequence[str]:
        """Return the names of the collections that have entries."""
        return await self.postgres.names()

    def find(self, collection: str, sought: Sought, /) -> AsyncIterator[FoundEntry]:
        """Yield what Postgres has that matches."""
        return self.postgres.find(collection, sought)

    def ranked(self, collection: str, order: Order, /) -> AsyncIterator[EntryInfo]:
        """Yield what Postgres has, the best first."""
        return self.postgres.ranked(collection, order)

    async def room(self) -> int | None:
        """Return the bytes that Redis can still take, `None` if it has no ceiling or hides it."""
        return await self.redis.room()

    async def warm(self, collection: str, keys: Sequence[str], /) -> Copied:
        """Copy those of `keys` that Redis does not have from Postgres.

        What is written into a key's bucket meanwhile keeps the copy out: it is then made
        anew, a few times.
        """
        copied = size = present = 0
        absent: Sequence[str] = keys
        for attempt in range(_ATTEMPTS):
            with self._near.use("warm"):
                tickets = await self.redis.missing(collection, absent)
            if not attempt:
                present = len(keys) - len(tickets)
            if not tickets:
                break
            with self._far.use("warm"):
                found = await self.postgres.get_versions(collection, list(tickets))
            entries = list(found.values())
            with self._near.use("warm"):
                taken = await self.redis.fill(collection, entries, tickets)
            copied += taken
            size += sum(len(each.entry.data) for each in entries) * taken // max(1, len(entries))
            if taken == len(entries):
                break
            absent = list(found)
        return Copied(copied, size, present)

    async def prune(
        self, collection: str | None = None, /, *, max_bytes: int | None = None
    ) -> PruneReport:
        """Shrink Postgres; in Redis, entries go with their own time to live."""
        return await self.postgres.prune(collection, max_bytes=max_bytes)

    # --- inside ---------------------------------------------------------------------------------

    async def _fill(
        self, collection: str, found: Sequence[VersionedEntry], tickets: Mapping[str, bytes]
    ) -> None:
        await self._try("fill", partial(self.redis.fill, collection, found, tickets))

    async def _try(self, operation: str, work: Callable[[], Awaitable[object]]) -> bool:
        """Return whether Redis did `work`; when it fails, Postgres has what counts."""
        try:
            with self._near.use(operation):
                await work()
        except BackendError as error:
            self._warner.warn(operation, type(error).__name__, str(error))
            return False
        return True

    async def _remove(
        self,
        operation: str,
        collection: str,
        keys: Sequence[str],
        version: int,
        revision: int | None,
    ) -> None:
        """Let Redis forget `keys` and tell so, now or when it is back."""
        from_redis = partial(self.redis.remove, collection, keys, version, revision=named(revision))
        if not await self._try(operation, from_redis):
            self._owe(collection, dict.fromkeys(keys, version))

    def _owe(self, collection: str, versions: Mapping[str, int]) -> None:
        """Remember what Redis may still have and must not keep; it is told when it is back.

        Others may reach it while this process does not. What is owed when this process
        dies, Redis keeps until its time to live is over.
        """
        for key, version in versions.items():
            if len(self._owed) >= _MOST_OWED:
                self._owed.pop(next(iter(self._owed)))
            self._owed[collection, key] = version
        if not own_tasks(self._paying):
            spawn(self._paying, self._pay())

    async def _pay(self) -> None:
        while self._owed:
            await asyncio.sleep(_PAY_EVERY)
            await self._pay_once()

    async def _pay_once(self) -> None:
        """Tell Redis, even while calls leave it alone: the sooner it knows, the better."""
        by_collection: dict[str, dict[str, int]] = {}
        for (collection, key), version in self._owed.items():
            by_collection.setdefault(collection, {})[key] = version
        for collection, versions in by_collection.items():
            newest = max(versions.values())
            try:
                await self.redis.remove(collection, list(versions), newest, revision=NO_REVISION)
            except BackendError as error:
                self._warner.warn("pay", type(error).__name__, str(error))
                return
            for key, version in versions.items():
                if self._owed.get((collection, key)) == version:
                    del self._owed[collection, key]
