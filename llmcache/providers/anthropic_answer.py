"""What an Anthropic message says, in the words of `CompletionResult`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from ..errors import InvalidResponseError
from ..types import CompletionResult, Native, ToolCall
from ..types._json import Json
from .failures import MALFORMED, embedded_error, error_from_json, snippet
from .usage import parse_usage

__all__ = ["KIND", "as_text", "input_text", "parse_message", "refusal_text"]

KIND: Final = "messages"
"""The request kind of the Messages API, and the name of its native turns."""


def parse_message(
    data: Json,
    raw: bytes,
    provider: str,
    arguments: Mapping[int, str] | None = None,
    origin: str | None = None,
) -> CompletionResult:
    """Return the answer that a message object holds; `raw` is its JSON text.

    `arguments` has the text of tool inputs as it was streamed, by the block's place;
    inputs that came as objects are written out. `origin` is the server whose words it has
    (`Native`); the provider itself unless told.

    Raises:
        ProviderError: an error with status 200, or not a message.
    """
    if embedded_error(data):
        raise error_from_json(provider, data, 200)
    try:
        return _parsed(data, raw, arguments or {}, origin or provider)
    except MALFORMED as error:
        message = f"not an Anthropic message ({error}): {snippet(raw)}"
        raise InvalidResponseError(message, provider=provider, status=200) from error


def _parsed(
    data: Mapping[str, Any], raw: bytes, arguments: Mapping[int, str], origin: str
) -> CompletionResult:
    if data["role"] != "assistant":
        msg = f"the role is {data['role']!r}"
        raise ValueError(msg)
    text: list[str] = []
    thinking: list[str] = []
    calls: list[ToolCall] = []
    for index, block in enumerate(data["content"]):
        kind = block["type"]
        if kind == "text":
            text.append(as_text(block["text"]))
        elif kind == "thinking":
            thinking.append(as_text(block["thinking"]))
        elif kind == "tool_use":
            given = arguments.get(index)
            written = input_text(block["input"]) if given is None else given
            calls.append(ToolCall(as_text(block["id"]), as_text(block["name"]), written))
    usage = data.get("usage")
    return CompletionResult.of(
        content="".join(text) if text else None,
        tool_calls=tuple(calls) or None,
        usage=parse_usage(usage, KIND) if usage else None,
        reasoning="".join(thinking) or None,
        refusal=refusal_text(data),
        model=data.get("model"),
        finish_reason=data.get("stop_reason") or None,
        id=data.get("id") or None,
        native=Native(KIND, {"role": "assistant", "content": data["content"]}, origin),
        raw_json=raw,
    )


def as_text(value: Json) -> str:
    """Return `value`.

    Raises:
        TypeError: it is no text.
    """
    if type(value) is not str:
        msg = f"a {type(value).__name__} where text belongs"
        raise TypeError(msg)
    return value


def input_text(value: Json) -> str:
    """Return a tool's input as JSON text.

    Raises:
        TypeError: it is no object.
    """
    if not isinstance(value, dict):
        msg = f"a tool's input is a {type(value).__name__}"
        raise TypeError(msg)
    return json.dumps(value, ensure_ascii=False)


def refusal_text(data: Mapping[str, Any]) -> str | None:
    """Return why the model refused, where the API says so."""
    if data.get("stop_reason") != "refusal":
        return None
    details = data.get("stop_details")
    explanation = details.get("explanation") if isinstance(details, dict) else None
    return explanation if isinstance(explanation, str) else None
