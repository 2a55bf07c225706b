"""Servers that stand still for a while: a call costs its deadline, and nothing stays taken."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any, TypeAlias

import pytest
from backend_support import entry, key
from server_support import own_database

from llmcache import OpenAIProvider
from llmcache.backends import Backend
from llmcache.backends.hybrid import HybridRedisPostgreSQLCache
from llmcache.backends.postgres import PostgresBackend
from llmcache.backends.redis import RedisBackend
from llmcache.testing import DemoUpstream
from llmcache.testing.servers import PostgresServer, RedisServer, ServerEngine

pytestmark = pytest.mark.alone

Make: TypeAlias = Callable[..., OpenAIProvider]

_DEADLINE = 1.0
# What a busy machine may add.
_SLACK = 3.0
_NOBODY = "redis://127.0.0.1:9"


@pytest.fixture(scope="module")
def server(pg_engines: list[ServerEngine]) -> Iterator[PostgresServer]:
    """A Postgres that only these tests freeze."""
    for engine in pg_engines:
        if engine.program is not None:
            with PostgresServer(engine) as started:
                yield started
            return
    pytest.skip("the servers on this machine are not ours to freeze")


@pytest.fixture
async def database(server: PostgresServer) -> AsyncIterator[str]:
    async with own_database(server) as url:
        yield url


@pytest.fixture
def make(upstream: DemoUpstream, database: str, redis_server: RedisServer) -> Make:
    """A function that makes a provider as on another machine."""

    def make(kind: str, redis_url: str = redis_server.url, **options: Any) -> OpenAIProvider:
        postgres = PostgresBackend(database)
        backend: Backend = postgres
        if kind == "pg_redis":
            redis = RedisBackend(redis_url, prefix=database.rpartition("/")[2])
            backend = HybridRedisPostgreSQLCache(postgres=postgres, redis=redis)
        return OpenAIProvider(
            "demo",
            base_url=upstream.base_url,
            api_key="sk-test",
            cache_backend=backend,
            cache_options={"memory_bytes": 0, "deadline": _DEADLINE, **options},
        )

    return make


@contextmanager
def _frozen(server: PostgresServer) -> Iterator[None]:
    server.pause()
    try:
        yield
    finally:
        server.resume()


async def _seconds(work: Awaitable[Any]) -> float:
    started = time.monotonic()
    await work
    return time.monotonic() - started


@pytest.mark.parametrize("kind", ["pg", "pg_redis"])
@pytest.mark.parametrize("control", ["", "regen_cache", "rewrite_cache"])
async def test_a_frozen_postgres_costs_a_deadline(
    server: PostgresServer, make: Make, kind: str, control: str
) -> None:
    async with make(kind) as provider:
        for question in ("known", "other"):
            await provider.complete(question, cache_response=True)
        with _frozen(server):
            asked = provider.complete(
                "q", cache_response=True, **({control: True} if control else {})
            )
            assert await _seconds(asked) < _DEADLINE + _SLACK


_NUMBERS = itertools.count(10)
_OPERATIONS: dict[str, Callable[[PostgresBackend], Awaitable[Any]]] = {
    "get": lambda backend: backend.get("default", [key(1)]),
    "put": lambda backend: backend.put("default", [entry(1)]),
    "load": lambda backend: backend.load("default", [entry(1)]),
    "fence": lambda backend: backend.fence("default"),
    "touch": lambda backend: backend.touch("default", {key(1): 1}),
    "dictionaries": lambda backend: backend.dictionaries("default"),
    "lease": lambda backend: backend.try_lease("default", key(next(_NUMBERS))),
}


@pytest.mark.parametrize("operation", _OPERATIONS)
async def test_who_gives_up_waits_for_nothing(
    server: PostgresServer, database: str, operation: str
) -> None:
    """Not for the server to say that it has ended the statement, either."""
    work = _OPERATIONS[operation]
    async with PostgresBackend(database, statement_timeout=60.0) as backend:
        await backend.put("default", [entry(1)])
        await work(backend)
        with _frozen(server):
            started = time.monotonic()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await work(backend)
            assert time.monotonic() - started < 0.3 + _SLACK
        assert len(await backend.get("default", [key(1)])) == 1
        await work(backend)


async def test_what_was_given_up_is_ended_on_the_server(database: str) -> None:
    """It does not wait there for its turn, to be done when nobody expects it any more."""
    async with PostgresBackend(database) as backend, PostgresBackend(database) as other:
        await backend.put("default", [entry(1, b"old")])
        blocked, locked = asyncio.Event(), asyncio.Event()

        async def lock(connection: Any) -> None:
            await connection.execute("LOCK TABLE llmcache.entries")
            locked.set()
            await blocked.wait()

        locking = asyncio.create_task(other._database.transact("lock", lock))
        await locked.wait()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await backend.put("default", [entry(1, b"late")])
        waiting = (
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        async with asyncio.timeout(20):
            while (await other._database.fetch("waiting", waiting))[0][0]:
                await asyncio.sleep(0.02)
        blocked.set()
        await locking
        assert dict(await backend.get("default", [key(1)])) == {key(1): b"old"}


# --- leases -----------------------------------------------------------------------------------


async def _taken(backend: PostgresBackend, number: int) -> None:
    """Wait until a lease can be had, and give it back."""
    async with asyncio.timeout(20):
        while (lease := await backend.try_lease("default", key(number))) is None:
            await asyncio.sleep(0.02)
    await lease.release()


async def test_leases_given_up_while_postgres_is_frozen_are_free_afterwards(
    server: PostgresServer, database: str
) -> None:
    async with PostgresBackend(database) as one, PostgresBackend(database) as other:
        leases = [await one.try_lease("default", key(number)) for number in range(4)]
        await other.try_lease("default", key(9))
        with _frozen(server):
            for lease in leases:
                assert lease is not None
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.1):
                        await lease.release()
        for number in range(4):
            await _taken(other, number)
            await _taken(one, number)


async def test_a_lease_that_cannot_be_given_up_ends_with_its_session(
    server: PostgresServer, database: str
) -> None:
    """What became of its statement nobody knows."""
    async with PostgresBackend(database, statement_timeout=0.5) as one:
        async with PostgresBackend(database) as other:
            lease = await one.try_lease("default", key(1))
            assert lease is not None
            with _frozen(server):
                await lease.release()
            await _taken(other, 1)
            await _taken(one, 1)


async def test_calls_under_way_when_both_stores_are_gone_leave_nothing_taken(
    server: PostgresServer, make: Make, upstream: DemoUpstream
) -> None:
    async with AsyncExitStack() as stack:
        one, other = [
            await stack.enter_async_context(make("pg_redis", _NOBODY, flight_timeout=30.0))
            for _ in range(2)
        ]
        for provider in (one, other):
            await provider.complete("warm", cache_response=True)
        upstream.latency = 0.5
        questions = [f"q{number}" for number in range(8)]
        calls = [asyncio.create_task(one.complete(q, cache_response=True)) for q in questions]
        while upstream.calls < 1 + len(questions):
            await asyncio.sleep(0.01)
        with _frozen(server):
            started = time.monotonic()
            await asyncio.gather(*calls)
            assert time.monotonic() - started < 0.5 + _DEADLINE + _SLACK
        upstream.latency = 0.0
        backend: Any = one.cache.backend
        async with asyncio.timeout(30):
            while backend.postgres._leases._bound.get().held:
                await asyncio.sleep(0.02)
        for question in questions:
            asked = other.complete(question, cache_response=True)
            assert await _seconds(asked) < _DEADLINE + _SLACK


async def test_a_machine_that_is_gone_is_missed_soon(database: str) -> None:
    """It cannot say that it gives its leases up."""
    async with PostgresBackend(database) as backend:
        await backend.try_lease("default", key(1))
        session = backend._leases._bound.get().connection  # type: ignore[union-attr]
        shown = [
            int(await session.fetchval(f"SHOW tcp_keepalives_{name}"))
            for name in ("idle", "interval", "count")
        ]
        idle, interval, count = shown
        assert 0 < idle + interval * count <= 15


async def test_a_given_pool_that_lost_the_session_of_leases_gives_another(database: str) -> None:
    import asyncpg  # noqa: PLC0415 - for this test alone

    async with asyncpg.create_pool(database, min_size=1, max_size=4) as pool:
        async with PostgresBackend(pool=pool) as backend:
            assert await backend.try_lease("default", key(1)) is not None
            backend._leases._bound.get().connection.terminate()  # type: ignore[union-attr]
            await _taken(backend, 1)


# --- a circuit ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pg", "redis"])
async def test_one_call_and_not_each_pays_for_a_server_that_hangs(
    server: PostgresServer,
    make: Make,
    redis_engines: list[ServerEngine],
    upstream: DemoUpstream,
    kind: str,
) -> None:
    frozen: PostgresServer | RedisServer = server
    with RedisServer(next(each for each in redis_engines if each.program)) as redis:
        provider = make(kind)
        if kind == "redis":
            frozen = redis
            options = {"memory_bytes": 0, "deadline": _DEADLINE}
            provider = OpenAIProvider(
                "demo",
                base_url=upstream.base_url,
                api_key="sk-test",
                cache_backend=RedisBackend(redis.url),
                cache_options=options,
            )
        async with provider:
            await provider.complete("known", cache_response=True)
            frozen.pause()
            try:
                started = time.monotonic()
                for number in range(10):
                    await provider.complete(f"q{number}", cache_response=True)
                # Every one that tries anew pays again; in the pauses nobody does.
                assert time.monotonic() - started < 5 * _DEADLINE
            finally:
                frozen.resume()
            async with asyncio.timeout(60):
                while True:
                    found = await provider.complete("known", cache_response=True)
                    if found.cache is not None and found.cache.status == "hit":
                        break
                    await asyncio.sleep(0.05)
