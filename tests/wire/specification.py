"""Slow and simple second opinions: what bytes mean, written from the specifications."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llmcache.providers.sse import ServerSentEvent
from llmcache.types import CompletionResult

BOM = b"\xef\xbb\xbf"


def reference(stream: bytes) -> list[ServerSentEvent]:
    """Decode as the specification says, one byte at a time.

    https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
    Our decoder differs on purpose in one thing, and so does this: an event that the
    end of the stream cuts off before its blank line is returned.
    """
    events: list[ServerSentEvent] = []
    data, name, last_id, retry = b"", "", None, None
    for line in reference_lines(stream.removeprefix(BOM)):
        if line == b"":
            if data:
                events.append(ServerSentEvent(data[:-1], name or None, last_id, retry))
            data, name, retry = b"", "", None
            continue
        field, value = reference_field(line)
        if field == b"data":
            data += value + b"\n"
        elif field == b"event":
            name = value.decode("utf-8", "replace")
        elif field == b"id" and 0 not in value:
            last_id = value.decode("utf-8", "replace")
        elif field == b"retry" and value and all(48 <= digit <= 57 for digit in value):
            retry = int(value)
    if data:
        events.append(ServerSentEvent(data[:-1], name or None, last_id, retry))
    return events


def reference_field(line: bytes) -> tuple[bytes, bytes]:
    """Return a field's name and value; a comment is a field without a name."""
    if b":" not in line:
        return line, b""
    colon = line.index(b":")
    value = line[colon + 1 :]
    return line[:colon], value[1:] if value[:1] == b" " else value


def reference_lines(stream: bytes) -> list[bytes]:
    lines, line, position = [], b"", 0
    while position < len(stream):
        byte = stream[position : position + 1]
        position += 1
        if byte == b"\r":
            if stream[position : position + 1] == b"\n":
                position += 1
        elif byte != b"\n":
            line += byte
            continue
        lines.append(line)
        line = b""
    return [*lines, line] if line else lines


@dataclass
class SaidChoice:
    """One choice of a streamed answer."""

    content: str | None = None
    refusal: str | None = None
    reasoning: str | None = None
    calls: list[dict[str, Any]] = field(default_factory=list)
    finish: str | None = None


@dataclass
class Said:
    """What a stream of chunks says, as far as a reader cares."""

    choices: dict[int, SaidChoice] = field(default_factory=dict)
    usage: Mapping[str, Any] | None = None
    done: bool = False

    @property
    def complete(self) -> bool:
        """Whether nothing of the answer can be missing."""
        ended = bool(self.choices) and all(c.finish is not None for c in self.choices.values())
        return ended and (self.done or self.usage is not None)


class UnclearError(Exception):
    """The stream is so broken that nobody can say what it means."""


def said(stream: bytes) -> Said:
    """Return what an event stream says.

    Raises:
        UnclearError: a chunk is not what the API sends.
    """
    answer = Said()
    for event in reference(stream):
        if event.data.strip() == b"[DONE]":
            answer.done = True
            break
        try:
            chunk = json.loads(event.data)
            if chunk.get("error") or event.event == "error":
                raise UnclearError
            for piece in chunk.get("choices") or []:
                if "delta" not in piece or type(piece["index"]) is not int:
                    raise UnclearError
                _add(answer.choices.setdefault(piece["index"], SaidChoice()), piece)
            answer.usage = (
                chunk.get("usage") or (chunk.get("x_groq") or {}).get("usage") or answer.usage
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UnclearError from error
    return answer


def _add(choice: SaidChoice, piece: Mapping[str, Any]) -> None:
    delta = piece["delta"] or {}
    names = {"content": "content", "refusal": "refusal", "reasoning": "reasoning_content"}
    for attribute, name in names.items():
        text = delta.get(name)
        if text is not None:
            setattr(choice, attribute, (getattr(choice, attribute) or "") + text)
    for call in delta.get("tool_calls") or []:
        _add_call(choice.calls, call)
    if piece.get("finish_reason"):
        choice.finish = piece["finish_reason"]


def _add_call(calls: list[dict[str, Any]], piece: Mapping[str, Any]) -> None:
    index, identifier = piece["index"], piece.get("id")
    function = piece.get("function") or {}
    for call in reversed(calls):
        same = call["id"] == identifier if call["id"] and identifier else call["index"] == index
        if same:
            break
    else:
        call = {"index": index, "id": None, "name": None, "arguments": ""}
        calls.append(call)
    call["id"] = identifier or call["id"]
    call["name"] = function.get("name") or call["name"]
    call["arguments"] += function.get("arguments") or ""


def matches(result: CompletionResult, answer: Said) -> bool:
    """Return whether a result is what the stream said."""
    first = answer.choices[min(answer.choices)]
    calls = [(call["id"] or "", call["name"], call["arguments"]) for call in first.calls]
    usage = answer.usage
    return (
        result.content == first.content
        and result.refusal == (first.refusal or None)
        and result.reasoning == (first.reasoning or None)
        and [(c.id, c.name, c.arguments) for c in result.tool_calls or ()] == calls
        and result.finish_reason == first.finish
        and (result.usage is None if usage is None else _counts(result) == _total(usage))
        and len(result.choices) == (len(answer.choices) if len(answer.choices) > 1 else 0)
        and all(
            one.message.content == answer.choices[one.index].content
            and one.finish_reason == answer.choices[one.index].finish
            for one in result.choices
        )
    )


def _counts(result: CompletionResult) -> tuple[int, int]:
    assert result.usage is not None
    return result.usage.input_tokens, result.usage.output_tokens


def _total(usage: Mapping[str, Any]) -> tuple[int, int]:
    read, total = int(usage.get("prompt_tokens") or 0), int(usage.get("total_tokens") or 0)
    # What the total has above the parts is output that the server does not list.
    return read, max(int(usage.get("completion_tokens") or 0), total - read)
