"""A Redis that moves: a Sentinel promotes the replica, a node of a cluster goes and comes back."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from backend_support import entry, key
from sentinels import ask, replicated
from server_support import own_database
from shared_support import status

from llmcache import OpenAIProvider
from llmcache.backends.hybrid import HybridRedisPostgreSQLCache
from llmcache.backends.postgres import PostgresBackend
from llmcache.backends.redis import RedisBackend
from llmcache.errors import BackendUnavailableError
from llmcache.testing import DemoUpstream
from llmcache.testing.servers import PostgresServer, RedisCluster, RedisServer, ServerEngine

pytestmark = pytest.mark.timeout(120)

Shared = Callable[[str], OpenAIProvider]


@pytest.fixture
async def shared(upstream: DemoUpstream, postgres_server: PostgresServer) -> AsyncIterator[Shared]:
    """A function that makes a provider with the Redis of a URL, and nothing in memory."""
    async with own_database(postgres_server) as dsn:

        def make(redis_url: str) -> OpenAIProvider:
            backend = HybridRedisPostgreSQLCache(
                postgres=PostgresBackend(dsn), redis=RedisBackend(redis_url)
            )
            return OpenAIProvider(
                "demo",
                base_url=upstream.base_url,
                api_key="sk-test",
                cache_backend=backend,
                cache_options={"memory_bytes": 0},
            )

        yield make


@pytest.fixture(scope="module")
def engine(redis_engines: list[ServerEngine]) -> ServerEngine:
    """One that can be killed."""
    for engine in redis_engines:
        if engine.program is not None:
            return engine
    pytest.skip("no Redis of ours")


async def _eventually_put(redis: RedisBackend, collection: str, number: int) -> None:
    """Put an entry as soon as Redis takes it."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(BackendUnavailableError):
                await redis.put(collection, [entry(number)])
                return
            await asyncio.sleep(0.1)


async def _eventually_near(provider: OpenAIProvider, collection: str) -> None:
    """Ask until Redis, which was down, has the answer."""
    hybrid: Any = provider.cache.backend
    found: dict[str, bytes] = {}
    async with asyncio.timeout(60):
        while not found:
            result = await provider.complete("q", cache_response=True, cache_collection=collection)
            assert result.cache is not None
            assert result.cache.status == "hit"
            with contextlib.suppress(BackendUnavailableError):
                found = dict(await hybrid.redis.get(collection, [result.cache.key]))
            await asyncio.sleep(0.1)


async def test_a_promoted_replica_takes_over(engine: ServerEngine) -> None:
    with replicated(engine) as (first, second, sentinel):
        async with RedisBackend(sentinel.url, timeout=2.0) as redis:
            await _eventually_put(redis, "default", 1)
            async with asyncio.timeout(20):
                while ask(second, "DBSIZE") == 0:
                    await asyncio.sleep(0.02)
            first.kill()
            with pytest.raises(BackendUnavailableError):
                await redis.put("default", [entry(2)])
            await _eventually_put(redis, "default", 2)
            assert ask(second, "ROLE")[0] == b"master"
            found = await redis.get("default", [key(1), key(2)])
            assert dict(found) == {key(1): b"data", key(2): b"data"}


async def test_calls_go_on_while_a_sentinel_promotes(
    engine: ServerEngine, shared: Shared, upstream: DemoUpstream
) -> None:
    with replicated(engine) as (first, second, sentinel):
        async with shared(sentinel.url) as provider:
            await provider.complete("q", cache_response=True)
            first.kill()
            for _ in range(5):
                assert status(await provider.complete("q", cache_response=True)) == "hit"
            await _eventually_near(provider, "default")
            assert ask(second, "ROLE")[0] == b"master"
    assert upstream.calls == 1


# --- a cluster ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster(engine: ServerEngine) -> Any:
    """A cluster whose nodes go on without each other."""
    with RedisCluster(engine) as cluster:
        for node in cluster.nodes:
            ask(node, "CONFIG", "SET", "cluster-require-full-coverage", "no")
        yield cluster


def _url(cluster: RedisCluster) -> str:
    return cluster.url.replace("redis://", "redis+cluster://", 1)


def _collection_of(cluster: RedisCluster, number: int) -> str:
    """Return a new collection that lives on a node."""
    while True:
        name = f"c{uuid.uuid4().hex}"
        slot = ask(cluster.nodes[0], "CLUSTER", "KEYSLOT", name)
        if slot * len(cluster.nodes) // 16_384 == number:
            return name


async def _down(cluster: RedisCluster, node: RedisServer) -> None:
    """Kill a node; return when the others know."""
    node.kill()
    others = [each for each in cluster.nodes if each is not node]
    async with asyncio.timeout(30):
        while any(
            b" fail " not in ask(each, "CLUSTER", "NODES").replace(b",", b" ") for each in others
        ):
            await asyncio.sleep(0.05)


async def test_the_other_nodes_serve_what_lives_there(cluster: RedisCluster) -> None:
    here, gone = _collection_of(cluster, 0), _collection_of(cluster, 1)
    async with RedisBackend(_url(cluster), timeout=2.0) as redis:
        for collection in (here, gone):
            await redis.put(collection, [entry(1)])
        await _down(cluster, cluster.nodes[1])
        for number in range(2, 6):
            await redis.put(here, [entry(number)])
            assert set(await redis.get(here, [key(1), key(number)])) == {key(1), key(number)}
            with pytest.raises(BackendUnavailableError):
                await redis.get(gone, [key(1)])
        cluster.nodes[1].start()
        cluster.wait_until_whole()
        await _eventually_put(redis, gone, 2)
        assert set(await redis.get(gone, [key(1), key(2)])) == {key(1), key(2)}


async def test_calls_go_on_without_a_node(
    cluster: RedisCluster, shared: Shared, upstream: DemoUpstream
) -> None:
    here, gone = _collection_of(cluster, 0), _collection_of(cluster, 2)
    async with shared(_url(cluster)) as provider:
        for collection in (here, gone):
            await provider.complete("q", cache_response=True, cache_collection=collection)
        await _down(cluster, cluster.nodes[2])
        for collection in (here, gone) * 3:
            result = await provider.complete("q", cache_response=True, cache_collection=collection)
            assert status(result) == "hit"
        cluster.nodes[2].start()
        cluster.wait_until_whole()
        for collection in (here, gone):
            await _eventually_near(provider, collection)
    assert upstream.calls == 2
