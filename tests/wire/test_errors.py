"""From what a server says to the typed error it means."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmcache import OpenAIProvider, ProviderError
from llmcache.errors import (
    AuthenticationError,
    BadRequestError,
    ConflictError,
    ContentFilteredError,
    ContextLengthError,
    InvalidResponseError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitError,
    ResponseTimeoutError,
    ServerError,
)
from llmcache.testing.upstream import Reply

from .support import as_json, collect, completion, serving, stored

# --- error bodies -----------------------------------------------------------------------------

_OPENAI = {"message": "boom", "type": "invalid_request_error", "param": None}
BODIES: dict[str, tuple[int, Any, type[ProviderError], str, str | None]] = {
    "OpenAI": (400, {"error": {**_OPENAI, "code": "invalid_value"}}, BadRequestError, "boom", "invalid_value"),
    "OpenAI, no code": (400, {"error": {**_OPENAI, "code": None}}, BadRequestError, "boom", "invalid_request_error"),
    "key": (401, {"error": {**_OPENAI, "code": "invalid_api_key"}}, AuthenticationError, "boom", "invalid_api_key"),
    "forbidden": (403, {"error": {"message": "boom"}}, PermissionDeniedError, "boom", None),
    "model": (404, {"error": {**_OPENAI, "code": "model_not_found"}}, NotFoundError, "boom", "model_not_found"),
    "conflict": (409, {"error": {"message": "boom"}}, ConflictError, "boom", None),
    "unprocessable": (422, {"error": {"message": "boom"}}, BadRequestError, "boom", None),
    "teapot": (418, {"error": {"message": "boom"}}, BadRequestError, "boom", None),
    "payment": (402, {"error": {"message": "boom", "code": 402}}, QuotaExceededError, "boom", "402"),
    "payment, DeepSeek": (402, {"error": {"message": "boom", "type": "unknown_error", "code": "invalid_request_error"}}, QuotaExceededError, "boom", "invalid_request_error"),
    "timeout": (408, {"error": {"message": "boom"}}, ResponseTimeoutError, "boom", None),
    "gateway timeout": (504, {"error": {"message": "boom"}}, ResponseTimeoutError, "boom", None),
    "rate": (429, {"error": {"message": "boom", "type": "tokens", "code": "rate_limit_exceeded"}}, RateLimitError, "boom", "rate_limit_exceeded"),
    "quota": (429, {"error": {"message": "boom", "type": "insufficient_quota", "code": "insufficient_quota"}}, QuotaExceededError, "boom", "insufficient_quota"),
    "quota by its type": (429, {"error": {"message": "boom", "type": "insufficient_quota", "code": None}}, QuotaExceededError, "boom", "insufficient_quota"),
    "quota by its type, beside another code": (429, {"error": {"message": "boom", "type": "insufficient_quota", "code": "rate_limit_exceeded"}}, QuotaExceededError, "boom", "rate_limit_exceeded"),
    "quota, Moonshot": (429, {"error": {"message": "boom", "type": "exceeded_current_quota_error"}}, QuotaExceededError, "boom", "exceeded_current_quota_error"),
    "billing, OpenAI": (429, {"error": {"message": "boom", "type": "billing_not_active", "code": "billing_not_active"}}, QuotaExceededError, "boom", "billing_not_active"),
    "above the limit of a minute, Groq": (413, {"error": {"message": "boom", "type": "tokens", "code": "rate_limit_exceeded"}}, BadRequestError, "boom", "rate_limit_exceeded"),
    "above the limit of a minute, OpenAI": (429, {"error": {"message": "Request too large for gpt-4o on tokens per min (TPM): Limit 3, Requested 9. The input or output tokens must be reduced in order to run successfully.", "type": "tokens", "code": "rate_limit_exceeded"}}, BadRequestError, "Request too large for gpt-4o on tokens per min (TPM): Limit 3, Requested 9. The input or output tokens must be reduced in order to run successfully.", "rate_limit_exceeded"),
    "server": (500, {"error": {"message": "boom", "type": "server_error"}}, ServerError, "boom", "server_error"),
    "bad gateway": (502, {"error": {"message": "boom"}}, ServerError, "boom", None),
    "unavailable": (503, {"error": {"message": "boom"}}, OverloadedError, "boom", None),
    "overloaded": (529, {"error": {"type": "overloaded_error", "message": "boom"}}, OverloadedError, "boom", "overloaded_error"),
    "too long": (400, {"error": {**_OPENAI, "code": "context_length_exceeded"}}, ContextLengthError, "boom", "context_length_exceeded"),
    "too long, by its words": (400, {"error": {"message": "This model's maximum context length is 8"}}, ContextLengthError, "This model's maximum context length is 8", None),
    "too long, 413": (413, {"error": {"message": "prompt is too long: 9 > 8"}}, ContextLengthError, "prompt is too long: 9 > 8", None),
    "too long, 422": (422, {"message": "the maximum context length is 8"}, ContextLengthError, "the maximum context length is 8", None),
    "too large": (413, {"error": {"message": "boom"}}, BadRequestError, "boom", None),
    "filtered": (400, {"error": {"code": "content_filter", "message": "boom", "status": 400}}, ContentFilteredError, "boom", "content_filter"),
    "OpenRouter": (404, {"error": {"message": "boom", "code": 404}, "user_id": "u"}, NotFoundError, "boom", "404"),
    "Ollama": (404, {"error": "model 'x' not found"}, NotFoundError, "model 'x' not found", None),
    "Mistral": (400, {"object": "error", "message": "boom", "type": "invalid_request", "code": "1234"}, BadRequestError, "boom", "1234"),
    "Mistral, short": (401, {"message": "boom", "request_id": "r"}, AuthenticationError, "boom", None),
    "Cerebras": (429, {"message": "boom", "type": "too_many_requests_error", "param": "quota", "code": "request_quota_exceeded"}, RateLimitError, "boom", "request_quota_exceeded"),
    "Databricks": (400, {"error_code": "BAD_REQUEST", "message": "boom"}, BadRequestError, "boom", "BAD_REQUEST"),
    "Voyage": (401, {"detail": "boom"}, AuthenticationError, "boom", None),
    "FastAPI": (422, {"detail": [{"loc": ["body"], "msg": "boom"}]}, BadRequestError, '[{"loc":["body"],"msg":"boom"}]', None),
    "Z.ai": (400, {"error": {"code": "1305", "message": "boom"}}, BadRequestError, "boom", "1305"),
    "Groq": (400, {"error": {**_OPENAI, "code": "tool_use_failed", "failed_generation": "<x>"}}, BadRequestError, "boom", "tool_use_failed"),
    "message beats error text": (400, {"error": {"message": ""}, "message": "boom"}, BadRequestError, "boom", None),
    "no message": (500, {"error": {"code": 7}}, ServerError, '{"error":{"code":7}}', "7"),
    "null": (500, None, ServerError, "null", None),
    "Gemini, a list of one": (429, [{"error": {"code": 429, "message": "boom", "status": "RESOURCE_EXHAUSTED"}}], RateLimitError, "boom", "429"),
    "a list of two": (400, [{"error": {"message": "a"}}, {"error": {"message": "b"}}], BadRequestError, '[{"error":{"message":"a"}},{"error":{"message":"b"}}]', None),
    "a list of no error": (400, [{"message": "boom"}], BadRequestError, '[{"message":"boom"}]', None),
    "an empty list": (400, [], BadRequestError, "[]", None),
    "a number": (500, 7, ServerError, "7", None),
}  # fmt: skip


async def _complete(provider: OpenAIProvider) -> None:
    await provider.complete("x", cache_response=True)


async def _stream(provider: OpenAIProvider) -> None:
    await collect(provider.stream("x", cache_response=True))


async def _embed(provider: OpenAIProvider) -> None:
    await provider.embed("x", cache_response=True)


@pytest.mark.parametrize(("status", "data", "kind", "message", "code"), BODIES.values(), ids=BODIES)
async def test_an_error_body_becomes_its_class_message_and_code(
    status: int, data: Any, kind: type[ProviderError], message: str, code: str | None
) -> None:
    reply = Reply(status, json.dumps(data, separators=(",", ":")).encode())
    for ask in (_complete, _stream, _embed):
        async with serving(reply, attempts=1) as (provider, upstream):
            with pytest.raises(ProviderError) as raised:
                await ask(provider)
            error = raised.value
            assert type(error) is kind
            assert (error.message, error.code, error.status) == (message, code, status)
            assert error.provider == "127.0.0.1"
            assert str(error) == f"127.0.0.1 {status}: {message}"
            assert upstream.calls == 1
            assert await stored(provider) == []


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (502, b"<html>\n <h1>Bad\tGateway</h1>", "<html> <h1>Bad Gateway</h1>"),
        (500, b"", "no message"),
        (500, b"  \n", "no message"),
        (401, b"Unauthorized", "Unauthorized"),
        (500, b'{"error": {"mess', '{"error": {"mess'),
        (500, b"\xff\xfe" + b"x", "��x"),
        (500, b"x" * 5000, "x" * 300 + "…"),
    ],
)
async def test_an_error_body_that_is_no_json_is_quoted_from_its_start(
    status: int, body: bytes, message: str
) -> None:
    async with serving(Reply(status, body, {"content-type": "text/html"}), attempts=1) as (
        provider,
        _,
    ):
        with pytest.raises(ProviderError) as raised:
            await provider.complete("x")
        assert raised.value.message == message


@pytest.mark.parametrize(
    ("data", "kind", "code", "retryable"),
    [
        ({"error": {"message": "m", "code": 429}, "user_id": "u"}, RateLimitError, "429", True),
        ({"error": {"message": "m", "code": 502}}, ServerError, "502", True),
        ({"error": {"message": "m", "code": 503}}, OverloadedError, "503", True),
        ({"error": {"message": "m", "code": 400}}, BadRequestError, "400", False),
        ({"error": {"message": "m", "code": 401}}, AuthenticationError, "401", False),
        ({"error": {"message": "m", "code": "content_filter", "status": 400}}, ContentFilteredError, "content_filter", False),
        ({"error": {"message": "m", "code": "y", "status_code": 429}}, RateLimitError, "y", True),
        ({"error": {"message": "m", "code": "insufficient_quota"}}, QuotaExceededError, "insufficient_quota", False),
        ({"error": "m"}, ServerError, None, True),
        ({"error": {"message": "m"}}, ServerError, None, True),
        ({"error": {"message": "m", "code": "rate_limit_exceeded"}}, RateLimitError, "rate_limit_exceeded", True),
        ({"error": {"message": "m", "code": "content_filter"}}, ContentFilteredError, "content_filter", False),
        ({"error": {"message": "m", "code": "context_length_exceeded"}}, ContextLengthError, "context_length_exceeded", False),
        ({"error": {"message": "m", "code": "invalid_api_key"}}, AuthenticationError, "invalid_api_key", False),
        ({"error": {"message": "m", "code": "model_not_found"}}, NotFoundError, "model_not_found", False),
        ({"error": {"message": "m", "code": "y", "type": "insufficient_quota"}}, QuotaExceededError, "y", False),
        ({"error": {"message": "m", "code": "y", "type": "invalid_request_error"}}, BadRequestError, "y", False),
        ({"error": {"message": "m", "code": 402}}, QuotaExceededError, "402", False),
        ({"error": {"message": "m", "code": "rate_limit_exceeded", "status_code": 413}}, BadRequestError, "rate_limit_exceeded", False),
        ({"error": {"message": "m", "type": "conflict_error"}}, ConflictError, "conflict_error", True),
        ({"error": {"message": "m", "type": "request_too_large"}}, BadRequestError, "request_too_large", False),
        ([{"error": {"message": "m", "code": 400, "status": "INVALID_ARGUMENT"}}], BadRequestError, "400", False),
        ({"error": {"message": "m", "type": "invalid_request_error", "code": None}}, BadRequestError, "invalid_request_error", False),
    ],
    ids=str,
)  # fmt: skip
async def test_an_error_inside_a_200_follows_what_is_said_inside(
    data: Any, kind: type[ProviderError], code: str | None, *, retryable: bool
) -> None:
    async with serving(Reply(body=as_json(data))) as (provider, upstream):
        with pytest.raises(ProviderError) as raised:
            await provider.complete("x", cache_response=True)
        assert type(raised.value) is kind
        assert (raised.value.status, raised.value.code, raised.value.message) == (200, code, "m")
        assert raised.value.retryable is retryable
        assert upstream.calls == (3 if retryable else 1)
        assert await stored(provider) == []


@pytest.mark.parametrize("error", [None, False, "", {}, []])
async def test_an_empty_error_field_is_no_error(error: Any) -> None:
    async with serving(Reply(body=as_json(completion("hi", error=error)))) as (provider, _):
        result = await provider.complete("x", cache_response=True)
        assert result.content == "hi"
        assert len(await stored(provider)) == 1


async def test_the_word_error_in_an_answer_is_no_error() -> None:
    async with serving(Reply(body=as_json(completion('{"error": "x"}')))) as (provider, upstream):
        assert (await provider.complete("x")).content == '{"error": "x"}'
        assert upstream.calls == 1


async def test_an_error_far_behind_in_the_body_is_still_one() -> None:
    data = completion("x" * 10_000, error={"message": "m", "code": 400})
    async with serving(Reply(body=as_json(data))) as (provider, _):
        with pytest.raises(BadRequestError):
            await provider.complete("x", cache_response=True)
        assert await stored(provider) == []


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x-request-id": "a", "cf-ray": "b"}, "a"),
        ({"request-id": "a"}, "a"),
        ({"apim-request-id": "a", "cf-ray": "b"}, "a"),
        ({"cf-ray": "b"}, "b"),
        ({}, None),
    ],
)
async def test_the_request_id_is_kept(headers: dict[str, str], expected: str | None) -> None:
    for reply in (Reply(400, b"{}", headers), Reply(200, b'{"error":"m"}', headers)):
        async with serving(reply, attempts=1) as (provider, _):
            with pytest.raises(ProviderError) as raised:
                await provider.complete("x")
            assert raised.value.request_id == expected


# --- what is no answer ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b"<!doctype html><html><title>Sign in</title>",
        b'{"choices":[{"mess',
        b"null",
        b"7",
        b'"text"',
        b"[]",
        b"{}",
        b'{"choices":null}',
        b'{"choices":[]}',
        b'{"choices":{}}',
        b'{"choices":[null]}',
        b'{"choices":[{}]}',
        b'{"choices":[{"message":null}]}',
        b'{"choices":[{"message":"hi"}]}',
        b'{"choices":[{"message":{"content":7}}]}',
        b'{"choices":[{"message":{"content":[{"type":"text","text":7}]}}]}',
        b'{"choices":[{"message":{"tool_calls":[{}]}}]}',
        b'{"choices":[{"message":{"tool_calls":["f"]}}]}',
        b'{"choices":[{"message":{"content":"a"}},{"message":null}]}',
        b'{"choices":[{"message":{"content":"a"}}],"usage":[1]}',
        b'{"choices":[{"message":{"content":"a"}}],"usage":{"prompt_tokens":"x"}}',
        b'{"choices":[{"message":{"content":"\\ud83d"}}]}',
        b'data: {"choices":[]}\n\ndata: [DONE]\n\n',
        b"\xff\xfe\x00",
        b"[" * 100_000,
    ],
    ids=lambda body: repr(body[:60]),
)
async def test_what_is_no_completion_is_an_error_and_not_stored(body: bytes) -> None:
    async with serving(Reply(body=body)) as (provider, upstream):
        with pytest.raises(InvalidResponseError) as raised:
            await provider.complete("x", cache_response=True)
        assert raised.value.status == 200
        assert not raised.value.retryable
        assert len(raised.value.message) < 700
        assert upstream.calls == 1
        assert await stored(provider) == []
