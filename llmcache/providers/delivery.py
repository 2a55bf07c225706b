"""How the requests of a provider travel, and how one call's may differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..timeouts import Timeouts
from ..types._json import Json
from .http import HTTPReply, HTTPStream, HTTPTransport
from .redaction import Redaction
from .retry import Retry

__all__ = ["Delivery"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a request travels: where to, how often to try, with which extra headers and time-out."""

    transport: HTTPTransport
    url: str
    retry: Retry
    headers: Mapping[str, str] | None = None
    timeout: Timeouts | None = None

    async def post(self, body: Mapping[str, Json]) -> HTTPReply:
        """Return the response to `body`."""
        return await self.transport.post(
            self.url, body, retry=self.retry, headers=self.headers, timeout=self.timeout
        )

    async def stream(self, body: Mapping[str, Json]) -> HTTPStream:
        """Return the open response to `body`."""
        return await self.transport.stream(
            self.url, body, retry=self.retry, headers=self.headers, timeout=self.timeout
        )

    def redaction(self, body: Mapping[str, Json]) -> Redaction:
        """Return what keeps the credentials of a call out of its errors."""
        return Redaction(self.url, self.transport.headers, self.headers, body)
