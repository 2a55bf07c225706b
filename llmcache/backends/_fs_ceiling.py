"""Keeping a folder below its ceiling, behind the calls that fill it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

from ..errors import BackendUnavailableError
from ._warner import Warner
from .base import PruneReport

__all__ = ["Ceiling"]

# Others write into the folder too: each process looks again when it wrote such a share itself.
_SHARE: Final = 16


class Ceiling:
    """Counts what is written, and evicts in the background when there may be too much.

    Every process that writes counts for itself. Between two looks at the folder,
    each may add a sixteenth of the ceiling that the others do not know of.
    """

    def __init__(self, max_bytes: int, evict: Callable[[], Awaitable[PruneReport]]) -> None:
        """`evict` looks at the whole folder, and removes what is too much."""
        self._max_bytes = max_bytes
        self._evict = evict
        self._warner = Warner("fs")
        self._written = 0
        # The size of the folder, and how much had been written, when it was looked at last.
        self._seen: tuple[int, int] | None = None
        self._eviction: asyncio.Future[None] | None = None

    def wrote(self, size: int) -> None:
        """Note that `size` bytes were written."""
        self._written += size
        if self._is_due() and (self._eviction is None or self._eviction.done()):
            self._eviction = asyncio.ensure_future(self._look())

    async def aclose(self) -> None:
        """Finish an eviction under way."""
        if self._eviction is not None:
            eviction, self._eviction = self._eviction, None
            with contextlib.suppress(asyncio.CancelledError, RuntimeError):
                await eviction

    def _is_due(self) -> bool:
        if self._seen is None:
            return True
        size, written = self._seen
        since = self._written - written
        return since * _SHARE > self._max_bytes or size + since > self._max_bytes

    async def _look(self) -> None:
        # What is written from here on may or may not be seen: it counts once more than it should.
        written = self._written
        try:
            report = await self._evict()
        except BackendUnavailableError as error:
            self._warner.warn("evict", type(error).__name__, str(error))
        else:
            self._seen = (report.bytes_left, written)
