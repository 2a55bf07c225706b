"""Turns that one server said, on their way to another.

What came from an answer says so (`Message.native`); it goes back to its server as it
came, and to any other in words that all of them know. Whatever a caller wrote goes as
written, wherever.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..types import Message, Native, TextPart
from ..types._json import FrozenDict
from .tools import tool_calls

__all__ = ["native_of", "neutral"]


def native_of(item: object) -> Native | None:
    """Return what a message, or the dict of one, says of where it came from."""
    if isinstance(item, Message):
        return item.native
    told: Any = item.get("native") if isinstance(item, Mapping) else None
    return Native.from_dict(told) if told is not None and Native.is_dict(told) else None


def neutral(item: Any, path: str) -> Message:
    """Return an answer's turn, a message or the dict of one, without what its server alone understands.

    Text, tool calls and a refusal stay; reasoning, signatures, citations and media of its
    own shape go.

    Raises:
        InvalidRequestError: a dict that is no message; `path` leads the place.
    """
    message = item if isinstance(item, Message) else Message.from_dict(item, path=path)
    refusal = message.extra.get("refusal")
    calls = message.tool_calls or tool_calls(message.extra)
    return Message(
        message.role,
        _text(message),
        name=message.name,
        tool_calls=None if calls is None else tuple(replace(c, extra=FrozenDict()) for c in calls),
        tool_call_id=message.tool_call_id,
        extra=FrozenDict({"refusal": refusal}) if isinstance(refusal, str) and refusal else {},
    )


def _text(message: Message) -> str | None:
    """Return the content's text; parts are a server's own, but for their text."""
    if message.content is None or isinstance(message.content, str):
        return message.content
    pieces = []
    for part in message.content:
        told = {"type": "text", "text": part.text} if isinstance(part, TextPart) else part.to_dict()
        if told.get("type") == "text" and isinstance(told.get("text"), str):
            pieces.append(told["text"])
    return "".join(pieces)
