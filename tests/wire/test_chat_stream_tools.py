"""Tool calls in a stream: however a server numbers, repeats and interleaves their pieces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from llmcache import StreamEventType
from llmcache.streaming.events import fold
from llmcache.types import ToolCall, ToolCallDelta

from .streams import run
from .support import (
    call_piece,
    chunk,
    data_of,
)

T = StreamEventType
Chunks = Sequence[Mapping[str, Any] | str]


def test_parallel_tool_calls() -> None:
    events, result = run(
        chunk(call_piece(0, "", id="a", type="function", name="f")),
        chunk(call_piece(0, '{"x":')),
        chunk(call_piece(0, "1}")),
        chunk(call_piece(1, "{}", id="b", type="function", name="g")),
        chunk(finish="tool_calls"),
    )
    calls = (ToolCall("a", "f", '{"x":1}'), ToolCall("b", "g", "{}"))
    assert result.tool_calls == calls
    assert result.content is None
    assert data_of(events, T.TOOL_CALL_START) == [
        ToolCallDelta(0, "a", "f", ""),
        ToolCallDelta(1, "b", "g", "{}"),
    ]
    assert [d.arguments for d in data_of(events, T.TOOL_CALL_DELTA)] == ['{"x":', "1}"]
    assert data_of(events, T.TOOL_CALL_END) == list(calls)
    kinds = [event.type for event in events if event.type.startswith("tool_call")]
    assert kinds.index(T.TOOL_CALL_END) < len(kinds) - 1
    assert fold(events).tool_calls == calls


_INTERLEAVED: Chunks = [
    chunk(call_piece(0, "", id="a", name="f")),
    chunk(call_piece(1, "", id="b", name="g")),
    chunk(call_piece(0, '{"x":')),
    chunk(call_piece(1, "{}")),
    chunk(call_piece(0, "1}")),
    chunk(finish="tool_calls"),
]


def test_interleaved_tool_calls_add_up() -> None:
    _, result = run(*_INTERLEAVED)
    assert result.tool_calls == (ToolCall("a", "f", '{"x":1}'), ToolCall("b", "g", "{}"))


def test_a_tool_call_ends_once_and_complete_when_calls_interleave() -> None:
    events, _ = run(*_INTERLEAVED)
    ended = sorted(data_of(events, T.TOOL_CALL_END), key=lambda call: call.id)
    assert ended == [ToolCall("a", "f", '{"x":1}'), ToolCall("b", "g", "{}")]


@pytest.mark.parametrize(
    "pieces",
    [
        [{"index": 0, "id": "a"}, {"index": 0, "id": "b"}],
        [{"id": "a"}, {"id": "b"}],
        [{}, {}],
        [{"id": ""}, {"id": ""}],
        [{"index": 0, "id": ""}, {"index": 1, "id": ""}],
        [{"index": 1}, {"index": 2}],
        [{"index": 0}, {"index": 0}],
        [{"index": 0, "id": ""}, {"index": 0, "id": ""}],
    ],
    ids=str,
)
@pytest.mark.parametrize("together", [True, False], ids=["one chunk", "two chunks"])
def test_whole_calls_stay_apart_however_they_are_numbered(
    pieces: list[dict[str, Any]], *, together: bool
) -> None:
    calls = [
        {**piece, "type": "function", "function": {"name": name, "arguments": f'{{"{name}":1}}'}}
        for piece, name in zip(pieces, "fg", strict=True)
    ]
    deltas = [calls] if together else [[call] for call in calls]
    events, result = run(*(chunk({"tool_calls": one}) for one in deltas), chunk(finish="stop"))
    expected = [("f", '{"f":1}'), ("g", '{"g":1}')]
    assert [(call.name, call.arguments) for call in result.tool_calls or ()] == expected
    ids = [call.id for call in result.tool_calls or ()]
    assert [p.get("id") or one for p, one in zip(pieces, ids, strict=True)] == ids
    assert all(ids)
    assert len(set(ids)) == 2
    assert data_of(events, T.TOOL_CALL_END) == list(result.tool_calls or ())


@pytest.mark.parametrize("later", [{}, {"id": None}, {"id": ""}, {"id": "a"}, {"type": "function"}])
@pytest.mark.parametrize("index", [0, 3, None])
def test_pieces_continue_their_call_whatever_they_repeat(
    later: dict[str, Any], index: int | None
) -> None:
    _, result = run(
        chunk(call_piece(index, '{"x"', id="a", type="function", name="f")),
        chunk(call_piece(index, ":1", **later)),
        chunk(call_piece(index, "}", **later)),
        chunk(finish="tool_calls"),
    )
    assert result.tool_calls == (ToolCall("a", "f", '{"x":1}'),)


@pytest.mark.parametrize("identifier", [{}, {"id": "a"}], ids=str)
@pytest.mark.parametrize("cuts", [['{"x"', ":1}", ""], ['{"x":1}', "", ""]], ids=str)
def test_a_repeated_name_is_no_other_call(cuts: list[str], identifier: dict[str, str]) -> None:
    head, *tail = cuts
    events, result = run(
        chunk(call_piece(0, head, name="f", **identifier)),
        *(chunk(call_piece(0, piece, name="f")) for piece in tail),
        chunk(finish="tool_calls"),
    )
    (call,) = result.tool_calls or ()
    assert call == ToolCall(identifier.get("id") or call.id, "f", '{"x":1}')
    assert call.id
    assert data_of(events, T.TOOL_CALL_END) == list(result.tool_calls or ())


def test_the_same_function_called_twice_is_two_calls() -> None:
    _, result = run(
        chunk(call_piece(0, '{"x":1}', name="f")),
        chunk(call_piece(0, '{"x":2}', name="f")),
        chunk(finish="tool_calls"),
    )
    calls = [(call.name, call.arguments) for call in result.tool_calls or ()]
    assert calls == [("f", '{"x":1}'), ("f", '{"x":2}')]


def test_arguments_that_are_an_object_are_reported_as_text() -> None:
    piece = {"index": 0, "id": "a", "function": {"name": "f", "arguments": {"x": 1}}}
    events, result = run(chunk({"tool_calls": [piece]}), chunk(finish="tool_calls"))
    assert result.tool_calls == (ToolCall("a", "f", '{"x": 1}'),)
    assert data_of(events, T.TOOL_CALL_START) == [ToolCallDelta(0, "a", "f", '{"x": 1}')]


def test_fields_beside_a_call_survive() -> None:
    signature = {"google": {"thought_signature": "c2ln"}}
    events, result = run(
        chunk(call_piece(0, "{}", id="a", name="f", extra_content=signature)),
        chunk(finish="tool_calls"),
    )
    (call,) = result.tool_calls or ()
    assert call.extra == {"extra_content": signature}
    assert data_of(events, T.TOOL_CALL_END) == [call]
    assert result.to_message().to_dict()["tool_calls"][0]["extra_content"] == signature


def test_a_free_form_tool_is_called_with_text() -> None:
    piece = {"index": 0, "id": "a", "type": "custom", "custom": {"name": "sql", "input": "sel"}}
    more = {"index": 0, "custom": {"input": "ect 1"}}
    events, result = run(
        chunk({"tool_calls": [piece]}), chunk({"tool_calls": [more]}), chunk(finish="tool_calls")
    )
    assert result.tool_calls == (ToolCall("a", "sql", "select 1", "custom"),)
    assert [delta.arguments for delta in data_of(events, T.TOOL_CALL_DELTA)] == ["ect 1"]


_LEGACY: Chunks = [
    chunk({"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": ""}}),
    chunk({"function_call": {"arguments": '{"x":'}}),
    chunk({"function_call": {"arguments": "1}"}}),
    chunk(finish="function_call"),
]


def test_a_legacy_function_call_adds_up() -> None:
    _, result = run(*_LEGACY)
    assert result.tool_calls == (ToolCall("", "f", '{"x":1}'),)
    assert result.finish_reason == "function_call"
    assert result.raw["choices"][0]["message"]["function_call"]["arguments"] == '{"x":1}'


def test_a_legacy_function_call_is_seen_by_who_reads_the_events() -> None:
    events, result = run(*_LEGACY)
    assert data_of(events, T.TOOL_CALL_END) == list(result.tool_calls or ())
    assert data_of(events, T.TOOL_CALL_START) == [ToolCallDelta(0, None, "f", "")]
    assert [delta.arguments for delta in data_of(events, T.TOOL_CALL_DELTA)] == ['{"x":', "1}"]


def test_a_legacy_function_call_without_a_name_is_none() -> None:
    noise = {"content": "x", "function_call": {"name": "", "arguments": ""}}
    events, result = run(chunk(noise), chunk(finish="stop"))
    assert result.tool_calls is None
    assert not [event for event in events if event.type.startswith("tool_call")]
