"""What is stored under a key is the answer to the request of that key."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from llmcache import CompletionResult, OpenAIProvider
from llmcache.cache.inspection import entries
from llmcache.keys import key_of_identity
from llmcache.testing.upstream import DemoUpstream

_Make = Callable[..., OpenAIProvider]


async def test_every_entry_holds_the_identity_of_its_key(make_provider: _Make) -> None:
    async with make_provider(tenant="t") as provider:
        await provider.complete("a", cache_response=True, sample=2, temperature=1e-7)
        await provider.complete("a", cache_response=True, regen_cache=True)
        async for _ in provider.stream("b", cache_response=True, stop=["y", "x"]):
            pass
        await provider.embed(["a", [1, 2]], cache_response=True)
        await provider.cache.store.settle()
        stored = [entry async for _, entry in entries(provider.cache.store, None)]
    assert len(stored) == 5
    for entry in stored:
        assert key_of_identity(entry.identity) == entry.key


async def _complete(provider: OpenAIProvider, message: dict[str, Any]) -> CompletionResult:
    return await provider.complete([message], cache_response=True)


async def _stream(provider: OpenAIProvider, message: dict[str, Any]) -> CompletionResult:
    events = [event async for event in provider.stream([message], cache_response=True)]
    result: CompletionResult = events[-1].data
    return result


@pytest.mark.parametrize("ask", [_complete, _stream])
async def test_a_message_that_changes_in_flight_is_not_stored_under_its_old_key(
    make_provider: _Make, upstream: DemoUpstream, ask: Any
) -> None:
    message = {"role": "user", "content": "a"}
    async with make_provider() as provider:
        truth = await provider.complete("a")
        asked = asyncio.create_task(ask(provider, message))
        while provider.cache.counters.misses == 0 and upstream.calls == 1 and not asked.done():
            await asyncio.sleep(0)
            message["content"] = "b"
        await asked
        again = await provider.complete("a", cache_response=True)
    assert again.content == truth.content


async def test_a_stream_without_usage_does_not_take_it_from_others(make_provider: _Make) -> None:
    async with make_provider() as provider:
        options = {"include_usage": False}
        async for _ in provider.stream("a", cache_response=True, stream_options=options):
            pass
        again = await provider.complete("a", cache_response=True)
    assert again.usage is not None
