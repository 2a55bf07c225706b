"""What answers of the Messages API say, whole and streamed, and which of them are kept."""

from __future__ import annotations

from typing import Any

import pytest

from llmcache import Message, StreamEventType
from llmcache.errors import (
    InvalidResponseError,
    OverloadedError,
)
from llmcache.providers.anthropic_messages import MessagesDialect
from llmcache.types import Native, ToolCall, Usage

from .claude import (
    ends,
    message,
    reply_of,
    serving,
    starts,
    streamed,
    text,
    text_block,
    tool_use,
)
from .support import as_json, collect, final, stored

_Event = StreamEventType


def parse(data: Any) -> Any:
    return MessagesDialect("test").parse(as_json(data))


# --- whole answers ------------------------------------------------------------------------------


def test_texts_are_joined_and_calls_keep_their_order() -> None:
    result = parse(
        message(
            text("a", citations=None),
            tool_use("toolu_1", "f", {"city": "Köln", "n": 12345678901234567890123}),
            text("b"),
            tool_use("toolu_2", "g"),
            stop="tool_use",
        )
    )
    assert result.content == "ab"
    assert result.tool_calls == (
        ToolCall("toolu_1", "f", '{"city": "Köln", "n": 12345678901234567890123}'),
        ToolCall("toolu_2", "g", "{}"),
    )
    assert (result.id, result.model, result.finish_reason) == ("msg_1", "demo", "tool_use")


def test_an_answer_of_calls_only_has_no_content() -> None:
    assert parse(message(tool_use("toolu_1"))).content is None


def test_thinking_is_reasoning_and_its_signature_stays_in_the_native_turn() -> None:
    blocks = [
        {"type": "thinking", "thinking": "hm ", "signature": "s1"},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "thinking", "thinking": "so", "signature": "s2"},
        text("42"),
    ]
    result = parse(message(*blocks))
    assert (result.reasoning, result.content) == ("hm so", "42")
    native = Native("messages", {"role": "assistant", "content": blocks}, "test")
    assert result.native == native
    assert result.to_message() == Message("assistant", "42", native=native)


def test_usage_counts_what_the_prompt_cache_has() -> None:
    usage = {
        "input_tokens": 3,
        "cache_creation_input_tokens": 20,
        "cache_read_input_tokens": 100,
        "output_tokens": 9,
        "output_tokens_details": {"thinking_tokens": 5},
    }
    assert parse(message(usage=usage)).usage == Usage(
        input_tokens=123,
        output_tokens=9,
        total_tokens=132,
        input_tokens_cached=100,
        input_tokens_cache_write=20,
        reasoning_tokens=5,
    )


def test_a_refusal_says_why_where_the_api_does() -> None:
    details = {"type": "refusal", "category": "cyber", "explanation": "no"}
    refused = parse({**message(stop="refusal", stop_details=details), "content": []})
    assert (refused.refusal, refused.content, refused.finish_reason) == ("no", None, "refusal")
    silent = parse({**message(stop="refusal", stop_details=None), "content": []})
    assert silent.refusal is None
    assert parse(message(stop_details=details)).refusal is None


def test_blocks_of_later_apis_stay_in_the_native_turn() -> None:
    result = parse(message({"type": "hologram", "beam": [1]}, text("x")))
    assert result.content == "x"
    assert result.native.for_api("messages")["content"][0] == {"type": "hologram", "beam": [1]}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        b'{"type": "message"}',
        as_json({**message(), "role": "user"}),
        as_json({**message(), "content": "text"}),
        as_json({**message(), "content": [{"text": "x"}]}),
        as_json({**message(), "content": [{"type": "text", "text": 5}]}),
        as_json(message(tool_use("toolu_1", given=[1]))),
        as_json(message({"type": "tool_use", "name": "f", "input": {}})),
        as_json(message(usage=5)),
        as_json({"choices": [{"message": {"role": "assistant", "content": "x"}}]}),
        b"[" * 100_000,
    ],
    ids=lambda body: repr(body[:40]),
)
def test_what_is_no_message_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidResponseError):
        MessagesDialect("test").parse(body)


def test_an_error_with_status_200_is_an_error() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "m"}}
    with pytest.raises(OverloadedError):
        parse(error)


# --- what is kept -------------------------------------------------------------------------------


# Why an answer that ended so is not stored.
STOPS: dict[str, str | None] = {
    "end_turn": None,
    "tool_use": None,
    "stop_sequence": None,
    "max_tokens": "length limit",
    "model_context_window_exceeded": "length limit",
    "refusal": "filter",
    "pause_turn": "not over",
    "compaction": "not over",
}


@pytest.mark.parametrize(("stop", "reason"), STOPS.items())
@pytest.mark.parametrize("stream", [True, False])
async def test_only_answers_that_are_over_are_stored(
    stop: str, reason: str | None, *, stream: bool
) -> None:
    events = streamed(starts(), *text_block(0, "a"), *ends(stop))
    async with serving(events if stream else reply_of(message(stop=stop))) as (provider, _):
        if stream:
            result = final(await collect(provider.stream("x", cache_response=True)))
        else:
            result = await provider.complete("x", cache_response=True)
        assert result.finish_reason == stop
        assert result.cache is not None
        assert result.cache.stored == (reason is None)
        assert (reason or "") in (result.cache.reason or "")
        assert len(await stored(provider)) == (reason is None)  # type: ignore[arg-type]
