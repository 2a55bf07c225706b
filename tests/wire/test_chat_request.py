"""The wire body that a call becomes, and what is refused before anything is sent."""

from __future__ import annotations

import json
from collections import UserDict
from enum import StrEnum
from types import MappingProxyType, SimpleNamespace
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from llmcache import (
    AudioPart,
    FilePart,
    ImagePart,
    Message,
    Native,
    OpenAIProvider,
    Role,
    TextPart,
    ToolCall,
)
from llmcache.options import CONTROL_FIELDS
from llmcache.providers.openai_chat import CHAT_OPTIONS, chat_body
from llmcache.testing.upstream import Reply

from .support import as_json, collect, completion, serving

ANSWER = Reply(body=as_json(completion("hi")))
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
NESTED = {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}}


def body(messages: Any = "x", *, native: bool = False, model: str = "m", **options: Any) -> Any:
    return chat_body(model, messages, options, native=native)


async def sent(messages: Any = "x", **options: Any) -> Any:
    """Return the body that arrives at the server."""
    async with serving(ANSWER) as (provider, upstream):
        await provider.complete(messages, **options)
        (request,) = upstream.requests
        return request.json()


# --- messages ---------------------------------------------------------------------------------

_USER = {"role": "user", "content": "x"}


class Text(str):
    """A string by inheritance, as template engines return them."""

    __slots__ = ()


class Speaker(StrEnum):
    USER = "user"


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ("x", [_USER]),
        (["x"], [_USER]),
        (("x", Message.assistant("y")), [_USER, {"role": "assistant", "content": "y"}]),
        (Message.user("x"), [_USER]),
        (_USER, [_USER]),
        ([_USER, "x"], [_USER, _USER]),
        (Text("x"), [_USER]),
        ([Text("x")], [_USER]),
        ([{"role": "user", "content": Text("x")}], [_USER]),
        ([{"role": Speaker.USER, "content": "x"}], [_USER]),
        (MappingProxyType(_USER), [_USER]),
        ([UserDict(_USER)], [_USER]),
        ([{"role": "user", "content": ["x", TextPart("y")]}], [{"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}]}]),
        ([{"role": "user", "content": ()}], [{"role": "user", "content": []}]),
        ([{"role": "assistant", "content": None, "x": 1}], [{"role": "assistant", "content": None, "x": 1}]),
        ([Message.tool_result("call_1", "42")], [{"role": "tool", "content": "42", "tool_call_id": "call_1"}]),
        (
            [Message.assistant(tool_calls=[ToolCall("call_1", "f", '{"a": 1}')])],
            [{"role": "assistant", "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}]}],
        ),
    ],
)  # fmt: skip
async def test_messages_in_every_accepted_shape(messages: Any, expected: list[Any]) -> None:
    assert (await sent(messages))["messages"] == expected


async def test_media_parts() -> None:
    parts = [
        TextPart("look"),
        ImagePart("https://example.org/a.png", "low"),
        ImagePart.from_bytes(b"png"),
        AudioPart.from_bytes(b"wav", "wav"),
        FilePart.from_bytes(b"pdf", "a.pdf"),
    ]
    (message,) = (await sent(Message.user(parts)))["messages"]
    assert message["content"] == [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,cG5n"}},
        {"type": "input_audio", "input_audio": {"data": "d2F2", "format": "wav"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,cGRm", "filename": "a.pdf"}},
    ]  # fmt: skip


async def test_text_travels_unescaped_and_unchanged() -> None:
    text = 'naïve 日本 🙈 \u2028\u0085\x00\x7f </script> \\ " \r\n'
    async with serving(ANSWER) as (provider, upstream):
        await provider.complete(text)
        (request,) = upstream.requests
        assert request.json()["messages"][0]["content"] == text
        assert "日本 🙈".encode() in request.body
        assert b": " not in request.body.split("日本".encode())[0]


# --- options ----------------------------------------------------------------------------------

PLAIN: dict[str, Any] = {
    "temperature": 0.5,
    "top_p": 1,
    "max_tokens": 10,
    "max_completion_tokens": 11,
    "n": 2,
    "stop": ["a", "b"],
    "seed": 0,
    "reasoning_effort": "low",
    "verbosity": "high",
    "presence_penalty": -1.5,
    "frequency_penalty": 0,
    "logit_bias": {"50256": -100},
    "logprobs": False,
    "top_logprobs": 0,
    "parallel_tool_calls": False,
    "modalities": ["text", "audio"],
    "audio": {"voice": "ash", "format": "wav"},
    "prediction": {"type": "content", "content": "x"},
    "web_search_options": {},
    "moderation": {"model": "m"},
    "functions": [{"name": "f", "parameters": SCHEMA}],
    "function_call": {"name": "f"},
    "service_tier": "flex",
    "store": True,
    "metadata": {"a": "b"},
    "user": "u",
    "safety_identifier": "s",
    "prompt_cache_key": "k",
    "prompt_cache_options": {"a": 1},
    "prompt_cache_retention": "24h",
}
OWN_TESTS = {"model", "tools", "tool_choice", "response_format", "stream_options"}
TRANSPORT = {"attempts", "backoff", "timeout", "request_id", "extra_headers", "extra_body"}


def test_every_option_has_a_test() -> None:
    assert set(PLAIN) | OWN_TESTS | TRANSPORT == CHAT_OPTIONS - CONTROL_FIELDS - {"salt"}


@pytest.mark.parametrize("name", PLAIN)
async def test_an_option_goes_onto_the_wire_as_it_is(name: str) -> None:
    assert await sent(**{name: PLAIN[name]}) == {
        "model": "demo",
        "messages": [_USER],
        name: PLAIN[name],
    }


@pytest.mark.parametrize("name", sorted(OpenAIProvider._fields))
async def test_an_option_that_is_none_is_left_out(name: str) -> None:
    assert await sent(**{name: None}) == {"model": "demo", "messages": [_USER]}


async def test_cache_and_transport_options_never_reach_the_provider() -> None:
    options: dict[str, Any] = {
        "cache_response": True, "cache_collection": "c", "ttl": 5, "max_age": 5, "tags": ["t"],
        "salt": "s", "sample": 1, "mode": "auto", "replay": "instant", "store_truncated": True,
        "rewrite_cache": True, "attempts": 2, "backoff": 0.1, "timeout": 5.0,
        "extra_headers": {"x-a": "b"},
    }  # fmt: skip
    assert await sent(**options) == {"model": "demo", "messages": [_USER]}


async def test_the_model_of_a_call_wins() -> None:
    assert (await sent(model="other"))["model"] == "other"
    assert (await sent(model=SimpleNamespace(model_name="profile")))["model"] == "profile"


async def test_extra_body_is_merged_at_the_top_and_wins() -> None:
    extra = {"top_k": 5, "temperature": None, "messages": [], "model": "other"}
    assert await sent(temperature=1, extra_body=extra) == extra


async def test_stream_fields_belong_to_delivery() -> None:
    stream_fields = {"stream": True, "stream_options": {"include_usage": True}}
    assert await sent(extra_body=stream_fields) == {"model": "demo", "messages": [_USER]}
    assert "stream_options" not in await sent(stream_options={"include_usage": True})
    async with serving(ANSWER) as (provider, upstream):
        await collect(provider.stream("x"))
        await collect(provider.stream("x", stream_options={"include_obfuscation": False}))
        await collect(provider.stream("x", stream_options={"include_usage": False}))
        options = [request.json().get("stream_options") for request in upstream.requests]
        assert all(request.json()["stream"] is True for request in upstream.requests)
    assert options == [
        {"include_usage": True},
        {"include_usage": True, "include_obfuscation": False},
        None,  # false is the API's default, and some servers refuse the field
    ]


@pytest.mark.parametrize(
    "model", ["gpt-5", "gpt-5-nano", "gpt-5.1-codex", "o1", "o3-mini", "o4-mini"]
)
def test_reasoning_models_of_openai_get_max_completion_tokens(model: str) -> None:
    native = body(model=model, native=True, max_tokens=7)
    assert native == {"model": model, "messages": [_USER], "max_completion_tokens": 7}
    assert body(model=model, native=False, max_tokens=7)["max_tokens"] == 7


@pytest.mark.parametrize(
    "model", ["gpt-4o", "gpt-4.1", "gpt-3.5-turbo", "omni", "ollama", "chatgpt-4o-latest"]
)
def test_other_models_keep_max_tokens(model: str) -> None:
    assert body(model=model, native=True, max_tokens=7)["max_tokens"] == 7
    assert "max_completion_tokens" not in body(model=model, native=True, max_tokens=7)


AZURE = "https://resource.openai.azure.com/openai"


@pytest.mark.parametrize(
    ("base_url", "model", "field"),
    [
        (f"{AZURE}/v1", "gpt-5-mini", "max_completion_tokens"),
        (f"{AZURE}/v1", "o4-mini", "max_completion_tokens"),
        (f"{AZURE}/v1", "gpt-4o", "max_tokens"),
        (f"{AZURE}/v1", "our-gpt-5", "max_tokens"),  # a name of one's own says nothing
        (f"{AZURE}/deployments/gpt-5?api-version=1", "gpt-5", "max_completion_tokens"),
        (f"{AZURE}/deployments/o3-mini/?api-version=1", "demo", "max_completion_tokens"),
        # The deployment answers, whatever the body says.
        (f"{AZURE}/deployments/gpt-4o?api-version=1", "gpt-5", "max_tokens"),
        (f"{AZURE}/deployments/chat?api-version=1", "gpt-5", "max_tokens"),
        ("https://api.openai.com/v1", "gpt-5", "max_completion_tokens"),
        ("https://api.openai.com/v1/deployments/gpt-4o", "gpt-5", "max_completion_tokens"),
        ("https://openai.azure.com.example/openai/v1", "gpt-5", "max_tokens"),
        ("https://openrouter.ai/api/v1", "gpt-5", "max_tokens"),
    ],
)
async def test_reasoning_models_of_azure_get_max_completion_tokens(
    base_url: str, model: str, field: str
) -> None:
    bodies: list[dict[str, Any]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        return httpx.Response(200, json=completion("hi"))

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        provider = OpenAIProvider(
            model, base_url=base_url, api_key="k", cache_backend=None, http_client=client
        )
        async with provider:
            await provider.complete("x", max_tokens=7)
    assert bodies == [{"model": model, "messages": [_USER], field: 7}]


# --- tools ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tool", "expected"),
    [
        (NESTED, NESTED),
        (NESTED["function"], NESTED),
        (MappingProxyType({"name": "f", "strict": True}), {"type": "function", "function": {"name": "f", "strict": True}}),
        (SimpleNamespace(name="f", description="d", parameters=SCHEMA), NESTED),
        (SimpleNamespace(name="f", strict=True, other=1), {"type": "function", "function": {"name": "f", "strict": True}}),
        ({"type": "custom", "custom": {"name": "c"}}, {"type": "custom", "custom": {"name": "c"}}),
        ({"type": "web_search"}, {"type": "web_search"}),
        ({"type": "function", "name": "f", "description": "d", "parameters": SCHEMA}, NESTED),
    ],
    ids=str,
)  # fmt: skip
async def test_tools_in_every_accepted_shape(tool: Any, expected: Any) -> None:
    assert (await sent(tools=[tool]))["tools"] == [expected]
    assert (await sent(tools=(tool, tool)))["tools"] == [expected, expected]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", "auto"),
        ("none", "none"),
        ("required", "required"),
        ("get_weather", {"type": "function", "function": {"name": "get_weather"}}),
        ({"type": "allowed_tools"}, {"type": "allowed_tools"}),
        (MappingProxyType({"type": "x"}), {"type": "x"}),
    ],
    ids=str,
)
async def test_tool_choice(choice: Any, expected: Any) -> None:
    assert (await sent(tools=[NESTED], tool_choice=choice))["tool_choice"] == expected


# --- response_format --------------------------------------------------------------------------


class City(BaseModel):
    name: str


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("text", {"type": "text"}),
        ("json_object", {"type": "json_object"}),
        ({"type": "json_object"}, {"type": "json_object"}),
        ({"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}, {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}),
        (SCHEMA, {"type": "json_schema", "json_schema": {"name": "response", "schema": SCHEMA}}),
        ({**SCHEMA, "title": "Big City!"}, {"type": "json_schema", "json_schema": {"name": "Big_City_", "schema": {**SCHEMA, "title": "Big City!"}}}),
        ({"type": "grammar", "grammar": "root ::= x"}, {"type": "grammar", "grammar": "root ::= x"}),
        (City, {"type": "json_schema", "json_schema": {"name": "City", "strict": True, "schema": {
            "title": "City", "type": "object", "properties": {"name": {"title": "Name", "type": "string"}},
            "required": ["name"], "additionalProperties": False}}}),
    ],
    ids=str,
)  # fmt: skip
async def test_response_format(given: Any, expected: Any) -> None:
    assert (await sent(response_format=given))["response_format"] == expected


@pytest.mark.parametrize("as_dict", [False, True])
async def test_the_words_of_another_api_never_reach_the_wire(*, as_dict: bool) -> None:
    turn = Message(
        Role.ASSISTANT, "x", native=Native("messages", {"content": [{"signature": "s"}]})
    )
    wire = await sent([turn.to_dict() if as_dict else turn])
    assert wire["messages"] == [{"role": "assistant", "content": "x"}]


async def test_a_server_s_own_field_of_that_name_does() -> None:
    message = {"role": "user", "content": "x", "native": True}
    assert (await sent([message]))["messages"] == [message]
