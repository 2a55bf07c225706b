"""Embeddings and the table of controls: what each of them does to vectors, and what is said of them."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from cache_support import Clock, until

from llmcache import CacheInfo, CacheMissError, EmbeddingResult, InvalidRequestError, OpenAIProvider
from llmcache.errors import ServerError
from llmcache.testing.upstream import DemoUpstream, Reply, Upstream, UpstreamRequest

MakeProvider = Callable[..., OpenAIProvider]


class Counting(Upstream):
    """Answers every input with the number of the call, and fails when it is told to."""

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.fails = False
        self.asked: list[list[str]] = []

    def _answer(self, request: UpstreamRequest) -> Reply:
        if self.fails:
            return Reply(500, b'{"error": {"message": "down"}}')
        body = request.json()
        inputs = body["input"] if isinstance(body["input"], list) else [body["input"]]
        self.asked.append(inputs)
        number = base64.b64encode(struct.pack("<f", self.calls)).decode()
        data = [{"index": i, "embedding": number} for i in range(len(inputs))]
        usage = {"prompt_tokens": len(inputs), "total_tokens": len(inputs), "cost": 0.5}
        return Reply(body=json.dumps({"data": data, "model": "demo", "usage": usage}).encode())


@pytest.fixture
async def server() -> AsyncIterator[Counting]:
    async with Counting() as made:
        yield made


@pytest.fixture
async def asked(make_provider: MakeProvider, server: Counting) -> AsyncIterator[OpenAIProvider]:
    async with make_provider(base_url=server.base_url, attempts=1) as made:
        yield made


def told(result: EmbeddingResult) -> CacheInfo:
    assert result.cache is not None
    return result.cache


def numbers(result: EmbeddingResult) -> list[float]:
    return [vector[0] for vector in result.embeddings]


# --- what a call may do -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("regen_cache", {"cache_response": True, "regen_cache": True}),
        ("samples", {"cache_response": True, "samples": 3}),
        ("samples", {"samples": 3}),
    ],
)
async def test_what_vectors_have_not_is_refused(
    asked: OpenAIProvider, server: Counting, name: str, options: Any
) -> None:
    with pytest.raises(InvalidRequestError, match="embeddings have no") as raised:
        await asked.embed(["a"], **options)
    assert raised.value.path == name
    assert not server.calls


async def test_rewriting_replaces_every_vector(asked: OpenAIProvider) -> None:
    await asked.embed(["a", "b"], cache_response=True)
    again = await asked.embed(["a", "b"], cache_response=True, rewrite_cache=True)
    assert (told(again).status, numbers(again)) == ("miss", [2.0, 2.0])
    assert numbers(await asked.embed(["b", "a"], cache_response=True)) == [2.0, 2.0]


async def test_a_sample_is_an_entry_of_its_own(asked: OpenAIProvider) -> None:
    first = await asked.embed("a", cache_response=True)
    other = await asked.embed("a", cache_response=True, sample=1)
    assert (numbers(first), numbers(other)) == ([1.0], [2.0])
    assert numbers(await asked.embed("a", cache_response=True, sample=1)) == [2.0]


async def test_tags_reach_every_vector(asked: OpenAIProvider) -> None:
    await asked.embed(["a", "b"], cache_response=True, tags=["v1"])
    await asked.embed(["c"], cache_response=True, tags=["v2"])
    assert await asked.cache.invalidate(tag="v1") == 2
    assert told(await asked.embed(["a", "c"], cache_response=True)).items_hit == 1


async def test_offline_never_calls(asked: OpenAIProvider, server: Counting) -> None:
    await asked.embed(["a"], cache_response=True)
    assert numbers(await asked.embed(["a", "a"], mode="offline")) == [1.0, 1.0]
    with pytest.raises(CacheMissError) as raised:
        await asked.embed(["a", "b"], mode="offline")
    assert raised.value.nearest is not None
    assert any("input" in line for line in raised.value.differences)
    assert server.calls == 1


async def test_ttl_and_max_age_hold_for_every_vector(
    asked: OpenAIProvider, server: Counting, clock: Clock
) -> None:
    await asked.embed(["a"], cache_response=True, ttl=10)
    clock.advance(5)
    await asked.embed(["b"], cache_response=True, ttl=10)
    clock.advance(4)
    assert told(await asked.embed(["a", "b"], cache_response=True)).items_hit == 2
    await asked.embed(["a", "b"], cache_response=True, max_age=5)
    assert server.asked[-1] == ["a"]
    clock.advance(7)
    await asked.embed(["a", "b"], cache_response=True)
    assert server.asked[-1] == ["b"]


@pytest.mark.parametrize("memory_bytes", [0, 2**20])
async def test_a_stale_vector_serves_when_the_provider_fails(
    make_provider: MakeProvider, server: Counting, clock: Clock, memory_bytes: int
) -> None:
    options: dict[str, Any] = {"cache_response": True, "ttl": 10, "stale_if_error": 60}
    memory = {"memory_bytes": memory_bytes}
    async with make_provider(
        base_url=server.base_url, attempts=1, cache_options=memory
    ) as provider:
        await provider.embed(["a", "b"], **options)
        clock.advance(20)
        server.fails = True
        result = await provider.embed(["b", "a"], **options)
        info = told(result)
        assert (info.status, info.stale, info.items_hit, info.age) == ("hit", True, 2, 20.0)
        assert "down" in (info.reason or "")
        assert provider.cache.counters.stale_hits == 2
        with pytest.raises(ServerError):
            await provider.embed(["a", "new"], **options)
        clock.advance(60)
        with pytest.raises(ServerError):
            await provider.embed(["a"], **options)
        server.fails = False
        assert not told(await provider.embed(["a", "b"], **options)).stale


async def test_a_stale_vector_serves_while_it_is_made_anew(
    asked: OpenAIProvider, server: Counting, clock: Clock
) -> None:
    options: dict[str, Any] = {"cache_response": True, "ttl": 10, "stale_while_revalidate": 60}
    await asked.embed(["a", "b"], **options)
    clock.advance(20)
    await asked.embed(["c"], **options)
    stale = await asked.embed(["a", "c", "b"], **options)
    assert (numbers(stale), told(stale).status, told(stale).stale) == ([1.0, 2.0, 1.0], "hit", True)
    await until(lambda: len(server.asked) == 3)
    assert server.asked[-1] == ["a", "b"]
    await until(lambda: not asked.cache._flights.tasks())
    fresh = await asked.embed(["a", "b"], **options)
    assert (numbers(fresh), told(fresh).stale) == ([3.0, 3.0], False)
    # What has to wait for a call anyway gets the new vectors from it.
    clock.advance(20)
    mixed = await asked.embed(["a", "d"], **options)
    assert (numbers(mixed), told(mixed).stale) == ([4.0, 4.0], False)
    clock.advance(20)
    with pytest.raises(CacheMissError):
        await asked.embed(["a"], mode="offline", stale_while_revalidate=60)


# --- what is said of it -------------------------------------------------------------------------


async def test_the_tier_is_memory_only_when_all_came_from_there(
    make_provider: MakeProvider, server: Counting
) -> None:
    async with make_provider(base_url=server.base_url) as before:
        await before.embed(["a", "b"], cache_response=True)
    async with make_provider(base_url=server.base_url) as provider:
        counters = provider.cache.counters
        tiers = []
        for texts in (["a"], ["a"], ["a", "b"], ["b", "a", "b"], ["a", "new"], ["other"]):
            info = told(await provider.embed(texts, cache_response=True))
            tiers.append((info.status, info.tier, info.items_hit))
        assert tiers == [
            ("hit", "backend", 1),
            ("hit", "memory", 1),
            ("hit", "backend", 2),
            ("hit", "memory", 3),
            ("miss", "memory", 1),
            ("miss", None, 0),
        ]
        assert (counters.hits, counters.memory_hits, counters.misses) == (8, 6, 2)
        assert counters.stored == 2


async def test_age_and_savings_are_those_of_the_vectors_found(
    asked: OpenAIProvider, clock: Clock
) -> None:
    await asked.embed(["a", "b"], cache_response=True)
    clock.advance(30)
    made = told(await asked.embed(["c"], cache_response=True))
    assert (made.age, made.saved_seconds, made.saved_cost) == (None, None, None)
    clock.advance(12)
    one = told(await asked.embed(["c"], cache_response=True))
    assert (one.age, float(one.saved_cost or 0)) == (12.0, 0.5)
    all_ = told(await asked.embed(["c", "a", "b", "new"], cache_response=True))
    assert (all_.age, float(all_.saved_cost or 0)) == (42.0, 1.0)
    assert (all_.saved_seconds or 0) > (one.saved_seconds or 0) > 0


async def test_who_joins_a_call_shares_it(
    make_provider: MakeProvider, upstream: DemoUpstream
) -> None:
    upstream.latency = 0.1
    async with make_provider() as provider:
        results = await asyncio.gather(
            *(provider.embed(["a", "b"], cache_response=True) for _ in range(3))
        )
        infos = [told(result) for result in results]
        assert sorted(info.status for info in infos) == ["hit", "hit", "miss"]
        assert {info.tier for info in infos if info.hit} == {"flight"}
        counters = provider.cache.counters
        assert (counters.hits, counters.shared, counters.misses) == (4, 4, 2)
        assert counters.stored == 2
        assert upstream.calls == 1


async def test_rejecting_removes_every_vector_of_the_call(asked: OpenAIProvider) -> None:
    await asked.embed(["a", "b", "c"], cache_response=True)
    found = await asked.embed(["a", "b", "a"], cache_response=True)
    assert await told(found).reject()
    again = await asked.embed(["a", "b", "c"], cache_response=True)
    assert told(again).items_hit == 1
