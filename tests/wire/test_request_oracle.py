"""The official SDK as a second opinion on what a call puts onto the wire."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, Literal, Optional, Union

import pytest
from openai import AsyncOpenAI
from openai.lib._pydantic import to_strict_json_schema
from openai.resources.chat.completions import AsyncCompletions
from pydantic import BaseModel, ConfigDict, Field

from llmcache import InvalidRequestError, Message, ToolCall
from llmcache.providers.openai_chat_format import strict_schema, wire_response_format
from llmcache.testing.upstream import Reply, UpstreamRequest

from .sdk_parameters import asked, parameters
from .support import SECRET, answer_stream, as_json, collect, completion, serving, sse

# Why our body may differ from the SDK's:
# - `stream_options.include_usage` is asked for, so that a stream can be stored with its usage;
# - a default in a strict schema is left out: strict mode rejects it;
# - an option that is None is left out, where the SDK sends null; so no case here has a None.

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}}
STRICT = {"type": "function", "function": {"name": "g", "parameters": SCHEMA, "strict": True}}
JSON_SCHEMA = {
    "type": "json_schema",
    "json_schema": {"name": "n", "schema": SCHEMA, "strict": True},
}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"city": "Köln"}'}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,cG5n", "detail": "low"}}

OPTIONS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "temperature": {"temperature": 0.2},
    "temperature 0": {"temperature": 0},
    "temperature 1.0": {"temperature": 1.0},
    "sampling": {"temperature": 1e-5, "top_p": 0.95, "seed": 7},
    "max_tokens": {"max_tokens": 16},
    "max_completion_tokens": {"max_completion_tokens": 16},
    "n": {"n": 3},
    "stop text": {"stop": "\n"},
    "stop list": {"stop": ["a", "b"]},
    "penalties": {"presence_penalty": 0.5, "frequency_penalty": -0.5},
    "logit_bias": {"logit_bias": {"50256": -100, "1": 1}},
    "logprobs": {"logprobs": True, "top_logprobs": 5},
    "no logprobs": {"logprobs": False},
    "stop nothing": {"stop": []},
    "no reasoning": {"reasoning_effort": "none"},
    "reasoning": {"reasoning_effort": "minimal", "verbosity": "low"},
    "text": {"response_format": {"type": "text"}},
    "json_object": {"response_format": {"type": "json_object"}},
    "json_schema": {"response_format": JSON_SCHEMA},
    "tools": {"tools": [TOOL]},
    "two tools": {"tools": [TOOL, STRICT], "parallel_tool_calls": False},
    "no tools": {"tools": []},
    "tool auto": {"tools": [TOOL], "tool_choice": "auto"},
    "tool none": {"tools": [TOOL], "tool_choice": "none"},
    "tool required": {"tools": [TOOL], "tool_choice": "required"},
    "tool named": {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}},
    "custom tool": {
        "tools": [{"type": "custom", "custom": {"name": "c", "format": {"type": "text"}}}]
    },
    "custom tool by grammar": {
        "tools": [
            {
                "type": "custom",
                "custom": {
                    "name": "c",
                    "format": {
                        "type": "grammar",
                        "grammar": {"syntax": "lark", "definition": "start: /a+/"},
                    },
                },
            }
        ],
        "tool_choice": {"type": "custom", "custom": {"name": "c"}},
    },
    "allowed tools": {
        "tools": [TOOL],
        "tool_choice": {
            "type": "allowed_tools",
            "allowed_tools": {"mode": "required", "tools": [TOOL]},
        },
    },
    "functions": {"functions": [{"name": "f", "parameters": SCHEMA}], "function_call": "auto"},
    "function named": {"functions": [{"name": "f"}], "function_call": {"name": "f"}},
    "modalities": {"modalities": ["text", "audio"], "audio": {"voice": "ash", "format": "wav"}},
    "prediction": {"prediction": {"type": "content", "content": "x"}},
    "prediction parts": {
        "prediction": {"type": "content", "content": [{"type": "text", "text": "x"}]}
    },
    "web search": {"web_search_options": {"search_context_size": "low"}},
    "web search near": {
        "web_search_options": {
            "user_location": {"type": "approximate", "approximate": {"city": "Köln"}}
        }
    },
    "service_tier": {"service_tier": "priority"},
    "store": {"store": True, "metadata": {"a": "b"}},
    "user": {"user": "u", "safety_identifier": "s"},
    "prompt cache": {"prompt_cache_key": "k", "prompt_cache_retention": "24h"},
    "prompt cache options": {"prompt_cache_options": {"mode": "explicit", "ttl": "30m"}},
    "moderation": {
        "moderation": {"model": "omni", "policy": {"input": {"mode": "block"}, "output": None}}
    },
    "extra_body": {"extra_body": {"top_k": 40, "chat_template_kwargs": {"a": [1, None, 2.5]}}},
    "extra_body wins": {"temperature": 1, "extra_body": {"temperature": 0}},
    "model": {"model": "other/model:free"},
}
MESSAGES: dict[str, Any] = {
    "system": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}],
    "developer": [{"role": "developer", "content": "s"}, {"role": "user", "content": "u", "name": "n"}],
    "unicode": [{"role": "user", "content": 'naïve 日本 🙈\u2028\u0085\x00 \\ " é'}],
    "image": [{"role": "user", "content": [{"type": "text", "text": "what?"}, IMAGE]}],
    "audio": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "d2F2", "format": "wav"}}]}],
    "file": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}],
    "tools": [
        {"role": "user", "content": "u"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "12°"},
    ],
    "function": [{"role": "function", "name": "f", "content": "12"}],
    "function call": [{"role": "assistant", "content": None, "function_call": CALL["function"]}],
    "custom call": [
        {"role": "assistant", "tool_calls": [{"id": "c1", "type": "custom", "custom": {"name": "c", "input": "ls"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "a b"}]},
    ],
    "an answer that was spoken": [{"role": "assistant", "audio": {"id": "audio_1"}}, {"role": "user", "content": "u"}],
    "parts of an answer": [{"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "refusal", "refusal": "no"}]}],
    "file bytes": [{"role": "user", "content": [{"type": "file", "file": {"filename": "a.txt", "file_data": "data:text/plain;base64,eA=="}}]}],
    "prompt cache ends": [{"role": "user", "content": [{"type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}}]}],
    "refusal": [{"role": "assistant", "content": None, "refusal": "no"}, {"role": "user", "content": ""}],
    "beyond the API": [{"role": "assistant", "content": "x", "reasoning_content": "r", "prefix": True}],
}  # fmt: skip
QUESTION: Any = [{"role": "user", "content": "q"}]
TYPED: dict[str, Any] = {
    "system": [Message.system("s"), Message.user("u")],
    "tools": [
        Message.user("u"),
        Message("assistant", extra={"content": None}, tool_calls=(ToolCall("c1", "f", CALL["function"]["arguments"]),)),
        Message.tool_result("c1", "12°"),
    ],
}  # fmt: skip


def reply(request: UpstreamRequest) -> Reply:
    if request.json().get("stream"):
        return Reply(body=sse(*answer_stream()), headers={"content-type": "text/event-stream"})
    return Reply(body=as_json(completion("hi")))


async def both(messages: Any, options: dict[str, Any], *, ours: Any = None) -> tuple[Any, Any]:
    """Return the bodies that our provider and the official SDK send."""
    async with serving(reply) as (provider, upstream):
        await provider.complete(messages if ours is None else ours, **options)
        async with AsyncOpenAI(base_url=upstream.base_url, api_key=SECRET, max_retries=0) as client:
            theirs = {"model": "demo", **options}
            await client.chat.completions.create(messages=messages, **theirs)
        first, second = upstream.requests
        assert first.path == second.path
        assert first.headers["authorization"] == second.headers["authorization"]
        assert first.headers["content-type"] == second.headers["content-type"]
        return first.json(), second.json()


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
async def test_options_are_sent_as_by_the_official_sdk(options: dict[str, Any]) -> None:
    ours, theirs = await both(QUESTION, options)
    assert ours == theirs


@pytest.mark.parametrize("messages", MESSAGES.values(), ids=MESSAGES)
async def test_messages_are_sent_as_by_the_official_sdk(messages: Any) -> None:
    ours, theirs = await both(messages, {})
    assert ours == theirs


@pytest.mark.parametrize("name", TYPED)
async def test_our_own_messages_are_sent_as_dicts_by_the_official_sdk(name: str) -> None:
    ours, theirs = await both(MESSAGES[name], {}, ours=TYPED[name])
    assert ours == theirs


def test_every_parameter_of_the_official_sdk_has_a_case() -> None:
    # The rest are what every case has, and what the tests of streams below ask for.
    rest = {"messages", "stream", "stream_options"}
    assert parameters(AsyncCompletions.create) == asked(OPTIONS.values()) - {"extra_body"} | rest
    assert len(OPTIONS) + len(MESSAGES) + len(TYPED) >= 60


@pytest.mark.parametrize("name", ["nothing", "tools", "json_schema", "n", "extra_body"])
async def test_a_stream_is_asked_for_as_by_the_official_sdk_plus_its_usage(name: str) -> None:
    options = OPTIONS[name]
    async with serving(reply) as (provider, upstream):
        await collect(provider.stream(QUESTION, **options))
        async with AsyncOpenAI(base_url=upstream.base_url, api_key=SECRET, max_retries=0) as client:
            stream = await client.chat.completions.create(
                model="demo", messages=QUESTION, stream=True, **options
            )
            assert [chunk async for chunk in stream]
        ours, theirs = (request.json() for request in upstream.requests)
    assert ours.pop("stream_options") == {"include_usage": True}
    assert ours == theirs


async def test_options_of_a_stream_are_sent_as_by_the_official_sdk() -> None:
    options: Any = {"stream_options": {"include_usage": True, "include_obfuscation": False}}
    async with serving(reply) as (provider, upstream):
        await collect(provider.stream(QUESTION, **options))
        async with AsyncOpenAI(base_url=upstream.base_url, api_key=SECRET, max_retries=0) as client:
            stream = await client.chat.completions.create(
                model="demo", messages=QUESTION, stream=True, **options
            )
            assert [chunk async for chunk in stream]
        ours, theirs = (request.json() for request in upstream.requests)
    assert ours == theirs


# --- strict schemas ---------------------------------------------------------------------------


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Point(BaseModel):
    """A place."""

    x: float
    y: float = 0.0


class Plain(BaseModel):
    name: str
    age: int


class Optionals(BaseModel):
    a: Optional[int] = None  # noqa: UP045 - as people write it
    b: str | None
    c: Union[int, str, None] = None  # noqa: UP007 - as people write it


class Route(BaseModel):
    start: Plain
    stops: list[Plain]
    last: Plain | None


class Nested(BaseModel):
    where: Point
    path: list[Point]
    more: Optional[Nested] = None  # noqa: UP045 - as people write it


class Described(BaseModel):
    place: Point = Field(description="where it is")
    name: Annotated[str, Field(min_length=1, pattern="^a")] = Field(description="what it is called")


class Enums(BaseModel):
    color: Color
    level: Literal["low", "high", 3]
    shade: Color = Field(default=Color.RED, description="how dark")


class Defaults(BaseModel):
    count: int = 3
    tags: list[str] = Field(default_factory=list)
    nothing: None = None


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    tricks: tuple[str, int]


class Pets(BaseModel):
    either: Cat | Dog
    tagged: Annotated[Cat | Dog, Field(discriminator="kind")]


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    name: str


class Scores(BaseModel):
    scores: dict[str, int]


class Awkward(BaseModel):
    default: int
    title: str
    required: bool = True


class Properties(BaseModel):
    properties: Point
    type: str


class Empty(BaseModel):
    pass


MODELS: list[Any] = [
    Plain,
    Point,
    Optionals,
    Route,
    Nested,
    Described,
    Enums,
    Defaults,
    Pets,
    Open,
    Scores,
    Awkward,
    Properties,
    Empty,
]  # fmt: skip


def without_defaults(schema: Any) -> Any:
    """Return the SDK's schema as we want it: strict mode rejects `default`, which the SDK leaves in."""
    if isinstance(schema, list):
        return [without_defaults(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    maps = {"properties", "$defs"}
    return {
        key: {name: without_defaults(one) for name, one in value.items()}
        if key in maps
        else without_defaults(value)
        for key, value in schema.items()
        if key != "default"
    }


@pytest.mark.parametrize("model", MODELS)
def test_a_pydantic_model_becomes_the_strict_schema_of_the_official_sdk(
    model: type[BaseModel],
) -> None:
    expected = without_defaults(to_strict_json_schema(model))
    assert strict_schema(model.model_json_schema()) == expected
    assert list(expected.get("properties", {})) == list(model.model_fields)
    sent = wire_response_format(model)["json_schema"]
    assert sent == {"name": model.__name__, "schema": expected, "strict": True}


class Chain(BaseModel):
    link: str
    rest: Chain = Field(description="cannot be written out in its own place: that would not end")


class Anchor(BaseModel):
    chain: Chain = Field(description="where it hangs")


def test_a_described_field_of_the_model_itself_is_a_plain_reference() -> None:
    itself = {"$ref": "#/$defs/Chain"}
    assert strict_schema(Chain.model_json_schema())["properties"]["rest"] == itself
    chain = strict_schema(Anchor.model_json_schema())["properties"]["chain"]
    assert (chain["description"], chain["required"]) == ("where it hangs", ["link", "rest"])
    assert chain["properties"]["rest"] == itself


def test_a_lone_all_of_is_what_it_holds() -> None:
    """Older pydantic versions write a described field so."""
    place = {"allOf": [{"$ref": "#/$defs/P"}], "description": "d"}
    point = {"type": "object", "properties": {"x": {"type": "number"}}}
    schema = {"type": "object", "properties": {"p": place}, "$defs": {"P": point}}
    assert strict_schema(schema)["properties"]["p"] == {
        **point, "description": "d", "required": ["x"], "additionalProperties": False,
    }  # fmt: skip


def test_a_reference_that_leads_nowhere_is_the_callers_mistake() -> None:
    with pytest.raises(InvalidRequestError, match=r"^response_format: .*'#/\$defs/X'"):
        strict_schema({"properties": {"a": {"$ref": "#/$defs/X", "title": "A"}}})


async def test_a_pydantic_model_is_sent_as_by_the_official_sdk() -> None:
    async with serving(reply) as (provider, upstream):
        await provider.complete(QUESTION, response_format=Route)
        async with AsyncOpenAI(base_url=upstream.base_url, api_key=SECRET, max_retries=0) as client:
            with pytest.raises(ValueError, match="Route"):  # "hi" is no Route; the body counts
                await client.chat.completions.parse(
                    model="demo", messages=QUESTION, response_format=Route
                )
        ours, theirs = (request.json() for request in upstream.requests)
    assert theirs.pop("stream", False) is False
    assert ours == theirs
