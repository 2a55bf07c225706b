"""A shared cache with a hundred thousand entries: warmed, invalidated and counted, on real servers."""

from __future__ import annotations

import gc
import hashlib
import time
import tracemalloc
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Final

import asyncpg
import redis.asyncio as driver

from llmcache import CacheManager, HybridRedisPostgreSQLCache, PostgresBackend, RedisBackend
from llmcache.backends import Backend, EntryInfo, StoredEntry
from llmcache.codec import Codec
from llmcache.providers.openai_chat import ChatDialect
from llmcache.testing.servers import PostgresServer, RedisServer

from .filling import COLLECTION, made_entry
from .runner import Bar, Options, Row
from .scale import MIB

__all__ = ["rows"]

_GROUP: Final = "shared cache, upkeep"
_DIFFERENT: Final = 1_000
_BATCH: Final = 500
_SECONDS: Final = 600.0

_MILLION: Final = """
INSERT INTO llmcache.entries (collection, key, data, tags, created_at, answered_by)
SELECT 'large', 'v1:' || encode(sha256(n::text::bytea), 'hex'),
       decode(repeat(md5(n::text), 25), 'hex'), '{}', n, ''
FROM generate_series(1, $1::int) AS n
"""


async def rows(options: Options) -> list[Row]:
    """Return copying, invalidation and totals, each beside its floor or what it was before."""
    count = 2_000 if options.quick else 100_000
    with PostgresServer() as postgres, RedisServer() as redis:
        backend = HybridRedisPostgreSQLCache(
            postgres=PostgresBackend(postgres.url, statement_timeout=_SECONDS),
            redis=RedisBackend(redis.url),
        )
        cache = CacheManager(backend)
        cache.register(ChatDialect("openai"))
        await _fill(backend, count)
        found = await _copying(backend, postgres.url, redis.url, count)
        found.append(await _memory(cache, count))
        found.append(await _by_tag(cache, count))
        found += await _totals(backend, postgres.url, count * 10)
        await cache.aclose()
    return found


async def _fill(backend: HybridRedisPostgreSQLCache, count: int) -> None:
    """Put entries into Postgres; a third of them were used, a tenth has any one tag."""
    for start in range(0, count, _BATCH):
        batch = list(_entries(range(start, min(start + _BATCH, count))))
        await backend.postgres.put(COLLECTION, batch)
        uses = {each.key: 1 + number % 50 for number, each in enumerate(batch[::3])}
        await backend.postgres.touch(COLLECTION, uses)


def _entries(numbers: range) -> Iterator[StoredEntry]:
    codec = Codec()
    for number in numbers:
        key = f"v1:{hashlib.sha256(b'%d' % number).hexdigest()}"
        tags = (f"t{number % 10}",)
        # Made-up prose takes longer than all that is measured: a thousand answers for all keys.
        entry = made_entry(number % _DIFFERENT)._replace(key=key, identity=b"", tags=tags)
        data = codec.encode(entry)
        yield StoredEntry(key, data, entry.model, tags, entry.created_at, answered_by="")


# --- Postgres → Redis ---------------------------------------------------------------------------


async def _copying(
    backend: HybridRedisPostgreSQLCache, pg_dsn: str, redis_url: str, count: int
) -> list[Row]:
    cache = CacheManager(backend, memory_bytes=0)
    async with driver.Redis.from_url(redis_url) as client:
        floor = await _bare_copy(pg_dsn, client)
        await client.flushall()
        report = await cache.warm(COLLECTION, seconds=_SECONDS)
        again = await cache.warm(COLLECTION, seconds=_SECONDS)
        await client.flushall()
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    await cache.warm(COLLECTION, seconds=_SECONDS)
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    return [
        Row(
            _GROUP,
            f"warm_cache(): {count:,} entries from Postgres to Redis",
            "s",
            report.seconds,
            against="SELECT of 500, pipeline of 500 SETs",
            ratio=report.seconds / floor,
            note=(
                f"{report.copied / report.seconds:,.0f} entries/s, "
                f"{report.copied_bytes / MIB:.0f} MiB, complete: {report.complete}"
            ),
        ),
        Row(_GROUP, "the same once Redis has them", "s", again.seconds),
        Row(
            _GROUP,
            "the same: peak memory (tracemalloc)",
            "MiB",
            peak / MIB,
            bar=Bar("median", "<=", 16.0),
        ),
    ]


async def _bare_copy(pg_dsn: str, client: Any) -> float:
    """Return the seconds of the same copy with two drivers and no questions."""
    connection = await asyncpg.connect(pg_dsn)
    started = time.perf_counter()
    after, rows = "", [None] * _BATCH
    while len(rows) == _BATCH:
        rows = await connection.fetch(
            "SELECT key, data FROM llmcache.entries WHERE collection = $1 AND key > $2 "
            "ORDER BY key LIMIT $3",
            *(COLLECTION, after, _BATCH),
        )
        pipeline = client.pipeline(transaction=False)
        for key, data in rows:
            after = key
            pipeline.set(f"bare:{key}", data, px=86_400_000)
        await pipeline.execute()
    seconds = time.perf_counter() - started
    await connection.close()
    return seconds


async def _memory(cache: CacheManager, count: int) -> Row:
    report = await cache.warm(COLLECTION, seconds=_SECONDS)
    return Row(
        _GROUP,
        f"warm_cache(): 64 MiB of memory from Redis, of {count:,}",
        "s",
        report.seconds,
        note=f"{report.loaded:,} entries loaded, {report.bytes / MIB:.1f} MiB",
    )


# --- invalidation and totals --------------------------------------------------------------------


class _WithoutIndex:
    """The same store with the five methods alone."""

    name = "no index"

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def get(self, collection: str, keys: Sequence[str], /) -> Mapping[str, bytes]:
        return await self._backend.get(collection, keys)

    async def put(self, collection: str, entries: Sequence[StoredEntry], /) -> None:
        await self._backend.put(collection, entries)

    async def delete(self, collection: str, keys: Sequence[str], /) -> int:
        return await self._backend.delete(collection, keys)

    def scan(self, collection: str | None = None, /) -> AsyncIterator[EntryInfo]:
        return self._backend.scan(collection)

    async def aclose(self) -> None:
        """Leave it open."""


async def _by_tag(cache: CacheManager, count: int) -> Row:
    seconds = []
    for each, tag in ((CacheManager(_WithoutIndex(cache.backend)), "t1"), (cache, "t2")):
        started = time.perf_counter()
        removed = await each.invalidate(tag=tag, collection=COLLECTION)
        seconds.append(time.perf_counter() - started)
        if removed != count // 10:
            msg = f"{removed} entries removed, not {count // 10}"
            raise ValueError(msg)
    slow, fast = seconds
    return Row(
        _GROUP,
        f"invalidate(tag=…): a tenth of {count:,}, from both stores",
        "s",
        fast,
        against="a look at every entry",
        ratio=fast / slow,
        bar=Bar("ratio", "<=", 0.5),
    )


async def _totals(backend: HybridRedisPostgreSQLCache, pg_dsn: str, count: int) -> list[Row]:
    connection = await asyncpg.connect(pg_dsn)
    await connection.execute(_MILLION, count)
    await connection.close()
    found = []
    for title, work in (("stats()", backend.stats), ("stats(exact=True)", backend.count)):
        started = time.perf_counter()
        totals = await work()
        seconds = time.perf_counter() - started
        entries = totals.collections["large"][0]
        found.append(
            Row(
                _GROUP,
                f"{title} of Postgres with {count:,} more entries",
                "s",
                seconds,
                bar=Bar("median", "<=", 1.0) if totals.estimated else None,
                note=f"{entries:,} counted of these, estimated: {totals.estimated}",
            )
        )
    return found
