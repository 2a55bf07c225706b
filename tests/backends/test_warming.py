"""Copying the most used entries from Postgres to Redis and into memory, on real servers."""

from __future__ import annotations

import asyncio
import logging
import tracemalloc
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from backend_support import entry, framed, key

from llmcache.backends import Copied, StoredEntry
from llmcache.backends.hybrid import HybridRedisPostgreSQLCache
from llmcache.backends.postgres import PostgresBackend
from llmcache.backends.redis import RedisBackend
from llmcache.cache import CacheManager
from llmcache.errors import BackendUnavailableError
from llmcache.providers.openai_chat import ChatDialect
from llmcache.testing.servers import PostgresServer, RedisServer

_NOBODY = {"postgres": "postgresql://postgres@127.0.0.1:9/x", "redis": "redis://127.0.0.1:9"}
_BODY = (
    b'{"id":"c","model":"demo","choices":[{"index":0,"finish_reason":"stop",'
    b'"message":{"role":"assistant","content":"fine"}}],"usage":{"prompt_tokens":1,'
    b'"completion_tokens":1,"total_tokens":2}}'
)


def _cache(backend: Any, **options: Any) -> CacheManager:
    cache = CacheManager(backend, **options)
    cache.register(ChatDialect("demo"))
    return cache


async def _redis_keys(redis: RedisBackend, numbers: Sequence[int]) -> set[int]:
    there = await redis.get("default", [key(n) for n in numbers])
    return {n for n in numbers if key(n) in there}


async def _fill(postgres: PostgresBackend, count: int, start: int = 0) -> None:
    for first in range(start, count, 1_000):
        batch = [framed(n, None, body=_BODY) for n in range(first, min(first + 1_000, count))]
        await postgres.put("default", batch)


async def test_from_postgres_to_redis_to_memory(hybrid: HybridRedisPostgreSQLCache) -> None:
    await _fill(hybrid.postgres, 30)
    await hybrid.postgres.touch("default", {key(n): n for n in range(1, 11)})
    cache = _cache(hybrid)
    report = await cache.warm("default")
    assert (report.copied, report.present, report.loaded) == (30, 0, 30)
    assert (report.complete, report.stopped, report.skipped) == (True, None, 0)
    sizes = [info.size async for info in hybrid.scan("default")]
    assert report.copied_bytes == sum(sizes)
    assert await _redis_keys(hybrid.redis, range(30)) == set(range(30))
    assert report.bytes == cache.store.tier.bytes
    # The most used are the last to go from memory.
    assert [place[1] for place in cache.store.tier.places()][-3:] == [key(8), key(9), key(10)]
    again = await _cache(hybrid).warm("default")
    assert (again.copied, again.present, again.loaded) == (0, 30, 30)


@pytest.mark.parametrize(
    ("limits", "copied", "loaded", "stopped"),
    [
        ({"max_entries": 10}, 10, 10, "entries"),
        ({"max_entries": 0}, 0, 0, "entries"),
        ({"max_entries": 30}, 30, 30, None),
        ({"near_bytes": 0}, 0, 30, "bytes"),
        ({"max_bytes": 0}, 30, 0, None),
        ({"max_bytes": 1}, 30, 0, "bytes"),
    ],
    ids=str,
)
async def test_it_keeps_to_its_limits(
    hybrid: HybridRedisPostgreSQLCache,
    limits: dict[str, int],
    copied: int,
    loaded: int,
    stopped: str | None,
) -> None:
    await _fill(hybrid.postgres, 30)
    await hybrid.postgres.touch("default", {key(n): n for n in range(1, 11)})
    cache = _cache(hybrid)
    report = await cache.warm("default", **limits)  # type: ignore[arg-type]
    assert (report.copied, report.loaded, report.stopped) == (copied, loaded, stopped)
    assert report.complete == (stopped is None)
    if copied == 10:
        assert await _redis_keys(hybrid.redis, range(30)) == set(range(1, 11)), "the most used"


async def test_bytes_copied_stay_below_their_limit(hybrid: HybridRedisPostgreSQLCache) -> None:
    await hybrid.postgres.put("default", [entry(n, b"x" * 1_000) for n in range(50)])
    report = await _cache(hybrid).warm("default", near_bytes=20_000)
    assert 10 <= report.copied <= 20
    assert (report.stopped, report.complete) == ("bytes", False)


async def test_redis_is_not_filled_beyond_what_it_can_take(
    postgres: PostgresBackend, redis_engines: list[Any]
) -> None:
    """It would evict, and first of all what came first: the best."""
    with RedisServer(redis_engines[0]) as server:
        redis = RedisBackend(server.url)
        async with HybridRedisPostgreSQLCache(postgres=postgres, redis=redis) as hybrid:
            client = await redis._client._opened()
            assert await hybrid.room() is None
            used = (await client.info("memory"))["used_memory"]
            await client.config_set("maxmemory", used + 20_000_000)
            await client.config_set("maxmemory-policy", "allkeys-lru")
            for start in range(0, 2_500, 100):
                entries = [entry(n, b"x" * 10_000) for n in range(start, start + 100)]
                await postgres.put("default", entries)
            await postgres.touch("default", {key(n): 1 for n in range(50)})
            report = await _cache(hybrid).warm("default", seconds=60.0)
            assert report.stopped == "bytes"
            assert 500 < report.copied < 2_000
            assert await _redis_keys(redis, range(50)) == set(range(50))
            assert (await client.info("stats"))["evicted_keys"] == 0


async def _write(hybrid: HybridRedisPostgreSQLCache, numbers: range) -> list[Any]:
    """Rewrite and remove entries again and again; return where a read was not the last word."""
    stale: list[Any] = []
    for turn in range(1, 40):
        data = b"%d" % turn
        for n in numbers:
            await hybrid.put("default", [entry(n, data)])
            found = dict(await hybrid.get("default", [key(n)]))
            if found != {key(n): data}:
                stale.append((n, turn, found))
        for n in numbers[::4]:
            await hybrid.delete("default", [key(n)])
            await asyncio.sleep(0)
            if await hybrid.get("default", [key(n)]):
                stale.append((n, turn, "removed"))
    return stale


async def test_what_is_rewritten_meanwhile_is_never_brought_back(
    hybrid: HybridRedisPostgreSQLCache,
) -> None:
    keys = [key(n) for n in range(60)]
    await hybrid.postgres.put("default", [entry(n, b"0") for n in range(60)])
    copied = 0
    stop = asyncio.Event()

    async def forget() -> None:
        """Evict, so that there is something to copy."""
        client = await hybrid.redis._client._opened()
        while not stop.is_set():
            await client.unlink(*(hybrid.redis._place("default", name) for name in keys[::2]))
            await asyncio.sleep(0.001)

    async def warm() -> None:
        nonlocal copied
        while not stop.is_set():
            copied += (await hybrid.warm("default", keys)).entries

    others = [asyncio.create_task(work()) for work in (warm, warm, forget)]
    parts = [range(first, first + 20) for first in (0, 20, 40)]
    stale = await asyncio.gather(*(_write(hybrid, part) for part in parts))
    stop.set()
    await asyncio.gather(*others, *hybrid._tasks)
    assert stale == [[], [], []]
    assert copied > 100, "nothing was raced with"
    near = await hybrid.redis.get("default", keys)
    far = await hybrid.postgres.get("default", keys)
    assert all(far.get(name) == data for name, data in near.items())


async def test_a_bucket_that_changes_is_copied_anew(
    hybrid: HybridRedisPostgreSQLCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hybrid.postgres.put("default", [entry(n) for n in range(3)])
    real, writes = hybrid.postgres.get_versions, 0

    async def read_while_another_writes(collection: str, keys: Sequence[str]) -> Any:
        nonlocal writes
        found = await real(collection, keys)
        if writes < 1:
            writes += 1
            await hybrid.put("default", [entry(1, b"newer")])
        return found

    monkeypatch.setattr(hybrid.postgres, "get_versions", read_while_another_writes)
    copied = await hybrid.warm("default", [key(n) for n in range(3)])
    assert copied == Copied(2, 8, 0)
    assert (await hybrid.redis.get("default", [key(1)]))[key(1)] == b"newer"


async def test_it_can_be_cancelled_at_any_moment(hybrid: HybridRedisPostgreSQLCache) -> None:
    await _fill(hybrid.postgres, 3_000)
    done = 0
    for turns in range(0, 60, 3):
        cache = _cache(hybrid)
        task = asyncio.create_task(cache.warm("default"))
        for _ in range(turns):
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        tier = cache.store.tier
        assert all(tier.get(place) is not None for place in tier.places())
        near = await _redis_keys(hybrid.redis, range(3_000))
        assert len(near) >= done, "what is copied stays"
        done = len(near)
    report = await _cache(hybrid).warm("default")
    assert (report.copied + report.present, report.loaded) == (3_000, 3_000)
    assert report.complete
    assert len(await hybrid.get("default", [key(n) for n in range(1_000)])) == 1_000


async def test_without_redis_memory_is_filled_from_postgres(
    postgres: PostgresBackend, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "llmcache")
    await _fill(postgres, 20)
    redis = RedisBackend(_NOBODY["redis"], timeout=0.5)
    async with HybridRedisPostgreSQLCache(postgres=postgres, redis=redis) as hybrid:
        report = await _cache(hybrid).warm("default")
        assert (report.copied, report.loaded) == (0, 20)
        assert (report.stopped, report.complete) == ("failed", False)
    assert sum("warm failed" in record.message for record in caplog.records) == 1


async def test_without_postgres_nothing_is_warmed_and_that_is_said(
    redis: RedisBackend, caplog: pytest.LogCaptureFixture
) -> None:
    postgres = PostgresBackend(_NOBODY["postgres"])
    async with HybridRedisPostgreSQLCache(postgres=postgres, redis=redis) as hybrid:
        report = await _cache(hybrid).warm("default")
        assert (report.loaded, report.stopped) == (0, "failed")
        with pytest.raises(BackendUnavailableError):
            await hybrid.warm("default", [key(1)])
    assert any("warm failed" in record.message for record in caplog.records)


async def test_a_redis_that_hangs_does_not_hold_a_warming_up_for_ever(
    postgres: PostgresBackend, redis_engines: list[Any]
) -> None:
    await _fill(postgres, 20)
    with RedisServer(redis_engines[0]) as server:
        redis = RedisBackend(server.url, timeout=60.0)
        async with HybridRedisPostgreSQLCache(postgres=postgres, redis=redis) as hybrid:
            await hybrid.get("default", [key(1)])
            server.pause()
            async with asyncio.timeout(30):
                report = await _cache(hybrid).warm("default", seconds=0.2)
            server.resume()
            assert (report.stopped, report.complete) == ("seconds", False)


async def test_postgres_alone_and_redis_alone_fill_memory(
    postgres: PostgresBackend, redis: RedisBackend
) -> None:
    for backend in (postgres, redis):
        await backend.put("default", [framed(n, None, body=_BODY) for n in range(20)])
        report = await _cache(backend).warm("default")
        assert (report.loaded, report.copied, report.complete) == (20, 0, True)


async def test_every_collection_is_warmed_when_none_is_named(
    hybrid: HybridRedisPostgreSQLCache,
) -> None:
    for name in ("one", "two"):
        await hybrid.postgres.put(name, [framed(n, None, body=_BODY) for n in range(10)])
    report = await _cache(hybrid).warm()
    assert (report.copied, report.loaded, report.complete) == (20, 20, True)


async def test_damage_and_what_nobody_can_read_are_skipped(
    hybrid: HybridRedisPostgreSQLCache,
) -> None:
    await _fill(hybrid.postgres, 3)
    await hybrid.postgres.put("default", [entry(3, b"damaged"), framed(4, None, body=b"{")])
    report = await _cache(hybrid).warm("default")
    assert (report.copied, report.loaded, report.skipped) == (5, 3, 2)


async def test_memory_does_not_keep_what_another_process_replaced_meanwhile(
    hybrid: HybridRedisPostgreSQLCache, postgres_server: PostgresServer, redis: RedisBackend
) -> None:
    """The rewrite comes after the reading and before the first call: no answer tells of it."""
    await _fill(hybrid.postgres, 3)
    cache = _cache(hybrid, coherence=0.0)
    real = cache.store.raw

    async def read_and_then(collection: str, keys: Sequence[str]) -> Any:
        found = await real(collection, keys)
        other = HybridRedisPostgreSQLCache(postgres=hybrid.postgres, redis=hybrid.redis)
        await other.put("default", [framed(1, None, body=_BODY)])
        return found

    cache.store.raw = read_and_then  # type: ignore[method-assign]
    assert (await cache.warm("default")).loaded == 3
    async with asyncio.timeout(10):
        while cache.store.held("default", key(1)) is not None:
            await asyncio.sleep(0.01)


async def test_memory_keeps_what_this_process_wrote_meanwhile(
    hybrid: HybridRedisPostgreSQLCache,
) -> None:
    await _fill(hybrid.postgres, 3)
    cache = _cache(hybrid)
    real = cache.store.raw
    newer = cache.store.codec.decode(key(1), framed(1, None, body=_BODY).data)
    newer = newer._replace(model="newer")

    async def read_and_then(collection: str, keys: Sequence[str]) -> Any:
        from llmcache.cache.tier import Held  # noqa: PLC0415 - beside its use

        found = await real(collection, keys)
        cache.store.tier.put(("default", key(1)), Held.of(newer, None, "default"))
        return found

    cache.store.raw = read_and_then  # type: ignore[method-assign]
    assert (await cache.warm("default")).loaded == 3
    held = cache.store.tier.get(("default", key(1)))
    assert held is not None
    assert held.entry.model == "newer"


async def test_memory_use_does_not_grow_with_what_is_copied(
    hybrid: HybridRedisPostgreSQLCache,
) -> None:
    for start in range(0, 20_000, 1_000):
        entries = [entry(n, b"x" * 1_000) for n in range(start, start + 1_000)]
        await hybrid.postgres.put("default", entries)
    cache = _cache(hybrid, memory_bytes=0)
    await cache.warm("default", max_entries=1_000, seconds=60.0)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    report = await cache.warm("default", seconds=60.0)
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    assert (report.copied, report.present) == (19_000, 1_000)
    assert report.copied_bytes == 19_000_000
    assert peak < 6_000_000, "one batch, and not all"
    for start in range(0, 20_000, 1_000):
        await hybrid.redis.delete("default", [key(n) for n in range(start, start + 1_000)])


async def test_a_ranking_that_names_an_entry_twice_loads_it_once(
    postgres: PostgresBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when it is used between two pages."""
    await _fill(postgres, 5)
    real = postgres.ranked

    async def twice(collection: str, order: Any) -> AsyncIterator[Any]:
        for _ in range(2):
            async for info in real(collection, order):
                yield info

    monkeypatch.setattr(postgres, "ranked", twice)
    cache = _cache(postgres)
    report = await cache.warm("default")
    assert (report.loaded, report.bytes) == (5, cache.store.tier.bytes)


async def test_large_entries_come_in_small_batches(hybrid: HybridRedisPostgreSQLCache) -> None:
    large = [StoredEntry(key(n), b"x" * 3_000_000) for n in range(4)]
    for each in large:
        await hybrid.postgres.put("default", [each])
    sizes: list[int] = []
    real = hybrid.warm

    async def noted(collection: str, keys: Sequence[str], /) -> Copied:
        sizes.append(len(keys))
        return await real(collection, keys)

    hybrid.warm = noted  # type: ignore[method-assign]
    report = await _cache(hybrid).warm("default", seconds=60.0)
    assert (report.copied, sizes) == (4, [1, 1, 1, 1])
