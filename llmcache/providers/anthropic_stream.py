"""The events of a streamed Anthropic message, added up to the message they stand for.

The sum is a message like any other and is parsed by the same function, so streamed
and whole answers cannot drift apart.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from ..errors import InvalidResponseError, StreamInterruptedError
from ..streaming.events import result_events
from ..types import CompletionResult, StreamEvent, StreamEventType, WireEvent
from ..types._json import Json
from .anthropic_answer import KIND, parse_message, refusal_text
from .anthropic_block import StreamedBlock
from .failures import MALFORMED, embedded_error, error_from_json, snippet
from .usage import parse_usage

__all__ = ["MessageStreamDecoder"]

_Event = StreamEventType
_Handler = Callable[[Mapping[str, Any], bytes], list[StreamEvent]]
# What `message_delta` says beside the delta and the usage is the message's own.
_NOT_THE_MESSAGE: Final = frozenset({"type", "delta", "usage"})


class MessageStreamDecoder:
    """Understands one stream of named events."""

    def __init__(self, provider: str, origin: str | None = None) -> None:
        """`provider` names the server in errors; `origin` is as in `parse_message`."""
        self.terminal = False
        self._provider = provider
        self._origin = origin
        self._message: dict[str, Any] | None = None
        self._blocks: dict[int, StreamedBlock] = {}
        self._calls = 0
        self._whole: CompletionResult | None = None
        self._handlers: Mapping[Json, _Handler] = {
            "message_start": self._start,
            "content_block_start": self._block_start,
            "content_block_delta": self._block_delta,
            "content_block_stop": self._block_stop,
            "message_delta": self._delta,
            "message_stop": self._stop,
            "message": self._message_itself,
        }

    def feed(self, event: WireEvent) -> list[StreamEvent]:
        """Return what one event means; nothing for pings, and for events of later APIs.

        Raises:
            ProviderError: the event is an error, or not of a message.
        """
        if event.event == "ping":
            return []
        try:
            data = orjson.loads(event.data)
            if embedded_error(data) or event.event == "error":
                raise error_from_json(self._provider, data, 200)
            handler = self._handlers.get(data["type"])
            return [] if handler is None else handler(data, event.data)
        except MALFORMED as error:
            message = f"not an event of a message ({error}): {snippet(event.data)}"
            raise InvalidResponseError(message, provider=self._provider, status=200) from error

    def finish(self) -> CompletionResult:
        """Return the whole answer.

        Raises:
            StreamInterruptedError: the stream ended without `message_stop`.
            InvalidResponseError: the events add up to no message.
        """
        if self._whole is None:
            self._whole = self._finished()
        return self._whole

    @property
    def is_whole(self) -> bool:
        """Whether the message has ended: its reason to stop came, every block closed, and the marker."""
        if self._message is None:
            return self._whole is not None
        ended = bool(self._message.get("stop_reason"))
        return self.terminal and ended and all(block.closed for block in self._blocks.values())

    def _finished(self) -> CompletionResult:
        if not self.terminal or self._message is None:
            message = "the stream ended early, without message_stop"
            raise StreamInterruptedError(message, provider=self._provider, retryable=True)
        try:
            blocks = [self._blocks[index] for index in sorted(self._blocks)]
            # Closed by now in every stream that is whole; another is answered as far as it came.
            texts = {place: block.arguments for place, block in enumerate(blocks) if block.is_call}
            whole = {**self._message, "content": [block.to_dict() for block in blocks]}
            raw = _encoded(whole)
        except MALFORMED as error:
            message = f"events that add up to no message ({error})"
            raise InvalidResponseError(message, provider=self._provider, status=200) from error
        return parse_message(whole, raw, self._provider, texts, self._origin)

    # --- events -------------------------------------------------------------------------

    def _start(self, data: Mapping[str, Any], _: bytes) -> list[StreamEvent]:
        if self._message is not None:
            msg = "a second message_start"
            raise ValueError(msg)
        message = data["message"]
        if message["role"] != "assistant":
            msg = f"the role is {message['role']!r}"
            raise ValueError(msg)
        for index, block in enumerate(message.get("content") or ()):
            self._blocks[index] = StreamedBlock(block, -1)
        self._message = message
        known = {name: message[name] for name in ("id", "model") if message.get(name)}
        return [StreamEvent(_Event.META, known)] if known else []

    def _block_start(self, data: Mapping[str, Any], _: bytes) -> list[StreamEvent]:
        self._started()
        index = data["index"]
        if type(index) is not int or index in self._blocks:
            msg = f"{index!r} is no index of a new block"
            raise ValueError(msg)
        block = StreamedBlock(data["content_block"], self._calls)
        self._blocks[index] = block
        self._calls += block.is_call
        return block.begin()

    def _block_delta(self, data: Mapping[str, Any], _: bytes) -> list[StreamEvent]:
        return self._blocks[data["index"]].add(data["delta"])

    def _block_stop(self, data: Mapping[str, Any], _: bytes) -> list[StreamEvent]:
        return self._blocks[data["index"]].close()

    def _delta(self, data: Mapping[str, Any], _: bytes) -> list[StreamEvent]:
        message = self._started()
        events: list[StreamEvent] = []
        said = {**data["delta"], **{k: v for k, v in data.items() if k not in _NOT_THE_MESSAGE}}
        for name, value in said.items():
            if value is not None or name not in message:
                message[name] = value
        news = {name: value for name, value in said.items() if isinstance(value, dict | list)}
        if news:
            events.append(StreamEvent(_Event.META, news))
        explanation = refusal_text(message)
        if explanation:
            events.append(StreamEvent(_Event.REFUSAL, explanation))
        usage = data.get("usage")
        if usage:
            # Totals so far; what is left out or null stays as `message_start` had it.
            known = message.get("usage") or {}
            message["usage"] = {
                **known,
                **{k: v for k, v in usage.items() if v is not None or k not in known},
            }
            events.append(StreamEvent(_Event.USAGE, parse_usage(message["usage"], KIND)))
        return events

    def _stop(self, _: Mapping[str, Any], __: bytes) -> list[StreamEvent]:
        self._started()
        self.terminal = True
        return []

    def _message_itself(self, data: Mapping[str, Any], raw: bytes) -> list[StreamEvent]:
        """Take the whole message from a server that ignores `stream`."""
        if self._message is not None:
            msg = "a message inside a message"
            raise ValueError(msg)
        self._whole = parse_message(data, raw, self._provider, origin=self._origin)
        self.terminal = True
        return result_events(self._whole)

    def _started(self) -> dict[str, Any]:
        if self._message is None:
            msg = "no message_start yet"
            raise ValueError(msg)
        return self._message


def _encoded(message: Mapping[str, Json]) -> bytes:
    try:
        return orjson.dumps(message)
    except TypeError:  # a tool's input may have numbers of more than 64 bits
        text = json.dumps(message, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return text.encode()
