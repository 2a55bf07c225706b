"""One request to a server of the Responses API, ready to be sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final, NamedTuple

from ..keys import Request
from ..types import Recording, WireEvent
from ..types._json import Json
from .delivery import Delivery
from .openai_responses import ResponsesDialect
from .redaction import DiscreetDialect, Redaction
from .wire_events import wire_events

__all__ = ["ResponsesCall"]

_DELIVERY: Final = frozenset({"stream", "stream_options"})


class ResponsesCall(NamedTuple):
    """A response."""

    request: Request
    spoken: ResponsesDialect
    delivery: Delivery

    @property
    def dialect(self) -> DiscreetDialect:
        """Who understands the answer, and repeats no credential of this call."""
        return DiscreetDialect(self.spoken, self._redaction)

    def snapshot(self) -> ResponsesCall:
        """Return the same call with a request that nobody else can change."""
        return self._replace(request=self.request.snapshot())

    async def send(self) -> Recording:
        """Return the complete answer."""
        body = {k: v for k, v in self.request.body.items() if k not in _DELIVERY}
        with self._redaction():
            reply = await self.delivery.post(body)
        return Recording(body=reply.body, headers=reply.kept_headers, status=reply.status)

    async def stream(self) -> AsyncGenerator[WireEvent, None]:
        """Yield the answer's events as they arrive, with the seconds since the request was sent."""
        body: dict[str, Json] = {**self.request.body, "stream": True}
        started = time.monotonic()
        with self._redaction():
            stream = await self.delivery.stream(body)
            try:
                events = wire_events(stream, started, self.spoken.provider)
                async with aclosing(events):
                    async for event in events:
                        yield event
            finally:
                await asyncio.shield(stream.aclose())

    def _redaction(self) -> Redaction:
        return self.delivery.redaction(self.request.body)
