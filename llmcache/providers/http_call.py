"""One request to a server that answers JSON, whole or as a stream, ready to be sent."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Final, NamedTuple

from ..keys import Request
from ..types import Recording, WireEvent
from ..types._json import FrozenDict, Json
from .base import Dialect
from .delivery import Delivery
from .redaction import DiscreetDialect, Redaction
from .wire_events import streamed

__all__ = ["Framing", "HTTPCall"]

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

    def credential(self) -> bytes:
        """Return a digest of what the call is made with; of use in this process only."""
        return self.delivery.credential()

    def is_given_away_by(self, recording: Recording) -> bool:
        """Return whether an answer repeats a credential of the call."""
        return self.delivery.is_given_away_by(recording, self.request.body)

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
        delivery = self.streaming or self.delivery
        body = {**self.request.body, **self.framing.streamed}
        provider, lines = self.spoken.provider, self.framing.lines
        events = streamed(delivery, body, self.request.body, provider, lines=lines)
        async with aclosing(events):
            async for event in events:
                yield event

    def _redaction(self) -> Redaction:
        return self.delivery.redaction(self.request.body)
