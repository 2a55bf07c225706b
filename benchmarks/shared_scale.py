"""A million entries in Redis and in Postgres beside ten thousand, by the time of a hit."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import redis.asyncio

from llmcache import OpenAIProvider
from llmcache.backends.postgres import PostgresBackend
from llmcache.backends.redis import RedisBackend
from llmcache.codec import Codec

from . import exchange
from .filling import BASE_URL, COLLECTION, prompt, stored
from .runner import Bar, Options, Row, Turn, interleave, row_of
from .shared import servers

__all__ = ["rows"]

_GROUP: Final = "scale of the shared cache"
_BATCH: Final = 1_000
_PADDED_AT_ONCE: Final = 20_000

# The rest is copies of one entry under keys that nobody asks for: what a hit costs depends
# on how many rows and keys there are, and how large they are.
_PAD_POSTGRES: Final = """
INSERT INTO llmcache.entries (collection, key, data, tags, created_at)
SELECT $1, 'v1:' || encode(sha256(convert_to(i::text, 'UTF8')), 'hex'), $2, '{}', 0
FROM generate_series($3::bigint, $4::bigint) AS i
"""
_PAD_REDIS: Final = """
for i = ARGV[2], ARGV[3] do
    redis.call('SET', KEYS[1] .. redis.sha1hex(i) .. string.rep('0', 24), ARGV[1])
end
"""


async def rows(options: Options) -> list[Row]:
    """Return the hits of a random one of the entries that are asked for, few and many around it."""
    asked, large = (500, 20_000) if options.quick else (10_000, 1_000_000)
    seconds: dict[str, float] = {}
    async with AsyncExitStack() as stack:
        pg_dsn, redis_url = await stack.enter_async_context(servers())
        turns: dict[str, Turn] = {}
        for number, count in enumerate((asked, large)):
            dsn, url = await _database(pg_dsn, f"scale{number}"), f"{redis_url}/{number + 1}"
            started = time.perf_counter()
            await _fill_postgres(dsn, asked, count)
            seconds[f"pg {count}"] = time.perf_counter() - started
            started = time.perf_counter()
            await _fill_redis(url, asked, count)
            seconds[f"redis {count}"] = time.perf_counter() - started
            for backend in ("redis", "pg"):
                provider = _provider(backend, dsn, url)
                await stack.enter_async_context(provider)
                turns[f"{backend} {count}"] = partial(_hits, provider, random.Random(5), asked)
        samples = await interleave(turns, rounds=10 if options.quick else 60, calls=100)
    found = []
    for backend, title in (("redis", "Redis"), ("pg", "Postgres")):
        row = partial(row_of, samples, group=_GROUP)
        found.append(row(f"{backend} {asked}", title=f"{title}: hit, one of {asked:,}"))
        name = f"{backend} {large}"
        found.append(
            row(
                name,
                title=f"{title}: hit, {large:,} entries",
                against=f"{backend} {asked}",
                against_title=f"of {asked:,}",
                bar=Bar("ratio", "<=", 1.3),
                note=f"{large:,} entries made in {seconds[name]:.1f} s",
            )
        )
    return found


async def _database(dsn: str, name: str) -> str:
    """Return the URL of a new database on the same server."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))


def _provider(backend: str, dsn: str, url: str) -> OpenAIProvider:
    return OpenAIProvider(
        model=exchange.MODEL,
        base_url=BASE_URL,
        api_key="sk-benchmark",
        cache_backend=backend,
        pg_dsn=dsn,
        redis_url=url,
        cache_options={"memory_bytes": 0},
        attempts=1,
    )


def _batches(asked: int) -> Iterator[list[Any]]:
    codec = Codec()
    for start in range(0, asked, _BATCH):
        yield list(stored(codec, 0, range(start, min(start + _BATCH, asked))))


async def _fill_postgres(dsn: str, asked: int, count: int) -> None:
    async with PostgresBackend(dsn) as backend:
        sample = b""
        for batch in _batches(asked):
            await backend.put(COLLECTION, batch)
            sample = batch[-1].data
    connection = await asyncpg.connect(dsn)
    try:
        if count > asked:
            await connection.execute(_PAD_POSTGRES, COLLECTION, sample, asked, count - 1)
        await connection.execute("VACUUM ANALYZE llmcache.entries")
    finally:
        await connection.close()


async def _fill_redis(url: str, asked: int, count: int) -> None:
    async with RedisBackend(url) as backend:
        sample = b""
        for batch in _batches(asked):
            await backend.put(COLLECTION, batch)
            sample = batch[-1].data
    client = redis.asyncio.Redis.from_url(url)
    try:
        pad = client.register_script(_PAD_REDIS)
        place = f"llmcache:{{{COLLECTION}}}:e:v1:"
        for start in range(asked, count, _PADDED_AT_ONCE):
            last = min(start + _PADDED_AT_ONCE, count) - 1
            await pad(keys=[place], args=[bytes(8) + sample, start, last])
    finally:
        await client.aclose()


async def _hits(
    provider: OpenAIProvider, source: random.Random, asked: int, calls: int
) -> list[float]:
    prompts = [prompt(source.randrange(asked)) for _ in range(calls)]
    samples = []
    for text in prompts:
        started = time.perf_counter_ns()
        result = await provider.complete(text, cache_response=True)
        samples.append((time.perf_counter_ns() - started) / 1e3)
        if result.cache is None or result.cache.tier != "backend":
            msg = f"not a hit of the store: {result.cache}"
            raise ValueError(msg)
        await asyncio.sleep(0)
    return samples
