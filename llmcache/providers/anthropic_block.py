"""One content block of a streamed Anthropic message, growing event by event.

The rules are the official SDK's (anthropic-python `lib/streaming/_messages.py`,
`_beta_messages.py`): texts are appended, a signature is replaced, citations are
collected, a tool's input is parsed when it is whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import orjson

from ..types import StreamEvent, StreamEventType, ToolCall, ToolCallDelta
from ..types._json import Json
from .anthropic_answer import as_text, input_text
from .growing_text import GrowingText

__all__ = ["StreamedBlock"]

_Event = StreamEventType
# Blocks whose input is streamed as JSON text.
_WITH_INPUT: Final = frozenset({"tool_use", "server_tool_use", "mcp_tool_use"})
# Blocks that say something to the caller which no other event tells.
_PLAIN: Final = frozenset({"text", "thinking", "tool_use"})


class StreamedBlock:
    """What the events so far say of one block."""

    def __init__(self, start: dict[str, Any], number: int) -> None:
        """`start` is the block as it began; `number` counts the tool calls before it."""
        self.closed = False
        self.is_call = start["type"] == "tool_use"
        self._block = start
        self._number = number
        self._kind: str = start["type"]
        self._texts: dict[str, GrowingText] = {}
        self._input: GrowingText | None = None

    @property
    def arguments(self) -> str:
        """The JSON text of a tool's input, as it came."""
        text = "" if self._input is None else str(self._input)
        return text or input_text(self._block["input"])

    def begin(self) -> list[StreamEvent]:
        """Return what the block says as it begins."""
        block = self._block
        if self.is_call:
            delta = ToolCallDelta(self._number, as_text(block["id"]), as_text(block["name"]))
            return [StreamEvent(_Event.TOOL_CALL_START, delta)]
        if self._kind == "text" and block["text"]:
            return [StreamEvent(_Event.TOKEN, as_text(block["text"]))]
        if self._kind == "thinking" and block["thinking"]:
            return [StreamEvent(_Event.REASONING, as_text(block["thinking"]))]
        return []

    def add(self, delta: Mapping[str, Any]) -> list[StreamEvent]:
        """Add one delta, and return what it means; one of a later API is passed by."""
        if self.closed:
            msg = "a delta of a block that has ended"
            raise ValueError(msg)
        kind = delta["type"]
        if kind == "text_delta":
            return self._append("text", delta["text"], _Event.TOKEN)
        if kind == "thinking_delta":
            return self._append("thinking", delta["thinking"], _Event.REASONING)
        if kind == "input_json_delta":
            return self._append_input(delta["partial_json"])
        if kind == "signature_delta":
            self._block["signature"] = as_text(delta["signature"])
        elif kind == "citations_delta":
            if not self._block.get("citations"):
                self._block["citations"] = []
            self._block["citations"].append(delta["citation"])
            return [StreamEvent(_Event.META, {"citations": [delta["citation"]]})]
        elif kind == "compaction_delta":
            self._block.update({k: v for k, v in delta.items() if k != "type"})
        return []

    def close(self) -> list[StreamEvent]:
        """End the block, and return the call that is whole now, or what a server's tool did."""
        if self.closed:
            msg = "a block that ends twice"
            raise ValueError(msg)
        self.closed = True
        block = self._block
        if self.is_call:
            call = ToolCall(block["id"], block["name"], self.arguments)
            return [StreamEvent(_Event.TOOL_CALL_END, call)]
        if self._kind not in _PLAIN:
            return [StreamEvent(_Event.META, {"content_block": self.to_dict()})]
        return []

    def to_dict(self) -> dict[str, Json]:
        """Return the block as a whole message has it."""
        block = {**self._block, **{name: str(text) for name, text in self._texts.items()}}
        if self._input is not None:
            text = str(self._input)
            if text:
                block["input"] = _parsed_input(text)
        return block

    def _append(self, name: str, piece: Json, event: StreamEventType) -> list[StreamEvent]:
        if self._kind != name:
            return []  # the SDK's rule, too
        text = self._texts.get(name)
        if text is None:
            text = self._texts[name] = GrowingText(as_text(self._block[name]))
        if not as_text(piece):
            return []
        text.add(piece)
        return [StreamEvent(event, piece)]

    def _append_input(self, piece: Json) -> list[StreamEvent]:
        if self._kind not in _WITH_INPUT:
            return []
        if self._input is None:
            self._input = GrowingText()
        if not as_text(piece):
            return []
        self._input.add(piece)
        if not self.is_call:
            return []
        return [StreamEvent(_Event.TOOL_CALL_DELTA, ToolCallDelta(self._number, arguments=piece))]


def _parsed_input(text: str) -> Json:
    """Return a tool's input from its JSON text, as far as that goes.

    The token limit may cut it anywhere. Text that is no JSON goes back to the API as
    it wants it: https://docs.claude.com/en/docs/agents-and-tools/tool-use/fine-grained-tool-streaming#handling-invalid-json-in-tool-responses
    """
    try:
        orjson.loads(text)  # is strict where json is not
        value = json.loads(text)  # reads numbers of any size
    except ValueError:
        value = _beginning(text)
    return value if isinstance(value, dict) else {"INVALID_JSON": text}


def _beginning(text: str) -> Json:
    """Return what the beginning of a JSON text says; `None` where it is no beginning."""
    from pydantic_core import from_json  # noqa: PLC0415 - 60 ms that hardly any stream needs

    try:
        value = from_json(text.encode(), allow_inf_nan=False, allow_partial=True)
        json.dumps(value, allow_nan=False)
    except ValueError:
        return None
    return value
