"""One request to OpenAI or a compatible server, ready to be sent."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from ..keys import Request
from ..options import checked_object
from ..types import Recording, Usage, WireEvent
from ..types._json import Json, thaw
from .base import Dialect
from .delivery import Delivery
from .http import HTTPReply
from .openai_chat import ChatDialect
from .openai_embeddings import parse_vector, vector_recordings
from .redaction import DiscreetDialect, Redaction
from .wire_events import streamed

__all__ = ["CompletionCall", "EmbeddingCall"]


class CompletionCall(NamedTuple):
    """A chat completion, or a response. Its delivery fields are no part of the request."""

    request: Request
    spoken: Dialect
    delivery: Delivery
    asks_usage: bool = True
    """Whether a stream must be asked for its usage."""

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
            stated = checked_object("stream_options", body.pop("stream_options", None) or {})
            options = _stream_options(stated, asks_usage=self.asks_usage)
            if options:
                body["stream_options"] = options
        async with aclosing(
            streamed(self.delivery, body, self.request.body, self.spoken.provider)
        ) as events:
            async for event in events:
                yield event

    def _redaction(self) -> Redaction:
        return self.delivery.redaction(self.request.body)


def _stream_options(stated: Mapping[str, Any], *, asks_usage: bool) -> dict[str, Json]:
    """Return what a stream is asked with: without its usage it could not answer a whole call.

    `False` is the API's default and is not sent: some servers know nothing of the question.
    """
    options = dict(stated)
    if options.get("include_usage") is False:
        del options["include_usage"]
    elif asks_usage:
        options["include_usage"] = True
    return options


@dataclass(frozen=True, slots=True)
class EmbeddingCall:
    """A list of inputs to embed, or a single one, which is sent as such.

    `body` is the wire body without its inputs; `read` finds the vectors in a response.
    """

    requests: Sequence[Request]
    inputs: Sequence[Json]
    is_single: bool
    body: Mapping[str, Any]
    provider: str
    delivery: Delivery
    read: Callable[[HTTPReply, Sequence[Json], str], list[Recording]] = vector_recordings

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
            return self.read(reply, inputs, self.provider)

    def parse(self, recording: Recording) -> tuple[tuple[float, ...], Usage | None, str | None]:
        """Return the vector, its share of the usage, and the model that made it."""
        return parse_vector(recording.body or b"", self.provider)
