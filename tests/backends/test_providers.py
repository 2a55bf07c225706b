"""Providers keep the promises of a provider with a cache in front: the made-up one and a real one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import replace
from typing import Any, Unpack

import pytest

from llmcache import (
    AnthropicProvider,
    BaseProvider,
    CacheManager,
    CompletionResult,
    FSCache,
    OllamaProvider,
    OpenAIProvider,
    collect_stream,
)
from llmcache.cache.control import Control
from llmcache.options import CompletionOptions
from llmcache.providers.base import Call, CallT, Provider
from llmcache.testing import (
    DemoUpstream,
    FakeProvider,
    ProviderTests,
    Reply,
    Upstream,
    UpstreamRequest,
)
from llmcache.types import MessageInput, StreamEvent, StreamEventType, normalize_messages


class TestFakeProvider(ProviderTests):
    @pytest.fixture
    async def provider(self) -> AsyncIterator[Provider]:
        async with FakeProvider() as provider:
            yield provider

    def upstream_calls(self, provider: FakeProvider) -> int:
        return provider.calls

    def fail_next(self, provider: FakeProvider, status: int) -> bool:
        provider.fail(status)
        return True


class TestFakeProviderOnFiles(TestFakeProvider):
    @pytest.fixture
    async def provider(self, tmp_path: Any) -> AsyncIterator[Provider]:
        cache = CacheManager(FSCache(tmp_path), memory_bytes=0)
        async with FakeProvider(cache=cache) as provider:
            yield provider
        await cache.aclose()


class _Failing(Upstream):
    """The demo upstream, which fails when it is told to."""

    def __init__(self) -> None:
        super().__init__(self._reply)
        self.statuses: list[int] = []
        self._demo = DemoUpstream()

    async def _reply(self, request: UpstreamRequest) -> Reply:
        if self.statuses:
            return Reply(self.statuses.pop(), b'{"error": {"message": "made to fail"}}')
        return await self._demo._answer(request)


class TestOpenAIProvider(ProviderTests):
    @pytest.fixture
    async def server(self) -> AsyncIterator[_Failing]:
        async with _Failing() as server:
            self.server = server
            yield server

    @pytest.fixture
    async def provider(
        self, server: _Failing, make_provider: Callable[..., OpenAIProvider]
    ) -> AsyncIterator[Provider]:
        async with make_provider(base_url=server.base_url) as provider:
            yield provider

    def upstream_calls(self, provider: OpenAIProvider) -> int:
        return self.server.calls

    def fail_next(self, provider: OpenAIProvider, status: int) -> bool:
        self.server.statuses.append(status)
        return True


class TestResponsesOfOpenAIProvider(TestOpenAIProvider):
    @pytest.fixture
    async def provider(
        self, server: _Failing, make_provider: Callable[..., OpenAIProvider]
    ) -> AsyncIterator[Provider]:
        async with make_provider(base_url=server.base_url, use_responses_api=True) as provider:
            yield provider


class TestAnthropicProvider(TestOpenAIProvider):
    embeds = False

    @pytest.fixture
    async def provider(self, server: _Failing) -> AsyncIterator[Provider]:
        settings: dict[str, Any] = {"cache_backend": "memory", "backoff": 0}
        async with AnthropicProvider("demo", base_url=server.base_url, **settings) as provider:
            yield provider


class TestOllamaProvider(TestOpenAIProvider):
    @pytest.fixture
    async def provider(self, server: _Failing) -> AsyncIterator[Provider]:
        host = server.base_url.removesuffix("/v1")
        settings: dict[str, Any] = {"cache_backend": "memory", "backoff": 0}
        async with OllamaProvider("demo", base_url=host, **settings) as provider:
            yield provider


class _Parrot(BaseProvider):
    """As short as a provider of one's own can be: no cache, no embeddings, nothing to close."""

    async def complete(
        self, messages: MessageInput, **options: Unpack[CompletionOptions]
    ) -> CompletionResult:
        return CompletionResult(content=normalize_messages(messages)[-1].text)

    async def stream(
        self, messages: MessageInput, **options: Unpack[CompletionOptions]
    ) -> AsyncGenerator[StreamEvent, None]:
        result = await self.complete(messages)
        yield StreamEvent(StreamEventType.TOKEN, result.content)
        yield StreamEvent(StreamEventType.DONE, result)


async def test_a_provider_of_ones_own_is_a_provider() -> None:
    async with _Parrot() as parrot:
        assert isinstance(parrot, Provider)
        assert (await parrot.complete("Hello")).content == "Hello"
        with pytest.raises(NotImplementedError, match="no embeddings"):
            await parrot.embed("Hello")


async def test_the_suite_skips_what_a_provider_does_not_have() -> None:
    class ParrotTests(ProviderTests):
        caches = False
        embeds = False

    suite, parrot = ParrotTests(), _Parrot()
    await suite.test_a_prompt_is_answered(parrot)
    await suite.test_a_stream_ends_with_the_whole_answer(parrot)
    await suite.test_every_input_has_a_vector(parrot)
    with pytest.raises(pytest.skip.Exception):
        await suite.test_an_error_is_typed_and_passes(parrot, 500, streamed=False)


class _Watched(FakeProvider):
    """Notes each step that a call takes."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[str] = []

    async def _prepared(self, call: CallT, control: Control) -> CallT:
        self.steps.append("prepared")
        return call

    def _delivered(self, call: Call, result: CompletionResult) -> CompletionResult:
        self.steps.append("delivered")
        return replace(result, content=f"for {call.request.body['messages'][0]['content']}")


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize(
    "door", ["complete", "stream", "complete_with_stats", "stream_with_stats", "warm_cache"]
)
async def test_every_door_takes_the_steps_of_a_subclass(door: str, cached: bool) -> None:
    async with _Watched() as provider:
        if door == "warm_cache":
            await provider.warm_cache(requests=["you"])
        elif door.startswith("stream"):
            events = getattr(provider, door)("you", cache_response=cached)
            assert (await collect_stream(events)).content == "for you"
        else:
            answer = await getattr(provider, door)("you", cache_response=cached)
            assert (answer[0] if isinstance(answer, tuple) else answer).content == "for you"
        assert provider.steps == ["prepared", "delivered"]


async def test_what_gives_no_answer_is_prepared_all_the_same() -> None:
    async with _Watched() as provider:
        await provider.embed("x")
        assert not (await provider.explain("x")).stored
        assert provider.steps == ["prepared"] * 2
