"""A turn in the words of the API that it came from, and whose words they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ._json import Json, freeze, thaw

__all__ = ["Native"]

_FIELDS = frozenset({"api", "body"})


@dataclass(frozen=True, slots=True)
class Native:
    """What one server said in a turn, to be sent back to that server unchanged.

    Signatures, encrypted reasoning and the ids of items mean something to the server that
    made them and nothing to any other, even of the same API. `api` is the wire API (a
    request's `kind`: `chat`, `messages`, `responses`, `ollama.chat`); `body` the turn in its
    shape: a message's object, or the list of a response's output items. A `Message` has
    the words of chat completions itself: there `body` is `None`, and says only that what
    stands beside text and calls is the server's own and not the caller's.

    `origin` is the server: the name of a known one (`openai`, `groq`), whatever name it
    was registered under and whatever the account; else where it is (`localhost:8000`), so that
    two that a person runs, or two resources of Azure, are two. `None`, in turns that were
    stored by earlier versions or written by hand, is any server of the API.
    """

    api: str
    body: Json
    origin: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "body", freeze(self.body))

    def is_from(self, api: str, origin: str | None = None) -> bool:
        """Return whether `origin`, speaking `api`, said this; `None` is any server."""
        return self.api == api and (self.origin is None or origin is None or self.origin == origin)

    def for_api(self, api: str, origin: str | None = None) -> Json:
        """Return the turn as JSON that the caller may change; `None` for another API or server."""
        return thaw(self.body) if self.is_from(api, origin) else None

    def to_dict(self) -> dict[str, Json]:
        """Return the fields, without an `origin` that nobody knows."""
        told: dict[str, Json] = {"api": self.api, "body": thaw(self.body)}
        return told if self.origin is None else {**told, "origin": self.origin}

    @classmethod
    def from_dict(cls, data: Mapping[str, Json]) -> Native:
        """Return what `to_dict` described."""
        return cls(data["api"], data["body"], data.get("origin"))

    @staticmethod
    def is_dict(data: object) -> bool:
        """Return whether `to_dict` may have described `data`; a server's own field may be anything."""
        return isinstance(data, Mapping) and data.keys() - {"origin"} == _FIELDS
