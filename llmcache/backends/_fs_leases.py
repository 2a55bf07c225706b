"""Leases as operating-system locks on files: the system frees them when their holder dies."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Final

from ._workers import Workers

if TYPE_CHECKING:
    from filelock import FileLock

__all__ = ["LOCK_SUFFIX", "FileLease", "LockedFile", "lock_file"]

LOCK_SUFFIX: Final = ".lock"


def lock_file(path: str) -> LockedFile | None:
    """Return the lock on the file at `path`, or `None` when somebody else holds it. Never waits."""
    import filelock  # noqa: PLC0415 - only misses need it

    os.makedirs(os.path.dirname(path), exist_ok=True)
    lock = filelock.FileLock(path, timeout=0, thread_local=False, is_singleton=False)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        return None
    return LockedFile(lock, path)


class LockedFile:
    """A held lock file.

    It is removed while it is still locked: a waiter that gets hold of the file that
    is going sees that it is gone, and tries again on the one that took its place.
    """

    def __init__(self, lock: FileLock, path: str) -> None:
        """Take over a lock that is held."""
        self._lock = lock
        self._path = path
        self._released = False

    def release(self) -> None:
        """Remove the file and let others have its place."""
        if self._released:
            return  # the file at our path may be the next holder's
        self._released = True
        with contextlib.suppress(OSError):
            os.unlink(self._path)
        with contextlib.suppress(OSError):
            self._lock.release(force=True)


class FileLease:
    """A `LockedFile` that is released in a thread."""

    def __init__(self, locked: LockedFile, workers: Workers) -> None:
        """Take over a lock that is held, for the running loop."""
        self.locked = locked
        self._workers = workers
        self._loop = asyncio.get_running_loop()

    @property
    def is_abandoned(self) -> bool:
        """Whether its loop was closed before it was released: nobody is left to do that."""
        return self._loop.is_closed()

    async def release(self) -> None:
        """Let others have it."""
        await self._workers.run(self.locked.release)
