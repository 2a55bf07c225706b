"""Byte-exact decoding of server-sent events and of newline-delimited JSON.

Follows https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
with one difference: an event that the stream's end cuts before its blank line is
still returned by `flush`, because some servers leave the last blank line out.
Whether an answer is complete is decided by its terminal marker, not here.

The lines of events end at CR, LF or CRLF bytes, those of JSON at LF or CRLF (a CR alone
is white space there), and nowhere else: `str.splitlines` would also split at U+2028
and U+0085, which occur inside JSON text. Nothing is decoded before a line is whole, so
a character split between two chunks is safe.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from ..errors import InvalidResponseError

__all__ = ["MAX_LINE_BYTES", "NDJSONDecoder", "SSEDecoder", "ServerSentEvent"]

MAX_LINE_BYTES: Final = 64 * 2**20
"""Ceiling of one line or event: inline images are megabytes, an endless line is an attack."""

_BOM: Final = b"\xef\xbb\xbf"
# Nobody waits for longer, and int() refuses some thousands.
_MAX_DIGITS: Final = 18
_LINE_END: Final = re.compile(rb"\r\n|\n|\r")


class ServerSentEvent(NamedTuple):
    """One event. `data` is the bytes of its data lines, joined with LF; `event` its name, if any."""

    data: bytes
    event: str | None = None
    id: str | None = None
    retry: int | None = None


class _LineDecoder:
    """Splits chunks of bytes into lines."""

    def __init__(self, max_bytes: int, *, ends_at_cr: bool = True) -> None:
        self._max_bytes = max_bytes
        self._ends_at_cr = ends_at_cr
        # The unfinished line, as it came: joining it on every chunk would be quadratic.
        self._pieces: list[bytes] = []
        self._size = 0
        self._first = True
        self._after_cr = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the lines that `chunk` completes, without their ends."""
        if self._first:
            chunk = self._without_mark(chunk)
        if self._after_cr and chunk:
            # The CR has ended its line already; this is the other half of a CRLF.
            chunk = chunk.removeprefix(b"\n")
            self._after_cr = False
        has_cr = self._ends_at_cr and b"\r" in chunk
        if b"\n" not in chunk and not has_cr:
            self._keep(chunk)
            return []
        data = b"".join((*self._pieces, chunk))
        self._pieces, self._size = [], 0
        self._after_cr = has_cr and data.endswith(b"\r")
        lines = _LINE_END.split(data) if has_cr else data.split(b"\n")
        self._keep(lines.pop())
        if len(data) > self._max_bytes:
            self._check(max(map(len, lines)))
        return lines

    def flush(self) -> list[bytes]:
        """Return what no line end completed."""
        data = b"".join(self._pieces)
        self._pieces, self._size = [], 0
        return [data] if data else []

    def _without_mark(self, chunk: bytes) -> bytes:
        data = b"".join((*self._pieces, chunk))
        self._pieces, self._size = [], 0
        self._first = len(data) < len(_BOM) and _BOM.startswith(data)
        return data.removeprefix(_BOM)

    def _keep(self, piece: bytes) -> None:
        if piece:
            self._pieces.append(piece)
            self._size += len(piece)
            self._check(self._size)

    def _check(self, size: int) -> None:
        if size > self._max_bytes:
            msg = f"a line of the stream exceeds {self._max_bytes} bytes"
            raise InvalidResponseError(msg)


class SSEDecoder:
    """Turns the bytes of an event stream into events; `feed` chunks of any size, then `flush`."""

    def __init__(self, *, max_bytes: int = MAX_LINE_BYTES) -> None:
        """`max_bytes` bounds a line and an event."""
        self._lines = _LineDecoder(max_bytes)
        self._max_bytes = max_bytes
        self._data: list[bytes] = []
        self._size = 0
        self._event: str | None = None
        self._id: str | None = None
        self._retry: int | None = None

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """Return the events that `chunk` completes.

        Raises:
            InvalidResponseError: a line or an event above `max_bytes`.
        """
        events: list[ServerSentEvent] = []
        for line in self._lines.feed(chunk):
            if line:
                self._field(line)
                continue
            if self._data:
                events.append(self._dispatch())
            self._event = self._retry = None
        return events

    def flush(self) -> list[ServerSentEvent]:
        """Return the last event when the stream ended without its blank line."""
        for line in self._lines.flush():
            self._field(line)
        return [self._dispatch()] if self._data else []

    def _dispatch(self) -> ServerSentEvent:
        data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        event = ServerSentEvent(data, self._event, self._id, self._retry)
        self._data, self._size, self._event, self._retry = [], 0, None, None
        return event

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            self._size += len(value) + 1
            if self._size > self._max_bytes:
                msg = f"an event of the stream exceeds {self._max_bytes} bytes"
                raise InvalidResponseError(msg)
        elif name == b"event":
            self._event = value.decode("utf-8", "replace") or None
        elif name == b"id" and b"\0" not in value:
            self._id = value.decode("utf-8", "replace")
        elif name == b"retry" and value.isdigit() and len(value) <= _MAX_DIGITS:
            self._retry = int(value)
        # A comment (empty name) or an unknown field says nothing.


class NDJSONDecoder:
    """Turns bytes into lines of newline-delimited JSON; blank lines are skipped."""

    def __init__(self, *, max_bytes: int = MAX_LINE_BYTES) -> None:
        """`max_bytes` bounds a line."""
        self._lines = _LineDecoder(max_bytes, ends_at_cr=False)

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the lines that `chunk` completes."""
        return [line.removesuffix(b"\r") for line in self._lines.feed(chunk) if line.strip()]

    def flush(self) -> list[bytes]:
        """Return the last line when the stream ended without a line end."""
        return [line.removesuffix(b"\r") for line in self._lines.flush() if line.strip()]
