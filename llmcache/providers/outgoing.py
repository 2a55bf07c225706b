"""What leaves in a request: JSON bytes and headers, refused here when they cannot be sent."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from ..errors import InvalidRequestError
from ..keys.canonical import locate
from ..types._json import Json

__all__ = ["check_headers", "encode_body", "lowered"]

# RFC 9110, sections 5.1 and 5.5, without the bytes above ASCII that no server reads alike.
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE: Final = re.compile(r"([!-~]+([ \t]+[!-~]+)*)?")


def encode_body(body: Mapping[str, Json]) -> bytes:
    """Return `body` as compact JSON.

    Raises:
        InvalidRequestError: naming the place of NaN, a lone surrogate, a foreign
            object, or a key that is no text, which has no key in the cache either.
    """
    _check_keys(body)
    try:
        text = json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return text.encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        found = None if isinstance(error, RecursionError) else locate(body)
        raise found or InvalidRequestError("body", str(error)) from error


def _check_keys(body: Mapping[str, Json]) -> None:
    """Refuse keys that are no text: json.dumps would make text of them, and of 1 and "1" the same."""
    try:
        orjson.dumps(body)  # refuses them, too, in a fraction of the time that a walk takes
    except TypeError:
        wrong = locate(body)
        if wrong is not None:
            raise wrong from None


def lowered(headers: Any, path: str) -> dict[str, str]:
    """Return headers with their names in lower case: HTTP does not tell `X-A` from `x-a`.

    Raises:
        InvalidRequestError: naming what in `path` is not text.
    """
    if not isinstance(headers, Mapping):
        reason = f"must be an object of header names and values, not {type(headers).__name__}"
        raise InvalidRequestError(path, reason)
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise InvalidRequestError(f"{path}.{name}", "a header's name and value are text")
    return {name.lower(): value for name, value in headers.items()}


def check_headers(headers: Mapping[str, str], path: str) -> None:
    """Do nothing when every header can be sent.

    Raises:
        InvalidRequestError: naming the one that cannot; its value may be a secret.
    """
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            reason = "a header is one line of ASCII, with no white space at its ends"
            raise InvalidRequestError(f"{path}.{name}", reason)
