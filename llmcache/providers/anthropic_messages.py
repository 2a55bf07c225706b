"""Anthropic's Messages API: the meaning of an answer."""

from __future__ import annotations

import json

import orjson

from ..types import CompletionResult
from ..types._json import Json
from .anthropic_answer import KIND, parse_message
from .anthropic_stream import MessageStreamDecoder
from .json_dialect import JSONReader

__all__ = ["MessagesDialect"]


def _parsed(body: bytes) -> Json:
    data = orjson.loads(body)
    # A tool's input may have numbers of more than 64 bits.
    return json.loads(body) if b'"tool_use"' in body else data


class MessagesDialect(JSONReader):
    """Understands messages, whole and streamed."""

    kind = KIND
    _loads = staticmethod(_parsed)

    def __init__(self, provider: str = "anthropic", origin: str | None = None) -> None:
        """`provider` names the server in errors and price look-ups; `origin` as `JSONReader`'s."""
        super().__init__(provider, origin)

    def read(self, data: Json, raw: bytes) -> CompletionResult:
        """Return the answer that a message is; see `JSONReader.read`."""
        return parse_message(data, raw, self.provider, origin=self.origin)

    def decoder(self) -> MessageStreamDecoder:
        """Return a decoder for one stream."""
        return MessageStreamDecoder(self.provider, self.origin)
