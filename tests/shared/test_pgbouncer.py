"""Postgres behind PgBouncer in transaction mode: no two statements need be of one session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest
from backend_support import entry, key
from pgbouncer import PgBouncer, find_pgbouncer
from server_support import emptied
from shared_support import status

from llmcache import OpenAIProvider
from llmcache.backends import Backend
from llmcache.backends.hybrid import HybridRedisPostgreSQLCache
from llmcache.backends.postgres import PostgresBackend
from llmcache.backends.redis import RedisBackend
from llmcache.testing import BackendTests, DemoUpstream
from llmcache.testing.servers import PostgresServer


@pytest.fixture(scope="module")
def pooler(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a PgBouncer in transaction mode."""
    engine = find_pgbouncer()
    if engine is None:
        pytest.skip("no pgbouncer here: apt install pgbouncer, or LLMCACHE_TEST_PGBOUNCER_URL")
    with PgBouncer(engine, postgres_server.url) as server:
        yield server.url


@pytest.fixture
async def backend(pooler: str) -> AsyncIterator[PostgresBackend]:
    async with emptied(pooler, statement_cache_size=0) as backend:
        yield backend


class TestPooled(BackendTests):
    @pytest.fixture
    async def backend(self, pooler: str) -> AsyncIterator[Backend]:
        async with emptied(pooler, statement_cache_size=0) as backend:
            yield backend

    @pytest.fixture
    def leases(self) -> None:
        pytest.skip("sessions are not ours: everybody gets a lease")


async def test_many_that_share_two_connections_get_their_own_answers(pooler: str) -> None:
    """Statements have no names: what one client prepared, another must not execute."""
    async with emptied(pooler, statement_cache_size=0) as first:
        others = [PostgresBackend(pooler, statement_cache_size=0) for _ in range(3)]
        backends = [first, *others]

        async def use(backend: PostgresBackend, number: int) -> None:
            collection = f"c{number}"
            for turn in range(10):
                await backend.put(collection, [entry(number, b"%d-%d" % (number, turn))])
                found = await backend.get(collection, [key(number), key(number + 1)])
                assert dict(found) == {key(number): b"%d-%d" % (number, turn)}
                await backend.touch(collection, {key(number): 1})
                assert await backend.revision(collection) == turn * 2
                assert await backend.delete(collection, [key(number)]) == 1
                await backend.put(collection, [entry(number, b"again")])

        await asyncio.gather(*(use(backends[n % 4], n) for n in range(20)))
        for backend in others:
            await backend.aclose()


async def test_no_lock_is_left_behind(backend: PostgresBackend, pooler: str) -> None:
    """A session's lock would stay with a connection that somebody else is given next."""
    for _ in range(2):
        lease = await backend.try_lease("default", key(1))
        assert lease is not None
        await lease.release()
    connection = await asyncpg.connect(pooler, statement_cache_size=0)
    locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
    assert await connection.fetchval(locks) == 0
    await connection.close()


@pytest.mark.parametrize(
    ("options", "exclusive"),
    [
        ({}, True),
        ({"statement_cache_size": 0}, False),
        ({"statement_cache_size": 0, "leases": True}, True),
        ({"leases": False}, False),
    ],
    ids=str,
)
async def test_who_has_no_sessions_of_their_own_has_no_leases(
    postgres_server: PostgresServer, options: dict[str, Any], *, exclusive: bool
) -> None:
    async with PostgresBackend(postgres_server.url, **options) as backend:
        lease = await backend.try_lease("default", key(1))
        assert lease is not None
        assert (await backend.try_lease("default", key(1)) is None) is exclusive
        await lease.release()


async def test_without_redis_and_sessions_everybody_calls(
    backend: PostgresBackend, pooler: str, upstream: DemoUpstream
) -> None:
    """The hybrid does not fall back on locks that would never be freed."""

    def make() -> OpenAIProvider:
        hybrid = HybridRedisPostgreSQLCache(
            postgres=PostgresBackend(pooler, statement_cache_size=0),
            redis=RedisBackend("redis://127.0.0.1:9"),
        )
        return OpenAIProvider(
            "demo",
            base_url=upstream.base_url,
            api_key="sk-test",
            cache_backend=hybrid,
            cache_options={"deadline": 20.0, "flight_timeout": 600.0},
        )

    upstream.latency = 2.0
    async with make() as one, make() as other, asyncio.timeout(50):
        first = asyncio.create_task(one.complete("q", cache_response=True))
        while not upstream.calls:
            await asyncio.sleep(0.01)
        second = await other.complete("q", cache_response=True)
        assert (await first).content == second.content
        assert upstream.calls == 2
        assert status(await other.complete("q", cache_response=True)) == "hit"
