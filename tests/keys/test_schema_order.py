"""Inside a JSON Schema the order of keys counts, and so does every null and every mark.

Property order steers constrained decoding; a null or a property called
`cache_control` is part of the schema, or of a tool's input, and not of the API.
"""

from __future__ import annotations

from collections import OrderedDict, UserDict
from collections.abc import Callable
from types import MappingProxyType
from typing import Any, Final

import pytest
from hypothesis import given, settings
from json_values import json_values, typed
from keying import call, calls, chat, items, key, said, same, text, tool, used

_Place = Callable[[Any], dict[str, Any]]


def _named(schema: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, **fields}}


def _flat(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "name": "n", "schema": schema}


def _function(schema: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "function", "name": "f", "parameters": schema, **fields}


_NAMESPACE: Final = {"type": "namespace", "name": "crm", "description": "d"}

SCHEMAS: Final[dict[str, tuple[str, _Place]]] = {
    "chat, tools": ("chat", lambda s: chat(tools=[tool(s)])),
    "chat, second tool": ("chat", lambda s: chat(tools=[tool(), tool(s)])),
    "chat, functions": ("chat", lambda s: chat(functions=[{"name": "f", "parameters": s}])),
    "chat, response_format": ("chat", lambda s: chat(response_format=_named(s))),
    "chat, response_format, flat": ("chat", lambda s: chat(response_format=_flat(s))),
    "responses, tools": ("responses", lambda s: items(tools=[_function(s)])),
    "responses, text.format": ("responses", lambda s: items(text={"format": _flat(s)})),
    "messages, tools": ("messages", lambda s: {"tools": [{"name": "f", "input_schema": s}]}),
    "messages, output_config": ("messages", lambda s: {"output_config": {"format": _flat(s)}}),
    "messages, output_format": ("messages", lambda s: {"output_format": _flat(s)}),
    "ollama.chat, format": ("ollama.chat", lambda s: {"format": s}),
    "ollama.chat, tools": ("ollama.chat", lambda s: {"tools": [tool(s)]}),
    "ollama.generate, format": ("ollama.generate", lambda s: {"format": s}),
}
"""Where keys.md says that schemas are."""

MORE: Final[dict[str, tuple[str, _Place]]] = {
    "chat, an unknown field": ("chat", lambda s: chat(guided_json=s)),
    "chat, inside an unknown field": ("chat", lambda s: chat(structured_outputs={"json": s})),
    "chat, structural tags": (
        "chat",
        lambda s: chat(response_format={"type": "structural_tag", "structures": [{"schema": s}]}),
    ),
    "chat, a flat tool": ("chat", lambda s: chat(tools=[_function(s)])),
    "completions, response_format": ("completions", lambda s: {"response_format": _named(s)}),
    "an API without a table": ("tomorrow", lambda s: {"schema": s}),
    "responses, output_schema": (
        "responses",
        lambda s: items(tools=[_function({}, output_schema=s)]),
    ),
    "responses, a namespace": (
        "responses",
        lambda s: items(tools=[{**_NAMESPACE, "tools": [_function(s)]}]),
    ),
    "responses, tools that were found": (
        "responses",
        lambda s: items({"type": "tool_search_output", "tools": [_function(s)]}),
    ),
    "responses, additional tools": (
        "responses",
        lambda s: items({"type": "additional_tools", "tools": [_function(s)]}),
    ),
    "responses, a change of configuration": (
        "responses",
        lambda s: items({"type": "configuration_update", "text": {"format": _flat(s)}}),
    ),
}
"""Where else a request has schemas, by the SDKs' types and by other servers' documentation."""

_EVERYWHERE: Final = [
    *(pytest.param(kind, place, id=name) for name, (kind, place) in SCHEMAS.items()),
    *(pytest.param(kind, place, id=name) for name, (kind, place) in MORE.items()),
]
_ORDERS: Final[dict[str, tuple[Any, Any]]] = {
    "properties": ({"properties": {"a": {}, "b": {}}}, {"properties": {"b": {}, "a": {}}}),
    "keywords": ({"type": "object", "title": "t"}, {"title": "t", "type": "object"}),
    "deep": ({"$defs": {"x": {"a": 1, "b": 2}}}, {"$defs": {"x": {"b": 2, "a": 1}}}),
    "in a list": ({"anyOf": [{"a": 1, "b": 2}]}, {"anyOf": [{"b": 2, "a": 1}]}),
}


def _key(kind: str, body: dict[str, Any]) -> str:
    return key(kind, body, url="https://llm.example/v1/x")


@pytest.mark.parametrize("order", _ORDERS)
@pytest.mark.parametrize(("kind", "place"), _EVERYWHERE)
def test_the_order_of_keys_in_a_schema_counts(kind: str, place: _Place, order: str) -> None:
    a, b = _ORDERS[order]
    assert _key(kind, place(a)) != _key(kind, place(b))


_SUBTLE: Final[list[Any]] = [
    *({}, {"a": None}, {"default": None}, {"cache_control": {}}, {"prompt_cache_breakpoint": {}}),
    *(
        {"enum": ["a", "b"]},
        {"enum": ["b", "a"]},
        {"required": ["a", "b"]},
        {"required": ["b", "a"]},
    ),
    *({"default": 1}, {"default": "1"}, {"default": True}, {"enum": [None]}, {"enum": []}),
    *(
        {"strict": False},
        {"description": "a"},
        {"description": "a "},
        {"default": 1.5},
        "{}",
        [],
        1,
    ),
]


@pytest.mark.parametrize(("kind", "place"), SCHEMAS.values(), ids=SCHEMAS)
def test_two_schemas_never_share_a_key(kind: str, place: _Place) -> None:
    assert len({_key(kind, place(schema)) for schema in _SUBTLE}) == len(_SUBTLE)


@pytest.mark.parametrize(("kind", "place"), SCHEMAS.values(), ids=SCHEMAS)
def test_numbers_in_a_schema_are_numbers(kind: str, place: _Place) -> None:
    assert _key(kind, place({"minimum": 1})) == _key(kind, place({"minimum": 1.0}))
    assert _key(kind, place({"multipleOf": 1e-7})) == _key(kind, place({"multipleOf": 1e-7}))


@pytest.mark.parametrize(("kind", "place"), SCHEMAS.values(), ids=SCHEMAS)
@settings(deadline=None, max_examples=25)
@given(a=json_values, b=json_values)
def test_any_two_schemas_share_a_key_only_if_they_are_one(
    kind: str, place: _Place, a: Any, b: Any
) -> None:
    assert typed(a) == typed(b) or _key(kind, place({"x": a})) != _key(kind, place({"x": b}))


@pytest.mark.parametrize("name", ["properties", "deep"])
def test_the_order_outside_a_schema_does_not_count(name: str) -> None:
    schema = _ORDERS[name][0]
    one = chat(tools=[{"type": "function", "function": {"name": "f", "parameters": schema}}])
    two = chat(tools=[{"function": {"parameters": schema, "name": "f"}, "type": "function"}])
    assert same("chat", one, two)


# Each is JSON by inheritance, and goes onto the wire like a dict. Where one holds a
# schema, the plan must see it as it sees a dict.
_MAPPINGS: Final[dict[str, Callable[[dict[str, Any]], Any]]] = {
    "OrderedDict": OrderedDict,
    "UserDict": UserDict,
    "MappingProxyType": MappingProxyType,
}


@pytest.mark.parametrize("mapping", _MAPPINGS.values(), ids=_MAPPINGS)
@pytest.mark.parametrize(
    "place",
    [
        lambda m, s: chat(functions=[m({"name": "f", "parameters": s})]),
        lambda m, s: chat(tools=[m({"type": "function", "function": {"parameters": s}})]),
        lambda m, s: chat(tools=[{"type": "function", "function": m({"parameters": s})}]),
        lambda m, s: chat(response_format=m(_named(s))),
    ],
    ids=["functions", "tools", "function", "response_format"],
)
def test_a_mapping_that_is_no_dict_keeps_the_order_of_its_schema(place: Any, mapping: Any) -> None:
    a, b = _ORDERS["properties"]
    assert not same("chat", place(mapping, a), place(mapping, b))


def test_a_mapping_that_is_no_dict_is_the_request_that_it_spells() -> None:
    # The same bytes go onto the wire.
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ==", "x": None}}
    assert same("chat", chat(said([part])), chat(said([OrderedDict(part)])))


# --- prompt-cache marks -----------------------------------------------------------------------

_MARKS: Final = [
    {"cache_control": {"type": "ephemeral"}},
    {"cache_control": {"type": "ephemeral", "ttl": "1h"}},
    {"prompt_cache_breakpoint": {"mode": "explicit"}},
    {"cache_control": None},
]
_MARKED: Final[dict[str, tuple[str, _Place]]] = {
    "a chat message": ("chat", lambda m: chat(said("a", **m))),
    "a chat part": ("chat", lambda m: chat(said([text("a", **m)]))),
    "a chat tool": ("chat", lambda m: chat(tools=[{**tool(), **m}])),
    "a Responses part": ("responses", lambda m: items(said([{"type": "input_text", **m}]))),
    "an Anthropic block": ("messages", lambda m: {"messages": [said([text("a", **m)])]}),
    "a nested block": (
        "messages",
        lambda m: {"messages": [said([{"type": "tool_result", "content": [text("a", **m)]}])]},
    ),
    "an Anthropic tool": ("messages", lambda m: {"tools": [{"name": "f", **m}]}),
    "a system block": ("messages", lambda m: {"system": [text("a", **m)]}),
}
_UNMARKED: Final[dict[str, tuple[str, _Place]]] = {
    "a tool's input": ("messages", used),
    "inside a tool's input": ("messages", lambda m: used({"a": [m]})),
    "a parsed call": (
        "ollama.chat",
        lambda m: {"messages": [calls({"function": {"name": "f", "arguments": m}})]},
    ),
    "a call's text": ("chat", lambda m: chat(calls(call("f", "1", str(m))))),
    "an unknown field": ("chat", lambda m: chat(new=m)),
    "logit_bias": ("chat", lambda m: chat(logit_bias={"1": 1, **m})),
    "a schema": ("chat", lambda m: chat(tools=[tool({"properties": m})])),
    "an answer's schema": ("chat", lambda m: chat(response_format=_named({"properties": m}))),
    "metadata of a document": (
        "messages",
        lambda m: {"messages": [said([{"type": "document", "citations": {"a": m}}])]},
    ),
}


@pytest.mark.parametrize(("kind", "place"), _MARKED.values(), ids=_MARKED)
def test_a_prompt_cache_mark_does_not_count(kind: str, place: _Place) -> None:
    assert {_key(kind, place(mark)) for mark in _MARKS} == {_key(kind, place({}))}


@pytest.mark.parametrize(("kind", "place"), _UNMARKED.values(), ids=_UNMARKED)
def test_what_only_looks_like_a_prompt_cache_mark_counts(kind: str, place: _Place) -> None:
    bodies = [place(value) for value in [{}, *_MARKS]]
    assert len({_key(kind, body) for body in bodies}) == len(bodies)
