"""A slow and simple second opinion on streams of the Messages API."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from llmcache.types import CompletionResult

from .specification import UnclearError, reference

_KNOWN = {
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
}
_TEXTS = {"text_delta": ("text", "text"), "thinking_delta": ("thinking", "thinking")}


@dataclass
class SaidMessage:
    """What a stream of events says, as far as a reader cares."""

    blocks: dict[int, dict[str, Any]] = field(default_factory=dict)
    inputs: dict[int, str] = field(default_factory=dict)
    open: set[int] = field(default_factory=set)
    stop: str | None = None
    usage: dict[str, Any] | None = None
    started: bool = False
    done: bool = False

    @property
    def complete(self) -> bool:
        """Whether nothing of the answer can be missing."""
        return self.done and bool(self.stop) and not self.open


def said(stream: bytes) -> SaidMessage:
    """Return what an event stream says.

    Raises:
        UnclearError: an event is not what the API sends.
    """
    answer = SaidMessage()
    for event in reference(stream):
        if event.event == "ping":
            continue
        try:
            data = json.loads(event.data)
            if data.get("error") or event.event == "error" or data["type"] == "message":
                raise UnclearError
            if data["type"] in _KNOWN:
                _add(answer, data)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UnclearError from error
        if answer.done:
            break
    return answer


def _add(answer: SaidMessage, data: dict[str, Any]) -> None:
    kind = data["type"]
    if kind == "message_start":
        answer.started = True
        answer.usage = data["message"].get("usage")
    elif kind == "message_stop":
        answer.done = True
    elif kind == "message_delta":
        answer.stop = data["delta"].get("stop_reason") or answer.stop
        news = {k: v for k, v in (data.get("usage") or {}).items() if v is not None}
        answer.usage = {**(answer.usage or {}), **news}
    elif kind == "content_block_start":
        answer.blocks[data["index"]] = data["content_block"]
        answer.open.add(data["index"])
    elif kind == "content_block_stop":
        answer.open.remove(data["index"])
    else:
        _grow(answer, data["index"], data["delta"])


def _grow(answer: SaidMessage, index: int, delta: dict[str, Any]) -> None:
    block = answer.blocks[index]
    if delta["type"] in _TEXTS:
        name, owner = _TEXTS[delta["type"]]
        if block["type"] == owner:
            block[name] += delta[name]
    elif delta["type"] == "input_json_delta":
        answer.inputs[index] = answer.inputs.get(index, "") + delta["partial_json"]


def matches(result: CompletionResult, answer: SaidMessage) -> bool:
    """Return whether a result is what the stream said."""
    blocks = [(index, answer.blocks[index]) for index in sorted(answer.blocks)]
    texts = [block["text"] for _, block in blocks if block["type"] == "text"]
    thoughts = [block["thinking"] for _, block in blocks if block["type"] == "thinking"]
    calls = [
        (block["id"], block["name"], answer.inputs.get(index) or json.dumps(block["input"]))
        for index, block in blocks
        if block["type"] == "tool_use"
    ]
    usage = answer.usage or {}
    return (
        result.content == ("".join(texts) if texts else None)
        and (result.reasoning or "") == "".join(thoughts)
        and [(c.id, c.name, c.arguments) for c in result.tool_calls or ()] == calls
        and result.finish_reason == answer.stop
        and (
            result.usage is None or result.usage.output_tokens == (usage.get("output_tokens") or 0)
        )
    )
