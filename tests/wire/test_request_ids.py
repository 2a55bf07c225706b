"""The server's name for a request: on every error that is found in its answer, and kept with a stream."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Self

import pytest

from llmcache import (
    CacheManager,
    MemoryBackend,
    OpenAIProvider,
    ProviderError,
    StreamEvent,
)
from llmcache.cache.control import Control
from llmcache.errors import InvalidResponseError, StreamInterruptedError
from llmcache.keys import Request
from llmcache.providers.openai_chat import ChatDialect
from llmcache.testing.upstream import Reply, Upstream
from llmcache.types import Recording, WireEvent

from . import claude, ollama_support, responses
from .support import (
    SECRET,
    answer_stream,
    as_json,
    chunk,
    completion,
    pieces,
    provider_of,
    sse,
    stored,
    until_error,
)

NAMED = {"x-request-id": "req_9", "openai-processing-ms": "12", "set-cookie": "a=b"}
HTML = b"\n <!doctype html><title>Sign in</title>"


def responses_of(upstream: Upstream) -> OpenAIProvider:
    return provider_of(upstream, use_responses_api=True)


class Generate:
    """Ollama's `/api/generate`, asked as others are."""

    def __init__(self, upstream: Upstream) -> None:
        self.provider = ollama_support.ollama_of(upstream)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.provider.close()

    async def complete(self, prompt: str, **options: Any) -> Any:
        return await self.provider.generate(prompt, **options)

    def stream(self, prompt: str, **options: Any) -> AsyncGenerator[StreamEvent, None]:
        return self.provider.generate_stream(prompt, **options)


PROVIDERS: dict[str, Callable[[Upstream], Any]] = {
    "chat": provider_of,
    "responses": responses_of,
    "messages": claude.provider_of,
    "ollama.chat": ollama_support.ollama_of,
    "ollama.generate": Generate,
}
# What begins a stream, and an error inside it.
BEGUN: dict[str, bytes] = {
    "chat": sse(chunk({"content": "one"})),
    "responses": responses.sse_of(*responses.events_of(responses.response())[:4]),
    "messages": claude.sse(claude.starts(), *claude.text_block(0, "one")),
    "ollama.chat": ollama_support.ndjson(ollama_support.line("one")),
    "ollama.generate": as_json({**ollama_support.generated("one"), "done": False}) + b"\n",
}
FAILED: dict[str, bytes] = {
    "chat": sse({"error": {"message": "boom"}}),
    "responses": responses.sse_of({"type": "error", "code": "server_error", "message": "boom"}),
    "messages": claude.sse({"type": "error", "error": {"type": "api_error", "message": "boom"}}),
    "ollama.chat": b'{"error": "boom"}\n',
    "ollama.generate": b'{"error": "boom"}\n',
}
SOUND: dict[str, bytes] = {
    "chat": sse(*answer_stream()),
    "responses": responses.sse_of(*responses.events_of(responses.response())),
    "messages": claude.sse(claude.starts(), *claude.text_block(0, "one"), *claude.ends()),
    "ollama.chat": ollama_support.ndjson(ollama_support.line("one"), ollama_support.last()),
    "ollama.generate": ollama_support.ndjson(
        {**ollama_support.generated("one"), "done": False}, ollama_support.generated("")
    ),
}
# A call through the cache, and one that it has no part in.
CACHED: Sequence[Mapping[str, Any]] = ({"cache_response": True}, {})

APIS = pytest.mark.parametrize("api", PROVIDERS)
PATHS = pytest.mark.parametrize("options", CACHED, ids=["cached", "past the cache"])


async def error_of(work: Awaitable[Any]) -> ProviderError:
    with pytest.raises(ProviderError) as raised:
        await work
    return raised.value


# --- whole answers ----------------------------------------------------------------------------


@APIS
@PATHS
@pytest.mark.parametrize("body", [HTML, b"{}", b"[]", b"", b'{"choices": []}', b'{"a": '])
async def test_a_whole_answer_that_is_none_has_its_id(
    api: str, options: Mapping[str, Any], body: bytes
) -> None:
    async with (
        Upstream(lambda _: Reply(body=body, headers=NAMED)) as upstream,
        PROVIDERS[api](upstream) as provider,
    ):
        error = await error_of(provider.complete("x", **options))
        assert isinstance(error, InvalidResponseError)
        assert (error.request_id, error.status) == ("req_9", 200)


async def test_a_page_of_a_proxy_is_named_by_the_proxy() -> None:
    async with (
        Upstream(lambda _: Reply(body=HTML, headers={"cf-ray": "ray"})) as upstream,
        provider_of(upstream) as provider,
    ):
        error = await error_of(provider.complete("x"))
        assert error.request_id == "ray"
        assert "not JSON: <!doctype" in str(error)
        assert upstream.calls == 1


# --- streams ----------------------------------------------------------------------------------


def broken(api: str, how: str) -> Reply:
    """Return a stream with a name that fails as `how` says."""
    begun = BEGUN[api]
    reply = Reply(body=begun, headers=NAMED)
    if how == "error":
        reply.body = begun + FAILED[api]
    elif how == "error at once":
        reply.body = FAILED[api]
    elif how == "cut":
        reply.body, reply.cut = pieces([begun]), True
    elif how == "HTML":
        reply.body = HTML
    elif how == "no event":
        reply.body = begun + (b"[]\n" if api.startswith("ollama") else b"data: []\n\n")
    return reply


@APIS
@PATHS
@pytest.mark.parametrize("how", ["error", "error at once", "cut", "HTML", "no event", "no end"])
async def test_a_stream_that_fails_has_its_id(
    api: str, options: Mapping[str, Any], how: str
) -> None:
    async with (
        Upstream(lambda _: broken(api, how)) as upstream,
        PROVIDERS[api](upstream) as provider,
    ):
        _, error = await until_error(provider.stream("x", **options))
        assert error.request_id == "req_9"
        if how in {"cut", "no end"}:
            assert isinstance(error, StreamInterruptedError)
        if how in {"error", "error at once"}:
            assert "boom" in str(error)


async def test_an_id_inside_the_error_comes_first() -> None:
    failed = {"type": "error", "error": {"type": "api_error"}, "request_id": "req_inside"}
    reply = Reply(body=claude.sse(failed), headers={"request-id": "req_outside"})
    async with claude.serving(lambda _: reply) as (provider, _):
        _, error = await until_error(provider.stream("x"))
        assert error.request_id == "req_inside"


async def test_a_stream_without_a_name_has_none() -> None:
    async with Upstream(lambda _: Reply(body=BEGUN["chat"])) as upstream:
        async with provider_of(upstream) as provider:
            _, error = await until_error(provider.stream("x", cache_response=True))
            assert error.request_id is None


@APIS
async def test_the_headers_of_a_stream_are_kept_as_those_of_a_whole_answer(api: str) -> None:
    kept = {"x-request-id": "req_9", "openai-processing-ms": "12"}
    async with (
        Upstream(lambda _: Reply(body=SOUND[api], headers=NAMED)) as upstream,
        PROVIDERS[api](upstream) as provider,
    ):
        async for _ in provider.stream("x", cache_response=True):
            pass
        (entry,) = await stored(getattr(provider, "provider", provider))
        assert entry.recording.events
        assert dict(entry.recording.headers) == kept


# --- other calls ------------------------------------------------------------------------------


async def test_embeddings_that_are_none_have_their_id() -> None:
    reply = Reply(body=b'{"data": []}', headers=NAMED)
    async with Upstream(lambda _: reply) as upstream:
        async with provider_of(upstream) as openai, ollama_support.ollama_of(upstream) as ollama:
            for provider in (openai, ollama):
                error = await error_of(provider.embed(["x"], cache_response=True))
                assert (type(error), error.request_id) == (InvalidResponseError, "req_9")


async def test_what_counts_and_what_manages_has_its_id() -> None:
    async with Upstream(lambda _: Reply(body=b'{"status": 7}', headers=NAMED)) as upstream:
        async with claude.provider_of(upstream) as provider:
            assert (await error_of(provider.count_tokens("x"))).request_id == "req_9"
        async with ollama_support.ollama_of(upstream) as ollama:
            assert (await error_of(ollama.list_models())).request_id == "req_9"

            async def pull() -> None:
                await ollama.pull_model()

            assert (await error_of(pull())).request_id == "req_9"
    async with Upstream(lambda _: Reply(body=b'{"error": "boom"}', headers=NAMED)) as upstream:
        async with ollama_support.ollama_of(upstream) as ollama:
            assert (await error_of(ollama.show())).request_id == "req_9"


# --- secrets ----------------------------------------------------------------------------------


async def test_a_name_that_repeats_the_key_is_neither_told_nor_stored() -> None:
    headers = {"x-request-id": f"for {SECRET}", "request-id": "req_9"}
    sound = Reply(body=as_json(completion("hi")), headers=headers)
    replies = [sound, Reply(body=SOUND["chat"], headers=headers)]
    async with Upstream(lambda _: replies.pop(0)) as upstream, provider_of(upstream) as provider:
        await provider.complete("one", cache_response=True)
        async for _ in provider.stream("two", cache_response=True):
            pass
        entries = await stored(provider)
        assert [dict(e.recording.headers) for e in entries] == [{"request-id": "req_9"}] * 2
        replies += [Reply(body=b"{}", headers=headers), Reply(body=BEGUN["chat"], headers=headers)]
        whole = await error_of(provider.complete("three"))
        _, streamed = await until_error(provider.stream("four", cache_response=True))
        assert whole.request_id == streamed.request_id == "req_9"


@PATHS
@pytest.mark.parametrize("key", ["abc123", "token-abc123", "token-abc12345"])
async def test_a_short_key_is_no_name_either(key: str, options: Mapping[str, Any]) -> None:
    headers = {"x-request-id": f"req-Bearer {key}", "request-id": "req_9"}
    replies = [Reply(body=b"{}", headers=headers), Reply(body=BEGUN["chat"], headers=headers)]
    async with (
        Upstream(lambda _: replies.pop(0)) as upstream,
        provider_of(upstream, api_key=key) as provider,
    ):
        whole = await error_of(provider.complete("one", **options))
        _, streamed = await until_error(provider.stream("two", **options))
        assert whole.request_id == streamed.request_id == "req_9"
        sound = Reply(body=as_json(completion("hi")), headers=headers)
        replies += [sound, Reply(body=SOUND["chat"], headers=headers)]
        await provider.complete("three", **options)
        async for _ in provider.stream("four", **options):
            pass
        entries = await stored(provider)
        assert len(entries) == (2 if options else 0)
        assert all(dict(e.recording.headers) == {"request-id": "req_9"} for e in entries)


# --- calls of one's own -----------------------------------------------------------------------


class OwnCall:
    """A call as a program of its own has it: its stream is a plain generator."""

    dialect = ChatDialect("own")

    def __init__(self, events: Sequence[bytes]) -> None:
        self.request = Request("chat", "https://own.example", {"model": "m", "messages": []})
        self._events = events

    def snapshot(self) -> OwnCall:
        return self

    def is_given_away_by(self, _: Recording) -> bool:
        return False

    async def send(self) -> Recording:
        return Recording(body=b"{}")

    async def stream(self) -> AsyncGenerator[WireEvent, None]:
        started = time.monotonic()
        for event in self._events:
            yield WireEvent(event, None, time.monotonic() - started)


async def test_a_plain_generator_is_a_stream_too() -> None:
    chunks = [as_json(c) for c in answer_stream() if not isinstance(c, str)]
    async with aclosing(CacheManager(MemoryBackend())) as manager:
        control = Control.of({"cache_response": True}, manager.policy, manager.collection)
        manager.register(OwnCall.dialect)
        async with aclosing(manager.stream(OwnCall([*chunks, b"[DONE]"]), control)) as events:
            seen = [event async for event in events]
        assert seen[-1].data.cache.stored
        entry = await manager.entry(seen[-1].data.cache.key)
        assert entry is not None
        assert entry.recording.headers == ()
        failing = OwnCall([*chunks[:1], b'{"error": {"message": "boom"}}'])
        failing.request = failing.request._replace(endpoint="https://other.example")
        _, error = await until_error(manager.stream(failing, control))
        assert error.request_id is None
        assert "boom" in str(error)
