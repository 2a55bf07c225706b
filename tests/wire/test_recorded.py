"""Every recorded exchange again, over real HTTP and onto real files: parsed, stored, replayed equal."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from llmcache import Message, OpenAIProvider
from llmcache.streaming.events import fold
from llmcache.testing.upstream import Upstream
from llmcache.types import CacheEntry, CompletionResult

from .recorded import (
    ERRORS,
    NO_ENCODING,
    REFUSED,
    STREAMED,
    TRUNCATED,
    UNFINISHED,
    UNRECORDED_REQUESTS,
    VECTOR_ERRORS,
    VECTORS,
    WHOLE,
    WITHOUT_MODEL,
    Exchange,
    check_request,
    each,
    kept_headers,
)
from .specification import reference
from .support import Open, collect, final, serving, stored, without_cache


def test_every_recorded_row_is_in_one_of_these_tests(
    chats: list[Exchange], embeddings: list[Exchange]
) -> None:
    assert sum(not e.is_stream and not e.is_error for e in chats) == WHOLE
    assert sum(e.is_stream and not e.is_error for e in chats) == STREAMED
    assert sum(e.is_error for e in chats) == ERRORS
    assert sum(not e.is_error for e in embeddings) == VECTORS
    assert sum(e.is_error for e in embeddings) == VECTOR_ERRORS
    assert len(chats) == WHOLE + STREAMED + ERRORS
    assert len(embeddings) == VECTORS + VECTOR_ERRORS
    assert len(chats) + len(embeddings) == 127
    assert sum(e.request is None for e in [*chats, *embeddings]) == UNRECORDED_REQUESTS
    names = {e.name for e in [*chats, *embeddings]}
    # Whole or streamed, some have headers that are kept with the answer.
    assert sum(bool(kept_headers(e)) for e in chats if e.is_stream) == 9
    assert sum(bool(kept_headers(e)) for e in chats if not e.is_stream) == 30
    assert names >= (TRUNCATED | REFUSED | UNFINISHED | WITHOUT_MODEL | NO_ENCODING)


def test_recorded_messages_round_trip(chats: list[Exchange]) -> None:
    count = 0
    for exchange in chats:
        for message in (exchange.request or {"messages": []})["messages"]:
            assert Message.from_dict(message).to_dict() == message, exchange.name
            count += 1
    assert count == 134


async def test_recorded_tools_without_a_type_are_sent_as_they_are(chats: list[Exchange]) -> None:
    (exchange, *_) = [e for e in chats if e.has_typeless_tools]
    async with serving(lambda _: exchange.reply()) as (provider, upstream):
        await provider.complete("x", tools=exchange.asked["tools"])
        assert upstream.requests[0].json()["tools"] == exchange.asked["tools"]


# --- whole answers ----------------------------------------------------------------------------


def check_answer(exchange: Exchange, result: CompletionResult) -> None:
    """Check a parsed answer against the JSON it came from."""
    data = json.loads(exchange.body)
    choice = data["choices"][0]
    message = choice["message"]
    assert result.raw == data
    assert result.raw_json == exchange.body
    if not isinstance(message.get("content"), list):
        assert result.content == message.get("content")
    asked = message.get("tool_calls") or ()
    # A call that the server gave no id has one of its own.
    made = [call.id for call in result.tool_calls or ()]
    assert not asked or len({*made, ""}) == len(asked) + 1
    calls = [
        (call.get("id") or one, call["function"]["name"], call["function"]["arguments"])
        for call, one in zip(asked, made, strict=False)
    ]
    legacy = message.get("function_call")
    if legacy and legacy["name"]:
        calls = [("", legacy["name"], legacy["arguments"])]
    assert [(c.id, c.name, c.arguments) for c in result.tool_calls or ()] == calls
    assert result.finish_reason == (choice["finish_reason"] or None)
    assert (result.id, result.model) == (data["id"] or None, data["model"])
    assert result.refusal == (message.get("refusal") or None)
    assert result.usage is not None
    assert result.usage.input_tokens == data["usage"]["prompt_tokens"]
    # xAI and Gemini leave reasoning out of the completion, and have it in the total.
    unread = data["usage"]["total_tokens"] - data["usage"]["prompt_tokens"]
    assert result.usage.output_tokens == unread
    assert len(result.choices) == (len(data["choices"]) if len(data["choices"]) > 1 else 0)


def same(one: CompletionResult, other: CompletionResult) -> None:
    assert one == other
    assert without_cache(one) == without_cache(other)


async def check_whole(exchange: Exchange, open_provider: Open) -> None:
    messages, options = exchange.chat()
    async with Upstream(lambda _: exchange.reply()) as upstream:
        async with open_provider(upstream) as provider:
            if exchange.name in TRUNCATED:
                refused = await provider.complete(messages, cache_response=True, **options)
                assert refused.cache is not None
                assert not refused.cache.stored
                assert "length limit" in (refused.cache.reason or "")
                assert await stored(provider) == []
                options["store_truncated"] = True
            if exchange.name in REFUSED:
                refused = await provider.complete(messages, cache_response=True, **options)
                assert refused.refusal
                assert refused.cache is not None
                assert "refused" in (refused.cache.reason or "")
                assert await stored(provider) == []
                options["store_refusals"] = True
            live = await provider.complete(messages, cache_response=True, **options)
            assert live.cache is not None
            assert (live.cache.status, live.cache.stored) == ("miss", True)
            check_request(exchange, upstream.requests[-1].json())
            check_answer(exchange, live)
            (entry,) = await stored(provider)
            assert entry.recording.body == exchange.body
            assert entry.recording.events is None
            check_headers(exchange, entry)
            calls = upstream.calls
            await check_hits(provider, exchange, live)
        async with open_provider(upstream) as restarted:
            await check_hits(restarted, exchange, live)
        assert upstream.calls == calls


def check_headers(exchange: Exchange, entry: CacheEntry) -> None:
    """Check that of the headers all that tells something about the answer is kept, and no other."""
    assert dict(entry.recording.headers) == kept_headers(exchange)


async def check_hits(provider: OpenAIProvider, exchange: Exchange, live: CompletionResult) -> None:
    """Check that what is stored answers `complete` and `stream` with the live answer."""
    messages, options = exchange.chat()
    again = await provider.complete(messages, cache_response=True, **options)
    assert again.cache is not None
    assert again.cache.status == "hit"
    same(again, live)
    events = await collect(provider.stream(messages, cache_response=True, **options))
    same(final(events), live)
    pieces = fold(events[:-1])
    assert (pieces.content or None) == (live.content or None)
    assert pieces.tool_calls == live.tool_calls
    assert pieces.usage == live.usage


async def test_recorded_answers_are_stored_and_replayed_equal(
    chats: list[Exchange], fresh: Callable[[], Open]
) -> None:
    rows = [e for e in chats if not e.is_stream and not e.is_error]
    assert await each(rows, lambda exchange: check_whole(exchange, fresh())) == WHOLE


# --- streams ----------------------------------------------------------------------------------


async def check_stream(exchange: Exchange, open_provider: Open) -> None:
    messages, options = exchange.chat()
    async with Upstream(lambda _: exchange.reply()) as upstream:
        async with open_provider(upstream) as provider:
            live = await collect(provider.stream(messages, cache_response=True, **options))
            answer = final(live)
            assert answer.cache is not None
            assert (answer.cache.status, answer.cache.stored) == ("miss", True)
            check_request(exchange, upstream.requests[0].json())
            (entry,) = await stored(provider)
            assert entry.recording.body is None
            payloads = [event.data for event in reference(exchange.body)]
            assert [event.data for event in entry.recording.events or ()] == payloads
            assert payloads[-1] == b"[DONE]"
            check_headers(exchange, entry)
            await check_replay(provider, exchange, live)
        async with open_provider(upstream) as restarted:
            await check_replay(restarted, exchange, live)
        assert upstream.calls == 1


async def check_replay(provider: OpenAIProvider, exchange: Exchange, live: list[Any]) -> None:
    messages, options = exchange.chat()
    replayed = await collect(provider.stream(messages, cache_response=True, **options))
    assert replayed == live
    whole = await provider.complete(messages, cache_response=True, **options)
    assert whole.cache is not None
    assert whole.cache.status == "hit"
    same(whole, final(live))


async def test_recorded_streams_are_stored_and_replayed_equal(
    chats: list[Exchange], fresh: Callable[[], Open]
) -> None:
    rows = [e for e in chats if e.is_stream and not e.is_error and e.name not in UNFINISHED]
    number = STREAMED - len(UNFINISHED)
    assert await each(rows, lambda exchange: check_stream(exchange, fresh())) == number


async def check_unfinished(exchange: Exchange) -> None:
    messages, options = exchange.chat()
    async with serving(lambda _: exchange.reply()) as (provider, _):
        answer = final(await collect(provider.stream(messages, cache_response=True, **options)))
        assert [choice.finish_reason for choice in answer.choices] == ["stop", None]
        assert all(choice.message.text for choice in answer.choices)
        assert await stored(provider) == []


async def test_recorded_streams_without_an_end_of_every_choice_are_answered_and_not_stored(
    chats: list[Exchange],
) -> None:
    rows = [e for e in chats if e.name in UNFINISHED]
    assert await each(rows, check_unfinished) == len(UNFINISHED)
