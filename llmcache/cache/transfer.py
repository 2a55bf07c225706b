"""Entries as JSON Lines: to look at, to keep beside tests, to carry to another store.

One entry a line, with the canonical request as an object and the answer as it
was on the wire. The suffix `.zst` compresses.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import io
import json
import os
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, get_args

import zstandard

from ..backends.base import MOST_KEYS, OnConflict, StoredEntry, check_collection, check_key
from ..errors import BackendError, ConfigurationError
from ..keys import key_of_identity
from ..keys.canonical import canonical_bytes, locate, plain
from ..types import CacheEntry, Recording, WireEvent
from ..types._json import Json
from .copying import gives_way, stored_entry, write_entries
from .guard import Budget
from .inspection import entries
from .store import Store

__all__ = [
    "ExportReport",
    "ImportReport",
    "entry_from_line",
    "export_entries",
    "import_entries",
    "line_of_entry",
]

_Numbered = tuple[int, CacheEntry]
_Line = tuple[int, str | ValueError]

_BATCH: Final = 100
_LISTED: Final = 100
# Lines in memory at a time: as many as a store takes at once, and characters, more or less.
_LINES: Final = MOST_KEYS
_CHARACTERS: Final = 16 * 2**20
_LONGEST_LINE: Final = 256 * 2**20
# Times and spans in seconds: the year 30 000 is far enough, and what is beyond overflows.
_LARGEST: Final = 1e12
_OK: Final = 200
_PATIENCE: Final = 10.0


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export did. `skipped` could not be read; the first hundred are in `problems`."""

    exported: int = 0
    skipped: int = 0
    problems: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did. `rejected` lists the first hundred as (line number, reason)."""

    imported: int = 0
    replaced: int = 0
    kept: int = 0
    rejected_count: int = 0
    rejected: tuple[tuple[int, str], ...] = ()


def line_of_entry(collection: str, entry: CacheEntry) -> str:
    """Return an entry as one line of JSON."""
    recording = entry.recording
    line: dict[str, Json] = {
        "collection": collection,
        "key": entry.key,
        "kind": entry.kind,
        "model": entry.model,
        "answered_by": entry.answered_by,
        "tags": list(entry.tags),
        "created_at": entry.created_at,
        "expires_at": entry.expires_at,
        "keep_until": entry.keep_until,
        "duration": entry.duration,
        "cost": entry.cost,
        "input_cost": entry.input_cost,
        "price_list": entry.price_list,
        "headers": dict(recording.headers),
        "status": None if recording.status == _OK else recording.status,
        "request": json.loads(entry.identity) if entry.identity else None,
        "components": dict(entry.components),
    }
    slim = {name: value for name, value in line.items() if value not in (None, [], {})}
    if recording.events is not None:
        slim["events"] = [_event_line(event) for event in recording.events]
    else:
        slim |= _bytes_field("body", recording.body or b"")
    return json.dumps(slim, ensure_ascii=False)


def _event_line(event: WireEvent) -> dict[str, Json]:
    line: dict[str, Json] = {"offset": round(event.offset, 6)}
    if event.event is not None:
        line["event"] = event.event
    return line | _bytes_field("data", event.data)


def _bytes_field(name: str, data: bytes) -> dict[str, Json]:
    try:
        return {name: data.decode("utf-8")}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(data).decode("ascii")}


def entry_from_line(text: str) -> tuple[str, CacheEntry]:
    """Return collection and entry of one exported line.

    Raises:
        ValueError: not an entry, or its request has another key.
        ConfigurationError: its collection or key has the wrong form.
    """
    try:
        line = json.loads(text)
        # Whatever is not text, or no number that JSON has, would fail later and elsewhere.
        wrong = locate(line)
        if wrong is not None:
            raise wrong
        key, collection = check_key(line["key"]), check_collection(line["collection"])
        identity = b"" if line.get("request") is None else canonical_bytes(plain(line["request"]))
        entry = CacheEntry(
            key=key,
            recording=_recording(line),
            kind=_text(line["kind"], "kind"),
            model=_optional(line, "model"),
            tags=_texts(line.get("tags") or [], "tags"),
            created_at=_number(line["created_at"], "created_at"),
            expires_at=_optional_number(line, "expires_at"),
            keep_until=_optional_number(line, "keep_until"),
            duration=_optional_number(line, "duration"),
            cost=_optional(line, "cost"),
            input_cost=_optional(line, "input_cost"),
            price_list=_optional(line, "price_list"),
            answered_by=_optional(line, "answered_by"),
            identity=identity,
            components=_text_map(line.get("components") or {}, "components"),
        )
    except (AttributeError, KeyError, TypeError, RecursionError, binascii.Error) as error:
        msg = f"not an entry: {type(error).__name__}: {error}"
        raise ValueError(msg) from error
    if identity and key_of_identity(identity) != key:
        msg = f"the request has the key {key_of_identity(identity)}, not {key}"
        raise ValueError(msg)
    return collection, entry


def _recording(line: Mapping[str, Any]) -> Recording:
    headers = tuple(_text_map(line.get("headers") or {}, "headers").items())
    status = line.get("status", _OK)
    if type(status) is not int:
        msg = f"status must be a number of HTTP's, not {status!r}"
        raise TypeError(msg)
    if "events" not in line:
        return Recording(body=_bytes(line, "body"), headers=headers, status=status)
    events = [
        WireEvent(
            _bytes(event, "data"), _optional(event, "event"), _number(event["offset"], "offset")
        )
        for event in line["events"]
    ]
    return Recording(events=tuple(events), headers=headers, status=status)


def _bytes(line: Mapping[str, Any], name: str) -> bytes:
    coded = line.get(f"{name}_base64")
    if coded is not None:
        return base64.b64decode(coded, validate=True)
    return _text(line[name], name).encode("utf-8")


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        msg = f"{name} must be text, not {type(value).__name__}"
        raise TypeError(msg)
    return value


def _optional(line: Mapping[str, Any], name: str) -> str | None:
    return None if line.get(name) is None else _text(line[name], name)


def _texts(values: Any, name: str) -> tuple[str, ...]:
    if not isinstance(values, list):
        msg = f"{name} must be a list, not {type(values).__name__}"
        raise TypeError(msg)
    return tuple(_text(value, name) for value in values)


def _text_map(values: Any, name: str) -> dict[str, str]:
    if not isinstance(values, dict):
        msg = f"{name} must be an object, not {type(values).__name__}"
        raise TypeError(msg)
    return {key: _text(value, f"{name}.{key}") for key, value in values.items()}


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > _LARGEST:
        msg = f"{name} must be a number of seconds, not {value!r}"
        raise TypeError(msg)
    return float(value)


def _optional_number(line: Mapping[str, Any], name: str) -> float | None:
    return None if line.get(name) is None else _number(line[name], name)


# --- files ----------------------------------------------------------------------------------


async def export_entries(
    store: Store, path: Path, collection: str | None, tag: str | None
) -> ExportReport:
    """Write entries to `path`; it appears when it is complete."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    exported = skipped = 0
    problems: list[tuple[str, str, str]] = []
    try:
        with _writer(partial, compressed=path.suffix == ".zst") as file:
            lines: list[str] = []
            async for info, entry in entries(store, collection):
                if isinstance(entry, BackendError):
                    skipped += 1
                    if len(problems) < _LISTED:
                        problems.append((info.collection, info.key, str(entry)))
                    continue
                if tag is not None and tag not in entry.tags:
                    continue
                lines.append(line_of_entry(info.collection, entry) + "\n")
                exported += 1
                if len(lines) >= _BATCH:
                    await asyncio.to_thread(file.writelines, lines)
                    lines = []
            await asyncio.to_thread(file.writelines, lines)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return ExportReport(exported, skipped, tuple(problems))


@contextmanager
def _writer(path: Path, *, compressed: bool) -> Generator[IO[str], None, None]:
    with path.open("wb") as raw:
        if not compressed:
            with io.TextIOWrapper(raw, encoding="utf-8", newline="\n") as text:
                yield text
            return
        with (
            zstandard.ZstdCompressor(level=9).stream_writer(raw) as packed,
            io.TextIOWrapper(packed, encoding="utf-8", newline="\n") as text,
        ):
            yield text


async def import_entries(
    store: Store, path: Path, collection: str | None, on_conflict: OnConflict
) -> ImportReport:
    """Read entries from `path`, up to a thousand at a time."""
    if on_conflict not in get_args(OnConflict):
        msg = f"on_conflict must be 'keep', 'replace' or 'newer', not {on_conflict!r}"
        raise ConfigurationError(msg)
    if collection is not None:
        check_collection(collection)
    totals = _Totals()
    with path.open("rb") as raw:
        lines = enumerate(_lines(raw, compressed=path.suffix == ".zst"), 1)
        while batch := await asyncio.to_thread(_some, lines):
            parsed: dict[str, list[_Numbered]] = {}
            for number, line in batch:
                try:
                    if isinstance(line, ValueError):
                        raise line
                    name, entry = entry_from_line(line)
                except (ValueError, ConfigurationError) as error:
                    totals.reject(number, error)
                    continue
                parsed.setdefault(collection or name, []).append((number, entry))
            for name, found in parsed.items():
                await _merge(store, name, found, on_conflict, totals)
    return totals.report()


def _some(lines: Iterator[_Line]) -> list[_Line]:
    """Return the next lines, as many as fit into memory; none at the end."""
    batch: list[_Line] = []
    size = 0
    for number, line in lines:
        batch.append((number, line))
        size += len(line) if isinstance(line, str) else 0
        if len(batch) >= _LINES or size >= _CHARACTERS:
            break
    return batch


class _Totals:
    def __init__(self) -> None:
        self.imported = self.replaced = self.kept = self.rejected_count = 0
        self.rejected: list[tuple[int, str]] = []

    def reject(self, number: int, error: Exception) -> None:
        self.rejected_count += 1
        if len(self.rejected) < _LISTED:
            self.rejected.append((number, str(error)))

    def report(self) -> ImportReport:
        return ImportReport(
            self.imported, self.replaced, self.kept, self.rejected_count, tuple(self.rejected)
        )


def _lines(raw: IO[bytes], *, compressed: bool) -> Iterator[str | ValueError]:
    """Yield the lines of a file; a line that is too long, or not text, as the error it is."""
    source: Any = raw
    if compressed:
        source = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
        source = io.BufferedReader(source)
    while True:
        try:
            line: bytes = source.readline(_LONGEST_LINE + 1)
        except zstandard.ZstdError as error:
            yield ValueError(f"the file is damaged here: {error}")
            return
        if not line:
            return
        if len(line) > _LONGEST_LINE:
            yield ValueError(f"a line of more than {_LONGEST_LINE} bytes; the rest is not read")
            return
        if line.strip():
            try:
                yield line.decode("utf-8")
            except UnicodeDecodeError as error:
                yield ValueError(f"not UTF-8: {error}")


async def _merge(
    store: Store,
    collection: str,
    found: list[_Numbered],
    on_conflict: OnConflict,
    totals: _Totals,
) -> None:
    """Put the entries that win over what is stored."""
    await store.meet(collection, Budget(_PATIENCE))
    known = await store.fetch(collection, list(dict.fromkeys(entry.key for _, entry in found)))
    dictionary = await store.dictionaries.current(collection, Budget(_PATIENCE))
    winners: dict[str, StoredEntry] = {}
    # What is there and cannot be read answers nobody: it is replaced in any case.
    unreadable = {key for key, there in known.items() if isinstance(there, BackendError)}
    for number, entry in found:
        there = known.get(entry.key)
        if isinstance(there, CacheEntry) and not gives_way(there, entry, on_conflict):
            totals.kept += 1
            continue
        try:
            data = store.codec.encode(entry, dictionary_id=dictionary)
        except ValueError as error:
            totals.reject(number, error)
            continue
        winners[entry.key] = stored_entry(entry, data, store)
        known[entry.key] = entry
        totals.imported += there is None
        totals.replaced += there is not None
    mending = [winners.pop(key) for key in unreadable & winners.keys()]
    await write_entries(store.backend, collection, list(winners.values()), on_conflict)
    await write_entries(store.backend, collection, mending, "replace")
    store.drop(collection, [stored.key for stored in (*winners.values(), *mending)])
