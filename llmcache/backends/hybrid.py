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
the `coherence` of the cache (a second) in every case.

What Redis itself has is up to date when a change is acknowledged, but in three cases, and then
for as long as its time to live (`redis_ttl_seconds`) at most:

- Who changed it cannot reach Redis while others can. It is removed a second after it can again,
  at the latest; of more than 100,000 replaced meanwhile, the newest.
- A process dies after Postgres has its change and before Redis does.
- A failover of Redis loses what the old primary had acknowledged.

A store that is down is left alone for a while (`_circuit`), so that it costs one call
its deadline and not all of them. Each process does so by itself, for 30 seconds at most: while
Redis goes or comes back, one may have the lease of Redis and another the lock of Postgres.
Then an answer is paid for twice; the fences see to it that one of the two is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Generator,
    Mapping,
    Sequence,
)
from functools import partial
from typing import Final

from ..errors import BackendError, BackendUnavailableError, LLMCacheError
from ._circuit import StoreFullError
from ._closing import AsyncClosing
from ._hybrid_far import LeftToPostgres
from ._loop_bound import own_tasks, spawn
from ._owed import Owed
from ._redis_news import NO_REVISION, named
from ._warner import Warner
from .base import (
    Lease,
    LoadReport,
    OnConflict,
    StoredEntry,
    VersionedEntry,
)
from .postgres import PostgresBackend
from .powers import Change, Copied
from .redis import RedisBackend

__all__ = ["HybridRedisPostgreSQLCache"]

# Who writes into a key's bucket while it is being copied makes the copy void.
_ATTEMPTS: Final = 3
_MOST_OWED: Final = 100_000


class HybridRedisPostgreSQLCache(LeftToPostgres, AsyncClosing):
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
        super().__init__(postgres or PostgresBackend(pg_dsn))
        self.redis = redis or RedisBackend(redis_url, redis_ttl_seconds=redis_ttl_seconds)
        self._near = self.redis.circuit
        self._warner = Warner(self.redis.name)
        self._tasks: set[asyncio.Task[None]] = set()
        self._owed = Owed(self._forget, self._warner, store=self.redis.name, most=_MOST_OWED)
        self.near_hits = self.far_hits = 0
        """Entries that Redis and that Postgres gave, in this process."""

    @property
    def hidden_failures(self) -> int:
        """Operations of Redis that failed or were spared it, in this process."""
        return self._warner.failures

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
            self._owed.keep_paying()
            # What Redis has yet to be told of, it may have as it was before.
            near = {key: data for key, data in near.items() if (collection, key) not in self._owed}
        self.near_hits += len(near)
        if len(near) == len(keys):
            return near
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
        """Store `entries` in Postgres, then in Redis; one that is full forgets what they replace."""
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
        with self._far.use("put"), self._in_doubt(collection, [entry.key for entry in entries]):
            written = await self.postgres.put_versions(collection, entries, fence)
        versions = {each.entry.key: each.version or 0 for each in written.entries}
        if versions:
            told = {"author": author, "revision": named(written.revision)}
            work = partial(self._put_near, collection, written.entries, versions, told)
            owe = partial(self._owed.replacements, collection, versions)
            await self._try("put", work, owe)
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
        self._owed.check_room("load", len(entries))
        keys = list(dict.fromkeys(entry.key for entry in entries))
        with self._far.use("load"), self._in_doubt(collection, keys):
            loaded = await self.postgres.load_versions(collection, entries, on_conflict)
        # Also what is new to Postgres: Redis may have what was pruned there.
        if keys:
            await self._remove("load", collection, keys, loaded.version, loaded.revision)
        return loaded.report

    async def delete(self, collection: str, keys: Sequence[str], /) -> int:
        """Remove `keys` from both, and return how many Postgres had.

        Raises:
            BackendUnavailableError: Postgres failed; or Redis is away, and has more to
                forget when it is back than can be remembered. Then nothing is removed.
        """
        self._owed.check_room("delete", len(keys))
        with self._far.use("delete"), self._in_doubt(collection, keys):
            removed = await self.postgres.remove(collection, keys)
        await self._remove("delete", collection, keys, removed.version, removed.revision)
        return removed.existed

    async def aclose(self) -> None:
        """Finish what goes on behind the calls, and close both."""
        self._owed.stop()
        try:
            while tasks := own_tasks(self._tasks):
                await asyncio.wait(tasks)
            await self._owed.pay()
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

    # --- what else the two can do -------------------------------------------------------------

    async def quarantine(self, collection: str, key: str, data: bytes, /) -> None:
        """Set the entry aside in whichever of the two still holds `data`."""
        await self._try("quarantine", partial(self.redis.quarantine, collection, key, data))
        with self._far.use("quarantine"):
            await self.postgres.quarantine(collection, key, data)

    def news(self, collection: str, /) -> AsyncGenerator[Change, None]:
        """Yield what happens in a collection, as Redis tells it.

        What was written while Redis could not be reached is not told; the revision, which
        Postgres counts, has it.
        """
        return self.redis.news(collection)

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

    # --- inside ---------------------------------------------------------------------------------

    async def _fill(
        self, collection: str, found: Sequence[VersionedEntry], tickets: Mapping[str, bytes]
    ) -> None:
        await self._try("fill", partial(self.redis.fill, collection, found, tickets))

    async def _try(
        self,
        operation: str,
        work: Callable[[], Awaitable[object]],
        owe: Callable[[], None] | None = None,
    ) -> None:
        """Let Redis do `work`; when it fails or is given up, Postgres has what counts.

        Then `owe` is called: what Redis should have heard, it may have heard or not.
        """
        try:
            with self._near.use(operation):
                await work()
        except BaseException as error:
            if owe is not None:
                owe()
            if not isinstance(error, BackendError):
                raise
            self._warner.warn(operation, type(error).__name__, str(error))

    async def _put_near(
        self,
        collection: str,
        entries: Sequence[VersionedEntry],
        versions: Mapping[str, int],
        told: Mapping[str, str],
    ) -> None:
        """Let Redis have what was written. A full one that takes nothing can still forget."""
        try:
            await self.redis.put_newer(collection, entries, **told)
        except StoreFullError as error:
            self._warner.warn("put", type(error).__name__, str(error))
            newest = max(versions.values())
            await self.redis.remove(collection, list(versions), newest, revision=told["revision"])

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
        versions = dict.fromkeys(keys, version)
        await self._try(operation, from_redis, partial(self._owed.removals, collection, versions))

    @contextlib.contextmanager
    def _in_doubt(self, collection: str, keys: Sequence[str]) -> Generator[None, None, None]:
        """Let Redis forget `keys` where nobody knows whether Postgres has changed them."""
        try:
            yield
        except (BackendUnavailableError, asyncio.CancelledError):
            # Whatever it has is found there again. A version of 0 is above nothing, but changes
            # the counters, which keeps slow readers out.
            self._owed.removals(collection, dict.fromkeys(keys, 0))
            raise

    async def _forget(self, collection: str, keys: Sequence[str], version: int) -> None:
        """Tell Redis what is owed even while calls leave it alone: the sooner it knows, the better."""
        await self.redis.remove(collection, keys, version, revision=NO_REVISION)
        self._near.close()
