"""What a call used, in one shape, from the words of each API.

Pure: the numbers of one `usage` object (Ollama: of the answer itself) in, a `Usage`
out. Where the APIs differ, and what is done about it, stands at each function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

from ..types import Usage

__all__ = ["api_of_usage", "parse_usage"]

_NUMBERS: Final = frozenset({int, float})  # and not bool, which is an int to isinstance
# https://docs.x.ai/docs/guides/usage: ten thousand million ticks are a dollar.
_USD_PER_TICK: Final = Decimal("1e-10")


def parse_usage(data: Mapping[str, Any], api: str = "chat") -> Usage:
    """Return the usage that `data` states in the words of `api`, a request's kind.

    For `ollama.chat` and `ollama.generate` `data` is the answer, its last line when it
    was streamed; elsewhere the object called `usage`. What `message_delta` events of a
    stream repeat is for the stream's decoder to add up: the last of each field holds.

    Raises:
        KeyError: an API that has no usage.
        AttributeError, TypeError, ValueError: `data` is not that API's usage.
    """
    return _PARSERS[api](data)


def api_of_usage(data: Mapping[str, Any]) -> str:
    """Return the API in whose words `data` is written; `chat` where nothing tells.

    `input_tokens` and `output_tokens` alone mean the same in both APIs that use them.
    """
    if "prompt_eval_count" in data or "eval_count" in data:
        return "ollama.chat"
    if "cache_read_input_tokens" in data or "cache_creation_input_tokens" in data:
        return "messages"
    return "responses" if "input_tokens" in data or "output_tokens" in data else "chat"


def _chat(data: Mapping[str, Any]) -> Usage:
    """Read a chat completion's, wherever the server puts its numbers.

    Cached tokens: OpenAI `prompt_tokens_details.cached_tokens`, DeepSeek
    `prompt_cache_hit_tokens`, Mistral `num_cached_tokens`, Hugging Face and Moonshot
    `cached_tokens`. Cost: OpenRouter `cost`, Perplexity `cost.total_cost`, xAI
    `cost_in_usd_ticks`; others do not say. A total above the sum of its parts holds
    reasoning that the server leaves out of `completion_tokens` (xAI, Gemini): output.
    """
    read = int(data.get("prompt_tokens") or 0)
    written = int(data.get("completion_tokens") or 0)
    total = int(data.get("total_tokens") or 0) or read + written
    if total > read + written:
        written = total - read
    prompt, answer = data.get("prompt_tokens_details"), data.get("completion_tokens_details")
    cached = (
        data.get("prompt_cache_hit_tokens")
        or data.get("num_cached_tokens")
        or data.get("cached_tokens")
    )
    reasoned = data.get("reasoning_tokens")
    cost = _stated_cost(data) if "cost" in data or "cost_in_usd_ticks" in data else None
    if cost is None and not (prompt or answer or cached or reasoned):
        return Usage.of(input_tokens=read, output_tokens=written, total_tokens=total)
    prompt, answer = prompt or {}, answer or {}
    return Usage.of(
        input_tokens=read,
        output_tokens=written,
        total_tokens=total,
        input_tokens_cached=int(prompt.get("cached_tokens") or cached or 0),
        input_tokens_cache_write=int(prompt.get("cache_write_tokens") or 0),
        input_tokens_audio=int(prompt.get("audio_tokens") or 0),
        output_tokens_audio=int(answer.get("audio_tokens") or 0),
        reasoning_tokens=int(answer.get("reasoning_tokens") or reasoned or 0),
        total_cost=cost,
    )


def _embedding(data: Mapping[str, Any]) -> Usage:
    """Read an embedding's: nothing is written, and Voyage states the total alone."""
    read = int(data.get("prompt_tokens") or 0)
    total = int(data.get("total_tokens") or 0) or read
    return Usage(input_tokens=total, total_tokens=total, total_cost=_stated_cost(data))


def _responses(data: Mapping[str, Any]) -> Usage:
    """Read a response's: `input_tokens` counts cached tokens as well, as a chat completion's."""
    read, written = int(data.get("input_tokens") or 0), int(data.get("output_tokens") or 0)
    given = data.get("input_tokens_details") or {}
    answer = data.get("output_tokens_details") or {}
    return Usage.of(
        input_tokens=read,
        output_tokens=written,
        total_tokens=int(data.get("total_tokens") or 0) or read + written,
        input_tokens_cached=int(given.get("cached_tokens") or 0),
        input_tokens_cache_write=int(given.get("cache_write_tokens") or 0),
        input_tokens_audio=int(given.get("audio_tokens") or 0),
        output_tokens_audio=int(answer.get("audio_tokens") or 0),
        reasoning_tokens=int(answer.get("reasoning_tokens") or 0),
        total_cost=_stated_cost(data),
    )


def _messages(data: Mapping[str, Any]) -> Usage:
    """Read an Anthropic message's: `input_tokens` leaves out what was cached, and what was written."""
    cached = int(data.get("cache_read_input_tokens") or 0)
    kept = int(data.get("cache_creation_input_tokens") or 0)
    read = int(data.get("input_tokens") or 0) + cached + kept
    written = int(data.get("output_tokens") or 0)
    lasting = data.get("cache_creation") or {}
    answer = data.get("output_tokens_details") or {}
    return Usage.of(
        input_tokens=read,
        output_tokens=written,
        total_tokens=read + written,
        input_tokens_cached=cached,
        input_tokens_cache_write=kept,
        input_tokens_cache_write_1h=int(lasting.get("ephemeral_1h_input_tokens") or 0),
        reasoning_tokens=int(answer.get("thinking_tokens") or 0),
        total_cost=_stated_cost(data),
    )


def _ollama(data: Mapping[str, Any]) -> Usage:
    """Read an Ollama answer's: `prompt_eval_count` is missing where the prompt was still in memory."""
    read, written = int(data.get("prompt_eval_count") or 0), int(data.get("eval_count") or 0)
    return Usage.of(input_tokens=read, output_tokens=written, total_tokens=read + written)


def _stated_cost(data: Mapping[str, Any]) -> Decimal | None:
    """Return what the server says that the call cost, in US dollars."""
    cost = data.get("cost")
    if isinstance(cost, dict):
        cost = cost.get("total_cost")
    if type(cost) in _NUMBERS:
        return Decimal(str(cost))
    ticks = data.get("cost_in_usd_ticks")
    return ticks * _USD_PER_TICK if type(ticks) is int else None


_PARSERS: Final[Mapping[str, Callable[[Mapping[str, Any]], Usage]]] = {
    "chat": _chat,
    "embedding": _embedding,
    "messages": _messages,
    "ollama.chat": _ollama,
    "ollama.generate": _ollama,
    "responses": _responses,
}
