"""Entries from one backend to another, as they are: the same bytes, with the dictionaries they need.

What is copied is checked first, so that damage stays where it is. What is there already,
byte for byte, is passed over: a copy that was interrupted goes on when it is started
again, and one that is complete changes nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, get_args

from .. import _base_dictionary
from ..backends.base import (
    MOST_KEYS,
    Backend,
    EntryInfo,
    OnConflict,
    StoredEntry,
    SupportsDictionaries,
    SupportsLoad,
    check_collection,
)
from ..codec import Codec, Dictionary, dictionary_id, dictionary_of
from ..errors import BackendError, ConfigurationError, CorruptEntryError, UnreadableEntryError
from ..types import CacheEntry
from .guard import Budget
from .inspection import misplaced
from .store import Store

__all__ = ["CopyReport", "copy_entries", "gives_way", "stored_entry", "write_entries"]

_LISTED: Final = 100
# What is in memory at a time, of each side: entries by number and bytes, and names to come.
_BATCH: Final = MOST_KEYS
_BATCH_BYTES: Final = 16 * 2**20
_LARGE: Final = _BATCH_BYTES // _BATCH
_MOST_WAITING: Final = 20_000
_PATIENCE: Final = 10.0


@dataclass(frozen=True, slots=True)
class CopyReport:
    """What a copy did, or has done so far.

    `copied` entries were stored, `replaced` of them in place of others, and have `bytes`
    in all; `unchanged` ones were there already, `kept` are keys under which the target
    has another entry that stays. `damaged`, `unreadable` (a later version, a missing
    dictionary or encryption key) and `failed` (the store could not read them) ones were
    left out; the first hundred of them are in `problems` as (collection, key, reason).
    """

    copied: int = 0
    replaced: int = 0
    unchanged: int = 0
    kept: int = 0
    damaged: int = 0
    unreadable: int = 0
    failed: int = 0
    dictionaries: int = 0
    bytes: int = 0
    problems: tuple[tuple[str, str, str], ...] = ()

    @property
    def seen(self) -> int:
        """How many entries of the source were looked at."""
        return self.copied + self.unchanged + self.kept + self.left_out

    @property
    def left_out(self) -> int:
        """How many could not be copied."""
        return self.damaged + self.unreadable + self.failed


async def copy_entries(
    source: Backend,
    target: Backend,
    collection: str | None = None,
    *,
    on_conflict: OnConflict = "newer",
    codec: Codec | None = None,
    progress: Callable[[CopyReport], object] | None = None,
) -> CopyReport:
    """Copy the entries of a collection, or of all, with their times, tags and models.

    Uses are not copied: to the target, entries are new. `on_conflict` says what happens
    to another entry under the same key; a target that can `load` decides it as it
    writes, others may be overtaken by a writer of the same key. `codec` is one with the
    envelope, where entries are sealed. `progress` is called after each batch.

    Memory does not grow with the number of entries. A copy that ends early, by an error
    or because it is cancelled, has copied whole entries, with their dictionaries.

    Raises:
        BackendError: one of the two failed.
        ConfigurationError: a collection or `on_conflict` that cannot be.
    """
    if on_conflict not in get_args(OnConflict):
        msg = f"on_conflict must be 'keep', 'newer' or 'replace', not {on_conflict!r}"
        raise ConfigurationError(msg)
    if collection is not None:
        check_collection(collection)
    copying = _Copying(source, target, on_conflict, codec or Codec())
    async for batch in _batches(source.scan(collection)):
        await copying.copy(batch)
        if progress is not None:
            progress(copying.report)
    return copying.report


def stored_entry(entry: CacheEntry, data: bytes, store: Store) -> StoredEntry:
    """Return an entry with its frame, as the backend of `store` takes it."""
    return StoredEntry(
        key=entry.key,
        data=data,
        model=entry.model,
        tags=entry.tags,
        created_at=entry.created_at,
        keep_until=store.here(entry.keep_until),
        answered_by=entry.answered_by or "",
    )


async def write_entries(
    backend: Backend, collection: str, entries: Sequence[StoredEntry], on_conflict: OnConflict
) -> int:
    """Store at most 1,000 entries by the fastest way there is; return how many were stored.

    Only a store that can `load` heeds `on_conflict`; the others store all.

    Raises:
        BackendError: the store failed.
    """
    if not entries:
        return 0
    if isinstance(backend, SupportsLoad):
        return (await backend.load(collection, entries, on_conflict=on_conflict)).stored
    await backend.put(collection, entries)
    return len(entries)


def gives_way(there: CacheEntry, entry: CacheEntry, on_conflict: OnConflict) -> bool:
    """Return whether the entry that is there is replaced by the other one."""
    newer = on_conflict == "newer" and entry.created_at > there.created_at
    return newer or on_conflict == "replace"


async def _batches(infos: AsyncIterator[EntryInfo]) -> AsyncIterator[list[EntryInfo]]:
    """Yield what a scan yields, in batches of one collection that fit into memory."""
    waiting: dict[str, list[EntryInfo]] = {}
    count = 0
    async for info in infos:
        batch = waiting.setdefault(info.collection, [])
        size = sum(each.size for each in batch) if info.size > _LARGE else 0
        if batch and (len(batch) >= _BATCH or size + info.size > _BATCH_BYTES):
            yield waiting.pop(info.collection)
            count -= len(batch)
            batch = waiting.setdefault(info.collection, [])
        batch.append(info)
        count += 1
        if count >= _MOST_WAITING:  # of very many collections, scanned in no order
            longest = max(waiting, key=lambda name: len(waiting[name]))
            count -= len(waiting[longest])
            yield waiting.pop(longest)
    for batch in waiting.values():
        yield batch


class _Copying:
    """One copy, and how far it is."""

    def __init__(
        self, source: Backend, target: Backend, on_conflict: OnConflict, codec: Codec
    ) -> None:
        self.report = CopyReport()
        self._source, self._target = source, target
        self._on_conflict: OnConflict = on_conflict
        self._codec = codec
        # The codec is one: an entry of the target may need a dictionary that only the source has.
        self._stores = tuple(
            Store(side, codec, memory_bytes=0, coherence=0, background_timeout=_PATIENCE)
            for side in (source, target)
        )
        self._base = _base_dictionary.load().id
        self._known: dict[str, dict[int, bytes]] = {}
        self._kept: dict[str, set[int]] = {}

    async def copy(self, batch: Sequence[EntryInfo]) -> None:
        """Copy entries of one collection."""
        name, keys = batch[0].collection, [info.key for info in batch]
        await self._stores[1].meet(name, Budget(_PATIENCE))
        frames, there = [await store.raw(name, keys) for store in self._stores]
        await self._learn_dictionaries(name, frames.values())
        fresh: list[StoredEntry] = []
        mending: list[StoredEntry] = []
        replaced = 0
        for key, data in frames.items():
            known = there.get(key)
            if isinstance(data, bytes) and known == data:
                self._count(unchanged=1)
                continue
            try:
                entry = self._checked(key, data)
                other = self._other(key, known)
            except BackendError as error:
                self._leave_out(name, key, error)
                continue
            if other == entry:  # compressed in another way
                self._count(unchanged=1)
                continue
            if isinstance(other, CacheEntry) and not gives_way(other, entry, self._on_conflict):
                self._count(kept=1)
                continue
            replaced += other is not None
            stored = self._stored(name, entry, data)
            # What is there and cannot be read answers nobody: it is replaced in any case.
            (mending if isinstance(other, BackendError) else fresh).append(stored)
        await self._keep_dictionaries(name, [*fresh, *mending])
        await self._write(name, fresh, mending, replaced)

    async def _write(
        self,
        name: str,
        fresh: Sequence[StoredEntry],
        mending: Sequence[StoredEntry],
        replaced: int,
    ) -> None:
        stored = await write_entries(self._target, name, fresh, self._on_conflict)
        stored += await write_entries(self._target, name, mending, "replace")
        # Others came first with a newer one.
        overtaken = len(fresh) + len(mending) - stored
        size = sum(len(entry.data) for entry in (*fresh, *mending))
        self._count(copied=stored, replaced=replaced, kept=overtaken, bytes=size)

    def _checked(self, key: str, data: bytes | BackendError) -> CacheEntry:
        """Return the sound entry that `data` is.

        Raises:
            BackendError: it is none.
        """
        if isinstance(data, BackendError):
            raise data
        entry = self._codec.decode(key, data)
        wrong = misplaced(entry)
        if wrong is not None:
            raise wrong
        return entry

    def _other(
        self, key: str, data: bytes | BackendError | None
    ) -> CacheEntry | BackendError | None:
        """Return what the target has under a key, or what is wrong with it.

        Raises:
            BackendError: the target could not read it.
        """
        if data is None:
            return None
        try:
            return self._checked(key, data)
        except (CorruptEntryError, UnreadableEntryError) as error:
            return error

    def _stored(self, name: str, entry: CacheEntry, data: bytes | BackendError) -> StoredEntry:
        """Return an entry as it is written; with the shipped dictionary, if its own cannot follow."""
        if not isinstance(data, bytes) or not self._can_follow(name, dictionary_of(data)):
            data = self._codec.encode(entry, dictionary_id=self._base)
        return stored_entry(entry, data, self._stores[1])

    def _can_follow(self, name: str, dictionary: int) -> bool:
        known = dictionary in self._known.get(name, ())
        return dictionary in {0, self._base} or (
            known and isinstance(self._target, SupportsDictionaries)
        )

    def _named(self, frames: Iterable[bytes | BackendError]) -> set[int]:
        """Return the dictionaries that `frames` name, but for the shipped one, which all have."""
        named = {dictionary_of(data) for data in frames if isinstance(data, bytes)}
        return named - {0, self._base}

    async def _learn_dictionaries(self, name: str, frames: Iterable[bytes | BackendError]) -> None:
        """Read the source's dictionaries if `frames` name one that is not known yet."""
        source = self._source
        known = self._known.setdefault(name, {})
        if self._named(frames) <= known.keys() or not isinstance(source, SupportsDictionaries):
            return
        for data in await source.dictionaries(name):
            known[dictionary_id(data)] = data
            self._codec.add(Dictionary(data))

    async def _keep_dictionaries(self, name: str, entries: Sequence[StoredEntry]) -> None:
        """Give the target the dictionaries that `entries` name, before the entries."""
        target = self._target
        needed = self._named(entry.data for entry in entries)
        if not needed or not isinstance(target, SupportsDictionaries):
            return
        if name not in self._kept:
            self._kept[name] = {dictionary_id(data) for data in await target.dictionaries(name)}
        for missing in sorted(needed - self._kept[name]):
            await target.put_dictionary(name, self._known[name][missing])
            self._kept[name].add(missing)
            self._count(dictionaries=1)

    def _count(self, **more: int) -> None:
        self.report = replace(
            self.report, **{name: getattr(self.report, name) + n for name, n in more.items()}
        )

    def _leave_out(self, name: str, key: str, error: BackendError) -> None:
        kind: dict[type[BackendError], str] = {
            CorruptEntryError: "damaged",
            UnreadableEntryError: "unreadable",
        }
        self._count(**{kind.get(type(error), "failed"): 1})
        if len(self.report.problems) < _LISTED:
            problems = (*self.report.problems, (name, key, str(error)))
            self.report = replace(self.report, problems=problems)
