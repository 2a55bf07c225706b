"""The events of a response, as they arrive."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Final

from ..errors import InvalidResponseError
from ..types import WireEvent
from ..types._json import Json
from .delivery import Delivery
from .failures import snippet
from .http import HTTPStream
from .sse import NDJSONDecoder, ServerSentEvent, SSEDecoder

__all__ = ["streamed", "wire_events"]

_MAX_WHOLE_BODY: Final = 64 * 2**20


async def streamed(
    delivery: Delivery,
    body: Mapping[str, Json],
    asked: Mapping[str, Json],
    provider: str,
    *,
    lines: bool = False,
) -> AsyncGenerator[WireEvent, None]:
    """Yield the events of the answer to `body`, with the seconds since it was sent.

    No credential in `asked`, the request itself, shows in an error. `provider` names
    the server in errors; `lines` as in `wire_events`.
    """
    started = time.monotonic()
    with delivery.redaction(asked):
        stream = await delivery.stream(body)
        try:
            async with aclosing(wire_events(stream, started, provider, lines=lines)) as events:
                async for event in events:
                    yield event
        finally:
            await asyncio.shield(stream.aclose())


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
