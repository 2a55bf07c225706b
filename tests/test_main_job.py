"""The main job, end to end: over real HTTP, onto real files."""

from __future__ import annotations

from collections.abc import Callable

from llmcache import OpenAIProvider, StreamEventType
from llmcache.testing.upstream import DemoUpstream

PROMPT = "Explain WAL in one paragraph."


async def test_asked_twice_answered_once(provider: OpenAIProvider, upstream: DemoUpstream) -> None:
    first = await provider.complete(PROMPT, cache_response=True)
    again = await provider.complete(PROMPT, cache_response=True)
    assert first.cache is not None
    assert again.cache is not None
    assert (first.cache.status, again.cache.status) == ("miss", "hit")
    assert again == first
    assert again.content
    assert again.usage is not None
    assert again.usage.total_tokens > 0
    assert upstream.calls == 1


async def test_a_restart_loses_nothing(
    make_provider: Callable[..., OpenAIProvider], upstream: DemoUpstream
) -> None:
    async with make_provider() as before:
        first = await before.complete(PROMPT, cache_response=True)
    async with make_provider() as after:
        again = await after.complete(PROMPT, cache_response=True)
    assert again == first
    assert again.cache is not None
    assert (again.cache.status, again.cache.tier) == ("hit", "backend")
    assert upstream.calls == 1


async def test_one_entry_answers_whole_and_streamed(
    provider: OpenAIProvider, upstream: DemoUpstream
) -> None:
    streamed = [event async for event in provider.stream(PROMPT, cache_response=True)]
    whole = await provider.complete(PROMPT, cache_response=True)
    replayed = [event async for event in provider.stream(PROMPT, cache_response=True)]
    assert upstream.calls == 1
    assert replayed == streamed
    assert streamed[-1].type is StreamEventType.DONE
    assert whole == streamed[-1].data
    tokens = [event.data for event in streamed if event.type is StreamEventType.TOKEN]
    assert "".join(tokens) == whole.content
    assert len(tokens) > 1
