"""The events of a response, as they arrive, whichever API they belong to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Final

from ..errors import InvalidResponseError
from ..types import WireEvent
from ..types._json import Json
from .delivery import Delivery
from .failures import snippet
from .http import HTTPStream
from .sse import SSEDecoder

__all__ = ["streamed"]

_MAX_WHOLE_BODY: Final = 64 * 2**20


async def streamed(
    delivery: Delivery, body: Mapping[str, Json], asked: Mapping[str, Json], provider: str
) -> AsyncGenerator[WireEvent, None]:
    """Yield the events of the answer to `body`, with the seconds since it was sent.

    No credential in `asked`, the request itself, shows in an error. `provider` names
    the server in errors.
    """
    started = time.monotonic()
    with delivery.redaction(asked):
        stream = await delivery.stream(body)
        try:
            async with aclosing(_wire_events(stream, started, provider)) as events:
                async for event in events:
                    yield event
        finally:
            await asyncio.shield(stream.aclose())


async def _wire_events(
    stream: HTTPStream, started: float, provider: str
) -> AsyncGenerator[WireEvent, None]:
    """Yield the events of a response, whatever it calls itself.

    Servers label event streams as JSON, or not at all: what counts is that a
    stream was asked for, and what the first bytes look like.
    """
    decoder = SSEDecoder()
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
                whole = [] if start in {b"{", b"["} else None
            if whole is not None:
                whole.append(chunk)
                size += len(chunk)
                if size > _MAX_WHOLE_BODY:
                    message = f"a body of more than {_MAX_WHOLE_BODY} bytes instead of a stream"
                    raise InvalidResponseError(message, provider=provider, status=200)
                continue
            offset = time.monotonic() - started
            for event in decoder.feed(chunk):
                yield WireEvent(event.data, event.event, offset)
    offset = time.monotonic() - started
    if whole is not None:
        yield WireEvent(b"".join(whole), None, offset)
    for event in decoder.flush():
        yield WireEvent(event.data, event.event, offset)
