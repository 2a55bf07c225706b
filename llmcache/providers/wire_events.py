"""The events of a response, as they arrive."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Coroutine, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

from ..errors import InvalidResponseError
from ..types import WireEvent
from ..types._json import Json
from .delivery import Delivery
from .failures import identified, snippet
from .http import HTTPStream
from .sse import NDJSONDecoder, ServerSentEvent, SSEDecoder

__all__ = ["EventStream", "wire_events"]

_MAX_WHOLE_BODY: Final = 64 * 2**20


class EventStream(AsyncGenerator[WireEvent, None]):
    """The events of the answer to `body`, with the seconds since it was sent.

    `headers` are the response's, as soon as there is one. No credential in `asked`, the
    request itself, shows in an error. `provider` names the server in errors; `lines` as
    in `wire_events`.
    """

    __slots__ = ("_events", "headers")

    def __init__(
        self,
        delivery: Delivery,
        body: Mapping[str, Json],
        asked: Mapping[str, Json],
        provider: str,
        *,
        lines: bool = False,
    ) -> None:
        """Send nothing yet: the first event that is asked for does."""
        self.headers: dict[str, str] = {}

        async def events() -> AsyncGenerator[WireEvent, None]:
            started = time.monotonic()
            with delivery.redaction(asked):
                stream = await delivery.stream(body)
                headers.update(stream.headers)
                found = wire_events(stream, started, provider, lines=lines)
                try:
                    with identified(stream):
                        async with aclosing(found):
                            async for event in found:
                                yield event
                finally:
                    await asyncio.shield(stream.aclose())

        headers = self.headers  # and not `self`: who drops a stream has it closed at once
        self._events = events()

    def __anext__(self) -> Coroutine[Any, Any, WireEvent]:
        """Return the next event; raises `ProviderError`."""
        return self._events.__anext__()

    async def asend(self, value: None) -> WireEvent:
        """Return the next event."""
        return await self._events.asend(value)

    async def athrow(self, kind: Any, value: Any = None, traceback: Any = None, /) -> WireEvent:
        """Raise an error where the events come from."""
        return await self._events.athrow(kind, value, traceback)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._events.aclose()


async def wire_events(
    stream: HTTPStream, started: float, provider: str, *, lines: bool = False
) -> AsyncGenerator[WireEvent, None]:
    """Yield the events of a response, whatever it calls itself.

    Servers label event streams as JSON, or not at all: what counts is that a
    stream was asked for, and what the first bytes look like. With `lines` every
    line of JSON is an event.
    """
    decoder: SSEDecoder | NDJSONDecoder = NDJSONDecoder() if lines else SSEDecoder()
    whole: list[bytes] | None = None
    size = 0
    first = True
    async with aclosing(stream.chunks()) as chunks:
        async for chunk in chunks:
            if first and chunk.strip():
                first = False
                start = chunk.lstrip()[:1]
                if start == b"<":
                    message = f"HTML instead of an event stream: {snippet(chunk)}"
                    raise InvalidResponseError(message, provider=provider, status=200)
                whole = [] if start in {b"{", b"["} and not lines else None
            if whole is not None:
                whole.append(chunk)
                size += len(chunk)
                if size > _MAX_WHOLE_BODY:
                    message = f"a body of more than {_MAX_WHOLE_BODY} bytes instead of a stream"
                    raise InvalidResponseError(message, provider=provider, status=200)
                continue
            for event in _wire(decoder.feed(chunk), time.monotonic() - started):
                yield event
    offset = time.monotonic() - started
    if whole is not None:
        yield WireEvent(b"".join(whole), None, offset)
    for event in _wire(decoder.flush(), offset):
        yield event


def _wire(found: Sequence[ServerSentEvent | bytes], offset: float) -> Iterator[WireEvent]:
    for one in found:
        if isinstance(one, bytes):
            yield WireEvent(one, None, offset)
        else:
            yield WireEvent(one.data, one.event, offset)
