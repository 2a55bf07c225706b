"""Entries in Redis: near, fast, and gone when memory runs short, which is no error.

A value is a version of eight bytes and the entry's bytes. A write takes effect only
where nothing newer is known of (`lua/put_newer.lua`), so that who is slow cannot bring
back what was replaced or removed. All keys of a collection share a hash tag: in a cluster they live on one
node, and a batch is one round trip.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Any, Final

from ..errors import BackendUnavailableError, ConfigurationError
from ._batches import Batches
from ._circuit import Circuit
from ._closing import AsyncClosing
from ._loop_bound import own_tasks
from ._redis_client import RedisClient, check_client
from ._redis_leases import RedisLease
from ._redis_news import NO_REVISION, NOBODY, News, Told
from ._redis_places import Places, bucket_of, literal
from ._redis_totals import SAMPLE, counted, on_all, room_of, sampled
from ._redis_url import check_url
from ._settings import check_count, check_seconds
from .base import (
    BackendStats,
    EntryInfo,
    Lease,
    StoredEntry,
    VersionedEntry,
    check_collection,
    check_key,
    check_keys,
)
from .powers import Change

__all__ = ["RedisBackend"]

_VERSION: Final = 8
# What makes the newest of its moment.
_NOW: Final = b""
_WRITER: Final = b"w"
_BATCH: Final = 500
# Large values in one script would hold up everybody else on the server.
_PUT_AT_ONCE: Final = 100
# A hundred years; Redis adds the time to live to the time of day, and refuses what overflows.
_FOR_EVER: Final = 100 * 366 * 86_400.0
_KEEP_CORRUPT: Final = 7 * 86_400_000


class RedisBackend(Places, AsyncClosing):
    """A Redis, one behind Sentinel, or a cluster; see `RedisClient` for the forms of the URL."""

    name = "redis"

    def __init__(  # noqa: PLR0913 - settings of a constructor, all keyword-only with defaults
        self,
        redis_url: str | None = None,
        *,
        client: Any = None,
        redis_ttl_seconds: float | None = 86_400.0,
        prefix: str = "llmcache",
        timeout: float = 5.0,
        max_connections: int = 50,
        lease_seconds: float = 10.0,
    ) -> None:
        """Name the server; nothing is connected yet. A `client` that is given is never closed.

        `redis_ttl_seconds`: how long Redis keeps an entry at most; `None` as long as
        the entry itself. `lease_seconds`: how long a lease outlives its holder.

        Raises:
            ConfigurationError: `redis_url` is not one of Redis, `client` decodes what it reads,
                `prefix` is no name, or a number not above 0.
        """
        check_url(redis_url) if client is None else check_client(client)
        ttl = math.inf if redis_ttl_seconds is None else redis_ttl_seconds
        check_seconds("redis_ttl_seconds", ttl, most=math.inf)
        check_seconds("timeout", timeout)
        check_seconds("lease_seconds", lease_seconds)
        check_count("max_connections", max_connections)
        super().__init__(prefix)
        self.circuit = Circuit(self.name)
        self._client = RedisClient(
            redis_url or "", given=client, timeout=timeout, max_connections=max_connections
        )
        self._reads = Batches(self._read)
        self._ttl = redis_ttl_seconds
        self._lease = lease_seconds
        self._renewals: set[asyncio.Task[None]] = set()
        self._news = News(self._client)

    # --- the map ----------------------------------------------------------------------------

    async def get(self, collection: str, keys: Sequence[str], /) -> Mapping[str, bytes]:
        """Return the entries that exist among `keys`."""
        return (await self.look(collection, keys))[0]

    async def look(
        self, collection: str, keys: Sequence[str], /
    ) -> tuple[Mapping[str, bytes], Mapping[str, bytes]]:
        """As `get`; and for each missing key the ticket with which `fill` may add it."""
        check_collection(collection)
        if not check_keys(keys):
            return {}, {}
        read = await self._reads.get(collection, keys)
        # What is shorter than a version is damage, for the codec to see.
        if len(keys) == 1 and (only := read[keys[0]]) is not None:
            return {keys[0]: only[_VERSION:]}, {}
        found = {key: value[_VERSION:] for key in keys if (value := read[key]) is not None}
        missing = () if len(found) == len(keys) else (key for key in keys if key not in found)
        return found, {key: read[bucket_of(key)] or b"" for key in missing}

    async def _read(self, collection: str, keys: Sequence[str]) -> Mapping[str, bytes | None]:
        """Return the value at each key's place, and under the name of each bucket its counter."""
        tag = f"{self._prefix}:{{{collection}}}"
        if len(keys) == 1:
            key, bucket = keys[0], bucket_of(keys[0])
            places = [f"{tag}:e:{key}", f"{tag}:n:{bucket}"]
            value, counter = await self._client.mget("get", places)
            return {key: value, bucket: counter}
        buckets = list(dict.fromkeys(map(bucket_of, keys)))
        places = [f"{tag}:e:{key}" for key in keys]
        places += [f"{tag}:n:{bucket}" for bucket in buckets]
        values = await self._client.mget("get", places)
        return dict(zip([*keys, *buckets], values, strict=True))

    async def missing(self, collection: str, keys: Sequence[str], /) -> Mapping[str, bytes]:
        """Return those of `keys` that are not here, each with its ticket for `fill`.

        Moves no entry, and is no use of one.
        """
        check_collection(collection)
        places = [self._place(collection, check_key(key)) for key in keys]
        counters = [self._counter(collection, key) for key in keys]
        if not places:
            return {}
        async with self._client.use("missing") as client:
            # First: what changes between the two is then noticed.
            tickets = await client.mget(counters)
            pipeline = client.pipeline(transaction=False)
            for place in places:
                pipeline.exists(place)
            there = await pipeline.execute()
        asked = zip(keys, tickets, there, strict=True)
        return {key: ticket or b"" for key, ticket, is_there in asked if not is_there}

    async def put(self, collection: str, entries: Sequence[StoredEntry], /) -> None:
        """Store `entries`, each as the newest, for as long as both times to live allow."""
        await self.put_newer(collection, [VersionedEntry(entry) for entry in entries])

    async def put_unless_newer(
        self,
        collection: str,
        entries: Sequence[StoredEntry],
        /,
        *,
        fence: int | None,
        author: str = "",
    ) -> Sequence[str]:
        """As `put`, but what was stored above `fence` stays; return the keys of these."""
        last = list({entry.key: VersionedEntry(entry) for entry in entries}.values())
        told = Told(author or NOBODY, "", fence)
        return (await self._store(collection, [(each, _WRITER) for each in last], told))[1]

    async def put_newer(
        self,
        collection: str,
        entries: Sequence[VersionedEntry],
        /,
        *,
        author: str = "",
        revision: str = "",
    ) -> int:
        """Store what was written, where nothing newer is known of; return how much was.

        `revision` is told with the change (empty: the one this store counts).
        """
        told = Told(author or NOBODY, revision)
        return (await self._store(collection, [(each, _WRITER) for each in entries], told))[0]

    async def fill(
        self, collection: str, entries: Sequence[VersionedEntry], tickets: Mapping[str, bytes], /
    ) -> int:
        """Store what was found elsewhere after `look` missed it; return how much was stored."""
        ticketed = [(each, tickets[each.entry.key]) for each in entries]
        return (await self._store(collection, ticketed, Told()))[0]

    async def _store(
        self, collection: str, entries: Sequence[tuple[VersionedEntry, bytes]], told: Told
    ) -> tuple[int, list[str]]:
        """Return how many were stored, and the keys of those that the fence kept out."""
        check_collection(collection)
        now, stored = time.time(), 0
        late: list[str] = []
        for start in range(0, len(entries), _PUT_AT_ONCE):
            batch = entries[start : start + _PUT_AT_ONCE]
            places = [self._revision(collection), self._clock(collection)]
            is_last = start + _PUT_AT_ONCE >= len(entries)
            arguments: list[Any] = [
                self._channel(collection),
                told.author,
                # One revision for all: it is told when everything else was.
                told.revision if is_last or not told.revision else NO_REVISION,
                _NOW if told.fence is None else told.fence.to_bytes(_VERSION, "big"),
            ]
            for (entry, version), ticket in batch:
                key = check_key(entry.key)
                places += [self._place(collection, key), self._counter(collection, key)]
                arguments += [
                    _NOW if version is None else version.to_bytes(_VERSION, "big"),
                    self._milliseconds(entry.keep_until, now),
                    ticket,
                    entry.data,
                ]
            count, *kept_out = await self._client.run("put", "put_newer", places, arguments)
            stored += count
            late += [batch[number - 1][0].entry.key for number in kept_out]
        return stored, late

    def _milliseconds(self, keep_until: float | None, now: float) -> int:
        """Return how long an entry may stay; 0 is for ever."""
        times = [self._ttl] if self._ttl is not None else []
        if keep_until is not None:
            times.append(keep_until - now)
        left = min(times, default=_FOR_EVER)
        return max(1, int(left * 1000)) if left < _FOR_EVER else 0

    async def delete(self, collection: str, keys: Sequence[str], /) -> int:
        """Remove `keys` and return how many existed."""
        return await self.remove(collection, keys, None)

    async def remove(
        self,
        collection: str,
        keys: Sequence[str],
        version: int | None,
        /,
        *,
        revision: str = "",
    ) -> int:
        """Remove `keys` with a version above all that they had; return how many existed.

        `revision` is told as in `put_newer`.
        """
        places = [self._revision(check_collection(collection)), self._clock(collection)]
        for key in keys:
            places += [self._place(collection, check_key(key)), self._counter(collection, key)]
        drawn = _NOW if version is None else version.to_bytes(_VERSION, "big")
        arguments = [self._channel(collection), revision, drawn]
        return int(await self._client.run("delete", "delete", places, arguments))

    async def scan(self, collection: str | None = None, /) -> AsyncIterator[EntryInfo]:
        """Yield the entries of one collection, or of all."""
        tag = "*" if collection is None else check_collection(collection)
        pattern = f"{literal(self._prefix)}:{{{tag}}}:e:*"
        batch = []
        async with self._client.use("scan") as client:
            async for place in client.scan_iter(match=pattern, count=_BATCH):
                batch.append(place)
                if len(batch) >= _BATCH:
                    for info in await self._infos(client, batch):
                        yield info
                    batch = []
            for info in await self._infos(client, batch):
                yield info

    async def open(self) -> None:
        """Connect now, and check that this user may do what calls will need.

        Raises:
            ConfigurationError: wrong password, no such database, no privilege, a replica
                that takes no writes; the message says what to do.
            BackendUnavailableError: the server cannot be reached, or is full.
        """
        token = secrets.token_bytes(16)
        key = f"open:{token.hex()}"
        place = self._lease_place("open", key)
        try:
            async with self._client.use("open") as client:
                await client.set(place, token, nx=True, px=int(self._lease * 1000))
            await self._client.run("open", "release", [place], [token, self._channel("open"), key])
        except ValueError as error:
            if isinstance(error, ConfigurationError):
                raise
            raise ConfigurationError(f"redis_url: {error}") from error

    async def room(self) -> int | None:
        """Return the bytes that the server can still take, `None` if it has no ceiling or hides it."""
        try:
            async with self._client.use("room") as client:
                return await room_of(client)
        except (BackendUnavailableError, LookupError, TypeError, ValueError):
            return None

    async def aclose(self) -> None:
        """Stop renewing leases, and close the client if it is ours."""
        for task in own_tasks(self._renewals):
            task.cancel()
        await self._news.aclose()
        await self._client.aclose()

    # --- leases -------------------------------------------------------------------------------

    async def try_lease(self, collection: str, key: str, /) -> Lease | None:
        """Return the lease of `key`, or `None` when somebody else holds it.

        It is renewed until it is released; a holder that dies leaves it for at most
        `lease_seconds`.
        """
        place = self._lease_place(check_collection(collection), check_key(key))
        lease = RedisLease(self._client, place, (self._channel(collection), key), self._lease)
        return lease if await lease.take(self._renewals) else None

    async def fence(self, collection: str, /) -> int:
        """Return a version that no entry of the collection is above now, and every later one is."""
        places = [self._clock(check_collection(collection))]
        drawn: bytes = await self._client.run("fence", "fence", places, [])
        return int.from_bytes(drawn, "big")

    # --- what else a Redis can do ------------------------------------------------------------

    async def quarantine(self, collection: str, key: str, data: bytes, /) -> None:
        """Move the entry aside, for a week, if it still holds `data`."""
        check_collection(collection)
        aside = f"{self._tag(collection)}:c:{check_key(key)}:{time.time_ns()}"
        places = [self._revision(collection), self._place(collection, key), aside]
        arguments = [data, _KEEP_CORRUPT, self._channel(collection)]
        await self._client.run("quarantine", "quarantine", places, arguments)

    async def dictionaries(self, collection: str, /) -> Sequence[bytes]:
        """Return the dictionaries of the collection, oldest first."""
        place = f"{self._tag(check_collection(collection))}:d"
        async with self._client.use("dictionaries") as client:
            found: list[bytes] = await client.lrange(place, 0, -1)
        return found

    async def put_dictionary(self, collection: str, data: bytes, /) -> None:
        """Keep one more."""
        place = f"{self._tag(check_collection(collection))}:d"
        async with self._client.use("put_dictionary") as client:
            await client.rpush(place, data)

    async def clock(self) -> float:
        """Return the server's time in Unix seconds; in a cluster, that of one of its nodes."""
        async with self._client.use("clock") as client:
            seconds, micros = await client.time()
        return float(seconds + micros / 1_000_000)

    async def revision(self, collection: str, /) -> int:
        """Return how many changes replaced or removed entries."""
        place = self._revision(check_collection(collection))
        async with self._client.use("revision") as client:
            value = await client.get(place)
        return int(value) if value and value.isdigit() else 0

    async def news(self, collection: str, /) -> AsyncGenerator[Change, None]:
        """Yield what happens in a collection, as it is published by those who change it."""
        changes = self._news.changes(self._channel(check_collection(collection)))
        async with contextlib.aclosing(changes):
            async for change in changes:
                yield change

    async def stats(self) -> BackendStats:
        """Return totals; of a server with more than 20,000 keys, estimated from as many."""
        async with self._client.use("stats") as client:
            keys = await client.dbsize(**on_all(client))
            if keys > SAMPLE:
                return await sampled(client, self._prefix, self._infos, keys)
        return await self.count()

    async def count(self) -> BackendStats:
        """Return totals; asks for the size of every entry."""
        pattern = f"{literal(self._prefix)}:{{*}}:c:*"
        async with self._client.use("stats") as client:
            return await counted(self.scan(), client.scan_iter(match=pattern, count=_BATCH))

    # --- inside ---------------------------------------------------------------------------------

    async def _infos(self, client: Any, places: Sequence[bytes]) -> list[EntryInfo]:
        """Return what is known of entries; those that went meanwhile are left out."""
        pipeline = client.pipeline(transaction=False)
        for place in places:
            pipeline.strlen(place)
        sizes = await pipeline.execute(raise_on_error=False) if places else []
        infos = []
        for place, size in zip(places, sizes, strict=True):
            if isinstance(size, int) and size >= _VERSION:
                tag, _, key = place.decode().removeprefix(f"{self._prefix}:{{").partition("}:e:")
                infos.append(EntryInfo(tag, key, size - _VERSION))
        return infos
