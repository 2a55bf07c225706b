"""A turn in the words of the API that it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ._json import Json, freeze, thaw

__all__ = ["Native"]


@dataclass(frozen=True, slots=True)
class Native:
    """What one API said in a turn, to be sent back to that API unchanged.

    Signatures, encrypted reasoning and the ids of items mean something to the API that
    made them and nothing to any other. `api` is the wire API (a request's `kind`:
    `messages`, `responses`, `ollama.chat`); `body` the turn in its shape: a message's
    object, or the list of a response's output items.
    """

    api: str
    body: Json

    def __post_init__(self) -> None:
        object.__setattr__(self, "body", freeze(self.body))

    def for_api(self, api: str) -> Json:
        """Return the turn as JSON that the caller may change; `None` for another API."""
        return thaw(self.body) if api == self.api else None

    def to_dict(self) -> dict[str, Json]:
        """Return both fields."""
        return {"api": self.api, "body": thaw(self.body)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Json]) -> Native:
        """Return what `to_dict` described."""
        return cls(data["api"], data["body"])

    @staticmethod
    def is_dict(data: object) -> bool:
        """Return whether `to_dict` may have described `data`; a server's own field may be anything."""
        return isinstance(data, Mapping) and data.keys() == {"api", "body"}
