"""Which entries were used, told to the store a few hundred at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from ..backends._loop_bound import spawn
from ..backends.base import Backend, SupportsTouch
from .guard import Budget, Guard
from .tier import Place

__all__ = ["Uses"]

_FLUSH_AT: Final = 256


class Uses:
    """Counts the uses of entries since the store was last told."""

    def __init__(
        self, backend: Backend, guard: Guard, tasks: set[asyncio.Task[Any]], *, seconds: float
    ) -> None:
        """Telling becomes `tasks`, which whoever owns them waits for; each takes `seconds` at most."""
        self._backend = backend if isinstance(backend, SupportsTouch) else None
        self._guard = guard
        self._tasks = tasks
        self._seconds = seconds
        self._counts: dict[Place, int] = {}

    def note(self, place: Place) -> None:
        """Count one use."""
        counts = self._counts
        counts[place] = counts.get(place, 0) + 1
        if len(counts) >= _FLUSH_AT:
            self.flush()

    def flush(self) -> None:
        """Tell the store, in the background, what was used since the last time."""
        counts, self._counts = self._counts, {}
        if self._backend is None:
            return
        by_collection: dict[str, dict[str, int]] = {}
        for (collection, key), count in counts.items():
            by_collection.setdefault(collection, {})[key] = count
        for name, uses in by_collection.items():
            spawn(self._tasks, self._touch(self._backend, name, uses))

    async def _touch(
        self, backend: SupportsTouch, collection: str, uses: Mapping[str, int]
    ) -> None:
        budget = Budget(self._seconds)
        await self._guard.run("touch", lambda: backend.touch(collection, uses), budget, None)
