"""The failure contract: a store that fails or dawdles costs a warning, never the call.

Each call has a `Budget`, the longest that the store may hold it up in all. When
it is used up, the store is left alone for the rest of the call; and one with a circuit
breaker for a while by all calls, so that it costs one its deadline and not each.
"""

from __future__ import annotations

import time
import types
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Final, TypeVar

from ..backends._circuit import Circuit
from ..backends._deadlines import Deadlines, Limit
from ..backends._warner import Warner
from ..errors import ConfigurationError

__all__ = ["Budget", "Guard"]

T = TypeVar("T")

_GIVING_BACK: Final = ("close", "release")


class Budget:
    """Seconds that the store may still take from one call; used up at 0 or below."""

    __slots__ = ("_before_waiting", "left")

    def __init__(self, seconds: float, before_waiting: Callable[[], object] | None = None) -> None:
        """Start full; `before_waiting` is called when the call first lets others run, if it does."""
        self.left = seconds
        self._before_waiting = before_waiting

    def note_waiting(self) -> None:
        """Say that the call is about to let others run."""
        if self._before_waiting is not None:
            self._before_waiting()
            self._before_waiting = None


class Guard:
    """Runs operations of one store within a budget; turns failures into a default."""

    def __init__(self, store: str, circuit: Circuit | None = None) -> None:
        """`store` is named in warnings; `circuit` is its breaker, unless it sees to that itself."""
        self._warner = Warner(store)
        self._circuit = circuit
        self._deadlines = Deadlines()
        self.failures = 0

    async def run(
        self, operation: str, work: Callable[[], Awaitable[T]], budget: Budget, default: T
    ) -> T:
        """Return what `work` returns, or `default` when it fails or the budget ends first.

        Cancelling the call cancels the work, even where a store's library takes the
        cancellation for itself. A `ConfigurationError` is raised: it is the caller's
        mistake, not the store's failure.
        """
        if budget.left <= 0:
            return default
        started = time.monotonic()
        limit: Limit | None = None
        try:
            circuit = self._circuit
            # What was taken is given back in any case.
            if circuit is None or operation in _GIVING_BACK:
                steps = work().__await__()
            else:
                steps = _through(circuit, operation, work).__await__()
            # Memory and local files answer in the first step. Starting it by hand spares them
            # the timer, which costs as much as the file.
            first = next(steps)
            budget.note_waiting()
            with self._deadlines.limit(budget.left) as limit:
                return await _resumed(steps, first)
        except StopIteration as done:
            answer: T = done.value
            return answer
        except ConfigurationError:
            raise
        except TimeoutError as error:
            ours = limit is not None and limit.rang
            reason = f"no answer within {budget.left:.3g} s" if ours else str(error)
            self.warn(operation, "timeout", reason)
        except Exception as error:  # noqa: BLE001 - whatever a store raises, the call goes on
            self.warn(operation, type(error).__name__, str(error))
        finally:
            budget.left -= time.monotonic() - started
        return default

    def warn(self, operation: str, kind: str, reason: str, *, failed: bool = True) -> None:
        """Log a warning, unless the same was said a moment ago; count it if the store `failed`."""
        self.failures += failed
        self._warner.warn(operation, kind, reason)


async def _through(circuit: Circuit, operation: str, work: Callable[[], Awaitable[T]]) -> T:
    with circuit.use(operation):
        return await work()


def _rest(steps: Generator[Any, Any, T], signal: Any) -> Generator[Any, Any, T]:
    """Go on with an awaitable whose first step was taken by hand and ended in `signal`."""
    try:
        yield signal
    except BaseException as error:  # noqa: BLE001 - a cancellation belongs to who is being awaited
        try:
            signal = steps.throw(error)
        except StopIteration as done:
            answer: T = done.value
            return answer
        return (yield from _rest(steps, signal))
    return (yield from steps)


_resumed = types.coroutine(_rest)
