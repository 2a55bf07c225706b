"""One tree of errors for every API: the class, and all that it carries."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from llmcache import LLMCacheError, OpenAIProvider, ProviderError
from llmcache.errors import (
    AuthenticationError,
    BadRequestError,
    ConnectionFailedError,
    ContentFilteredError,
    ContextLengthError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitError,
    ResponseTimeoutError,
    ServerError,
    StreamInterruptedError,
)
from llmcache.testing.upstream import Reply

from .responses import events_of, response, sse_of
from .support import EVENT_STREAM, answer_stream, as_json, collect, serving, sse, stored

Case = tuple[int, str, type[ProviderError], bool]
CASES: dict[str, Case] = {
    "authentication": (401, "invalid_api_key", AuthenticationError, False),
    "permission": (403, "unsupported_country", PermissionDeniedError, False),
    "not found": (404, "model_not_found", NotFoundError, False),
    "rate limited": (429, "rate_limit_exceeded", RateLimitError, True),
    "quota": (429, "insufficient_quota", QuotaExceededError, False),
    "overloaded": (503, "overloaded", OverloadedError, True),
    "no capacity": (498, "capacity_exceeded", OverloadedError, True),
    "context": (400, "context_length_exceeded", ContextLengthError, False),
    "filtered": (400, "content_filter", ContentFilteredError, False),
    "bad request": (400, "invalid_value", BadRequestError, False),
    "server": (500, "server_error", ServerError, True),
    "timeout": (504, "gateway", ResponseTimeoutError, True),
}
APIS = {"chat": {}, "responses": {"use_responses_api": True}}


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("name", CASES)
async def test_every_failure_is_of_its_class_and_says_what_is_known(
    name: str, api: str, streamed: bool
) -> None:
    status, code, kind, retryable = CASES[name]
    body = as_json({"error": {"message": "boom", "type": "t", "code": code}})
    headers = {"x-request-id": "req_7", "retry-after": "0.5"}
    options: Any = APIS[api]
    async with serving(Reply(status, body, headers), attempts=1, **options) as (provider, _):
        with pytest.raises(ProviderError) as raised:
            await _ask(provider, streamed=streamed)
        error = raised.value
        assert type(error) is kind
        assert (error.provider, error.status, error.code) == ("127.0.0.1", status, code)
        assert error.status_code == status
        assert (error.request_id, error.retry_after) == ("req_7", 0.5)
        assert (error.message, error.retryable) == ("boom", retryable)
        assert isinstance(error, LLMCacheError)
        twin = pickle.loads(pickle.dumps(error))
        assert (type(twin), vars(twin)) == (kind, vars(error))
        assert await stored(provider) == []


async def _ask(provider: OpenAIProvider, *, streamed: bool) -> None:
    if streamed:
        await collect(provider.stream("x", cache_response=True))
    else:
        await provider.complete("x", cache_response=True)


@pytest.mark.parametrize("api", APIS)
async def test_a_stream_that_breaks_is_told_from_one_that_does_not_begin(api: str) -> None:
    options: Any = {**APIS[api], "attempts": 1}
    whole = sse(*answer_stream()) if api == "chat" else sse_of(*events_of(response()))
    half = whole[: whole.rindex(b"\n\n", 0, len(whole) // 2) + 2]
    for cut in (True, False):
        reply = Reply(body=half, headers=EVENT_STREAM, cut=cut)
        async with serving(reply, **options) as (provider, _):
            with pytest.raises(StreamInterruptedError) as raised:
                await _ask(provider, streamed=True)
            assert raised.value.retryable
            assert isinstance(raised.value, ConnectionFailedError)
            assert await stored(provider) == []
    async with serving(Reply(), **options) as (provider, upstream):
        base_url = upstream.base_url
    async with OpenAIProvider(
        model="m", base_url=base_url, api_key="sk-test-secret", cache_backend="memory", **options
    ) as provider:
        with pytest.raises(ConnectionFailedError) as failed:
            await _ask(provider, streamed=True)
        assert type(failed.value) is ConnectionFailedError
        assert (failed.value.status, failed.value.retryable) == (None, True)


@pytest.mark.parametrize(
    "words",
    [
        "This model's maximum context length is 8192 tokens.",
        "prompt is too long: 208310 tokens > 200000 maximum",
        "Your input exceeds the context window of this model.",
        "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
        "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575).",
        "the request exceeds the available context size, try increasing it",
        "Please reduce the length of the messages or completion.",
    ],
)
async def test_too_long_is_said_in_many_words(words: str) -> None:
    body = as_json({"error": {"message": words, "type": "invalid_request_error", "code": None}})
    async with serving(Reply(400, body)) as (provider, upstream):
        with pytest.raises(ContextLengthError):
            await provider.complete("x")
        assert upstream.calls == 1
