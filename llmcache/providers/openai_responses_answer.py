"""What a response says, in the words of `CompletionResult`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from ..errors import InvalidResponseError, ProviderError, ServerError
from ..types import CompletionResult, Native, ToolCall
from ..types._json import FrozenDict, Json, freeze
from .failures import MALFORMED, embedded_error, error_from_json, snippet
from .usage import parse_usage

__all__ = [
    "BETWEEN",
    "CALLS",
    "parse_response",
    "response_failure",
    "tool_call",
]

_API: Final = "responses"
_EMPTY: Final = FrozenDict()
CALLS: Final = {"function_call": "function", "custom_tool_call": "custom"}
"""The items that are tool calls, and the type of each."""
_REASONS: Final = {"max_output_tokens": "length", "content_filter": "content_filter"}
BETWEEN: Final = "\n\n"
"""What stands between two paragraphs of reasoning, streamed or not."""


def parse_response(
    data: Json, raw: bytes, provider: str, origin: str | None = None
) -> CompletionResult:
    """Return the answer that a response object holds; `raw` is its JSON text.

    `origin` is the server whose words it has (`Native`); the provider itself unless told.

    Raises:
        ProviderError: an error with status 200, a failed response, or no response.
    """
    if embedded_error(data):
        raise error_from_json(provider, data, 200)
    try:
        if data.get("status") == "failed":
            raise response_failure(data, provider)
        return _parsed(data, raw, origin or provider)
    except MALFORMED as error:
        message = f"not a response ({error}): {snippet(raw)}"
        raise InvalidResponseError(message, provider=provider, status=200) from error


def response_failure(data: Mapping[str, Any], provider: str) -> ProviderError:
    """Return the error that a failed response stands for, whether or not it says why."""
    if embedded_error(data):
        return error_from_json(provider, data, 200)
    message = "the response failed, and does not say why"
    return ServerError(message, provider=provider, status=200, retryable=True)


def _parsed(data: Mapping[str, Any], raw: bytes, origin: str) -> CompletionResult:
    output = data["output"]
    if not isinstance(output, list):
        msg = "no list of output items"
        raise TypeError(msg)
    texts: list[str] = []
    refusals: list[str] = []
    logprobs: list[Json] = []
    for part in _spoken(output):
        if part["type"] == "output_text":
            texts.append(_text(part["text"]))
            logprobs += part.get("logprobs") or ()
        elif part["type"] == "refusal":
            refusals.append(_text(part["refusal"]))
    calls = tuple(tool_call(item) for item in output if item.get("type") in CALLS)
    refusal = "".join(refusals) or None
    usage = data.get("usage")
    return CompletionResult.of(
        content="".join(texts) if texts else None,
        tool_calls=calls or None,
        usage=parse_usage(usage, _API) if usage else None,
        reasoning=BETWEEN.join(_thoughts(output)) or None,
        refusal=refusal,
        model=data.get("model"),
        finish_reason=_finish_reason(data, has_calls=bool(calls)),
        id=data.get("id") or None,
        logprobs=freeze({"content": logprobs}) if logprobs else None,
        extra=_EMPTY if refusal is None else FrozenDict({"refusal": refusal}),
        native=Native(_API, output, origin) if output else None,
        raw_json=raw,
    )


def _finish_reason(data: Mapping[str, Any], *, has_calls: bool) -> str | None:
    """Return why the answer ended, in chat's words; a state that is no end goes as it is.

    Servers have reasons of their own (`REASON_MAX_LEN`, `server_timeout`); they follow
    the word `incomplete`.
    """
    status = data.get("status")
    if status == "incomplete":
        reason = (data.get("incomplete_details") or {}).get("reason")
        return _REASONS.get(str(reason)) or f"incomplete:{reason}"
    if status in {None, "completed"}:
        return "tool_calls" if has_calls else "stop"
    return _text(status)


def _spoken(output: list[Any]) -> Iterator[Mapping[str, Any]]:
    for item in output:
        if item["type"] == "message":
            yield from item["content"]


def _thoughts(output: list[Any]) -> Iterator[str]:
    """Yield the paragraphs of reasoning: what the model thought, or the summary of it."""
    for item in output:
        if item.get("type") == "reasoning":
            for part in [*(item.get("content") or ()), *(item.get("summary") or ())]:
                if part.get("text"):
                    yield _text(part["text"])


def tool_call(item: Mapping[str, Any]) -> ToolCall:
    """Return the call that an item is: of a function, or of a tool that takes any text."""
    kind = CALLS[item["type"]]
    text = _text(item["arguments" if kind == "function" else "input"])
    call_id = item.get("call_id") or item.get("id") or ""
    return ToolCall(_text(call_id), _text(item["name"]), text, kind)


def _text(value: Json) -> str:
    if not isinstance(value, str):
        msg = f"a {type(value).__name__} where text belongs"
        raise TypeError(msg)
    return value
