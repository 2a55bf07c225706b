"""Shared by the tests of the Messages API: providers, the shapes on the wire, recorded exchanges."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

from llmcache import AnthropicProvider
from llmcache.providers.anthropic_messages import MessagesDialect
from llmcache.providers.sse import SSEDecoder
from llmcache.testing.upstream import Reply, Upstream, UpstreamRequest
from llmcache.types import CompletionResult, StreamEvent, WireEvent

from .recorded import Exchange, load
from .support import EVENT_STREAM, SECRET, Answer, Sleeps, as_json, handler

USAGE = {"input_tokens": 3, "output_tokens": 2}
# How many recorded rows of each kind there are.
WHOLE, STREAMED, ERRORS, COUNT_ERRORS = 24, 22, 8, 1
UNRECORDED_REQUESTS = 3
# Not stored unless asked: the token limit cut these answers.
TRUNCATED = {
    "anthropic/messages/anthropic_completion.0.8db434aa.json",
    "anthropic/messages/anthropic_completion_stream_helper.0.58e25cbb.json",
}
# Never stored: the model refused.
REFUSED = {
    "anthropic/messages/anthropic_refusal.0.a576ddf0.json",
    "anthropic/messages/anthropic_refusal_no_details.0.7dc4af8e.json",
    "anthropic/messages/anthropic_refusal_chunks.0.41b632e0.json",
}
# Not cached unless asked: a hosted tool, or one that the server keeps the state of, takes part.
STATEFUL_TAGS = ("req:server_tool=web_search",)


def provider_of(upstream: Upstream, **options: Any) -> AnthropicProvider:
    """Return a provider of `upstream` that keeps its cache in memory and never really sleeps."""
    options = {
        "model": "demo",
        "base_url": upstream.base_url,
        "api_key": SECRET,
        "cache_backend": "memory",
        **options,
    }
    provider = AnthropicProvider(**options)
    provider._transport._sleep = Sleeps()
    return provider


@contextlib.asynccontextmanager
async def serving(
    answer: Answer, **options: Any
) -> AsyncGenerator[tuple[AnthropicProvider, Upstream], None]:
    """Open a server that answers `answer`, and a provider of it."""
    async with Upstream(handler(answer)) as upstream, provider_of(upstream, **options) as provider:
        yield provider, upstream


def messages_of(exchange: Exchange) -> tuple[Any, dict[str, Any]]:
    """Return the messages and the options that make our provider send the same request."""
    options: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for name, value in exchange.asked.items():
        if name not in {"messages", "stream"}:
            known = name in AnthropicProvider._fields and value is not None
            (options if known else extra)[name] = value
    return exchange.asked["messages"], {**options, "extra_body": extra}


def recorded_messages(recordings: Path) -> list[Exchange]:
    """Return every exchange of the Messages API, in the manifest's order."""
    return load(recordings, "messages")


# --- shapes -------------------------------------------------------------------------------------


def text(value: str, **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": value, **fields}


def tool_use(identifier: str, name: str = "f", given: Any = None) -> dict[str, Any]:
    return {"type": "tool_use", "id": identifier, "name": name, "input": given or {}}


def message(
    *blocks: Mapping[str, Any], stop: str | None = "end_turn", **top: Any
) -> dict[str, Any]:
    """Return a whole message; of the text `hi` unless told otherwise."""
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "demo",
        "content": list(blocks) or [text("hi")],
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": USAGE,
        **top,
    }


def reply_of(data: Any, status: int = 200, **headers: str) -> Reply:
    return Reply(status, as_json(data), headers)


def starts(**top: Any) -> dict[str, Any]:
    """Return the event that begins a stream."""
    whole = message(stop=None, **top)
    return {"type": "message_start", "message": {**whole, "content": []}}


def begins(index: int, block: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": dict(block)}


def grows(index: int, kind: str, **fields: Any) -> dict[str, Any]:
    delta = {"type": kind, **fields}
    return {"type": "content_block_delta", "index": index, "delta": delta}


def stops(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def ends(stop: str | None = "end_turn", usage: Any = None, **delta: Any) -> list[dict[str, Any]]:
    """Return the two events that end a stream."""
    said = {"stop_reason": stop, "stop_sequence": None, **delta}
    totals = {"output_tokens": 2} if usage is None else usage
    return [
        {"type": "message_delta", "delta": said, "usage": totals},
        {"type": "message_stop"},
    ]


def text_block(index: int, *pieces: str) -> list[dict[str, Any]]:
    """Return the events of a text block."""
    deltas = [grows(index, "text_delta", text=piece) for piece in pieces]
    return [begins(index, text("")), *deltas, stops(index)]


def call_block(index: int, identifier: str, *pieces: str, name: str = "f") -> list[dict[str, Any]]:
    """Return the events of a tool call whose input comes in these pieces."""
    deltas = [grows(index, "input_json_delta", partial_json=piece) for piece in pieces]
    return [begins(index, tool_use(identifier, name)), *deltas, stops(index)]


def sse(*events: Mapping[str, Any], end: str = "\n") -> bytes:
    """Return events as an event stream, each under its name."""
    return b"".join(
        f"event: {one['type']}{end}data: {json.dumps(one, ensure_ascii=False)}{end}{end}".encode()
        for one in events
    )


PING = {"type": "ping"}

GENERATED: dict[str, bytes] = {
    "text": sse(starts(), PING, *text_block(0, "one ", "two ", "thrée 🙈"), *ends()),
    "tools": sse(
        starts(),
        *text_block(0, "let me see"),
        *call_block(1, "toolu_a", "", '{"x": ', "[1, ", "2.50]}"),
        *call_block(2, "toolu_b", name="g"),
        *ends("tool_use"),
    ),
    "thinking": sse(
        starts(),
        begins(0, {"type": "thinking", "thinking": "", "signature": ""}),
        grows(0, "thinking_delta", thinking="hm "),
        grows(0, "thinking_delta", thinking="so"),
        grows(0, "signature_delta", signature="c2ln"),
        stops(0),
        begins(1, {"type": "redacted_thinking", "data": "b3BhcXVl"}),
        stops(1),
        *text_block(2, "42"),
        *ends(usage={"output_tokens": 9, "output_tokens_details": {"thinking_tokens": 7}}),
    ),
    "citations, CRLF": b": wait\r\n\r\n"
    + sse(
        starts(usage={"input_tokens": 5, "cache_read_input_tokens": 90, "output_tokens": 1}),
        begins(0, text("", citations=[])),
        grows(0, "text_delta", text="blue"),
        grows(0, "citations_delta", citation={"type": "char_location", "cited_text": "b"}),
        grows(0, "citations_delta", citation={"type": "char_location", "cited_text": "c"}),
        stops(0),
        PING,
        *ends(usage={"input_tokens": None, "output_tokens": 4}),
        end="\r\n",
    ),
    "server tool": sse(
        starts(),
        begins(0, {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}),
        grows(0, "input_json_delta", partial_json='{"query": "x"}'),
        stops(0),
        begins(1, {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}),
        stops(1),
        *text_block(2, "found"),
        *ends(usage={"output_tokens": 4, "server_tool_use": {"web_search_requests": 1}}),
    ),
}  # fmt: skip


def streamed(*events: Mapping[str, Any]) -> Reply:
    return Reply(body=sse(*events), headers=EVENT_STREAM)


def plain_answer(request: UpstreamRequest) -> Reply:
    """Answer `hi`, streamed or whole, as asked."""
    if request.json().get("stream"):
        return streamed(starts(), *text_block(0, "hi"), *ends())
    return reply_of(message())


# --- decoding -----------------------------------------------------------------------------------


def outcome(stream: bytes) -> tuple[CompletionResult, bool]:
    """Return what our decoders make of a stream, and whether it may be stored."""
    _, result, whole = told(stream)
    return result, whole


def told(stream: bytes) -> tuple[list[StreamEvent], CompletionResult, bool]:
    """Return the events of a stream, its answer, and whether it may be stored."""
    lines, decoder = SSEDecoder(), MessagesDialect("test").decoder()
    events: list[StreamEvent] = []
    for event in [*lines.feed(stream), *lines.flush()]:
        events += decoder.feed(WireEvent(event.data, event.event))
        if decoder.terminal:
            break
    result = decoder.finish()
    return events, result, decoder.is_whole
