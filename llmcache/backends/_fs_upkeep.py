"""Counting, expiring and evicting files: plain blocking functions, run in a worker thread.

All of them stream: one folder of the collection is in memory at a time, and the
least recently used entries are found with a histogram of ages instead of a list
of files, in two passes.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ..codec import HEADER_SIZE, keep_until
from . import _fs_layout as layout
from ._fs_leases import LOCK_SUFFIX, lock_file
from .base import BackendStats, EntryInfo, PruneReport

__all__ = ["count", "evict", "expire", "sweep"]

# Left-overs of a killed writer are safe to take once no write can still be under way.
_STALE_TEMPORARY: Final = 3600.0
_KEEP_CORRUPT: Final = 7 * 86400.0
_EVICT_TO: Final = 0.9
# Ages are told apart in steps of one eighth of a power of two: to about 9 % of the age.
_AGE_STEPS: Final = 8


def entries(root: Path, collection: str | None) -> Iterator[EntryInfo]:
    """Yield every entry of one collection, or of all."""
    for name in layout.collections(root) if collection is None else [collection]:
        for shard in layout.shards(root, name):
            yield from layout.list_shard(name, shard)


def count(root: Path) -> BackendStats:
    """Return the totals of the store."""
    totals: dict[str, tuple[int, int]] = {}
    oldest: float | None = None
    newest: float | None = None
    for info in entries(root, None):
        number, size = totals.get(info.collection, (0, 0))
        totals[info.collection] = (number + 1, size + info.size)
        oldest = info.used_at if oldest is None else min(oldest, info.used_at)
        newest = info.used_at if newest is None else max(newest, info.used_at)
    return BackendStats(
        entries=sum(number for number, _ in totals.values()),
        bytes=sum(size for _, size in totals.values()),
        collections=totals,
        quarantined=sum(_quarantined(root, name) for name in layout.collections(root)),
        oldest_use=oldest,
        newest_use=newest,
    )


def expire(root: Path, collection: str | None) -> PruneReport:
    """Remove the entries whose `keep_until` has passed."""
    now = time.time()
    expired = freed = left = kept = 0
    for info in entries(root, collection):
        until = keep_until(_header(root, info))
        if until is not None and until <= now and _remove(root, info):
            expired += 1
            freed += info.size
        else:
            left += 1
            kept += info.size
    return PruneReport(expired=expired, bytes_freed=freed, entries_left=left, bytes_left=kept)


def evict(root: Path, max_bytes: int, collection: str | None = None) -> PruneReport:
    """Remove the least recently used entries until 90 % of `max_bytes` are left.

    Nothing is removed while the entries fit. Going below the ceiling keeps the
    next writes from evicting again at once.
    """
    now = time.time()
    ages: Counter[int] = Counter()
    total = number = 0
    for info in entries(root, collection):
        ages[_age_step(now, info.used_at)] += info.size
        total += info.size
        number += 1
    if total <= max_bytes:
        return PruneReport(entries_left=number, bytes_left=total)
    surplus = total - int(max_bytes * _EVICT_TO)
    limit, below = _oldest_steps(ages, surplus)
    evicted = freed = 0
    for info in entries(root, collection):
        step = _age_step(now, info.used_at)
        # The youngest step that must go is taken only as far as the surplus reaches.
        if step > limit or (step == limit and below > 0):
            if not _remove(root, info):
                continue
            below -= info.size if step == limit else 0
            evicted += 1
            freed += info.size
    return PruneReport(
        evicted=evicted,
        bytes_freed=freed,
        entries_left=number - evicted,
        bytes_left=total - freed,
    )


def sweep(root: Path, collection: str | None) -> PruneReport:
    """Remove what killed writers left behind, and quarantined entries older than a week."""
    now = time.time()
    leftovers = freed = 0
    for name in layout.collections(root) if collection is None else [collection]:
        for path, oldest in _leftovers(root / name, now):
            with contextlib.suppress(OSError):
                status = path.stat()
                if status.st_mtime < oldest and _remove_leftover(path):
                    leftovers += 1
                    freed += status.st_size
    return PruneReport(leftovers=leftovers, bytes_freed=freed)


def _leftovers(folder: Path, now: float) -> Iterator[tuple[Path, float]]:
    for written in [*layout.shards(folder.parent, folder.name), folder / ".dictionaries"]:
        for path in written.glob(f"{layout.TEMPORARY_PREFIX}*"):
            yield path, now - _STALE_TEMPORARY
    for path in (folder / ".locks").glob(f"*{LOCK_SUFFIX}"):
        yield path, now - _KEEP_CORRUPT
    for path in (folder / ".corrupt").glob("*"):
        yield path, now - _KEEP_CORRUPT


def _remove_leftover(path: Path) -> bool:
    if path.suffix != LOCK_SUFFIX:
        path.unlink()
        return True
    # A lock file is removed by its holder. Those of killed holders lie here, unlocked; a new
    # holder of such a file may not have changed its time.
    locked = lock_file(str(path))
    if locked is None:
        return False
    locked.release()
    return True


def _age_step(now: float, used_at: float) -> int:
    return int(math.log2(max(1.0, (now - used_at) * 1000)) * _AGE_STEPS)


def _oldest_steps(ages: Counter[int], surplus: int) -> tuple[int, int]:
    """Return the youngest step that must go, and how many of its bytes."""
    for step in sorted(ages, reverse=True):
        if ages[step] >= surplus:
            return step, surplus
        surplus -= ages[step]
    return -1, 0


def _header(root: Path, info: EntryInfo) -> bytes:
    try:
        descriptor = os.open(layout.entry_path(str(root), info.collection, info.key), os.O_RDONLY)
    except OSError:
        return b""
    try:
        return os.read(descriptor, HEADER_SIZE)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def _remove(root: Path, info: EntryInfo) -> bool:
    try:
        os.unlink(layout.entry_path(str(root), info.collection, info.key))
    except OSError:
        return False
    return True


def _quarantined(root: Path, collection: str) -> int:
    return sum(1 for _ in (root / collection / ".corrupt").glob("*"))
