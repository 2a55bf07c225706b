"""What a provider is, to callers and to the cache.

Callers see `Provider`: complete, stream, embed. The cache sees a `Call`: one
request that can be sent or streamed, and the `Dialect` that understands the
answer. A new wire API is a dialect and a call; the rest is shared.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from types import TracebackType
from typing import Any, Final, NamedTuple, Protocol, Self, TypeVar, Unpack, runtime_checkable

from ..keys import Request
from ..options import CompletionOptions, EmbeddingOptions
from ..types import (
    CompletionResult,
    EmbeddingResult,
    MessageInput,
    Recording,
    StreamEvent,
    Usage,
    WireEvent,
)

__all__ = [
    "BaseProvider",
    "Call",
    "CallT",
    "CompletionResult",
    "Dialect",
    "EmbedCall",
    "Provider",
    "StreamDecoder",
    "StreamEvent",
    "SupportsTerms",
    "Terms",
    "terms_of",
]


class StreamDecoder(Protocol):
    """Understands one stream: wire events in, neutral events out. One per stream."""

    @property
    def terminal(self) -> bool:
        """Whether the terminal marker was seen; whatever follows is not part of the answer."""
        ...

    def feed(self, event: WireEvent) -> list[StreamEvent]:
        """Return what `event` means; nothing for what only belongs to the protocol.

        Raises:
            ProviderError: the event is an error, or not this API's.
        """
        ...

    def finish(self) -> CompletionResult:
        """Return the whole answer, once no more events come.

        Raises:
            StreamInterruptedError: the stream ended too early to be an answer.
        """
        ...

    @property
    def is_whole(self) -> bool:
        """Whether everything the provider meant to send has arrived, so that it may be stored."""
        ...


class Dialect(Protocol):
    """Understands the answers of one wire API. Pure: no I/O, no clock."""

    @property
    def kind(self) -> str:
        """The request kind, a name in `llmcache.keys.TABLES`."""
        ...

    @property
    def provider(self) -> str:
        """For errors and prices, such as `openai`."""
        ...

    def parse(self, body: bytes) -> CompletionResult:
        """Return the answer in a response body.

        Raises:
            ProviderError: the body is an error, or not this API's answer.
        """
        ...

    def decoder(self) -> StreamDecoder:
        """Return a decoder for one stream."""
        ...


class Call(Protocol):
    """One request, ready to go."""

    @property
    def request(self) -> Request:
        """What is asked."""
        ...

    @property
    def dialect(self) -> Dialect:
        """Who understands the answer."""
        ...

    def snapshot(self) -> Self:
        """Return the same call with a request that nobody else can change while it is made."""
        ...

    def is_given_away_by(self, recording: Recording) -> bool:
        """Return whether an answer repeats a credential of the call, and so must not be kept."""
        ...

    async def send(self) -> Recording:
        """Return the complete answer.

        Raises:
            ProviderError: after the configured attempts.
        """
        ...

    def stream(self) -> AsyncGenerator[WireEvent, None]:
        """Yield the answer's events as they arrive; closing the iterator closes the connection.

        An iterator that has `headers`, a mapping with names in lower case, gives errors
        their request id, and the answer that is stored those that tell something of it.

        Raises:
            ProviderError: while connecting after the configured attempts, later at once.
        """
        ...


class EmbedCall(Protocol):
    """A list of inputs to embed; each has a request, and so a key, of its own."""

    @property
    def requests(self) -> Sequence[Request]:
        """One per input, in order."""
        ...

    @property
    def provider(self) -> str:
        """For prices."""
        ...

    def snapshot(self) -> Self:
        """Return the same call with requests that nobody else can change while it is made."""
        ...

    async def send(self, indices: Sequence[int]) -> list[Recording]:
        """Return a recording per input at `indices`, from one call to the provider."""
        ...

    def parse(self, recording: Recording) -> tuple[tuple[float, ...], Usage | None, str | None]:
        """Return the vector, its share of the usage, and the model that made it.

        Raises:
            ProviderError: the recording is not a vector.
        """
        ...


CallT = TypeVar("CallT", Call, EmbedCall)
"""One of the two; the same kind goes in and comes out."""


class Terms(NamedTuple):
    """On which terms a call is made: what may make it fail where an equal one would not.

    Of use in this process only; no part of a key, of an entry or of a log.
    """

    caller: bytes = b""
    """A digest of what the server knows the caller by; empty when there is nothing."""
    manner: tuple[object, ...] = ()
    """How long and how often the call tries, over which connections; compared, never read."""


@runtime_checkable
class SupportsTerms(Protocol):
    """A call, of either kind, that differs from others in more than what it asks."""

    def terms(self) -> Terms:
        """Return the terms as they are now; asked for only when a shared call has failed."""
        ...


_ALIKE: Final = Terms()


def terms_of(call: Call | EmbedCall) -> Terms:
    """Return the terms of a call; those that know of none are alike."""
    return call.terms() if isinstance(call, SupportsTerms) else _ALIKE


@runtime_checkable
class Provider(Protocol):
    """Anything that answers: a client of one API, or a wrapper around another provider."""

    async def complete(
        self, messages: MessageInput, **options: Unpack[CompletionOptions]
    ) -> CompletionResult:
        """Return the answer to `messages`."""
        ...

    def stream(
        self, messages: MessageInput, **options: Unpack[CompletionOptions]
    ) -> AsyncIterator[StreamEvent]:
        """Yield the answer as it arrives; the last event is `DONE` with the whole of it."""
        ...

    async def embed(self, inputs: Any, **options: Unpack[EmbeddingOptions]) -> EmbeddingResult:
        """Return a vector per input."""
        ...

    async def close(self) -> None:
        """Release what the provider opened itself."""
        ...


class BaseProvider(ABC):
    """A start for a provider of your own: implement `complete` and `stream`."""

    @abstractmethod
    async def complete(
        self, messages: MessageInput, **options: Unpack[CompletionOptions]
    ) -> CompletionResult:
        """Return the answer to `messages`."""

    @abstractmethod
    def stream(
        self, messages: MessageInput, **options: Unpack[CompletionOptions]
    ) -> AsyncIterator[StreamEvent]:
        """Yield the answer as it arrives; the last event is `DONE` with the whole of it."""

    async def embed(self, inputs: Any, **options: Unpack[EmbeddingOptions]) -> EmbeddingResult:
        """Return a vector per input.

        Raises:
            NotImplementedError: unless the provider has embeddings.
        """
        msg = f"{type(self).__name__} has no embeddings"
        raise NotImplementedError(msg)

    async def close(self) -> None:  # noqa: B027 - most providers of one's own hold nothing
        """Release what the provider opened itself; nothing here."""

    async def aclose(self) -> None:
        """Close; the name that `contextlib.aclosing` wants."""
        await self.close()

    async def __aenter__(self) -> Self:
        """Return self."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        await self.close()
