"""What belongs to one event loop, and is made anew on the next: connections, and locks around them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["LoopBound"]

T = TypeVar("T")


class LoopBound(Generic[T]):
    """A value for the running loop.

    What another loop left behind is dropped, not closed: its connections can only
    be closed by the loop that is gone, and go with it.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        """`make` is called when the value is first asked for, and on every new loop."""
        self._make = make
        self._loop: asyncio.AbstractEventLoop | None = None
        self._value: T | None = None

    def get(self) -> T:
        """Return the value of the running loop."""
        loop = asyncio.get_running_loop()
        value = self._value
        if value is None or loop is not self._loop:
            value = self._value = self._make()
            self._loop = loop
        return value
