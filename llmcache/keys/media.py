"""Inline media in a request, compared by the bytes they decode to.

Every rewriting here is injective: two different media never become the same
text, and text that is no medium cannot pretend to be the digest of one.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import unquote_to_bytes

from ..types._json import Json
from .canonical import digest, plain

__all__ = ["base64_digest", "media_url", "unsigned_url"]

# Azure shared access signatures: https://learn.microsoft.com/rest/api/storageservices/create-service-sas
_SAS_FIELDS: Final = frozenset(
    {
        "sig",
        "se",
        "sp",
        "sr",
        "st",
        "sv",
        "spr",
        "sip",
        "skoid",
        "sktid",
        "skt",
        "ske",
        "sks",
        "skv",
    }
)
# By the parameter that makes a URL a signed one: which parameters belong to the signature.
_SIGNATURES: Final[Mapping[str, Callable[[str], bool]]] = {
    "x-amz-signature": lambda name: name.startswith("x-amz-"),
    "x-goog-signature": lambda name: name.startswith("x-goog-"),
    "sig": _SAS_FIELDS.__contains__,
}


def media_url(url: Json) -> Json:
    """Return a data URL as `data:<media type>;sha256,<hex>`; any other value unchanged.

    A data URL that does not decode is kept as text. It cannot meet a digest: a
    literal `data:…;sha256,…` is itself a data URL, and so is digested again.
    """
    if not isinstance(url, str) or url[:5].lower() != "data:":
        return plain(url)
    head, comma, payload = url[5:].partition(",")
    if not comma:
        return url
    is_base64 = head.lower().endswith(";base64")
    # The type is case-insensitive; a parameter's value (a file's name) need not be.
    kind, semicolon, parameters = (head[:-7] if is_base64 else head).partition(";")
    media_type = kind.strip().lower() + semicolon + parameters
    if is_base64:
        data = _decoded(payload)
        if data is None:
            return url
    else:
        data = unquote_to_bytes(payload)
    return f"data:{media_type};sha256,{digest(data)}"


def base64_digest(text: Json) -> Json:
    """Return base64 text as `sha256:<hex>` of its bytes, and other text marked as literal."""
    if not isinstance(text, str):
        return plain(text)
    data = _decoded(text)
    return f"literal:{text}" if data is None else f"sha256:{digest(data)}"


def _decoded(text: str) -> bytes | None:
    try:
        compact = text.encode("ascii").translate(None, b" \t\r\n").rstrip(b"=")
        padded = compact + b"=" * (-len(compact) % 4)
        if b"-" in padded or b"_" in padded:
            return base64.b64decode(padded, altchars=b"-_", validate=True)
        return binascii.a2b_base64(padded, strict_mode=True)
    except (UnicodeEncodeError, binascii.Error):
        return None


def unsigned_url(url: str) -> str:
    """Return `url` without the parameters of its signature; one that is not signed is unchanged.

    Works on the text between the ampersands, so that nothing is decoded and merged.
    """
    head, mark, rest = url.partition("?")
    query, hash_mark, fragment = rest.partition("#")
    pieces = query.split("&")
    names = {piece.partition("=")[0].lower() for piece in pieces}
    for signature, belongs in _SIGNATURES.items():
        if signature in names:
            pieces = [p for p in pieces if not belongs(p.partition("=")[0].lower())]
    return head + (mark if pieces else "") + "&".join(pieces) + hash_mark + fragment
