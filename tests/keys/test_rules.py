"""Which differences between two requests count: a table per rule, each row with its reason."""

from __future__ import annotations

import math
from typing import Any, Final

import pytest
from keying import ANTHROPIC, call, calls, chat, items, key, result, said, same, text, tool

from llmcache.errors import ConfigurationError
from llmcache.keys import DEFAULT_RULES, OPT_IN, KeyRules
from llmcache.keys.rules import REFUSED

_F: Final = {"name": "f", "parameters": {"type": "object"}}
_MADE: Final = call("f", "call_1")
_MARK: Final = {"cache_control": {"type": "ephemeral"}}

# (kind, a, b, why they are one request: the provider cannot tell them apart)
SAFE: Final[list[tuple[str, dict[str, Any], dict[str, Any], str]]] = [
    ("chat", chat(), chat(stream=True, stream_options={"include_usage": True}), "delivery"),
    ("chat", chat(user="a"), chat(user="b", metadata={"k": "v"}), "bookkeeping"),
    ("chat", chat(), chat(prompt_cache_key="k", safety_identifier="s"), "price and bookkeeping"),
    ("chat", chat(temperature=1), chat(temperature=1.0), "one number"),
    ("chat", chat(temperature=0), chat(temperature=-0.0), "one number"),
    ("chat", {"n": 1, "audio": {"a": 1, "b": 2}}, {"audio": {"b": 2, "a": 1}, "n": 1}, "order"),
    ("chat", chat(), chat(stop=None, seed=None, tools=None), "clients spell absent as null"),
    ("chat", chat(said("q")), chat(said("q", name=None, refusal=None)), "as above, inside"),
    ("chat", chat(calls(_MADE)), chat(calls(_MADE, content=None)), "null content beside calls"),
    ("chat", chat(), chat(tools=[], functions=[], stop=[], logit_bias={}), "nothing is given"),
    ("chat", chat(stop="a"), chat(stop=["a"]), "a sequence is a list of one"),
    ("chat", chat(stop=["a", "b"]), chat(stop=["b", "a", "b"]), "a set of sequences"),
    ("chat", chat(tools=[tool()]), chat(tools=[tool(strict=False)]), "the documented default"),
    ("chat", chat(tools=[tool()]), chat(tools=[{**tool(), **_MARK}]), "a prompt-cache mark"),
    ("chat", chat(said([text("a")])), chat(said([text("a", **_MARK)])), "a prompt-cache mark"),
    ("chat", {"messages": [said("a")]}, {"messages": (said("a"),)}, "a tuple is sent as a list"),
    ("responses", {"input": "a"}, items(said("a")) | {"model": None}, "documented shorthand"),
    ("responses", items(said("a")), items(said("a", type="message")), "the default type"),
    ("responses", {"input": "a"}, {"input": "a", "tools": []}, "no tools"),
    ("responses", {"input": "a"}, {"input": "a", "instructions": None}, "no instructions"),
    ("responses", {"input": "a", "text": {}}, {"input": "a", "text": {"format": None}}, "null"),
    ("messages", {"system": [text("a")]}, {"system": [text("a", **_MARK)]}, "a prompt-cache mark"),
    ("messages", {"messages": [said("a")]}, {"messages": [said("a")], **_MARK}, "the same, on top"),
    ("messages", {"tools": [_F]}, {"tools": [{**_F, **_MARK}]}, "the same, on a tool"),
    ("messages", {}, {"tools": [], "stop_sequences": [], "metadata": {"user_id": "u"}}, "nothing"),
    ("messages", {"stop_sequences": ["a", "b"]}, {"stop_sequences": ["b", "a"]}, "a set"),
    ("messages", {}, {"diagnostics": {"previous_message_id": "m"}}, "a report, not an answer"),
    ("ollama.chat", {"model": "llama3"}, {"model": "llama3:latest"}, "what Ollama does"),
    ("ollama.chat", {"model": "a:5000/b"}, {"model": "a:5000/b:latest"}, "a port is no tag"),
    ("ollama.generate", {"model": "hf.co/x/y"}, {"model": "hf.co/x/y:latest"}, "as above"),
    ("ollama.chat", {}, {"tools": [], "keep_alive": "5m", "stream": False}, "delivery"),
    ("ollama.chat", {"options": {}}, {"options": {"seed": None}}, "absent as null"),
    ("ollama.chat", {"format": "json"}, {"format": "json", "think": None}, "absent as null"),
    ("completions", {"prompt": "a"}, {"prompt": "a", "user": "u", "stream": True}, "delivery"),
    ("embedding", {"input": "a"}, {"input": "a", "encoding_format": "base64"}, "one vector"),
]


@pytest.mark.parametrize(("kind", "a", "b", "why"), SAFE)
def test_a_difference_that_cannot_change_the_answer_does_not_count(
    kind: str, a: dict[str, Any], b: dict[str, Any], why: str
) -> None:
    assert same(kind, a, b), why
    assert same(kind, a, b, native=True), why


_TOOLS: Final = {"tools": [tool()]}

# (kind, a, b): the same on the provider's own endpoint, where its documentation holds
DEFAULTS: Final[list[tuple[str, dict[str, Any], dict[str, Any]]]] = [
    ("chat", chat(), chat(n=1)),
    ("chat", chat(), chat(logprobs=False)),
    ("chat", chat(), chat(presence_penalty=0, frequency_penalty=-0.0)),
    ("chat", chat(**_TOOLS), chat(**_TOOLS, tool_choice="auto")),
    ("chat", chat(calls(_MADE)), chat(calls(_MADE, content=""))),
    (
        "chat",
        chat(said([{"type": "image_url", "image_url": {"url": "u"}}])),
        chat(said([{"type": "image_url", "image_url": {"url": "u", "detail": "auto"}}])),
    ),
    ("responses", _TOOLS, {**_TOOLS, "tool_choice": "auto"}),
    ("messages", {"max_tokens": 9}, {"max_tokens": 9, "temperature": 1.0}),
]


@pytest.mark.parametrize(("kind", "a", "b"), DEFAULTS)
def test_a_documented_default_is_absent_where_it_is_documented(
    kind: str, a: dict[str, Any], b: dict[str, Any]
) -> None:
    assert same(kind, a, b, native=True)
    assert not same(kind, a, b), "another server may have other defaults"


@pytest.mark.parametrize(
    "url",
    [
        "http://api.openai.com/v1/chat/completions",
        "https://api.openai.com:8443/v1/chat/completions",
        "https://api.openai.com.example/v1/chat/completions",
        "https://eu.api.openai.com/v1/chat/completions",
        "https://example/https://api.openai.com/v1/chat/completions",
        "https://x.openai.azure.com/openai/deployments/d/chat/completions?api-version=1",
    ],
)
def test_only_the_provider_s_own_endpoint_has_its_defaults(url: str) -> None:
    assert not same("chat", chat(), chat(n=1), url=url)


@pytest.mark.parametrize("version", [None, "2026-10-21", "2023-01-01"])
def test_anthropic_s_temperature_has_its_default_in_one_version_only(version: str | None) -> None:
    api = {} if version is None else {"anthropic-version": version}
    assert not same("messages", {}, {"temperature": 1}, native=True, api=api)
    assert same("messages", {}, {"temperature": 1}, native=True, api=ANTHROPIC)


def _system(role: str) -> dict[str, Any]:
    return {"role": role, "content": "s"}


# (kind, a, b, why they are two requests)
NEVER: Final[list[tuple[str, dict[str, Any], dict[str, Any], str]]] = [
    ("chat", {"model": "gpt-4o"}, {"model": "gpt-4o-2024-08-06"}, "an alias moves"),
    ("chat", {"model": "m"}, {"model": "m:latest"}, "a rule of Ollama's only"),
    ("ollama.chat", {"model": "llama3"}, {"model": "llama3:8b"}, "another tag"),
    ("chat", chat(), chat(seed=1), "another sample"),
    ("chat", chat(seed=1), chat(seed=2), "another sample"),
    ("chat", chat(said("q")), chat(said("q", name="bob")), "part of the prompt"),
    ("chat", chat(said("q", name="al")), chat(said("q", name="bob")), "part of the prompt"),
    ("chat", chat(), chat(temperature=1), "servers and models differ in the default"),
    ("chat", chat(), chat(top_p=1), "as temperature"),
    ("chat", chat(), chat(parallel_tool_calls=True), "in doubt"),
    ("chat", chat(), chat(tool_choice="auto"), "without tools, `none` is the default"),
    ("chat", chat(), chat(n=2), "more choices"),
    ("chat", chat(n=1), chat(n=True), "true is not 1"),
    ("chat", chat(), chat(n="1"), "text is not a number"),
    ("chat", chat(), chat(logprobs=0), "0 is not false"),
    ("chat", chat(stop=["ab"]), chat(stop=["a", "b"]), "other sequences"),
    ("chat", chat(stop="a"), chat(stop="a "), "other sequences"),
    ("chat", chat(), chat(stop=""), "in doubt"),
    ("chat", chat(max_tokens=5), chat(max_completion_tokens=5), "servers ignore one of them"),
    ("chat", chat(_system("system")), chat(_system("developer")), "models differ"),
    ("chat", chat(said("a")), chat(said([text("a")])), "templates differ"),
    ("chat", chat(said([text("a"), text("b")])), chat(said([text("ab")])), "other tokens"),
    ("chat", chat(said("a")), chat(said("a ")), "other tokens"),
    ("chat", chat(said("é")), chat(said("e\u0301")), "other tokens"),
    ("chat", chat(said("a")), chat(said("A")), "other tokens"),
    ("chat", chat(said("a\nb")), chat(said("a\r\nb")), "other tokens"),
    ("chat", chat("a", "b"), chat("b", "a"), "the order of turns"),
    ("chat", chat("a", "b"), chat("a\nb"), "two turns"),
    ("chat", chat(said(None)), chat(said("")), "empty is not absent, without calls"),
    ("chat", chat(calls(call("f", "1"))), chat(calls(call("f", "2"))), "templates show ids"),
    ("chat", chat(calls(call("f", "1", "{}"))), chat(calls(call("f", "1", "{ }"))), "as a text"),
    ("chat", chat(result("1", "a")), chat(result("2", "a")), "templates show ids"),
    ("chat", chat(tools=[tool(), tool(name="g")]), chat(tools=[tool(name="g"), tool()]), "order"),
    ("chat", chat(tools=[tool()]), chat(tools=[tool(strict=True)]), "constrained decoding"),
    ("chat", chat(tools=[tool()]), chat(tools=[tool(), tool()]), "twice"),
    ("chat", chat(tool_choice="required"), chat(tool_choice="none"), "another choice"),
    ("chat", chat(function_call="auto"), chat(tool_choice="auto"), "two APIs in one"),
    ("chat", chat(functions=[_F]), chat(tools=[{"type": "function", "function": _F}]), "as above"),
    ("chat", chat(), chat(service_tier="flex"), "other machines"),
    ("chat", chat(), chat(store=True), "a hit stores nothing"),
    ("chat", chat(logit_bias={"1": 1}), chat(logit_bias={"1": 2}), "another distribution"),
    ("responses", items(tools=[{**_F}]), items(tools=[{**_F, "strict": False}]), "default: true"),
    ("responses", {"input": "a"}, {"input": [said([{"type": "input_text", "text": "a"}])]}, "form"),
    ("responses", {"input": "a", "instructions": "s"}, items(_system("system"), said("a")), "place"),
    ("responses", items({"type": "message"}), items({}), "no role, no shorthand"),
    ("responses", items(said("a", id="1")), items(said("a", id="2")), "in doubt"),
    ("messages", {"system": "a"}, {"system": [text("a")]}, "in doubt"),
    ("messages", {"system": [text("a"), text("b")]}, {"system": [text("ab")]}, "other tokens"),
    ("messages", {}, {"top_k": 1}, "sampling"),
    ("messages", {"tools": [{"defer_loading": True}]}, {"tools": [{}]}, "what the model sees"),
    ("ollama.chat", {}, {"options": {}}, "in doubt"),
    ("ollama.chat", {"options": {"num_ctx": 1}}, {"options": {"num_ctx": 2}}, "cuts the prompt"),
    ("ollama.chat", {"format": "json"}, {"format": ["json"]}, "in doubt"),
    ("ollama.generate", {"raw": True}, {"raw": False}, "turns the template off"),
    ("completions", {"stop": "a"}, {"stop": ["a"]}, "no rule of this API"),
    ("completions", {"prompt": "a"}, {"prompt": ["a"]}, "no rule of this API"),
    ("embedding", {"input": "a b"}, {"input": "a\nb"}, "newlines count"),
    ("embedding", {"input": "1"}, {"input": [1]}, "text is no token"),
    ("embedding", {"dimensions": 256}, {}, "another vector"),
    ("embedding", {"input_type": "query"}, {"input_type": "document"}, "an unknown field"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "a", "b", "why"), NEVER)
def test_a_difference_that_may_change_the_answer_makes_two_keys(
    kind: str, a: dict[str, Any], b: dict[str, Any], why: str
) -> None:
    assert not same(kind, a, b), why
    assert not same(kind, a, b, native=True), why


def test_the_same_body_asked_of_two_apis_makes_two_keys() -> None:
    kinds = ["chat", "responses", "messages", "completions", "ollama.chat", "tomorrow"]
    url = "https://llm.example/v1"
    assert len({key(kind, {"model": "m"}, url=url, api={}) for kind in kinds}) == len(kinds)


@pytest.mark.parametrize("context", ["previous_response_id", "prompt"])
@pytest.mark.parametrize(
    ("name", "nothing"), [("tools", []), ("tools", None), ("instructions", None)]
)
def test_beside_an_inherited_context_nothing_is_not_as_before(
    context: str, name: str, nothing: Any
) -> None:
    body = {"input": "a", context: {"id": "p"}}
    assert not same("responses", body, {**body, name: nothing})


@pytest.mark.parametrize(("name", "empty"), [("tools", False), ("tools", {}), ("stop", 0)])
def test_an_empty_value_of_another_type_is_not_absent(name: str, empty: Any) -> None:
    assert not same("chat", chat(), chat(**{name: empty}))


def test_a_tuple_of_stop_sequences_is_a_set_as_a_list_is() -> None:
    assert same("chat", chat(stop=("b", "a")), chat(stop=["b", "a"]))


# --- names ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPT_IN)
def test_every_merge_can_be_asked_for_by_name(name: str) -> None:
    assert KeyRules({name}).merge == KeyRules([name]).merge == KeyRules(name).merge == {name}


@pytest.mark.parametrize("name", REFUSED)
def test_a_merge_that_is_refused_says_why(name: str) -> None:
    with pytest.raises(ConfigurationError, match=REFUSED[name]):
        KeyRules([name, "store"])


def test_an_unknown_merge_names_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"tool_call_id.*known: .*tool_call_ids"):
        KeyRules(["tool_call_id"])
    assert not OPT_IN.keys() & REFUSED.keys()


@pytest.mark.parametrize("ttl", [0, -1, math.nan, "5"])
def test_a_stateful_ttl_out_of_range_is_a_configuration_error(ttl: Any) -> None:
    with pytest.raises(ConfigurationError, match="stateful_ttl"):
        KeyRules(stateful_ttl=ttl)


def test_rules_are_values() -> None:
    assert KeyRules() == DEFAULT_RULES
    assert KeyRules(["store", "defaults"]) == KeyRules(("defaults", "store"))
    assert hash(KeyRules(["store"])) == hash(KeyRules({"store"}))
    assert KeyRules(stateful_ttl=5) != KeyRules()
