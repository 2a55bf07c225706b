"""How OpenAI and compatible servers are asked for a chat completion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..options import checked_object
from ..types._json import Json
from .http_call import Framing

__all__ = ["CHAT_FRAMING", "ChatFraming"]


class ChatFraming(Framing):
    """As other streams are asked for, and with the usage at their end."""

    __slots__ = ()

    def stream_body(self, body: Mapping[str, Json]) -> dict[str, Json]:
        """Return what asks for `body`'s answer as a stream; see `Framing.stream_body`."""
        stated = checked_object("stream_options", body.get("stream_options") or {})
        # Without the usage a stored stream would answer a whole call without it, too.
        return {**body, **self.streamed, "stream_options": {**stated, "include_usage": True}}


CHAT_FRAMING: Final = ChatFraming()
