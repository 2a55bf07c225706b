"""What the demo upstream answers: made-up text, the same for the same request, in the words of each API."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

__all__ = ["API", "TAGS", "api_of", "digest"]

JSON: TypeAlias = dict[str, Any]

_SENTENCES: Final = (
    "A write-ahead log records every change before it is applied.",
    "After a crash the log is replayed, so nothing that was acknowledged is lost.",
    "Readers see a consistent state while writers append.",
    "A checkpoint folds the log into the main file from time to time.",
    "The log is written in order, which disks like.",
    "Two systems that replay the same log end in the same state.",
)
# The demo's own price list, in US dollars per token; it is reported as OpenRouter reports cost.
_INPUT_PRICE: Final = 2.5e-6
_OUTPUT_PRICE: Final = 1e-5
_VECTOR_PRICE: Final = 2e-8
_DEFAULT_DIMENSIONS: Final = 256
_SECONDS: Final = 1_790_000_000
_MOMENT: Final = "2026-09-21T14:13:20Z"
_ARGUMENTS: Final = '{"city":"Paris"}'
_ASKED: Final = ("messages", "input", "prompt")
TAGS: Final = {
    "models": [{"name": "demo:latest", "model": "demo:latest", "digest": f"sha256:{'0' * 64}"}]
}
"""The one model that Ollama's API lists; it answers for any."""


@dataclass(frozen=True, slots=True)
class API:
    """One path: `whole` answers a body, `stream` cuts an answer into what is sent of it."""

    whole: Callable[[Mapping[str, Any]], JSON]
    stream: Callable[[JSON, Mapping[str, Any]], Iterable[bytes]] | None = None
    content_type: str = "text/event-stream"
    streams_unasked: bool = False


def api_of(path: str) -> API | None:
    """Return what answers at `path`, `None` for one that nobody knows."""
    bare = path.partition("?")[0]
    return next((api for end, api in _APIS.items() if bare.endswith(end)), None)


def digest(body: Mapping[str, Any]) -> str:
    """Return what names a request, streamed or not."""
    asked = {k: v for k, v in body.items() if k not in {"stream", "stream_options"}}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class _MadeUp:
    """What every API says in its own words. `tool` is the one that must be called, if any."""

    name: str
    model: str
    text: str
    tool: str | None
    read: int
    written: int

    @property
    def cost(self) -> float:
        return round(self.read * _INPUT_PRICE + self.written * _OUTPUT_PRICE, 9)


def _made_up(body: Mapping[str, Any]) -> _MadeUp:
    name = digest(body)
    number = int(name, 16)
    picked = [_SENTENCES[(number >> shift) % len(_SENTENCES)] for shift in (0, 8, 16)]
    text = " ".join(dict.fromkeys(picked))
    tools, choice, tool = body.get("tools"), body.get("tool_choice"), None
    if tools and (choice == "required" or (isinstance(choice, dict) and choice["type"] == "any")):
        tool = (tools[0].get("function") or tools[0])["name"]
    asked: Any = next((body[field] for field in _ASKED if field in body), [])
    read, written = max(1, len(json.dumps(asked)) // 4), max(1, len(text) // 4)
    return _MadeUp(name, body.get("model", "demo"), text, tool, read, written)


def _words(text: str) -> list[str]:
    return re.findall(r"\s*\S+", text)


def _event(data: JSON) -> bytes:
    return f"event: {data['type']}\ndata: {json.dumps(data)}\n\n".encode()


# --- chat completions -------------------------------------------------------------------------


def _completion(body: Mapping[str, Any]) -> JSON:
    made = _made_up(body)
    message: JSON = {"role": "assistant", "content": made.text, "refusal": None}
    if made.tool is not None:
        function = {"name": made.tool, "arguments": _ARGUMENTS}
        call = {"id": f"call_{made.name[:24]}", "type": "function", "function": function}
        message |= {"content": None, "tool_calls": [call]}
    finish = "stop" if made.tool is None else "tool_calls"
    choices = [
        {"index": index, "message": message, "logprobs": None, "finish_reason": finish}
        for index in range(body.get("n") or 1)
    ]
    return {
        "id": f"chatcmpl-{made.name[:29]}",
        "object": "chat.completion",
        "created": _SECONDS,
        "model": made.model,
        "choices": choices,
        "usage": {
            "prompt_tokens": made.read,
            "completion_tokens": made.written,
            "total_tokens": made.read + made.written,
            "cost": made.cost,
        },
    }


def _chunks(completion: JSON, body: Mapping[str, Any]) -> list[bytes]:
    top = {k: completion[k] for k in ("id", "created", "model")}
    top["object"] = "chat.completion.chunk"
    chunks: list[JSON] = []

    def add(index: int, delta: Mapping[str, Any], finish: str | None = None) -> None:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        chunks.append({**top, "choices": [choice]})

    for choice in completion["choices"]:
        index, message = choice["index"], choice["message"]
        add(index, {"role": "assistant", "content": None if message["content"] is None else ""})
        for word in _words(message["content"] or ""):
            add(index, {"content": word})
        for number, call in enumerate(message.get("tool_calls") or ()):
            add(index, {"tool_calls": [{"index": number, **call}]})
        add(index, {}, choice["finish_reason"])
    if (body.get("stream_options") or {}).get("include_usage"):
        chunks.append({**top, "choices": [], "usage": completion["usage"]})
    lines = [f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks]
    return [*lines, b"data: [DONE]\n\n"]


# --- responses --------------------------------------------------------------------------------


def _response(body: Mapping[str, Any]) -> JSON:
    made = _made_up(body)
    said = {"type": "output_text", "text": made.text, "annotations": []}
    item: JSON = {"type": "message", "role": "assistant", "content": [said]}
    if made.tool is not None:
        call = f"call_{made.name[:24]}"
        item = {"type": "function_call", "call_id": call, "name": made.tool}
        item["arguments"] = _ARGUMENTS
    return {
        "id": f"resp_{made.name[:32]}",
        "object": "response",
        "created_at": _SECONDS,
        "status": "completed",
        "model": made.model,
        "error": None,
        "incomplete_details": None,
        "output": [{"id": f"item_{made.name[:24]}", "status": "completed", **item}],
        "usage": {
            "input_tokens": made.read,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": made.written,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": made.read + made.written,
            "cost": made.cost,
        },
    }


def _response_events(response: JSON, _body: Mapping[str, Any]) -> Iterator[bytes]:
    (item,) = response["output"]
    place = {"output_index": 0, "item_id": item["id"]}
    begun = {**response, "status": "in_progress", "output": [], "usage": None}
    if item["type"] == "message":
        (part,) = item["content"]
        empty: JSON = {"content": []}
        place["content_index"] = 0
        middle: list[tuple[str, JSON]] = [
            ("content_part.added", {**place, "part": {**part, "text": ""}}),
            *(("output_text.delta", {**place, "delta": word}) for word in _words(part["text"])),
            ("output_text.done", {**place, "text": part["text"]}),
            ("content_part.done", {**place, "part": part}),
        ]
    else:
        empty = {"arguments": ""}
        middle = [
            ("function_call_arguments.delta", {**place, "delta": item["arguments"]}),
            ("function_call_arguments.done", {**place, "arguments": item["arguments"]}),
        ]
    added = {**item, **empty, "status": "in_progress"}
    events: list[tuple[str, JSON]] = [
        ("created", {"response": begun}),
        ("in_progress", {"response": begun}),
        ("output_item.added", {"output_index": 0, "item": added}),
        *middle,
        ("output_item.done", {"output_index": 0, "item": item}),
        ("completed", {"response": response}),
    ]
    for number, (kind, fields) in enumerate(events):
        yield _event({"type": f"response.{kind}", "sequence_number": number, **fields})


# --- messages ---------------------------------------------------------------------------------


def _message(body: Mapping[str, Any]) -> JSON:
    made = _made_up(body)
    block: JSON = {"type": "text", "text": made.text}
    if made.tool is not None:
        block = {"type": "tool_use", "id": f"toolu_{made.name[:24]}", "name": made.tool}
        block["input"] = json.loads(_ARGUMENTS)
    return {
        "id": f"msg_{made.name[:24]}",
        "type": "message",
        "role": "assistant",
        "model": made.model,
        "content": [block],
        "stop_reason": "end_turn" if made.tool is None else "tool_use",
        "stop_sequence": None,
        "usage": {
            "input_tokens": made.read,
            "output_tokens": made.written,
            "cost": made.cost,
        },
    }


def _message_events(message: JSON, _body: Mapping[str, Any]) -> Iterator[bytes]:
    (block,) = message["content"]
    usage = {**message["usage"], "output_tokens": 1}
    begun = {**message, "content": [], "stop_reason": None, "usage": usage}
    if block["type"] == "text":
        empty: JSON = {**block, "text": ""}
        deltas = [{"type": "text_delta", "text": word} for word in _words(block["text"])]
    else:
        empty = {**block, "input": {}}
        deltas = [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}]
    yield _event({"type": "message_start", "message": begun})
    yield _event({"type": "content_block_start", "index": 0, "content_block": empty})
    for delta in deltas:
        yield _event({"type": "content_block_delta", "index": 0, "delta": delta})
    yield _event({"type": "content_block_stop", "index": 0})
    end = {name: message[name] for name in ("stop_reason", "stop_sequence")}
    yield _event({"type": "message_delta", "delta": end, "usage": message["usage"]})
    yield _event({"type": "message_stop"})


def _count(body: Mapping[str, Any]) -> JSON:
    return {"input_tokens": _made_up(body).read}


# --- Ollama -----------------------------------------------------------------------------------


def _ollama(body: Mapping[str, Any]) -> JSON:
    made = _made_up(body)
    said: JSON = {"message": {"role": "assistant", "content": made.text}}
    return {
        "model": made.model,
        "created_at": _MOMENT,
        **({"response": made.text} if "prompt" in body else said),
        "done": True,
        "done_reason": "stop",
        "prompt_eval_count": made.read,
        "eval_count": made.written,
    }


def _ollama_lines(answer: JSON, _body: Mapping[str, Any]) -> Iterator[bytes]:
    text = answer["response"] if "response" in answer else answer["message"]["content"]
    top = {name: answer[name] for name in ("model", "created_at")}
    for word in [*_words(text), ""]:
        chat = {"message": {"role": "assistant", "content": word}}
        said: JSON = {"response": word} if "response" in answer else chat
        line = {**top, **said, "done": False} if word else {**answer, **said}
        yield json.dumps(line).encode() + b"\n"


# --- embeddings -------------------------------------------------------------------------------


def _embeddings(body: Mapping[str, Any]) -> JSON:
    items, dimensions = _items(body)
    data = []
    for index, vector in enumerate(_vectors(items, dimensions)):
        coded: Any = vector
        if body.get("encoding_format") == "base64":
            coded = base64.b64encode(struct.pack(f"<{dimensions}f", *vector)).decode()
        data.append({"object": "embedding", "index": index, "embedding": coded})
    tokens = max(1, len(json.dumps(items)) // 4)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens, "cost": tokens * _VECTOR_PRICE}
    return {"object": "list", "data": data, "model": body.get("model", "demo"), "usage": usage}


def _embed(body: Mapping[str, Any]) -> JSON:
    items, dimensions = _items(body)
    tokens = max(1, len(json.dumps(items)) // 4)
    vectors = _vectors(items, dimensions)
    return {"model": body.get("model", "demo"), "embeddings": vectors, "prompt_eval_count": tokens}


def _items(body: Mapping[str, Any]) -> tuple[list[Any], int]:
    inputs = body["input"]
    items = inputs if isinstance(inputs, list) and not _is_tokens(inputs) else [inputs]
    return items, body.get("dimensions") or _DEFAULT_DIMENSIONS


def _is_tokens(value: list[Any]) -> bool:
    return bool(value) and all(isinstance(item, int) for item in value)


def _vectors(items: list[Any], dimensions: int) -> list[list[float]]:
    """Return made-up numbers of unit length, exact in float32, the same for the same text."""
    vectors = []
    for item in items:
        stream = hashlib.shake_256(json.dumps(item).encode()).digest(dimensions * 2)
        numbers = [n / 32_768 - 1 for n in struct.unpack(f"<{dimensions}H", stream)]
        norm = sum(n * n for n in numbers) ** 0.5 or 1.0
        packed = struct.pack(f"<{dimensions}f", *(n / norm for n in numbers))
        vectors.append(list(struct.unpack(f"<{dimensions}f", packed)))
    return vectors


_NDJSON: Final = "application/x-ndjson"
_APIS: Final[Mapping[str, API]] = {
    "/chat/completions": API(_completion, _chunks),
    "/responses": API(_response, _response_events),
    "/messages": API(_message, _message_events),
    "/messages/count_tokens": API(_count),
    "/embeddings": API(_embeddings),
    "/api/chat": API(_ollama, _ollama_lines, _NDJSON, streams_unasked=True),
    "/api/generate": API(_ollama, _ollama_lines, _NDJSON, streams_unasked=True),
    "/api/embed": API(_embed),
}
