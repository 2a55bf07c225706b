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
from ..keys.secrets import TOOL_FIELDS, holds_secrets, is_schema, is_secret_name, url_secrets
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
# What says nothing secret among headers, and among the secrets of a container.
_PLAIN: Final = frozenset(
    "accept accept-encoding accept-language content-type domain name user-agent".split()
)
# What was said, by people and models: a field called `key` there is no credential, but a URL
# may have one.
_SAID: Final = frozenset("input instructions messages prompt system".split())
# What a response repeats of its request, as a rule.
_REPEATED: Final = frozenset("metadata prompt_cache_key safety_identifier user".split())
_TOOLS: Final = frozenset({"functions", "tools"})
# Where a tool's server is. Its path may be all that keeps others out.
_SERVER: Final = "server_url"
_SERVERS: Final = "mcp_servers"
# "Bearer …", "Basic …"
_SCHEME: Final = re.compile(r"[A-Za-z0-9-]+\s+")
_BEARER: Final = re.compile(r"(?:bearer|basic)\s+(\S+)", re.IGNORECASE)
# JSON inside JSON has many backslashes. What was cut may end inside of one.
_ESCAPE: Final = re.compile(
    r"\\+(?:u([0-9a-f]{4})|u[0-9a-f]{0,3}(?=" + _CUT + r"?\Z))?", re.IGNORECASE
)


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
        _clean(error, self._found())

    def hides(self, text: str) -> bool:
        """Return whether a credential is in `text`, which is no answer: short ones count."""
        return _shown(text, self._found()) != text

    def applies_to(self, recording: Recording) -> bool:
        """Return whether an answer has a credential in it that is too long to be a word.

        Only what is one for certain counts, by its name or its form: for an answer that is
        taken to repeat one is paid for again each time.
        """
        found = {*url_secrets(self._url), *_in_fields(self._sources, certain=True)}
        secrets = [each for each in found if len(each) >= _NO_WORD]
        if any(each in value for _, value in recording.headers for each in secrets):
            return True
        sent = [each.encode() for each in secrets]
        # No writer of JSON escapes the signs of a usual key.
        escaped = [_unescaped(e) for e in secrets if re.search(r"[^A-Za-z0-9._~-]", e)]
        pieces = (*(event.data for event in recording.events or ()), recording.body or b"")
        if any(each in piece for piece in pieces for each in sent):
            return True
        odd = [piece for piece in pieces if b"\\" in piece] if escaped else []
        texts = (_unescaped(piece.decode("utf-8", "replace")) for piece in odd)
        return any(each in text for text in texts for each in escaped)

    def _found(self) -> list[str]:
        """Return all that may be a credential, the longest first."""
        found = {*_in_address(self._url), *_in_fields(self._sources)}
        return sorted(found, key=len, reverse=True)


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
    if not isinstance(value, str):
        return value
    shown = value
    for credential in credentials:
        shown = _without(shown, credential)
    if "\\" in shown:  # a server's JSON, quoted as it came
        cleaned = plain = _unescaped(shown)
        for credential in credentials:
            cleaned = _without(cleaned, _unescaped(credential))
        shown = shown if cleaned == plain else cleaned
    return shown


def _unescaped(text: str) -> str:
    r"""Return `text` without the backslashes of JSON: `a\/b` and `a\u002fb` are `a/b`."""
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else "", text)


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


def _in_fields(sources: Iterable[Json], *, certain: bool = False) -> Iterator[str]:
    """Yield what may be a credential in headers and bodies; only what is one for `certain`.

    Where people wrote, in messages and in schemas, names are data: URLs alone count.
    """
    pending = [field for source in sources for field in _fields(source, certain=certain)]
    seen = set()
    while pending:
        name, value, is_data = pending.pop()
        if isinstance(value, str):
            yield from _in_text(None if is_data else name, value, certain=certain and not is_data)
            continue
        if (id(value), name, is_data) in seen:  # nobody has checked that it is a tree
            continue
        seen.add((id(value), name, is_data))
        if isinstance(value, Mapping):
            is_data = is_data or _is_schema(value)
            for inner, item in value.items():
                told = is_data or is_schema(inner) or (name in _TOOLS and inner in TOOL_FIELDS)
                pending.append((_name_of(inner, name, certain=certain), item, told))
        elif isinstance(value, list | tuple):
            kept = name if holds_secrets(name) or name == _SERVERS or name in _TOOLS else None
            pending += [(kept, item, is_data) for item in value]


def _fields(source: Json, *, certain: bool) -> Iterator[tuple[object, Json, bool]]:
    """Yield the fields of headers or a body: their names, their values, whether names are data there."""
    if not isinstance(source, Mapping):
        return
    for name, value in source.items():
        if name not in _SAID:
            if not (certain and name in _REPEATED):
                yield name, value, is_schema(name)
            continue
        if not certain:
            yield name, value, True
        # Tools that a turn of the Responses API brings along.
        for item in value if isinstance(value, list | tuple) and name == "input" else ():
            if isinstance(item, Mapping):
                yield "tools", item.get("tools"), False


def _is_schema(value: Mapping[str, Json]) -> bool:
    """Return whether an object in a field of any name is a JSON Schema, by its form."""
    says_so = value.get("type") == "object" or not value.keys().isdisjoint({"$defs", "$schema"})
    return says_so and isinstance(value.get("properties"), Mapping)


def _name_of(field: object, holder: object, *, certain: bool) -> object:
    """Return the name by which a field's value is judged, inside an object of another name."""
    if holds_secrets(holder):
        is_plain = str(field).lower() in _PLAIN
        return field if is_plain or (certain and not _is_vault(holder)) else holder
    return _SERVER if holder == _SERVERS and field == "url" else field


def _is_vault(name: object) -> bool:
    """Return whether what a field holds is secret for certain: not all headers are."""
    return holds_secrets(name) and str(name).lower().endswith("secrets")


def _in_text(name: object, text: str, *, certain: bool) -> Iterator[str]:
    """Yield what is secret in the text of a field: all of it by its name, or a part of a URL."""
    if is_secret_name(name) or (_is_vault(name) if certain else holds_secrets(name)):
        yield from _values(text) if certain else _parts(text)
        return
    bearer = _BEARER.fullmatch(text) if certain else None
    if bearer and _is_no_word(bearer[1]):
        yield bearer[1]
    for secret in url_secrets(text):
        yield from _parts(secret)
        yield from _parts(quote(secret, safe=""))
        yield from _parts(unquote(secret))
    if name == _SERVER:
        path = text.partition("://")[2].partition("/")[2]
        pieces = [piece for piece in re.split(r"[/?&=]", path) if len(piece) >= _NO_WORD]
        if certain:
            yield from filter(_is_no_word, pieces)
        else:
            yield from (piece for piece in (path, *pieces) if len(piece) >= _NO_WORD)


def _parts(value: str) -> Iterator[str]:
    """Yield the credential in a value, and the pieces of one that has some, such as a cookie."""
    rest = _without_scheme(value)
    for part in (rest, *re.split(r"[\s;,=]+", rest)):
        if len(part) >= _SHORTEST:
            yield part


def _values(value: str) -> Iterator[str]:
    """Yield the credential in a value: of a cookie its values too, not their names, and no word."""
    rest = _without_scheme(value)
    yield rest
    for part in re.split(r"[\s;,]+", rest):
        name, _, given = part.partition("=")
        told = given.strip('="') or name
        if is_secret_name(name) or _is_no_word(told):
            yield told


def _without_scheme(value: str) -> str:
    scheme = _SCHEME.match(value)
    return value[scheme.end() :] if scheme else value


def _is_no_word(text: str) -> bool:
    return len(text) >= _NO_WORD and any(sign.isdigit() for sign in text)
