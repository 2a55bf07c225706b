"""Entries in this process's memory: the reference for what a backend does, gone with the process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

from ._closing import AsyncClosing
from .base import BackendStats, EntryInfo, Lease, StoredEntry, check_collection, check_key

__all__ = ["MemoryBackend"]


class MemoryBackend(AsyncClosing):
    """A dict per collection. For tests, and for a cache that should not outlive the process."""

    name = "memory"

    def __init__(self) -> None:
        """Start empty."""
        self._collections: dict[str, dict[str, StoredEntry]] = {}
        self._leases: dict[tuple[str, str], asyncio.AbstractEventLoop] = {}
        self._dictionaries: dict[str, list[bytes]] = {}
        self._revisions: dict[str, int] = {}
        self.quarantined: list[tuple[str, str, bytes]] = []

    async def get(self, collection: str, keys: Sequence[str], /) -> Mapping[str, bytes]:
        """Return the entries that exist among `keys`."""
        entries = self._collections.get(check_collection(collection), {})
        return {key: entries[key].data for key in map(check_key, keys) if key in entries}

    async def put(self, collection: str, entries: Sequence[StoredEntry], /) -> None:
        """Store `entries`."""
        held = self._collections.setdefault(check_collection(collection), {})
        for entry in entries:
            if check_key(entry.key) in held:
                self._changed(collection)
            held[entry.key] = entry

    async def delete(self, collection: str, keys: Sequence[str], /) -> int:
        """Remove `keys` and return how many existed."""
        held = self._collections.get(check_collection(collection), {})
        removed = sum(held.pop(key, None) is not None for key in map(check_key, keys))
        if removed:
            self._changed(collection)
        return removed

    async def scan(self, collection: str | None = None, /) -> AsyncIterator[EntryInfo]:
        """Yield the entries of one collection, or of all."""
        names = list(self._collections) if collection is None else [check_collection(collection)]
        for name in names:
            for key, entry in list(self._collections.get(name, {}).items()):
                yield EntryInfo(name, key, len(entry.data), entry.created_at)

    async def aclose(self) -> None:
        """Keep everything: the object can go on being used."""

    async def try_lease(self, collection: str, key: str, /) -> Lease | None:
        """Return the lease of `key`, or `None` when it is held.

        What a loop held when it was closed is free: nobody is left to release it.
        """
        place = (check_collection(collection), check_key(key))
        holder = self._leases.get(place)
        if holder is not None and not holder.is_closed():
            return None
        self._leases[place] = asyncio.get_running_loop()
        return _MemoryLease(self._leases, place)

    async def quarantine(self, collection: str, key: str, data: bytes, /) -> None:
        """Move the entry to `quarantined` if it still holds `data`."""
        held = self._collections.get(check_collection(collection), {})
        if check_key(key) in held and held[key].data == data:
            del held[key]
            self._changed(collection)
            self.quarantined.append((collection, key, data))

    async def dictionaries(self, collection: str, /) -> Sequence[bytes]:
        """Return the dictionaries of the collection, oldest first."""
        return tuple(self._dictionaries.get(check_collection(collection), ()))

    async def put_dictionary(self, collection: str, data: bytes, /) -> None:
        """Keep one more."""
        self._dictionaries.setdefault(check_collection(collection), []).append(data)

    async def revision(self, collection: str, /) -> int:
        """Return how many times an entry was replaced or removed."""
        return self._revisions.get(check_collection(collection), 0)

    async def stats(self) -> BackendStats:
        """Return totals."""
        sizes = {
            name: (len(held), sum(len(entry.data) for entry in held.values()))
            for name, held in self._collections.items()
        }
        return BackendStats(
            entries=sum(count for count, _ in sizes.values()),
            bytes=sum(size for _, size in sizes.values()),
            collections=sizes,
            quarantined=len(self.quarantined),
        )

    def _changed(self, collection: str) -> None:
        self._revisions[collection] = self._revisions.get(collection, 0) + 1


class _MemoryLease:
    def __init__(
        self, held: dict[tuple[str, str], asyncio.AbstractEventLoop], place: tuple[str, str]
    ) -> None:
        self._held = held
        self._place = place
        self._released = False

    async def release(self) -> None:
        # By then somebody else may hold the place.
        if not self._released:
            self._released = True
            self._held.pop(self._place, None)
