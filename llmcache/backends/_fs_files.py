"""Reading and writing one file: whole or not at all, with errors that say what helps."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
from pathlib import Path
from typing import Final

from ..codec import MAX_ENTRY_BYTES, dictionary_id
from ..errors import BackendUnavailableError
from . import _fs_layout as layout

__all__ = ["read_dictionaries", "read_file", "unavailable", "write_file"]

_READ_SIZE: Final = 65_536
_READ_FLAGS: Final = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_WRITE_FLAGS: Final = (
    os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
)
_counter = itertools.count()


def read_file(path: str) -> bytes | None:
    """Return a file's bytes, at most a little more than any entry has; `None` when it is missing."""
    try:
        descriptor = os.open(path, _READ_FLAGS)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        data = os.read(descriptor, _READ_SIZE)
        if len(data) < _READ_SIZE:
            return data
        pieces, size = [data], len(data)
        while size <= MAX_ENTRY_BYTES and (data := os.read(descriptor, 1 << 20)):
            pieces.append(data)
            size += len(data)
        return b"".join(pieces)
    except OSError as error:
        error.filename = path  # reading from a descriptor does not say where
        raise
    finally:
        os.close(descriptor)


def write_file(path: str, data: bytes, *, fsync: bool) -> bool:
    """Write `data` so that `path` has all of it or none; return whether it replaced something."""
    folder, name = os.path.split(path)
    temporary = f"{folder}/{layout.TEMPORARY_PREFIX}{os.getpid()}-{next(_counter)}-{name}"
    try:
        descriptor = os.open(temporary, _WRITE_FLAGS, 0o666)
    except FileNotFoundError:
        os.makedirs(folder, exist_ok=True)
        descriptor = os.open(temporary, _WRITE_FLAGS, 0o666)
    try:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            if fsync:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        layout.mark_used(temporary, 0, fresh=True)
        replaced = os.path.exists(path)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    if fsync:
        _sync_folder(folder)
    return replaced


def _sync_folder(folder: str) -> None:
    """Make a rename in `folder` survive a power failure; a no-op where folders cannot be opened."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read_dictionaries(folder: Path) -> list[tuple[int, bytes]]:
    """Return the number and content of every dictionary that is what its name says, oldest first."""
    found = []
    for path in sorted(folder.glob("*.zdict")):
        number, _, digits = path.stem.partition("-")
        data = path.read_bytes()
        if number.isdecimal() and f"{dictionary_id(data):08x}" == digits:
            found.append((int(number), data))
    return found


def unavailable(operation: str, error: OSError) -> BackendUnavailableError:
    """Return the error that says what failed, where, and what helps."""
    hint = _HINTS.get(error.errno or 0, "")
    msg = f"{error.strerror or error}: {error.filename}{hint}"
    return BackendUnavailableError(msg, backend="fs", operation=operation)


_HINTS: Final = {
    errno.ENOSPC: " (the disk is full; run `llmcache prune` or set max_bytes)",
    errno.EROFS: " (the file system is read-only)",
    errno.EACCES: " (no permission; the cache folder must be writable)",
    errno.ENOTDIR: " (a file stands where a folder is needed)",
}
