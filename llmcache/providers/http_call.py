"""One request to a server that answers JSON, whole or as a stream, ready to be sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from ..keys import Request
from ..types import Recording
from ..types._json import FrozenDict, Json
from .base import Dialect, Terms
from .delivery import Delivery
from .redaction import DiscreetDialect, Redaction
from .wire_events import EventStream

__all__ = ["Framing", "HTTPCall"]

_STREAM: Final = FrozenDict({"stream": True})
_DELIVERY: Final = frozenset({"stream", "stream_options"})


class Framing(NamedTuple):
    """How an API says that it wants a stream, and how the stream comes.

    `whole` and `streamed` are the fields that ask for one or the other; `lines` says
    that a stream is lines of JSON, and not server-sent events.
    """

    whole: Mapping[str, Json] = FrozenDict()
    streamed: Mapping[str, Json] = _STREAM
    lines: bool = False

    def whole_body(self, body: Mapping[str, Json]) -> dict[str, Json]:
        """Return what asks for `body`'s answer in one piece, whatever `body` says of streams."""
        asked = {name: value for name, value in body.items() if name not in _DELIVERY}
        return {**asked, **self.whole}

    def stream_body(self, body: Mapping[str, Json]) -> dict[str, Json]:
        """Return what asks for `body`'s answer as a stream.

        Raises:
            InvalidRequestError: what `body` says of streams cannot be sent.
        """
        return {**body, **self.streamed}


_USUAL: Final = Framing()


class HTTPCall(NamedTuple):
    """A completion: `request.body`, asked for as `framing` says, posted as `delivery` does."""

    request: Request
    spoken: Dialect
    delivery: Delivery
    framing: Framing = _USUAL

    @property
    def dialect(self) -> DiscreetDialect:
        """Who understands the answer, and repeats no credential of this call."""
        return DiscreetDialect(self.spoken, self._redaction)

    def terms(self) -> Terms:
        """Return what may make this call fail where an equal one would not."""
        return self.delivery.terms()

    def is_given_away_by(self, recording: Recording) -> bool:
        """Return whether an answer repeats a credential of the call."""
        return self.delivery.is_given_away_by(recording, self.request.body)

    def snapshot(self) -> HTTPCall:
        """Return the same call with a request that nobody else can change."""
        return self._replace(request=self.request.snapshot())

    async def send(self) -> Recording:
        """Return the complete answer."""
        with self._redaction():
            reply = await self.delivery.post(self.framing.whole_body(self.request.body))
        return Recording(body=reply.body, headers=reply.kept_headers, status=reply.status)

    def stream(self) -> EventStream:
        """Return the answer's events as they arrive, with the seconds since the request was sent.

        Raises:
            InvalidRequestError: as `Framing.stream_body`.
        """
        asked, framing = self.request.body, self.framing
        body, provider = framing.stream_body(asked), self.spoken.provider
        return EventStream(self.delivery, body, asked, provider, lines=framing.lines)

    def _redaction(self) -> Redaction:
        return self.delivery.redaction(self.request.body)
