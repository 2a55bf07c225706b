"""The official SDK as a second opinion on what a call of the Responses API puts onto the wire."""

from __future__ import annotations

from typing import Any

import pytest
from openai import AsyncOpenAI, omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.resources.responses import AsyncResponses
from openai.types.responses import ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from llmcache import AudioPart, FilePart, ImagePart, Message, TextPart, ToolCall
from llmcache.options import CONTROL_FIELDS
from llmcache.providers.openai_responses import RESPONSES_OPTIONS

from .responses import answering, call, events_of, feed, message, response, thought
from .sdk_parameters import asked, parameters
from .support import SECRET, collect, serving

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"type": "function", "name": "f", "description": "d", "parameters": SCHEMA, "strict": True}
NESTED = {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}}
LOOSE = {**TOOL, "strict": False}
CUSTOM = {"type": "custom", "name": "c", "format": {"type": "text"}}
GRAMMAR = {"definition": "start: /a+/", "syntax": "lark"}
NESTED_CUSTOM = {
    "type": "custom",
    "custom": {"name": "c", "format": {"type": "grammar", "grammar": GRAMMAR}},
}
FLAT_CUSTOM = {"type": "custom", "name": "c", "format": {"type": "grammar", **GRAMMAR}}
FORMAT = {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}
CHAT_FORMAT = {
    "type": "json_schema",
    "json_schema": {"name": "n", "schema": SCHEMA, "strict": True},
}


class City(BaseModel):
    city: str


class Tool:
    name, description, parameters = "f", "d", SCHEMA


# What goes to both as it is.
SAME: dict[str, dict[str, Any]] = {
    "nothing": {},
    "temperature": {"temperature": 0.2},
    "temperature 0": {"temperature": 0},
    "sampling": {"temperature": 1e-5, "top_p": 0.95},
    "top_logprobs": {"top_logprobs": 5, "include": ["message.output_text.logprobs"]},
    "instructions": {"instructions": "Be brief."},
    "max_output_tokens": {"max_output_tokens": 16},
    "max_tool_calls": {"max_tool_calls": 2},
    "reasoning": {"reasoning": {"effort": "low", "summary": "auto"}},
    "encrypted reasoning": {"include": ["reasoning.encrypted_content"], "store": False},
    "text": {"text": {"format": {"type": "text"}, "verbosity": "low"}},
    "json_object": {"text": {"format": {"type": "json_object"}}},
    "json_schema": {"text": {"format": FORMAT}},
    "tools": {"tools": [TOOL]},
    "two tools": {"tools": [TOOL, CUSTOM], "parallel_tool_calls": False},
    "no tools": {"tools": []},
    "tool without strict": {"tools": [{"type": "function", "name": "f", "parameters": SCHEMA}]},
    "grammar": {"tools": [FLAT_CUSTOM]},
    "web search": {"tools": [{"type": "web_search", "search_context_size": "low"}]},
    "file search": {"tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]},
    "code interpreter": {"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]},
    "mcp": {"tools": [{"type": "mcp", "server_label": "s", "server_url": "https://x.test"}]},
    "image generation": {"tools": [{"type": "image_generation"}], "image": {"size": "auto"}},
    "shell": {"tools": [{"type": "shell"}]},
    "tool auto": {"tools": [TOOL], "tool_choice": "auto"},
    "tool none": {"tools": [TOOL], "tool_choice": "none"},
    "tool required": {"tools": [TOOL], "tool_choice": "required"},
    "tool named": {"tools": [TOOL], "tool_choice": {"type": "function", "name": "f"}},
    "custom named": {"tools": [CUSTOM], "tool_choice": {"type": "custom", "name": "c"}},
    "hosted chosen": {"tools": [{"type": "web_search"}], "tool_choice": {"type": "web_search"}},
    "allowed tools": {
        "tools": [TOOL],
        "tool_choice": {
            "type": "allowed_tools",
            "mode": "auto",
            "tools": [{"type": "function", "name": "f"}],
        },
    },
    "truncation": {"truncation": "auto"},
    "context management": {"context_management": [{"type": "compaction"}]},
    "previous response": {"previous_response_id": "resp_0"},
    "conversation": {"conversation": "conv_1"},
    "conversation object": {"conversation": {"id": "conv_1"}},
    "prompt": {"prompt": {"id": "pmpt_1", "version": "2", "variables": {"a": "b"}}},
    "background": {"background": True, "background_options": {"completion_window": "2h"}},
    "service_tier": {"service_tier": "flex"},
    "store": {"store": True, "metadata": {"a": "b"}},
    "user": {"user": "u", "safety_identifier": "s"},
    "prompt cache": {"prompt_cache_key": "k", "prompt_cache_retention": "24h"},
    "prompt cache options": {"prompt_cache_options": {"mode": "explicit"}},
    "moderation": {"moderation": {"model": "omni-moderation-latest"}},
    "access programs": {"access_programs": {"cyber": "standard"}},
    "extra_body": {"extra_body": {"top_k": 40, "plugins": [{"id": "web"}]}},
    "extra_body wins": {"temperature": 1, "extra_body": {"temperature": 0}},
    "model": {"model": "other/model:free"},
}
# What we write in chat's words, and the SDK in the API's own.
COMPILED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "max_tokens": ({"max_tokens": 16}, {"max_output_tokens": 16}),
    "max_completion_tokens": ({"max_completion_tokens": 16}, {"max_output_tokens": 16}),
    "limits that agree": (
        {"max_tokens": 16, "max_output_tokens": 16},
        {"max_output_tokens": 16},
    ),
    "effort": ({"reasoning_effort": "low"}, {"reasoning": {"effort": "low"}}),
    "effort and summary": (
        {"reasoning_effort": "low", "reasoning": {"summary": "auto"}},
        {"reasoning": {"summary": "auto", "effort": "low"}},
    ),
    "verbosity": ({"verbosity": "low"}, {"text": {"verbosity": "low"}}),
    "format text": ({"response_format": "text"}, {"text": {"format": {"type": "text"}}}),
    "format json": (
        {"response_format": "json_object", "verbosity": "high"},
        {"text": {"format": {"type": "json_object"}, "verbosity": "high"}},
    ),
    "chat's schema": ({"response_format": CHAT_FORMAT}, {"text": {"format": FORMAT}}),
    "flat schema": ({"response_format": FORMAT}, {"text": {"format": FORMAT}}),
    "logprobs": ({"logprobs": True}, {"include": ["message.output_text.logprobs"]}),
    "no logprobs": ({"logprobs": False}, {}),
    "chat's tool": ({"tools": [NESTED]}, {"tools": [LOOSE]}),
    "chat's strict tool": (
        {"tools": [{"type": "function", "function": {**NESTED["function"], "strict": True}}]},  # type: ignore[dict-item]
        {"tools": [TOOL]},
    ),
    "tool of one's own": ({"tools": [Tool]}, {"tools": [LOOSE]}),
    "chat's custom tool": ({"tools": [NESTED_CUSTOM]}, {"tools": [FLAT_CUSTOM]}),
    "tool by name": (
        {"tools": [TOOL], "tool_choice": "f"},
        {"tools": [TOOL], "tool_choice": {"type": "function", "name": "f"}},
    ),
    "custom tool by name": (
        {"tools": [CUSTOM], "tool_choice": "c"},
        {"tools": [CUSTOM], "tool_choice": {"type": "custom", "name": "c"}},
    ),
    "chat's choice": (
        {"tool_choice": {"type": "function", "function": {"name": "f"}}},
        {"tool_choice": {"type": "function", "name": "f"}},
    ),
    "chat's allowed tools": (
        {
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "auto",
                    "tools": [{"type": "function", "function": {"name": "f"}}],
                },
            }
        },
        SAME["allowed tools"] | {"tools": None},
    ),
}
QUESTION: Any = [{"role": "user", "content": "q"}]
IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,cG5n", "detail": "low"}
ITEMS: dict[str, Any] = {
    "text": "q",
    "system": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}],
    "developer": [{"role": "developer", "content": "s"}, *QUESTION],
    "unicode": [{"role": "user", "content": 'naïve 日本 🙈\u2028\u0085\x00 \\ " é'}],
    "parts": [{"role": "user", "content": [{"type": "input_text", "text": "what?"}, IMAGE]}],
    "file": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}],
    "message item": [{"type": "message", "role": "user", "content": "q"}],
    "calls": [
        *QUESTION,
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "12°"},
    ],
    "reasoning": [*QUESTION, thought(encrypted_content="gAAA"), message(phase="final_answer")],
    "reference": [{"type": "item_reference", "id": "msg_1"}, *QUESTION],
    "bare reference": [{"id": "msg_1"}, *QUESTION],
    "compaction": [{"type": "compaction", "encrypted_content": "gAAA"}, *QUESTION],
}
# Our messages, and the items that the SDK is given.
TURNS: dict[str, tuple[Any, Any]] = {
    "texts": (["q"], QUESTION),
    "message": (Message.user("q"), QUESTION),
    "dict": ({"role": "user", "content": "q"}, QUESTION),
    "parts": (
        [Message.user([TextPart("what?"), ImagePart("data:image/png;base64,cG5n", "low")])],
        ITEMS["parts"],
    ),
    "chat's parts": (
        [{"role": "user", "content": ["a", {"type": "image_url", "image_url": {"url": "https://x.test/i"}}]}],
        [{"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": "https://x.test/i"}]}],
    ),
    "files": (
        [Message.user([FilePart.from_bytes(b"x", "a.txt"), FilePart(file_id="file-1")])],
        [{"role": "user", "content": [{"type": "input_file", "filename": "a.txt", "file_data": "data:text/plain;base64,eA=="}, {"type": "input_file", "file_id": "file-1"}]}],
    ),
    "audio": (
        [Message.user([AudioPart("d2F2", "wav")])],
        [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "d2F2", "format": "wav"}}]}],
    ),
    "assistant": (
        ["q", Message.assistant("a"), "r"],
        [*QUESTION, {"role": "assistant", "content": "a"}, {"role": "user", "content": "r"}],
    ),
    "assistant parts": (
        [Message.assistant([TextPart("a"), TextPart("b")])],
        [{"role": "assistant", "content": [{"type": "output_text", "text": "a"}, {"type": "output_text", "text": "b"}]}],
    ),
    "refusal": (
        [{"role": "assistant", "content": "I", "refusal": "no"}],
        [{"role": "assistant", "content": [{"type": "output_text", "text": "I"}, {"type": "refusal", "refusal": "no"}]}],
    ),
    "tool calls": (
        [
            "q",
            Message.assistant("wait", tool_calls=[ToolCall("c1", "f", "{}"), ToolCall("c2", "c", "ls", "custom")]),
            Message.tool_result("c2", "x", name="c"),
            Message.tool_result("c1", [TextPart("12°")]),
        ],
        [
            *QUESTION,
            {"role": "assistant", "content": "wait"},
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
            {"type": "custom_tool_call", "call_id": "c2", "name": "c", "input": "ls"},
            {"type": "custom_tool_call_output", "call_id": "c2", "output": "x"},
            {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "12°"}]},
        ],
    ),
    "calls of a server without ids": (
        [
            Message.assistant(tool_calls=[ToolCall("", "f", "{}"), ToolCall("", "g", "{}")]),
            {"role": "tool", "content": "1"},
            {"role": "tool", "tool_call_id": "", "content": "2"},
        ],
        [
            {"type": "function_call", "call_id": "call_Y3aKlB37qX9ZQQJFpHsFhCTI", "name": "f", "arguments": "{}"},
            {"type": "function_call", "call_id": "call_Z3ATh8xmeoaaE7BcWwclYuKQ", "name": "g", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "call_Y3aKlB37qX9ZQQJFpHsFhCTI", "output": "1"},
            {"type": "function_call_output", "call_id": "call_Z3ATh8xmeoaaE7BcWwclYuKQ", "output": "2"},
        ],
    ),
    "another API's words": (
        [Message("assistant", "a", extra={"reasoning_content": "r", "x_groq": {"id": "1"}})],
        [{"role": "assistant", "content": "a"}],
    ),
}  # fmt: skip


async def both(ours: Any, options: dict[str, Any], theirs: Any, said: Any) -> tuple[Any, Any]:
    """Return the bodies that our provider and the official SDK send."""
    async with serving(answering(response()), use_responses_api=True) as (provider, upstream):
        await provider.complete(ours, **options)
        async with AsyncOpenAI(base_url=upstream.base_url, api_key=SECRET, max_retries=0) as client:
            given = {name: value for name, value in said.items() if value is not None}
            await client.responses.create(**{"model": "demo", "input": theirs, **given})
        first, second = upstream.requests
        assert first.path == second.path == "/v1/responses"
        assert first.headers["authorization"] == second.headers["authorization"]
        return first.json(), second.json()


@pytest.mark.parametrize("options", SAME.values(), ids=SAME)
async def test_options_are_sent_as_by_the_official_sdk(options: dict[str, Any]) -> None:
    ours, theirs = await both(QUESTION, options, QUESTION, options)
    assert ours == theirs


@pytest.mark.parametrize(("options", "said"), COMPILED.values(), ids=COMPILED)
async def test_chat_s_words_are_sent_as_the_api_s_own(options: Any, said: Any) -> None:
    ours, theirs = await both(QUESTION, options, QUESTION, said)
    assert ours == theirs


@pytest.mark.parametrize("items", ITEMS.values(), ids=ITEMS)
async def test_items_go_as_they_are(items: Any) -> None:
    ours, theirs = await both(items, {}, items, {})
    assert ours == theirs


@pytest.mark.parametrize(("ours", "items"), TURNS.values(), ids=TURNS)
async def test_messages_become_items(ours: Any, items: Any) -> None:
    sent, theirs = await both(ours, {}, items, {})
    assert sent == theirs


def test_every_parameter_of_the_api_has_a_case() -> None:
    # The rest are what every case has, and what the tests of streams below ask for.
    rest = {"input", "stream", "stream_options"}
    assert parameters(AsyncResponses.create) == asked(SAME.values()) - {"extra_body"} | rest
    named = asked(SAME.values(), (options for options, _ in COMPILED.values()))
    assert named >= RESPONSES_OPTIONS - {"stream_options"}
    assert len(SAME) + len(COMPILED) + len(ITEMS) + len(TURNS) >= 60
    assert not RESPONSES_OPTIONS & CONTROL_FIELDS


async def test_a_pydantic_model_is_sent_as_by_the_official_sdk() -> None:
    whole = response(message({"type": "output_text", "text": '{"city": "x"}', "annotations": []}))
    async with serving(answering(whole), use_responses_api=True) as (provider, upstream):
        result = await provider.complete(QUESTION, response_format=City)
        assert result.parse(City) == City(city="x")
        async with AsyncOpenAI(base_url=upstream.base_url, api_key=SECRET, max_retries=0) as client:
            await client.responses.parse(model="demo", input=QUESTION, text_format=City)
        ours, theirs = (request.json() for request in upstream.requests)
    assert theirs.pop("stream", False) is False
    assert ours == theirs


@pytest.mark.parametrize(
    "options", [{}, {"stream_options": {"include_obfuscation": False}}], ids=str
)
async def test_a_stream_is_asked_for_as_by_the_official_sdk(options: Any) -> None:
    async with serving(answering(response()), use_responses_api=True) as (provider, upstream):
        await collect(provider.stream(QUESTION, **options))
        async with AsyncOpenAI(base_url=upstream.base_url, api_key=SECRET, max_retries=0) as client:
            stream = await client.responses.create(
                model="demo", input=QUESTION, stream=True, **options
            )
            assert [event async for event in stream]
        ours, theirs = (request.json() for request in upstream.requests)
    assert ours == theirs
    assert ours["stream"] is True


# --- what a stream adds up to -----------------------------------------------------------------

REFUSED = {"type": "refusal", "refusal": "I will not."}
WHOLES: dict[str, dict[str, Any]] = {
    "text": response(),
    "reasoning": response(thought("one", encrypted_content="gAAA"), message()),
    "calls": response(call('{"a": 1}'), call("{}", id="fc_2", call_id="call_2", name="g")),
    "text and call": response(message(phase="commentary"), call()),
    "refusal": response(message(REFUSED)),
    "two messages": response(message(), message(id="msg_2")),
    "incomplete": response(status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
}


@pytest.mark.parametrize("whole", WHOLES.values(), ids=WHOLES)
def test_a_stream_adds_up_as_in_the_official_sdk(whole: dict[str, Any]) -> None:
    parse = TypeAdapter[Any](ResponseStreamEvent).validate_python
    state: Any = ResponseStreamState(input_tools=[], text_format=omit)
    seen: list[Any] = []
    for one in events_of(whole):
        complete = {"item_id": "i", "logprobs": [], **one, "response": None}
        if "response" in one:
            complete["response"] = {
                "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], **one["response"],
            }  # fmt: skip
        seen += state.handle_event(parse(complete))
    theirs = seen[-1].response
    _, ours = feed(*events_of(whole))
    assert (ours.content or "") == theirs.output_text
    assert (ours.id, ours.model) == (theirs.id, theirs.model)
    assert theirs.usage.total_tokens == (ours.usage.total_tokens if ours.usage else None)
    names = [item.name for item in theirs.output if item.type == "function_call"]
    assert [each.name for each in ours.tool_calls or ()] == names
    assert ours.raw == whole
