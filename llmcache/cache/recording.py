"""Recording an answer as it comes, and playing a stored one back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator

from ..options import Replay
from ..providers.base import Call, Dialect
from ..providers.failures import identified
from ..providers.http import kept_headers
from ..streaming.events import result_events
from ..types import CacheEntry, CompletionResult, Recording, StreamEvent, StreamEventType, WireEvent

__all__ = ["Recorder", "close", "drain", "live", "parse_entry", "play", "whole"]

# How many events are played before others get a turn on the loop.
_BREATH = 256
# After the terminal marker only the end of the transfer is missing: reading it keeps the
# connection usable. A server that dawdles there is not worth waiting for.
_DRAIN = 0.05


class Recorder:
    """Keeps what a stream sends, up to a ceiling: beyond it the answer passes by unrecorded."""

    def __init__(self, max_bytes: int) -> None:
        """Keep at most `max_bytes` of payloads."""
        self.overflown = False
        self._left = max_bytes
        self._events: list[WireEvent] = []

    def add(self, event: WireEvent) -> None:
        """Keep one event."""
        if self.overflown:
            return
        self._left -= len(event.data)
        if self._left < 0:
            self.overflown = True
            self._events.clear()
        else:
            self._events.append(event)

    def recording(self, stream: AsyncIterator[WireEvent]) -> Recording:
        """Return what was kept of `stream`, with the headers worth keeping, where it has any."""
        headers = kept_headers(dict(getattr(stream, "headers", None) or ()))
        return Recording(events=tuple(self._events), headers=headers)


def parse_entry(entry: CacheEntry, dialect: Dialect) -> CompletionResult:
    """Return the answer that an entry's recording stands for, streamed or not.

    Raises:
        ProviderError: the recording is not an answer of this API.
    """
    recording = entry.recording
    if recording.events is None:
        return dialect.parse(recording.body or b"")
    decoder = dialect.decoder()
    for event in recording.events:
        decoder.feed(event)
    return decoder.finish()


def _stored_events(
    entry: CacheEntry, dialect: Dialect, result: CompletionResult
) -> Iterator[tuple[float, StreamEvent]]:
    """Yield each event of a stored answer with the seconds after which it had arrived."""
    if entry.recording.events is None:
        for event in result_events(result):
            yield 0.0, event
        return
    decoder = dialect.decoder()
    for wire in entry.recording.events:
        for event in decoder.feed(wire):
            yield wire.offset, event


async def play(
    entry: CacheEntry, dialect: Dialect, result: CompletionResult, replay: Replay
) -> AsyncGenerator[StreamEvent, None]:
    """Yield the events of a stored answer, then `DONE` with `result`.

    `replay`: `instant`, `recorded` (with the provider's own pauses), or a number:
    so many times faster than recorded.
    """
    speed = 0.0 if replay == "instant" else 1.0 if replay == "recorded" else float(replay)
    started = time.monotonic()

    async def pause(offset: float) -> None:
        await asyncio.sleep(max(0.0, offset / speed - (time.monotonic() - started)))

    for number, (offset, event) in enumerate(_stored_events(entry, dialect, result), 1):
        if speed:
            await pause(offset)
        elif number % _BREATH == 0:
            await asyncio.sleep(0)
        yield event
    if speed and entry.recording.events:
        await pause(entry.recording.events[-1].offset)
    yield StreamEvent(StreamEventType.DONE, result)


async def drain(stream: AsyncIterator[WireEvent]) -> None:
    """Read what follows the terminal marker, for a moment."""
    try:
        async with asyncio.timeout(_DRAIN):
            async for _ in stream:
                pass
    except Exception:  # noqa: BLE001, S110 - the answer is complete; how the transfer ends is no matter
        pass


async def whole(call: Call) -> CompletionResult:
    """Return the answer to a call that the cache takes no part in.

    Raises:
        ProviderError: the provider failed, or answered what is no answer.
    """
    recording = await call.send()
    with identified(recording):
        return call.dialect.parse(recording.body or b"")


async def live(call: Call) -> AsyncGenerator[StreamEvent, None]:
    """Yield the events of a call that the cache takes no part in; the last is `DONE`."""
    decoder = call.dialect.decoder()
    stream = call.stream()
    with identified(stream):
        try:
            async for wire in stream:
                for event in decoder.feed(wire):
                    yield event
                if decoder.terminal:
                    await drain(stream)
                    break
        finally:
            await close(stream)
        result = decoder.finish()
    yield StreamEvent(StreamEventType.DONE, result)


async def close(stream: AsyncIterator[WireEvent]) -> None:
    """Close an async generator; anything else needs no closing."""
    aclose = getattr(stream, "aclose", None)
    if aclose is not None:
        await aclose()
