"""The memory tier: what it holds, what it forgets, and that it keeps to its ceiling."""

from __future__ import annotations

import gc
import json
import tracemalloc
from collections.abc import Callable
from decimal import Decimal

import pytest
from cache_support import answering, completion

from llmcache import OpenAIProvider
from llmcache.cache.recording import parse_entry
from llmcache.cache.tier import Held, MemoryTier
from llmcache.providers.openai_chat import ChatDialect
from llmcache.testing.upstream import DemoUpstream
from llmcache.types import CacheEntry, Recording, WireEvent

MakeProvider = Callable[..., OpenAIProvider]
DIALECT = ChatDialect()


def held(number: int, size: int = 1_000) -> Held:
    entry = CacheEntry(f"v1:{number:064x}", Recording(completion("x" * size)), "chat")
    return Held.of(entry, parse_entry(entry, DIALECT), "c")


def place(number: int) -> tuple[str, str]:
    return "c", f"v1:{number:064x}"


def test_the_least_recently_used_goes_first() -> None:
    tier = MemoryTier(3 * held(0).size)
    for number in range(3):
        assert tier.put(place(number), held(number))
    assert tier.get(place(0)) is not None
    tier.put(place(3), held(3))
    assert tier.get(place(1)) is None
    assert {number for number in range(4) if tier.get(place(number))} == {0, 2, 3}


def test_replacing_and_forgetting_give_the_bytes_back() -> None:
    tier = MemoryTier(10**6)
    tier.put(place(1), held(1, 10))
    tier.put(place(1), held(1, 5_000))
    assert tier.bytes == held(1, 5_000).size
    tier.put(("other", "k"), held(2))
    tier.forget(lambda collection, entry: collection == "c")
    assert len(tier) == 1
    tier.discard(("other", "k"))
    tier.discard(("other", "k"))
    assert tier.bytes == 0


@pytest.mark.parametrize("cost", ["", "a lot", "NaN", "sNaN", "-Infinity", "9e999999"])
def test_a_cost_that_would_spoil_the_sum_counts_as_unknown(cost: str) -> None:
    priced = held(0).entry._replace(cost=cost)
    assert Held.of(priced, None, "c").cost is None
    assert Held.of(priced._replace(cost="0.25"), None, "c").cost == Decimal("0.25")


def test_what_does_not_fit_is_not_held_and_pushes_nothing_out() -> None:
    tier = MemoryTier(2 * held(0).size)
    tier.put(place(0), held(0))
    assert not tier.put(place(1), held(1, 10**6))
    assert tier.get(place(0)) is not None
    assert not MemoryTier(0).put(place(0), held(0))


def _chat(number: int) -> CacheEntry:
    return CacheEntry(f"v1:{number:064x}", Recording(completion("x" * (3_000 + number))), "chat")


def _tools(number: int) -> CacheEntry:
    calls = [
        {"id": f"c{i}", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
        for i in range(5)
    ]
    body = completion(None, "tool_calls", tool_calls=calls, annotations=[{"a": [1, 2, 3]}] * 5)
    return CacheEntry(f"v1:{number:064x}", Recording(body), "chat")


def _logprobs(number: int) -> CacheEntry:
    tokens = [
        {"token": "x", "logprob": -0.5, "bytes": [120], "top_logprobs": [{"token": "y"}] * 3}
        for _ in range(40)
    ]
    data = json.loads(completion("x" * 40))
    data["choices"][0]["logprobs"] = {"content": tokens}
    return CacheEntry(f"v1:{number:064x}", Recording(json.dumps(data).encode()), "chat")


def _stream(number: int) -> CacheEntry:
    words = [
        {"id": "1", "choices": [{"index": 0, "delta": {"content": "word "}}]} for _ in range(60)
    ]
    end = {"id": "1", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    events = [WireEvent(json.dumps(line).encode(), None, 0.5) for line in [*words, end]]
    return CacheEntry(f"v1:{number:064x}", Recording(events=tuple(events)), "chat")


@pytest.mark.parametrize("make", [_chat, _tools, _logprobs, _stream])
def test_the_ceiling_holds_in_real_bytes(make: Callable[[int], CacheEntry]) -> None:
    """What the process really allocates stays below what the tier was allowed."""
    ceiling = 2 * 2**20
    tier = MemoryTier(ceiling)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(700):
        entry = make(number)
        tier.put(place(number), Held.of(entry, parse_entry(entry, DIALECT), "c"))
    gc.collect()
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert 20 < len(tier) < 700
    assert tier.bytes <= ceiling
    assert used <= ceiling
    # Nor is it so careful that most of the ceiling goes to waste.
    assert used > ceiling / 8


async def test_a_caller_cannot_change_what_others_get(make_provider: MakeProvider) -> None:
    body = completion(
        None,
        "tool_calls",
        tool_calls=[
            {
                "id": "1",
                "type": "function",
                "function": {"name": "f", "arguments": "{}"},
                "x": {"a": []},
            }
        ],
    )
    async with answering(body) as server, make_provider(base_url=server.base_url) as provider:
        first = await provider.complete("q", cache_response=True)
        first.raw["choices"].clear()
        first.to_dict()["tool_calls"].clear()
        first.to_message().to_dict()["tool_calls"][0]["x"]["a"].append("mine")
        again = await provider.complete("q", cache_response=True)
        assert again.raw == json.loads(body)
        assert again.tool_calls is not None
        assert again.tool_calls[0].to_dict()["x"] == {"a": []}


async def test_an_off_tier_reads_the_store_every_time(
    make_provider: MakeProvider, upstream: DemoUpstream
) -> None:
    async with make_provider(cache_options={"memory_bytes": 0}) as provider:
        for _ in range(3):
            result = await provider.complete("q", cache_response=True)
        assert result.cache is not None
        assert result.cache.tier == "backend"
        assert provider.cache.counters.memory_hits == 0
        assert upstream.calls == 1
