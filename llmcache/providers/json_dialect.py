"""What the dialects of JSON APIs share: reading, checking, and errors that say what was read.

A dialect of one's own says what an answer means (`answer`) and what a piece of a
stream means (`piece`), and what the pieces add up to (`whole`): the sum is an answer like
any other and is read by the same function, so streamed and whole answers cannot
drift apart.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import orjson

from ..errors import InvalidResponseError, StreamInterruptedError
from ..types import CompletionResult, StreamEvent, WireEvent
from ..types._json import Json
from .base import StreamDecoder
from .failures import MALFORMED, embedded_error, error_from_json, snippet

__all__ = ["JSONDialect", "JSONReader", "JSONStreamDecoder"]


class JSONReader(ABC):
    """Reads the bodies of one API's answers; subclasses say what their JSON means."""

    kind: str
    """The request kind: a name in `llmcache.keys.TABLES`, or a new one, which has no key rules."""
    _loads: Callable[[bytes], Json] = staticmethod(orjson.loads)

    def __init__(self, provider: str, origin: str | None = None) -> None:
        """`provider` names the server in errors and price look-ups.

        `origin` is the server whose words the answers have (`Native`); `provider` unless told.
        """
        self.provider = provider
        self.origin = origin or provider

    @abstractmethod
    def read(self, data: Json, raw: bytes) -> CompletionResult:
        """Return the answer that `data` is; `raw` is its JSON text.

        Raises:
            ProviderError: it is an error, or not this API's answer.
        """

    @abstractmethod
    def decoder(self) -> StreamDecoder:
        """Return a decoder for one stream."""

    def parse(self, body: bytes) -> CompletionResult:
        """Return the answer in a response body.

        Raises:
            ProviderError: the body is an error, or not this API's answer.
        """
        try:
            data = self._loads(body)
        except (ValueError, RecursionError):
            message = f"not JSON: {snippet(body) or 'empty body'}"
            raise InvalidResponseError(message, provider=self.provider, status=200) from None
        return self.read(data, body)


class JSONDialect(JSONReader):
    """Understands the answers of one API; subclasses say what one means."""

    @abstractmethod
    def answer(self, data: Json, raw: bytes) -> CompletionResult:
        """Return what a response's JSON says; `raw` is its text.

        Whatever reading JSON of a wrong shape raises (`KeyError`, `TypeError`, …) says
        that this is no answer.
        """

    def read(self, data: Json, raw: bytes) -> CompletionResult:
        """Return the answer that `data` is; see `JSONReader.read`."""
        if embedded_error(data):
            raise error_from_json(self.provider, data, 200)
        try:
            return self.answer(data, raw)
        except MALFORMED as error:
            message = f"not an answer of {self.kind} ({error}): {snippet(raw)}"
            raise InvalidResponseError(message, provider=self.provider, status=200) from error


class JSONStreamDecoder(ABC):
    """Understands one stream whose events are JSON objects; set `terminal` at its last."""

    def __init__(self, dialect: JSONDialect) -> None:
        """`dialect` reads what the pieces add up to."""
        self.terminal = False
        self._dialect = dialect

    @abstractmethod
    def piece(self, data: Json) -> list[StreamEvent]:
        """Return what one piece means."""

    @abstractmethod
    def whole(self) -> Json:
        """Return the answer that the pieces add up to, in the shape of one that was not streamed."""

    def feed(self, event: WireEvent) -> list[StreamEvent]:
        """Return what one event means.

        Raises:
            ProviderError: the event is an error, or not this API's.
        """
        try:
            data = orjson.loads(event.data)
            if embedded_error(data):
                raise error_from_json(self._dialect.provider, data, 200)
            return self.piece(data)
        except MALFORMED as error:
            message = f"not a piece of {self._dialect.kind} ({error}): {snippet(event.data)}"
            provider = self._dialect.provider
            raise InvalidResponseError(message, provider=provider, status=200) from error

    def finish(self) -> CompletionResult:
        """Return the whole answer.

        Raises:
            StreamInterruptedError: the stream ended without its terminal marker.
            InvalidResponseError: the pieces add up to no answer.
        """
        provider = self._dialect.provider
        if not self.terminal:
            message = "the stream ended without its terminal marker"
            raise StreamInterruptedError(message, provider=provider, retryable=True)
        try:
            data = self.whole()
            raw = orjson.dumps(data)
        except MALFORMED as error:
            message = f"pieces that add up to no answer of {self._dialect.kind} ({error})"
            raise InvalidResponseError(message, provider=provider, status=200) from error
        return self._dialect.read(data, raw)

    @property
    def is_whole(self) -> bool:
        """Whether the terminal marker was seen."""
        return self.terminal
