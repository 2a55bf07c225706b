"""Every recorded exchange of the Responses API again: parsed, stored, replayed equal."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from openai.types.responses import Response

from llmcache import Message, OpenAIProvider, ProviderError
from llmcache.errors import (
    AuthenticationError,
    BadRequestError,
    NotFoundError,
    QuotaExceededError,
    RateLimitError,
)
from llmcache.streaming.events import fold
from llmcache.testing.upstream import Upstream
from llmcache.types import CompletionResult

from .recorded import STAND_IN, Exchange, each, kept_headers, load, undelivered
from .specification import reference
from .support import Open, collect, final, serving, sleeps, stored, without_cache

WHOLE, STREAMED, ERRORS = 38, 23, 18
UNRECORDED_REQUESTS = 9  # a stand-in prompt is sent for these
# Streams that fail inside: OpenAI's `error` event, and `response.failed` alone.
FAILED = {
    "openai/responses/openai_error_1_chunks.0.520999fa.json": QuotaExceededError,
    "openai/responses/openai_response_failed_only_1_chunks.0.9db8cbc8.json": RateLimitError,
}
# What is not stored unless asked: these answers were cut.
CUT = {
    "compat-open-responses/responses/issue_18872_truncated_reasoning_chunks.0.3dc87378.json",
    "compat-open-responses/responses/issue_18872_unknown_incomplete_reason_chunks.0.5002b301.json",
    "compat-unknown/responses/reasoning_1_chunks.0.a68a27ae.json",
    "openai/responses/response_stream_incomplete.0.f7afc0aa.json",
}
# Cut so early that nothing was said: not stored at all.
SILENT = "compat-open-responses/responses/issue_18872_truncated_reasoning_chunks.0.3dc87378.json"
# The last event of these has no output: what was sent before stands in.
WITHOUT_OUTPUT = {name for name in CUT if "issue_18872" in name}
# Hosted tools and server state: bypassed unless a time to live is given for them.
STATEFUL = 8


@pytest.fixture
def exchanges(recordings: Path) -> list[Exchange]:
    return load(recordings, "responses")


def is_error(exchange: Exchange) -> bool:
    return exchange.is_error or exchange.name in FAILED


def test_every_recorded_row_is_in_one_of_these_tests(exchanges: list[Exchange]) -> None:
    assert sum(not e.is_stream and not is_error(e) for e in exchanges) == WHOLE
    assert sum(e.is_stream and not is_error(e) for e in exchanges) == STREAMED
    assert sum(is_error(e) for e in exchanges) == ERRORS
    assert len(exchanges) == WHOLE + STREAMED + ERRORS
    assert sum(e.request is None for e in exchanges) == UNRECORDED_REQUESTS
    assert {e.name for e in exchanges} >= FAILED.keys() | CUT
    assert sum(bool(kept_headers(e)) for e in exchanges if e.is_stream) == 18


async def ask(provider: OpenAIProvider, exchange: Exchange, **more: Any) -> CompletionResult:
    messages, options = exchange.response()
    options |= more
    if exchange.is_stream:
        return final(await collect(provider.stream(messages, cache_response=True, **options)))
    return await provider.complete(messages, cache_response=True, **options)


def official(exchange: Exchange) -> Response:
    """Return the response as the official SDK reads it."""
    if not exchange.is_stream:
        return Response.construct(**json.loads(exchange.body))
    last = json.loads(reference(exchange.body)[-1].data)
    return Response.construct(**last["response"])


def check_fields(result: CompletionResult, theirs: Response) -> None:
    """Check every field that both have."""
    assert (result.content or "") == theirs.output_text
    assert (result.id, result.model) == (theirs.id, theirs.model)
    calls = [o for o in theirs.output if o.type in {"function_call", "custom_tool_call"}]
    assert [(c.id, c.name, c.arguments) for c in result.tool_calls or ()] == [
        (c.call_id, c.name, c.arguments if c.type == "function_call" else c.input) for c in calls
    ]
    parts = [part for o in theirs.output if o.type == "message" for part in o.content]
    refusals = [part.refusal for part in parts if part.type == "refusal"]
    assert (result.refusal or "") == "".join(refusals)
    assert theirs.usage is not None
    assert result.usage is not None
    assert result.usage.input_tokens == theirs.usage.input_tokens
    assert result.usage.output_tokens == theirs.usage.output_tokens
    assert result.usage.total_tokens == theirs.usage.total_tokens
    if theirs.usage.input_tokens_details is not None:  # two of the recordings have no details
        assert result.usage.input_tokens_cached == theirs.usage.input_tokens_details.cached_tokens
        reasoning = theirs.usage.output_tokens_details.reasoning_tokens
        assert result.usage.reasoning_tokens == reasoning
    thoughts = [o for o in theirs.output if o.type == "reasoning"]
    texts = [p.text for o in thoughts for p in [*(o.content or ()), *o.summary] if p.text]
    assert result.reasoning == ("\n\n".join(texts) or None)


async def check(exchange: Exchange, open_provider: Open) -> None:
    rules = {"store_truncated": True, "use_responses_api": True}
    async with Upstream(lambda _: exchange.reply()) as upstream:
        async with open_provider(upstream) as provider:
            live = await ask(provider, exchange, **rules)
            assert live.cache is not None
            sent = undelivered(upstream.requests[0].json())
            if exchange.request is None:
                assert sent == {"model": "stand-in", "input": STAND_IN["messages"]}
            else:
                assert sent == undelivered(exchange.asked)
            assert upstream.requests[0].path == "/v1/responses"
            if exchange.name in WITHOUT_OUTPUT:
                assert live.raw["status"] == "incomplete"
            else:
                check_fields(live, official(exchange))
                # The provider's own JSON: the whole body, or the object inside the last event.
                assert live.raw_json is not None
                assert live.raw_json in exchange.body
                assert live.raw == json.loads(live.raw_json)
            check_turn(live)
            if live.cache.status == "bypass":
                assert not await stored(provider)
                return
            if exchange.name == SILENT:
                assert live.cache.reason == "the answer is empty"
                return
            assert (live.cache.status, live.cache.stored) == ("miss", True)
            (entry,) = await stored(provider)
            if exchange.is_stream:
                payloads = [event.data for event in reference(exchange.body)]
                assert [e.data for e in entry.recording.events or ()] == payloads
            else:
                assert entry.recording.body == exchange.body
            assert dict(entry.recording.headers) == kept_headers(exchange)
            await check_replay(provider, exchange, live)
        async with open_provider(upstream) as restarted:
            await check_replay(restarted, exchange, live)
        assert upstream.calls == 1


def check_turn(live: CompletionResult) -> None:
    """Check that the turn goes back to its API as it came, and says the same to any other."""
    output = live.raw["output"]
    turn = Message.from_dict(json.loads(json.dumps(live.to_message().to_dict())))
    assert turn.native is not None
    assert turn.native.for_api("responses") == output
    assert turn.native.for_api("messages") is None
    assert turn.content == live.content
    assert turn.tool_calls == live.tool_calls
    assert CompletionResult.from_dict(json.loads(json.dumps(live.to_dict()))) == live


async def check_replay(
    provider: OpenAIProvider, exchange: Exchange, live: CompletionResult
) -> None:
    messages, options = exchange.response()
    options |= {"cache_response": True, "use_responses_api": True}
    whole = await provider.complete(messages, **options)
    assert whole.cache is not None
    assert whole.cache.status == "hit"
    assert without_cache(whole) == without_cache(live)
    events = await collect(provider.stream(messages, **options))
    assert without_cache(final(events)) == without_cache(live)
    said = fold(events[:-1])
    assert said.content == live.content
    assert (said.tool_calls or None) == live.tool_calls
    assert said.usage == live.usage
    assert said.reasoning == live.reasoning


async def test_recorded_answers_are_stored_and_replayed_equal(
    exchanges: list[Exchange], fresh: Callable[[], Open]
) -> None:
    rows = [e for e in exchanges if not is_error(e)]
    assert await each(rows, lambda e: check(e, fresh())) == WHOLE + STREAMED


async def test_cut_answers_are_answered_and_not_stored_unless_asked(
    exchanges: list[Exchange],
) -> None:
    async def check_cut(exchange: Exchange) -> None:
        async with serving(lambda _: exchange.reply(), use_responses_api=True) as (provider, _):
            answer = await ask(provider, exchange)
            assert answer.finish_reason is not None
            assert answer.finish_reason.startswith(("length", "incomplete:"))
            assert await stored(provider) == []

    rows = [e for e in exchanges if e.name in CUT]
    assert await each(rows, check_cut) == len(CUT)


async def test_what_depends_on_server_state_is_bypassed(exchanges: list[Exchange]) -> None:
    bypassed = []
    for exchange in exchanges:
        if not is_error(exchange):
            async with serving(lambda _, e=exchange: e.reply(), use_responses_api=True) as (p, _):  # type: ignore[misc]
                answer = await ask(p, exchange)
                assert answer.cache is not None
                if answer.cache.status == "bypass":
                    bypassed.append(answer.cache.reason)
    assert len(bypassed) == STATEFUL
    assert {str(reason).partition(" ")[0] for reason in bypassed} == {
        "tool",
        "previous_response_id",
    }


CLASSES: dict[int, type[ProviderError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    404: NotFoundError,
    429: QuotaExceededError,
}


async def check_error(exchange: Exchange) -> None:
    async with serving(lambda _: exchange.reply(), use_responses_api=True) as (provider, upstream):
        with pytest.raises(ProviderError) as raised:
            await ask(provider, exchange)
        error = raised.value
        assert error.status == exchange.status
        if exchange.name in FAILED:
            assert type(error) is FAILED[exchange.name]
            assert error.code in {"insufficient_quota", "rate_limit_exceeded"}
            assert error.retryable == (error.code == "rate_limit_exceeded")
        else:
            inside = json.loads(exchange.body)["error"]
            is_missing = inside["code"] == "model_not_found"
            expected = NotFoundError if is_missing else CLASSES[exchange.status]
            assert type(error) is expected
            assert error.code == (inside["code"] or inside["type"])
            assert error.message == inside["message"]
        assert upstream.calls == 1
        assert sleeps(provider) == []
        assert await stored(provider) == []


async def test_recorded_errors_are_typed_and_never_stored(exchanges: list[Exchange]) -> None:
    rows = [e for e in exchanges if is_error(e)]
    assert await each(rows, check_error) == ERRORS
