"""What Ollama's `/api/chat` and `/api/generate` answer, whole and in lines of JSON.

https://docs.ollama.com/api/chat, https://docs.ollama.com/api/generate. The two differ in
where the text stands: in a `message`, or in `response` beside `thinking`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from ..errors import InvalidResponseError
from ..types import (
    CompletionResult,
    Native,
    Recording,
    StreamEvent,
    StreamEventType,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from ..types._json import FrozenDict, Json, freeze
from .failures import MALFORMED, snippet
from .growing_text import GrowingText
from .http import HTTPReply
from .json_dialect import JSONDialect, JSONStreamDecoder
from .openai_embeddings import recorded
from .usage import parse_usage

__all__ = ["CHAT", "GENERATE", "OLLAMA_KINDS", "OllamaDialect", "ollama_vectors"]

_Event = StreamEventType

CHAT: Final = "ollama.chat"
GENERATE: Final = "ollama.generate"
OLLAMA_KINDS: Final = frozenset({CHAT, GENERATE})
_MODELED: Final = frozenset({"role", "content", "thinking", "tool_calls"})
_SUMMED: Final = frozenset({"message", "response", "thinking", "logprobs", "created_at"})
_EMPTY: Final = FrozenDict()


class OllamaDialect(JSONDialect):
    """Understands chat, or (`kind` is `ollama.generate`) generate."""

    def __init__(self, kind: str = CHAT, provider: str = "ollama") -> None:
        """`provider` names the server in errors and price look-ups."""
        super().__init__(provider)
        self.kind = kind

    def answer(self, data: Json, raw: bytes) -> CompletionResult:
        """Return what an answer says; one that is not `done` is none."""
        if data["done"] is not True:
            msg = "done is not true"
            raise ValueError(msg)
        message = data["message"] if self.kind == CHAT else _generated(data)
        calls = tool_calls(message.get("tool_calls") or (), data.get("created_at"))
        beside = {k: v for k, v in message.items() if v and k not in _MODELED}
        logprobs = data.get("logprobs")
        return CompletionResult.of(
            content=_text(message.get("content")),
            tool_calls=calls or None,
            usage=_usage(data),
            reasoning=_text(message.get("thinking")) or None,
            model=_text(data.get("model")),
            finish_reason=_text(data.get("done_reason")) or None,
            logprobs=freeze(logprobs) if logprobs else None,
            extra=FrozenDict(beside) if beside else _EMPTY,
            native=Native(CHAT, message, self.provider) if self.kind == CHAT else None,
            raw_json=raw,
        )

    def decoder(self) -> JSONStreamDecoder:
        """Return a decoder for one stream of lines."""
        return _ChatLines(self) if self.kind == CHAT else _GenerateLines(self)


def _generated(data: Mapping[str, Any]) -> dict[str, Json]:
    """Return what `/api/generate` answered as a chat's message; an image model answers an image."""
    message = {"content": data.get("response"), "thinking": data.get("thinking")}
    image = data.get("image")
    return {**message, "images": [image]} if image else message


def _text(value: Json) -> str | None:
    if value is not None and type(value) is not str:
        msg = f"{type(value).__name__} where text belongs"
        raise TypeError(msg)
    return value


def _usage(data: Mapping[str, Any]) -> Usage | None:
    """Return the tokens read and written; `None` where the answer counts neither."""
    known = data.get("prompt_eval_count") is not None or data.get("eval_count") is not None
    return parse_usage(data, CHAT) if known else None


def tool_calls(
    calls: Sequence[Mapping[str, Any]], created_at: Json, start: int = 0
) -> tuple[ToolCall, ...]:
    """Return the calls of a message; one that the server gave no id gets one.

    It is made of the answer's moment, the call's place and the call itself: the same
    for the same answer whenever it is read, another in another turn.
    """
    return tuple(_tool_call(call, number, created_at) for number, call in enumerate(calls, start))


def _tool_call(call: Mapping[str, Any], number: int, created_at: Json) -> ToolCall:
    read = ToolCall.from_dict({"type": "function", "function": call["function"]})
    identifier = call.get("id")
    if not identifier:
        text = orjson.dumps([created_at, number, read.name, read.arguments])
        identifier = f"call_{hashlib.sha256(text).hexdigest()[:24]}"
    return ToolCall(str(identifier), read.name, read.arguments)


class _Lines(JSONStreamDecoder):
    """The lines so far of one answer."""

    def __init__(self, dialect: OllamaDialect) -> None:
        super().__init__(dialect)
        self._first: Mapping[str, Any] | None = None
        self._last: Mapping[str, Any] = {}
        self._content: GrowingText | None = None
        self._thinking: GrowingText | None = None
        self._logprobs: list[Json] = []

    def _line(self, line: Mapping[str, Any], said: Mapping[str, Any]) -> list[StreamEvent]:
        """Return what a line says beside tool calls; `said` is the part with the text."""
        events: list[StreamEvent] = []
        if self._first is None:
            self._first = line
            if line.get("model"):
                events.append(StreamEvent(_Event.META, {"model": _text(line["model"])}))
        thinking = _text(said.get("thinking"))
        if thinking:
            self._thinking = self._thinking or GrowingText()
            self._thinking.add(thinking)
            events.append(StreamEvent(_Event.REASONING, thinking))
        return events

    def _close(self, line: Mapping[str, Any], events: list[StreamEvent]) -> list[StreamEvent]:
        """Add what comes last in a line: the odds of its tokens, the end of the stream."""
        if line.get("logprobs"):
            self._logprobs.extend(line["logprobs"])
        if "completed" in line:  # how far an image is
            progress = {name: line.get(name) for name in ("completed", "total")}
            events.append(StreamEvent(_Event.META, progress))
        done = line.get("done")
        if done is True:
            self.terminal = True
            self._last = line
            usage = _usage(line)
            if usage is not None:
                events.append(StreamEvent(_Event.USAGE, usage))
        elif done is not None and done is not False:
            msg = f"done is {done!r}"
            raise ValueError(msg)
        return events

    def _say(self, content: Json, events: list[StreamEvent]) -> None:
        if content is not None:
            self._content = self._content or GrowingText()
            self._content.add(content if type(content) is str else _text(content) or "")
            if content:
                events.append(StreamEvent(_Event.TOKEN, content))

    def _sum(self) -> dict[str, Json]:
        """Return what is said once, and the moment of the first line, of which ids are made."""
        first = self._first or {}
        top = {name: value for name, value in self._last.items() if name not in _SUMMED}
        if "created_at" in first:
            top["created_at"] = first["created_at"]
        if self._logprobs:
            top["logprobs"] = self._logprobs
        return top


class _ChatLines(_Lines):
    """Lines with a `message` each; a tool call comes whole."""

    def __init__(self, dialect: OllamaDialect) -> None:
        super().__init__(dialect)
        self._calls: list[Mapping[str, Any]] = []
        self._message: dict[str, Json] = {"role": "assistant"}

    def piece(self, data: Json) -> list[StreamEvent]:
        """Return what one line means."""
        message = data.get("message") or {}
        events = self._line(data, message)
        self._say(message.get("content"), events)
        for field, value in message.items():
            if field == "tool_calls":
                self._call(value or (), events)
            elif field == "images" and value:
                self._message.setdefault("images", []).extend(value)
            elif field not in _MODELED or field == "role":
                self._message[field] = value
        return self._close(data, events)

    def _call(self, calls: Sequence[Mapping[str, Any]], events: list[StreamEvent]) -> None:
        count = len(self._calls)
        moment = (self._first or {}).get("created_at")
        for number, call in enumerate(tool_calls(calls, moment, count), count):
            start = ToolCallDelta(number, call.id, call.name, call.arguments)
            events.append(StreamEvent(_Event.TOOL_CALL_START, start))
            events.append(StreamEvent(_Event.TOOL_CALL_END, call))
        self._calls.extend(calls)

    def whole(self) -> Json:
        """Return the answer as `/api/chat` gives it when it is not streamed."""
        message = dict(self._message)
        if self._content is not None:
            message["content"] = str(self._content)
        if self._thinking is not None:
            message["thinking"] = str(self._thinking)
        if self._calls:
            message["tool_calls"] = self._calls
        return {**self._sum(), "message": message}


class _GenerateLines(_Lines):
    """Lines with a piece of the `response` each."""

    def piece(self, data: Json) -> list[StreamEvent]:
        """Return what one line means."""
        events = self._line(data, data)
        self._say(data.get("response"), events)
        return self._close(data, events)

    def whole(self) -> Json:
        """Return the answer as `/api/generate` gives it when it is not streamed."""
        top = self._sum()
        if self._content is not None:
            top["response"] = str(self._content)
        if self._thinking is not None:
            top["thinking"] = str(self._thinking)
        return top


def ollama_vectors(reply: HTTPReply, inputs: Sequence[Json], provider: str) -> list[Recording]:
    """Return a recording per input from `/api/embed`'s response, in the order of the inputs.

    A single vector in `embedding`, as the older `/api/embeddings` has it, is read too.

    Raises:
        InvalidResponseError: not embeddings, or not as many as there were inputs.
    """
    try:
        data = orjson.loads(reply.body)
        vectors = data["embeddings"] if "embeddings" in data else [data["embedding"]]
        tokens = data.get("prompt_eval_count")
        return recorded(vectors, data.get("model"), {"prompt_tokens": tokens}, inputs, reply)
    except MALFORMED as error:
        message = f"not embeddings ({error}): {snippet(reply.body)}"
        raise InvalidResponseError(message, provider=provider, status=reply.status) from error
