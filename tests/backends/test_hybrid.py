"""Postgres and Redis together, on real servers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable
from typing import Any

import pytest
from backend_support import entry, key

from llmcache.backends import Backend
from llmcache.backends._circuit import Circuit
from llmcache.backends.hybrid import HybridRedisPostgreSQLCache
from llmcache.backends.postgres import PostgresBackend
from llmcache.backends.redis import RedisBackend
from llmcache.errors import BackendUnavailableError
from llmcache.testing import BackendTests
from llmcache.testing.servers import RedisServer

_NOBODY = {"postgres": "postgresql://postgres@127.0.0.1:9/x", "redis": "redis://127.0.0.1:9"}


class TestHybrid(BackendTests):
    @pytest.fixture
    async def backend(self, hybrid: HybridRedisPostgreSQLCache) -> Backend:
        return hybrid


async def _evict(hybrid: HybridRedisPostgreSQLCache) -> None:
    """Let Redis forget the entry, as it does when memory runs short."""
    redis = hybrid.redis
    await (await redis._client._opened()).unlink(redis._place("default", key(1)))


async def test_a_rewrite_is_never_undone_by_a_slow_reader(
    hybrid: HybridRedisPostgreSQLCache,
) -> None:
    """Readers fill Redis from Postgres while a writer rewrites and removes: no read is stale."""
    written, near, reads = -1, 0, 0
    stale = []

    async def read(number: int) -> None:
        nonlocal near, reads
        while written < 1_000:
            known = written
            if number == 0:
                await _evict(hybrid)
            near += key(1) in await hybrid.redis.get("default", [key(1)])
            found = (await hybrid.get("default", [key(1)])).get(key(1))
            reads += 1
            if known >= 0 and (found is None or int(found) < known):
                stale.append((known, found))

    async def write() -> None:
        nonlocal written
        for number in range(1_001):
            await hybrid.put("default", [entry(1, b"%d" % number)])
            written = number

    await asyncio.gather(write(), *(read(number) for number in range(4)))
    assert stale == []
    assert near > reads / 10, "Redis took no part"


async def test_what_is_removed_does_not_come_back(hybrid: HybridRedisPostgreSQLCache) -> None:
    await hybrid.put("default", [entry(1)])
    await _evict(hybrid)
    _, tickets = await hybrid.redis.look("default", [key(1)])
    slow = list((await hybrid.postgres.get_versions("default", [key(1)])).values())
    await hybrid.delete("default", [key(1)])
    assert await hybrid.redis.fill("default", slow, tickets) == 0  # the slow reader arrives
    assert await hybrid.redis.put_newer("default", slow) == 0  # and the slow writer
    assert dict(await hybrid.get("default", [key(1)])) == {}
    await hybrid.put("default", [entry(1, b"anew")])
    assert (await hybrid.redis.get("default", [key(1)]))[key(1)] == b"anew"


async def test_without_redis_postgres_serves(
    postgres: PostgresBackend, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "llmcache")
    redis = RedisBackend(_NOBODY["redis"], timeout=0.5)
    async with HybridRedisPostgreSQLCache(postgres=postgres, redis=redis) as hybrid:
        await hybrid.put("default", [entry(1)])
        for _ in range(3):
            assert (await hybrid.get("default", [key(1)]))[key(1)] == b"data"
        lease = await hybrid.try_lease("default", key(1))
        assert lease is not None
        assert await hybrid.try_lease("default", key(1)) is None
        await lease.release()
        assert await hybrid.delete("default", [key(1)]) == 1
    said = [record.message for record in caplog.records]
    assert len(said) == len(set(said)) <= 5, "one warning an operation"


async def test_without_postgres_redis_serves(redis: RedisBackend) -> None:
    postgres = PostgresBackend(_NOBODY["postgres"])
    async with HybridRedisPostgreSQLCache(postgres=postgres, redis=redis) as hybrid:
        await redis.put("default", [entry(1)])
        assert (await hybrid.get("default", [key(1)]))[key(1)] == b"data"
        assert set(await hybrid.get("default", [key(1), key(2)])) == {key(1)}
        with pytest.raises(BackendUnavailableError):
            await hybrid.get("default", [key(2)])
        with pytest.raises(BackendUnavailableError):
            await hybrid.put("default", [entry(2)])
        assert dict(await redis.get("default", [key(2)])) == {}, "not in one and not in the other"
        lease = await hybrid.try_lease("default", key(1))
        assert lease is not None
        await lease.release()


async def test_what_redis_lost_comes_back_from_postgres(
    hybrid: HybridRedisPostgreSQLCache,
) -> None:
    await hybrid.put("default", [entry(n, b"%d" % n) for n in range(50)])
    await hybrid.redis.delete("default", [])
    await _evict(hybrid)
    keys = [key(n) for n in range(50)]
    assert len(await hybrid.get("default", keys)) == 50
    await asyncio.gather(*hybrid._tasks)
    assert (await hybrid.redis.get("default", [key(1)]))[key(1)] == b"1"


async def test_damage_in_redis_alone_is_mended_from_postgres(
    hybrid: HybridRedisPostgreSQLCache,
) -> None:
    await hybrid.put("default", [entry(1)])
    place = hybrid.redis._place("default", key(1))
    value = await (await hybrid.redis._client._opened()).get(place)
    await (await hybrid.redis._client._opened()).set(place, value[:-1] + b"\0")
    damaged = (await hybrid.get("default", [key(1)]))[key(1)]
    assert damaged != b"data"
    await hybrid.quarantine("default", key(1), damaged)
    assert (await hybrid.get("default", [key(1)]))[key(1)] == b"data"


_PATIENCE = 1.0
"""How long a caller waits, in seconds."""


async def _timed(work: Awaitable[Any]) -> float:
    started = time.monotonic()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE):
            await work
    return time.monotonic() - started


async def test_a_redis_that_hangs_costs_one_call_and_not_all(
    postgres: PostgresBackend, redis_engines: list[Any]
) -> None:
    with RedisServer(redis_engines[0]) as server:
        redis = RedisBackend(server.url, timeout=5.0)
        async with HybridRedisPostgreSQLCache(postgres=postgres, redis=redis) as hybrid:
            await hybrid.put("default", [entry(1)])
            server.pause()
            assert await _timed(hybrid.get("default", [key(1)])) >= _PATIENCE
            times = [await _timed(hybrid.get("default", [key(1)])) for _ in range(5)]
            assert max(times) < _PATIENCE
            assert (await hybrid.get("default", [key(1)]))[key(1)] == b"data"
            server.resume()
            async with asyncio.timeout(20):
                while hybrid._near.is_open:  # it is tried again by itself
                    await hybrid.get("default", [key(1)])
                    await asyncio.sleep(0.05)


def test_a_circuit_opens_after_refusals_and_closes_after_one_success() -> None:
    now = 0.0
    circuit = Circuit("redis", clock=lambda: now)

    def call(*, fails: bool) -> bool:
        """Return whether the call was let through."""
        reached = False
        with contextlib.suppress(BackendUnavailableError), circuit.use("get"):
            reached = True
            if fails:
                raise BackendUnavailableError("refused")
        return reached

    assert [call(fails=True) for _ in range(5)] == [True, True, True, False, False]
    now += 1.1
    assert [call(fails=True), call(fails=True)] == [True, False]
    now += 1.1
    assert not call(fails=False), "the pause has doubled"
    now += 1.0
    assert [call(fails=False), call(fails=True), call(fails=True)] == [True] * 3


async def test_many_that_fail_at_once_open_a_circuit_once() -> None:
    now = 0.0
    circuit = Circuit("redis", clock=lambda: now)
    release = asyncio.Event()

    async def call() -> None:
        with circuit.use("get"):
            await release.wait()
            raise BackendUnavailableError("slow")

    calls = [asyncio.create_task(call()) for _ in range(50)]
    await asyncio.sleep(0)
    now += 1.0
    release.set()
    await asyncio.gather(*calls, return_exceptions=True)
    assert circuit.is_open
    now += 1.1
    assert not circuit.is_open, "the pause is that of one failure"


async def test_only_one_call_tries_a_store_that_was_down() -> None:
    now = 0.0
    circuit = Circuit("redis", clock=lambda: now)
    with contextlib.suppress(BackendUnavailableError), circuit.use("get"):
        now += 1.0  # a time-out: the first one opens
        raise BackendUnavailableError("slow")
    assert circuit.is_open
    now += 1.1
    with circuit.use("get"):
        assert circuit.is_open, "for everybody else"
    assert not circuit.is_open


async def test_a_caller_that_left_early_says_nothing_of_the_store() -> None:
    circuit = Circuit("redis")

    async def call() -> None:
        with circuit.use("get"):
            await asyncio.sleep(60)

    for _ in range(5):
        task = asyncio.create_task(call())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert not circuit.is_open


async def test_what_redis_missed_is_removed_when_it_is_reached_again(
    postgres: PostgresBackend, redis: RedisBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process is cut off from Redis and rewrites; the others must not read the old for long."""
    other = HybridRedisPostgreSQLCache(postgres=postgres, redis=redis)
    cut_off = RedisBackend(_NOBODY["redis"], timeout=0.5)
    async with HybridRedisPostgreSQLCache(postgres=postgres, redis=cut_off) as hybrid:
        await other.put("default", [entry(1, b"old"), entry(2)])
        await hybrid.put("default", [entry(1, b"new")])
        await hybrid.delete("default", [key(2)])
        assert (await other.get("default", [key(1)]))[key(1)] == b"old"
        hybrid.redis = redis  # reached again
        async with asyncio.timeout(20):
            while (await other.get("default", [key(1), key(2)])) != {key(1): b"new"}:
                await asyncio.sleep(0.05)
        assert not hybrid._owed
        await asyncio.gather(*other._tasks)


async def test_what_is_owed_is_not_read_and_is_paid_at_the_latest_when_closing(
    postgres: PostgresBackend, redis: RedisBackend
) -> None:
    """Redis is back, and calls still leave it alone: who rewrote does not read the old, nor leave it."""
    async with HybridRedisPostgreSQLCache(postgres=postgres, redis=redis) as hybrid:
        await hybrid.put("default", [entry(1, b"old"), entry(2, b"old")])
        with contextlib.suppress(BackendUnavailableError), hybrid._near.use("get"):
            hybrid._near._refusals = 2
            raise BackendUnavailableError("refused")
        assert hybrid._near.is_open
        await hybrid.put("default", [entry(1, b"new")])
        hybrid._owed.stop()  # closed, before anything was paid
        assert hybrid._owed
        hybrid._near._pause = 0.0
        assert (await redis.get("default", [key(1)]))[key(1)] == b"old"
        assert (await hybrid.get("default", [key(1)]))[key(1)] == b"new"
        hybrid._near._pause, hybrid._near._open_until = 30.0, time.monotonic() + 30.0
        await hybrid.put("default", [entry(2, b"new")])
        assert hybrid._owed
    assert not hybrid._owed
    assert dict(await redis.get("default", [key(1), key(2)])) == {}


async def test_what_is_owed_is_bounded(
    postgres: PostgresBackend, redis: RedisBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llmcache.backends import hybrid as module  # noqa: PLC0415

    monkeypatch.setattr(module, "_MOST_OWED", 10)
    async with HybridRedisPostgreSQLCache(postgres=postgres, redis=redis) as hybrid:
        hybrid._owed.replacements("default", {key(n): n for n in range(30)})
        owed = [n for n in range(30) if ("default", key(n)) in hybrid._owed]
        assert owed == list(range(20, 30))


async def test_what_a_redis_had_by_itself_does_not_hide_a_rewrite(
    hybrid: HybridRedisPostgreSQLCache,
) -> None:
    """Its versions were times, which are above those of any database; then one was put behind it."""
    await hybrid.redis.put("default", [entry(1, b"by itself")])
    for data in (b"rewritten", b"and again"):
        await hybrid.put("default", [entry(1, data)])
        assert (await hybrid.get("default", [key(1)]))[key(1)] == data
