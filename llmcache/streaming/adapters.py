"""Streams for web servers, callbacks and buffers.

Adapters take any async iterator of `StreamEvent`, from a provider or an agent.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeAlias

from ..types import CompletionResult, StreamEvent, StreamEventType, ToolCall, Usage
from .events import fold

__all__ = [
    "BufferingAdapter",
    "CallbackAdapter",
    "SSEAdapter",
    "collect_stream",
    "stream_to_string",
]

Events: TypeAlias = AsyncIterator[StreamEvent]
Callback: TypeAlias = Callable[[Any], Awaitable[None] | None]
_Event = StreamEventType


class SSEAdapter:
    """Turns events into server-sent-events text, for a web framework's streaming response."""

    async def transform(self, events: Events) -> AsyncIterator[str]:
        r"""Yield one block of text per event, such as `event: token\ndata: Hello\n\n`."""
        async with _closing(events):
            async for event in events:
                yield event.to_sse()


class CallbackAdapter:
    """Calls a function, plain or async, for each kind of event."""

    def __init__(  # noqa: PLR0913 - one callback per kind of event
        self,
        *,
        on_token: Callback | None = None,
        on_reasoning: Callback | None = None,
        on_refusal: Callback | None = None,
        on_tool_start: Callback | None = None,
        on_tool_delta: Callback | None = None,
        on_tool_end: Callback | None = None,
        on_meta: Callback | None = None,
        on_usage: Callback | None = None,
        on_done: Callback | None = None,
        on_error: Callback | None = None,
    ) -> None:
        """Name the functions; each gets the event's data."""
        named = {
            _Event.TOKEN: on_token,
            _Event.REASONING: on_reasoning,
            _Event.REFUSAL: on_refusal,
            _Event.TOOL_CALL_START: on_tool_start,
            _Event.TOOL_CALL_DELTA: on_tool_delta,
            _Event.TOOL_CALL_END: on_tool_end,
            _Event.META: on_meta,
            _Event.USAGE: on_usage,
            _Event.DONE: on_done,
            _Event.ERROR: on_error,
        }
        self._callbacks = {kind: call for kind, call in named.items() if call is not None}

    async def consume(self, events: Events) -> None:
        """Read all events; an error is raised after `on_error` was called."""
        async with _closing(events):
            async for event in events:
                callback = self._callbacks.get(event.type)
                if callback is not None:
                    outcome = callback(event.data)
                    if inspect.isawaitable(outcome):
                        await outcome


class BufferingAdapter:
    """Passes events on and keeps what they add up to."""

    def __init__(self) -> None:
        """Start empty."""
        self.events: list[StreamEvent] = []

    async def wrap(self, events: Events) -> AsyncIterator[StreamEvent]:
        """Yield the events."""
        async with _closing(events):
            async for event in events:
                self.events.append(event)
                yield event

    @property
    def content(self) -> str:
        """The text so far."""
        return self.get_result().content or ""

    @property
    def reasoning(self) -> str:
        """The reasoning so far."""
        return self.get_result().reasoning or ""

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The complete tool calls so far."""
        return list(self.get_result().tool_calls or ())

    @property
    def usage(self) -> Usage | None:
        """The usage, once it is known."""
        return self.get_result().usage

    def get_result(self) -> CompletionResult:
        """Return the answer, or what there is of it."""
        return fold(self.events)


async def collect_stream(events: Events) -> CompletionResult:
    """Return the answer that a stream adds up to."""
    buffer = BufferingAdapter()
    async for _ in buffer.wrap(events):
        pass
    return buffer.get_result()


async def stream_to_string(events: Events) -> str:
    """Return the text of a streamed answer."""
    return (await collect_stream(events)).content or ""


def _closing(events: Events) -> Any:
    """Close a generator when its reader stops early; another iterator has nothing to close."""
    closable: Any = events
    return aclosing(closable) if hasattr(events, "aclose") else _Open()


class _Open:
    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, *_: object) -> None:
        return None
