"""The public API as a type checker sees it; checked, never run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import assert_type

from llmcache import (
    GPT5,
    AnthropicProvider,
    BaseProvider,
    CacheInfo,
    CallStats,
    CompletionResult,
    EmbeddingResult,
    MessageInput,
    ModelProfile,
    OllamaProvider,
    OpenAIProvider,
    Provider,
    ProviderError,
    PullProgress,
    StreamEvent,
    TokenCount,
    collect_stream,
    count_tokens,
)


async def calls(provider: OpenAIProvider) -> None:
    result = await provider.complete("q", cache_response=True, temperature=0.2, tags=["a"])
    assert_type(result, CompletionResult)
    assert_type(result.content, str | None)
    assert_type(result.cache, CacheInfo | None)
    async for event in provider.stream([{"role": "user", "content": "q"}], replay=2.0):
        assert_type(event, StreamEvent)
    assert_type(await provider.embed(["a"], dimensions=8), EmbeddingResult)
    assert_type(await collect_stream(provider.stream("q")), CompletionResult)


async def figures(provider: OpenAIProvider) -> None:
    result, stats = await provider.complete_with_stats("q", request_id="mine-1")
    assert_type(result, CompletionResult)
    assert_type(stats, CallStats)
    async with provider.stream_with_stats("q") as events:
        async for event in events:
            assert_type(event, StreamEvent)
    assert_type(events.stats.time_to_first_token_ms, float | None)
    assert_type(ModelProfile.get("gpt-5").context_window, int | None)
    assert_type(GPT5.count_tokens("q"), TokenCount)
    assert_type(count_tokens(["q"], model="gpt-5").estimated, bool)


async def claude(provider: AnthropicProvider) -> None:
    result = await provider.complete("q", system="s", thinking={"type": "adaptive"}, top_k=4)
    assert_type(result, CompletionResult)
    assert_type(await provider.count_tokens("q", tools=[]), int)
    told = {"type": "enabled", "budget_tokens": 1024}
    await provider.complete("q", thinking=told, system=[{"type": "text", "text": "s"}])
    await provider.complete("q", stop_sequences=("a",), betas=["b"], speed="fast")
    await provider.complete("q", output_config={"effort": "low"}, cache_control=None)
    await provider.complete("q", mcp_servers=[{"type": "url"}], container={"skills": []})
    async for event in provider.stream("q", max_tokens=9, inference_geo="eu"):
        assert_type(event, StreamEvent)


async def ollama(provider: OllamaProvider) -> None:
    result = await provider.complete("q", think="low", keep_alive="5m", options={"mirostat": 1})
    assert_type(result, CompletionResult)
    await provider.complete("q", think=True, keep_alive=0, format="json", num_ctx=8, min_p=0.1)
    assert_type(await provider.generate("p", suffix="s", raw=True), CompletionResult)
    await provider.generate("p", context=[1, 2], images=[b"png"], width=8, cache_response=True)
    async for event in provider.generate_stream("p", system="s", template="t", steps=2):
        assert_type(event, StreamEvent)
    vectors = await provider.embed(["a"], truncate=False, keep_alive=1.5, options={"num_ctx": 8})
    assert_type(vectors, EmbeddingResult)
    assert_type(await provider.has_model("m"), bool)


async def responses(provider: OpenAIProvider) -> None:
    await provider.complete("q", use_responses_api=True, max_output_tokens=9, include=["x"])
    await provider.complete("q", reasoning={"effort": "low"}, text={}, truncation="auto")
    await provider.complete("q", previous_response_id="r", prompt={"id": "p"}, background=False)


async def models(provider: OllamaProvider, error: ProviderError) -> None:
    assert_type(await provider.pull_model("m"), bool)
    async for step in provider.pull_model("m"):
        assert_type(step, PullProgress)
        assert_type(step.fraction, float | None)
    assert_type(await provider.list_models(), list[str])
    assert_type(error.status_code, int | None)
    async with provider.stream_with_stats("q", think=True) as events:
        async for event in events:
            assert_type(event, StreamEvent)


async def wrong(provider: OpenAIProvider) -> None:
    await provider.complete("q", temprature=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await provider.complete("q", cache_response="yes")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await provider.complete(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def wrong_claude(provider: AnthropicProvider) -> None:
    await provider.complete("q", stop_sequence=["a"])  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await provider.complete("q", thinking="adaptive")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await provider.complete("q", top_k="4")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await provider.complete("q", system=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await provider.complete("q", betas=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await provider.count_tokens("q", max_token=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    provider.stream("q", output_config="low")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    AnthropicProvider("m", version="2026-10-21")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def wrong_ollama(provider: OllamaProvider) -> None:
    await provider.complete("q", numctx=8)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await provider.complete("q", think=2.5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await provider.complete("q", options=[1])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await provider.complete("q", keep_alive=[5])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await provider.generate("p", tools=[])  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await provider.generate("p", context="c")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await provider.generate(["p"])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    provider.generate_stream("p", raw="yes")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await provider.embed("a", truncate="no")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await provider.embed("a", dimension=8)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    OllamaProvider("m", pin=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def wrong_responses(provider: OpenAIProvider) -> None:
    await provider.complete("q", max_output_token=9)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await provider.complete("q", reasoning="low")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await provider.complete("q", use_responses_api="yes")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await provider.embed(["a"], encoding_format="int8")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


class Mine(BaseProvider):
    """The seed's way to write a provider: any keyword arguments."""

    async def complete(self, messages: MessageInput, **options: object) -> CompletionResult:
        return CompletionResult(content="x")

    async def stream(self, messages: MessageInput, **options: object) -> AsyncIterator[StreamEvent]:
        yield StreamEvent("token", "x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def providers(one: OpenAIProvider, two: AnthropicProvider, other: Mine) -> list[Provider]:
    return [one, two, other]
