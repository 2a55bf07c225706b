"""The calls that users come with, written as they know them: only the import line is ours.

Typed anew after the provider, caching, streaming and types sections of the
document that the surface descends from; run against a server on this machine.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from llmcache import (
    BaseProvider,
    CompletionResult,
    EmbeddingResult,
    FSCache,
    Message,
    MessageInput,
    OpenAIProvider,
    Provider,
    ProviderError,
    StreamEvent,
    StreamEventType,
    ToolCall,
    ToolCallDelta,
    Usage,
    normalize_messages,
    stream_to_string,
)
from llmcache.testing.upstream import DemoUpstream, Reply, Upstream, UpstreamRequest

PROMPT = "Tell me a story"
WEATHER = {
    "name": "get_weather",
    "description": "Get weather for a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, upstream: DemoUpstream, tmp_path: Path) -> None:
    """What the document takes for granted: a key in the environment, a folder to work in."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-secret")
    monkeypatch.setenv("OPENAI_BASE_URL", upstream.base_url)
    monkeypatch.chdir(tmp_path)


# --- quick start ------------------------------------------------------------------------------


async def test_simple_completion() -> None:
    provider = OpenAIProvider(model="gpt-5-nano")
    result = await provider.complete("Hello, world!")
    assert isinstance(result.content, str)
    assert result.usage is not None
    assert result.usage.total_tokens > 0
    await provider.close()


async def test_streaming() -> None:
    provider = OpenAIProvider(model="gpt-5-nano")
    text = ""
    done = None
    async for event in provider.stream("Write a haiku about coding"):
        if event.type == StreamEventType.TOKEN:
            text += event.data
        elif event.type == StreamEventType.REASONING:
            text += f"[Thinking: {event.data}]"
        elif event.type == StreamEventType.DONE:
            done = event.data.usage.total_tokens
    assert text
    assert done
    await provider.close()


# --- providers --------------------------------------------------------------------------------


async def test_the_constructor(upstream: DemoUpstream, tmp_path: Path) -> None:
    provider = OpenAIProvider(
        model="gpt-5",
        api_key=None,
        base_url=None,
        organization=None,
        cache_backend="fs",
        cache_dir="./cache",
        cache_collection=None,
    )
    await provider.complete("Hello", cache_response=True)
    assert upstream.requests[0].headers["authorization"] == "Bearer sk-test-secret"
    assert (tmp_path / "cache" / "default").is_dir()
    await provider.close()


async def test_a_model_profile_class_names_its_model(upstream: DemoUpstream) -> None:
    class GPT5:
        model_name = "gpt-5"

    provider = OpenAIProvider(model=GPT5)
    await provider.complete("Hello")
    assert upstream.requests[0].json()["model"] == "gpt-5"
    await provider.close()


@pytest.mark.parametrize(
    "argument",
    [
        {"qdrant_url": None},
        {"qdrant_api_key": None},
    ],
    ids=lambda argument: next(iter(argument)),
)
def test_arguments_of_later_backends_are_refused_by_name(argument: dict[str, Any]) -> None:
    """They come with their backends; until then a call that names them is told so at once."""
    with pytest.raises(TypeError, match=next(iter(argument))):
        OpenAIProvider(model="gpt-5", **argument)


async def test_complete(upstream: DemoUpstream) -> None:
    provider = OpenAIProvider(model="gpt-5")
    result = await provider.complete(
        messages="Hello!",
        tools=None,
        tool_choice=None,
        temperature=0.7,
        max_tokens=1000,
        response_format="text",
        reasoning_effort="medium",
        cache_response=True,
        cache_collection="my_cache",
        rewrite_cache=False,
        regen_cache=False,
        attempts=3,
        backoff=1.0,
    )
    assert upstream.requests[0].json() == {
        "model": "gpt-5",
        "messages": [{"role": "user", "content": "Hello!"}],
        "temperature": 0.7,
        "max_tokens": 1000,
        "response_format": {"type": "text"},
        "reasoning_effort": "medium",
    }
    assert isinstance(result.content, str)
    assert not result.tool_calls
    assert isinstance(result.usage, Usage)
    assert result.reasoning is None
    assert result.model == "gpt-5"
    assert result.finish_reason == "stop"
    assert result.status == 200
    assert result.error is None
    assert result.ok is True
    assert result.has_tool_calls is False
    await provider.close()


@pytest.mark.parametrize(
    "messages",
    [
        "Hello!",
        {"role": "user", "content": "Hello!"},
        Message.user("Hello!"),
        ["Hello!"],
        [{"role": "user", "content": "Hello!"}],
        [Message.user("Hello!")],
    ],
    ids=["str", "dict", "Message", "list of str", "list of dict", "list of Message"],
)
async def test_every_form_of_messages_is_the_same_request(
    messages: MessageInput, provider: OpenAIProvider, upstream: DemoUpstream
) -> None:
    await provider.complete(messages)
    assert upstream.requests[0].json()["messages"] == [{"role": "user", "content": "Hello!"}]
    assert [message.to_dict() for message in normalize_messages(messages)] == [
        {"role": "user", "content": "Hello!"}
    ]


@pytest.mark.parametrize("response_format", ["text", "json_object", {"type": "object"}])
async def test_response_formats(response_format: Any, provider: OpenAIProvider) -> None:
    assert (await provider.complete("Hello!", response_format=response_format)).ok


@pytest.mark.parametrize("tool_choice", ["auto", "none", "required", "get_weather"])
async def test_tool_choices(
    tool_choice: str, provider: OpenAIProvider, upstream: DemoUpstream
) -> None:
    result = await provider.complete("Weather?", tools=[WEATHER], tool_choice=tool_choice)
    body = upstream.requests[0].json()
    assert body["tools"] == [{"type": "function", "function": WEATHER}]
    if tool_choice == "required":
        assert result.has_tool_calls
        assert result.tool_calls is not None
        assert result.tool_calls[0].name == "get_weather"
        assert result.tool_calls[0].parse_arguments() == {"city": "Paris"}


async def test_stream_with_every_kind_of_event() -> None:  # noqa: C901 - the document's `match`
    """A reasoning model that calls a tool, over a stream: every `case` of the document."""
    deltas: list[dict[str, Any]] = [
        {"role": "assistant", "content": None, "reasoning_content": "Hm."},
        {"content": "Let me look."},
        {"tool_calls": [{"index": 0, "id": "call_1", "function": {"name": "get_weather"}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"city":'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '"Paris"}'}}]},
    ]
    provider_calls: list[UpstreamRequest] = []

    def answer(request: UpstreamRequest) -> Reply:
        provider_calls.append(request)
        return Reply(body=_chunks(deltas), headers={"content-type": "text/event-stream"})

    seen: dict[str, Any] = {}
    async with Upstream(answer) as upstream:
        provider = OpenAIProvider(model="gpt-5", base_url=upstream.base_url)
        async for event in provider.stream(
            messages=PROMPT,
            tools=[WEATHER],
            tool_choice=None,
            temperature=0.7,
            max_tokens=1000,
            reasoning_effort=None,
        ):
            match event.type:
                case StreamEventType.TOKEN:
                    assert isinstance(event.data, str)
                case StreamEventType.REASONING:
                    assert event.data == "Hm."
                case StreamEventType.TOOL_CALL_START:
                    assert event.data.name == "get_weather"
                case StreamEventType.TOOL_CALL_DELTA:
                    assert isinstance(event.data, ToolCallDelta)
                case StreamEventType.TOOL_CALL_END:
                    assert isinstance(event.data, ToolCall)
                    assert event.data.parse_arguments() == {"city": "Paris"}
                case StreamEventType.USAGE:
                    assert isinstance(event.data, Usage)
                case StreamEventType.META:
                    assert isinstance(event.data, dict)
                case StreamEventType.DONE:
                    assert isinstance(event.data, CompletionResult)
                    assert event.data.reasoning == "Hm."
                case StreamEventType.ERROR:
                    pytest.fail(str(event.data))
            seen[event.type.name] = event.data
        await provider.close()
    assert set(seen) == {
        "TOKEN",
        "REASONING",
        "TOOL_CALL_START",
        "TOOL_CALL_DELTA",
        "TOOL_CALL_END",
        "USAGE",
        "META",
        "DONE",
    }


async def _chunks(deltas: list[dict[str, Any]]) -> AsyncIterator[bytes]:
    import json  # noqa: PLC0415 - only here

    top = {"id": "c", "model": "gpt-5", "object": "chat.completion.chunk"}
    for delta in [*deltas, None]:
        choice = {
            "index": 0,
            "delta": delta or {},
            "finish_reason": None if delta else "tool_calls",
        }
        yield f"data: {json.dumps({**top, 'choices': [choice]})}\n\n".encode()
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    yield f"data: {json.dumps({**top, 'choices': [], 'usage': usage})}\n\n".encode()
    yield b"data: [DONE]\n\n"


async def test_a_stream_that_fails_has_an_error_event() -> None:
    reply = Reply(429, b'{"error": {"message": "slow down", "type": "rate_limit"}}')
    async with Upstream(lambda _: reply) as upstream:
        provider = OpenAIProvider(model="gpt-5", base_url=upstream.base_url)
        events = provider.stream(PROMPT, attempts=1)
        event = await anext(events)
        assert event.type is StreamEventType.ERROR
        assert event.data["status"] == 429
        assert "slow down" in event.data["error"]
        with pytest.raises(ProviderError, match="slow down"):
            await anext(events)
        await provider.close()


@pytest.mark.parametrize("encoding_format", ["base64", "float"])
async def test_embed(encoding_format: Any) -> None:
    embed_provider = OpenAIProvider(model="text-embedding-3-large")
    result = await embed_provider.embed(
        inputs="Text to embed",
        encoding_format=encoding_format,
        dimensions=1536,
    )
    assert len(result.embeddings) == 1
    assert len(result.embedding) == 1536
    assert result.embedding == result.embeddings[0]
    assert isinstance(result.usage, Usage)
    assert result.ok is True
    several = await embed_provider.embed(inputs=["one", "two"], dimensions=1536)
    assert len(several.embeddings) == 2
    await embed_provider.close()


async def test_a_provider_of_ones_own() -> None:
    class MyProvider(BaseProvider):
        async def complete(self, messages: Any, **kwargs: Any) -> CompletionResult:
            return CompletionResult(content=f"{messages} {sorted(kwargs)}")

        async def stream(self, messages: Any, **kwargs: Any) -> AsyncIterator[StreamEvent]:
            yield StreamEvent(type=StreamEventType.TOKEN, data="Hello")

        async def embed(self, inputs: Any, **kwargs: Any) -> EmbeddingResult:
            raise NotImplementedError("Embeddings not supported")

    provider = MyProvider()
    assert isinstance(provider, Provider)
    assert (await provider.complete("Hi", temperature=1)).content == "Hi ['temperature']"
    assert await stream_to_string(provider.stream("Hi")) == "Hello"
    with pytest.raises(NotImplementedError):
        await provider.embed("x")
    await provider.close()


def test_names_where_the_document_imports_them_from() -> None:
    from llmcache import providers  # noqa: PLC0415 - the document's import line

    assert providers.Provider is Provider
    assert providers.BaseProvider is BaseProvider
    assert providers.CompletionResult is CompletionResult
    assert providers.StreamEvent is StreamEvent


# --- caching ----------------------------------------------------------------------------------


async def test_the_filesystem_cache(upstream: DemoUpstream, tmp_path: Path) -> None:
    provider = OpenAIProvider(model="gpt-5", cache_backend="fs", cache_dir="./cache")
    for _ in range(2):
        result = await provider.complete(
            "Hello", cache_response=True, cache_collection="my_collection"
        )
    assert result.cache is not None
    assert result.cache.status == "hit"
    assert upstream.calls == 1
    assert (tmp_path / "cache" / "my_collection").is_dir()
    await provider.close()


async def test_the_cache_options(provider: OpenAIProvider, upstream: DemoUpstream) -> None:
    options: dict[str, Any] = {"cache_response": True, "cache_collection": "custom"}
    await provider.complete("Hello", rewrite_cache=False, regen_cache=False, **options)
    await provider.complete("Hello", rewrite_cache=True, regen_cache=False, **options)
    await provider.complete("Hello", rewrite_cache=False, regen_cache=True, **options)
    assert upstream.calls == 3
    await provider.complete("Hello", **options)
    assert upstream.calls == 3


async def test_the_cache_can_be_warmed(provider: OpenAIProvider) -> None:
    await provider.complete("Hello", cache_response=True)
    report = await provider.warm_cache()
    assert report.loaded == 1


def test_the_shared_cache_is_named_as_in_the_guide() -> None:
    """Nothing is connected before the first call."""
    provider = OpenAIProvider(
        model="gpt-5",
        cache_backend="pg_redis",
        pg_dsn="postgresql://user:pass@localhost/db",
        redis_url="redis://localhost:6379",
        redis_ttl_seconds=86400,
        compress_pg=True,
    )
    assert provider.cache.backend.name == "pg_redis"


@pytest.mark.parametrize("backend", ["qdrant"])
def test_later_backends_are_refused_by_name(backend: str) -> None:
    with pytest.raises(ValueError, match=f"unknown cache_backend '{backend}'"):
        OpenAIProvider(model="gpt-5", cache_backend=backend)


def test_the_cache_class_has_its_name(tmp_path: Path) -> None:
    assert FSCache(tmp_path).name == "fs"
