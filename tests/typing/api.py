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


class Mine(BaseProvider):
    """The seed's way to write a provider: any keyword arguments."""

    async def complete(self, messages: MessageInput, **options: object) -> CompletionResult:
        return CompletionResult(content="x")

    async def stream(self, messages: MessageInput, **options: object) -> AsyncIterator[StreamEvent]:
        yield StreamEvent("token", "x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def providers(one: OpenAIProvider, two: AnthropicProvider, other: Mine) -> list[Provider]:
    return [one, two, other]
