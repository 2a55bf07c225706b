"""What streams of the Messages API say, and how they fail."""

from __future__ import annotations

from typing import Any

import pytest

from llmcache import StreamEventType
from llmcache.errors import (
    InvalidResponseError,
    OverloadedError,
    ProviderError,
    StreamInterruptedError,
)
from llmcache.providers.anthropic_messages import MessagesDialect
from llmcache.testing.upstream import Reply
from llmcache.types import ToolCall, ToolCallDelta, Usage, WireEvent

from .claude import (
    GENERATED,
    PING,
    begins,
    call_block,
    ends,
    grows,
    message,
    outcome,
    reply_of,
    serving,
    sse,
    starts,
    stops,
    streamed,
    text,
    text_block,
    told,
    tool_use,
)
from .support import EVENT_STREAM, as_json, collect, data_of, final, stored, until_error

_Event = StreamEventType

# --- streams ------------------------------------------------------------------------------------


def test_the_events_of_a_stream() -> None:
    events, result, whole = told(GENERATED["tools"])
    assert whole
    assert data_of(events, _Event.META) == [{"id": "msg_1", "model": "demo"}]
    assert data_of(events, _Event.TOKEN) == ["let me see"]
    assert data_of(events, _Event.TOOL_CALL_START) == [
        ToolCallDelta(0, "toolu_a", "f"),
        ToolCallDelta(1, "toolu_b", "g"),
    ]
    pieces = data_of(events, _Event.TOOL_CALL_DELTA)
    assert pieces == [ToolCallDelta(0, arguments=piece) for piece in ('{"x": ', "[1, ", "2.50]}")]
    calls = (ToolCall("toolu_a", "f", '{"x": [1, 2.50]}'), ToolCall("toolu_b", "g", "{}"))
    assert tuple(data_of(events, _Event.TOOL_CALL_END)) == calls == result.tool_calls
    assert data_of(events, _Event.USAGE) == [result.usage]
    assert result.native is not None
    assert result.native.for_api("messages") == {
        "role": "assistant",
        "content": [
            text("let me see"),
            tool_use("toolu_a", "f", {"x": [1, 2.5]}),
            tool_use("toolu_b", "g"),
        ],
    }


def test_thinking_citations_and_server_tools_are_told() -> None:
    events, result, _ = told(GENERATED["thinking"])
    assert data_of(events, _Event.REASONING) == ["hm ", "so"]
    assert {"content_block": {"type": "redacted_thinking", "data": "b3BhcXVl"}} in data_of(
        events, _Event.META
    )
    assert result.raw["content"][0] == {
        "type": "thinking",
        "thinking": "hm so",
        "signature": "c2ln",
    }
    events, result, _ = told(GENERATED["citations, CRLF"])
    cited = [each["citations"][0]["cited_text"] for each in data_of(events, _Event.META)[1:]]
    assert cited == ["b", "c"]
    assert [each["cited_text"] for each in result.raw["content"][0]["citations"]] == cited
    events, result, _ = told(GENERATED["server tool"])
    told_of = [each["content_block"]["type"] for each in data_of(events, _Event.META)[1:]]
    assert told_of == ["server_tool_use", "web_search_tool_result"]
    assert result.raw["content"][0]["input"] == {"query": "x"}
    assert result.tool_calls is None


def test_usage_comes_from_the_start_and_the_last_totals() -> None:
    result, _ = outcome(GENERATED["citations, CRLF"])
    assert result.usage == Usage(
        input_tokens=95, output_tokens=4, total_tokens=99, input_tokens_cached=90
    )
    assert result.raw["usage"] == {
        "input_tokens": 5,
        "cache_read_input_tokens": 90,
        "output_tokens": 4,
    }


def test_what_only_belongs_to_the_protocol_says_nothing() -> None:
    odd = [{"type": "later_event", "x": 1}, grows(0, "later_delta", x=1), PING]
    body = sse(
        starts(), begins(0, text("")), *odd, grows(0, "text_delta", text="a"), stops(0), *ends()
    )
    result, whole = outcome(body)
    assert (result.content, whole) == ("a", True)


def test_events_need_no_name() -> None:
    body = b"".join(
        line + b"\n\n"
        for line in sse(starts(), *text_block(0, "a"), *ends()).split(b"\n")
        if line.startswith(b"data")
    )
    assert outcome(body)[0].content == "a"


def test_a_refusal_without_blocks_is_an_answer() -> None:
    details = {"type": "refusal", "category": None, "explanation": "no"}
    events, result, _ = told(sse(starts(), PING, *ends("refusal", stop_details=details)))
    assert (result.content, result.refusal, result.raw["content"]) == (None, "no", [])
    assert data_of(events, _Event.REFUSAL) == ["no"]


def test_later_fields_of_the_message_are_kept() -> None:
    delta, stop = ends(container={"id": "container_1", "expires_at": "t"})
    managed = {**delta, "context_management": {"applied_edits": []}}
    result, _ = outcome(sse(starts(), *text_block(0, "a"), managed, stop))
    assert result.raw["container"] == {"id": "container_1", "expires_at": "t"}
    assert result.raw["context_management"] == {"applied_edits": []}


@pytest.mark.parametrize("bad", ["not json", '["a"]', "NaN", '{"a": NaN}'])
def test_an_input_that_is_no_object_goes_back_as_the_api_wants_it(bad: str) -> None:
    result, whole = outcome(sse(starts(), *call_block(0, "toolu_1", bad), *ends("tool_use")))
    assert whole
    (call,) = result.tool_calls or ()
    assert call.arguments == bad
    assert result.raw["content"][0]["input"] == {"INVALID_JSON": bad}


def test_numbers_of_an_input_keep_their_size() -> None:
    big = '{"n": 12345678901234567890123}'
    result, _ = outcome(sse(starts(), *call_block(0, "toolu_1", big), *ends("tool_use")))
    assert result.raw["content"][0]["input"] == {"n": 12345678901234567890123}
    assert MessagesDialect("test").parse(result.raw_json or b"") == result


def test_a_server_that_ignores_stream_is_understood() -> None:
    decoder = MessagesDialect("test").decoder()
    whole = as_json(message(text("a"), tool_use("toolu_1")))
    events = decoder.feed(WireEvent(whole))
    assert (decoder.terminal, decoder.is_whole) == (True, True)
    assert data_of(events, _Event.TOKEN) == ["a"]
    assert decoder.finish() == MessagesDialect("test").parse(whole)


@pytest.mark.parametrize(
    "events",
    [
        [grows(0, "text_delta", text="a")],
        [starts(), grows(0, "text_delta", text="a")],
        [starts(), starts()],
        [starts(), begins(0, text("")), begins(0, text(""))],
        [starts(), *text_block(0, "a"), grows(0, "text_delta", text="b")],
        [starts(), *text_block(0, "a"), stops(0)],
        [starts(), begins(0, text("")), grows(0, "text_delta", text=None)],
        [starts(), begins(0, {"type": "tool_use", "name": "f"})],
        [starts(), begins("0", text(""))],  # type: ignore[arg-type]
        [{"type": "message_start", "message": {"role": "user"}}],
        [{"type": "message_stop"}],
        [{"type": ["x"]}],
        [starts(), message()],
    ],
    ids=lambda events: str([event["type"] for event in events]),
)
def test_events_that_make_no_sense_are_refused(events: list[Any]) -> None:
    with pytest.raises(InvalidResponseError):
        outcome(sse(*events))


@pytest.mark.parametrize("left", [1, 2, 3])
def test_a_stream_without_its_end_is_interrupted(left: int) -> None:
    events = [starts(), *text_block(0, "a"), *ends()]
    with pytest.raises(StreamInterruptedError, match="message_stop") as raised:
        outcome(sse(*events[:-left]))
    assert raised.value.retryable


@pytest.mark.parametrize(
    "events",
    [
        [starts(), *text_block(0, "a"), *ends(None)],
        [starts(), *text_block(0, "a")[:-1], *ends()],
    ],
    ids=["no reason to stop", "a block without its end"],
)
async def test_a_stream_that_ends_in_disorder_is_answered_and_not_stored(events: list[Any]) -> None:
    async with serving(streamed(*events)) as (provider, _):
        answer = final(await collect(provider.stream("x", cache_response=True)))
        assert answer.content == "a"
        assert await stored(provider) == []  # type: ignore[arg-type]


# --- servers that answer in another form ------------------------------------------------------


async def test_a_message_where_a_stream_was_asked_for_is_streamed() -> None:
    async with serving(reply_of(message(text("a"), tool_use("toolu_1")))) as (provider, _):
        events = await collect(provider.stream("x", cache_response=True))
        assert data_of(events, _Event.TOKEN) == ["a"]
        assert final(events).tool_calls == (ToolCall("toolu_1", "f", "{}"),)
        again = await provider.complete("x", cache_response=True)
        assert again == final(events)
        assert again.cache is not None
        assert again.cache.hit


@pytest.mark.parametrize("body", [b"<html>", b"", b"data: x\n\n", as_json({"x": 1})], ids=repr)
async def test_what_is_no_stream_is_an_error(body: bytes) -> None:
    async with serving(Reply(body=body)) as (provider, _):
        _, raised = await until_error(provider.stream("x", cache_response=True))
        assert isinstance(raised, InvalidResponseError | StreamInterruptedError)
        assert await stored(provider) == []  # type: ignore[arg-type]


async def test_a_stream_where_a_message_was_asked_for_is_an_error() -> None:
    async with serving(streamed(starts(), *text_block(0, "a"), *ends())) as (provider, _):
        with pytest.raises(InvalidResponseError):
            await provider.complete("x", cache_response=True)
        assert await stored(provider) == []  # type: ignore[arg-type]


async def test_what_follows_the_end_is_no_part_of_the_answer() -> None:
    body = sse(starts(), *text_block(0, "a"), *ends()) + b"data: [DONE]\n\nevent: x\ndata: {\n\n"
    async with serving(Reply(body=body, headers=EVENT_STREAM)) as (provider, _):
        answer = final(await collect(provider.stream("x", cache_response=True)))
        assert answer.content == "a"
        (entry,) = await stored(provider)  # type: ignore[arg-type]
        assert (entry.recording.events or ())[-1].event == "message_stop"


# --- errors in a stream -------------------------------------------------------------------------


@pytest.mark.parametrize("before", [0, 1, 3])
@pytest.mark.parametrize("cached", [True, False])
async def test_an_error_in_a_stream_is_typed_and_nothing_is_stored(
    before: int, *, cached: bool
) -> None:
    error = {
        "type": "error",
        "error": {"type": "overloaded_error", "message": "Overloaded"},
        "request_id": "req_1",
    }
    events = [starts(), *text_block(0, "a"), *ends()][:before]
    async with serving(streamed(*events, error)) as (provider, upstream):
        seen, raised = await until_error(provider.stream("x", cache_response=cached))
        assert type(raised) is OverloadedError
        assert (raised.status, raised.code, raised.request_id) == (200, "overloaded_error", "req_1")
        assert raised.retryable
        assert seen[-1].type is _Event.ERROR
        assert upstream.calls == 1
        assert await stored(provider) == []  # type: ignore[arg-type]


async def test_an_error_event_without_sense_is_an_error() -> None:
    body = sse(starts()) + b'event: error\ndata: "boom"\n\n'
    async with serving(Reply(body=body, headers=EVENT_STREAM)) as (provider, _):
        _, raised = await until_error(provider.stream("x"))
        assert isinstance(raised, ProviderError)
