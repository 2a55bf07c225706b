"""The fold of a stream, held against the official SDK's and against the answer it was cut from."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from benchmarks.growth import LONG_STREAMS, LongStream
from llmcache.providers.openai_chat import ChatDialect
from llmcache.types import CompletionResult, WireEvent

from .specification import reference
from .streams import GENERATED, outcome
from .support import DONE, USAGE, call_piece, chunk, wire

# --- the official SDK -------------------------------------------------------------------------


def official(stream: bytes) -> dict[str, Any]:
    """Return the completion that the official SDK folds a stream into."""
    state: ChatCompletionStreamState[Any] = ChatCompletionStreamState()
    for event in reference(stream):
        if event.data.strip() != b"[DONE]":
            data = json.loads(event.data)
            list(state.handle_chunk(ChatCompletionChunk.construct(**data)))
    folded: dict[str, Any] = state.current_completion_snapshot.to_dict()
    return folded


def essence(completion: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what both folds must agree on (not the role: the SDK strings repeated ones together)."""
    return [
        {
            "index": choice["index"],
            "finish_reason": choice.get("finish_reason"),
            "logprobs": choice.get("logprobs"),
            "content": choice["message"].get("content"),
            "refusal": choice["message"].get("refusal"),
            "reasoning": choice["message"].get("reasoning_content"),
            "calls": [
                (call["id"], call["type"], call["function"]["name"], call["function"]["arguments"])
                for call in choice["message"].get("tool_calls") or ()
            ],
        }
        for choice in completion["choices"]
    ]


@pytest.mark.parametrize("name", GENERATED)
def test_generated_streams_fold_as_in_the_official_sdk(name: str) -> None:
    result, _ = outcome(GENERATED[name])
    assert essence(result.raw) == essence(official(GENERATED[name]))


def test_recorded_streams_fold_as_in_the_official_sdk(recorded_streams: list[bytes]) -> None:
    for stream in recorded_streams:
        result, _ = outcome(stream)
        theirs = official(stream)
        assert essence(result.raw) == essence(theirs)
        assert result.model in stream.decode()
        for name in ("id", "model", "system_fingerprint", "service_tier"):
            if theirs.get(name):
                assert result.raw[name] == theirs[name]
        if theirs.get("usage"):
            assert result.raw["usage"] == theirs["usage"]


# --- the answer that a stream was cut from ----------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@st.composite
def answers(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Choices of a completion."""
    count = draw(st.integers(1, 3))
    return [_message(draw, index) for index in range(count)]


def _message(draw: st.DrawFn, index: int) -> dict[str, Any]:
    names = draw(st.lists(st.sampled_from(["f", "g", "weather"]), max_size=2))
    calls = [
        {
            "id": f"call_{number}",
            "type": "function",
            "function": {"name": n, "arguments": draw(texts)},
        }
        for number, n in enumerate(names)
    ]
    message: dict[str, Any] = {"role": "assistant", "content": draw(st.none() | texts)}
    if draw(st.booleans()):
        message["reasoning_content"] = draw(texts)
    if calls:
        message["tool_calls"] = calls
    return {"index": index, "message": message, "finish_reason": "stop"}


@st.composite
def cut_answers(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """An answer, and chunks that it was cut into."""
    choices = draw(answers())
    lanes = [_pieces(draw, choice) for choice in choices]
    chunks = []
    while any(lanes):
        lane = draw(st.sampled_from([lane for lane in lanes if lane]))
        chunks.append(lane.pop(0))
    return choices, [*chunks, chunk(usage=USAGE)]


def _cut(draw: st.DrawFn, text: str) -> list[str]:
    at = draw(st.integers(0, len(text)))
    return [text[:at], text[at:]]


def _pieces(draw: st.DrawFn, choice: Mapping[str, Any]) -> list[dict[str, Any]]:
    index, message = choice["index"], choice["message"]
    first = {"role": "assistant", "content": "" if message["content"] is not None else None}
    deltas: list[dict[str, Any]] = [first]
    for name in ("reasoning_content", "content"):
        if message.get(name) is not None:
            deltas += [{name: piece} for piece in _cut(draw, message[name])]
    for number, call in enumerate(message.get("tool_calls") or ()):
        head, tail = _cut(draw, call["function"]["arguments"])
        fields = {"id": call["id"], "type": "function", "name": call["function"]["name"]}
        deltas += [call_piece(number, head, **fields), call_piece(number, tail)]
    return [*(chunk(delta, index=index) for delta in deltas), chunk(finish="stop", index=index)]


@given(cut_answers())
@settings(max_examples=150, deadline=None)
def test_an_answer_cut_into_chunks_adds_up_to_itself(
    case: tuple[list[dict[str, Any]], list[dict[str, Any]]],
) -> None:
    choices, chunks = case
    decoder = ChatDialect("test").decoder()
    for event in [*wire(*chunks), DONE]:
        decoder.feed(event)
    streamed = decoder.finish()
    whole = {**chunk(usage=USAGE), "choices": choices}
    parsed = ChatDialect("test").parse(json.dumps(whole).encode())
    assert _said(streamed) == _said(parsed)


def _said(result: CompletionResult) -> dict[str, Any]:
    """Return a result without the JSON it was made from."""
    fields = result.to_dict()
    fields["reasoning"] = fields["reasoning"] or None
    fields["extra"].pop("reasoning_content", None)
    for choice in fields["choices"]:
        choice["message"].pop("reasoning_content", None)
    return {name: value for name, value in fields.items() if name != "raw_json"}


# --- long streams -----------------------------------------------------------------------------


def lines_run(shape: LongStream, count: int) -> int:
    """Return how many lines of Python run when a stream of `count` chunks is folded.

    A count, since a clock would fail this beside a busy neighbour; `benchmarks/growth.py`
    has the seconds, and with them what one line of C may hide.
    """
    events = [WireEvent(data) for data in shape(count)]
    decoder = ChatDialect("test").decoder()
    lines = 0

    def trace(_frame: FrameType, what: str, _argument: object) -> Callable[..., Any]:
        nonlocal lines
        lines += what == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        for event in events:
            decoder.feed(event)
        decoder.finish()
    finally:
        sys.settrace(before)
    return lines


@pytest.mark.parametrize("kind", LONG_STREAMS)
def test_a_stream_eight_times_as_long_takes_eight_times_as_many_steps(kind: str) -> None:
    shape = LONG_STREAMS[kind]
    assert lines_run(shape, 1_600) < 8.5 * lines_run(shape, 200)


def test_fifty_thousand_chunks_fold() -> None:
    decoder = ChatDialect("test").decoder()
    event = WireEvent(json.dumps(chunk({"content": "word "})).encode())
    tokens = sum(len(decoder.feed(event)) for _ in range(50_000)) - 1  # META is the first
    for last in [*wire(chunk(finish="stop")), DONE]:
        decoder.feed(last)
    assert tokens == 50_000
    assert decoder.finish().content == "word " * 50_000
