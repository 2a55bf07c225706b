"""What the fake provider's answers look like on the wire: chat completions, whole and in chunks."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import orjson

from ..providers.failures import error_from_response
from ..types import CompletionResult, Usage
from ..types._json import Json, thaw

if TYPE_CHECKING:
    from .fake import FakeRequest

__all__ = ["FAKE", "chunks_of", "completion_of", "tokens_in"]

FAKE: Final = "fake"
"""What the provider is called."""
_WORD: Final = re.compile(r"\S+\s*|\s+")


def completion_of(request: FakeRequest, answer: CompletionResult) -> dict[str, Json]:
    """Return the chat completion that a parser reads as `answer`."""
    if not answer.ok:
        text = orjson.dumps({"error": {"message": answer.error}})
        raise error_from_response(FAKE, answer.status, {}, text)
    digest = hashlib.sha256(json.dumps(request.body, sort_keys=True).encode()).hexdigest()
    message = answer.to_message().to_dict()
    message.pop("native", None)
    message.setdefault("content", None)
    if answer.reasoning:
        message.setdefault("reasoning_content", answer.reasoning)
    if answer.refusal:
        message.setdefault("refusal", answer.refusal)
    finish = answer.finish_reason or ("tool_calls" if answer.has_tool_calls else "stop")
    logprobs = thaw(answer.logprobs)
    count = 1 if answer.choices else request.body.get("n") or 1
    choices = [choice.to_dict() for choice in answer.choices] or [
        {"index": index, "message": message, "finish_reason": finish, "logprobs": logprobs}
        for index in range(count)
    ]
    return {
        "id": answer.id or f"chatcmpl-{digest[:29]}",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": answer.model or request.model,
        "choices": choices,
        "usage": _usage(answer.usage or _counted(request, answer)),
    }


def _counted(request: FakeRequest, answer: CompletionResult) -> Usage:
    """Return a usage for an answer that brings none."""
    read = sum(tokens_in(message.text) for message in request.messages)
    written = tokens_in(answer.content or "")
    return Usage(read, written, read + written)


def tokens_in(text: str) -> int:
    """Return how many tokens a text has here: a word is one."""
    return len(_WORD.findall(text))


def _usage(usage: Usage) -> dict[str, Json]:
    cost = {} if usage.total_cost is None else {"cost": float(usage.total_cost)}
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.input_tokens_cached,
            "cache_write_tokens": usage.input_tokens_cache_write,
            "audio_tokens": usage.input_tokens_audio,
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": usage.output_tokens_audio,
        },
        **cost,
    }


def chunks_of(completion: Mapping[str, Any]) -> Iterator[dict[str, Json]]:
    """Yield the chunks that add up to `completion`: a word, or half a tool call, at a time."""
    top = {name: completion[name] for name in ("id", "created", "model")}
    top["object"] = "chat.completion.chunk"
    for choice in completion["choices"]:
        for delta in _deltas(choice["message"]):
            yield {**top, "choices": [{"index": choice["index"], "delta": delta}]}
        end = {name: value for name, value in choice.items() if name != "message"}
        yield {**top, "choices": [{**end, "delta": {}}]}
    yield {**top, "choices": [], "usage": completion["usage"]}


def _deltas(message: Mapping[str, Any]) -> Iterator[dict[str, Json]]:
    rest = dict(message)
    calls = rest.pop("tool_calls", None) or ()
    content = rest.pop("content", None)
    spoken = [("reasoning_content", rest.pop("reasoning_content", None)), ("content", content)]
    yield {**rest, "content": "" if isinstance(content, str) else None}
    for name, text in spoken:
        pieces = _WORD.findall(text) if isinstance(text, str) else [text] if text else []
        for piece in pieces:
            yield {name: piece}
    for index, call in enumerate(calls):
        field = "arguments" if call["type"] == "function" else "input"
        body = call[call["type"]]
        text = body[field]
        half = (len(text) + 1) // 2
        yield {"tool_calls": [{**call, "index": index, call["type"]: {**body, field: text[:half]}}]}
        if text[half:]:
            yield {"tool_calls": [{"index": index, call["type"]: {field: text[half:]}}]}
