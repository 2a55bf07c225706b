"""A hit from Redis and from Postgres through the whole call, beside bare clients and LiteLLM.

Run as a module, this is the process in which our own calls are made; the environment
(`PG_DSN`, `REDIS_URL`) names the servers.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import asyncpg
import orjson
import redis.asyncio
import zstandard

from llmcache import CompletionResult, OpenAIProvider
from llmcache.backends.base import Backend, StoredEntry
from llmcache.backends.postgres import PostgresBackend
from llmcache.backends.redis import RedisBackend
from llmcache.testing.servers import PostgresServer, RedisServer

from . import exchange, peers
from .hits import PacedUpstream, digest
from .runner import Bar, Options, Rounds, Row, Turn, failed_row, interleave, row_of
from .worker import Subject, Worker, clean_environment, serve

__all__ = ["rows", "servers"]

_GROUP: Final = "hit through a server, whole call"
_TASKS: Final = 64
_EACH: Final = 8
_KEYS: Final = 1_000
_SERIES: Final = (
    ("redis", "redis floor"),
    ("redis tasks", "redis tasks floor"),
    ("postgres", "postgres floor", "postgres pool floor"),
    ("postgres tasks", "postgres tasks floor"),
)
_PEER: Final = "litellm-redis"


@asynccontextmanager
async def servers() -> AsyncIterator[tuple[str, str]]:
    """Yield the URLs of a Postgres and a Redis that are there for this alone."""
    with PostgresServer() as postgres, RedisServer() as near:
        yield postgres.url, near.url


# --- in the worker ------------------------------------------------------------------------------


async def prepare(name: str, base_url: str, _: Path) -> Subject:
    """Return one of our subjects; ready to hit."""
    tier, _, rest = name.partition(" ")
    makers: dict[str, Callable[[str, str], Awaitable[Subject]]] = {
        "": _ours,
        "tasks": _ours_together,
        "floor": _floor,
        "pool floor": _pool_floor,
        "tasks floor": _floor_together,
    }
    return await makers[rest](tier, base_url)


def _provider(tier: str, base_url: str) -> OpenAIProvider:
    return OpenAIProvider(
        model=exchange.MODEL,
        base_url=base_url,
        api_key="sk-benchmark",
        cache_backend="pg_redis" if tier == "redis" else "pg",
        cache_collection=f"bench-{tier}",
        cache_options={"memory_bytes": 0},
    )


async def _ours(tier: str, base_url: str) -> Subject:
    provider = _provider(tier, base_url)

    async def call() -> CompletionResult:
        return await provider.complete(exchange.PROMPT, cache_response=True)

    await call()
    return Subject(call, _text, exchange.TEXT)


async def _ours_together(tier: str, base_url: str) -> Subject:
    provider = _provider(tier, base_url)
    prompts = _prompts()

    async def hits(prompt: str) -> CompletionResult:
        for _ in range(_EACH - 1):
            await provider.complete(prompt, cache_response=True)
        return await provider.complete(prompt, cache_response=True)

    await asyncio.gather(*map(hits, prompts))
    return Subject(partial(_together, hits, prompts), _all_texts, {exchange.TEXT})


def _text(result: CompletionResult) -> str | None:
    info = result.cache
    served = info is not None and info.hit and info.tier == "backend"
    return result.content if served else f"not a hit: {info}"


def _all_texts(results: Sequence[Any]) -> set[Any]:
    return {
        _text(result) if isinstance(result, CompletionResult) else _content(result)
        for result in results
    }


async def _together(hits: Callable[[str], Awaitable[Any]], prompts: Sequence[str]) -> Sequence[Any]:
    """Hit `_EACH` times in each of so many tasks; return the last answers."""
    return await asyncio.gather(*(hits(prompt) for prompt in prompts))


def _prompts() -> list[str]:
    return [exchange.prose(3_000, seed=100 + number) for number in range(_TASKS)]


Read = Callable[[str], Awaitable[bytes]]
"""Reads the bytes under a name."""


async def _floor(tier: str, _: str) -> Subject:
    read = await _bare(tier)

    async def call() -> dict[str, Any]:
        return await _looked_up(read, exchange.PROMPT)

    return Subject(call, _content, exchange.TEXT)


async def _pool_floor(_: str, __: str) -> Subject:
    pool = await asyncpg.create_pool(os.environ["PG_DSN"])
    await _bare("postgres")

    async def read(name: str) -> bytes:
        found: bytes = await pool.fetchval(_SELECT, name)
        return found

    async def call() -> dict[str, Any]:
        return await _looked_up(read, exchange.PROMPT)

    return Subject(call, _content, exchange.TEXT)


async def _floor_together(tier: str, _: str) -> Subject:
    if tier == "redis":
        read = await _bare(tier)
    else:
        await _bare(tier)
        pool = await asyncpg.create_pool(os.environ["PG_DSN"])

        async def read(name: str) -> bytes:
            found: bytes = await pool.fetchval(_SELECT, name)
            return found

    async def hits(prompt: str) -> dict[str, Any]:
        for _ in range(_EACH - 1):
            await _looked_up(read, prompt)
        return await _looked_up(read, prompt)

    return Subject(partial(_together, hits, _prompts()), _all_texts, {exchange.TEXT})


_SELECT: Final = "SELECT data FROM bench_floor WHERE name = $1"
_DECOMPRESS: Final = zstandard.ZstdDecompressor().decompress


async def _looked_up(read: Read, prompt: str) -> dict[str, Any]:
    """The least that a look-up by content costs: a hash, the server, zstd, JSON."""
    name = digest(exchange.body(prompt)).hex()
    answer: dict[str, Any] = orjson.loads(_DECOMPRESS(await read(name)))
    return answer


async def _bare(tier: str) -> Read:
    """Store the answers under their hashes, and return the plainest way to read one."""
    names = [digest(exchange.body(prompt)).hex() for prompt in (exchange.PROMPT, *_prompts())]
    data = zstandard.ZstdCompressor().compress(exchange.answer())
    if tier == "redis":
        client = redis.asyncio.Redis.from_url(os.environ["REDIS_URL"])
        for name in names:
            await client.set(name, data)
        return client.get
    connection = await asyncpg.connect(os.environ["PG_DSN"])
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS bench_floor (name text PRIMARY KEY, data bytea)"
    )
    await connection.executemany(
        "INSERT INTO bench_floor VALUES ($1, $2) ON CONFLICT DO NOTHING",
        [(name, data) for name in names],
    )
    return partial(connection.fetchval, _SELECT)


def _content(answer: Any) -> Any:
    return answer["choices"][0]["message"]["content"]


# --- in the parent ------------------------------------------------------------------------------


async def rows(options: Options) -> list[Row]:
    """Return the rows of hits from both servers, of many tasks, and of batches."""
    async with servers() as (pg_dsn, redis_url), PacedUpstream() as upstream:
        urls = {"PG_DSN": pg_dsn, "REDIS_URL": redis_url}
        found = await _calls(options, upstream, urls)
        found += await _batches(pg_dsn, redis_url, 3 if options.quick else 10)
    return found


async def _calls(options: Options, upstream: PacedUpstream, urls: dict[str, str]) -> list[Row]:
    """Return the rows of whole calls; what is compared is alone in its rounds and its process.

    As in a service, which has one backend: an interpreter that runs two has call sites that
    know neither, and is measured a tenth slower.
    """
    environment = clean_environment(**urls)
    found: list[Row] = []
    for names in _SERIES:
        async with _worker(sys.executable, "benchmarks.shared", environment) as worker:
            turns = {name: await _prepared(worker, name, upstream.base_url) for name in names}
            found += _rows(await _interleaved(turns, options))
    if options.peers:
        found.append(await _peer(options, upstream, urls))
    return found


async def _peer(options: Options, upstream: PacedUpstream, urls: dict[str, str]) -> Row:
    """Return the row of LiteLLM beside our hit from Redis."""
    environment = {**peers.environment(options.folder / "peers"), **urls}
    ours = _worker(sys.executable, "benchmarks.shared", clean_environment(**urls))
    try:
        theirs = _worker(peers.install(), "benchmarks.peer_worker", environment, quiet=True)
        async with ours as worker, theirs as peer:
            turns = {
                "redis": await _prepared(worker, "redis", upstream.base_url),
                _PEER: await _prepared(peer, _PEER, upstream.base_url),
            }
            samples = await _interleaved(turns, options)
    except RuntimeError as error:
        return failed_row(_GROUP, "LiteLLM, Redis", error)
    return row_of(
        samples,
        _PEER,
        group=_GROUP,
        title="LiteLLM, Redis: await acompletion()",
        against="redis",
        against_title="llmcache, from Redis",
        bar=Bar("ratio", ">=", 3),
    )


@asynccontextmanager
async def _worker(*arguments: Any, quiet: bool = False) -> AsyncIterator[Worker]:
    worker = await Worker.start(*arguments, quiet=quiet)
    try:
        yield worker
    finally:
        await worker.close()


async def _prepared(worker: Worker, name: str, base_url: str) -> Turn:
    """Let `worker` make a subject ready; return its turn."""
    await worker.ask("prepare", name, base_url=base_url, folder=".")
    return _turn(worker, name)


async def _interleaved(turns: dict[str, Turn], options: Options) -> Rounds:
    rounds, calls = (12, 40) if options.quick else (80, 60)
    return await interleave(turns, rounds=rounds, calls=calls)


def _turn(worker: Worker, name: str) -> Turn:
    together = "tasks" in name
    share = _TASKS * _EACH if together else 1

    async def run(calls: int) -> list[float]:
        asked = 3 if together else max(10, calls // (6 if name == _PEER else 1))
        reply = await worker.ask("run", name, calls=asked)
        return [sample / share for sample in reply["samples"]]

    return run


def _rows(samples: Rounds) -> list[Row]:
    """Return the rows of one series."""
    return [row_of(samples, name, group=_GROUP, **_ROWS[name]) for name in samples]


_ROWS: Final[dict[str, dict[str, Any]]] = {
    "redis": {
        "title": "llmcache, pg_redis, from Redis (memory_bytes=0)",
        "against": "redis floor",
        "bar": Bar("ratio", "<=", 1.35),
    },
    "redis floor": {"title": "floor: key + redis-py GET + zstd + orjson.loads"},
    "redis tasks": {
        "title": f"llmcache, Redis, {_TASKS} tasks at once, per hit",
        "against": "redis tasks floor",
        "bar": Bar("ratio", "<=", 1.25),
        "note": "1.25 x the time is 20 % less throughput",
    },
    "redis tasks floor": {"title": f"floor: {_TASKS} tasks with one redis-py client"},
    "postgres": {
        "title": "llmcache, pg, from Postgres (memory_bytes=0)",
        "against": "postgres floor",
        "bar": Bar("ratio", "<=", 1.35),
    },
    "postgres floor": {"title": "floor: the same + asyncpg SELECT, one connection"},
    "postgres pool floor": {
        "title": "the same through asyncpg's pool",
        "against": "postgres",
        "against_title": "llmcache, pg",
    },
    "postgres tasks": {
        "title": f"llmcache, Postgres, {_TASKS} tasks at once, per hit",
        "against": "postgres tasks floor",
        "bar": Bar("ratio", "<=", 1.25),
    },
    "postgres tasks floor": {"title": f"floor: {_TASKS} tasks with one asyncpg pool"},
}


# --- batches ------------------------------------------------------------------------------------


async def _batches(pg_dsn: str, redis_url: str, rounds: int) -> list[Row]:
    """Return the time of a thousand keys in one `get` beside one `get` after the other."""
    found = []
    keys = [f"v1:{number:064x}" for number in range(_KEYS)]
    data = zstandard.ZstdCompressor().compress(exchange.answer())
    backends: tuple[Backend, ...] = (RedisBackend(redis_url), PostgresBackend(pg_dsn))
    for backend in backends:
        try:
            await backend.put("batches", [StoredEntry(key, data) for key in keys])
            turns = {
                "batch": partial(_read_batch, backend, keys),
                "one by one": partial(_read_each, backend, keys),
            }
            samples = await interleave(turns, rounds=rounds, calls=1)
        finally:
            await backend.aclose()
        found.append(
            row_of(
                samples,
                "one by one",
                group=_GROUP,
                title=f"{backend.name}: {_KEYS:,} keys one by one, per key",
                against="batch",
                against_title="one get of all",
                bar=Bar("ratio", ">=", 20),
            )
        )
    return found


async def _read_batch(backend: Backend, keys: Sequence[str], calls: int) -> list[float]:
    samples = []
    for _ in range(calls):
        started = time.perf_counter_ns()
        found = await backend.get("batches", keys)
        samples.append((time.perf_counter_ns() - started) / 1e3 / len(keys))
        _check(len(found) == len(keys))
    return samples


async def _read_each(backend: Backend, keys: Sequence[str], calls: int) -> list[float]:
    samples = []
    for _ in range(calls):
        started = time.perf_counter_ns()
        for key in keys:
            _check(len(await backend.get("batches", [key])) == 1)
        samples.append((time.perf_counter_ns() - started) / 1e3 / len(keys))
    return samples


def _check(right: bool) -> None:  # noqa: FBT001 - as `assert`, also with -O
    if not right:
        msg = "entries are missing"
        raise ValueError(msg)


def main() -> None:
    """Serve our subjects."""
    serve(prepare)


if __name__ == "__main__":
    main()
