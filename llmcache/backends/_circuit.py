"""A circuit breaker: a store that fails is left alone for a while, and then tried by one call.

Refusals and time-outs are told apart. A server that refuses costs next to nothing, and
a few in a row open the circuit; one that does not answer costs every caller its
deadline, and the first opens it. One that is full answers, and can be read: it does neither.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final

from ..errors import BackendUnavailableError

__all__ = ["Circuit", "StoreFullError"]

_REFUSALS: Final = 3
# What took so long before it failed, or was given up, counts as a time-out.
_SLOW: Final = 0.25
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 30.0


class StoreFullError(BackendUnavailableError):
    """The store answers, and takes nothing more."""


class Circuit:
    """The breaker of one store. Closed while the store works; open for a pause that doubles."""

    def __init__(self, store: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`store` is named in errors."""
        self._store = store
        self._clock = clock
        self._refusals = 0
        self._pause = 0.0
        self._open_until = 0.0
        self._openings = 0
        self._trying_until = 0.0

    @property
    def is_open(self) -> bool:
        """Whether calls are refused at this moment."""
        return self._pause > 0 and self._clock() < max(self._open_until, self._trying_until)

    def use(self, operation: str) -> _Use:
        """Let a call through for a `with` block, and learn from how it ends.

        Raises:
            BackendUnavailableError: the circuit is open, or another call is trying.
        """
        if self._pause and self.is_open:
            left = max(0.0, self._open_until - self._clock())
            msg = f"left alone for {left:.1f} s more, after it failed"
            raise BackendUnavailableError(msg, backend=self._store, operation=operation)
        return _Use(self)

    def begin(self) -> tuple[float, bool, int]:
        """Return when a call began, whether it tries a store that was down, and `openings`."""
        trial, now = self._pause > 0, self._clock()
        if trial:
            # One that never ends, with its loop or in the process that this one was forked
            # from, must not keep all others out.
            self._trying_until = now + _LONGEST_PAUSE
        return now, trial, self._openings

    def end(self, error: BaseException | None, began: tuple[float, bool, int]) -> None:
        """Learn from how a call ended."""
        started, trial, openings = began
        if error is None or isinstance(error, StoreFullError):
            self.close()
        elif isinstance(error, BackendUnavailableError | asyncio.CancelledError):
            slow = self._clock() - started >= _SLOW
            # Of many that were under way when one opened the circuit, none tells more than that one.
            told = openings != self._openings
            if not told and (slow or isinstance(error, BackendUnavailableError)):
                self._failed(slow=slow)
        if trial:
            self._trying_until = 0.0

    def close(self) -> None:
        """Let calls through: the store was seen to work."""
        self._refusals, self._pause = 0, 0.0

    def _failed(self, *, slow: bool) -> None:
        self._refusals += 1
        if slow or self._pause or self._refusals >= _REFUSALS:
            self._pause = min(_LONGEST_PAUSE, self._pause * 2 or _FIRST_PAUSE)
            self._open_until = self._clock() + self._pause
            self._openings += 1


class _Use:
    """One call that was let through."""

    __slots__ = ("_began", "_circuit")

    def __init__(self, circuit: Circuit) -> None:
        self._circuit = circuit

    def __enter__(self) -> None:
        self._began = self._circuit.begin()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._circuit.end(error, self._began)
