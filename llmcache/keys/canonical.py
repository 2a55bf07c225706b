"""Canonical JSON: equal values give equal bytes, different values different bytes.

The reference is the standard library's encoder on a normalized value
(`reference_bytes`). orjson prints the same bytes for everything except numbers
outside its range and floats below 1e-3, so `canonical_bytes` uses orjson and
falls back; `tests/keys/test_canonical.py` holds the two together.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping

import orjson

from ..errors import InvalidRequestError
from ..types._json import Json

__all__ = ["canonical_bytes", "digest", "locate", "ordered", "plain", "reference_bytes"]

_SORTED = orjson.OPT_SORT_KEYS
# From here up to 2**53 both encoders print the shortest positional form of a float.
_SMALLEST_SHARED_FLOAT = 1e-3


class _ReferenceFloat(float):
    """A float that orjson refuses, which sends the whole value to the reference encoder."""

    __slots__ = ()


def plain(value: Json) -> Json:
    """Return `value` normalized: whole floats as integers, tuples as lists, nothing else changed.

    Raises:
        TypeError, ValueError: a value with no JSON form; `locate` finds its path.
    """
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None:
        return value
    if kind is dict:
        return {k: v if type(v) is str else plain(v) for k, v in value.items()}
    if kind is list or kind is tuple:
        return [v if type(v) is str else plain(v) for v in value]
    if kind is float:
        return _number(value)
    return _unusual(value)


def _number(value: float) -> float | int:
    if value.is_integer():  # covers -0.0, which becomes 0
        return int(value)
    if not math.isfinite(value):
        msg = f"{value} has no JSON form"
        raise ValueError(msg)
    return value if abs(value) >= _SMALLEST_SHARED_FLOAT else _ReferenceFloat(value)


def _unusual(value: Json) -> Json:
    """Normalize what is JSON by inheritance: str and int enums, other mappings, sequences."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return _number(float(value))
    if isinstance(value, Mapping):
        return plain(dict(value))
    if isinstance(value, list | tuple):
        return plain(list(value))
    msg = f"{type(value).__name__} has no JSON form"
    raise TypeError(msg)


def canonical_bytes(value: Json) -> bytes:
    """Return the canonical bytes of an already normalized `value`: keys sorted, no white space.

    Raises:
        TypeError, ValueError, RecursionError: as `reference_bytes`.
    """
    try:
        return orjson.dumps(value, option=_SORTED)
    except TypeError:
        return reference_bytes(value)


def reference_bytes(value: Json) -> bytes:
    """Return the bytes that define the canonical form.

    Raises:
        TypeError: a key is not a string, or a value has no JSON form.
        ValueError: NaN, infinity or a lone surrogate.
        RecursionError: nested deeper than the interpreter allows.
    """
    _check_keys(value)
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode("utf-8")


def _check_keys(value: Json) -> None:
    # json.dumps writes 1 and "1" as the same key; two different requests must not meet there.
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                msg = f"object key {key!r} is not a string"
                raise TypeError(msg)
            _check_keys(item)
    elif isinstance(value, list):
        for item in value:
            _check_keys(item)


def ordered(value: Json) -> Json:
    """Return `value` so that the order of keys inside it survives the sorting around it.

    An object or list becomes `{"ordered": <its compact JSON text>}`; since every
    object is wrapped, none can pretend to be a wrapped one. For JSON Schemas, whose
    property order steers constrained decoding, and for fields nobody has classified.

    Raises:
        TypeError, ValueError: as `plain`.
    """
    normal = plain(value)
    if not isinstance(normal, dict | list):
        return normal
    try:
        text = orjson.dumps(normal).decode()
    except TypeError:
        _check_keys(normal)
        text = json.dumps(normal, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return {"ordered": text}


def digest(data: bytes) -> str:
    """Return the 64 hex digits of SHA-256."""
    return hashlib.sha256(data).hexdigest()


def locate(value: Json, path: str = "") -> InvalidRequestError | None:
    """Return an error that names the first place in `value` with no JSON form, if there is one."""
    try:
        return _located(value, path)
    except RecursionError:
        return InvalidRequestError(path or "body", "nested too deeply")


def _located(value: Json, path: str) -> InvalidRequestError | None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str) or not _encodable(key):
                return InvalidRequestError(path, f"object key {key!r} is not Unicode text")
            found = _located(item, f"{path}.{key}" if path else key)
            if found is not None:
                return found
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            found = _located(item, f"{path}[{i}]")
            if found is not None:
                return found
    else:
        reason = _no_json_form(value)
        return None if reason is None else InvalidRequestError(path, reason)
    return None


def _no_json_form(value: object) -> str | None:
    if isinstance(value, str):
        return None if _encodable(value) else "the text has a lone surrogate, which is not Unicode"
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{value} has no JSON form"
    if value is None or isinstance(value, int):
        return None
    return f"{type(value).__name__} has no JSON form"


def _encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
