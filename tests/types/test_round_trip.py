"""`to_dict` and `from_dict` are exact inverses, through real JSON text."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmcache.errors import InvalidRequestError
from llmcache.types import (
    AudioPart,
    CacheInfo,
    Choice,
    CompletionResult,
    EmbeddingResult,
    FilePart,
    ImagePart,
    Message,
    Native,
    RawPart,
    Role,
    StreamEvent,
    StreamEventType,
    TextPart,
    ToolCall,
    ToolCallDelta,
    Usage,
    normalize_messages,
    part_from_dict,
)

text = st.text(st.characters(codec="utf-8"), max_size=30)
some = st.none() | text
counts = st.integers(0, 10**9)
amounts = st.none() | st.decimals(0, 1000, allow_nan=False, allow_infinity=False, places=9)
finite = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
calls = st.builds(
    ToolCall,
    text,
    text,
    text,
    st.sampled_from(["function", "custom"]),
    st.dictionaries(text.map("x_{}".format), json_values, max_size=2),
)
parts = st.one_of(
    st.builds(TextPart, text),
    st.builds(ImagePart, text, some),
    st.builds(AudioPart, text, text),
    st.builds(FilePart, some, some, some),
    st.builds(lambda extra: RawPart({"type": "odd", **extra}), st.dictionaries(text, json_values)),
)
extras = st.dictionaries(text.map("x_{}".format), json_values, max_size=2)
natives = st.none() | st.builds(Native, text, json_values)
messages = st.builds(
    Message,
    st.sampled_from(Role),
    st.none() | text | st.lists(parts, max_size=3).map(tuple),
    some,
    st.none() | st.lists(calls, min_size=1, max_size=2).map(tuple),
    some,
    extras,
    natives,
)
usages = st.builds(
    Usage,
    *[counts] * 8,
    *[amounts] * 3,
    some,
    counts,
)
infos = st.builds(
    CacheInfo,
    st.sampled_from(["hit", "miss", "bypass", "semantic"]),
    some,
    some,
    counts,
    some,
    st.none() | finite,
    st.booleans(),
    st.none() | finite,
    amounts,
    st.booleans(),
    some,
    counts,
    counts,
)
choices = st.builds(Choice, counts, messages, some, json_values)
results = st.builds(
    CompletionResult,
    content=some,
    tool_calls=st.none() | st.lists(calls, max_size=2).map(tuple),
    usage=st.none() | usages,
    reasoning=some,
    refusal=some,
    model=some,
    finish_reason=some,
    error=some,
    id=some,
    logprobs=json_values,
    choices=st.lists(choices, max_size=2).map(tuple),
    extra=extras,
    native=natives,
    raw_json=st.none() | json_values.map(lambda value: json.dumps(value).encode()),
    cache=st.none() | infos,
)


def through_json(data: Any) -> Any:
    return json.loads(json.dumps(data))


@given(messages)
def test_messages(message: Message) -> None:
    assert Message.from_dict(through_json(message.to_dict())) == message


@given(parts)
def test_parts(part: Any) -> None:
    data = through_json(part.to_dict())
    assert part_from_dict(data).to_dict() == data


@given(calls)
def test_tool_calls(call: ToolCall) -> None:
    assert ToolCall.from_dict(through_json(call.to_dict())) == call


@given(usages)
def test_usage(usage: Usage) -> None:
    assert Usage.from_dict(through_json(usage.to_dict())) == usage


@given(results)
def test_results(result: CompletionResult) -> None:
    again = CompletionResult.from_dict(through_json(result.to_dict()))
    assert again == result
    assert again.cache == result.cache
    assert again.raw == result.raw


@given(st.lists(st.lists(finite, max_size=4), max_size=3), st.none() | usages, some)
def test_embedding_results(vectors: list[list[float]], usage: Usage | None, model: Any) -> None:
    result = EmbeddingResult(vectors, usage, model)
    assert EmbeddingResult.from_dict(through_json(result.to_dict())) == result


@given(
    st.one_of(
        st.builds(StreamEvent, st.just(StreamEventType.TOKEN), text),
        st.builds(StreamEvent, st.just(StreamEventType.META), st.dictionaries(text, json_values)),
        st.builds(StreamEvent, st.just(StreamEventType.USAGE), usages),
        st.builds(StreamEvent, st.just(StreamEventType.TOOL_CALL_END), calls),
        st.builds(
            StreamEvent,
            st.just(StreamEventType.TOOL_CALL_START),
            st.builds(ToolCallDelta, counts, some, some, text),
        ),
        st.builds(StreamEvent, st.just(StreamEventType.DONE), results),
    )
)
def test_stream_events(event: StreamEvent) -> None:
    again = StreamEvent.from_dict(through_json(event.to_dict()))
    assert again == event
    assert again.timestamp == event.timestamp


WIRE_MESSAGES = [
    {"role": "user", "content": "Hi"},
    {"role": "user", "content": [{"type": "text", "text": "Hi"}], "name": "Ann"},
    {"role": "assistant", "content": None, "refusal": "No."},
    {"role": "assistant", "content": "", "reasoning_content": "Hm.", "tool_calls": []},
    {
        "role": "assistant",
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "f", "arguments": '{"a": 1}'},
                "extra_content": {"google": {"thought_signature": "AVSo"}},
            }
        ],
    },
    {
        "role": "assistant",
        "tool_calls": [{"id": "1", "type": "custom", "custom": {"name": "f", "input": "x"}}],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": "42"},
    {"role": "function", "name": "f", "content": "42"},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
            {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}},
            {"type": "image_url", "image_url": {"url": "https://x/y.png", "unknown": 1}},
            {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
            {"type": "file", "file": {"file_id": "file-1"}},
            {"type": "video_url", "video_url": {"url": "https://x/y.mp4"}},
        ],
    },
    {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
    # A server that leaves the type out: nothing is added on the way back.
    {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": ""}}]},
]


@pytest.mark.parametrize("wire", WIRE_MESSAGES)
def test_a_wire_message_comes_back_as_it_was(wire: dict[str, Any]) -> None:
    assert Message.from_dict(wire).to_dict() == wire


WRONG = [
    ("messages", 5),
    ("messages", b"bytes"),
    ("messages[0]", [5]),
    ("messages[1]", ["a", None]),
    ("messages[0].role", [{"content": "x"}]),
    ("messages[0].role", [{"role": "robot", "content": "x"}]),
    ("messages[0].content", [{"role": "user", "content": 5}]),
    ("messages[0].content[1]", [{"role": "user", "content": [{"type": "text", "text": "a"}, 5]}]),
    ("messages[0].content[0]", [{"role": "user", "content": [{"text": "a"}]}]),
    ("messages[0].content[0].text", [{"role": "user", "content": [{"type": "text"}]}]),
    ("messages[0].content[0].image_url", [{"role": "user", "content": [{"type": "image_url"}]}]),
    ("messages[0].name", [{"role": "user", "content": "x", "name": 5}]),
    ("messages[0].tool_calls", [{"role": "assistant", "tool_calls": {}}]),
    ("messages[0].tool_calls[0]", [{"role": "assistant", "tool_calls": [5]}]),
    ("messages[0].tool_calls[0]", [{"role": "assistant", "tool_calls": [{"id": "1"}]}]),
]


@pytest.mark.parametrize(("path", "given_messages"), WRONG)
def test_a_message_of_a_wrong_shape_is_named_with_its_place(path: str, given_messages: Any) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        normalize_messages(given_messages)
    assert caught.value.path == path
    assert str(caught.value).startswith(f"{path}: ")


def test_messages_in_every_form() -> None:
    user = Message.user("Hi")
    assert normalize_messages("Hi") == [user]
    assert normalize_messages(user) == [user]
    assert normalize_messages({"role": "user", "content": "Hi"}) == [user]
    assert normalize_messages(["Hi", user, user.to_dict()]) == [user] * 3


def test_values_cannot_be_changed() -> None:
    result = CompletionResult(content="x", extra={"a": [1]}, raw_json=b'{"a": [1]}')
    with pytest.raises(AttributeError):
        result.content = "y"  # type: ignore[misc]
    with pytest.raises(TypeError):
        result.extra["a"] = 2  # type: ignore[index]
    part = RawPart({"type": "odd", "data": {"list": [1]}})
    copy = part.to_dict()
    copy["data"]["list"].append(2)
    assert part.to_dict() == {"type": "odd", "data": {"list": [1]}}


def test_raw_is_parsed_apart_for_every_result() -> None:
    result = CompletionResult(raw_json=b'{"big": 123456789012345678901234567890, "a": []}')
    twin = result.with_cache(None)
    result.raw["a"].append("changed")
    assert twin.raw == {"big": 123456789012345678901234567890, "a": []}


def test_unknown_costs_stay_unknown_in_sums() -> None:
    known, unknown = Usage(1, 1, 2, total_cost=Decimal("0.5")), Usage(1, 1, 2)
    assert (known + known).total_cost == Decimal(1)
    assert (known + unknown).total_cost is None
    assert Usage.sum([]) == Usage()


def test_sse_text_carries_every_line() -> None:
    event = StreamEvent(StreamEventType.TOKEN, "a\nb\r\nc\rd")
    assert event.to_sse() == "event: token\ndata: a\ndata: b\ndata: c\ndata: d\n\n"
    assert StreamEvent(StreamEventType.TOKEN, "Hello").to_sse() == "event: token\ndata: Hello\n\n"
    assert StreamEvent(StreamEventType.USAGE, Usage(1)).to_sse().startswith("event: usage\ndata: {")


def test_tool_arguments() -> None:
    assert ToolCall("1", "f", '{"a": 1}').parse_arguments() == {"a": 1}
    assert ToolCall("1", "f", " ").parse_arguments() == {}
    with pytest.raises(ValueError, match="not an object"):
        ToolCall("1", "f", "[1]").parse_arguments()


def test_an_answer_becomes_the_next_turn() -> None:
    call = ToolCall("1", "f", "{}", extra={"extra_content": {"google": {"sig": "x"}}})
    result = CompletionResult(tool_calls=(call,), extra={"reasoning_content": "Hm."})
    assert result.to_message().to_dict() == {
        "role": "assistant",
        "tool_calls": [call.to_dict()],
        "reasoning_content": "Hm.",
    }
    assert result.has_tool_calls
    assert result.ok
    assert not CompletionResult(status=500).ok
