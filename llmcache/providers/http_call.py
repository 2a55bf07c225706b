"""One request to a server that answers JSON, whole or as a stream, ready to be sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Final, NamedTuple

from ..errors import InvalidResponseError
from ..keys import Request
from ..types import Recording, WireEvent
from ..types._json import FrozenDict, Json
from .base import Dialect
from .delivery import Delivery
from .failures import snippet
from .http import HTTPStream
from .redaction import DiscreetDialect, Redaction
from .sse import NDJSONDecoder, ServerSentEvent, SSEDecoder

__all__ = ["Framing", "HTTPCall", "wire_events"]

_MAX_WHOLE_BODY: Final = 64 * 2**20
_STREAM: Final = FrozenDict({"stream": True})


class Framing(NamedTuple):
    """How an API says that it wants a stream, and how the stream comes.

    `whole` and `streamed` are the fields that ask for one or the other; `lines` says
    that a stream is lines of JSON, and not server-sent events.
    """

    whole: Mapping[str, Json] = FrozenDict()
    streamed: Mapping[str, Json] = _STREAM
    lines: bool = False


_USUAL: Final = Framing()


class HTTPCall(NamedTuple):
    """A completion: `request.body`, and the fields of `framing`, posted as `delivery` says.

    `streaming` is where streams are asked for, where that is another place.
    """

    request: Request
    spoken: Dialect
    delivery: Delivery
    framing: Framing = _USUAL
    streaming: Delivery | None = None

    @property
    def dialect(self) -> DiscreetDialect:
        """Who understands the answer, and repeats no credential of this call."""
        return DiscreetDialect(self.spoken, self._redaction)

    def snapshot(self) -> HTTPCall:
        """Return the same call with a request that nobody else can change."""
        return self._replace(request=self.request.snapshot())

    async def send(self) -> Recording:
        """Return the complete answer."""
        with self._redaction():
            reply = await self.delivery.post({**self.request.body, **self.framing.whole})
        return Recording(body=reply.body, headers=reply.kept_headers, status=reply.status)

    async def stream(self) -> AsyncGenerator[WireEvent, None]:
        """Yield the answer's events as they arrive, with the seconds since the request was sent."""
        started = time.monotonic()
        delivery = self.streaming or self.delivery
        with self._redaction():
            stream = await delivery.stream({**self.request.body, **self.framing.streamed})
            try:
                lines = self.framing.lines
                events = wire_events(stream, started, self.spoken.provider, lines=lines)
                async with aclosing(events):
                    async for event in events:
                        yield event
            finally:
                await asyncio.shield(stream.aclose())

    def _redaction(self) -> Redaction:
        return self.delivery.redaction(self.request.body)


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
