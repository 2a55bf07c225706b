"""Keeping credentials out of errors, whatever a server quotes and whoever reads its answer.

The credentials of a call are looked for when something has failed, in what was
sent: calls that succeed pay nothing for it. A parser may have cut the text that it
quotes in the middle of a credential, so the beginning of one counts at the end of
a text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from ..errors import LLMCacheError
from ..types import CompletionResult, StreamEvent, WireEvent
from ..types._json import Json
from .base import Dialect, StreamDecoder

__all__ = ["DiscreetDialect", "Redaction"]

_REDACTED: Final = "[redacted]"
_CUT: Final = "…"
# Shorter ones ("x", "EMPTY") are what servers without authentication are given.
_SHORTEST: Final = 6
_CREDENTIAL: Final = re.compile(
    r"(auth|authorization|cookie|credential|key|passphrase|password|secret|session|sig|signature|token)s?$",
    re.IGNORECASE,
)
# "Bearer …", "Basic …"
_SCHEME: Final = re.compile(r"[A-Za-z0-9-]+\s+")


class Redaction:
    """A context whose errors leave it without the credentials of a call."""

    __slots__ = ("_sources", "_url")

    def __init__(self, url: str, *sources: Json) -> None:
        """`sources` are headers and bodies: what has a credential's name there is one."""
        self._url = url
        self._sources = sources

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Clean an error of ours."""
        if isinstance(error, LLMCacheError):
            self.clean(error)

    def clean(self, error: LLMCacheError) -> None:
        """Take the credentials out of an error, and out of what led to it."""
        found = {*_in_address(self._url), *_in_fields(self._sources)}
        _clean(error, sorted(found, key=len, reverse=True))

    def hides(self, text: str) -> bool:
        """Return whether a credential is in `text`."""
        found = {*_in_address(self._url), *_in_fields(self._sources)}
        return _shown(text, found) != text


class DiscreetDialect:
    """A dialect that reads the answers to one call, and whose errors pass its redaction.

    Stored answers come through here, and their events by thousands: `redaction` is
    made when something has failed.
    """

    __slots__ = ("_dialect", "_redaction")

    def __init__(self, dialect: Dialect, redaction: Callable[[], Redaction]) -> None:
        self._dialect = dialect
        self._redaction = redaction

    @property
    def kind(self) -> str:
        """As the dialect's."""
        return self._dialect.kind

    @property
    def provider(self) -> str:
        """As the dialect's."""
        return self._dialect.provider

    def parse(self, body: bytes) -> CompletionResult:
        """Return the answer in a response body."""
        try:
            return self._dialect.parse(body)
        except LLMCacheError as error:
            self._redaction().clean(error)
            raise

    def decoder(self) -> StreamDecoder:
        """Return a decoder for one stream."""
        return _DiscreetDecoder(self._dialect.decoder(), self._redaction)


class _DiscreetDecoder:
    __slots__ = ("_decoder", "_feed", "_redaction")

    def __init__(self, decoder: StreamDecoder, redaction: Callable[[], Redaction]) -> None:
        self._decoder = decoder
        self._feed = decoder.feed
        self._redaction = redaction

    @property
    def terminal(self) -> bool:
        return self._decoder.terminal

    @property
    def is_whole(self) -> bool:
        return self._decoder.is_whole

    def feed(self, event: WireEvent) -> list[StreamEvent]:
        try:
            return self._feed(event)
        except LLMCacheError as error:
            self._redaction().clean(error)
            raise

    def finish(self) -> CompletionResult:
        with self._redaction():
            return self._decoder.finish()


def _clean(error: BaseException, credentials: Iterable[str]) -> None:
    one: BaseException | None = error
    while one is not None:
        one.args = tuple(_shown(each, credentials) for each in one.args)
        if isinstance(one, LLMCacheError):
            for name, value in vars(one).items():
                setattr(one, name, _shown(value, credentials))
        one = one.__cause__ or one.__context__


def _shown(value: object, credentials: Iterable[str]) -> object:
    if isinstance(value, str):
        for credential in credentials:
            value = _without(value, credential)
    return value


def _without(text: str, credential: str) -> str:
    text = text.replace(credential, _REDACTED)
    quoted = text.removesuffix(_CUT)
    for length in range(len(credential) - 1, _SHORTEST - 1, -1):
        if quoted.endswith(credential[:length]):
            return quoted[:-length] + _REDACTED + text[len(quoted) :]
    return text


def _in_address(url: str) -> Iterator[str]:
    """Yield what may be a credential in a URL: its user info, and all of its query but a version."""
    parts = urlsplit(url)
    for info in filter(None, (parts.username, parts.password)):
        yield from _parts(info)
        yield from _parts(unquote(info))
    for name, value in parse_qsl(parts.query):
        if name.lower() != "api-version":
            yield from _parts(value)


def _in_fields(source: Json) -> Iterator[str]:
    pending, seen = [source], set()
    while pending:
        value = pending.pop()
        if id(value) in seen:  # nobody has checked yet that the body is a tree
            continue
        seen.add(id(value))
        if isinstance(value, Mapping):
            for name, item in value.items():
                if isinstance(item, str) and isinstance(name, str) and _CREDENTIAL.search(name):
                    yield from _parts(item)
                else:
                    pending.append(item)
        elif isinstance(value, list | tuple):
            pending.extend(value)


def _parts(value: str) -> Iterator[str]:
    """Yield the credential in a value, and the pieces of one that has some, such as a cookie."""
    scheme = _SCHEME.match(value)
    rest = value[scheme.end() :] if scheme else value
    for part in (rest, *re.split(r"[\s;,=]+", rest)):
        if len(part) >= _SHORTEST:
            yield part
