"""Time-outs of many short operations, with one timer for all of them.

`asyncio.timeout` costs an operation a tenth of what a server on the same machine takes
to answer: its timer goes into the loop's heap, and next to none ever rings. Here the
operations under way are listed, and the list is looked through a few times a second.

    with deadlines.limit(seconds):
        await work()
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Final, Self

from ._loop_bound import LoopBound

__all__ = ["Deadlines", "Limit"]

_GRAIN: Final = 0.05
# What is shorter than some grains gets a timer of its own, so that it is kept to.
_SHORT: Final = 4 * _GRAIN


class _Running:
    """The time-outs of one loop, and when each is due."""

    def __init__(self) -> None:
        self.due: dict[Limit, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, limit: Limit, when: float, loop: asyncio.AbstractEventLoop) -> None:
        """Let `limit` ring at `when`, on the loop's clock."""
        self.due[limit] = when
        if self._timer is None:
            self._timer = loop.call_later(_GRAIN, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let those ring that are due, and look again later if any are left."""
        now = loop.time()
        for limit in [limit for limit, when in self.due.items() if when <= now]:
            del self.due[limit]
            limit.ring()
        self._timer = loop.call_later(_GRAIN, self._look, loop) if self.due else None


class Limit:
    """The time-out of a `with` block of one task; as `asyncio.Timeout`."""

    __slots__ = ("_cancelling", "_running", "_seconds", "_task", "_timer", "rang")

    def __init__(self, running: _Running, seconds: float) -> None:
        self._running = running
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None
        self.rang = False

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        if task is None:
            msg = "a time-out must be used inside a task"
            raise RuntimeError(msg)
        self._task = task
        self._cancelling = task.cancelling()
        loop = asyncio.get_running_loop()
        if self._seconds < _SHORT:
            self._timer = loop.call_later(self._seconds, self.ring)
        else:
            self._running.add(self, loop.time() + self._seconds, loop)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Raise `TimeoutError` in place of the cancellation that this time-out sent.

        One that somebody else sent ends the block, even where the library inside kept it to
        itself: `asyncio.wait_for` does before Python 3.12 (python/cpython#86296), and drivers
        that lose a connection while they are cancelled raise what that is to them.
        """
        self._running.due.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()
        if self.rang:
            self._task.uncancel()
        if self._task.cancelling() > self._cancelling:
            if kind is not asyncio.CancelledError:
                raise asyncio.CancelledError from error
        elif self.rang and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def ring(self) -> None:
        """Cancel the task's work: time is over."""
        self.rang = True
        self._task.cancel()


class Deadlines:
    """Gives out time-outs that ring at most a twentieth of a second late."""

    def __init__(self) -> None:
        self._bound = LoopBound(_Running)

    def limit(self, seconds: float) -> Limit:
        """Return the time-out of a `with` block."""
        return Limit(self._bound.get(), seconds)
