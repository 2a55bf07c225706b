"""Errors of the Messages API, and what neither they nor the entries show."""

from __future__ import annotations

from typing import Any

import pytest

from llmcache import (
    KeyRules,
    ProviderError,
    StreamEventType,
)
from llmcache.errors import (
    BadRequestError,
    ConflictError,
    ContextLengthError,
    OverloadedError,
    QuotaExceededError,
    RateLimitError,
    ResponseTimeoutError,
    ServerError,
)
from llmcache.testing.upstream import Reply

from .claude import (
    ends,
    message,
    plain_answer,
    reply_of,
    serving,
    starts,
    streamed,
    text_block,
)
from .support import SECRET, as_json, sleeps, stored, until_error
from .test_secrets import check_clean

OLD, NEW = "2023-06-01", "2026-10-21"

# --- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind", "text", "expected", "retryable"),
    [
        (400, "invalid_request_error", "max_tokens: Field required", BadRequestError, False),
        (
            400,
            "invalid_request_error",
            "prompt is too long: 200001 tokens > 200000 maximum",
            ContextLengthError,
            False,
        ),
        (402, "billing_error", "pay", QuotaExceededError, False),
        (409, "conflict_error", "again", ConflictError, True),
        (413, "request_too_large", "big", BadRequestError, False),
        (429, "rate_limit_error", "slow", RateLimitError, True),
        (500, "api_error", "oops", ServerError, True),
        (504, "timeout_error", "late", ResponseTimeoutError, True),
        (529, "overloaded_error", "full", OverloadedError, True),
    ],
)
async def test_errors_are_typed(
    status: int, kind: str, text: str, expected: type[ProviderError], *, retryable: bool
) -> None:
    error = {"type": "error", "error": {"type": kind, "message": text}, "request_id": "req_body"}
    reply = reply_of(error, status, **{"request-id": "req_1", "retry-after": "3"})
    async with serving(reply) as (provider, upstream):
        with pytest.raises(ProviderError) as raised:
            await provider.complete("x", cache_response=True)
        assert type(raised.value) is expected
        assert (raised.value.status, raised.value.code) == (status, kind)
        assert (raised.value.request_id, raised.value.retry_after) == ("req_1", 3.0)
        assert raised.value.retryable == retryable
        assert upstream.calls == (3 if retryable else 1)
        assert sleeps(provider) == [3.0, 3.0] * retryable  # type: ignore[arg-type]
    # In the middle of a stream the status is gone, and the type says the same.
    async with serving(streamed(starts(), *text_block(0, "a"), error)) as (provider, _):
        _, late = await until_error(provider.stream("x", cache_response=True))
        assert type(late) is expected
        assert (late.status, late.code, late.retryable) == (200, kind, retryable)


@pytest.mark.parametrize(("status", "word", "calls"), [(529, "false", 1), (400, "true", 3)])
async def test_the_server_s_word_on_retries_wins_over_the_status(
    status: int, word: str, calls: int
) -> None:
    error = {"type": "error", "error": {"type": "x_error", "message": "m"}}
    async with serving(reply_of(error, status, **{"x-should-retry": word})) as (provider, upstream):
        with pytest.raises(ProviderError):
            await provider.complete("x")
        assert upstream.calls == calls


async def test_a_wait_on_a_success_is_no_wait() -> None:
    async with serving(reply_of(message(), **{"retry-after": "60"})) as (provider, upstream):
        assert (await provider.complete("x")).ok
        assert (upstream.calls, sleeps(provider)) == (1, [])  # type: ignore[arg-type]


async def test_what_the_headers_say_of_the_account_is_not_stored() -> None:
    headers = {
        "request-id": "req_1",
        "anthropic-organization-id": "o",
        "anthropic-ratelimit-requests-limit": "5",
    }
    async with serving(reply_of(message(), **headers)) as (provider, _):
        await provider.complete("x", cache_response=True)
        (entry,) = await stored(provider)  # type: ignore[arg-type]
        assert entry.recording.headers == (("request-id", "req_1"),)


# --- secrets ------------------------------------------------------------------------------------

ECHO = f"invalid x-api-key: {SECRET}"


@pytest.mark.parametrize("version", [OLD, NEW])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_key_that_the_server_repeats_shows_nowhere(version: str, *, stream: bool) -> None:
    error = {
        "type": "error",
        "error": {"type": "authentication_error", "message": ECHO},
        "request_id": SECRET,
    }
    replies = [
        reply_of(error, 401),
        streamed(starts(), *text_block(0, "a"), error),
        Reply(body=as_json(ECHO)),
    ]
    for reply in replies:
        async with serving(reply, api_version=version, attempts=1) as (provider, _):
            if stream:
                events, raised = await until_error(provider.stream("x", cache_response=True))
                shown = [event for event in events if event.type is StreamEventType.ERROR]
                assert SECRET not in repr(shown)
            else:
                with pytest.raises(ProviderError) as caught:
                    await provider.complete("x", cache_response=True)
                raised = caught.value
            check_clean(raised)
            with pytest.raises(ProviderError) as counted:
                await provider.count_tokens("x")
            check_clean(counted.value)


@pytest.mark.parametrize("version", [OLD, NEW])
async def test_the_key_is_nowhere_in_the_provider_or_the_entry(version: str) -> None:
    async with serving(plain_answer, api_version=version) as (provider, _):
        await provider.complete("x", cache_response=True)
        (entry,) = await stored(provider)  # type: ignore[arg-type]
        assert SECRET not in repr(entry)
        assert SECRET not in repr(provider)
        assert SECRET not in repr(provider._transport)


async def test_the_token_of_a_tool_server_counts_and_is_not_in_the_entry() -> None:
    def options(token: str) -> dict[str, Any]:
        return {"mcp_servers": [{"type": "url", "name": "m", "authorization_token": token}]}

    rules = KeyRules(stateful_ttl=60)
    async with serving(plain_answer, key_rules=rules) as (provider, upstream):
        for token in (SECRET, "another", SECRET):
            await provider.complete("x", cache_response=True, **options(token))
        assert upstream.calls == 2
        assert upstream.requests[0].json()["mcp_servers"] == options(SECRET)["mcp_servers"]
        entries = await stored(provider)  # type: ignore[arg-type]
        assert len(entries) == 2
        assert SECRET not in repr(entries)


async def test_a_stream_that_nobody_reads_to_the_end_stores_nothing() -> None:
    async with serving(streamed(starts(), *text_block(0, "a", "b"), *ends())) as (provider, _):
        stream = provider.stream("x", cache_response=True)
        async for event in stream:
            if event.type is StreamEventType.TOKEN:
                break
        await stream.aclose()
        assert await stored(provider) == []  # type: ignore[arg-type]
