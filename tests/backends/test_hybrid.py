"""Postgres and Redis together, on real servers."""

from __future__ import annotations

import asyncio
import logging

import pytest
from backend_support import entry, key

from llmcache.backends import Backend
from llmcache.backends.hybrid import HybridRedisPostgreSQLCache
from llmcache.backends.postgres import PostgresBackend
from llmcache.backends.redis import RedisBackend
from llmcache.errors import BackendUnavailableError
from llmcache.testing import BackendTests

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
    assert len(said) == len(set(said)) <= 4, "one warning an operation"


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
