"""Ids of tool calls as they reach the wire of chat completions and of the Responses API."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcache import Message, StreamEventType, ToolCall, provider_for
from llmcache.providers.openai_chat import ChatDialect
from llmcache.providers.openai_chat_messages import ChatServer, chat_messages
from llmcache.providers.openai_responses_input import input_items
from llmcache.providers.tool_ids import MISTRAL_IDS, OPENAI_IDS, RESPONSES_IDS, IdRule
from llmcache.streaming.events import result_events
from llmcache.types import CompletionResult

from .support import DONE, as_json, chunk, completion, data_of, wire

T = StreamEventType
CLAUDES = "toolu_01A09q90qw90lq917835lq9"
DEEPSEEKS = "call_0_2b5a3a1e-9f43-4f8e-8d0e-6a1f3a1f7f10"  # 43 characters
OPENAI = ChatServer.of("openai", "openai")
MISTRAL = ChatServer.of("mistral", "mistral")
GROQ = ChatServer.of("groq", "groq")
RESPONSES = ChatServer.of("openai", "openai", responses=True)


def call(identifier: str | None, name: str = "f") -> dict[str, Any]:
    one = {"id": identifier, "type": "function", "function": {"name": name, "arguments": "{}"}}
    return {field: value for field, value in one.items() if value is not None}


def asks(*ids: str | None) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": [call(one) for one in ids]}


def tells(identifier: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": identifier, "content": "x"}


def answered(server: str, *calls: dict[str, Any]) -> CompletionResult:
    """Return what a chat server answers that asks for calls."""
    whole = completion(None, finish="tool_calls")
    whole["choices"][0]["message"]["tool_calls"] = list(calls)
    return ChatDialect(server).parse(as_json(whole))


def ids_of(messages: list[Any]) -> tuple[list[str], list[str]]:
    """Return the ids of all calls, and of all results."""
    calls = [one["id"] for message in messages for one in message.get("tool_calls") or ()]
    return calls, [m["tool_call_id"] for m in messages if m.get("tool_call_id")]


def items_of(items: list[Any]) -> tuple[list[str], list[str]]:
    """As `ids_of`, of the items of a response."""
    calls = [item["call_id"] for item in items if item.get("type") == "function_call"]
    return calls, [i["call_id"] for i in items if i.get("type") == "function_call_output"]


# --- chat completions -------------------------------------------------------------------------


def test_mistral_gets_ids_of_nine() -> None:
    conversation = ["q", asks(CLAUDES, "call_1"), tells("call_1"), tells(CLAUDES)]
    (one, two), results = ids_of(chat_messages(conversation, MISTRAL))
    assert results == [two, one]
    assert one != two
    assert all(map(MISTRAL_IDS.allows, (one, two)))
    own = ["q", asks("D681PevKs"), tells("D681PevKs")]
    assert chat_messages(own, MISTRAL) == [{"role": "user", "content": "q"}, *own[1:]]


def test_the_provider_of_a_server_has_its_rule() -> None:
    to: Any = provider_for("mistral/m", api_key="k", cache_backend=None)
    sent = to._call(["q", asks(CLAUDES), tells(CLAUDES)], {}).request.body["messages"]
    (one,), results = ids_of(sent)
    assert (results, len(one)) == ([one], 9)


@pytest.mark.parametrize("name", ["openai", "azure"])
def test_openai_gets_no_id_that_is_too_long(name: str) -> None:
    server = ChatServer.of(name, name)
    long = "x" * 64
    (one,), results = ids_of(chat_messages([asks(long), tells(long)], server))
    assert results == [one]
    assert OPENAI_IDS.allows(one)
    fits = [asks("x" * 40), tells("x" * 40)]
    assert chat_messages(fits, server) == fits


def test_an_id_goes_back_to_its_server_whatever_it_is() -> None:
    turn = answered("deepseek", call(DEEPSEEKS)).to_message()
    conversation = ["q", turn, tells(DEEPSEEKS)]
    own = ChatServer.of("deepseek", "deepseek")
    assert ids_of(chat_messages(conversation, own)) == ([DEEPSEEKS], [DEEPSEEKS])
    for other in (OPENAI, GROQ):
        (one,), results = ids_of(chat_messages(conversation, other))
        assert results == [one]
        assert OPENAI_IDS.allows(one)


def test_a_callers_own_ids_stay_where_they_are_not_known_to_be_refused() -> None:
    signed = "call_1__thought__" + "c2ln" * 50
    for conversation in ([asks(signed), tells(signed)], [tells(signed)]):
        assert chat_messages(conversation, GROQ) == conversation


def test_what_needs_no_change_is_not_even_copied() -> None:
    conversation = [asks("call_0", "call_1"), tells("call_1"), tells("call_0"), asks("call_0")]
    sent = chat_messages(conversation, OPENAI)
    assert all(one is other for one, other in zip(sent, conversation, strict=True))


def test_what_a_caller_gave_is_not_changed() -> None:
    conversation = [asks(CLAUDES), tells(CLAUDES)]
    before = copy.deepcopy(conversation)
    assert chat_messages(conversation, MISTRAL) != before
    assert conversation == before


def test_an_id_may_come_again_in_a_later_turn_but_not_in_one() -> None:
    again = [asks("call_0"), tells("call_0"), asks("call_0"), tells("call_0")]
    assert chat_messages(again, OPENAI) == again
    twice = [asks("call_0", "call_0"), {**tells("call_0"), "content": "1"}, tells("call_0")]
    for server in (OPENAI, GROQ):
        (one, two), results = ids_of(chat_messages(twice, server))
        assert results == [one, two]
        assert (one, two != one) == ("call_0", True)


def test_calls_without_ids_get_some_and_their_results_too() -> None:
    conversation = [asks("", None), tells(""), {"role": "tool", "content": "y"}]
    for server in (OPENAI, GROQ, MISTRAL):
        (one, two), results = ids_of(chat_messages(conversation, server))
        assert results == [one, two]
        assert all(map(server.ids.allows, (one, two)))


@pytest.mark.parametrize("server", [OPENAI, GROQ])
def test_a_legacy_call_is_told_once_and_in_the_way_it_is_answered(server: ChatServer) -> None:
    function = {"name": "f", "arguments": "{}"}
    whole = completion(None, finish="function_call")
    whole["choices"][0]["message"]["function_call"] = function
    turn = ChatDialect(server.origin or "").parse(as_json(whole)).to_message()
    old = {"role": "function", "name": "f", "content": "12"}
    assert chat_messages(["q", turn, old], server)[1:] == [
        {"role": "assistant", "function_call": function},
        old,
    ]
    asked, told = chat_messages(["q", turn, Message.tool_result("", "12")], server)[1:]
    assert asked == {"role": "assistant", "tool_calls": [call(told["tool_call_id"])]}


@pytest.mark.parametrize("calls", [7, "x", [7], {"id": "x"}, [{}], [{"id": 7}]])
def test_calls_of_no_known_shape_go_as_they_are_or_are_named(calls: Any) -> None:
    odd = {"role": "assistant", "content": None, "tool_calls": calls}
    (sent,) = chat_messages([odd], GROQ)
    assert {**sent, "tool_calls": calls} == odd


# --- answers without ids ----------------------------------------------------------------------

NAMELESS = [
    {"type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
    {"id": "", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
    {"id": "kept", "type": "function", "function": {"name": "g", "arguments": "{}"}},
]


def streamed(*chunks: Mapping[str, Any]) -> tuple[list[Any], CompletionResult]:
    decoder = ChatDialect("test").decoder()
    events = [event for one in [*wire(*chunks), DONE] for event in decoder.feed(one)]
    return events, decoder.finish()


def pieces(*, together: bool) -> list[dict[str, Any]]:
    numbered = [{**one, "index": i} for i, one in enumerate(NAMELESS)]
    if together:
        return [chunk({"tool_calls": numbered}, "tool_calls")]
    return [*(chunk({"tool_calls": [one]}) for one in numbered), chunk(finish="tool_calls")]


@pytest.mark.parametrize("together", [True, False])
def test_a_call_without_an_id_gets_the_same_one_however_it_is_read(*, together: bool) -> None:
    whole = answered("test", *NAMELESS)
    calls = whole.tool_calls or ()
    ids = [one.id for one in calls]
    assert len(set(ids)) == 3
    assert ids[2] == "kept"
    assert all(map(OPENAI_IDS.allows, ids))
    events, result = streamed(*pieces(together=together))
    assert result.tool_calls == calls
    assert data_of(events, T.TOOL_CALL_END) == list(calls)
    assert data_of(result_events(whole), T.TOOL_CALL_END) == list(calls)
    sum_of_chunks = ChatDialect("other").parse(result.raw_json or b"")
    assert sum_of_chunks.tool_calls == calls


def test_an_answer_whose_chunks_have_several_ids_has_the_first() -> None:
    chunks = [{**one, "id": f"chatcmpl-{i}"} for i, one in enumerate(pieces(together=False))]
    events, result = streamed(*chunks)
    assert result.id == "chatcmpl-0"
    assert data_of(events, T.TOOL_CALL_END) == list(result.tool_calls or ())


def test_the_same_call_in_another_answer_or_choice_is_another() -> None:
    choice = {**completion()["choices"][0], "message": asks(None)}
    several = {**completion(), "choices": [{**choice, "index": i} for i in range(2)]}
    other = {**completion(id="chatcmpl-2"), "choices": [choice]}
    dialect = ChatDialect("test")
    first = dialect.parse(as_json(several))
    calls = [one.message.tool_calls for one in first.choices]
    assert calls[0] == first.tool_calls
    made = {
        *(one[0].id for one in calls if one),
        (dialect.parse(as_json(other)).tool_calls or ())[0].id,
    }
    assert len(made) == 3


def test_results_of_parallel_calls_without_ids_are_told_apart() -> None:
    turn = answered("google", *NAMELESS[:2]).to_message()
    one, two = (call.id for call in turn.tool_calls or ())
    conversation = ["q", turn, Message.tool_result(two, "2"), Message.tool_result(one, "1")]
    for server in (ChatServer.of("google", "google"), OPENAI):
        assert ids_of(chat_messages(conversation, server)) == ([one, two], [two, one])
    (first, second), results = ids_of(chat_messages(conversation, MISTRAL))
    assert results == [second, first]


# --- the Responses API ------------------------------------------------------------------------


def test_equal_ids_of_two_turns_become_two_responses_items() -> None:
    conversation = [asks("call_0"), tells("call_0"), asks("call_0"), tells("call_0")]
    for server in (RESPONSES, ChatServer.of("vllm", "localhost:8000", responses=True)):
        (one, two), results = items_of(input_items(conversation, server))
        assert results == [one, two]
        assert (one, two != one) == ("call_0", True)


def test_responses_get_no_id_that_is_too_long() -> None:
    long = "x" * 65
    (one,), results = items_of(input_items([asks(long), tells(long)], RESPONSES))
    assert results == [one]
    assert RESPONSES_IDS.allows(one)
    fits = "x" * 64
    sent = input_items([asks(fits), tells(fits)], RESPONSES)
    assert items_of(sent) == ([fits], [fits])
    local = ChatServer.of("vllm", "localhost:8000", responses=True)
    assert items_of(input_items([asks(long), tells(long)], local)) == ([long], [long])


def test_items_keep_their_ids_and_nobody_else_gets_them() -> None:
    item = {"type": "function_call", "call_id": "call_0", "name": "f", "arguments": "{}"}
    told = {"type": "function_call_output", "call_id": "call_0", "output": "x"}
    sent = input_items([asks("call_0"), tells("call_0"), item, told], RESPONSES)
    (one, two), results = items_of(sent)
    assert two == "call_0" != one
    assert results == [one, two]
    neutral = input_items([item, tells("call_0")], RESPONSES)
    assert neutral == [item, told]


def test_a_free_form_tools_result_keeps_its_kind_under_another_id() -> None:
    turn = Message.assistant(tool_calls=[ToolCall("x" * 70, "sql", "select 1", "custom")])
    asked, told = input_items([turn, Message.tool_result("x" * 70, "1")], RESPONSES)
    assert (asked["type"], told["type"]) == ("custom_tool_call", "custom_tool_call_output")
    assert asked["call_id"] == told["call_id"]


# --- any conversation -------------------------------------------------------------------------

identifiers = st.one_of(
    st.sampled_from(["", "a", "call_0", "é", CLAUDES, DEEPSEEKS, "D681PevKs", "x" * 50, "x" * 70]),
    st.text(max_size=12),
)


@st.composite
def conversations(draw: st.DrawFn) -> list[Any]:
    """Turns of calls, by hand or a server's answer, each with its results in any order."""
    turns: list[Any] = []
    for _ in range(draw(st.integers(1, 4))):
        given_ids = draw(st.lists(identifiers, min_size=1, max_size=4))
        if draw(st.booleans()):
            turns.append(asks(*given_ids))
            ids = given_ids
        else:
            server = draw(st.sampled_from(["deepseek", "openai", "mistral"]))
            turn = answered(server, *map(call, given_ids)).to_message()
            turns.append(turn if draw(st.booleans()) else json.loads(json.dumps(turn.to_dict())))
            ids = [one.id for one in turn.tool_calls or ()]
        turns += [tells(one) for one in draw(st.permutations(ids))]
    return turns


WIRES: dict[str, tuple[ChatServer, Callable[..., Any], Callable[..., Any], IdRule]] = {
    "openai": (OPENAI, chat_messages, ids_of, OPENAI_IDS),
    "mistral": (MISTRAL, chat_messages, ids_of, MISTRAL_IDS),
    "responses": (RESPONSES, input_items, items_of, RESPONSES_IDS),
}


@pytest.mark.parametrize("name", WIRES)
@given(conversations())
@settings(max_examples=150, deadline=None)
def test_every_call_and_its_results_have_one_id_that_can_be_sent(
    name: str, conversation: list[Any]
) -> None:
    server, write, read, rule = WIRES[name]
    sent = write(conversation, server)
    assert write(conversation, server) == sent
    calls, results = read(sent)
    own = {"openai": "openai", "mistral": "mistral"}.get(name)
    is_own = [_origin(turn) == own for turn in conversation if _is_asking(turn)]
    place = 0
    for turn, mine in zip(filter(_is_asking, conversation), is_own, strict=True):
        count = len(_calls_of(turn))
        ids, answers = calls[place : place + count], results[place : place + count]
        assert len(set(ids)) == count
        assert sorted(ids) == sorted(answers)
        assert mine or all(map(rule.allows, ids))
        place += count
    if name == "responses":
        assert len(set(calls)) == len(calls)


@pytest.mark.parametrize("name", WIRES)
@given(conversations(), conversations())
@settings(max_examples=75, deadline=None)
def test_turns_that_come_later_change_nothing_that_was_sent(
    name: str, before: list[Any], after: list[Any]
) -> None:
    server, write, _, _ = WIRES[name]
    sent = write(before, server)
    assert write([*before, *after], server)[: len(sent)] == sent


def _is_asking(turn: Any) -> bool:
    return isinstance(turn, Message) or turn["role"] == "assistant"


def _calls_of(turn: Any) -> Any:
    return turn.tool_calls if isinstance(turn, Message) else turn["tool_calls"]


def _origin(turn: Any) -> str | None:
    if isinstance(turn, Message):
        return turn.native and turn.native.origin
    return (turn.get("native") or {}).get("origin")
