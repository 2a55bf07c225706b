"""A list of inputs to embed, ready to be sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..keys import Request
from ..types import Recording, Usage
from ..types._json import Json, thaw
from .base import Terms
from .delivery import Delivery
from .failures import identified
from .http import HTTPReply
from .openai_embeddings import parse_vector, vector_recordings

__all__ = ["EmbeddingCall"]


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

    def terms(self) -> Terms:
        """Return what may make this call fail where an equal one would not."""
        return self.delivery.terms()

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
            with identified(reply):
                return self.read(reply, inputs, self.provider)

    def parse(self, recording: Recording) -> tuple[tuple[float, ...], Usage | None, str | None]:
        """Return the vector, its share of the usage, and the model that made it."""
        return parse_vector(recording.body or b"", self.provider)
