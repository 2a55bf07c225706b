"""What a call costs: known prices, unknown ones, and that none of it can fail a call."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import genai_prices
import pytest
from genai_prices import data_snapshot

from llmcache import CacheManager, OpenAIProvider, Usage, prices
from llmcache.backends import MemoryBackend
from llmcache.models import BUILT_IN, ModelProfile
from llmcache.prices import Price, find_price, priced, priced_usage
from llmcache.providers.anthropic_messages import MessagesDialect
from llmcache.testing.upstream import Reply, Upstream, UpstreamRequest
from llmcache.types import CompletionResult, StreamEventType

LIST = f"genai-prices {genai_prices.__version__}"
USAGE = Usage(input_tokens=1_000, output_tokens=500, total_tokens=1_500, input_tokens_cached=200)
# The names that our providers give to servers, each with a model that it has.
SELLERS = {
    "anthropic": "claude-opus-5-5",
    "azure": "gpt-4o",
    "cerebras": "gpt-oss-120b",
    "deepseek": "deepseek-v4-flash",
    "groq": "openai/gpt-oss-120b",
    "mistral": "mistral-large-4",
    "openai": "gpt-5-nano",
    "openrouter": "openai/gpt-5",
    "perplexity": "sonar",
    "together": "openai/gpt-oss-120b",
    "x-ai": "grok-4.7",
    "api.z.ai": "glm-5.3",
    "generativelanguage.googleapis.com": "gemini-2.5-flash",
}


@pytest.mark.parametrize("seller", SELLERS)
def test_every_server_that_we_name_is_in_the_list(seller: str) -> None:
    price = find_price(USAGE, seller, SELLERS[seller])
    assert price is not None
    assert 0 < price.input + price.output <= price.total
    assert price.price_list == LIST


@pytest.mark.parametrize(
    ("seller", "model"),
    [
        ("openai", "no-such-model"),
        ("ollama", "llama3.2"),
        ("127.0.0.1", "gpt-5"),
        ("my-openai.internal", "gpt-5"),  # a likeness of names is no price
        ("openai.example.com", "gpt-5"),
        ("open", "gpt-5"),
        ("", "gpt-5"),
        (None, "gpt-5"),
        ("openai", ""),
    ],
)
def test_an_unknown_price_is_none(seller: str | None, model: str) -> None:
    assert find_price(USAGE, seller, model) is None


def test_prices_by_hand() -> None:
    """gpt-4o: $2.50 a million read, $1.25 from the cache, $10 written."""
    assert find_price(USAGE, "openai", "gpt-4o") == Price(
        input=800 * 2_500 + 200 * 1_250,
        output=500 * 10_000,
        total=800 * 2_500 + 200 * 1_250 + 500 * 10_000,
        price_list=LIST,
    )
    # Claude Sonnet 4.5: $3 read, $3.75 written to the cache for minutes, $6 for an hour.
    wrote = Usage(input_tokens=1_000, input_tokens_cache_write=600, input_tokens_cache_write_1h=500)
    price = find_price(wrote, "anthropic", "claude-sonnet-4-5")
    assert price is not None
    assert price.total == 400 * 3_000 + 100 * 3_750 + 500 * 6_000


async def test_an_answer_that_was_kept_for_an_hour_costs_what_that_costs() -> None:
    usage = {
        "input_tokens": 0,
        "cache_creation_input_tokens": 100_000,
        "cache_creation": {"ephemeral_1h_input_tokens": 100_000},
    }
    message = {"role": "assistant", "model": "claude-sonnet-4-5", "content": [], "usage": usage}
    answer = MessagesDialect("anthropic").parse(json.dumps(message).encode())
    cost = (await priced(answer, "anthropic")).usage
    assert cost is not None
    assert cost.total_cost == Decimal("0.6")


def test_what_was_served_otherwise_has_another_price_or_none() -> None:
    usual = find_price(USAGE, "openai", "gpt-5.5")
    batch = find_price(USAGE, "openai", "gpt-5.5", {"processing": "batch"})
    flex = find_price(USAGE, "openai", "gpt-5.5", {"service_tier": "flex"})
    fast = find_price(USAGE, "openai", "gpt-5.5", {"service_tier": "priority"})
    assert usual is not None
    assert batch is not None
    assert flex is not None
    assert fast is not None
    assert batch.total * 2 == flex.total * 2 == usual.total < fast.total
    assert find_price(USAGE, "openai", "gpt-4", {"service_tier": "flex"}) is None
    assert find_price(USAGE, "azure", "gpt-5.5", {"service_tier": "flex"}) is None


@pytest.mark.parametrize(
    ("said", "share"),
    [
        ({}, 1),
        ({"service_tier": "default"}, 1),
        ({"service_tier": None}, 1),
        ({"service_tier": "flex"}, Decimal("0.5")),
        ({"service_tier": "batch"}, Decimal("0.5")),
        ({"usage": {"service_tier": "batch"}}, Decimal("0.5")),
        ({"usage": {"service_tier": "standard"}}, 1),
        ({"service_tier": "unheard-of"}, None),
        ({"usage": {"speed": "fast"}}, None),
    ],
)
async def test_an_answer_says_how_it_was_served(said: dict[str, Any], share: Any) -> None:
    raw = json.dumps(said).encode()
    result = CompletionResult(usage=USAGE, model="gpt-5.5", raw_json=raw)
    usual = await priced_usage(USAGE, "openai", "gpt-5.5")
    usage = (await priced(result, "openai")).usage
    assert usage is not None
    assert usual.total_cost is not None
    assert usage.total_cost == (None if share is None else usual.total_cost * share)


async def test_a_stated_cost_counts_before_any_list() -> None:
    stated = Usage(1_000, 500, 1_500, total_cost=Decimal("0.5"))
    result = CompletionResult(usage=stated, model="gpt-4o")
    assert (await priced(result, "openai")) is result
    assert stated.price_list is None


async def test_audio_has_its_own_price() -> None:
    text = find_price(Usage(input_tokens=100), "openai", "gpt-audio")
    audio = find_price(Usage(input_tokens=100, input_tokens_audio=100), "openai", "gpt-audio")
    assert text is not None
    assert audio is not None
    assert audio.total > text.total


def test_what_has_no_price_in_the_list_costs_something_unknown() -> None:
    """A model with a price for seconds of sound alone would cost nothing by its tokens."""
    assert find_price(USAGE, "openai", "whisper-1") is None


@pytest.mark.parametrize(
    "usage", [Usage(-1, -1), Usage(10, 1, 11, 20), Usage(5, 5, 10, 0, 0, 9, 9)]
)
def test_impossible_counts_fail_nothing(usage: Usage) -> None:
    price = find_price(usage, "openai", "gpt-4o")
    assert price is None or price.total >= 0


async def test_a_broken_list_fails_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        raise RuntimeError("a list that cannot be read")

    assert find_price(USAGE, "openai", "gpt-4o") is not None
    monkeypatch.setattr(data_snapshot, "get_snapshot", broken)
    assert await priced_usage(USAGE, "openai", "gpt-4o") == USAGE


async def test_a_list_that_does_not_load_fails_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: str) -> Any:
        raise ImportError("half an installation")

    prices._prices.cache_clear()
    try:
        monkeypatch.setattr(prices.importlib, "import_module", broken)
        assert await priced_usage(USAGE, "openai", "gpt-4o") == USAGE
        monkeypatch.undo()
        assert find_price(USAGE, "openai", "gpt-4o") is None  # tried once
    finally:
        prices._prices.cache_clear()


async def test_without_the_extra_every_price_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prices, "_has_prices", lambda: False)
    assert find_price(USAGE, "openai", "gpt-4o") is None
    assert await priced_usage(USAGE, "openai", "gpt-4o") is USAGE


def test_a_list_that_updated_itself_is_named_with_its_day() -> None:
    mine = data_snapshot.DataSnapshot(
        data_snapshot.get_snapshot().providers,
        from_auto_update=True,
        timestamp=datetime(2026, 11, 21),  # noqa: DTZ001 - as the list makes it
    )
    data_snapshot.set_custom_snapshot(mine)
    try:
        price = find_price(USAGE, "openai", "gpt-4o")
    finally:
        data_snapshot.set_custom_snapshot(None)
    assert price is not None
    assert price.price_list == f"{LIST} 2026-11-21"


def test_the_list_is_loaded_when_it_is_needed() -> None:
    code = (
        "import sys, llmcache.prices, llmcache.models\n"
        "llmcache.models.GPT5.model_name\n"
        "print(sorted({'genai_prices', 'httpx2', 'tiktoken'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout.decode().strip() == "[]"


def test_a_profile_knows_its_price() -> None:
    cost = ModelProfile.get("gpt-4o").cost(USAGE)
    assert cost == Decimal("0.00725")
    assert ModelProfile.get("llama3.2").cost(USAGE) is None

    class Mine(ModelProfile):
        model_name = "ft-of-mine"
        provider = "openai"
        pricing_id = "gpt-4o"

    assert Mine.cost(USAGE) == cost
    priceless = {p.model_name for p in BUILT_IN if p.provider == "openai" and p.cost(USAGE) is None}
    assert len(priceless) <= 8, priceless


# --- on the way through the cache -------------------------------------------------------------


def _answer(request: UpstreamRequest) -> Reply:
    asked = json.loads(request.body)
    usage = {"prompt_tokens": 1_000, "completion_tokens": 500, "total_tokens": 1_500}
    if "input" in asked:
        data = [{"index": i, "embedding": [1.0, 2.0]} for i in range(len(asked["input"]))]
        read = {"prompt_tokens": 7, "total_tokens": 7}
        return Reply(
            body=json.dumps({"data": data, "model": asked["model"], "usage": read}).encode()
        )
    base = {"id": "c", "created": 1, "model": asked["model"]}
    if asked.get("stream"):
        chunks = [
            {**base, "choices": [{"index": 0, "delta": {"role": "assistant", "content": "hi"}}]},
            {**base, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
            {**base, "choices": [], "usage": usage},
        ]
        lines = [*(json.dumps(chunk) for chunk in chunks), "[DONE]"]
        body = "".join(f"data: {line}\n\n" for line in lines).encode()
        return Reply(body=body, headers={"content-type": "text/event-stream"})
    message = {"role": "assistant", "content": "hi"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return Reply(body=json.dumps({**base, "choices": [choice], "usage": usage}).encode())


def open_provider(upstream: Upstream, cache: dict[str, Any]) -> OpenAIProvider:
    """Return a provider that takes the server for OpenAI's."""
    provider = OpenAIProvider(model="gpt-4o", base_url=upstream.base_url, **cache)
    provider.name = provider._dialect.provider = "openai"
    return provider


COST = Decimal("0.0075")


async def test_answers_carry_their_cost_and_keep_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole and streamed, past the cache and through it, and as it was when prices change."""
    kept: dict[str, Any] = {"cache_dir": tmp_path}
    async with Upstream(_answer) as upstream:
        async with open_provider(upstream, kept) as provider:
            bare = await provider.complete("x")
            made = await provider.complete("x", cache_response=True)
            tail = [e async for e in provider.stream("y", cache_response=True)][-1].data
            live = [e async for e in provider.stream("z")][-1].data
            for result in (bare, made, tail, live):
                assert result.usage.total_cost == COST
                assert result.usage.input_cost + result.usage.output_cost == COST
                assert result.usage.price_list == LIST
        monkeypatch.setattr(prices, "find_price", lambda *_: Price(1, 1, 2, "another list"))
        async with open_provider(upstream, kept) as provider:
            again = await provider.complete("x", cache_response=True)
            events = [e async for e in provider.stream("y", cache_response=True)]
            assert (again, events[-1].data) == (made, tail)
            assert again.to_dict()["usage"] == made.to_dict()["usage"]
            assert again.cache.saved_cost == events[-1].data.cache.saved_cost == COST
            assert provider.cache.counters.saved_cost == 2 * COST
            assert events[-1].type is StreamEventType.DONE
        assert upstream.calls == 4


async def test_an_exported_answer_keeps_its_cost(tmp_path: Path) -> None:
    file = tmp_path / "all.jsonl"
    async with Upstream(_answer) as upstream:
        async with open_provider(upstream, {"cache_backend": "memory"}) as provider:
            made = await provider.complete("x", cache_response=True)
            await provider.cache.export(file)
        cache = CacheManager(MemoryBackend())
        await cache.import_(file)
        async with open_provider(upstream, {"cache": cache}) as provider:
            again = await provider.complete("x", cache_response=True)
        await cache.aclose()
        assert again == made
        assert again.usage.price_list == LIST
        assert upstream.calls == 1


async def test_vectors_carry_their_cost() -> None:
    """text-embedding-3-small: $0.02 a million tokens, 20 nano-dollars each."""
    async with (
        Upstream(_answer) as upstream,
        open_provider(upstream, {"cache_backend": "memory"}) as provider,
    ):
        options: dict[str, Any] = {"model": "text-embedding-3-small", "encoding_format": "float"}
        bare = await provider.embed(["a", "b"], **options)
        made = await provider.embed(["a", "b"], cache_response=True, **options)
        again = await provider.embed(["b", "a"], cache_response=True, **options)
        for result in (bare, made, again):
            assert result.usage.total_cost == Decimal("0.00000014")
        assert again.cache.saved_cost == Decimal("0.00000014")
        assert upstream.calls == 2
