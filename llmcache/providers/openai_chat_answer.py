"""What a chat completion says, in the words of `CompletionResult`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import orjson

from ..errors import InvalidResponseError
from ..types import Choice, CompletionResult, Message, Native, Role, ToolCall
from ..types._json import FrozenDict, Json, freeze
from .failures import MALFORMED, embedded_error, error_from_json, snippet
from .tool_ids import OPENAI_IDS
from .tools import tool_calls
from .usage import parse_usage

__all__ = ["KIND", "mark_of", "named_calls", "parse_completion"]

KIND: Final = "chat"
"""The request kind of chat completions, and the name of their native turns."""


def mark_of(origin: str) -> Native:
    """Return what turns say that have the words of the server `origin`."""
    return Native(KIND, None, origin)


def parse_completion(data: Json, raw: bytes, provider: str, mark: Native) -> CompletionResult:
    """Return the answer that a chat completion object holds; `raw` is its JSON text.

    What has words of the server's own gets `mark`.

    Raises:
        ProviderError: an error with status 200, or not a chat completion.
    """
    if embedded_error(data):
        raise error_from_json(provider, data, 200)
    try:
        for choice in data["choices"]:
            if choice.get("error"):  # OpenRouter
                raise error_from_json(provider, choice, 200)
        return _parsed(data, raw, mark)
    except MALFORMED as error:
        message = f"not a chat completion ({error}): {snippet(raw)}"
        raise InvalidResponseError(message, provider=provider, status=200) from error


def _parsed(data: Mapping[str, Any], raw: bytes, mark: Native) -> CompletionResult:
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
    calls = None
    if beside or message.get("tool_calls"):
        calls = named_calls(message, data.get("id"), first.get("index"))
    return CompletionResult.of(
        content=content,
        tool_calls=calls,
        usage=parse_usage(usage) if usage else None,
        reasoning=(_reasoning(message) if beside else None) or thinking,
        refusal=beside.get("refusal"),
        model=data.get("model"),
        finish_reason=first.get("finish_reason") or None,
        id=data.get("id") or None,
        logprobs=None if logprobs is None else freeze(logprobs),
        choices=tuple(_choice(c, data.get("id"), mark) for c in choices)
        if len(choices) > 1
        else (),
        extra=FrozenDict(beside) if beside else _EMPTY,
        native=mark if beside or (calls and _has_own(beside, calls)) else None,
        raw_json=raw,
    )


def _has_own(beside: Mapping[str, Json], calls: tuple[ToolCall, ...] | None) -> bool:
    """Whether a turn has words that another server may not take: anything but text and plain calls.

    What has not is the turn that anybody would write, and nothing need be known of it.
    """
    return bool(beside) or (calls is not None and not all(map(_is_plain, calls)))


def _is_plain(call: ToolCall) -> bool:
    if call.extra or not OPENAI_IDS.allows(call.id):
        return False
    try:
        return not call.arguments or type(orjson.loads(call.arguments)) is dict
    except ValueError:
        return False


def _choice(data: Mapping[str, Any], answer: Json, mark: Native) -> Choice:
    message = data["message"]
    content, _ = _content(message.get("content"))
    calls, beside = named_calls(message, answer, data.get("index")), _beside(message)
    native = mark if _has_own(beside, calls) else None
    turn = Message(Role.ASSISTANT, content, tool_calls=calls, extra=beside, native=native)
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


def named_calls(
    message: Mapping[str, Any], answer: Json, choice: Json
) -> tuple[ToolCall, ...] | None:
    """Return the calls of a choice of an answer; one that the server gave no id gets one.

    It is made of the answer's id, the call's place and the call itself: the same for
    the same answer whenever and however it is read, another in another turn. A legacy
    `function_call`, which is alone, needs none.
    """
    calls = tool_calls(message)
    if not calls or not message.get("tool_calls") or all(call.id for call in calls):
        return calls
    return tuple(_named(calls, [answer or None, choice or 0]))


def _named(calls: tuple[ToolCall, ...], place: list[Json]) -> Iterator[ToolCall]:
    for number, call in enumerate(calls):
        if call.id:
            yield call
            continue
        text = json.dumps([*place, number, call.name, call.arguments])
        digest = hashlib.sha256(text.encode()).hexdigest()
        yield replace(call, id=f"call_{digest[:24]}")


_EMPTY: Final = FrozenDict()
_MODELED: Final = frozenset({"role", "content", "tool_calls"})


def _beside(message: Mapping[str, Any]) -> dict[str, Json]:
    """Return what an assistant's message says that we do not model."""
    beside = {k: v for k, v in message.items() if v and k not in _MODELED}
    if isinstance(message.get("content"), list):
        beside["content"] = message["content"]  # parts that text alone would lose
    return beside
