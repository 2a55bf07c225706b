"""Which answers may be stored, and which stored answers may be used. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

from ..types import CacheEntry, Choice, CompletionResult, Native
from .control import Control

__all__ = ["Freshness", "freshness", "refusal"]


class Freshness(Enum):
    """What a stored answer may still be used for."""

    FRESH = "fresh"
    REVALIDATE = "revalidate"
    """Past its time, yet it serves while it is refreshed."""
    IF_ERROR = "if_error"
    """Past its time; it serves only when the provider fails."""
    EXPIRED = "expired"


def freshness(entry: CacheEntry, control: Control, now: float) -> Freshness:
    """Return what `entry` may be used for at `now` (Unix seconds).

    An age is never negative: an entry from a clock ahead of ours counts as new.
    """
    until = entry.expires_at
    if control.max_age is not None:
        # At age 0 nothing is too old for max_age=0 but the moment itself.
        limit = min(entry.created_at, now) + control.max_age
        until = limit if until is None else min(until, limit)
    if until is None or now < until:
        return Freshness.FRESH
    if now < until + control.stale_while_revalidate:
        return Freshness.REVALIDATE
    if now < until + control.stale_if_error:
        return Freshness.IF_ERROR
    return Freshness.EXPIRED


# Finish reasons that say the answer is not complete, in lower case, without what may follow a
# colon: OpenAI's and those that compatible servers add. Mistral has `error` and `model_length`,
# DeepSeek `insufficient_system_resource`, vLLM and SGLang `abort`, Z.ai `network_error` and
# `sensitive`; Gemini passes on words of its own, such as `SAFETY`.
_TRUNCATED: Final = frozenset(
    "length max_tokens max_output_tokens incomplete model_length "
    "model_context_window_exceeded".split()
)
_FILTERED: Final = frozenset(
    "content_filter refusal sensitive safety recitation blocklist prohibited_content spii".split()
)
# The model stopped where it wants to be asked to go on (Anthropic): a turn, not an answer.
_PAUSED: Final = frozenset({"pause_turn", "compaction"})
# Who refuses or pauses need not say a word.
_SILENT: Final = _FILTERED | _PAUSED
_FAILED: Final = frozenset(
    "error abort aborted cancelled timeout network_error insufficient_system_resource "
    "malformed_function_call function_call_filter in_progress queued".split()
)
# Ollama's, for a request without a prompt: the model was loaded, or taken out of memory.
_UNASKED: Final = frozenset({"load", "unload"})
# By the words: the option that lets such answers in, if there is one, and why they stay out.
_REFUSED: Final = (
    (
        _FILTERED,
        "refusals",
        "the content filter cut the answer (store_refusals=True stores such answers)",
    ),
    (_UNASKED, "", "nothing was asked: the model was only loaded or unloaded"),
    (_FAILED, "", "the answer ended in trouble: {}"),
    (_PAUSED, "paused", "the turn is not over: {} (store_paused=True stores such turns)"),
    (
        _TRUNCATED,
        "truncated",
        "the length limit cut the answer (store_truncated=True stores such answers)",
    ),
)
# Items of a turn in another API than chat completions that are words, which are looked at apart.
_WORDS: Final = frozenset({"message", "reasoning"})


def refusal(
    result: CompletionResult,
    *,
    store_truncated: bool = False,
    store_refusals: bool = False,
    store_paused: bool = False,
) -> str | None:
    """Return why `result` must not be stored, `None` when it may; see `CachePolicy` for the rest.

    Errors and half streams never get this far as results of status 200; they are
    refused again here, because everything that is stored passes this function.
    """
    if not result.ok:
        return f"the answer is an error: {result.error or result.status}"
    reasons = [result.finish_reason, *(choice.finish_reason for choice in result.choices)]
    if not all(isinstance(reason, str | None) for reason in reasons):
        return "a finish reason is no text"
    given = {_word(reason) for reason in reasons if reason}
    asked = {"refusals": store_refusals, "paused": store_paused, "truncated": store_truncated}
    for words, option, why in _REFUSED:
        if given & words and not asked.get(option, False):
            return why.format(", ".join(sorted(given & words)))
    if not store_refusals and _declines(result):
        return "the model refused to answer (store_refusals=True stores such answers)"
    return "the answer is empty" if _is_empty(result) else None


def _declines(result: CompletionResult) -> bool:
    """Whether the model says in its own words, or one of several answers, that it will not."""
    return bool(
        result.refusal or any(choice.message.extra.get("refusal") for choice in result.choices)
    )


def _word(finish_reason: str | None) -> str:
    """Return a finish reason without what may follow a colon, in lower case."""
    return (finish_reason or "").partition(":")[0].lower()


def _is_empty(result: CompletionResult) -> bool:
    if result.choices:
        return any(not _says_something(choice) for choice in result.choices)
    return not (
        _word(result.finish_reason) in _SILENT
        or result.content
        or result.tool_calls
        or result.refusal
        or _has_media(result.extra)
        or _acts(result.native)
    )


def _says_something(choice: Choice) -> bool:
    message = choice.message
    return bool(
        _word(choice.finish_reason) in _SILENT
        or message.content
        or message.tool_calls
        or message.extra.get("refusal")
        or _has_media(message.extra)
    )


def _acts(native: Native | None) -> bool:
    """Whether a turn asks for something, or made it, in items that are neither text nor a call."""
    items = None if native is None else native.body
    if not isinstance(items, tuple):
        return False
    return any(isinstance(i, Mapping) and i.get("type") not in _WORDS for i in items)


def _has_media(extra: object) -> bool:
    """Whether the message has audio or images, which are an answer without text."""
    get = getattr(extra, "get", None)
    if get is None:
        return False
    audio = get("audio")
    return bool(get("images") or (audio is not None and audio.get("data")))
