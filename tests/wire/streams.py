"""Streams to damage: generated ones of every shape, and what our decoders make of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmcache.providers.openai_chat import ChatDialect
from llmcache.providers.sse import SSEDecoder
from llmcache.types import CompletionResult, StreamEvent, WireEvent

from .support import USAGE, answer_stream, call_piece, chunk, sse, wire

_TOOLS = [
    chunk(
        {
            "role": "assistant",
            "content": None,
            **call_piece(0, "", id="call_a", type="function", name="f"),
        }
    ),
    chunk(call_piece(0, '{"x":')),
    chunk(call_piece(0, "1}")),
    chunk(call_piece(1, "{}", id="call_b", type="function", name="g")),
    chunk(finish="tool_calls"),
]
_TWO = [chunk({"content": f"{word} "}, index=i) for word in ("one", "two") for i in (0, 1)]
_ENDS = [chunk(finish="stop", index=i) for i in (0, 1)]

GENERATED: dict[str, bytes] = {
    "text": sse(*answer_stream()),
    "text without usage": sse(*answer_stream(usage=False)),
    "without [DONE]": sse(*answer_stream()[:-1]),
    "tools": sse(*_TOOLS, chunk(usage=USAGE), "[DONE]"),
    "two choices": sse(*_TWO, *_ENDS, chunk(usage=USAGE), "[DONE]"),
    "reasoning, usage beside the end": sse(
        chunk({"reasoning_content": "hm "}),
        chunk({"reasoning_content": "so"}),
        chunk({"content": "42"}),
        chunk({"content": ""}, "stop", usage=USAGE),
        "[DONE]",
    ),
    "CRLF, comments, refusal": b": wait\r\n\r\n"
    + sse(
        chunk({"refusal": "I "}), chunk({"refusal": "can’t 🙈"}), chunk(finish="stop"), end="\r\n"
    )
    + b": wait\r\n\r\n"
    + sse(chunk(usage=USAGE), "[DONE]", end="\r\n"),
}


def outcome(stream: bytes) -> tuple[CompletionResult, bool]:
    """Return what our decoders make of a stream, and whether it may be stored."""
    lines, decoder = SSEDecoder(), ChatDialect("test").decoder()
    for event in [*lines.feed(stream), *lines.flush()]:
        decoder.feed(WireEvent(event.data, event.event))
        if decoder.terminal:
            break
    return decoder.finish(), decoder.is_whole


def run(*chunks: Mapping[str, Any] | str) -> tuple[list[StreamEvent], CompletionResult]:
    """Return the events and the answer of a stream that ends in [DONE]."""
    decoder = ChatDialect("test").decoder()
    events = [event for one in wire(*chunks, "[DONE]") for event in decoder.feed(one)]
    assert decoder.terminal
    result = decoder.finish()
    assert decoder.is_whole
    return events, result
