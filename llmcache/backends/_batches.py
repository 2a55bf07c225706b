"""Reads that many tasks make at the same time, joined into a few: one round trip serves them all.

Who comes while few reads are under way reads at once and alone, in its own task. The
others wait for the next free place, and are then read together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

from ._loop_bound import LoopBound, spawn
from .base import MOST_KEYS

__all__ = ["AT_ONCE", "Batches"]

T = TypeVar("T")

AT_ONCE: Final = 2


class _Waiting(Generic[T]):
    """What one caller wants, and where it waits for it."""

    __slots__ = ("answer", "batch", "collection", "keys")

    def __init__(self, collection: str, keys: Sequence[str]) -> None:
        self.collection = collection
        self.keys = keys
        self.answer: asyncio.Future[Mapping[str, T]] = asyncio.get_running_loop().create_future()
        self.batch: _Batch[T] | None = None


class _Batch(Generic[T]):
    """Those who are read for together."""

    def __init__(self, members: Sequence[_Waiting[T]]) -> None:
        self.members = members
        self.left = len(members)
        # The task that reads, once it does.
        self.reading: asyncio.Task[Any] | None = None
        for one in members:
            one.batch = self

    def leave(self) -> None:
        """Be left by one member; what nobody waits for any more is not read."""
        self.left -= 1
        if not self.left and self.reading is not None:
            self.reading.cancel()


class _Queue(Generic[T]):
    """The reads of one loop: how many are under way, and who waits."""

    def __init__(self) -> None:
        self.running = 0
        self.waiting: list[_Waiting[T]] = []
        self.tasks: set[asyncio.Task[None]] = set()


class Batches(Generic[T]):
    """Joins calls of one reading function."""

    def __init__(
        self,
        read: Callable[[str, Sequence[str]], Awaitable[Mapping[str, T]]],
        *,
        at_once: int = AT_ONCE,
    ) -> None:
        """`read(collection, keys)` returns what there is of at most `MOST_KEYS` keys."""
        self._read = read
        self._at_once = at_once
        self._bound = LoopBound[_Queue[T]](_Queue)

    async def get(self, collection: str, keys: Sequence[str]) -> Mapping[str, T]:
        """Return what `read` returns for `keys`, and perhaps what it returned for others' keys too.

        Raises what `read` raises.
        """
        queue = self._bound.get()
        if queue.running < self._at_once:
            queue.running += 1
            try:
                return await self._read(collection, keys)
            finally:
                self._free(queue)
        waiting = _Waiting[T](collection, keys)
        queue.waiting.append(waiting)
        try:
            return await waiting.answer
        except asyncio.CancelledError:
            if waiting.batch is not None:
                waiting.batch.leave()
            raise

    def _free(self, queue: _Queue[T]) -> None:
        """Give a place to those who wait, if there are any."""
        queue.running -= 1
        if queue.waiting:
            members = _first_batch(queue)
            if members:
                queue.running += 1
                spawn(queue.tasks, self._serve(queue, _Batch(members)))

    async def _serve(self, queue: _Queue[T], whole: _Batch[T]) -> None:
        """Read what a batch wants, and tell everybody in it."""
        batch = whole.members
        try:
            if not whole.left:
                return
            whole.reading = asyncio.current_task()
            keys = list(dict.fromkeys([key for one in batch for key in one.keys]))
            found = await self._read(batch[0].collection, keys)
        except BaseException as error:
            for one in batch:
                if not one.answer.done():
                    _fail(one.answer, error)
            if not isinstance(error, Exception):
                raise
        else:
            for one in batch:
                if not one.answer.done():
                    one.answer.set_result(found)
        finally:
            self._free(queue)


def _fail(answer: asyncio.Future[Mapping[str, T]], error: BaseException) -> None:
    if isinstance(error, asyncio.CancelledError):
        answer.cancel()
    else:
        answer.set_exception(error)


def _first_batch(queue: _Queue[T]) -> list[_Waiting[T]]:
    """Take out who waits for the same collection as the first, as many as one read may serve."""
    batch: list[_Waiting[T]] = []
    left: list[_Waiting[T]] = []
    size = 0
    for one in queue.waiting:
        if one.answer.done():
            continue  # its caller has gone
        if batch and (one.collection != batch[0].collection or size + len(one.keys) > MOST_KEYS):
            left.append(one)
            continue
        batch.append(one)
        size += len(one.keys)
    queue.waiting = left
    return batch
