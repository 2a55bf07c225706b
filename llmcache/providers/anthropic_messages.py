"""Anthropic's Messages API: the meaning of an answer, and one request ready to be sent."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import NamedTuple

import orjson

from ..errors import InvalidResponseError
from ..keys import Request
from ..types import CompletionResult, Recording, WireEvent
from .anthropic_answer import KIND, parse_message
from .anthropic_stream import MessageStreamDecoder
from .delivery import Delivery
from .failures import snippet
from .redaction import DiscreetDialect, Redaction
from .wire_events import streamed

__all__ = ["MessagesCall", "MessagesDialect"]


class MessagesDialect:
    """Understands messages, whole and streamed."""

    kind = KIND

    def __init__(self, provider: str = "anthropic", origin: str | None = None) -> None:
        """`provider` names the server in errors and price look-ups.

        `origin` is the server whose words the answers have (`Native`); `provider` unless told.
        """
        self.provider = provider
        self.origin = origin or provider

    def parse(self, body: bytes) -> CompletionResult:
        """Return the answer in a response body.

        Raises:
            ProviderError: the body is an error, or not a message.
        """
        try:
            data = orjson.loads(body)
            if b'"tool_use"' in body:
                data = json.loads(body)  # a tool's input may have numbers of more than 64 bits
        except (ValueError, RecursionError):
            message = f"not JSON: {snippet(body) or 'empty body'}"
            raise InvalidResponseError(message, provider=self.provider, status=200) from None
        return parse_message(data, body, self.provider, origin=self.origin)

    def decoder(self) -> MessageStreamDecoder:
        """Return a decoder for one stream."""
        return MessageStreamDecoder(self.provider, self.origin)


class MessagesCall(NamedTuple):
    """A request for one message."""

    request: Request
    spoken: MessagesDialect
    delivery: Delivery

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

    def snapshot(self) -> MessagesCall:
        """Return the same call with a request that nobody else can change."""
        return self._replace(request=self.request.snapshot())

    async def send(self) -> Recording:
        """Return the complete answer."""
        body = {name: value for name, value in self.request.body.items() if name != "stream"}
        with self._redaction():
            reply = await self.delivery.post(body)
        return Recording(body=reply.body, headers=reply.kept_headers, status=reply.status)

    async def stream(self) -> AsyncGenerator[WireEvent, None]:
        """Yield the answer's events as they arrive, with the seconds since the request was sent."""
        asked = self.request.body
        body = {**asked, "stream": True}
        async with aclosing(streamed(self.delivery, body, asked, self.spoken.provider)) as events:
            async for event in events:
                yield event

    def _redaction(self) -> Redaction:
        return self.delivery.redaction(self.request.body)
