"""Chat-completion chunks, added up to the completion they stand for.

What the chunks of one choice say is merged by the rule of the official SDK
(openai-python `lib/streaming/_deltas.py`): text is appended, objects are merged,
list items meet by their `index`. The sum is a chat completion like any other and
is parsed by the same function, so streamed and whole answers cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from ..errors import InvalidResponseError, ProviderError, StreamInterruptedError
from ..streaming.events import result_events
from ..types import (
    CompletionResult,
    StreamEvent,
    StreamEventType,
    ToolCall,
    ToolCallDelta,
    WireEvent,
)
from ..types._json import Json
from .failures import embedded_error, error_from_json, snippet
from .openai_chat_answer import parse_completion, parse_usage

__all__ = ["ChatStreamDecoder"]

_Event = StreamEventType

# Fields that chunks repeat: the last one holds, where others are appended.
_REPEATED: Final = frozenset({"role", "type", "id", "name", "index", "channel", "format"})
# Padding against length analysis (OpenAI, Mistral); it says nothing.
_PADDING: Final = frozenset({"obfuscation", "p"})
_TOP_LEVEL: Final = frozenset({"choices", "usage", "object"}) | _PADDING


class ChatStreamDecoder:
    """Understands one stream of chunks."""

    def __init__(self, provider: str) -> None:
        """`provider` names the server in errors."""
        self.terminal = False
        self._provider = provider
        self._top: dict[str, Json] = {}
        self._choices: dict[int, _Choice] = {}
        self._whole: CompletionResult | None = None

    def feed(self, event: WireEvent) -> list[StreamEvent]:
        """Return what one chunk means.

        Raises:
            ProviderError: the chunk is an error, or not a chunk.
        """
        data = event.data
        if data.strip() == b"[DONE]":
            self.terminal = True
            return [ended for choice in self._choices.values() for ended in choice.end_call()]
        try:
            chunk = orjson.loads(data)
            if embedded_error(chunk) or (event.event == "error" and isinstance(chunk, Mapping)):
                raise error_from_json(self._provider, chunk, 200)
            return self._chunk(chunk, data)
        except ProviderError:
            raise
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            message = f"not a chat completion chunk ({error}): {snippet(data)}"
            raise InvalidResponseError(message, provider=self._provider, status=200) from error

    def finish(self) -> CompletionResult:
        """Return the whole answer.

        Raises:
            StreamInterruptedError: the stream ended without `[DONE]` and before
                every choice had its `finish_reason`.
            InvalidResponseError: `[DONE]` came without an answer.
        """
        if self._whole is not None:
            return self._whole
        if not self.terminal and not self._finished():
            message = f"the stream ended early, in {len(self._choices)} unfinished choice(s)"
            raise StreamInterruptedError(message, provider=self._provider, retryable=True)
        choices = [self._choices[index].to_dict() for index in sorted(self._choices)]
        completion = {**self._top, "object": "chat.completion", "choices": choices}
        return parse_completion(completion, orjson.dumps(completion), self._provider)

    @property
    def is_whole(self) -> bool:
        """Whether `[DONE]` was seen, or every choice has ended and the usage has come too.

        Some servers (Databricks) never send `[DONE]`; the usage is what comes last.
        """
        return self.terminal or (self._finished() and "usage" in self._top)

    def _finished(self) -> bool:
        return bool(self._choices) and all(
            choice.fields.get("finish_reason") is not None for choice in self._choices.values()
        )

    def _chunk(self, chunk: Mapping[str, Any], data: bytes) -> list[StreamEvent]:
        choices = chunk.get("choices") or []
        if choices and "message" in choices[0] and "delta" not in choices[0]:
            # Some servers ignore `stream` and send the whole completion.
            self._whole = parse_completion(chunk, data, self._provider)
            self.terminal = True
            return result_events(self._whole)
        events: list[StreamEvent] = []
        if not self._top:
            meta = {name: chunk[name] for name in ("id", "model") if chunk.get(name)}
            events.append(StreamEvent(_Event.META, meta))
        for piece in choices:
            index = piece.get("index") or 0
            choice = self._choices.get(index)
            if choice is None:
                choice = self._choices[index] = _Choice(index)
            events.extend(choice.add(piece))
        for name, value in chunk.items():
            if name not in _TOP_LEVEL:
                self._note(name, value, events)
        usage = chunk.get("usage") or (chunk.get("x_groq") or {}).get("usage")
        if usage:
            self._top["usage"] = usage
            events.append(StreamEvent(_Event.USAGE, parse_usage(usage)))
        return events

    def _note(self, name: str, value: Json, events: list[StreamEvent]) -> None:
        known = self._top.get(name)
        if value is None and known is not None:
            return
        self._top[name] = value
        # Safety results, citations and the like appear once, somewhere; ids are repeated.
        if value and value != known and isinstance(value, dict | list):
            events.append(StreamEvent(_Event.META, {name: value}))


class _Choice:
    """One choice, growing."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.message: dict[str, Any] = {"role": "assistant", "content": None}
        self.fields: dict[str, Any] = {"finish_reason": None}
        self.calls: list[dict[str, Any]] = []
        self._numbers: list[Any] = []
        self._open: int | None = None

    def add(self, piece: Mapping[str, Any]) -> Iterator[StreamEvent]:
        """Add what one chunk says of this choice; yield what it means."""
        delta = piece.get("delta") or {}
        yield from self._text(delta)
        for call in delta.get("tool_calls") or ():
            yield from self._call(call)
        _merge(self.message, {k: v for k, v in delta.items() if k != "tool_calls"})
        for name, value in piece.items():
            if name == "logprobs" and value:
                _merge_logprobs(self.fields.setdefault("logprobs", {}), value)
            elif name not in {"index", "delta", "logprobs"} and value is not None:
                self.fields[name] = value
        if piece.get("finish_reason") is not None:
            yield from self.end_call()

    def end_call(self) -> Iterator[StreamEvent]:
        """Close the tool call that is being written, if one is."""
        if self._open is not None:
            call = ToolCall.from_dict(_joined(self.calls[self._open]))
            self._open = None
            yield StreamEvent(_Event.TOOL_CALL_END, call, index=self.index)

    def to_dict(self) -> dict[str, Json]:
        """Return the choice as a whole completion has it."""
        message = {**self.message, "tool_calls": self.calls} if self.calls else self.message
        whole: dict[str, Json] = _joined({"index": self.index, "message": message, **self.fields})
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

    def _call(self, call: Mapping[str, Any]) -> Iterator[StreamEvent]:
        number = self._slot(call)
        begins = number == len(self.calls)
        function = call.get("function") or call.get("custom") or {}
        text = function.get("arguments") or function.get("input") or ""
        if begins:
            yield from self.end_call()
            self._open = number
            self.calls.append({})
            self._numbers.append(call.get("index"))
        _merge(self.calls[number], {k: v for k, v in call.items() if k != "index"})
        delta = ToolCallDelta(number, call.get("id"), function.get("name"), text)
        if begins:
            yield StreamEvent(_Event.TOOL_CALL_START, delta, index=self.index)
        elif text:
            yield StreamEvent(_Event.TOOL_CALL_DELTA, delta, index=self.index)

    def _slot(self, call: Mapping[str, Any]) -> int:
        """Return which of the calls a piece continues; their number when it begins another.

        Gemini numbers all parallel calls 0, or not at all, and sends each whole:
        another id is another call, whatever the index says.
        """
        index, identifier = call.get("index"), call.get("id")
        for number in range(len(self.calls) - 1, -1, -1):
            known = self.calls[number].get("id")
            if identifier and known:
                if identifier == known:
                    return number
            elif index is not None:
                if index == self._numbers[number]:
                    return number
            elif not identifier and not (call.get("function") or {}).get("name"):
                return number
        return len(self.calls)


def _pieces(parts: list[Any]) -> Iterator[tuple[str, str]]:
    """Yield kind and text of content parts (Mistral)."""
    for part in parts:
        if part["type"] == "text":
            yield "text", part["text"]
        elif part["type"] == "thinking":
            inner = part["thinking"]
            yield "thinking", inner if isinstance(inner, str) else "".join(p["text"] for p in inner)


class _Text(list[str]):
    """Pieces of one text, joined at the end: appending strings is quadratic in a long answer."""


def _joined(value: Json) -> Json:
    """Return a copy of what was merged, with every text in one piece."""
    if isinstance(value, _Text):
        return "".join(value)
    if isinstance(value, dict):
        return {name: _joined(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_joined(item) for item in value]
    return value


def _merge(held: dict[str, Any], delta: Mapping[str, Any]) -> None:
    for name, value in delta.items():
        known = held.get(name)
        if value is None:
            held.setdefault(name, None)
        elif known is None:
            held[name] = value
        elif name in _REPEATED:
            held[name] = value or known
        elif isinstance(known, _Text) and isinstance(value, str):
            known.append(value)
        elif isinstance(known, str) and isinstance(value, str):
            held[name] = _Text((known, value))
        elif isinstance(known, dict) and isinstance(value, dict):
            _merge(known, value)
        elif name == "content":
            held[name] = [*_as_parts(known), *_as_parts(value)]
        elif isinstance(known, list) and isinstance(value, list):  # a _Text met `content` above
            _merge_lists(known, value)
        else:
            held[name] = value


def _as_parts(content: Json) -> list[Json]:
    if isinstance(content, list) and not isinstance(content, _Text):
        return content
    return [{"type": "text", "text": content}]


def _merge_lists(held: list[Any], more: list[Any]) -> None:
    for item in more:
        index = item.get("index") if isinstance(item, dict) else None
        twin = None
        if index is not None:
            twin = next((h for h in held if isinstance(h, dict) and h.get("index") == index), None)
        if twin is None:
            held.append(item)
        else:
            _merge(twin, item)


def _merge_logprobs(held: dict[str, Any], more: Mapping[str, Any]) -> None:
    for name, value in more.items():
        if isinstance(value, list):
            held[name] = [*(held.get(name) or []), *value]
        else:
            held.setdefault(name, value)
