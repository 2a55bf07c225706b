"""Parts of a message's content: text, image, audio, file, and whatever a provider adds.

Each part's `to_dict` is the OpenAI chat-completions shape, which compatible
servers share; other wire APIs translate from the typed part. A part that
carries fields we do not model stays a `RawPart`, so nothing is lost on the way.
"""

from __future__ import annotations

import base64
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ..errors import InvalidRequestError
from ._json import FrozenDict, Json, thaw

__all__ = [
    "AudioPart",
    "ContentPart",
    "FilePart",
    "ImagePart",
    "RawPart",
    "TextPart",
    "part_from_dict",
]


def _data_url(data: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"


@dataclass(frozen=True, slots=True)
class TextPart:
    """A piece of text."""

    text: str

    def to_dict(self) -> dict[str, Json]:
        """Return `{"type": "text", "text": …}`."""
        return {"type": "text", "text": self.text}


@dataclass(frozen=True, slots=True)
class ImagePart:
    """An image by URL; inline images are data URLs. `detail`: `auto`, `low`, `high` or absent."""

    url: str
    detail: str | None = None

    @classmethod
    def from_bytes(
        cls, data: bytes, media_type: str = "image/png", *, detail: str | None = None
    ) -> ImagePart:
        """Return an inline image."""
        return cls(_data_url(data, media_type), detail)

    @classmethod
    def from_file(cls, path: str | Path, *, detail: str | None = None) -> ImagePart:
        """Return an inline image; the media type follows the file's suffix."""
        media_type = mimetypes.guess_type(str(path))[0] or "application/octet-stream"
        return cls.from_bytes(Path(path).read_bytes(), media_type, detail=detail)

    def to_dict(self) -> dict[str, Json]:
        """Return `{"type": "image_url", "image_url": {"url": …, "detail": …}}`."""
        image: dict[str, Json] = {"url": self.url}
        if self.detail is not None:
            image["detail"] = self.detail
        return {"type": "image_url", "image_url": image}


@dataclass(frozen=True, slots=True)
class AudioPart:
    """Input audio: base64 `data` and its `format` (`wav`, `mp3`)."""

    data: str
    format: str

    @classmethod
    def from_bytes(cls, data: bytes, format: str) -> AudioPart:  # noqa: A002 - the wire's word
        """Return audio from its raw bytes."""
        return cls(base64.b64encode(data).decode("ascii"), format)

    def to_dict(self) -> dict[str, Json]:
        """Return `{"type": "input_audio", "input_audio": {"data": …, "format": …}}`."""
        return {"type": "input_audio", "input_audio": {"data": self.data, "format": self.format}}


@dataclass(frozen=True, slots=True)
class FilePart:
    """A file: inline as a data URL in `file_data` (with `filename`), or by a provider's `file_id`."""

    file_data: str | None = None
    filename: str | None = None
    file_id: str | None = None

    @classmethod
    def from_bytes(cls, data: bytes, filename: str) -> FilePart:
        """Return an inline file; the media type follows the name's suffix."""
        media_type = mimetypes.guess_type(filename)[0] or "application/octet-stream"
        return cls(file_data=_data_url(data, media_type), filename=filename)

    def to_dict(self) -> dict[str, Json]:
        """Return `{"type": "file", "file": {…}}` with the fields that are set."""
        fields = {"file_data": self.file_data, "filename": self.filename, "file_id": self.file_id}
        return {"type": "file", "file": {k: v for k, v in fields.items() if v is not None}}


@dataclass(frozen=True, slots=True)
class RawPart:
    """A part kept exactly as it was given, because it has a type or a field we do not model."""

    data: Mapping[str, Json]

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", FrozenDict(self.data))

    def to_dict(self) -> dict[str, Json]:
        """Return a copy of the original object."""
        copy: dict[str, Json] = thaw(self.data)
        return copy


ContentPart: TypeAlias = TextPart | ImagePart | AudioPart | FilePart | RawPart


def part_from_dict(data: Mapping[str, Json], *, path: str = "content") -> ContentPart:
    """Return the part that `data` describes; `to_dict` gives the same object back.

    Raises:
        InvalidRequestError: `data` is not an object with a `type`, or a field
            that the type needs has the wrong shape; `path` leads the message.
    """
    if not isinstance(data, Mapping) or not isinstance(data.get("type"), str):
        raise InvalidRequestError(path, "a content part is an object with a string `type`")
    part = _typed_part(data, path)
    return part if part is not None and part.to_dict() == data else RawPart(data)


def _typed_part(data: Mapping[str, Json], path: str) -> ContentPart | None:
    kind = data["type"]
    if kind == "text":
        return TextPart(_string(data, "text", path))
    if kind == "image_url":
        image = _object(data, "image_url", path)
        return ImagePart(_string(image, "url", f"{path}.image_url"), image.get("detail"))
    if kind == "input_audio":
        audio = _object(data, "input_audio", path)
        place = f"{path}.input_audio"
        return AudioPart(_string(audio, "data", place), _string(audio, "format", place))
    if kind == "file":
        file = _object(data, "file", path)
        return FilePart(file.get("file_data"), file.get("filename"), file.get("file_id"))
    return None


def _object(data: Mapping[str, Json], field: str, path: str) -> Mapping[str, Json]:
    value = data.get(field)
    if not isinstance(value, Mapping):
        raise InvalidRequestError(
            f"{path}.{field}", f"must be an object, not {type(value).__name__}"
        )
    return value


def _string(data: Mapping[str, Json], field: str, path: str) -> str:
    value = data.get(field)
    if not isinstance(value, str):
        raise InvalidRequestError(
            f"{path}.{field}", f"must be a string, not {type(value).__name__}"
        )
    return value
