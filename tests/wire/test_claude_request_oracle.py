"""The official SDK as a second opinion on what a call of the Messages API puts onto the wire."""

from __future__ import annotations

from typing import Any

import pytest
from anthropic import AsyncAnthropic
from anthropic.lib._parse._transform import transform_schema
from anthropic.resources.beta.messages import AsyncMessages as BetaMessages
from anthropic.resources.messages import AsyncMessages
from pydantic import BaseModel, Field

from llmcache import (
    FilePart,
    ImagePart,
    InvalidRequestError,
    Message,
    ModelProfile,
    TextPart,
    ToolCall,
)
from llmcache.providers.anthropic_format import output_schema

from .claude import plain_answer, serving
from .sdk_parameters import asked, parameters
from .support import SECRET, collect
from .test_request_oracle import MODELS, Point, Route, Scores

# Why our body may differ from the SDK's: an option that is None is left out, where the SDK
# sends null; so no case here has a None.

NEW = "2026-10-21"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"name": "f", "description": "d", "input_schema": SCHEMA}
STRICT = {"name": "g", "input_schema": SCHEMA, "strict": True}
CHAT_TOOL = {
    "type": "function",
    "function": {"name": "f", "description": "d", "parameters": SCHEMA},
}
HOSTED = {"type": "web_search_20250305", "name": "web_search", "max_uses": 5}
SYSTEM = [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}]
FORMAT = {"type": "json_schema", "schema": SCHEMA}

OPTIONS: dict[str, dict[str, Any]] = {
    "max_tokens": {"max_tokens": 16},
    "system text": {"system": "be brief"},
    "system blocks": {"system": SYSTEM},
    "stop": {"stop_sequences": ["a", "b"]},
    "metadata": {"metadata": {"user_id": "u"}},
    "service_tier": {"service_tier": "standard_only"},
    "inference_geo": {"inference_geo": "us"},
    "speed": {"speed": "fast"},
    "cache_control": {"cache_control": {"type": "ephemeral", "ttl": "1h"}},
    "container": {"container": "container_1"},
    "effort": {"output_config": {"effort": "low"}},
    "format": {"output_config": {"format": FORMAT}},
    "effort and format": {"output_config": {"effort": "max", "format": FORMAT}},
    "thinking": {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2000},
    "thinking adaptive": {"thinking": {"type": "adaptive", "display": "omitted"}},
    "thinking disabled": {"thinking": {"type": "disabled"}},
    "tools": {"tools": [TOOL]},
    "two tools": {"tools": [TOOL, STRICT]},
    "no tools": {"tools": []},
    "cached tool": {"tools": [{**TOOL, "cache_control": {"type": "ephemeral"}}]},
    "custom tool": {"tools": [{**TOOL, "type": "custom", "defer_loading": True}]},
    "hosted tool": {"tools": [HOSTED]},
    "bash": {"tools": [{"type": "bash_20250124", "name": "bash"}]},
    "tool auto": {"tools": [TOOL], "tool_choice": {"type": "auto"}},
    "tool any": {"tools": [TOOL], "tool_choice": {"type": "any"}},
    "tool none": {"tools": [TOOL], "tool_choice": {"type": "none"}},
    "tool named": {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "f"}},
    "one at a time": {
        "tools": [TOOL],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    },
    "extra_body": {"extra_body": {"later_field": {"a": [1, None, 2.5]}}},
    "extra_body wins": {"max_tokens": 5, "extra_body": {"max_tokens": 6}},
    "model": {"model": "claude-other"},
}
"""Options by the API's own names: the SDK gets the same."""

BETA: dict[str, dict[str, Any]] = {
    "betas": {"betas": ["b-2", "a-1"]},
    "context_management": {
        "betas": ["context-management-2025-06-27"],
        "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]},
    },
    "mcp": {
        "betas": ["mcp-client-2025-11-20"],
        "mcp_servers": [{"type": "url", "url": "https://mcp.example", "name": "m"}],
        "tools": [{"type": "mcp_toolset", "mcp_server_name": "m"}],
    },
    "container with skills": {
        "container": {"skills": [{"type": "anthropic", "skill_id": "pptx", "version": "latest"}]}
    },
}
"""Options of the SDK's beta methods."""

BEYOND: dict[str, dict[str, Any]] = {
    "diagnostics": {"diagnostics": {"previous_message_id": "m"}},
    "compaction": {"compaction": {"type": "enabled", "trigger": {"type": "input_tokens", "value": 9}}},
    "fallbacks": {"fallbacks": [{"model": "claude-b"}]},
    "a fallback's credit": {"fallback_credit_token": "t"},
    "thread": {"thread": {"type": "create"}},
    "billing policy": {"billing_policy": {"type": "x"}},
}  # fmt: skip
"""Options of the SDK that have no name of their own here: `extra_body` takes them."""
HEADERS = {
    "user_profile_id": "anthropic-user-profile-id",
    "workspace_id": "anthropic-workspace-id",
}
"""Options of the SDK that travel as a header: `extra_headers` takes them."""

NEUTRAL: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "chat tool": ({"tools": [CHAT_TOOL]}, {"tools": [TOOL]}),
    "flat tool": (
        {"tools": [{"name": "f", "description": "d", "parameters": SCHEMA}]},
        {"tools": [TOOL]},
    ),
    "tool without arguments": (
        {"tools": [{"type": "function", "function": {"name": "now"}}]},
        {"tools": [{"name": "now", "input_schema": {"type": "object", "properties": {}}}]},
    ),
    "auto": ({"tools": [TOOL], "tool_choice": "auto"}, OPTIONS["tool auto"]),
    "any": ({"tools": [TOOL], "tool_choice": "any"}, OPTIONS["tool any"]),
    "required": ({"tools": [TOOL], "tool_choice": "required"}, OPTIONS["tool any"]),
    "none": ({"tools": [TOOL], "tool_choice": "none"}, OPTIONS["tool none"]),
    "a name": ({"tools": [TOOL], "tool_choice": "f"}, OPTIONS["tool named"]),
    "chat's choice": (
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}},
        OPTIONS["tool named"],
    ),
    "flat choice": (
        {"tools": [TOOL], "tool_choice": {"type": "function", "name": "f"}},
        OPTIONS["tool named"],
    ),
    "one call": ({"tools": [TOOL], "parallel_tool_calls": False}, OPTIONS["one at a time"]),
    "one named call": (
        {"tools": [TOOL], "parallel_tool_calls": False, "tool_choice": "f"},
        {
            "tools": [TOOL],
            "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
        },
    ),
    "many calls": ({"tools": [TOOL], "parallel_tool_calls": True}, {"tools": [TOOL]}),
    "no call, one at most": (
        {"tools": [TOOL], "parallel_tool_calls": False, "tool_choice": "none"},
        OPTIONS["tool none"],
    ),
    "stop text": ({"stop": "\n"}, {"stop_sequences": ["\n"]}),
    "stop list": ({"stop": ("a", "b")}, {"stop_sequences": ["a", "b"]}),
    "user": ({"user": "u"}, {"metadata": {"user_id": "u"}}),
    "completion tokens": ({"max_completion_tokens": 7}, {"max_tokens": 7}),
    "effort": ({"reasoning_effort": "low"}, {"output_config": {"effort": "low"}}),
    "text": ({"response_format": "text"}, {}),
    "schema": ({"response_format": SCHEMA}, {"output_config": {"format": FORMAT}}),
    "chat's schema": (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}},
        {"output_config": {"format": FORMAT}},
    ),
    "own format": ({"response_format": FORMAT}, {"output_config": {"format": FORMAT}}),
    "format and effort": (
        {"response_format": FORMAT, "reasoning_effort": "high"},
        {"output_config": {"effort": "high", "format": FORMAT}},
    ),
    "a thinking budget on top": (
        {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 5120},
    ),
    "nothing": (
        dict.fromkeys(("tools", "tool_choice", "stop", "user", "system", "thinking", "betas")),
        {},
    ),
}  # fmt: skip
"""Options by the names that users of other APIs know, and what the SDK is told for them."""

PNG = "cG5n"
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
PDF = {
    "type": "document",
    "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
    "title": "a.pdf",
}
CALLS = {
    "role": "assistant",
    "content": [
        {"type": "text", "text": "let me see"},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"city": "Köln"}},
        {"type": "tool_use", "id": "toolu_2", "name": "f", "input": {}},
    ],
}
RESULTS = {
    "role": "user",
    "content": [
        {"type": "tool_result", "tool_use_id": "toolu_1", "content": "12°"},
        {
            "type": "tool_result",
            "tool_use_id": "toolu_2",
            "content": [{"type": "text", "text": "x"}, IMAGE],
            "is_error": True,
        },
    ],
}
Q = {"role": "user", "content": "q"}
THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
HIDDEN = {"type": "redacted_thinking", "data": "b3BhcXVl"}
MESSAGES: dict[str, list[dict[str, Any]]] = {
    "text": [Q],
    "blocks": [{"role": "user", "content": [{"type": "text", "text": "a"}]}],
    "cached": [{"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]}],
    "unicode": [{"role": "user", "content": 'naïve 日本 🙈\u2028\u0085\x00 \\ " é'}],
    "image": [{"role": "user", "content": [IMAGE, {"type": "text", "text": "what?"}]}],
    "image url": [{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "https://x/y"}}]}],
    "document": [{"role": "user", "content": [PDF]}],
    "cited document": [{"role": "user", "content": [{**PDF, "citations": {"enabled": True}, "context": "c"}]}],
    "text document": [{"role": "user", "content": [{"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "t"}}]}],
    "search result": [{"role": "user", "content": [{"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "x"}]}]}],
    "file id": [{"role": "user", "content": [{"type": "document", "source": {"type": "file", "file_id": "file_1"}}]}],
    "turns": [Q, {"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}],
    "prefill": [Q, {"role": "assistant", "content": "{"}],
    "calls": [Q, CALLS, RESULTS],
    "thinking": [Q, {"role": "assistant", "content": [THOUGHT, HIDDEN, *CALLS["content"]]}, RESULTS],
    "a later system message": [Q, {"role": "system", "content": "be brief"}, {"role": "assistant", "content": "a"}, Q],
}  # fmt: skip
TYPED: dict[str, tuple[Any, str]] = {
    "text": ("q", "text"),
    "message": (Message.user("q"), "text"),
    "blocks": ([Message.user([TextPart("a")])], "blocks"),
    "image": ([Message.user([ImagePart("data:image/png;base64,cG5n", "low"), TextPart("what?")])], "image"),
    "image url": ([Message.user([ImagePart("https://x/y")])], "image url"),
    "chat's image": ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y"}}]}], "image url"),
    "document": ([Message.user([FilePart.from_bytes(b"%PDF-", "a.pdf")])], "document"),
    "text document": ([Message.user([FilePart("data:text/plain;base64,dA==")])], "text document"),
    "file id": ([Message.user([FilePart(file_id="file_1")])], "file id"),
    "calls": (
        [
            "q",
            Message.assistant("let me see", tool_calls=[ToolCall("toolu_1", "f", '{"city": "Köln"}'), ToolCall("toolu_2", "f", "")]),
            Message.tool_result("toolu_1", "12°"),
            Message("tool", [TextPart("x"), ImagePart("data:image/png;base64,cG5n")], tool_call_id="toolu_2", extra={"is_error": True}),
        ],
        "calls",
    ),
}  # fmt: skip


async def both(
    messages: Any,
    options: dict[str, Any],
    theirs: dict[str, Any] | None = None,
    *,
    ours: Any = None,
    beta: bool = False,
) -> tuple[Any, Any]:
    """Return the requests that our provider and the official SDK send."""
    async with serving(plain_answer, api_version=NEW) as (provider, upstream):
        await provider.complete(messages if ours is None else ours, **options)
        root = upstream.base_url.removesuffix("/v1")
        async with AsyncAnthropic(base_url=root, api_key=SECRET, max_retries=0) as client:
            resource = client.beta.messages if beta else client.messages
            told = {"model": "demo", "max_tokens": 4096, **(options if theirs is None else theirs)}
            await resource.create(messages=messages, **told)
        first, second = upstream.requests
        names = ("authorization", "anthropic-version", "anthropic-beta", "content-type")
        for name in (*names, *HEADERS.values()):
            assert first.headers.get(name) == second.headers.get(name), name
        assert "x-api-key" not in first.headers
        assert first.path == second.path.removesuffix("?beta=true") == "/v1/messages"
        return first.json(), second.json()


def test_every_parameter_of_the_official_sdk_has_a_case() -> None:
    named = asked(OPTIONS.values(), BETA.values(), BEYOND.values()) - {"extra_body"}
    rest = {"messages", "stream", *HEADERS}
    assert parameters(AsyncMessages.create) - named <= rest
    assert parameters(BetaMessages.create) == named | rest
    assert len(OPTIONS) + len(BETA) + len(NEUTRAL) + len(MESSAGES) + len(TYPED) >= 60


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
async def test_options_are_sent_as_by_the_official_sdk(options: dict[str, Any]) -> None:
    ours, theirs = await both([Q], options)
    assert ours == theirs


@pytest.mark.parametrize("options", BETA.values(), ids=BETA)
async def test_beta_options_are_sent_as_by_the_official_sdk(options: dict[str, Any]) -> None:
    ours, theirs = await both([Q], options, beta=True)
    assert ours == theirs


@pytest.mark.parametrize("options", BEYOND.values(), ids=BEYOND)
async def test_an_option_without_a_name_here_is_sent_as_by_the_official_sdk(options: Any) -> None:
    ours, theirs = await both([Q], {"extra_body": options}, options, beta=True)
    assert ours == theirs


async def test_headers_are_sent_as_by_the_official_sdk() -> None:
    headers = dict.fromkeys(HEADERS.values(), "id_1")
    await both([Q], {"extra_headers": headers}, dict.fromkeys(HEADERS, "id_1"))


@pytest.mark.parametrize("name", NEUTRAL)
async def test_neutral_options_are_sent_as_the_sdk_sends_the_api_s_own(name: str) -> None:
    options, native = NEUTRAL[name]
    ours, theirs = await both([Q], options, native)
    assert ours == theirs


class Newest(ModelProfile):
    """A model that takes all that the SDK sends."""

    model_name = "demo-newest"
    later_system = True


@pytest.mark.parametrize("messages", MESSAGES.values(), ids=MESSAGES)
async def test_messages_are_sent_as_by_the_official_sdk(messages: Any) -> None:
    ours, theirs = await both(messages, {"model": Newest.model_name})
    assert ours == theirs


@pytest.mark.parametrize("name", TYPED)
async def test_our_own_messages_are_sent_as_dicts_by_the_official_sdk(name: str) -> None:
    given, native = TYPED[name]
    ours, theirs = await both(MESSAGES[native], {}, ours=given)
    assert ours == theirs


@pytest.mark.parametrize("name", ["tools", "format", "thinking", "extra_body"])
async def test_a_stream_is_asked_for_as_by_the_official_sdk(name: str) -> None:
    options = {"max_tokens": 9, **OPTIONS[name]}
    async with serving(plain_answer, api_version=NEW) as (provider, upstream):
        await collect(provider.stream([Q], **options))
        root = upstream.base_url.removesuffix("/v1")
        async with AsyncAnthropic(base_url=root, api_key=SECRET, max_retries=0) as client:
            stream = await client.messages.create(
                model="demo", messages=[Q], stream=True, **options
            )
            assert [event.type async for event in stream]
        ours, theirs = (request.json() for request in upstream.requests)
    assert ours == theirs


# --- structured output --------------------------------------------------------------------------


class Bounded(BaseModel):
    """What the API cannot enforce."""

    count: int = Field(ge=1, le=10, description="how many")
    tags: list[str] = Field(min_length=1)
    codes: list[int] = Field(min_length=3)
    when: str = Field(json_schema_extra={"format": "date-time"})
    color: str = Field(json_schema_extra={"format": "color"})


@pytest.mark.parametrize("model", [*MODELS, Bounded])
def test_a_pydantic_model_becomes_the_schema_of_the_official_sdk(model: type[BaseModel]) -> None:
    assert output_schema(model.model_json_schema()) == transform_schema(model)


@pytest.mark.parametrize("model", [Route, Scores, Point])
async def test_a_pydantic_model_is_sent_as_by_the_official_sdk(model: type[BaseModel]) -> None:
    async with serving(plain_answer, api_version=NEW) as (provider, upstream):
        await provider.complete([Q], response_format=model, max_tokens=9)
        root = upstream.base_url.removesuffix("/v1")
        async with AsyncAnthropic(base_url=root, api_key=SECRET, max_retries=0) as client:
            with pytest.raises(ValueError, match=model.__name__):  # "hi" is none; the body counts
                await client.messages.parse(
                    model="demo", messages=[Q], max_tokens=9, output_format=model
                )
        ours, theirs = (request.json() for request in upstream.requests)
    assert ours == theirs


def test_a_schema_that_says_nothing_is_the_callers_mistake() -> None:
    with pytest.raises(InvalidRequestError, match=r"^response_format: .*no type"):
        output_schema({"type": "object", "properties": {"a": {}}})
