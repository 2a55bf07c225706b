"""The opt-in rules: each merges what it says when it is asked for, and nothing else."""

from __future__ import annotations

from typing import Any, Final

import pytest
from keying import call, calls, chat, image, items, result, said, same, text, tool, used

from llmcache.keys import OPT_IN

_Body = dict[str, Any]


def _system(content: str, role: str = "system") -> _Body:
    return {"role": role, "content": content}


def _signed(url: str) -> _Body:
    return chat(said([image(url)]))


def _reasoned(**fields: Any) -> _Body:
    return items({"type": "reasoning", **fields}, said("a"))


def _thought(**fields: Any) -> _Body:
    block = {"type": "thinking", "thinking": "t", **fields}
    return {"messages": [said("q"), {"role": "assistant", "content": [block]}]}


_S3: Final = "https://s3.example/a.png?v=2&X-Amz-Date={0}&x-amz-signature={0}"
_AZURE: Final = "https://x.blob.example/a.png?sv=2024&se={0}&sr=b&sp=r&sig={0}"
_GCS: Final = "https://gcs.example/a.png?X-Goog-Expires=9&X-Goog-Signature={0}"
_ASKED: Final = chat("q", calls(call("f", "A"), call("g", "B")), result("A", "1"), result("B", "2"))
_RENAMED: Final = chat(
    "q", calls(call("f", "B"), call("g", "A")), result("B", "1"), result("A", "2")
)
_TOOL_USE: Final = {"type": "tool_use", "name": "f", "input": {}}

# (rule, kind, a, b): two keys by default, one with the rule
MERGED: Final[list[tuple[str, str, _Body, _Body]]] = [
    ("defaults", "chat", chat(), chat(n=1, logprobs=False, presence_penalty=0)),
    ("defaults", "chat", chat(tools=[tool()]), chat(tools=[tool()], tool_choice="auto")),
    ("defaults", "chat", chat(said([image("u")])), chat(said([image("u", detail="auto")]))),
    ("empty_content", "chat", chat(calls(call("f", "1"))), chat(calls(call("f", "1"), content=""))),
    (
        "instructions",
        "responses",
        items(said("a"), instructions="s"),
        items(_system("s"), said("a")),
    ),
    (
        "instructions",
        "responses",
        {"input": "a", "instructions": "s"},
        {"input": [_system("s"), said("a")]},
    ),
    ("item_ids", "responses", items(said("a", id="msg_1")), items(said("a", status="completed"))),
    (
        "item_ids",
        "responses",
        _reasoned(id="rs_1", encrypted_content="e"),
        _reasoned(id="rs_2", encrypted_content="e"),
    ),
    ("joined_text_parts", "chat", chat(said([text("a"), text("b")])), chat(said("ab"))),
    (
        "joined_text_parts",
        "chat",
        chat(said([text("a"), text("b")])),
        chat(said([text(""), text("ab")])),
    ),
    (
        "joined_text_parts",
        "messages",
        {"system": [text("a"), text("b")]},
        {"system": "ab"},
    ),
    ("max_tokens", "chat", chat(max_tokens=5), chat(max_completion_tokens=5)),
    ("prediction", "chat", chat(), chat(prediction={"type": "content", "content": "x"})),
    ("sampling_defaults", "chat", chat(), chat(temperature=1, top_p=1.0)),
    ("sampling_defaults", "responses", {"input": "a"}, {"input": "a", "temperature": 1.0}),
    ("service_tier", "chat", chat(), chat(service_tier="flex")),
    ("service_tier", "messages", {}, {"speed": "fast", "inference_geo": "eu"}),
    ("signed_urls", "chat", _signed(_S3.format(1)), _signed(_S3.format(2))),
    ("signed_urls", "chat", _signed(_AZURE.format(1)), _signed(_AZURE.format(2))),
    ("signed_urls", "chat", _signed(_GCS.format(1)), _signed(_GCS.format(2))),
    (
        "signed_urls",
        "responses",
        items(said([{"type": "input_image", "image_url": _S3.format(1)}])),
        items(said([{"type": "input_image", "image_url": _S3.format(2)}])),
    ),
    ("store", "chat", chat(), chat(store=True)),
    ("store", "responses", {"input": "a", "store": False}, {"input": "a", "store": True}),
    ("system_developer", "chat", chat(_system("s")), chat(_system("s", "developer"))),
    ("system_developer", "responses", items(_system("s")), items(_system("s", "developer"))),
    ("text_parts", "chat", chat(said("a")), chat(said([text("a")]))),
    ("text_parts", "messages", {"system": "a"}, {"system": [text("a")]}),
    (
        "text_parts",
        "responses",
        {"input": "a"},
        items(said([{"type": "input_text", "text": "a"}])) | {"model": None},
    ),
    ("thinking_signatures", "messages", _thought(signature="s"), _thought(signature="t")),
    (
        "thinking_signatures",
        "responses",
        _reasoned(summary=[{"text": "s"}], encrypted_content="e"),
        _reasoned(summary=[{"text": "s"}], encrypted_content="f"),
    ),
    (
        "tool_arguments",
        "chat",
        chat(calls(call("f", "1", '{"a": 1, "b": "\\u00e9"}'))),
        chat(calls(call("f", "1", '{"b":"é","a":1}'))),
    ),
    ("tool_call_ids", "chat", _ASKED, _RENAMED),
    ("tool_call_ids", "chat", chat(calls(call("f", "x"))), chat(calls(call("f", "call_0")))),
    (
        "tool_call_ids",
        "messages",
        {"messages": [{"content": [{**_TOOL_USE, "id": "a"}]}, said([{"tool_use_id": "a"}])]},
        {"messages": [{"content": [{**_TOOL_USE, "id": "b"}]}, said([{"tool_use_id": "b"}])]},
    ),
    (
        "tool_call_ids",
        "responses",
        items({"type": "function_call", "call_id": "a"}, {"call_id": "a", "output": "1"}),
        items({"type": "function_call", "call_id": "b"}, {"call_id": "b", "output": "1"}),
    ),
    (
        "tool_order",
        "chat",
        chat(tools=[tool(), tool(name="g")]),
        chat(tools=[tool(name="g"), tool()]),
    ),
    ("unicode", "chat", chat(said("é")), chat(said(" e\u0301\n"))),
    ("unicode", "chat", chat(said([text("a\r\nb"), text("c")])), chat(said([text("a\nb"), text("c ")]))),
    ("unicode", "completions", {"prompt": "a\rb"}, {"prompt": "a\nb"}),
    ("unicode", "responses", {"instructions": "a "}, {"instructions": "a"}),
    ("unicode", "messages", {"system": "a "}, {"system": "a"}),
]  # fmt: skip
# What one rule merges and another merges too, as part of what it says.
_WIDER: Final = {"text_parts": {"joined_text_parts"}, "empty_content": {"defaults"}}


@pytest.mark.parametrize(("rule", "kind", "a", "b"), MERGED)
def test_a_rule_merges_what_it_says_and_only_when_asked(
    rule: str, kind: str, a: _Body, b: _Body
) -> None:
    assert not same(kind, a, b)
    assert same(kind, a, b, merge=[rule])
    assert same(kind, a, b, merge=OPT_IN)
    others = OPT_IN.keys() - {rule} - _WIDER.get(rule, set())
    assert not same(kind, a, b, merge=others), "another rule merges it as well"


_ID: Final = chat(calls(call("f", "A"), call("g", "B")), result("A", "1"), result("B", "2"))
_ARGUMENTS: Final = '{"a": "x "}'

# (rule, kind, a, b): looks like a case of the rule, and is none
KEPT: Final[list[tuple[str, str, _Body, _Body]]] = [
    ("defaults", "chat", chat(), chat(n=2)),
    ("defaults", "chat", chat(), chat(n=True)),
    ("defaults", "chat", chat(), chat(tool_choice="auto")),
    ("defaults", "chat", chat(), chat(temperature=1)),
    ("defaults", "chat", chat(said([image("u")])), chat(said([image("u", detail="low")]))),
    ("empty_content", "chat", chat(said("")), chat(said(None))),
    (
        "empty_content",
        "chat",
        chat(calls(call("f", "1"), content=" ")),
        chat(calls(call("f", "1"))),
    ),
    (
        "instructions",
        "responses",
        items(said("a"), instructions="s"),
        items(said("a"), _system("s")),
    ),
    ("instructions", "responses", items(said("a"), instructions="s"), items(said("a"))),
    ("instructions", "chat", chat(said("a"), instructions="s"), chat(_system("s"), said("a"))),
    ("item_ids", "responses", _reasoned(id="rs_1"), _reasoned(id="rs_2")),
    (
        "item_ids",
        "responses",
        items({"type": "item_reference", "id": "a"}),
        items({"type": "item_reference", "id": "b"}),
    ),
    ("item_ids", "chat", chat(said("a", id="1")), chat(said("a", id="2"))),
    ("joined_text_parts", "chat", chat(said([text("a"), image("u")])), chat(said("a"))),
    ("joined_text_parts", "chat", chat(said([text("a"), text("b")])), chat(said("a\nb"))),
    ("joined_text_parts", "chat", chat(said("a"), said("b")), chat(said("ab"))),
    ("joined_text_parts", "chat", chat(said([])), chat(said(""))),
    ("joined_text_parts", "chat", chat(said([text("a", x=1)])), chat(said("a"))),
    ("max_tokens", "chat", chat(max_tokens=5), chat(max_completion_tokens=6)),
    (
        "max_tokens",
        "chat",
        chat(max_tokens=5, max_completion_tokens=6),
        chat(max_completion_tokens=6),
    ),
    ("prediction", "chat", chat(prediction=None), chat(predictions={})),
    ("sampling_defaults", "chat", chat(), chat(temperature=True)),
    ("sampling_defaults", "chat", chat(), chat(temperature=0)),
    ("sampling_defaults", "ollama.chat", {"options": {}}, {"options": {"temperature": 1}}),
    ("service_tier", "chat", chat(), chat(service_tiers="flex")),
    ("signed_urls", "chat", _signed(_S3.format(1)), _signed(_S3.format(1).replace("v=2", "v=3"))),
    ("signed_urls", "chat", _signed("https://x/a?sig=1"), _signed("https://x/b?sig=1")),
    ("signed_urls", "chat", _signed("https://x/a?token=1"), _signed("https://x/a?token=2")),
    ("signed_urls", "chat", _signed("data:text/plain,?sig=1"), _signed("data:text/plain,?sig=2")),
    ("signed_urls", "chat", chat(said("https://x/a?sig=1")), chat(said("https://x/a?sig=2"))),
    ("store", "chat", chat(), chat(stored=True)),
    ("system_developer", "chat", chat(_system("s")), chat(_system("s", "user"))),
    ("text_parts", "chat", chat(said([text("a"), text("b")])), chat(said("ab"))),
    ("text_parts", "chat", chat(said([text("a", x=1)])), chat(said("a"))),
    ("text_parts", "chat", chat(said([{"type": "refusal", "text": "a"}])), chat(said("a"))),
    ("text_parts", "messages", {"system": [text("a", citations=[1])]}, {"system": "a"}),
    ("thinking_signatures", "messages", _thought(thinking="t"), _thought(thinking="u")),
    (
        "thinking_signatures",
        "responses",
        _reasoned(encrypted_content="e"),
        _reasoned(encrypted_content="f"),
    ),
    (
        "thinking_signatures",
        "messages",
        {"messages": [said([{"type": "redacted_thinking", "data": "a"}])]},
        {"messages": [said([{"type": "redacted_thinking", "data": "b"}])]},
    ),
    (
        "tool_arguments",
        "chat",
        chat(calls(call("f", "1", _ARGUMENTS))),
        chat(calls(call("f", "1", '{"a": "x"}'))),
    ),
    (
        "tool_arguments",
        "chat",
        chat(calls(call("f", "1", "{"))),
        chat(calls(call("f", "1", "{ "))),
    ),
    (
        "tool_arguments",
        "chat",
        chat(calls(call("f", "1", '{"a": NaN}'))),
        chat(calls(call("f", "1", '{"a": null}'))),
    ),
    (
        "tool_call_ids",
        "chat",
        _ID,
        chat(calls(call("f", "A"), call("g", "B")), result("B", "1"), result("A", "2")),
    ),
    (
        "tool_call_ids",
        "chat",
        _ID,
        chat(calls(call("f", "A"), call("g", "A")), result("A", "1"), result("A", "2")),
    ),
    ("tool_call_ids", "chat", chat(said("A", id="1")), chat(said("A", id="2"))),
    ("tool_order", "chat", chat(tools=[tool(), tool()]), chat(tools=[tool()])),
    ("tool_order", "chat", chat("a", "b"), chat("b", "a")),
    ("unicode", "chat", chat(said("a")), chat(said("A"))),
    ("unicode", "chat", chat(said("a b")), chat(said("a  b"))),
    ("unicode", "chat", chat(said("ﬁ")), chat(said("fi"))),
    ("unicode", "chat", chat(said("a\nb")), chat(said("a b"))),
    ("unicode", "chat", chat(said("a", name="x")), chat(said("a", name="x "))),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "kind", "a", "b"), KEPT)
def test_a_rule_merges_nothing_else(rule: str, kind: str, a: _Body, b: _Body) -> None:
    assert not same(kind, a, b)
    assert not same(kind, a, b, merge=[rule])


def test_every_rule_is_shown_from_both_sides() -> None:
    assert {row[0] for row in MERGED} == {row[0] for row in KEPT} == OPT_IN.keys()


def test_rules_work_together() -> None:
    a = chat(_system("s ", "developer"), said([text("a\r\n")]), max_tokens=5, store=True)
    b = chat(_system("s"), said("a"), max_completion_tokens=5, temperature=1)
    assert same("chat", a, b, merge=OPT_IN)
    rules = ["system_developer", "text_parts", "unicode", "max_tokens", "store"]
    assert same("chat", a, b, merge=[*rules, "sampling_defaults"])
    for missing in rules:
        assert not same("chat", a, b, merge={*rules, "sampling_defaults"} - {missing})


def test_the_caller_s_body_is_never_changed() -> None:
    body = chat(said([text("a ")]), calls(call("f", "A"), content=""), max_tokens=5)
    twin = chat(said([text("a ")]), calls(call("f", "A"), content=""), max_tokens=5)
    same("chat", body, body, merge=OPT_IN)
    assert body == twin


def test_a_tool_s_input_is_no_content() -> None:
    assert not same("messages", used({"a": "x "}), used({"a": "x"}), merge=OPT_IN)
