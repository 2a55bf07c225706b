"""Parts of a message's content, as blocks of the Messages API."""

from __future__ import annotations

import base64
import binascii
import mimetypes
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from ..errors import InvalidRequestError
from ..types import (
    AudioPart,
    ContentPart,
    FilePart,
    ImagePart,
    RawPart,
    TextPart,
    part_from_dict,
)
from ..types._json import Json

__all__ = ["wire_block"]

# Parts in the chat-completions shape, which other fields (`cache_control`) may stand beside.
_CHAT_PARTS: Final = {"image_url": "image_url", "input_audio": "input_audio", "file": "file"}


def wire_block(part: ContentPart, path: str) -> dict[str, Json]:
    """Return the block that `part` is; one in Anthropic's own shape goes as it is.

    Raises:
        InvalidRequestError: naming `path`, for what the API has no block for.
    """
    if isinstance(part, TextPart):
        return part.to_dict()
    if isinstance(part, ImagePart):
        return _image(part.url, path)
    if isinstance(part, FilePart):
        return _file(part, path)
    if isinstance(part, AudioPart):
        raise InvalidRequestError(path, "the Messages API takes no audio")
    return _raw(part, path)


def _raw(part: RawPart, path: str) -> dict[str, Json]:
    data = part.to_dict()
    kind = data["type"]
    if kind == "refusal" and isinstance(data.get("refusal"), str):
        return {"type": "text", "text": data["refusal"]}
    field = _CHAT_PARTS.get(kind)
    if field is None or not isinstance(data.get(field), Mapping):
        return data
    known = part_from_dict({"type": kind, field: _known(kind, data[field])}, path=path)
    beside = {name: value for name, value in data.items() if name not in {"type", field}}
    return {**wire_block(known, path), **beside}


_KNOWN: Final = {
    "image_url": ("url", "detail"),
    "input_audio": ("data", "format"),
    "file": ("file_data", "filename", "file_id"),
}


def _known(kind: str, fields: Mapping[str, Any]) -> dict[str, Json]:
    """Return a part's fields without those that only the server knows which it was written for."""
    return {name: fields[name] for name in _KNOWN[kind] if fields.get(name) is not None}


def _image(url: str, path: str) -> dict[str, Json]:
    if url[:5].lower() != "data:":
        return {"type": "image", "source": {"type": "url", "url": url}}
    media_type, data = _inline(url, path)
    return {"type": "image", "source": _base64(media_type, data)}


def _file(part: FilePart, path: str) -> dict[str, Json]:
    title = {} if part.filename is None else {"title": part.filename}
    if part.file_id is not None:
        source: dict[str, Json] = {"type": "file", "file_id": part.file_id}
        return {"type": "document", "source": source, **title}
    text = part.file_data
    if text is None:
        raise InvalidRequestError(path, "a file needs `file_data` or `file_id`")
    if text[:5].lower() == "data:":
        media_type, data = _inline(text, path)
    elif text[:8].lower().startswith(("http://", "https://")):
        return {"type": "document", "source": {"type": "url", "url": text}, **title}
    else:
        media_type, data = mimetypes.guess_type(part.filename or "")[0] or "application/pdf", text
    if media_type.startswith("image/"):
        return {"type": "image", "source": _base64(media_type, data)}
    if media_type.startswith("text/") or media_type == "application/json":
        plain = {"type": "text", "media_type": "text/plain", "data": _decoded(data, path)}
        return {"type": "document", "source": plain, **title}
    return {"type": "document", "source": _base64(media_type, data), **title}


def _base64(media_type: str, data: str) -> dict[str, Json]:
    return {"type": "base64", "media_type": media_type, "data": data}


def _inline(url: str, path: str) -> tuple[str, str]:
    """Return the media type and the base64 text of a data URL (RFC 2397)."""
    head, comma, payload = url[5:].partition(",")
    if not comma:
        raise InvalidRequestError(path, "a data URL needs a comma before its data")
    media_type, _, _ = head.partition(";")
    if head.lower().endswith(";base64"):
        return media_type.strip().lower() or "text/plain", payload
    data = base64.b64encode(unquote_to_bytes(payload)).decode("ascii")
    return media_type.strip().lower() or "text/plain", data


def _decoded(data: str, path: str) -> str:
    try:
        return base64.b64decode(data, validate=True).decode("utf-8")
    except (binascii.Error, ValueError) as error:
        raise InvalidRequestError(path, "a text file is base64 of UTF-8 text") from error
