"""Three servers are one cluster, for a client that knows clusters."""

from __future__ import annotations

import pytest
import redis.asyncio
from local_support import ask

from llmcache.errors import BackendUnavailableError
from llmcache.testing import RedisCluster, ServerEngine, _redis_server


def test_every_engine_makes_one(redis_engines: list[ServerEngine]) -> None:
    for engine in redis_engines[1:]:
        if engine.program is not None:
            with RedisCluster(engine) as cluster:
                check(cluster, engine)


def check(cluster: RedisCluster, engine: ServerEngine) -> None:
    assert cluster.engine == engine.name
    assert len(set(cluster.urls)) == 3
    for node in cluster.nodes:
        assert "cluster_slots_ok:16384" in ask(node, "CLUSTER", "INFO").decode()
    with pytest.raises(BackendUnavailableError, match=r"MOVED 15495 127\.0\.0\.1:"):
        ask(cluster.nodes[0], "GET", "a")


async def test_it_spreads_keys_and_survives_the_loss_of_a_node(
    redis_engines: list[ServerEngine],
) -> None:
    engine = next(engine for engine in redis_engines if engine.program is not None)
    with RedisCluster() as cluster:
        check(cluster, engine)
        keys = {f"key{n}": str(n).encode() for n in range(60)}
        async with redis.asyncio.RedisCluster.from_url(cluster.url) as client:
            for key, value in keys.items():
                await client.set(key, value)
        sizes = [ask(node, "DBSIZE") for node in cluster.nodes]
        assert sum(sizes) == 60
        assert min(sizes) > 0
        cluster.nodes[1].kill()
        cluster.nodes[1].start()
        cluster.wait_until_whole()
        async with redis.asyncio.RedisCluster.from_url(cluster.urls[2]) as client:
            assert {key: await client.get(key) for key in keys} == keys
    assert not any(node.running for node in cluster.nodes)


def test_nodes_that_do_not_agree_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_redis_server, "_AGREE", 0.2)
    monkeypatch.setattr(RedisCluster, "_join", lambda self: None)
    cluster = RedisCluster()
    with pytest.raises(BackendUnavailableError, match="do not agree"):
        cluster.__enter__()
    assert not any(node.running for node in cluster.nodes)
