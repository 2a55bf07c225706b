"""How the requests of a provider travel, and how one call's may differ."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from ..errors import ProviderError
from ..keys.secrets import is_secret_name
from ..stats import CallStats
from ..timeouts import Timeouts
from ..types import Recording
from ..types._json import Json
from .base import Terms
from .failures import NAMING_HEADERS
from .http import HTTPReply, HTTPStream, HTTPTransport
from .redaction import Redaction
from .retry import Retry

__all__ = ["Delivery"]

# Makes the digest of a credential worthless to whoever finds it elsewhere.
_OF_THIS_PROCESS: Final = os.urandom(32)


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a request travels: where to, how often to try, with which extra headers and time-out."""

    transport: HTTPTransport
    url: str
    retry: Retry
    headers: Mapping[str, str] | None = None
    timeout: Timeouts | None = None
    stats: CallStats | None = None
    """Who wants to know how the journey went."""

    async def get(self) -> HTTPReply:
        """Return what is there."""
        return await self.transport.get(self.url, retry=self.retry, timeout=self.timeout)

    async def post(self, body: Mapping[str, Json]) -> HTTPReply:
        """Return the response to `body`."""
        reply = await self.transport.post(
            self.url, body, retry=self._tries(), headers=self.headers, timeout=self.timeout
        )
        reply = replace(reply, headers=self._discreet(reply.headers))
        if self.stats is not None:
            self.stats.record_response(reply.headers)
        return reply

    async def stream(self, body: Mapping[str, Json]) -> HTTPStream:
        """Return the open response to `body`."""
        stream = await self.transport.stream(
            self.url, body, retry=self._tries(), headers=self.headers, timeout=self.timeout
        )
        stream.headers = self._discreet(stream.headers)
        if self.stats is not None:
            self.stats.record_response(stream.headers)
        return stream

    def _discreet(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Return a response's headers without a request id that repeats a credential: ids are kept."""
        names = [name for name in NAMING_HEADERS if name in headers]
        if not names:
            return headers
        redaction = self.redaction({})
        hidden = {name for name in names if redaction.hides(headers[name])}
        return {n: v for n, v in headers.items() if n.lower() not in hidden} if hidden else headers

    def _tries(self) -> Retry:
        if self.stats is None:
            return self.retry
        self.stats.attempts += 1
        return _CountedRetry(self.retry.attempts, self.retry.backoff, self.stats)

    def terms(self) -> Terms:
        """Return as whom, how long and how often a request is tried, and over which connections."""
        timeouts = self.timeout or self.transport.timeouts
        return Terms(self._caller(), (self.retry, timeouts, self.transport.way))

    def _caller(self) -> bytes:
        sent = {**self.transport.headers, **(self.headers or {})}
        secrets = sorted((n, v) for n, v in sent.items() if is_secret_name(n))
        # A client that was passed in may have credentials of its own.
        told = (self.url, secrets, self.transport.given_client)
        return hashlib.blake2b(repr(told).encode(), key=_OF_THIS_PROCESS, digest_size=16).digest()

    def is_given_away_by(self, recording: Recording, body: Mapping[str, Json]) -> bool:
        """Return whether an answer to `body` repeats a credential that was sent with it."""
        return self.redaction(body).applies_to(recording)

    def redaction(self, body: Mapping[str, Json]) -> Redaction:
        """Return what keeps the credentials of a call out of its errors."""
        return Redaction(self.url, self.transport.headers, self.headers, body)


@dataclass(frozen=True, slots=True)
class _CountedRetry(Retry):
    """Notes every further attempt that it allows."""

    stats: CallStats = field(default_factory=CallStats)

    def wait(self, attempt: int, error: ProviderError) -> float | None:
        """Return the seconds to wait after failed `attempt`, `None` to give up."""
        seconds = Retry.wait(self, attempt, error)
        if seconds is not None:
            self.stats.attempts += 1
        return seconds
