"""A few threads for blocking file operations.

They are daemons: a file system that hangs must not keep the interpreter from
exiting, as the threads of `concurrent.futures` would.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

__all__ = ["Workers"]

T = TypeVar("T")
_Job = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", Callable[[], Any]]


class Workers:
    """Runs functions in at most `count` threads, started as they are needed."""

    def __init__(self, count: int, name: str) -> None:
        """Start no thread yet."""
        self._count = count
        self._name = name
        self._reset()

    def _reset(self) -> None:
        self._process = os.getpid()
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._threads = 0

    async def run(self, function: Callable[[], T]) -> T:
        """Return what `function` returns, or raise what it raises; otherwise as `submit`."""
        return await self.submit(function)

    def submit(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """Return the future result of `function`, for the running loop.

        Cancelling stops the waiting. A function that has begun goes on to its end;
        one that has not is left out.
        """
        if self._process != os.getpid():
            self._reset()  # a fork copies this object, and none of its threads
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        if not self._idle.acquire(blocking=False) and self._threads < self._count:
            arguments = (self._jobs, self._idle)
            threading.Thread(target=_work, args=arguments, name=self._name, daemon=True).start()
            self._threads += 1
        self._jobs.put((loop, future, function))
        return future

    def close(self) -> None:
        """Let every thread end after the jobs it was given."""
        for _ in range(self._threads):
            self._jobs.put(None)
        self._reset()


def _work(jobs: SimpleQueue[_Job | None], idle: threading.Semaphore) -> None:
    while (job := jobs.get()) is not None:
        loop, future, function = job
        result: Any = None
        failure: BaseException | None = None
        try:
            if not future.cancelled():
                result = function()
        except BaseException as error:  # noqa: BLE001 - handed to whoever awaits the future
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
            loop.call_soon_threadsafe(_settle, future, result, failure)
        idle.release()
        # What stays in a local would live until the next job.
        del job, future, function, result, failure


def _settle(future: asyncio.Future[Any], result: Any, failure: BaseException | None) -> None:
    if future.cancelled():
        return
    if failure is None:
        future.set_result(result)
    else:
        future.set_exception(failure)
