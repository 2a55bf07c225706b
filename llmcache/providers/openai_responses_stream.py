"""The events of a streamed response, and the response that they end with.

The last event carries the whole response, which is parsed as one that was not
streamed: the two cannot drift apart. Where a server leaves the output out of it, the
items that were sent stand in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

import orjson

from ..errors import InvalidResponseError, StreamInterruptedError
from ..streaming.events import result_events
from ..types import CompletionResult, StreamEvent, StreamEventType, ToolCallDelta, WireEvent
from ..types._json import Json
from .failures import MALFORMED, embedded_error, error_from_json, snippet
from .openai_responses_answer import (
    BETWEEN,
    CALLS,
    parse_response,
    response_failure,
    tool_call,
)
from .openai_responses_echo import members
from .openai_responses_items import Items

__all__ = ["ResponseStreamDecoder"]

_Event = StreamEventType

_PARAGRAPH: Final = ("output_index", "content_index", "summary_index")
_TOLD_BEFORE: Final = frozenset(
    "response.content_part.added response.content_part.done response.output_text.done "
    "response.refusal.done response.reasoning_text.done response.reasoning_summary_text.done "
    "response.reasoning_summary_part.added response.reasoning_summary_part.done "
    "response.function_call_arguments.done response.custom_tool_call_input.done".split()
)
"""Events that only repeat or frame what others say."""


class ResponseStreamDecoder:
    """Understands one stream of events."""

    def __init__(self, provider: str, origin: str | None = None) -> None:
        """`provider` names the server in errors; `origin` is as in `parse_response`."""
        self.terminal = False
        self._provider = provider
        self._origin = origin
        self._top: dict[str, Json] = {}
        self._items = Items()
        self._numbers: dict[int, int] = {}
        self._closed: set[int] = set()
        self._thought: tuple[Any, ...] | None = None
        self._whole: CompletionResult | None = None

    def feed(self, event: WireEvent) -> list[StreamEvent]:
        """Return what one event means; those of a kind that nobody knows pass as `META`.

        Raises:
            ProviderError: the event is an error, a failed response, or no event.
        """
        data = event.data
        if self.terminal or data.strip() == b"[DONE]":  # OpenRouter
            self.terminal = True
            return []
        try:
            told = orjson.loads(data)
            kind = told.get("type")
            if kind is None and event.event:
                kind = told["type"] = event.event
            if kind == "error" or "error" in told:
                self._raise_error(told, kind)
            handle = self._HANDLERS.get(kind)
            if handle is not None:
                return handle(self, told, data)
            return self._rest(kind, told, data)
        except MALFORMED as error:
            message = f"not an event of a response ({error}): {snippet(data)}"
            raise InvalidResponseError(message, provider=self._provider, status=200) from error

    def finish(self) -> CompletionResult:
        """Return the whole answer.

        Raises:
            StreamInterruptedError: the stream ended before the response did.
        """
        if self._whole is None:
            message = "the stream ended before the response was complete"
            raise StreamInterruptedError(message, provider=self._provider, retryable=True)
        return self._whole

    @property
    def is_whole(self) -> bool:
        """Whether the response has come to its end."""
        return self._whole is not None

    def _raise_error(self, told: Mapping[str, Any], kind: str | None) -> None:
        if embedded_error(told):
            raise error_from_json(self._provider, told, 200)
        if kind == "error":  # the fields beside `type`, which is the event's
            fields = {name: told.get(name) for name in ("code", "message", "param")}
            raise error_from_json(self._provider, {"error": fields}, 200)

    # --- the response -------------------------------------------------------------------

    def _begins(self, told: Mapping[str, Any], _data: bytes) -> list[StreamEvent]:
        response = told["response"]
        known = {name: response[name] for name in ("id", "model") if response.get(name)}
        news = {name: value for name, value in known.items() if self._top.get(name) != value}
        self._top.update(response)
        return [StreamEvent(_Event.META, news)] if news else []

    def _ends(self, told: Mapping[str, Any], data: bytes) -> list[StreamEvent]:
        response = told["response"]
        if response.get("output") or (self._items.are_none and "output" in response):
            whole, raw = response, _own_bytes(data)
        else:
            whole = {**self._top, **response, "output": self._items.whole()}
            raw = orjson.dumps(whole)
        whole.setdefault("status", told["type"].rpartition(".")[2])
        self._whole = parse_response(whole, raw, self._provider, self._origin)
        self.terminal = True
        if self._items.are_none:  # all that was sent is this one event
            return result_events(self._whole)
        events = self._late_calls(whole["output"])
        usage = self._whole.usage
        return [*events, StreamEvent(_Event.USAGE, usage)] if usage else events

    def _late_calls(self, output: list[Any]) -> list[StreamEvent]:
        """Return the events of calls whose own end was not sent."""
        late = [
            (place, item)
            for place, item in enumerate(output)
            if item.get("type") in CALLS and place not in self._closed
        ]
        return [
            event
            for place, item in late
            for event in self._call_ends(place, item, known=place in self._numbers)
        ]

    def _fails(self, told: Mapping[str, Any], _data: bytes) -> list[StreamEvent]:
        raise response_failure(told["response"], self._provider)

    # --- its items ----------------------------------------------------------------------

    def _item_begins(self, told: Mapping[str, Any], _data: bytes) -> list[StreamEvent]:
        item, place = told["item"], told["output_index"]
        if item is None:  # an index without an item
            return []
        self._items.add(place, item)
        return self._call_begins(place, item) if item.get("type") in CALLS else []

    def _item_ends(self, told: Mapping[str, Any], _data: bytes) -> list[StreamEvent]:
        item, place = told["item"], told["output_index"]
        known = self._items.close(place, item)
        if item.get("type") in CALLS:
            return self._call_ends(place, item, known=known and place in self._numbers)
        said = item.get("type") in {"message", "reasoning"}
        return [] if said else [StreamEvent(_Event.META, told)]

    def _call_begins(self, place: int, item: Mapping[str, Any]) -> list[StreamEvent]:
        number = self._numbers.setdefault(place, len(self._numbers))
        call = tool_call({"arguments": "", "input": "", **item})
        delta = ToolCallDelta(number, call.id, call.name, call.arguments)
        return [StreamEvent(_Event.TOOL_CALL_START, delta)]

    def _call_ends(self, place: int, item: Mapping[str, Any], *, known: bool) -> list[StreamEvent]:
        self._closed.add(place)
        events = [] if known else self._call_begins(place, item)
        return [*events, StreamEvent(_Event.TOOL_CALL_END, tool_call(item))]

    def _arguments(self, told: Mapping[str, Any], _data: bytes) -> list[StreamEvent]:
        text = self._items.grow(told)
        number = self._numbers.get(told["output_index"])
        if number is None or not text:
            return []
        return [StreamEvent(_Event.TOOL_CALL_DELTA, ToolCallDelta(number, arguments=text))]

    def _says(self, told: Mapping[str, Any], _data: bytes) -> list[StreamEvent]:
        text = self._items.grow(told)
        return [StreamEvent(_Event.TOKEN, text)] if text else []

    def _refuses(self, told: Mapping[str, Any], _data: bytes) -> list[StreamEvent]:
        text = self._items.grow(told)
        return [StreamEvent(_Event.REFUSAL, text)] if text else []

    def _thinks(self, told: Mapping[str, Any], _data: bytes) -> list[StreamEvent]:
        text = self._items.grow(told)
        if not text:
            return []
        paragraph = tuple(told.get(name) for name in _PARAGRAPH)
        is_next = self._thought is not None and self._thought != paragraph
        self._thought = paragraph
        return [StreamEvent(_Event.REASONING, f"{BETWEEN}{text}" if is_next else text)]

    def _nothing(self, _told: Mapping[str, Any], _data: bytes) -> list[StreamEvent]:
        return []

    def _rest(self, kind: Json, told: dict[str, Any], data: bytes) -> list[StreamEvent]:
        if kind is None and "output" in told:
            # Some servers ignore `stream` and send the whole response.
            self._whole = parse_response(told, data, self._provider, self._origin)
            self.terminal = True
            return result_events(self._whole)
        if not isinstance(kind, str):
            msg = "an event without a type"
            raise TypeError(msg)
        told.pop("obfuscation", None)
        return [StreamEvent(_Event.META, told)]

    _HANDLERS: ClassVar[Mapping[Any, Callable[[Any, Any, bytes], list[StreamEvent]]]] = {
        "response.created": _begins,
        "response.queued": _begins,
        "response.in_progress": _begins,
        "response.completed": _ends,
        "response.incomplete": _ends,
        "response.failed": _fails,
        "response.output_item.added": _item_begins,
        "response.output_item.done": _item_ends,
        "response.output_text.delta": _says,
        "response.refusal.delta": _refuses,
        "response.reasoning_text.delta": _thinks,
        "response.reasoning_summary_text.delta": _thinks,
        "response.function_call_arguments.delta": _arguments,
        "response.custom_tool_call_input.delta": _arguments,
        **dict.fromkeys(_TOLD_BEFORE, _nothing),
    }


def _own_bytes(data: bytes) -> bytes:
    """Return the response inside an event as the server wrote it."""
    text = data.decode()
    spans = [(start, end) for name, start, end in members(text) if name == "response"]
    start, end = spans[-1]
    return text[start:end].encode()
