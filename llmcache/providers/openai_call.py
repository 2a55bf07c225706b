"""How OpenAI and compatible servers are asked for a chat completion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..options import checked_object
from ..types._json import FrozenDict, Json
from .http_call import Framing

__all__ = ["CHAT_FRAMING", "UNASKED_FRAMING", "ChatFraming"]


class ChatFraming(Framing):
    """As other streams are asked for, and with the usage at their end where `streamed` has that."""

    __slots__ = ()

    def stream_body(self, body: Mapping[str, Json]) -> dict[str, Json]:
        """Return what asks for `body`'s answer as a stream; see `Framing.stream_body`."""
        sent = {**body, "stream": True}
        stated = checked_object("stream_options", sent.pop("stream_options", None) or {})
        options = _stream_options(stated, asks_usage="stream_options" in self.streamed)
        if options:
            sent["stream_options"] = options
        return sent


def _stream_options(stated: Mapping[str, Any], *, asks_usage: bool) -> dict[str, Json]:
    """Return what a stream is asked with: without its usage it could not answer a whole call.

    `False` is the API's default and is not sent: some servers know nothing of the question.
    """
    options = dict(stated)
    if options.get("include_usage") is False:
        del options["include_usage"]
    elif asks_usage:
        options["include_usage"] = True
    return options


CHAT_FRAMING: Final = ChatFraming(
    streamed=FrozenDict({"stream": True, "stream_options": FrozenDict({"include_usage": True})})
)
UNASKED_FRAMING: Final = ChatFraming()
"""Of servers that give the usage unasked, or know nothing of the question."""
