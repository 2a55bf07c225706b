"""Single flight: equal requests at the same time share one call to the provider.

The call runs in a task of its own, not in the task of whoever came first. So a
leader that is cancelled takes nobody with it: the call goes on as long as
anybody waits for it, and stops when the last one leaves.

What fails on its leader's terms, whose credential is refused, whose patience is at an end
or whose provider was closed, is no answer to a follower on other terms: it asks for
itself, at once and beside the others, in a flight that only callers on its own terms
share. So who has waited once for somebody else's failure waits for no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import replace
from typing import Any, Final, Generic, TypeVar

from ..backends._loop_bound import own_tasks
from ..errors import (
    AuthenticationError,
    ConnectionFailedError,
    InvalidRequestError,
    LLMCacheError,
    NotFoundError,
    PermissionDeniedError,
    ProviderError,
    RateLimitError,
    ServerError,
)
from ..providers.base import Call, EmbedCall, Terms, terms_of
from ..types import StreamEvent, StreamEventType

__all__ = ["Flight", "Flights", "StreamFlight"]

T = TypeVar("T")
Place = tuple[str, str]

# What a server says to one account and not to another: a model may be there for one of them
# only. A request that cannot be sent may have a credential that is no header's value.
_OF_ITS_CALLER: Final = (
    AuthenticationError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
)
_PAYMENT_REQUIRED: Final = 402
# What longer waiting, one more attempt or connections of one's own may get past; with what else
# a server calls passing.
_OF_ITS_MANNER: Final = (ConnectionFailedError, ServerError)


class Flight(Generic[T]):
    """A call in progress."""

    task: asyncio.Task[T]
    """Set by `Flights.start`, before anybody else sees the flight."""

    def __init__(self, call: Call | EmbedCall, terms: Terms | None = None) -> None:
        """Wait for `Flights` to start the task; `call` is the leader's.

        `terms` are those of a leader who was spared another's failure: it goes aside.
        """
        self.waiters = 0
        self._call = call
        self._aside = terms
        self.answered = False
        """The provider has answered: from here on the work is never cancelled, it is paid for."""

    async def join(self) -> T:
        """Return what the call returns, or raise what it raises."""
        self.waiters += 1
        try:
            return await asyncio.shield(self.task)
        except asyncio.CancelledError:
            self._check_closed()
            raise
        finally:
            self.leave()

    @property
    def is_aside(self) -> bool:
        """Whether it waits for nobody's turn, for its leader has waited already."""
        return self._aside is not None

    @property
    def terms(self) -> Terms:
        """The leader's, as far as is known at the start."""
        return terms_of(self._call) if self._aside is None else self._aside

    @property
    def is_landing(self) -> bool:
        """Whether it brings something home for who joins it now."""
        if self.task.done() or self.task.cancelling():
            return False
        # What another loop left behind when it was closed will never land.
        return self.task.get_loop() is asyncio.get_running_loop()

    def spares(self, error: LLMCacheError, call: Call | EmbedCall) -> bool:
        """Whether `error`, in which the flight ended, says nothing to a follower with `call`.

        One on the leader's own terms shares its failure, so a thousand of them are one call.
        """
        if self.task.cancelled():  # the cache was closed, to everybody
            return False
        leader, follower = terms_of(self._call), terms_of(call)
        if _is_of_its_caller(error) and leader.caller != follower.caller:
            return True
        return _is_of_its_manner(error) and leader.manner != follower.manner

    def _check_closed(self) -> None:
        """Tell the end of the call from the end of the caller: only the latter is a cancellation."""
        caller = asyncio.current_task()
        if self.task.cancelled() and caller is not None and not caller.cancelling():
            msg = "the cache was closed during the call"
            raise ConnectionFailedError(msg)

    def leave(self) -> None:
        """Stop waiting; the last to leave an unanswered call cancels it."""
        self.waiters -= 1
        if not self.waiters and not self.answered and not self.task.done():
            self.task.cancel()


class StreamFlight(Flight[T]):
    """A stream in progress: every event is kept, so late followers start at the beginning."""

    def __init__(self, call: Call | EmbedCall, terms: Terms | None = None) -> None:
        """Start without events."""
        super().__init__(call, terms)
        self.events: list[StreamEvent] = []
        self._news = asyncio.Event()

    def publish(self, events: list[StreamEvent]) -> None:
        """Hand `events` to everybody who tails the stream; with `DONE`, the answer is there."""
        if events:
            self.events.extend(events)
            self.answered = self.answered or events[-1].type is StreamEventType.DONE
            self._wake()

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def tail(self) -> AsyncGenerator[StreamEvent, None]:
        """Yield all events, those to come as they come; end when the task has ended well.

        Raises:
            BaseException: what the task raised, after the events that came before it.
        """
        self.waiters += 1
        try:
            position = 0
            while True:
                while position < len(self.events):
                    yield _own(self.events[position])
                    position += 1
                if self.task.done():
                    if self.task.cancelled():
                        self._check_closed()
                    self.task.result()
                    return
                await self._news.wait()
        finally:
            self.leave()

    def end(self, _task: asyncio.Task[T]) -> None:
        """Wake everybody for the last time."""
        self._wake()


class Flights:
    """The calls in progress of one cache, by place."""

    def __init__(self) -> None:
        """Start empty."""
        self._flights: dict[Place, list[Flight[Any]]] = {}

    def find(self, place: Place | None, terms: Terms | None = None) -> Flight[Any] | None:
        """Return a flight to join at `place`, if there is one that will not be cancelled.

        With `terms`, only one whose leader calls on them.
        """
        if place is None:
            return None
        for flight in self._flights.get(place, ()):
            if (terms is None or flight.terms == terms) and flight.is_landing:
                return flight
        return None

    def start(
        self,
        place: Place | None,
        flight: Flight[T],
        work: Callable[[], Coroutine[Any, Any, T]],
    ) -> None:
        """Run `work` as `flight`; others can find it at `place` (`None`: nobody can)."""
        flight.task = asyncio.create_task(work())
        flight.task.add_done_callback(_consume)
        if isinstance(flight, StreamFlight):
            flight.task.add_done_callback(flight.end)
        if place is not None:
            loop = flight.task.get_loop()  # what another one left behind is never forgotten
            beside = (f for f in self._flights.get(place, ()) if f.task.get_loop() is loop)
            self._flights[place] = [*beside, flight]
            flight.task.add_done_callback(lambda _: self._forget(place, flight))

    def _forget(self, place: Place, flight: Flight[Any]) -> None:
        left = [other for other in self._flights.pop(place, ()) if other is not flight]
        if left:
            self._flights[place] = left

    def tasks(self) -> set[asyncio.Task[Any]]:
        """Return the tasks of all flights that this loop can wait for."""
        return own_tasks(flight.task for flights in self._flights.values() for flight in flights)


def _is_of_its_caller(error: LLMCacheError) -> bool:
    """Whether `error` may be the fault of who called."""
    status = error.status if isinstance(error, ProviderError) else None
    return isinstance(error, _OF_ITS_CALLER) or status == _PAYMENT_REQUIRED


def _is_of_its_manner(error: LLMCacheError) -> bool:
    """Whether `error` may be the fault of how the call was made."""
    return isinstance(error, _OF_ITS_MANNER) or (
        isinstance(error, ProviderError) and error.retryable
    )


def _own(event: StreamEvent) -> StreamEvent:
    """Return an event whose fields one follower may set without another's seeing it."""
    return replace(event, data=event.data.copy()) if type(event.data) is dict else event


def _consume(task: asyncio.Task[Any]) -> None:
    # Whoever waited has the exception; with nobody waiting it must not be logged as lost.
    if not task.cancelled():
        task.exception()
