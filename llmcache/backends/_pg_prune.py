"""Shrinking the table of entries, while others read and write it.

Every step is a statement of its own on at most a thousand entries, so that nobody waits
for long, a prune that is cancelled leaves what it has not come to, and memory does not
grow with the table. What is read to count, and to find what was used least, is read once,
in the order in which it is stored.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from ._pg_database import Database
from ._pg_sql import statements
from .base import PruneReport

__all__ = ["Pruning"]

_BATCH: Final = 1_000
_READ: Final = 5_000
_EVICT_TO: Final = 0.9
# 512 MiB of pages of 8 KiB: what a disk reads in a second or two.
_PAGES: Final = 65_536
_ALWAYS: Final = float("-inf")


class _Place(NamedTuple):
    """Where an entry stands in the order of use."""

    at: datetime
    collection: str
    key: str


_FIRST: Final = _Place(datetime(1970, 1, 1, tzinfo=UTC), "", "")
_LAST: Final = _Place(datetime.max.replace(tzinfo=UTC), "", "")


class Pruning:
    """Prunes of one database."""

    def __init__(self, database: Database) -> None:
        """Do nothing yet."""
        self._database = database
        self._sql = statements("prune.sql")

    async def prune(self, collection: str | None, ceiling: int | None) -> PruneReport:
        """Remove entries past their time, then the least recently used above `ceiling` bytes.

        Raises:
            BackendUnavailableError: the server failed; what was removed so far is.
        """
        swept, swept_bytes = await self._sweep(collection)
        expired, expired_bytes = await self._expire(collection)
        left, kept = await self._totals(collection)
        evicted, evicted_bytes = 0, 0
        if ceiling is not None and kept > ceiling:
            evicted, evicted_bytes = await self._evict(collection, kept - int(ceiling * _EVICT_TO))
        return PruneReport(
            expired=expired,
            evicted=evicted,
            leftovers=swept,
            bytes_freed=swept_bytes + expired_bytes + evicted_bytes,
            entries_left=left - evicted,
            bytes_left=kept - evicted_bytes,
        )

    async def _sweep(self, collection: str | None) -> tuple[int, int]:
        total = freed = 0
        while True:
            number, size = (await self._run("sweep", collection, _BATCH))[0]
            total += number
            freed += size
            if number < _BATCH:
                return total, freed

    async def _expire(self, collection: str | None) -> tuple[int, int]:
        total, freed, reached = 0, 0, _ALWAYS
        while True:
            number, size, last = (await self._run("expire", collection, _BATCH, reached))[0]
            total += number
            freed += size
            if number < _BATCH:
                return total, freed
            # What is gone already, the index has still: it need not be passed again.
            reached = last

    async def _totals(self, collection: str | None) -> tuple[int, int]:
        """Return how many entries there are, and their bytes; what moves meanwhile counts roughly."""
        entries = size = 0
        pages = (await self._run("pages"))[0][0]
        for start in range(0, pages, _PAGES):
            places = (start, 0), (start + _PAGES, 0)
            number, more = (await self._run("totals", collection, *places))[0]
            entries += number
            size += more
        return entries, size

    async def _evict(self, collection: str | None, surplus: int) -> tuple[int, int]:
        """Remove the least used entries that make up `surplus` bytes; return how many, and bytes.

        What shall go is settled before the first of it does: of two that prune at the same
        time, the second does not take the next in place of what the first has taken.
        """
        last = await self._place_after(collection, surplus)
        total = freed = 0
        async for rows in self._least_used(collection):
            going = [row for row in rows if _place(row) <= last]
            for start in range(0, len(going), _BATCH):
                batch = _columns(going[start : start + _BATCH])
                number, size = (await self._run("evict", *batch))[0]
                total += number
                freed += size
            if len(going) < len(rows):
                break
        return total, freed

    async def _place_after(self, collection: str | None, surplus: int) -> _Place:
        """Return the place of the entry with which the least used ones reach `surplus` bytes."""
        last = _FIRST
        async for rows in self._least_used(collection):
            for row in rows:
                last = _place(row)
                surplus -= row["size"]
                if surplus <= 0:
                    return last
        return last

    async def _least_used(self, collection: str | None) -> AsyncIterator[Sequence[Any]]:
        """Yield all entries in batches, the one whose last use is longest ago first.

        Two orders merged: that of use, and that of storing for what was never used.
        """
        batches: dict[str, Sequence[Any]] = {}
        after = _FIRST
        while True:
            for name in ("stored_first", "used_first"):
                # A batch of which nothing was yielded stays for the next round.
                if not batches.get(name) or _place(batches[name][0]) <= after:
                    batches[name] = await self._run(name, collection, *after, _READ)
            ends = [_place(rows[-1]) for rows in batches.values() if len(rows) == _READ]
            # Beyond the end of a batch, the other may have gone ahead of what is to come.
            after = min(ends, default=_LAST)
            known = [row for rows in batches.values() for row in rows if _place(row) <= after]
            # Of a use without its entry there is nothing to remove.
            yield sorted((r for r in known if not r["used"] and r["version"]), key=_place)
            if not ends:
                return

    async def _run(self, name: str, *arguments: Any) -> Sequence[Any]:
        return await self._database.fetch(name, self._sql[name], *arguments)


def _place(row: Any) -> _Place:
    return _Place(row["at"], row["collection"], row["key"])


def _columns(rows: Sequence[Any]) -> tuple[list[str], list[str], list[int]]:
    return (
        [row["collection"] for row in rows],
        [row["key"] for row in rows],
        [row["version"] for row in rows],
    )
