"""Shapes that a server of the Responses API sends."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from llmcache.providers.openai_responses import ResponsesDialect
from llmcache.providers.sse import SSEDecoder
from llmcache.testing.upstream import Reply, UpstreamRequest
from llmcache.types import CompletionResult, StreamEvent, WireEvent

from .support import EVENT_STREAM, as_json

SAID = {"type": "output_text", "text": "hi", "annotations": [], "logprobs": []}
COUNTS = {
    "input_tokens": 3,
    "input_tokens_details": {"cached_tokens": 1, "cache_write_tokens": 1},
    "output_tokens": 2,
    "output_tokens_details": {"reasoning_tokens": 1},
    "total_tokens": 5,
}


def message(*parts: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """Return a message item; its text is "hi" unless told otherwise."""
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": list(parts or (SAID,)),
        **fields,
    }


def call(arguments: str = "{}", **fields: Any) -> dict[str, Any]:
    """Return a function call."""
    start = {"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": "f"}
    return {**start, "arguments": arguments, "status": "completed", **fields}


def thought(text: str = "so", **fields: Any) -> dict[str, Any]:
    """Return a reasoning item."""
    summary = [{"type": "summary_text", "text": text}]
    return {"id": "rs_1", "type": "reasoning", "summary": summary, **fields}


def response(*output: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """Return a whole response."""
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "model": "demo",
        "error": None,
        "incomplete_details": None,
        "output": list(output or (message(),)),
        "user": None,
        "metadata": {},
        "usage": COUNTS,
        **fields,
    }


def event(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", **fields}


def item_events(place: int, item: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the events that stream an item, with its text in two pieces."""
    kind, at = item["type"], {"output_index": place, "item_id": item["id"]}
    begun: dict[str, Any] = {**item, "status": "in_progress"}
    deltas: list[dict[str, Any]] = []
    if kind == "message":
        begun["content"] = []
        for index, part in enumerate(item["content"]):
            word = "text" if part["type"] == "output_text" else "refusal"
            where = {**at, "content_index": index}
            deltas.append(event("content_part.added", **where, part={**part, word: ""}))
            name = "output_text" if word == "text" else "refusal"
            deltas += [
                event(f"{name}.delta", **where, delta=d, obfuscation="x")
                for d in halves(part[word])
            ]
            deltas.append(event(f"{name}.done", **where, **{word: part[word]}))
    elif kind == "reasoning":
        begun["summary"] = []
        for index, part in enumerate(item["summary"]):
            where = {**at, "summary_index": index}
            deltas += [
                event("reasoning_summary_text.delta", **where, delta=d)
                for d in halves(part["text"])
            ]
    elif kind in {"function_call", "custom_tool_call"}:
        word = "arguments" if kind == "function_call" else "input"
        name = "function_call_arguments" if kind == "function_call" else "custom_tool_call_input"
        begun[word] = ""
        deltas += [event(f"{name}.delta", **at, delta=d) for d in halves(item[word])]
    added = event("output_item.added", output_index=place, item=begun)
    return [added, *deltas, event("output_item.done", output_index=place, item=item)]


def halves(text: str) -> list[str]:
    middle = (len(text) + 1) // 2
    return [text[:middle], text[middle:]]


def events_of(whole: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the events that stream a response."""
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    middle = [e for place, item in enumerate(whole["output"]) for e in item_events(place, item)]
    last = event(whole["status"], response=whole)
    all_of_them = [event("created", response=begun), event("in_progress", response=begun)]
    return [
        {**one, "sequence_number": number}
        for number, one in enumerate([*all_of_them, *middle, last])
    ]


def sse_of(*events: Mapping[str, Any]) -> bytes:
    """Return events as an event stream, named as OpenAI names them."""
    lines = [f"event: {e['type']}\ndata: {json.dumps(e, ensure_ascii=False)}\n\n" for e in events]
    return "".join(lines).encode()


def answering(whole: Mapping[str, Any]) -> Any:
    """Return a handler that answers a response, streamed when it is asked to."""

    def reply(request: UpstreamRequest) -> Reply:
        if request.json().get("stream"):
            return Reply(body=sse_of(*events_of(whole)), headers=EVENT_STREAM)
        return Reply(body=as_json(whole))

    return reply


def feed(*events: Mapping[str, Any]) -> tuple[list[StreamEvent], CompletionResult]:
    """Return what the events mean, and the answer that they end with."""
    decoder = ResponsesDialect("test").decoder()
    seen = [one for e in events for one in decoder.feed(WireEvent(as_json(e)))]
    result = decoder.finish()
    assert decoder.is_whole
    return seen, result


def folded(stream: bytes) -> CompletionResult:
    """Return the answer of an event stream."""
    lines, decoder = SSEDecoder(), ResponsesDialect("test").decoder()
    for one in [*lines.feed(stream), *lines.flush()]:
        decoder.feed(WireEvent(one.data, one.event))
        if decoder.terminal:
            break
    return decoder.finish()
