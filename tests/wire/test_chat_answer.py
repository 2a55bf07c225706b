"""What a whole completion says: text, tools, reasoning, usage in every server's words."""

from __future__ import annotations

import json
from dataclasses import fields
from decimal import Decimal
from typing import Any

import pytest

from llmcache import CompletionResult, Message
from llmcache.errors import InvalidResponseError
from llmcache.providers.http import HTTPTransport
from llmcache.providers.openai_chat import ChatDialect
from llmcache.providers.retry import Retry
from llmcache.testing.upstream import Reply, Upstream
from llmcache.types import ToolCall

from .support import USAGE, as_json, completion, handler


def parse(data: dict[str, Any]) -> CompletionResult:
    return ChatDialect("test").parse(as_json(data))


def answer(message: dict[str, Any], **choice: Any) -> CompletionResult:
    first = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}
    return parse({**completion(), "choices": [{**first, **choice}]})


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({}, {}),
        ({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}, {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}),
        ({"prompt_tokens": 3, "completion_tokens": 2}, {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}),
        # xAI and Gemini count reasoning apart, and bill it as output: the total has it.
        ({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 9}, {"input_tokens": 3, "output_tokens": 6, "total_tokens": 9}),
        (
            {"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2, "audio_tokens": 1}},
            {"input_tokens": 9, "total_tokens": 9, "input_tokens_cached": 4, "input_tokens_cache_write": 2, "input_tokens_audio": 1},
        ),
        (
            {"completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 4, "audio_tokens": 1}},
            {"output_tokens": 9, "total_tokens": 9, "reasoning_tokens": 4, "output_tokens_audio": 1},
        ),
        ({"prompt_tokens": 9, "prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 5}, {"input_tokens": 9, "total_tokens": 9, "input_tokens_cached": 4}),
        ({"prompt_tokens": 9, "num_cached_tokens": 4}, {"input_tokens": 9, "total_tokens": 9, "input_tokens_cached": 4}),
        ({"prompt_tokens": 9, "prompt_tokens_details": None, "completion_tokens_details": None}, {"input_tokens": 9, "total_tokens": 9}),
        ({"prompt_tokens": 1, "cost": 3.6e-6}, {"input_tokens": 1, "total_tokens": 1, "total_cost": Decimal("0.0000036")}),
        ({"prompt_tokens": 1, "cost": {"total_cost": 0.5, "request_cost": 0.1}}, {"input_tokens": 1, "total_tokens": 1, "total_cost": Decimal("0.5")}),
        ({"prompt_tokens": 1, "cost": 0}, {"input_tokens": 1, "total_tokens": 1}),
    ],
    ids=str,
)  # fmt: skip
def test_usage_in_every_servers_words(usage: dict[str, Any], expected: dict[str, Any]) -> None:
    result = parse(completion("hi", usage=usage))
    if not usage:
        assert result.usage is None
        return
    assert result.usage is not None
    said = {field.name: getattr(result.usage, field.name) for field in fields(result.usage)}
    assert {name: value for name, value in said.items() if value} == expected


def test_a_call_for_nothing_costs_nothing() -> None:
    alone = parse(completion("hi", usage={**USAGE, "cost": 0})).usage
    details = {"prompt_tokens_details": {"cached_tokens": 1}}
    beside = parse(completion("hi", usage={**USAGE, "cost": 0, **details})).usage
    assert alone is not None
    assert beside is not None
    assert beside.total_cost == 0
    assert alone.total_cost == 0


def test_usage_may_be_groqs() -> None:
    result = parse({**completion("hi"), "usage": None, "x_groq": {"id": "r", "usage": USAGE}})
    assert result.usage is not None
    assert result.usage.total_tokens == 5


def test_content_may_be_parts() -> None:
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "so "}, {"type": "text", "text": "…"}]},
        {"type": "text", "text": "4"},
        {"type": "reference", "reference_ids": [1]},
        {"type": "text", "text": "2"},
    ]  # fmt: skip
    result = answer({"content": parts})
    assert (result.content, result.reasoning) == ("42", "so …")
    assert result.to_message().to_dict()["content"] == parts


@pytest.mark.parametrize(
    ("message", "reasoning"),
    [
        ({"reasoning_content": "so"}, "so"),
        ({"reasoning": "so"}, "so"),
        ({"reasoning_details": [{"text": "s"}, {"summary": "o"}, {"data": "x"}]}, "so"),
        ({"reasoning_content": "", "reasoning": "so"}, "so"),
        ({"reasoning_content": None, "reasoning": None}, None),
    ],
    ids=str,
)
def test_reasoning_in_every_servers_words(message: dict[str, Any], reasoning: str | None) -> None:
    result = answer({"content": "42", **message})
    assert (result.content, result.reasoning) == ("42", reasoning)


def test_tool_calls_in_every_servers_words() -> None:
    signature = {"google": {"thought_signature": "c2ln"}}
    result = answer(
        {
            "content": None,
            "tool_calls": [
                {
                    "id": "a",
                    "type": "function",
                    "function": {"name": "f", "arguments": ' {"x": 1} '},
                },
                {"type": "function", "function": {"name": "g", "arguments": {"y": 2}}},
                {"id": None, "function": {"name": "h"}, "extra_content": signature},
                {"id": "d", "type": "custom", "custom": {"name": "sql", "input": "select 1"}},
            ],
        }
    )
    calls = result.tool_calls or ()
    one, two = calls[1].id, calls[2].id
    assert calls == (
        ToolCall("a", "f", ' {"x": 1} '),
        ToolCall(one, "g", '{"y": 2}'),
        ToolCall(two, "h", "", extra={"extra_content": signature}),
        ToolCall("d", "sql", "select 1", "custom"),
    )
    assert len({"", "a", one, two, "d"}) == 5
    assert result.content is None


def test_a_legacy_function_call_is_a_tool_call() -> None:
    result = answer({"content": None, "function_call": {"name": "f", "arguments": "{}"}})
    assert result.tool_calls == (ToolCall("", "f", "{}"),)
    assert (
        answer({"content": "x", "function_call": {"name": "", "arguments": ""}}).tool_calls is None
    )


def test_what_we_do_not_model_travels_with_the_message() -> None:
    result = answer(
        {"content": "x", "annotations": [{"type": "url_citation"}], "images": [{"a": 1}]}
    )
    message = result.to_message()
    assert Message.from_dict(message.to_dict()) == message
    assert message.to_dict()["annotations"] == [{"type": "url_citation"}]
    assert message.to_dict()["images"] == [{"a": 1}]


def test_raw_is_the_json_as_it_came() -> None:
    data = completion("hi", big=2**63, deep={"a": [1.0, 1e-7, None]})
    text = json.dumps(data, indent=2)
    result = ChatDialect("test").parse(text.encode())
    assert result.raw_json == text.encode()
    assert result.raw == data
    result.raw["choices"].clear()
    assert ChatDialect("test").parse(text.encode()).raw == data


@pytest.mark.parametrize("limit", [10_000, 100])
async def test_a_response_beyond_the_ceiling_is_an_error(limit: int) -> None:
    body = as_json(completion("x" * 1_000))
    async with Upstream(handler(Reply(body=body))) as upstream:
        transport = HTTPTransport("p", {}, max_body_bytes=limit)
        try:
            call = transport.post(f"{upstream.base_url}/x", {"a": 1}, retry=Retry(3, 0))
            if limit > len(body):
                assert (await call).body == body
            else:
                with pytest.raises(InvalidResponseError, match="exceeds 100 bytes"):
                    await call
            assert upstream.calls == 1
        finally:
            await transport.aclose()
