"""How often a call is tried, and how long it waits in between."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, Final

from ..errors import InvalidRequestError, ProviderError

__all__ = ["Retry"]

# The Stainless SDKs' numbers: what servers are used to (openai-python `_constants.py`).
_MAX_BACKOFF: Final = 8.0
_MAX_WAIT: Final = 120.0
# The ceiling is reached long before; 2.0 to the power of 1024 is an OverflowError.
_MAX_DOUBLINGS: Final = 64


@dataclass(frozen=True, slots=True)
class Retry:
    """How often to try, and how long to wait before the second attempt (seconds; doubles).

    Raises:
        InvalidRequestError: not at least one attempt, or a negative wait.
    """

    attempts: int = 3
    backoff: float = 1.0

    def __post_init__(self) -> None:
        if type(self.attempts) is not int or self.attempts < 1:
            reason = f"must be a whole number above 0, not {self.attempts!r}"
            raise InvalidRequestError("attempts", reason)
        if not _is_number(self.backoff) or not self.backoff >= 0:
            reason = f"must be a number of seconds, not {self.backoff!r}"
            raise InvalidRequestError("backoff", reason)

    def wait(self, attempt: int, error: ProviderError) -> float | None:
        """Return the seconds to wait after failed `attempt` (from 1), `None` to give up.

        What the server asks for is waited exactly, without jitter, as the official SDKs do
        (openai-python `_calculate_retry_timeout`): it knows who waits, and says each how long.
        """
        if attempt >= self.attempts or not error.retryable:
            return None
        if error.retry_after is not None:
            return error.retry_after if error.retry_after <= _MAX_WAIT else None
        delay = min(_MAX_BACKOFF, self.backoff * 2.0 ** min(attempt - 1, _MAX_DOUBLINGS))
        return delay * (1 - 0.25 * random.random())  # noqa: S311 - jitter, not a secret


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
