"""One request to OpenAI or a compatible server, ready to be sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from ..errors import InvalidResponseError
from ..keys import Request
from ..options import checked_object
from ..types import Recording, Usage, WireEvent
from ..types._json import Json, thaw
from .base import Dialect
from .delivery import Delivery
from .failures import snippet
from .http import HTTPStream
from .openai_chat import ChatDialect
from .openai_embeddings import parse_vector, vector_recordings
from .redaction import DiscreetDialect, Redaction
from .sse import SSEDecoder

__all__ = ["CompletionCall", "EmbeddingCall"]

_MAX_WHOLE_BODY: Final = 64 * 2**20


class CompletionCall(NamedTuple):
    """A chat completion, or a response. Its delivery fields are no part of the request."""

    request: Request
    spoken: Dialect
    delivery: Delivery

    @property
    def dialect(self) -> DiscreetDialect:
        """Who understands the answer, and repeats no credential of this call."""
        return DiscreetDialect(self.spoken, self._redaction)

    def snapshot(self) -> CompletionCall:
        """Return the same call with a request that nobody else can change."""
        return self._replace(request=self.request.snapshot())

    async def send(self) -> Recording:
        """Return the complete answer."""
        body = {k: v for k, v in self.request.body.items() if k not in {"stream", "stream_options"}}
        with self._redaction():
            reply = await self.delivery.post(body)
        return Recording(body=reply.body, headers=reply.kept_headers, status=reply.status)

    async def stream(self) -> AsyncGenerator[WireEvent, None]:
        """Yield the answer's events as they arrive, with the seconds since the request was sent."""
        body: dict[str, Json] = {**self.request.body, "stream": True}
        if self.spoken.kind == ChatDialect.kind:
            stated = checked_object("stream_options", body.get("stream_options") or {})
            # Without the usage a stored stream would answer a whole call without it, too.
            body["stream_options"] = {**stated, "include_usage": True}
        started = time.monotonic()
        with self._redaction():
            stream = await self.delivery.stream(body)
            try:
                events = _wire_events(stream, started, self.spoken.provider)
                async with aclosing(events):
                    async for event in events:
                        yield event
            finally:
                await asyncio.shield(stream.aclose())

    def _redaction(self) -> Redaction:
        return self.delivery.redaction(self.request.body)


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


@dataclass(frozen=True, slots=True)
class EmbeddingCall:
    """A list of inputs to embed, or a single one, which is sent as such.

    `body` is the wire body without its inputs.
    """

    requests: Sequence[Request]
    inputs: Sequence[Json]
    is_single: bool
    body: Mapping[str, Any]
    provider: str
    delivery: Delivery

    def snapshot(self) -> EmbeddingCall:
        """Return the same call with inputs that nobody else can change."""
        requests = [request.snapshot() for request in self.requests]
        inputs = [request.body["input"] for request in requests]
        return replace(self, requests=requests, inputs=inputs, body=thaw(self.body))

    async def send(self, indices: Sequence[int]) -> list[Recording]:
        """Return a recording per input at `indices`, from one request."""
        inputs = [self.inputs[index] for index in indices]
        body = {**self.body, "input": inputs[0] if self.is_single else inputs}
        with self.delivery.redaction(self.body):
            reply = await self.delivery.post(body)
            return vector_recordings(reply, inputs, self.provider)

    def parse(self, recording: Recording) -> tuple[tuple[float, ...], Usage | None, str | None]:
        """Return the vector, its share of the usage, and the model that made it."""
        return parse_vector(recording.body or b"", self.provider)
