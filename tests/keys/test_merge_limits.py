"""What no opt-in rule may merge: pairings of calls and results, tools' inputs, other URLs."""

from __future__ import annotations

from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keying import ask, call, calls, chat, image, items, key, result, said, same, text, used

from llmcache.errors import InvalidRequestError
from llmcache.keys import OPT_IN

_PROPERTY: Final = settings(deadline=None, max_examples=100)
_IDS: Final = st.text("ABcall_01", min_size=1, max_size=6)


# --- tool-call ids: any renaming that keeps who belongs to whom, and no other -----------------


def _conversation(
    names: list[str], ids: list[str], order: list[int], style: str = "chat"
) -> dict[str, Any]:
    """Return a body whose assistant makes these calls, and whose results come in `order`."""
    if style == "messages":
        uses = [
            {"type": "tool_use", "id": i, "name": n, "input": {}}
            for n, i in zip(names, ids, strict=True)
        ]
        results = [
            {"type": "tool_result", "tool_use_id": ids[o], "content": str(n)}
            for n, o in enumerate(order)
        ]
        return {"messages": [{"role": "assistant", "content": uses}, said(results)]}
    if style == "responses":
        made = [
            {"type": "function_call", "name": n, "call_id": i, "arguments": "{}"}
            for n, i in zip(names, ids, strict=True)
        ]
        outputs = [
            {"type": "function_call_output", "call_id": ids[o], "output": str(n)}
            for n, o in enumerate(order)
        ]
        return items(*made, *outputs)
    made = [call(n, i) for n, i in zip(names, ids, strict=True)]
    return chat("q", calls(*made), *(result(ids[o], str(n)) for n, o in enumerate(order)))


@_PROPERTY
@given(data=st.data(), style=st.sampled_from(["chat", "messages", "responses"]))
def test_ids_count_by_whom_they_name(data: st.DataObject, style: str) -> None:
    count = data.draw(st.integers(1, 4))
    names = data.draw(st.lists(st.sampled_from("fg"), min_size=count, max_size=count))
    ids, others = (
        data.draw(st.lists(_IDS, min_size=count, max_size=count, unique=True)) for _ in "ab"
    )
    order, another = (data.draw(st.permutations(range(count))) for _ in "ab")
    one = _conversation(names, ids, order, style)
    assert same(style, one, _conversation(names, others, order, style), merge=["tool_call_ids"])
    shared = same(style, one, _conversation(names, others, another, style), merge=["tool_call_ids"])
    assert shared == (order == another)


def _custom(name: str, call_id: str) -> dict[str, Any]:
    return {"id": call_id, "type": "custom", "custom": {"name": name, "input": "x"}}


def _untyped(name: str, call_id: str) -> dict[str, Any]:
    return {"id": call_id, "function": {"name": name, "arguments": "{}"}}


def _mcp(first: str, second: str) -> dict[str, Any]:
    def use(name: str, call_id: str) -> dict[str, Any]:
        return {"type": "mcp_tool_use", "id": call_id, "name": name, "input": {}}

    def got(call_id: str, content: str) -> dict[str, Any]:
        return {"type": "mcp_tool_result", "tool_use_id": call_id, "content": content}

    blocks = [use("f", "A"), use("g", "B"), got(first, "1"), got(second, "2")]
    return {"messages": [{"role": "assistant", "content": blocks}]}


@pytest.mark.parametrize("make", [_custom, _untyped], ids=["custom", "without a type"])
def test_swapped_results_of_calls_in_another_form_are_another_request(make: Any) -> None:
    made = calls(make("f", "A"), make("g", "B"))
    straight = chat("q", made, result("A", "1"), result("B", "2"))
    swapped = chat("q", made, result("B", "1"), result("A", "2"))
    assert not same("chat", straight, swapped, merge=["tool_call_ids"])


def test_swapped_results_of_an_mcp_server_are_another_request() -> None:
    assert not same("messages", _mcp("A", "B"), _mcp("B", "A"), merge=["tool_call_ids"])


def test_ids_of_custom_calls_are_renamed_as_any_other() -> None:
    one, other = (chat(calls(_custom("f", i)), result(i, "1")) for i in "AB")
    assert same("chat", one, other, merge=["tool_call_ids"])


# --- a tool's input is its own -----------------------------------------------------------------


def _object_call(arguments: Any) -> dict[str, Any]:
    return {"messages": [calls({"function": {"name": "f", "arguments": arguments}})]}


def _text_call(arguments: str) -> dict[str, Any]:
    return chat(calls(call("f", "1", arguments)))


_INPUTS: Final[list[tuple[str, Any, Any]]] = [
    ("tool_call_ids", {"call_id": "17"}, {"call_id": "18"}),
    ("tool_call_ids", {"tool_use_id": "a"}, {"tool_use_id": "b"}),
    (
        "tool_call_ids",
        {"type": "function", "name": "x", "id": "1"},
        {"type": "function", "name": "x", "id": "2"},
    ),
    ("text_parts", {"content": [text("x")]}, {"content": "x"}),
    ("joined_text_parts", {"content": [text("x"), text("y")]}, {"content": "xy"}),
    ("unicode", {"content": "x\n"}, {"content": "x"}),
    ("signed_urls", {"url": "https://x/a?sig=1"}, {"url": "https://x/a?sig=2"}),
    ("tool_arguments", {"arguments": "[1, 2]"}, {"arguments": "[1,2]"}),
    (
        "thinking_signatures",
        {"type": "thinking", "signature": "a"},
        {"type": "thinking", "signature": "b"},
    ),
]


@pytest.mark.parametrize(("rule", "a", "b"), _INPUTS)
@pytest.mark.parametrize(
    ("kind", "build"), [("messages", used), ("ollama.chat", _object_call)], ids=["use", "call"]
)
def test_a_rule_leaves_a_tool_s_input_alone(
    rule: str, a: Any, b: Any, kind: str, build: Any
) -> None:
    assert not same(kind, build(a), build(b), merge=[rule])


def test_arguments_that_one_rule_parsed_are_no_prey_of_another() -> None:
    a, b = (_text_call(f'{{"call_id": "{number}"}}') for number in (17, 18))
    assert not same("chat", a, b, merge=["tool_arguments", "tool_call_ids"])


@pytest.mark.parametrize(
    ("a", "b"),
    [
        pytest.param('"a"', "a"),
        pytest.param('{"a":1,"a":2}', '{"a":2}'),
        pytest.param('{"a":1}', '{"a":1.0}'),
        ('{"a":1}', '{"a":true}'),
        ('{"a":1}', '{"a":"1"}'),
        ("{}", "[]"),
        ("{}", ""),
        ("null", ""),
    ],
)
def test_arguments_that_differ_as_json_are_two_requests(a: str, b: str) -> None:
    assert not same("chat", _text_call(a), _text_call(b), merge=["tool_arguments"])


# --- URLs -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b"),
    [
        pytest.param("k=%FF", "k=%FE"),
        pytest.param("st=1", "st=2"),
        pytest.param("sp=a", "sp=b"),
        pytest.param("a", "a="),
        pytest.param("q=a+b", "q=a%20b"),
        ("a=1&b=2", "b=2&a=1"),
        ("a=1&a=2", "a=1"),
        ("signature=1", "signature=2"),
    ],
)
def test_urls_that_differ_in_more_than_a_signature_are_two(a: str, b: str) -> None:
    one, other = (chat(said([image(f"https://x.example/a.png?{query}")])) for query in (a, b))
    assert not same("chat", one, other, merge=["signed_urls"])


def test_a_url_that_cannot_be_read_is_kept_as_text() -> None:
    one, other = (chat(said([image(f"https://[{name}")])) for name in "ab")
    assert not same("chat", one, other, merge=["signed_urls"])


# --- ids that are all there is ------------------------------------------------------------------


def _approval(first: str, second: str) -> dict[str, Any]:
    def asked(name: str, item_id: str) -> dict[str, Any]:
        return {"type": "mcp_approval_request", "id": item_id, "name": name, "arguments": "{}"}

    answer = {"type": "mcp_approval_response", "approval_request_id": "A", "approve": True}
    return items(asked("delete", first), asked("read", second), answer)


def _shell(first: str, second: str) -> dict[str, Any]:
    def ran(command: str, call_id: str) -> dict[str, Any]:
        return {"type": "local_shell_call", "call_id": call_id, "action": {"command": [command]}}

    def out(item_id: str, output: str) -> dict[str, Any]:
        return {"type": "local_shell_call_output", "id": item_id, "output": output}

    return items(ran("ls", "A"), ran("pwd", "B"), out(first, "1"), out(second, "2"))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        pytest.param(items({"id": "a"}), items({"id": "b"}), id="a reference without a type"),
        pytest.param(_approval("A", "B"), _approval("B", "A"), id="which call was approved"),
        pytest.param(_shell("A", "B"), _shell("B", "A"), id="which command printed what"),
    ],
)
def test_an_item_s_id_counts_where_it_names_something(a: Any, b: Any) -> None:
    assert not same("responses", a, b, merge=["item_ids"])


# --- odd shapes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("text_parts", said([{"type": ["text"], "text": "x"}])),
        ("joined_text_parts", said([text("a"), {"type": "text", "text": 5}])),
        ("tool_call_ids", calls({"id": "a", "type": "function", "function": 5})),
        ("tool_call_ids", calls({"id": "a", "type": ["function"]})),
        ("thinking_signatures", said([{"type": ["thinking"]}])),
    ],
)
def test_a_shape_that_a_rule_does_not_know_is_left_alone(rule: str, message: Any) -> None:
    try:
        assert ask("chat", chat(message), merge=[rule]).key()
    except InvalidRequestError as error:
        pytest.fail(f"a rule makes the request invalid: {error}")


@pytest.mark.parametrize("rule", OPT_IN)
@pytest.mark.parametrize(
    "odd", [None, 1, "a", [], {}, [1], [[]], [None], {"role": 1}, [{"role": []}]]
)
def test_a_rule_survives_messages_of_any_shape(rule: str, odd: Any) -> None:
    body = {"messages": odd, "tools": odd, "prompt": odd, "system": odd}
    for kind in ("chat", "messages", "completions"):
        assert key(kind, body, merge=[rule])
    assert key("responses", {"input": odd, "instructions": odd, "tools": odd}, merge=[rule])


def test_a_part_whose_text_is_no_text_is_kept() -> None:
    part = {"type": "text", "text": ["x"]}
    assert not same("chat", chat(said([part])), chat(said(["x"])), merge=["text_parts"])
