"""Between an answer and the events that stream it. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from ..types import CompletionResult, StreamEvent, StreamEventType, ToolCall, ToolCallDelta

__all__ = ["fold", "result_events"]

_Event = StreamEventType


def result_events(result: CompletionResult) -> list[StreamEvent]:
    """Return the events that stream `result`, without the closing `DONE`.

    Text comes in one piece: an answer that was not streamed has no pieces to give.
    """
    events: list[StreamEvent] = []
    if result.id or result.model:
        meta = {"id": result.id, "model": result.model}
        events.append(StreamEvent(_Event.META, {k: v for k, v in meta.items() if v}))
    if result.reasoning:
        events.append(StreamEvent(_Event.REASONING, result.reasoning))
    if result.choices:
        for choice in result.choices:
            calls = choice.message.tool_calls or ()
            refusal = choice.message.extra.get("refusal")
            events.extend(_turn(choice.message.text, refusal, calls, choice.index))
    else:
        events.extend(_turn(result.content, result.refusal, result.tool_calls or (), 0))
    if result.usage is not None:
        events.append(StreamEvent(_Event.USAGE, result.usage))
    return events


def _turn(
    content: str | None, refusal: str | None, calls: Iterable[ToolCall], index: int
) -> list[StreamEvent]:
    events = []
    if content:
        events.append(StreamEvent(_Event.TOKEN, content, index=index))
    if refusal:
        events.append(StreamEvent(_Event.REFUSAL, refusal, index=index))
    for number, call in enumerate(calls):
        start = ToolCallDelta(number, call.id, call.name, call.arguments)
        events.append(StreamEvent(_Event.TOOL_CALL_START, start, index=index))
        events.append(StreamEvent(_Event.TOOL_CALL_END, call, index=index))
    return events


def fold(events: Iterable[StreamEvent]) -> CompletionResult:
    """Return the answer that `events` add up to.

    The `DONE` event carries it; without one (a provider of your own, a stream
    that stopped) the first choice's pieces are put together.
    """
    text: list[str] = []
    reasoning: list[str] = []
    refusal: list[str] = []
    calls: list[ToolCall] = []
    usage = None
    for event in events:
        if event.type is _Event.DONE and isinstance(event.data, CompletionResult):
            return event.data
        if event.type is _Event.USAGE:
            usage = event.data
        elif event.index == 0:
            if event.type is _Event.TOKEN:
                text.append(event.data)
            elif event.type is _Event.REASONING:
                reasoning.append(event.data)
            elif event.type is _Event.REFUSAL:
                refusal.append(event.data)
            elif event.type is _Event.TOOL_CALL_END:
                calls.append(event.data)
    return CompletionResult(
        content="".join(text) if text else None,
        tool_calls=tuple(calls) or None,
        usage=usage,
        reasoning="".join(reasoning) or None,
        refusal="".join(refusal) or None,
    )
