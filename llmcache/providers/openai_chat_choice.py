"""One choice of a streamed chat completion, growing chunk by chunk."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from ..types import StreamEvent, StreamEventType, ToolCallDelta
from ..types._json import Json
from .openai_chat_answer import named_calls
from .openai_chat_merge import joined, merge, merge_logprobs

__all__ = ["StreamedChoice"]

_Event = StreamEventType

# Parts of a chunk's choice that are not simply replaced by the next chunk's.
_MERGED: Final = frozenset({"index", "delta", "logprobs"})


class StreamedChoice:
    """What the chunks so far say of one choice."""

    def __init__(self, index: int) -> None:
        """`index` is the choice's number."""
        self.index = index
        self._message: dict[str, Any] = {"role": "assistant", "content": None}
        self._fields: dict[str, Any] = {"finish_reason": None}
        self._calls: list[dict[str, Any]] = []
        self._by_id: dict[Any, int] = {}
        self._by_index: dict[Any, int] = {}
        self._closed = 0

    @property
    def has_ended(self) -> bool:
        """Whether the choice has its `finish_reason`; an empty one (Snowflake) is none."""
        return bool(self._fields["finish_reason"])

    def add(self, piece: Mapping[str, Any], answer: Json) -> Iterator[StreamEvent]:
        """Add what one chunk says of this choice, taking it over; yield what it means.

        `answer` is the answer's id.
        """
        delta = piece.get("delta") or {}
        yield from self._text(delta)
        for call in delta.pop("tool_calls", None) or ():
            yield from self._call(call)
        if delta.get("function_call"):
            yield from self._legacy_call(delta["function_call"])
        merge(self._message, delta)
        for name, value in piece.items():
            if name == "logprobs" and value:
                merge_logprobs(self._fields.setdefault("logprobs", {}), value)
            elif value is not None and name not in _MERGED and (value or name not in self._fields):
                self._fields[name] = value  # but what is empty does not undo what was said
        if piece.get("finish_reason"):
            yield from self.close_calls(answer)

    def close_calls(self, answer: Json) -> Iterator[StreamEvent]:
        """Close the tool calls that are open.

        That is when the choice or the stream ends, and not before: the pieces of
        parallel calls may interleave.
        """
        legacy = None if self._calls or self._closed else self._message.get("function_call")
        if self._closed < len(self._calls) or legacy:
            whole = joined({"tool_calls": self._calls, "function_call": legacy})
            for call in (named_calls(whole, answer, self.index) or ())[self._closed :]:
                self._closed += 1
                yield StreamEvent(_Event.TOOL_CALL_END, call, index=self.index)

    def to_dict(self) -> dict[str, Json]:
        """Return the choice as a whole completion has it."""
        message = {**self._message, "tool_calls": self._calls} if self._calls else self._message
        whole: dict[str, Json] = joined({"index": self.index, "message": message, **self._fields})
        return whole

    def _text(self, delta: Mapping[str, Any]) -> Iterator[StreamEvent]:
        reasoning = delta.get("reasoning_content") or delta.get("reasoning")
        if isinstance(reasoning, str) and reasoning:
            yield StreamEvent(_Event.REASONING, reasoning, index=self.index)
        content = delta.get("content")
        for kind, text in _pieces(content) if isinstance(content, list) else [("text", content)]:
            if text:
                event = _Event.TOKEN if kind == "text" else _Event.REASONING
                yield StreamEvent(event, text, index=self.index)
        if delta.get("refusal"):
            yield StreamEvent(_Event.REFUSAL, delta["refusal"], index=self.index)

    def _call(self, piece: dict[str, Any]) -> Iterator[StreamEvent]:
        function = piece.get("function") or piece.get("custom") or {}
        number = self._place(piece, function)
        begins = number == len(self._calls)
        identifier, index = piece.get("id"), piece.pop("index", None)
        if begins:
            self._calls.append({})
            if index is not None:
                self._by_index[index] = number
        if identifier:
            self._by_id[identifier] = number
        merge(self._calls[number], piece)
        text = _argument_text(function)
        delta = ToolCallDelta(number, identifier, function.get("name"), text)
        if begins:
            yield StreamEvent(_Event.TOOL_CALL_START, delta, index=self.index)
        elif text:
            yield StreamEvent(_Event.TOOL_CALL_DELTA, delta, index=self.index)

    def _place(self, piece: Mapping[str, Any], function: Mapping[str, Any]) -> int:
        """Return which of the calls a piece continues; their number when it begins another.

        Gemini numbers all parallel calls 0, or not at all, and sends each whole:
        another id is another call, whatever the index says, and so is another name.
        """
        identifier, index, name = piece.get("id"), piece.get("index"), function.get("name")
        count = len(self._calls)
        if identifier and identifier in self._by_id:
            return self._by_id[identifier]
        if index is not None:
            number = self._by_index.get(index, count)
        else:
            number = count if identifier or name else max(0, count - 1)
        if number < count:
            known = self._calls[number]
            if (identifier and known.get("id")) or (name and _is_another(function, known)):
                return count
        return number

    def _legacy_call(self, piece: Mapping[str, Any]) -> Iterator[StreamEvent]:
        """Report a piece of a `function_call`; a choice has one, and servers may send it nameless."""
        known = self._message.get("function_call") or {}
        delta = ToolCallDelta(0, None, piece.get("name"), _argument_text(piece))
        if known.get("name"):
            if delta.arguments:
                yield StreamEvent(_Event.TOOL_CALL_DELTA, delta, index=self.index)
        elif delta.name:
            yield StreamEvent(_Event.TOOL_CALL_START, delta, index=self.index)


def _pieces(parts: list[Any]) -> Iterator[tuple[str, str]]:
    """Yield kind and text of content parts (Mistral)."""
    for part in parts:
        if part["type"] == "text":
            yield "text", part["text"]
        elif part["type"] == "thinking":
            inner = part["thinking"]
            yield "thinking", inner if isinstance(inner, str) else "".join(p["text"] for p in inner)


def _argument_text(function: Mapping[str, Any]) -> str:
    value = function.get("arguments") or function.get("input") or ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _is_another(function: Mapping[str, Any], call: Mapping[str, Any]) -> bool:
    """Whether a named function in the place of `call` is not its next piece but a call beside it."""
    known = call.get("function") or call.get("custom") or {}
    if not known.get("name") or known["name"] != function["name"]:
        return bool(known.get("name"))
    # Servers that repeat the name with every piece do not send the whole twice.
    return _is_whole(function.get("arguments")) and _is_whole(known.get("arguments"))


def _is_whole(arguments: Json) -> bool:
    if not isinstance(arguments, str):
        return isinstance(arguments, dict)
    try:
        return isinstance(orjson.loads(arguments), dict)
    except orjson.JSONDecodeError:
        return False
