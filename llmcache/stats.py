"""Figures of one call: who answered, after how long, in how many attempts, with how many tokens."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from .providers.failures import request_id
from .providers.usage import api_of_usage, parse_usage
from .types import CompletionResult, StreamEventType, Usage
from .types._json import Json

__all__ = ["CallStats", "new_request_id"]

_TOKEN_EVENTS: Final = frozenset(
    {
        StreamEventType.TOKEN,
        StreamEventType.REASONING,
        StreamEventType.REFUSAL,
        StreamEventType.TOOL_CALL_START,
        StreamEventType.TOOL_CALL_DELTA,
    }
)
_FIELDS: Final = (
    "client_request_id request_id provider model cache_status finish_reason attempts retry_count "
    "latency_ms time_to_first_token_ms inter_token_ms longest_pause_ms token_events "
    "tokens_per_second prompt_tokens completion_tokens total_tokens"
).split()


def new_request_id() -> str:
    """Return an id that no other call has."""
    return uuid.uuid4().hex


@dataclass(slots=True)
class CallStats:
    """What is known of a call; `complete_with_stats` and `stream_with_stats` fill it in.

    Times are milliseconds of the monotonic clock, as the caller waited. The `record_…`
    methods are for measuring calls of one's own: start, first token, end, in this order.
    """

    client_request_id: str = field(default_factory=new_request_id)
    """The caller's name for the call, sent as `x-client-request-id`."""
    request_id: str | None = None
    """The provider's name for the request that succeeded; `None` when nobody was asked."""
    provider: str | None = None
    model: str | None = None
    """The model that answered, by its own account."""
    cache_status: str | None = None
    """`hit`, `miss`, `bypass` or `semantic`."""
    finish_reason: str | None = None
    attempts: int = 0
    """Requests that were sent, with HTTP; 0 for a hit, and for who joined another's call."""
    usage: Usage | None = None
    """Tokens and costs: of a hit, those of the call that made the answer."""
    time_to_first_token_ms: float | None = None
    """Streams only: until the first piece of text, reasoning or tool call."""
    token_events: int = 0
    """Streams only: how many such pieces came."""
    longest_pause_ms: float | None = None
    """Streams only: the longest wait between two pieces."""
    _started: float | None = None
    _ended: float | None = None
    _first: float | None = None
    _last: float | None = None

    def record_start(self) -> None:
        """Note that the call begins now."""
        self._started = time.monotonic()

    def record_first_token(self) -> None:
        """Note that the first piece of the answer is here."""
        self.record_token()

    def record_token(self) -> None:
        """Note that a piece of the answer is here."""
        now = time.monotonic()
        self.token_events += 1
        if self._first is None or self._last is None:
            self._first = now
            self.time_to_first_token_ms = _milliseconds(self._started, now)
        else:
            pause = (now - self._last) * 1e3
            self.longest_pause_ms = max(pause, self.longest_pause_ms or 0.0)
        self._last = now

    def record_end(self) -> None:
        """Note that the call is over."""
        self._ended = time.monotonic()

    def record_usage(self, usage: Usage | Mapping[str, Any]) -> None:
        """Note what the call used: a `Usage`, or an API's own object."""
        if not isinstance(usage, Usage):
            usage = parse_usage(usage, api_of_usage(usage))
        self.usage = usage

    def record_event(self, kind: StreamEventType) -> None:
        """Note that an event of a stream is here."""
        if kind in _TOKEN_EVENTS:
            self.record_token()

    def record_response(self, headers: Mapping[str, str]) -> None:
        """Note the provider's name for the request, from the headers of its answer."""
        self.request_id = request_id(headers)

    def record_result(self, result: CompletionResult) -> None:
        """Note who answered, from where, and what it used."""
        self.usage = result.usage
        self.model = result.model or self.model
        self.finish_reason = result.finish_reason
        self.cache_status = None if result.cache is None else result.cache.status

    @property
    def has_ended(self) -> bool:
        """Whether the call is over."""
        return self._ended is not None

    @property
    def latency_ms(self) -> float:
        """How long the call took; so far, while it runs; 0 before it began."""
        end = time.monotonic() if self._ended is None else self._ended
        return _milliseconds(self._started, end) or 0.0

    @property
    def retry_count(self) -> int:
        """Attempts beyond the first."""
        return max(0, self.attempts - 1)

    @property
    def inter_token_ms(self) -> float | None:
        """The mean wait between two pieces of a stream."""
        if self.token_events < 2 or self._last is None:  # noqa: PLR2004 - two make a wait
            return None
        whole = _milliseconds(self._first, self._last) or 0.0
        return whole / (self.token_events - 1)

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens written over the time it took; `None` for a hit, which nobody wrote now."""
        seconds = self.latency_ms / 1e3
        if not self.completion_tokens or not seconds or self.cache_status in {"hit", "semantic"}:
            return None
        return self.completion_tokens / seconds

    @property
    def prompt_tokens(self) -> int:
        """Tokens read; 0 where nobody counted."""
        return 0 if self.usage is None else self.usage.input_tokens

    @property
    def completion_tokens(self) -> int:
        """Tokens written; 0 where nobody counted."""
        return 0 if self.usage is None else self.usage.output_tokens

    @property
    def total_tokens(self) -> int:
        """Both; 0 where nobody counted."""
        return 0 if self.usage is None else self.usage.total_tokens

    def to_dict(self) -> dict[str, Json]:
        """Return every figure as JSON."""
        data: dict[str, Json] = {name: getattr(self, name) for name in _FIELDS}
        data["usage"] = None if self.usage is None else self.usage.to_dict()
        return data


def _milliseconds(start: float | None, end: float) -> float | None:
    return None if start is None else (end - start) * 1e3
