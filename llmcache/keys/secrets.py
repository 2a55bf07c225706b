"""What of a request is secret: it counts in the key, and cannot be read in what is stored.

An entry keeps the identity whose SHA-256 is its key. So a credential that stands in a
field of its own is replaced before anything is hashed, by a digest that tells requests
apart as well. One inside a URL stays where it is, since a URL has a key already; of such a
request an entry keeps digests alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from ..types._json import Json
from .canonical import digest

__all__ = [
    "SCHEMA_FIELDS",
    "TOOL_FIELDS",
    "discreet",
    "has_secret_url",
    "holds_secrets",
    "is_schema",
    "is_secret_name",
    "sealed",
    "sealed_url",
    "url_secrets",
]

_NAME: Final = re.compile(
    r"(auth|authentication|authorization|connection_?string|cookie|credential|key|passphrase|passwd"
    r"|password|pwd|secret|session|sig|signature|token)s?$",
    re.IGNORECASE,
)
# OpenAI's `domain_secrets` of a container, and the headers with which a tool's server is
# asked: any of them may be what it takes for a credential.
_HOLDER: Final = re.compile(r"(headers|secrets)$", re.IGNORECASE)
# The properties of a schema have names, and no values: vLLM's, and those of later fields.
_SCHEMAS: Final = frozenset({"guided_json", "json_schema", "schema"})
SCHEMA_FIELDS: Final = frozenset({"parameters", "schema", "input_schema", "output_schema"})
"""Fields that hold a JSON Schema, in whatever object of an API that has been classified."""
TOOL_FIELDS: Final = SCHEMA_FIELDS | frozenset(
    "allowed_callers cache_control custom defer_loading description format function "
    "input_examples name strict type".split()
)
"""Fields of the tools that the caller runs: nothing in them is secret."""
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
_QUOTED_URL: Final = re.compile(rb'"([A-Za-z][A-Za-z0-9+.-]*://[^"\\\s]+)\\*"')
_CODE: Final = "code"  # of Azure's functions


def is_secret_name(name: object) -> bool:
    """Return whether a field, a header or a URL's parameter of this name holds a credential."""
    return isinstance(name, str) and _NAME.search(name) is not None


def holds_secrets(name: object) -> bool:
    """Return whether all texts in a field of this name are taken for credentials."""
    return isinstance(name, str) and _HOLDER.search(name) is not None


def is_schema(name: object) -> bool:
    """Return whether a field of this name holds a schema, wherever it stands.

    `parameters` does so in tools alone: Azure's `data_sources` have credentials there.
    """
    return name in _SCHEMAS


def sealed(value: Json) -> Json:
    """Return `value` with a digest in the place of every text in it.

    Raises:
        ValueError: a text has a lone surrogate.
    """
    if isinstance(value, str):
        # Every text is digested, so that none can pretend to be the digest of another.
        return f"sha256:{digest(value.encode())}"
    if isinstance(value, Mapping):
        return {name: sealed(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [sealed(item) for item in value]
    return value


def discreet(name: object, value: Json) -> Json:
    """Return the `value` of a field with digests in the place of what is secret by its name.

    Looks inside, and keeps the order of keys. Not for what a user or a model wrote, nor
    for schemas: a field called `token` there is data.

    Raises:
        ValueError: as `sealed`.
    """
    if is_secret_name(name) or holds_secrets(name):
        return sealed(value)
    if is_schema(name):
        return value
    if isinstance(value, Mapping):
        return {inner: discreet(inner, item) for inner, item in value.items()}
    if isinstance(value, list | tuple):
        return [discreet(None, item) for item in value]
    return value


def sealed_url(value: Json) -> Json:
    """Return a server's URL with its host to be read, and the rest as a digest.

    Servers of tools have credentials in their paths, too; for that reason OpenAI's own
    API returns no more than the host.
    """
    if not isinstance(value, str):
        return sealed(value)
    return f"{_origin(value)} {sealed(value)}"


def _origin(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return "://"
    return f"{parts.scheme}://{parts.hostname or ''}"


# --- URLs that are part of what is asked --------------------------------------------------------


def url_secrets(url: str) -> Iterator[str]:
    """Yield the credentials in a URL: its user info, signatures, keys; nothing for other texts."""
    if _URL.fullmatch(url) is None:
        return
    try:
        parts = urlsplit(url)
    except ValueError:
        return
    info, _, _ = parts.netloc.rpartition("@")
    yield from filter(None, (info, *info.split(":")))
    for name, value in (*parse_qsl(parts.query), *parse_qsl(parts.fragment)):
        if is_secret_name(name) or name.lower() == _CODE:
            yield value


def has_secret_url(identity: bytes) -> bool:
    """Return whether a text in canonical `identity` is a URL with a credential in it.

    Sees those in the JSON text of ordered fields, too. A URL inside a sentence is part
    of what somebody wrote, and counts as little as a password there would.
    """
    found = _QUOTED_URL.findall(identity)
    return any(True for url in found for _ in url_secrets(url.decode()))
