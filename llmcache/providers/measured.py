"""A stream that measures itself."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Self

from ..backends._closing import AsyncClosing
from ..stats import CallStats
from ..types import StreamEvent, StreamEventType

__all__ = ["MeasuredStream"]


class MeasuredStream(AsyncClosing):
    """The events of a stream; `stats` is complete when they have come to an end.

        async with provider.stream_with_stats("Hello") as events:
            async for event in events:
                ...
        print(events.stats.time_to_first_token_ms)

    The clock runs from the first event that is asked for. Who stops reading has the
    figures so far.
    """

    def __init__(self, events: AsyncGenerator[StreamEvent, None], stats: CallStats) -> None:
        """Measure `events` into `stats`."""
        self.stats = stats
        self._events = events
        self._begun = False

    def __aiter__(self) -> Self:
        """Return self: a stream is read once."""
        return self

    async def __anext__(self) -> StreamEvent:
        """Return the next event.

        Raises:
            ProviderError and others: as the stream's.
        """
        if not self._begun:
            self._begun = True
            self.stats.record_start()
        try:
            event = await anext(self._events)
        except BaseException:
            self._end()
            raise
        if event.type is StreamEventType.DONE:
            self._end()
            self.stats.record_result(event.data)
        else:
            self.stats.record_event(event.type)
        return event

    async def aclose(self) -> None:
        """Close the stream; what it measured so far stays."""
        if self._begun:
            self._end()
        await self._events.aclose()

    def _end(self) -> None:
        if not self.stats.has_ended:
            self.stats.record_end()
