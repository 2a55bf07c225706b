"""Ollama's own client as a second opinion: what goes onto the wire, and what an answer says."""

from __future__ import annotations

import json
from typing import Any

import ollama
import pytest
from pydantic import BaseModel

from llmcache import ImagePart, InvalidRequestError, Message, TextPart, ToolCall
from llmcache.testing.upstream import Reply, UpstreamRequest

from .ollama_support import (
    answer,
    call,
    generated,
    host_of,
    sent,
    serving,
    streamed,
)
from .sdk_parameters import asked, parameters
from .support import as_json, collect

# Why our body may differ from the client's: it sends `"tools": []` where there are none.

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}}
BARE = {"type": "function", "function": {"name": "g", "description": "e"}}
QUESTION: Any = [{"role": "user", "content": "q"}]
PNG = "iVBORw0KGgo="


class City(BaseModel):
    name: str
    people: int = 0


SHARED: dict[str, dict[str, Any]] = {
    "nothing": {},
    "think": {"think": True},
    "no think": {"think": False},
    "think hard": {"think": "high"},
    "json": {"format": "json"},
    "no format": {"format": ""},
    "schema": {"format": SCHEMA},
    "model's schema": {"format": City.model_json_schema()},
    "keep_alive seconds": {"keep_alive": 0},
    "keep_alive float": {"keep_alive": 1.5},
    "keep_alive": {"keep_alive": "5m"},
    "logprobs": {"logprobs": True, "top_logprobs": 3},
    "no logprobs": {"logprobs": False},
    "no options": {"options": {}},
    "options": {"options": {"temperature": 0, "seed": 42, "stop": ["a", "b"], "num_ctx": 4096}},
    "typed options": {"options": {"mirostat": 1, "mirostat_tau": 5.0, "penalize_newline": False}},
    "load options": {"options": {"num_gpu": 1, "main_gpu": 0, "low_vram": False, "num_thread": 2}},
    "option of tomorrow": {"options": {"new": {"a": [1, None, 2.5]}}},
    "another model": {"model": "hf.co/org/model:Q4_K_M"},
    "all": {
        "think": "low",
        "format": SCHEMA,
        "keep_alive": -1,
        "logprobs": True,
        "options": {"top_p": 0.9, "top_k": 40, "repeat_penalty": 1.1, "num_predict": -1},
    },
}
CHATS: dict[str, dict[str, Any]] = {
    **SHARED,
    "tools": {"tools": [TOOL]},
    "two tools": {"tools": [TOOL, BARE]},
    "no tools": {"tools": []},
    "tools and think": {"tools": [TOOL], "think": True},
}
GENERATES: dict[str, dict[str, Any]] = {
    **SHARED,
    "suffix": {"suffix": "    return x"},
    "system": {"system": "Be brief."},
    "template": {"template": "{{ .Prompt }}"},
    "context": {"context": [1, 2, 3]},
    "raw": {"raw": True},
    "not raw": {"raw": False},
    "images": {"images": [PNG, PNG]},
    "bytes": {"images": [b"png"]},
    "picture to paint": {"width": 512, "height": 256, "steps": 4},
    "all of it": {"suffix": "b", "system": "s", "template": "t", "context": [], "raw": True},
}
EMBEDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "text": ("a", {}),
    "list": (["a", "b"], {}),
    "list of one": (["a"], {}),
    "truncate": ("a", {"truncate": True}),
    "no truncate": ("a", {"truncate": False}),
    "dimensions": ("a", {"dimensions": 64}),
    "options": ("a", {"options": {"num_ctx": 512}}),
    "keep_alive": ("a", {"keep_alive": "1h"}),
    "another model": (["a", "b"], {"model": "all-minilm"}),
    "all": (["a"], {"truncate": True, "dimensions": 8, "options": {}, "keep_alive": 0}),
}
MESSAGES: dict[str, Any] = {
    "system": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}],
    "another role": [{"role": "control", "content": "thinking"}, {"role": "user", "content": "u"}],
    "unicode": [{"role": "user", "content": 'naïve 日本 🙈\u2028\u0085\x00 \\ " é'}],
    "images": [{"role": "user", "content": "what?", "images": [PNG, PNG]}],
    "bytes": [{"role": "user", "content": "what?", "images": [b"png"]}],
    "thinking": [
        {"role": "user", "content": "u"},
        {"role": "assistant", "content": "a", "thinking": "hm"},
        {"role": "user", "content": "v"},
    ],
    "tools": [
        {"role": "user", "content": "u"},
        {"role": "assistant", "tool_calls": [call("f", {"city": "Köln", "n": 1})]},
        {"role": "tool", "content": "12°", "tool_name": "f"},
    ],
    "two calls": [
        {"role": "user", "content": "u"},
        {"role": "assistant", "content": "a", "tool_calls": [call("f", {"a": [1]}), call("g")]},
        {"role": "tool", "content": "1", "tool_name": "f"},
        {"role": "tool", "content": "2", "tool_name": "g"},
    ],
}
NEUTRAL: dict[str, tuple[str, Any]] = {
    "texts": ("system", [Message.system("s"), "u"]),
    "a picture": (
        "images",
        [Message.user([TextPart("what?"), ImagePart(f"data:image/png;base64,{PNG}"), ImagePart(f"data:image/jpeg;base64,{PNG}")])],
    ),
    "picture's bytes": ("bytes", [Message.user([TextPart("what?"), ImagePart.from_bytes(b"png")])]),
    "chat completions' own": (
        "thinking",
        ["u", {"role": "assistant", "content": "a", "reasoning_content": "hm", "refusal": None}, "v"],
    ),
    "tools": (
        "tools",
        [
            "u",
            Message.assistant(tool_calls=[ToolCall("call_1", "f", '{"city": "Köln", "n": 1}')]),
            Message.tool_result("call_1", "12°"),
        ],
    ),
    "results out of order": (
        "two calls",
        [
            "u",
            Message.assistant("a", tool_calls=[ToolCall("x", "f", '{"a":[1]}'), ToolCall("y", "g", "")]),
            {"role": "tool", "tool_call_id": "x", "content": "1"},
            {"role": "function", "name": "g", "content": "2"},
        ],
    ),
}  # fmt: skip


def reply(request: UpstreamRequest) -> Reply:
    if request.path == "/api/embed":
        body = request.json()
        count = 1 if isinstance(body["input"], str) else len(body["input"])
        return Reply(body=as_json({"model": "demo", "embeddings": [[0.5, 0.25]] * count}))
    whole = answer() if request.path == "/api/chat" else generated()
    return streamed(whole) if request.json()["stream"] else Reply(body=as_json(whole))


def test_every_parameter_of_the_official_client_has_a_case() -> None:
    client = ollama.AsyncClient
    assert parameters(client.chat) == asked(CHATS.values()) | {"messages", "stream"}
    assert parameters(client.generate) == asked(GENERATES.values()) | {"prompt", "stream"}
    assert parameters(client.embed) == asked(o for _, o in EMBEDS.values()) | {"input"}
    assert len(CHATS) + len(GENERATES) + len(EMBEDS) + len(MESSAGES) + len(NEUTRAL) >= 60


def same(bodies: Any) -> None:
    ours, theirs = bodies
    if "tools" not in ours:
        assert theirs.pop("tools", []) == []
    assert ours == theirs
    assert json.dumps(ours.get("format")) == json.dumps(theirs.get("format")), "order of the schema"


async def chat_both(messages: Any, options: dict[str, Any], *, ours: Any = None) -> None:
    async with serving(reply) as (provider, upstream):
        await provider.complete(messages if ours is None else ours, **options)
        async with ollama.AsyncClient(host_of(upstream)) as client:
            await client.chat(**{"model": "demo", "messages": messages, **options})
        first, second = upstream.requests
        assert (first.method, first.path) == (second.method, second.path)
        assert first.headers["content-type"] == second.headers["content-type"]
        same(sent(upstream))


@pytest.mark.parametrize("options", CHATS.values(), ids=CHATS)
async def test_a_chat_is_sent_as_by_the_official_client(options: dict[str, Any]) -> None:
    await chat_both(QUESTION, options)


@pytest.mark.parametrize("messages", MESSAGES.values(), ids=MESSAGES)
async def test_messages_are_sent_as_by_the_official_client(messages: Any) -> None:
    await chat_both(messages, {})


@pytest.mark.parametrize("name", NEUTRAL)
async def test_neutral_messages_become_those_of_the_official_client(name: str) -> None:
    theirs, ours = NEUTRAL[name]
    await chat_both(MESSAGES[theirs], {}, ours=ours)


@pytest.mark.parametrize("options", GENERATES.values(), ids=GENERATES)
async def test_a_prompt_is_sent_as_by_the_official_client(options: dict[str, Any]) -> None:
    async with serving(reply) as (provider, upstream):
        await provider.generate("p", **options)
        async with ollama.AsyncClient(host_of(upstream)) as client:
            await client.generate(**{"model": "demo", "prompt": "p", **options})
        assert upstream.requests[0].path == upstream.requests[1].path
        same(sent(upstream))


@pytest.mark.parametrize(("inputs", "options"), EMBEDS.values(), ids=EMBEDS)
async def test_inputs_are_sent_as_by_the_official_client(
    inputs: Any, options: dict[str, Any]
) -> None:
    async with serving(reply) as (provider, upstream):
        ours = await provider.embed(inputs, **options)
        async with ollama.AsyncClient(host_of(upstream)) as client:
            theirs = await client.embed(**{"model": "demo", "input": inputs, **options})
        assert upstream.requests[0].path == upstream.requests[1].path
        same(sent(upstream))
        assert [list(vector) for vector in ours.embeddings] == theirs.embeddings


@pytest.mark.parametrize("name", ["nothing", "tools", "schema", "all"])
async def test_a_stream_is_asked_for_as_by_the_official_client(name: str) -> None:
    async with serving(reply) as (provider, upstream):
        await collect(provider.stream(QUESTION, **CHATS[name]))
        async with ollama.AsyncClient(host_of(upstream)) as client:
            options: Any = {"model": "demo", "messages": QUESTION, **CHATS[name]}
            assert [part async for part in await client.chat(stream=True, **options)]
        same(sent(upstream))


async def test_the_key_of_the_account_is_sent_as_by_the_official_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OLLAMA_API_KEY", "a-secret-of-somebody")
    async with serving(reply) as (provider, upstream):
        await provider.complete("q")
        async with ollama.AsyncClient(host_of(upstream)) as client:
            await client.chat("demo", QUESTION)
        first, second = (request.headers["authorization"] for request in upstream.requests)
        assert first == second == "Bearer a-secret-of-somebody"


# --- names that other APIs have ---------------------------------------------------------------

NAMES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "sampling": (
        {"temperature": 0.2, "top_p": 0.9, "top_k": 4, "min_p": 0.1, "seed": 7, "num_ctx": 8},
        {"options": {"temperature": 0.2, "top_p": 0.9, "top_k": 4, "min_p": 0.1, "seed": 7, "num_ctx": 8}},
    ),
    "penalties": (
        {"presence_penalty": 1, "frequency_penalty": 2, "repeat_penalty": 1.5},
        {"options": {"presence_penalty": 1, "frequency_penalty": 2, "repeat_penalty": 1.5}},
    ),
    "max_tokens": ({"max_tokens": 5}, {"options": {"num_predict": 5}}),
    "max_completion_tokens": ({"max_completion_tokens": 5}, {"options": {"num_predict": 5}}),
    "num_predict": ({"num_predict": -1}, {"options": {"num_predict": -1}}),
    "one stop": ({"stop": "a"}, {"options": {"stop": ["a"]}}),
    "stops": ({"stop": ["a", "b"]}, {"options": {"stop": ["a", "b"]}}),
    "both ways": (
        {"temperature": 0, "options": {"mirostat": 1}},
        {"options": {"mirostat": 1, "temperature": 0}},
    ),
    "said twice": ({"temperature": 0, "options": {"temperature": 0}}, {"options": {"temperature": 0}}),
    "effort": ({"reasoning_effort": "low"}, {"think": "low"}),
    "no effort": ({"reasoning_effort": "none"}, {"think": False}),
    "json_object": ({"response_format": "json_object"}, {"format": "json"}),
    "json_object's object": ({"response_format": {"type": "json_object"}}, {"format": "json"}),
    "text": ({"response_format": "text"}, {}),
    "schema": ({"response_format": SCHEMA}, {"format": SCHEMA}),
    "wrapped schema": (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}},
        {"format": SCHEMA},
    ),
    "pydantic": ({"response_format": City}, {"format": City.model_json_schema()}),
    "pydantic's format": ({"format": City}, {"format": City.model_json_schema()}),
    "flat tool": (
        {"tools": [{"name": "f", "description": "d", "parameters": SCHEMA}]},
        {"tools": [TOOL]},
    ),
    "extra_body": ({"extra_body": {"truncate": False, "shift": True}}, {"truncate": False, "shift": True}),
    "none": ({"temperature": None, "think": None, "format": None, "options": None, "tools": None}, {}),
}  # fmt: skip


@pytest.mark.parametrize(("options", "expected"), NAMES.values(), ids=NAMES)
async def test_names_that_other_apis_have_mean_the_same(
    options: dict[str, Any], expected: dict[str, Any]
) -> None:
    async with serving(reply) as (provider, upstream):
        await provider.complete("q", **options)
        (body,) = sent(upstream)
    assert body == {"model": "demo", "messages": QUESTION, "stream": False, **expected}


WRONG: dict[str, tuple[Any, dict[str, Any], str]] = {
    "an image by URL": ([Message.user([ImagePart("https://x.example/a.png")])], {}, "messages[0].content[0].image_url"),
    "audio": ([{"role": "user", "content": [{"type": "input_audio"}]}], {}, "messages[0].content[0].type"),
    "arguments no object": (
        ["u", Message.assistant(tool_calls=[ToolCall("c", "f", "[1]")])],
        {},
        "messages[1].tool_calls[0].function.arguments",
    ),
    "arguments no JSON": (
        ["u", Message.assistant(tool_calls=[ToolCall("c", "f", "{")])],
        {},
        "messages[1].tool_calls[0].function.arguments",
    ),
    "calls no list": ([{"role": "assistant", "tool_calls": "f"}], {}, "messages[0].tool_calls"),
    "a call without a name": ([{"role": "assistant", "tool_calls": [{}]}], {}, "messages[0].tool_calls[0]"),
    "another's words called Ollama's": (
        [{"role": "assistant", "content": "x", "native": {"api": "ollama.chat", "body": ["x"]}}],
        {},
        "messages[0].native.body",
    ),
    "calls of a number in its own words": (
        [{"role": "assistant", "content": "x", "native": {"api": "ollama.chat", "body": {"tool_calls": [5]}}}],
        {},
        "messages[0].tool_calls[0]",
    ),
    "images no list": ([{"role": "user", "content": "x", "images": PNG}], {}, "messages[0].images"),
    "an image of nothing": ([{"role": "user", "content": "x", "images": [5]}], {}, "messages[0].images[0]"),
    "tools no list": ("q", {"tools": {"name": "f"}}, "tools"),
    "a tool without a name": ("q", {"tools": [{}]}, "tools[0]"),
    "options no object": ("q", {"options": [1]}, "options"),
    "extra_body no object": ("q", {"extra_body": [1]}, "extra_body"),
    "two temperatures": ("q", {"temperature": 0, "options": {"temperature": 1}}, "temperature"),
    "two limits": ("q", {"max_tokens": 1, "num_predict": 2}, "num_predict"),
    "two formats": ("q", {"format": "json", "response_format": SCHEMA}, "response_format"),
    "two thoughts": ("q", {"think": True, "reasoning_effort": "low"}, "reasoning_effort"),
    "a format of a number": ("q", {"format": 5}, "format"),
    "a choice of tool": ("q", {"tool_choice": "auto"}, "tool_choice"),
    "several answers": ("q", {"n": 2}, "n"),
}  # fmt: skip


@pytest.mark.parametrize(("messages", "options", "path"), WRONG.values(), ids=WRONG)
async def test_what_ollama_cannot_take_is_refused_before_anything_is_sent(
    messages: Any, options: dict[str, Any], path: str
) -> None:
    async with serving(reply) as (provider, upstream):
        with pytest.raises(InvalidRequestError) as raised:
            await provider.complete(messages, **options)
        assert raised.value.path == path
        assert upstream.calls == 0


async def test_a_prompt_and_an_input_have_a_shape_too() -> None:
    async with serving(reply) as (provider, upstream):
        wrong: Any = ["p"]
        with pytest.raises(InvalidRequestError, match=r"^prompt: "):
            await provider.generate(wrong)
        with pytest.raises(InvalidRequestError, match=r"^images: "):
            await provider.generate("p", images="x")
        with pytest.raises(InvalidRequestError, match=r"^input\[0\]: must be text"):
            await provider.embed([1, 2])
        with pytest.raises(InvalidRequestError, match=r"^user: unknown option"):
            await provider.embed("a", user="u")
        with pytest.raises(InvalidRequestError, match=r"^options: "):
            await provider.embed("a", options="x")  # type: ignore[typeddict-item]
        assert upstream.calls == 0
