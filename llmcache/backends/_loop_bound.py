"""What belongs to one event loop: tasks, connections, and the locks around them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Generic, TypeVar

__all__ = ["LoopBound", "own_tasks", "spawn"]

T = TypeVar("T")


class LoopBound(Generic[T]):
    """A value for the running loop.

    What another loop left behind is dropped, not closed: its connections can only
    be closed by the loop that is gone, and go with it. What the process that this one was
    forked from goes on using is kept: connections that are dropped take themselves out of
    the kernel's list of what is waited for, which the two processes share.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        """`make` is called when the value is first asked for, and on every new loop."""
        self._make = make
        self._loop: asyncio.AbstractEventLoop | None = None
        self._value: T | None = None
        self._process = os.getpid()
        self._parents: list[T] = []

    def get(self) -> T:
        """Return the value of the running loop."""
        loop = asyncio.get_running_loop()
        value = self._value
        if value is None or loop is not self._loop:
            if value is not None and self._process != os.getpid():
                self._parents.append(value)
            self._process = os.getpid()
            value = self._value = self._make()
            self._loop = loop
        return value


def spawn(tasks: set[asyncio.Task[Any]], work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Return a running task that `tasks` keeps alive until it is done."""
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return task


def own_tasks(tasks: Iterable[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    """Return those of `tasks` that belong to the running loop; others may be of one that is closed."""
    loop = asyncio.get_running_loop()
    return {task for task in tasks if task.get_loop() is loop}
