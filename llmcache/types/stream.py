"""Events of a streamed answer."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ._json import Json
from .messages import ToolCall, ToolCallDelta
from .results import CompletionResult
from .usage import Usage

__all__ = ["StreamEvent", "StreamEventType", "format_sse_event"]


class StreamEventType(StrEnum):
    """What an event carries in `data`."""

    TOKEN = "token"  # noqa: S105 - a token of text
    """str: a piece of the answer's text."""
    REASONING = "reasoning"
    """str: a piece of the model's reasoning."""
    REFUSAL = "refusal"
    """str: a piece of a refusal."""
    TOOL_CALL_START = "tool_call_start"
    """ToolCallDelta: a tool call begins; has its name, and its id where the server gives one."""
    TOOL_CALL_DELTA = "tool_call_delta"
    """ToolCallDelta: more of its arguments."""
    TOOL_CALL_END = "tool_call_end"
    """ToolCall: complete."""
    META = "meta"
    """dict: whatever else the provider says (id, model, safety results)."""
    USAGE = "usage"
    """Usage."""
    DONE = "done"
    """CompletionResult: the whole answer; always the last event of a complete stream."""
    ERROR = "error"
    """dict with `status` and `error`; the typed exception follows it."""


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One event. `index` is the choice it belongs to; `timestamp` is Unix seconds."""

    type: StreamEventType
    data: Any = None
    timestamp: float = field(default_factory=time.time, compare=False)
    index: int = 0

    def to_sse(self) -> str:
        r"""Return the event as server-sent-events text, such as `event: token\ndata: Hello\n\n`."""
        return format_sse_event(self.type.value, self.json_data())

    def json_data(self) -> Json:
        """Return `data` as plain JSON."""
        to_dict = getattr(self.data, "to_dict", None)
        return self.data if to_dict is None else to_dict()

    def to_dict(self) -> dict[str, Json]:
        """Return the event as JSON."""
        return {
            "type": self.type.value,
            "data": self.json_data(),
            "timestamp": self.timestamp,
            "index": self.index,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Json]) -> StreamEvent:
        """Return the event that `to_dict` described."""
        kind = StreamEventType(data["type"])
        payload = data.get("data")
        parse = _PAYLOADS.get(kind)
        return cls(
            kind,
            payload if parse is None or payload is None else parse(payload),
            data["timestamp"],
            data.get("index", 0),
        )


_PAYLOADS: Mapping[StreamEventType, Any] = {
    StreamEventType.TOOL_CALL_START: lambda d: ToolCallDelta(**d),
    StreamEventType.TOOL_CALL_DELTA: lambda d: ToolCallDelta(**d),
    StreamEventType.TOOL_CALL_END: ToolCall.from_dict,
    StreamEventType.USAGE: Usage.from_dict,
    StreamEventType.DONE: CompletionResult.from_dict,
}


def format_sse_event(event: str, data: Json) -> str:
    r"""Return one server-sent event; text goes as it is, anything else as JSON.

    Every line of the data gets its own `data:` field, as the specification asks
    (https://html.spec.whatwg.org/multipage/server-sent-events.html), so a client
    joins them back to the same text.
    """
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    # A lone CR also ends a line for an SSE client: it cannot travel inside a field.
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return f"event: {event}\n" + "".join(f"data: {line}\n" for line in lines) + "\n"
