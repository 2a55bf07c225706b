"""Every word that the official SDKs know: each is understood, or passes unharmed; none is new to us."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin

import anthropic.types as claude_types
import openai.types.responses as openai_types
import pytest
from anthropic.types import beta
from openai.types.chat.chat_completion import Choice

from llmcache import ProviderError, StreamEventType
from llmcache.providers.anthropic_messages import MessagesDialect
from llmcache.providers.openai_responses import ResponsesDialect
from llmcache.providers.openai_responses_stream import ResponseStreamDecoder
from llmcache.testing.upstream import Reply

from .claude import begins, ends, grows, outcome, sse, starts, stops, text, text_block
from .claude import message as claude_message
from .responses import events_of, feed, message, response
from .support import as_json, completion, serving, stored
from .test_claude_answer import STOPS


def types_of(*unions: Any) -> set[str]:
    """Return the `type` of every model in some unions."""
    return {t for union in unions for arm in _arms(union) for t in _type(arm)}


def _arms(union: Any) -> Iterator[Any]:
    while get_origin(union) is Annotated:
        union = get_args(union)[0]
    yield from get_args(union)


def _type(model: Any) -> tuple[str, ...]:
    return get_args(model.model_fields["type"].annotation)


# --- the Responses API --------------------------------------------------------------------------

EVENTS = sorted(types_of(openai_types.ResponseStreamEvent) - {"error"})
PASSING = [kind for kind in EVENTS if kind not in ResponseStreamDecoder._HANDLERS]
ITEMS = sorted(types_of(openai_types.ResponseOutputItem) - {"message"})


def test_the_words_of_the_responses_api_are_those_that_were_looked_at() -> None:
    assert len(EVENTS) == 58
    assert len(PASSING) == 34
    assert len(ITEMS) == 27


@pytest.mark.parametrize("kind", PASSING)
def test_an_event_that_says_nothing_of_the_answer_passes(kind: str) -> None:
    told = {"type": kind, "item_id": "x", "output_index": 0, "delta": "d", "sequence_number": 9}
    plain = events_of(response())
    seen, result = feed(*plain[:-1], told, plain[-1])
    without, same = feed(*plain)
    assert result == same
    passed = [event for event in seen if event not in without]
    assert [(event.type, event.data) for event in passed] == [(StreamEventType.META, told)]


@pytest.mark.parametrize("kind", ITEMS)
def test_an_item_of_any_type_goes_back_as_it_came(kind: str) -> None:
    item = {"id": "x_1", "type": kind, "call_id": "c", "name": "f", "arguments": "{}", "input": "i"}
    item |= {"summary": [], "content": [], "output": "o", "status": "completed"}
    whole = response(item, message())
    result = ResponsesDialect("test").parse(as_json(whole))
    assert result.content == "hi"
    assert result.native is not None
    assert json.dumps(result.native.for_api("responses")) == json.dumps(whole["output"])
    _, streamed = feed(*events_of(whole))
    assert streamed.native == result.native
    calls = {"function_call", "custom_tool_call"}
    assert len(result.tool_calls or ()) == len(streamed.tool_calls or ()) == (kind in calls)


@pytest.mark.parametrize("status", get_args(openai_types.ResponseStatus))
async def test_only_a_completed_response_is_stored(status: str) -> None:
    whole = response(status=status)
    async with serving(Reply(body=as_json(whole)), use_responses_api=True) as (provider, _):
        if status == "failed":
            with pytest.raises(ProviderError):
                await provider.complete("x", cache_response=True)
        else:
            assert (await provider.complete("x", cache_response=True)).content == "hi"
        assert len(await stored(provider)) == (status == "completed")


# --- chat completions ---------------------------------------------------------------------------

FINISHES = {
    "stop": True,
    "tool_calls": True,
    "function_call": True,
    "length": False,
    "content_filter": False,
}


def test_the_reasons_to_finish_are_those_that_were_looked_at() -> None:
    assert set(get_args(Choice.model_fields["finish_reason"].annotation)) == set(FINISHES)


@pytest.mark.parametrize("finish", FINISHES)
async def test_a_reason_to_finish_says_whether_the_answer_is_stored(finish: str) -> None:
    async with serving(Reply(body=as_json(completion(finish=finish)))) as (provider, _):
        result = await provider.complete("x", cache_response=True)
        assert result.finish_reason == finish
        assert len(await stored(provider)) == FINISHES[finish]


# --- the Messages API ---------------------------------------------------------------------------

BLOCKS = sorted(types_of(claude_types.ContentBlock, beta.BetaContentBlock))
DELTAS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "text_delta": (text(""), {"text": "more"}),
    "citations_delta": (text("", citations=[]), {"citation": {"type": "char_location"}}),
    "thinking_delta": ({"type": "thinking", "thinking": "", "signature": ""}, {"thinking": "hm"}),
    "signature_delta": ({"type": "thinking", "thinking": "", "signature": ""}, {"signature": "s"}),
    "input_json_delta": (
        {"type": "tool_use", "id": "t", "name": "f", "input": {}},
        {"partial_json": '{"a": 1}'},
    ),
    "compaction_delta": ({"type": "compaction", "content": None}, {"content": "so far"}),
}
"""By type of a delta, a block that it belongs to, and what it says."""


def test_the_words_of_the_messages_api_are_those_that_were_looked_at() -> None:
    deltas = types_of(claude_types.RawContentBlockDelta, beta.BetaRawContentBlockDelta)
    assert deltas == set(DELTAS)
    assert len(BLOCKS) == 18
    reasons = {*get_args(claude_types.StopReason), *get_args(beta.BetaStopReason)}
    assert reasons == set(STOPS)
    events = types_of(claude_types.RawMessageStreamEvent, beta.BetaRawMessageStreamEvent)
    assert events == {
        "message_start", "content_block_start", "content_block_delta", "content_block_stop",
        "message_delta", "message_stop",
    }  # fmt: skip


@pytest.mark.parametrize("kind", BLOCKS)
def test_a_block_of_any_type_goes_back_as_it_came(kind: str) -> None:
    block = {"type": kind, "id": "b_1", "name": "f", "input": {}, "tool_use_id": "t", "content": []}
    block |= {"text": "", "thinking": "", "signature": "s", "data": "d"}
    result = MessagesDialect("test").parse(as_json(claude_message(block, text("hi"))))
    stream = sse(starts(), begins(0, block), stops(0), *text_block(1, "hi"), *ends())
    streamed, whole = outcome(stream)
    assert whole
    assert result.content == streamed.content == "hi"
    turn = {"role": "assistant", "content": [block, text("hi")]}
    for one in (result, streamed):
        assert one.native is not None
        assert one.native.for_api("messages") == turn
        assert len(one.tool_calls or ()) == (kind == "tool_use")


@pytest.mark.parametrize("kind", DELTAS)
def test_a_delta_of_any_type_is_part_of_the_turn(kind: str) -> None:
    block, says = DELTAS[kind]
    plain, _ = outcome(sse(starts(), begins(0, block), stops(0), *text_block(1, "hi"), *ends()))
    grown, whole = outcome(
        sse(starts(), begins(0, block), grows(0, kind, **says), stops(0), *text_block(1, "hi"), *ends())
    )  # fmt: skip
    assert whole
    assert plain.native != grown.native
