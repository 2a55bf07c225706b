"""Entries as files: one file each, written aside and renamed, safe for many processes.

No database, no index, nothing to recover after a crash: a file is there whole or
not at all. The layout is described in `_fs_layout`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, TypeVar
from weakref import WeakValueDictionary

from ..codec import MAX_ENTRY_BYTES, dictionary_id
from ..errors import BackendError, ConfigurationError
from . import _fs_layout as layout
from . import _fs_upkeep as upkeep
from ._closing import AsyncClosing
from ._fs_ceiling import Ceiling
from ._fs_files import (
    draw_revision,
    folder_of,
    read_dictionaries,
    read_file,
    read_revision,
    unavailable,
    write_file,
)
from ._fs_leases import FileLease, LockedFile, lock_file
from ._workers import Workers
from .base import (
    BackendStats,
    EntryInfo,
    Lease,
    PruneReport,
    StoredEntry,
    check_collection,
    check_key,
)

__all__ = ["FSCache"]

T = TypeVar("T")

_WORKERS: Final = 4
# A local read takes some 10 µs. Some that take this long within a short time (one alone may be
# the scheduler's doing) say that the disk is busy or far away; for a while reads then go
# through threads, where a deadline can leave them behind.
_SLOW_READ: Final = 0.02
_SLOW_READS: Final = 3
_SLOW_WITHIN: Final = 10.0
_SLOW_FOR: Final = 30.0
# A longer list of files would hold up everybody else on the loop.
_MOST_INLINE: Final = 32
# What a frame may have around its content.
_FRAMING: Final = 2**16


class FSCache(AsyncClosing):
    """A folder of entries.

    Many processes may share the folder, also over a network file system. Files
    are read on the event loop when the folder is local, which is ten times
    faster than a thread and takes some 10 µs; in threads when it is not, or when
    a read was slow, so that a server that does not answer costs a deadline and
    not the loop.

    Above `max_bytes`, the least recently used entries go, in the background. All
    processes that share a folder should be given the same ceiling; between two
    looks, each may exceed it by a sixteenth.
    """

    name = "fs"

    def __init__(
        self,
        cache_dir: str | os.PathLike[str] = "./cache",
        *,
        max_bytes: int | None = None,
        max_entry_bytes: int = MAX_ENTRY_BYTES,
        fsync: bool = False,
        io: Literal["auto", "inline", "thread"] = "auto",
    ) -> None:
        """Name the folder; it is created by the first write.

        `fsync` makes a put survive a power failure, at the price of a disk flush each.
        A larger file than `max_entry_bytes` (as the cache manager's) is no entry.

        Raises:
            ConfigurationError: `cache_dir` cannot be a folder, or an argument is out of range.
        """
        root = folder_of(cache_dir)
        if max_bytes is not None:
            _check_positive("max_bytes", max_bytes)
        _check_positive("max_entry_bytes", max_entry_bytes)
        if io not in ("auto", "inline", "thread"):
            msg = f"io must be 'auto', 'inline' or 'thread', not {io!r}"
            raise ConfigurationError(msg)
        self.cache_dir = root
        self.max_bytes = max_bytes
        self._root = str(root)
        self._most = max_entry_bytes + _FRAMING
        self._fsync = fsync
        self._workers = Workers(_WORKERS, "llmcache-fs")
        self._io = io
        self._threaded_until = self._first_choice(root)
        self._slow_reads: list[float] = []
        # Those that somebody may still hold, by the paths of their files.
        self._leases: WeakValueDictionary[str, FileLease] = WeakValueDictionary()
        self._ceiling = None if max_bytes is None else Ceiling(max_bytes, self._evict)

    def _first_choice(self, root: Path) -> float:
        if self._io == "thread":
            return float("inf")
        return float("inf") if self._io == "auto" and layout.is_network(root) else 0.0

    # --- the map ----------------------------------------------------------------------------

    async def get(self, collection: str, keys: Sequence[str], /) -> Mapping[str, bytes]:
        """Return the entries that exist among `keys`."""
        check_collection(collection)
        if self._threaded_until or len(keys) > _MOST_INLINE:
            return await self._get_aside(collection, keys)
        started = time.perf_counter()
        try:
            found = self._read_all(collection, keys)
        except OSError as error:
            raise unavailable("get", error) from error
        if time.perf_counter() - started > _SLOW_READ and self._io == "auto":
            self._note_slow_read()
        return found

    def _note_slow_read(self) -> None:
        now = time.monotonic()
        self._slow_reads = [at for at in self._slow_reads if now - at < _SLOW_WITHIN] + [now]
        if len(self._slow_reads) >= _SLOW_READS:
            self._slow_reads = []
            self._threaded_until = now + _SLOW_FOR

    async def _get_aside(self, collection: str, keys: Sequence[str]) -> Mapping[str, bytes]:
        """Read in a thread, as long as the disk is to be mistrusted."""
        if time.monotonic() > self._threaded_until:
            self._threaded_until = 0.0
        return await self._run("get", lambda: self._read_all(collection, keys))

    def _read_all(self, collection: str, keys: Sequence[str]) -> dict[str, bytes]:
        found = {}
        for key in keys:
            data = read_file(layout.entry_path(self._root, collection, check_key(key)), self._most)
            if data is not None:
                found[key] = data
        return found

    async def put(self, collection: str, entries: Sequence[StoredEntry], /) -> None:
        """Store `entries`, each under a temporary name first."""
        check_collection(collection)
        paths = [layout.entry_path(self._root, collection, check_key(e.key)) for e in entries]
        size = max((len(entry.data) for entry in entries), default=0)
        if size > self._most:
            msg = f"an entry of {size} bytes would not be read again; raise max_entry_bytes"
            raise BackendError(msg, backend=self.name, operation="put")
        given_up = False

        def write() -> None:
            replaced = False
            try:
                for path, entry in zip(paths, entries, strict=True):
                    replaced |= write_file(
                        path, entry.data, fsync=self._fsync, wanted=lambda: not given_up
                    )
            finally:
                if replaced:
                    draw_revision(layout.revision_path(self._root, collection))

        try:
            await self._run("put", write)
        except asyncio.CancelledError:
            given_up = True
            raise
        if self._ceiling is not None:
            self._ceiling.wrote(sum(len(entry.data) for entry in entries))

    async def delete(self, collection: str, keys: Sequence[str], /) -> int:
        """Remove `keys` and return how many existed."""
        check_collection(collection)
        paths = [layout.entry_path(self._root, collection, check_key(key)) for key in keys]

        def remove() -> int:
            removed = 0
            try:
                for path in paths:
                    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                        os.unlink(path)
                        removed += 1
            finally:
                if removed:
                    draw_revision(layout.revision_path(self._root, collection))
            return removed

        return await self._run("delete", remove)

    async def scan(self, collection: str | None = None, /) -> AsyncIterator[EntryInfo]:
        """Yield the entries of one collection, or of all, one folder at a time."""
        root = self.cache_dir
        names = [] if collection is None else [check_collection(collection)]
        if collection is None:
            names = await self._run("scan", partial(layout.collections, root))
        for name in names:
            for folder in await self._run("scan", partial(layout.shards, root, name)):
                for info in await self._run("scan", partial(layout.list_shard, name, folder)):
                    yield info

    async def aclose(self) -> None:
        """Finish an eviction under way and let the worker threads end.

        The object can go on being used.
        """
        if self._ceiling is not None:
            await self._ceiling.aclose()
        self._workers.close()

    # --- leases -------------------------------------------------------------------------------

    async def try_lease(self, collection: str, key: str, /) -> Lease | None:
        """Return an operating-system lock on `key`, or `None` when another process holds it.

        The system frees the lock when its holder dies. Two leases within one
        process exclude each other too.
        """
        check_collection(collection)
        path = layout.lock_path(self._root, collection, check_key(key))
        left = self._leases.get(path)
        if left is not None and left.is_abandoned:
            await self._run("lease", left.locked.release)
        attempt = asyncio.ensure_future(self._run("lease", lambda: lock_file(path)))
        try:
            locked = await asyncio.shield(attempt)
        except asyncio.CancelledError:
            attempt.add_done_callback(self._give_back)
            raise
        if locked is None:
            return None
        lease = self._leases[path] = FileLease(locked, self._workers)
        return lease

    def _give_back(self, attempt: asyncio.Future[LockedFile | None]) -> None:
        """Release a lock that came after its caller had gone."""
        if not attempt.cancelled() and attempt.exception() is None and (locked := attempt.result()):
            self._workers.submit(locked.release)

    # --- what else a folder can do ------------------------------------------------------------

    async def quarantine(self, collection: str, key: str, data: bytes, /) -> None:
        """Move the entry to `.corrupt/` if it still holds `data`."""
        path = layout.entry_path(self._root, check_collection(collection), check_key(key))
        aside = Path(self._root, collection, ".corrupt")

        def move() -> None:
            if read_file(path, self._most) != data:
                return
            aside.mkdir(parents=True, exist_ok=True)
            target = aside / f"{os.path.basename(path)}.{time.time_ns()}"
            with contextlib.suppress(FileNotFoundError):
                os.replace(path, target)
                draw_revision(layout.revision_path(self._root, collection))
                os.utime(target)  # it is kept for a while from now on

        await self._run("quarantine", move)

    async def dictionaries(self, collection: str, /) -> Sequence[bytes]:
        """Return every dictionary whose content still has the hash in its name, oldest first."""
        folder = Path(self._root, check_collection(collection), ".dictionaries")
        return await self._run(
            "dictionaries", lambda: [data for _, data in read_dictionaries(folder)]
        )

    async def put_dictionary(self, collection: str, data: bytes, /) -> None:
        """Keep one more, after those that are there."""
        folder = Path(self._root, check_collection(collection), ".dictionaries")

        def write() -> None:
            numbers = [number for number, _ in read_dictionaries(folder)]
            name = f"{max(numbers, default=0) + 1:04d}-{dictionary_id(data):08x}.zdict"
            write_file(str(folder / name), data, fsync=True)

        await self._run("put_dictionary", write)

    async def revision(self, collection: str, /) -> int:
        """Return the number that was drawn when an entry was last replaced or removed."""
        path = layout.revision_path(self._root, check_collection(collection))
        return await self._run("revision", lambda: read_revision(path))

    async def touch(self, collection: str, uses: Mapping[str, int], /) -> None:
        """Add `uses` to the keys' counts and set their time of last use to now."""
        check_collection(collection)
        paths = {
            layout.entry_path(self._root, collection, check_key(key)): number
            for key, number in uses.items()
        }

        def mark() -> None:
            for path, number in paths.items():
                with contextlib.suppress(FileNotFoundError):
                    layout.mark_used(path, number)

        await self._run("touch", mark)

    async def stats(self) -> BackendStats:
        """Return totals; reads every folder, no file."""
        return await self._run("stats", lambda: upkeep.count(self.cache_dir))

    async def prune(
        self, collection: str | None = None, /, *, max_bytes: int | None = None
    ) -> PruneReport:
        """Remove entries past their time, left-over files, and what exceeds `max_bytes`."""
        if collection is not None:
            check_collection(collection)
        ceiling = max_bytes if max_bytes is not None else self.max_bytes
        root = self.cache_dir

        def work() -> PruneReport:
            swept = upkeep.sweep(root, collection)
            expired = upkeep.expire(root, collection)
            evicted = PruneReport(entries_left=expired.entries_left, bytes_left=expired.bytes_left)
            if ceiling is not None:
                evicted = upkeep.evict(root, ceiling, collection)
            return PruneReport(
                expired=expired.expired,
                evicted=evicted.evicted,
                leftovers=swept.leftovers,
                bytes_freed=swept.bytes_freed + expired.bytes_freed + evicted.bytes_freed,
                entries_left=evicted.entries_left,
                bytes_left=evicted.bytes_left,
            )

        return await self._run("prune", work)

    # --- inside ---------------------------------------------------------------------------------

    async def _evict(self) -> PruneReport:
        return await self._run("evict", lambda: upkeep.evict(self.cache_dir, self.max_bytes or 0))

    async def _run(self, operation: str, function: Callable[[], T]) -> T:
        try:
            return await self._workers.run(function)
        except OSError as error:
            raise unavailable(operation, error) from error


def _check_positive(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        msg = f"{name} must be a positive number of bytes, not {value!r}"
        raise ConfigurationError(msg)
