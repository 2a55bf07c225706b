"""What an operator does with a cache: look, remove, check, carry over, warm."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from ..backends.base import (
    Backend,
    BackendStats,
    EntryInfo,
    PruneReport,
    SupportsPrune,
    SupportsQuarantine,
    SupportsStats,
    check_collection,
)
from ..backends.powers import SupportsCount, SupportsOpen
from ..errors import BackendError, ConfigurationError, CorruptEntryError, UnreadableEntryError
from ..providers.base import Dialect
from ..types import CacheEntry
from . import inspection, invalidation, transfer, warming
from .store import Store

__all__ = ["Upkeep", "VerifyReport"]

_LISTED: Final = 100


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a check of every entry found.

    `corrupt` entries are damaged, or not what their key says; `unreadable` ones are
    sound, and need a newer version, a missing dictionary or a key; `failed` are those
    that the store could not read. `problems` lists the first hundred as (collection,
    key, reason); `repaired` were set aside.
    """

    checked: int = 0
    corrupt: int = 0
    unreadable: int = 0
    failed: int = 0
    repaired: int = 0
    problems: tuple[tuple[str, str, str], ...] = ()


class Upkeep:
    """The operations of a cache that are no calls."""

    store: Store
    collection: str
    dialects: dict[str, tuple[Dialect, ...]]
    """By kind, one of each server: it says whose words an answer has."""

    @property
    def backend(self) -> Backend:
        """Where answers live."""
        return self.store.backend

    async def open(self) -> None:
        """Connect to the store now, where it is a server, and check that calls will work.

        Raises:
            ConfigurationError: they will not before something is changed, and what.
            BackendUnavailableError: the server cannot be reached.
        """
        if isinstance(self.backend, SupportsOpen):
            await self.backend.open()

    def register(self, dialect: Dialect) -> None:
        """Make `dialect` known, so that its entries can be warmed before its first call."""
        kind, origin = dialect.kind, _origin(dialect)
        known = self.dialects.get(kind, ())
        if origin in map(_origin, known):
            return
        self.dialects[kind] = (*known, dialect)
        if len(known) == 1:
            # What was warmed until now was read as the first one's.
            self.store.tier.forget(lambda _, entry: entry.kind == kind)

    async def entry(self, key: str, collection: str | None = None) -> CacheEntry | None:
        """Return one entry, `None` when it is not there; looking at it does not count as a use.

        Raises:
            CorruptEntryError, UnreadableEntryError: saying what is wrong with it.
            BackendError: the store failed.
        """
        found = (await self.store.fetch(collection or self.collection, [key])).get(key)
        if isinstance(found, BackendError):
            raise found
        return found

    def entries(
        self, collection: str | None = None
    ) -> AsyncGenerator[tuple[EntryInfo, CacheEntry | BackendError], None]:
        """Yield every entry of a collection, or of all, or what is wrong with it.

        Memory does not grow with their number.

        Raises:
            BackendError: the store failed.
        """
        return inspection.entries(self.store, collection)

    async def invalidate(
        self,
        *,
        key: str | None = None,
        tag: str | None = None,
        model: str | None = None,
        collection: str | None = None,
        older_than: float | None = None,
    ) -> int:
        """Remove the entries that match everything given, and return how many there were.

        `model` matches the name asked for and the name that answered; `older_than`
        is seconds since the answer was made. A collection alone is emptied; without
        one, `key` means the cache's own and the rest mean all of them.

        Raises:
            ConfigurationError: nothing was given, or an `older_than` that is no time.
            BackendError: the store failed.
        """
        _check_age(older_than)
        if collection is not None:
            check_collection(collection)
        limit = None if older_than is None else self.store.now() - older_than
        criteria = invalidation.Criteria.of(key, tag, model, limit)
        if not criteria.is_key_alone:
            return await invalidation.invalidate(self.store, collection, criteria)
        if key is not None:
            return await self.store.remove(collection or self.collection, [key])
        if collection is None:
            msg = "invalidate: say what: key, tag, model, older_than or collection"
            raise ConfigurationError(msg)
        return await invalidation.empty(self.store, collection)

    async def stats(self, *, exact: bool = False) -> BackendStats:
        """Return what the store holds; `counters` say what this process did with it.

        A store that would have to read too much for it estimates, and says so in
        `estimated`, unless it is to be `exact`, however long that takes.

        Raises:
            BackendError: the store failed.
        """
        backend = self.backend
        if exact and isinstance(backend, SupportsCount):
            return await backend.count()
        if isinstance(backend, SupportsStats):
            return await backend.stats()
        sizes: dict[str, tuple[int, int]] = {}
        async for info in backend.scan():
            number, size = sizes.get(info.collection, (0, 0))
            sizes[info.collection] = (number + 1, size + info.size)
        total = sum(number for number, _ in sizes.values())
        return BackendStats(total, sum(size for _, size in sizes.values()), sizes)

    async def prune(
        self, collection: str | None = None, *, max_bytes: int | None = None
    ) -> PruneReport:
        """Remove what is past its time, and the least recently used above `max_bytes`.

        Raises:
            BackendError: the store failed.
            ConfigurationError: a ceiling for a store that keeps no times of use.
        """
        self.store.uses.flush()
        backend = self.backend
        if isinstance(backend, SupportsPrune):
            return await backend.prune(collection, max_bytes=max_bytes)
        if max_bytes is not None:
            msg = f"backend {backend.name!r} does not know what was used last: leave max_bytes out"
            raise ConfigurationError(msg)
        now, expired, left = self.store.now(), 0, 0
        async for info, entry in self.entries(collection):
            until = None if isinstance(entry, BackendError) else entry.keep_until
            if until is not None and until <= now:
                expired += await self.store.remove(info.collection, [info.key])
            else:
                left += 1
        return PruneReport(expired=expired, entries_left=left)

    async def verify(self, collection: str | None = None, *, repair: bool = False) -> VerifyReport:
        """Read every entry and check that it is sound and what its key says.

        `repair` sets damaged entries aside, where the store can.

        Raises:
            BackendError: the store failed.
        """
        checked = corrupt = unreadable = failed = repaired = 0
        problems: list[tuple[str, str, str]] = []
        async for info, entry in self.entries(collection):
            checked += 1
            problem = entry if isinstance(entry, BackendError) else inspection.misplaced(entry)
            if problem is None:
                continue
            if isinstance(problem, CorruptEntryError):
                corrupt += 1
                repaired += repair and await self._set_aside(info)
            elif isinstance(problem, UnreadableEntryError):
                unreadable += 1
            else:
                failed += 1
            if len(problems) < _LISTED:
                problems.append((info.collection, info.key, str(problem)))
        return VerifyReport(checked, corrupt, unreadable, failed, repaired, tuple(problems))

    async def _set_aside(self, info: EntryInfo) -> bool:
        backend = self.backend
        data = (await self.store.raw(info.collection, [info.key])).get(info.key)
        if not isinstance(backend, SupportsQuarantine) or not isinstance(data, bytes):
            return False
        await backend.quarantine(info.collection, info.key, data)
        self.store.tier.discard((info.collection, info.key))
        return True

    async def export(
        self, path: str | Path, collection: str | None = None, *, tag: str | None = None
    ) -> transfer.ExportReport:
        """Write entries to a JSON Lines file (`.zst`: compressed); report how many.

        An entry that cannot be read is left out, and named in the report.

        Raises:
            BackendError: the store failed; the file is then not made.
            OSError: the file cannot be written.
        """
        return await transfer.export_entries(self.store, Path(path), collection, tag)

    async def import_(
        self,
        path: str | Path,
        collection: str | None = None,
        *,
        on_conflict: Literal["keep", "replace", "newer"] = "keep",
    ) -> transfer.ImportReport:
        """Read entries from a file that `export` wrote, into their own or another collection.

        A line that is not an entry, or whose request has another key, is rejected
        and named in the report; the rest is imported.

        Raises:
            BackendError: the store failed; what came before is imported.
            OSError: the file cannot be read.
        """
        return await transfer.import_entries(self.store, Path(path), collection, on_conflict)

    async def warm(  # noqa: PLR0913 - limits, all keyword-only with defaults
        self,
        collection: str | None = None,
        *,
        order: warming.Order = "most_used",
        max_bytes: int | None = None,
        max_entries: int | None = None,
        near_bytes: int | None = None,
        seconds: float = 5.0,
        progress: Callable[[int, int], Any] | None = None,
    ) -> warming.WarmReport:
        """Load the best entries of the store into this process's memory.

        Where Redis stands before Postgres, copies them into Redis first, and goes on with
        that when memory is full, as long as Redis has room.

        Stops at `max_bytes` of memory (default: the memory tier's ceiling), `near_bytes`
        copied (default: what Redis has left below its `maxmemory`), `max_entries`, or
        after `seconds`. A store that fails ends the warming early, with a warning.
        """
        return await warming.warm(
            self.store,
            self.dialects,
            collection,
            order=order,
            limits=warming.Limits(
                bytes=self.store.tier.max_bytes if max_bytes is None else max_bytes,
                seconds=seconds,
                entries=max_entries,
                near_bytes=near_bytes,
            ),
            progress=progress,
        )


def _check_age(seconds: Any) -> None:
    number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if seconds is not None and not (number and seconds >= 0):
        msg = f"older_than must be a number of seconds, not {seconds!r}"
        raise ConfigurationError(msg)


def _origin(dialect: Dialect) -> str:
    return getattr(dialect, "origin", dialect.provider)
