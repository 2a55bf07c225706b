"""Counting, ranking and finding entries in Postgres, a page at a time.

A page is a statement of its own: nothing is held on the server between two, and one
page of a large table costs what one of a small table does. The SQL is in
`sql/finding.sql`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from ._pg_sql import as_text, statements
from .base import BackendStats, EntryInfo
from .powers import FoundEntry, Order, Sought

__all__ = ["Finding"]

Fetch: TypeAlias = Callable[..., Awaitable[Sequence[Any]]]
"""Runs a statement: its operation, its SQL, its arguments."""

_PAGE: Final = 1_000
# More than so many that match are found by reading the table: an index has no pages of them.
_FEW: Final = 5_000
# In pages of the server, of 8 KiB. A larger table is estimated from so many of them.
_SAMPLED_PAGES: Final = 4_096
_COUNTED_PAGES: Final = 8_192
_SEARCHED_PAGES: Final = 1_024
# Collections too small to be on any of these: so many are counted, each up to so many entries.
_SMALL_COLLECTIONS: Final = 1_000
_SMALL: Final = 1_000

_MOST_USES: Final = 2**63 - 1
_NEVER: Final = datetime(9999, 1, 1, tzinfo=UTC)
_LAST_KEY: Final = "~"


class Finding:
    """The operations of upkeep on one table of entries."""

    def __init__(self, fetch: Fetch) -> None:
        """`fetch` is the database's."""
        self._fetch = fetch
        self._sql = statements("finding.sql")

    # --- totals -------------------------------------------------------------------------------

    async def stats(self, quarantined: int) -> BackendStats:
        """Return totals: counted where the table is small, else estimated from a sample of it."""
        [row] = await self._run("pages")
        if row["pages"] <= _SAMPLED_PAGES:
            return await self.count(quarantined)
        share = _SAMPLED_PAGES / row["pages"]
        sizes: dict[str, tuple[int, int]] = {}
        for name, entries, size in await self._run("sample", 100 * share):
            sizes[name] = (round(entries / share), round(size / share))
        missed = [name for name in await self.names() if name not in sizes]
        for name, entries, size in await self._run("small", missed[:_SMALL_COLLECTIONS], _SMALL):
            sizes[name] = (entries, size)
        return replace(await self._totals(sizes, quarantined), estimated=True)

    async def count(self, quarantined: int) -> BackendStats:
        """Return totals of every entry; one that is rewritten meanwhile may count twice or not."""
        sizes: dict[str, tuple[int, int]] = {}
        async for name, count, size in self._through("count", (), _COUNTED_PAGES):
            entries, total = sizes.get(name, (0, 0))
            sizes[name] = (entries + count, total + size)
        totals = await self._totals(sizes, quarantined)
        return replace(totals, oldest_use=(await self._run("oldest"))[0][0])

    async def _totals(self, sizes: dict[str, tuple[int, int]], quarantined: int) -> BackendStats:
        return BackendStats(
            entries=sum(entries for entries, _ in sizes.values()),
            bytes=sum(size for _, size in sizes.values()),
            collections=dict(sorted(sizes.items())),
            quarantined=quarantined,
            newest_use=(await self._run("newest"))[0][0],
        )

    async def names(self) -> list[str]:
        """Return the names of the collections that have entries."""
        return [row[0] for row in await self._run("names")]

    # --- the best first -----------------------------------------------------------------------

    async def ranked(self, collection: str, order: Order) -> AsyncIterator[EntryInfo]:
        """Yield entries, the best first; those that were never used by when they were made."""
        made = self._never_used(collection)
        if order == "most_used":
            async for info in self._most_used(collection):
                yield info
            async for info in made:
                yield info
            return
        waiting = await anext(made, None)
        async for info in self._last_used(collection):
            while waiting is not None and waiting.used_at > info.used_at:
                yield waiting
                waiting = await anext(made, None)
            yield info
        while waiting is not None:
            yield waiting
            waiting = await anext(made, None)

    async def _most_used(self, collection: str) -> AsyncIterator[EntryInfo]:
        start = (_MOST_USES, _NEVER, _LAST_KEY)
        columns = ("uses", "used_at", "key")
        async for row in self._paged("most_used", (collection,), start, columns):
            yield _used(collection, row)

    async def _last_used(self, collection: str) -> AsyncIterator[EntryInfo]:
        start = (_NEVER, _LAST_KEY)
        async for row in self._paged("last_used", (collection,), start, ("used_at", "key")):
            yield _used(collection, row)

    async def _never_used(self, collection: str) -> AsyncIterator[EntryInfo]:
        start = (float("inf"), _LAST_KEY)
        async for row in self._paged("last_made", (collection,), start, ("created_at", "key")):
            if not row["used"]:
                yield EntryInfo(collection, row["key"], row["size"], row["created_at"])

    # --- by what was said of them -------------------------------------------------------------

    async def find(self, collection: str, sought: Sought) -> AsyncIterator[FoundEntry]:
        """Yield what matches by the first that is given; the rest is for the entries to tell."""
        alone = sought.count(None) == len(sought) - 1
        if sought.tag is not None:
            found = self._by_text("with_tag", collection, sought.tag)
        elif sought.model is not None:
            found = self._by_text("of_model", collection, sought.model)
        else:
            found = self._older(collection, sought.created_before)
        async for key, certain in found:
            yield FoundEntry(key, certain and alone)

    async def _by_text(self, what: str, collection: str, text: str) -> AsyncIterator[FoundEntry]:
        # The first version lost what Postgres cannot hold.
        lossy = text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")
        written = list({str(as_text(text)), lossy})
        certain = len(written) == 1
        few = await self._run(f"few_{what}", collection, written, _FEW + 1)
        if len(few) <= _FEW:
            for row in few:
                yield FoundEntry(row["key"], certain and row["certain"])
            return
        async for row in self._through(f"all_{what}", (collection, written), _SEARCHED_PAGES):
            yield FoundEntry(row["key"], certain and row["certain"])

    async def _older(
        self, collection: str, created_before: float | None
    ) -> AsyncIterator[FoundEntry]:
        start = (float("-inf"), "")
        columns = ("created_at", "key")
        async for row in self._paged("older", (collection, created_before), start, columns):
            yield FoundEntry(row["key"], certain=True)

    # --- inside -------------------------------------------------------------------------------

    async def _paged(
        self, name: str, fixed: tuple[Any, ...], start: tuple[Any, ...], columns: Sequence[str]
    ) -> AsyncIterator[Any]:
        """Yield the rows of a statement; a page begins after the last one's `columns`."""
        while True:
            rows = await self._run(name, *fixed, *start, _PAGE)
            for row in rows:
                yield row
            if len(rows) < _PAGE:
                return
            start = tuple(rows[-1][column] for column in columns)

    async def _through(self, name: str, fixed: tuple[Any, ...], pages: int) -> AsyncIterator[Any]:
        """Yield the rows of a statement that reads so many pages of the file at a time."""
        [row] = await self._run("pages")
        for start in range(0, row["longest"] + 1, pages):
            for found in await self._run(name, *fixed, (start, 0), (start + pages, 0)):
                yield found

    async def _run(self, name: str, *arguments: Any) -> Sequence[Any]:
        return await self._fetch(name, self._sql[name], *arguments)


def _used(collection: str, row: Any) -> EntryInfo:
    used_at = row["used_at"].timestamp()
    return EntryInfo(collection, row["key"], row["size"], used_at, row["uses"])
