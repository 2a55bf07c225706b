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
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from ..errors import LLMCacheError
from ..keys.secrets import holds_secrets, is_secret_name, url_secrets
from ..types import CompletionResult, Recording, StreamEvent, WireEvent
from ..types._json import Json
from .base import Dialect, StreamDecoder

__all__ = ["DiscreetDialect", "Redaction"]

_REDACTED: Final = "[redacted]"
_CUT: Final = "…"
# Shorter ones ("x", "EMPTY") are what servers without authentication are given.
_SHORTEST: Final = 6
# An answer may well say "ollama", the key that Ollama's users give to clients which want one.
_NO_WORD: Final = 16
_PLAIN_HEADERS: Final = frozenset({"accept", "content-type", "user-agent"})
# Where a tool's server is. Its path may be all that keeps others out.
_SERVER: Final = "server_url"
_SERVERS: Final = "mcp_servers"
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

    def applies_to(self, recording: Recording) -> bool:
        """Return whether an answer has a credential in it that is too long to be a word."""
        found = {*url_secrets(self._url), *_in_fields(self._sources)}
        secrets = [each for each in found if len(each) >= _NO_WORD]
        if any(each in value for _, value in recording.headers for each in secrets):
            return True
        sent = [each.encode() for each in secrets]
        pieces = [event.data for event in recording.events or ()]
        return any(each in piece for piece in (*pieces, recording.body or b"") for each in sent)


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
    pending: list[tuple[object, Json]] = [(None, source)]
    seen = set()
    while pending:
        name, value = pending.pop()
        if isinstance(value, str):
            yield from _in_text(name, value)
        if isinstance(value, str) or id(value) in seen:  # nobody has checked that it is a tree
            continue
        seen.add(id(value))
        if isinstance(value, Mapping):
            pending += [(_name_of(inner, name), item) for inner, item in value.items()]
        elif isinstance(value, list | tuple):
            kept = name if holds_secrets(name) or name == _SERVERS else None
            pending += [(kept, item) for item in value]


def _name_of(field: object, holder: object) -> object:
    """Return the name by which a field's value is judged, inside an object of another name."""
    if holds_secrets(holder):
        return field if str(field).lower() in _PLAIN_HEADERS else holder
    return _SERVER if holder == _SERVERS and field == "url" else field


def _in_text(name: object, text: str) -> Iterator[str]:
    """Yield what is secret in the text of a field: all of it by its name, or a part of a URL."""
    if is_secret_name(name) or holds_secrets(name):
        yield from _parts(text)
        return
    for secret in url_secrets(text):
        yield from _parts(secret)
        yield from _parts(quote(secret, safe=""))
        yield from _parts(unquote(secret))
    if name == _SERVER:
        path = text.partition("://")[2].partition("/")[2]
        yield from (piece for piece in (path, *re.split(r"[/?&=]", path)) if len(piece) >= _NO_WORD)


def _parts(value: str) -> Iterator[str]:
    """Yield the credential in a value, and the pieces of one that has some, such as a cookie."""
    scheme = _SCHEME.match(value)
    rest = value[scheme.end() :] if scheme else value
    for part in (rest, *re.split(r"[\s;,=]+", rest)):
        if len(part) >= _SHORTEST:
            yield part
