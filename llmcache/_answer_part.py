"""The answer's part of an entry ⇄ bytes: its metadata, then its recording.

    u32       size of the metadata
    …         metadata: a JSON object; what is empty or unknown is left out
    …         recording: the body, or the events of a stream, joined by 0x1e

A stream's metadata has `offsets`, the microseconds from each event to the next, and
`events`, their names, when one of them has a name.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping
from itertools import accumulate, pairwise
from typing import Any, Final

import orjson

from .errors import CorruptEntryError
from .types._json import FrozenDict, Json
from .types.entry import CacheEntry, Recording, WireEvent

__all__ = ["answer_of", "entry_of"]

_U32: Final = struct.Struct("<I")
# RFC 7464's record separator: a control character, which JSON text never contains.
_SEPARATOR: Final = b"\x1e"
_OK: Final = 200
_NO_COMPONENTS: Final = FrozenDict()

_NUMBER: Final = (float, int)
_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "kind": (str,),
    "model": (str,),
    "created_at": _NUMBER,
    "expires_at": _NUMBER,
    "keep_until": _NUMBER,
    "duration": _NUMBER,
    "cost": (str,),
    "input_cost": (str,),
    "price_list": (str,),
    "answered_by": (str,),
    "tags": (list,),
    "components": (dict,),
    "headers": (list,),
    "status": (int,),
    "offsets": (list,),
    "events": (list,),
}
"""The exact types of the metadata's fields. A later writer may add fields: they are no damage."""
_OFFSETS: Final = frozenset({int})
_NAMES: Final = frozenset({str, type(None)})


# --- writing --------------------------------------------------------------------------------


def answer_of(entry: CacheEntry) -> bytes:
    """Return the answer's part of `entry`.

    Raises:
        ValueError: something in it cannot be written: text that is not Unicode, a
            moment that is none, a stream event with a separator inside.
    """
    try:
        meta = orjson.dumps(_meta(entry))
    except (TypeError, OverflowError) as error:
        msg = f"the entry cannot be written: {error}"
        raise ValueError(msg) from error
    return b"".join((_U32.pack(len(meta)), meta, _recording_bytes(entry.recording)))


def _meta(entry: CacheEntry) -> dict[str, Json]:
    recording = entry.recording
    meta: dict[str, Json] = {
        "kind": entry.kind,
        "model": entry.model,
        "created_at": round(_finite(entry.created_at), 3),
        "expires_at": _moment(entry.expires_at),
        "keep_until": _moment(entry.keep_until),
        "duration": None if entry.duration is None else round(_finite(entry.duration), 4),
        "cost": entry.cost,
        "input_cost": entry.input_cost,
        "price_list": entry.price_list,
        "answered_by": entry.answered_by,
        "tags": list(entry.tags),
        "components": dict(entry.components),
        "headers": [list(pair) for pair in recording.headers],
        "status": None if recording.status == _OK else recording.status,
    }
    if recording.events is not None:
        meta["offsets"] = _deltas(recording.events)
        meta["events"] = _names(recording.events)
    # What is empty costs bytes in every entry and says nothing; an empty list of offsets does.
    return {
        k: v for k, v in meta.items() if k == "offsets" or (v is not None and v not in ([], {}))
    }


def _moment(value: float | None) -> float | None:
    """Return a moment of the future as it is kept: `None` is never."""
    return None if value is None or value == math.inf else _finite(value)


def _finite(seconds: float) -> float:
    if not math.isfinite(seconds):
        msg = f"the entry cannot be written: {seconds} is no time"
        raise ValueError(msg)
    return seconds


def _deltas(events: tuple[WireEvent, ...]) -> list[int]:
    """Return microseconds from each event to the next: small numbers compress well."""
    moments = [round(event.offset * 1e6) for event in events]
    return [b - a for a, b in pairwise((0, *moments))]


def _names(events: tuple[WireEvent, ...]) -> list[str | None]:
    names = [event.event for event in events]
    return names if any(name is not None for name in names) else []


def _recording_bytes(recording: Recording) -> bytes:
    if recording.events is None:
        return recording.body or b""
    if any(_SEPARATOR in event.data for event in recording.events):
        msg = "a stream event has a raw control character 0x1e"
        raise ValueError(msg)
    return _SEPARATOR.join(event.data for event in recording.events)


# --- reading --------------------------------------------------------------------------------


def entry_of(key: str, answer: bytes, request: bytes) -> CacheEntry:
    """Return the entry that the parts stand for.

    Raises:
        CorruptEntryError, KeyError, ValueError, struct.error: they stand for none.
    """
    meta_end = _U32.size + _U32.unpack_from(answer)[0]
    if meta_end > len(answer):
        raise _corrupt("the metadata is longer than the answer")
    meta = _checked(orjson.loads(answer[_U32.size : meta_end]))
    data = answer[meta_end:]
    known = meta.get
    headers = _pairs(known("headers", ()))
    if "offsets" in meta:
        recording = Recording(None, _events(meta, data), headers, known("status", _OK))
    else:
        recording = Recording(data, None, headers, known("status", _OK))
    return CacheEntry(
        key,
        recording,
        meta["kind"],
        known("model"),
        tuple(_texts(meta["tags"])) if "tags" in meta else (),
        meta["created_at"],
        known("expires_at"),
        known("keep_until"),
        known("duration"),
        known("cost"),
        known("answered_by"),
        request,
        _components(meta["components"]) if "components" in meta else _NO_COMPONENTS,
        known("input_cost"),
        known("price_list"),
    )


def _checked(meta: Any) -> dict[str, Any]:
    """Return metadata whose fields have the types they are written with.

    The checksum finds accidents; what is wrong here was forged. Every hit passes.
    """
    if type(meta) is not dict:
        raise _corrupt(f"the metadata is a {type(meta).__name__}")
    for name, value in meta.items():
        types = _TYPES.get(name)
        if types is not None and type(value) not in types:
            raise _corrupt(f"{name} is a {type(value).__name__}")
    return meta


def _texts(values: Iterable[Any]) -> Iterable[str]:
    for value in values:
        if type(value) is not str:
            raise _corrupt(f"a {type(value).__name__} where text belongs")
    return values


def _components(digests: dict[str, Any]) -> dict[str, str]:
    _texts(digests.values())
    return digests


def _pairs(headers: Iterable[Any]) -> tuple[tuple[str, str], ...]:
    pairs = []
    for header in headers:
        if type(header) is not list:
            raise _corrupt("a header is no list")
        name, value = header
        if type(name) is not str or type(value) is not str:
            raise _corrupt("a header is no pair of texts")
        pairs.append((name, value))
    return tuple(pairs)


def _events(meta: Mapping[str, Any], data: bytes) -> tuple[WireEvent, ...]:
    deltas: list[int] = meta["offsets"]
    names: list[str | None] = meta.get("events") or [None] * len(deltas)
    pieces = data.split(_SEPARATOR) if data or deltas else []
    if not len(pieces) == len(deltas) == len(names):
        raise _corrupt(f"{len(pieces)} events, {len(deltas)} offsets, {len(names)} names")
    if not (_OFFSETS.issuperset(map(type, deltas)) and _NAMES.issuperset(map(type, names))):
        raise _corrupt("an offset is no number, or a name no text")
    moments = accumulate(deltas)
    return tuple(
        [
            WireEvent(piece, name, moment / 1e6)
            for piece, name, moment in zip(pieces, names, moments, strict=True)
        ]
    )


def _corrupt(reason: str) -> CorruptEntryError:
    return CorruptEntryError(reason, operation="decode")
