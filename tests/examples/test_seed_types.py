"""Streaming adapters and types as users know them; see `test_seed_blocks`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from llmcache import (
    BufferingAdapter,
    CallbackAdapter,
    CompletionResult,
    Message,
    OpenAIProvider,
    ResponseTimeoutError,
    Role,
    SSEAdapter,
    StreamEvent,
    StreamEventType,
    ToolCall,
    Usage,
    collect_stream,
    format_sse_event,
    stream_to_string,
)

PROMPT = "Tell me a story"
WEATHER = {"name": "get_weather", "description": "Get weather for a city.", "parameters": {}}


# --- streaming --------------------------------------------------------------------------------


def test_event_types_by_name() -> None:
    for name in "TOKEN REASONING TOOL_CALL_START TOOL_CALL_DELTA TOOL_CALL_END META USAGE DONE ERROR".split():
        assert StreamEventType[name].value == name.lower()


def test_an_event() -> None:
    event = StreamEvent(type=StreamEventType.TOKEN, data="Hello", timestamp=time.time())
    assert event.type is StreamEventType.TOKEN
    assert event.data == "Hello"
    assert isinstance(event.timestamp, float)
    assert event.to_sse() == "event: token\ndata: Hello\n\n"
    assert format_sse_event("token", "Hello") == "event: token\ndata: Hello\n\n"


async def test_the_sse_adapter(provider: OpenAIProvider) -> None:
    adapter = SSEAdapter()
    lines = [line async for line in adapter.transform(provider.stream(PROMPT))]
    assert all(line.startswith("event: ") and line.endswith("\n\n") for line in lines)
    assert lines[-1].startswith("event: done\n")
    assert any(line.startswith("event: token\ndata: ") for line in lines)


async def test_the_callback_adapter(provider: OpenAIProvider) -> None:
    called: list[tuple[str, Any]] = []

    def note(name: str) -> Callable[[Any], None]:
        return lambda data: called.append((name, data))

    adapter = CallbackAdapter(
        on_token=note("token"),
        on_reasoning=note("reasoning"),
        on_tool_start=note("tool_start"),
        on_tool_end=note("tool_end"),
        on_done=note("done"),
        on_error=note("error"),
    )
    await adapter.consume(provider.stream(PROMPT))
    names = [name for name, _ in called]
    assert names == ["token"] * (len(names) - 1) + ["done"]
    assert isinstance(called[-1][1].usage, Usage)
    called.clear()
    tool_stream = provider.stream("Weather?", tools=[WEATHER], tool_choice="required")
    await adapter.consume(tool_stream)
    by_name = dict(called)
    assert by_name["tool_start"].name == by_name["tool_end"].name == "get_weather"


async def test_the_buffering_adapter(provider: OpenAIProvider) -> None:
    buffer = BufferingAdapter()
    text = ""
    async for event in buffer.wrap(provider.stream(PROMPT)):
        if event.type == StreamEventType.TOKEN:
            text += event.data
    assert buffer.content == text
    assert not buffer.reasoning
    assert buffer.tool_calls == []
    assert isinstance(buffer.usage, Usage)
    result = buffer.get_result()
    assert isinstance(result, CompletionResult)
    assert result.content == text


async def test_the_stream_utilities(provider: OpenAIProvider) -> None:
    result = await collect_stream(provider.stream(PROMPT))
    text = await stream_to_string(provider.stream(PROMPT))
    assert result.content == text
    assert text


# --- types reference --------------------------------------------------------------------------


def test_messages() -> None:
    assert Message.user("Hello").role == Role.USER
    assert Message.assistant("Hi there!").role == Role.ASSISTANT
    assert Message.system("You are helpful.").role == Role.SYSTEM
    msg = Message.tool_result(tool_call_id="123", content="Result", name="search")
    assert (msg.role, msg.content, msg.tool_call_id, msg.name) == (
        Role.TOOL,
        "Result",
        "123",
        "search",
    )
    assert msg.tool_calls is None
    msg = Message.from_dict({"role": "user", "content": "Hello"})
    assert msg.to_dict() == {"role": "user", "content": "Hello"}


def test_a_tool_call() -> None:
    tc = ToolCall(id="call_abc123", name="search", arguments='{"query": "python"}')
    assert tc.parse_arguments() == {"query": "python"}


def test_usage() -> None:
    usage = Usage(
        input_tokens=100,
        output_tokens=50,
        total_tokens=150,
        input_tokens_cached=20,
        input_cost=0.001,  # type: ignore[arg-type]  # as the document writes it
        output_cost=0.002,  # type: ignore[arg-type]
        total_cost=0.003,  # type: ignore[arg-type]
    )
    assert float(usage.total_cost or 0) == 0.003
    assert Usage.from_dict(usage.to_dict()) == usage


def test_a_completion_result() -> None:
    result = CompletionResult(
        content="Hello!",
        tool_calls=None,
        usage=Usage(total_tokens=1),
        reasoning=None,
        model="gpt-5",
        finish_reason="stop",
        status=200,
        error=None,
    )
    assert result.ok
    assert not result.has_tool_calls
    assert result.to_message() == Message.assistant("Hello!")
    assert CompletionResult.from_dict(result.to_dict()) == result


def test_the_time_out_is_an_exception() -> None:
    assert issubclass(ResponseTimeoutError, TimeoutError)
