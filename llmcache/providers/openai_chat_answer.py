"""What a chat completion says, in the words of `CompletionResult`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..errors import InvalidResponseError
from ..types import Choice, CompletionResult, Message, Role
from ..types._json import FrozenDict, Json, freeze
from .failures import MALFORMED, embedded_error, error_from_json, snippet
from .tools import tool_calls
from .usage import parse_usage

__all__ = ["parse_completion"]


def parse_completion(data: Json, raw: bytes, provider: str) -> CompletionResult:
    """Return the answer that a chat completion object holds; `raw` is its JSON text.

    Raises:
        ProviderError: an error with status 200, or not a chat completion.
    """
    if embedded_error(data):
        raise error_from_json(provider, data, 200)
    try:
        for choice in data["choices"]:
            if choice.get("error"):  # OpenRouter
                raise error_from_json(provider, choice, 200)
        return _parsed(data, raw)
    except MALFORMED as error:
        message = f"not a chat completion ({error}): {snippet(raw)}"
        raise InvalidResponseError(message, provider=provider, status=200) from error


def _parsed(data: Mapping[str, Any], raw: bytes) -> CompletionResult:
    choices = data["choices"]
    if not choices:
        msg = "no choices"
        raise ValueError(msg)
    first = choices[0]
    message = first["message"]
    content, thinking = message.get("content"), None
    if type(content) is not str:
        content, thinking = _content(content)
    usage = data.get("usage") or (data.get("x_groq") or {}).get("usage")
    logprobs = first.get("logprobs")
    # Most messages are text and nothing else: a hit need not look for what may be beside it.
    beside = _beside(message)
    return CompletionResult.of(
        content=content,
        tool_calls=tool_calls(message) if beside or message.get("tool_calls") else None,
        usage=parse_usage(usage) if usage else None,
        reasoning=(_reasoning(message) if beside else None) or thinking,
        refusal=beside.get("refusal"),
        model=data.get("model"),
        finish_reason=first.get("finish_reason") or None,
        id=data.get("id") or None,
        logprobs=None if logprobs is None else freeze(logprobs),
        choices=tuple(_choice(item) for item in choices) if len(choices) > 1 else (),
        extra=FrozenDict(beside) if beside else _EMPTY,
        raw_json=raw,
    )


def _choice(data: Mapping[str, Any]) -> Choice:
    message = data["message"]
    content, _ = _content(message.get("content"))
    calls, beside = tool_calls(message), _beside(message)
    turn = Message(Role.ASSISTANT, content, tool_calls=calls, extra=beside)
    return Choice(
        data.get("index", 0), turn, data.get("finish_reason") or None, data.get("logprobs")
    )


def _content(value: Json) -> tuple[str | None, str | None]:
    """Return text and thinking; Mistral sends a list of parts where others send text."""
    if value is None or isinstance(value, str):
        return value, None
    text, thinking = [], []
    for part in value:
        if part["type"] == "text":
            text.append(part["text"])
        elif part["type"] == "thinking":
            pieces = part["thinking"]
            whole = pieces if isinstance(pieces, str) else "".join(p["text"] for p in pieces)
            thinking.append(whole)
    return "".join(text), "".join(thinking) or None


def _reasoning(message: Mapping[str, Any]) -> str | None:
    value = message.get("reasoning_content") or message.get("reasoning")
    if isinstance(value, str):
        return value
    details = message.get("reasoning_details")
    if not details:
        return None
    return "".join(item.get("text") or item.get("summary") or "" for item in details) or None


_EMPTY: Final = FrozenDict()
_MODELED: Final = frozenset({"role", "content", "tool_calls"})


def _beside(message: Mapping[str, Any]) -> dict[str, Json]:
    """Return what an assistant's message says that we do not model."""
    beside = {k: v for k, v in message.items() if v and k not in _MODELED}
    if isinstance(message.get("content"), list):
        beside["content"] = message["content"]  # parts that text alone would lose
    return beside
