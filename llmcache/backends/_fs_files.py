"""Folders and files: what is read and written is whole or not at all, errors say what helps."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ..codec import dictionary_id
from ..errors import BackendUnavailableError, ConfigurationError
from . import _fs_layout as layout

__all__ = [
    "draw_revision",
    "folder_of",
    "read_dictionaries",
    "read_file",
    "read_revision",
    "unavailable",
    "write_file",
]

_READ_SIZE: Final = 65_536
_REVISION_SIZE: Final = 8
_READ_FLAGS: Final = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_WRITE_FLAGS: Final = (
    os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
)


def read_file(path: str, most: int) -> bytes | None:
    """Return a file's bytes; `None` when it is missing, or has more than `most`."""
    try:
        descriptor = os.open(path, _READ_FLAGS)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        data = os.read(descriptor, _READ_SIZE)
        if len(data) < _READ_SIZE:
            return data
        pieces, size = [data], len(data)
        while size <= most and (data := os.read(descriptor, 1 << 20)):
            pieces.append(data)
            size += len(data)
        return b"".join(pieces) if size <= most else None
    except OSError as error:
        error.filename = path  # reading from a descriptor does not say where
        raise
    finally:
        os.close(descriptor)


def write_file(
    path: str, data: bytes, *, fsync: bool, wanted: Callable[[], bool] = lambda: True
) -> bool:
    """Write `data` so that `path` has all of it or none; return whether it replaced something.

    What is no longer `wanted` once it is written is thrown away: it might be older
    than what was put there meanwhile.
    """
    folder, name = os.path.split(path)
    # Process numbers and counters repeat, in containers that share a folder even at the same time.
    temporary = f"{folder}/{layout.TEMPORARY_PREFIX}{os.urandom(8).hex()}-{name}"
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
        if not wanted():
            os.unlink(temporary)
            return False
        replaced = os.path.exists(path)
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            error.filename = path  # writing to a descriptor does not say where
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


def read_revision(path: str) -> int:
    """Return the number that was drawn last; 0 when none was."""
    return int.from_bytes(read_file(path, _REVISION_SIZE) or b"", "little")


def draw_revision(path: str) -> None:
    """Write another number."""
    # A time would do, were it not that some file systems keep whole seconds only.
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
        try:
            os.write(descriptor, os.urandom(_REVISION_SIZE))
        finally:
            os.close(descriptor)


def read_dictionaries(folder: Path) -> list[tuple[int, bytes]]:
    """Return the number and content of every dictionary that is what its name says, oldest first."""
    found = []
    for path in sorted(folder.glob("[0-9]*.zdict")):
        number, _, digits = path.stem.partition("-")
        data = path.read_bytes()
        if number.isdecimal() and f"{dictionary_id(data):08x}" == digits:
            found.append((int(number), data))
    return found


def folder_of(cache_dir: str | os.PathLike[str]) -> Path:
    """Return the folder that `cache_dir` names; it need not be there yet."""
    if cache_dir == "":
        msg = "cache_dir is empty; name a folder ('.' is the current one)"
        raise ConfigurationError(msg)
    try:
        root = Path(cache_dir).expanduser()
        mode = _mode(root)
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        msg = f"cache_dir {cache_dir!r:.200} cannot be a folder: {error}"
        raise ConfigurationError(msg) from error
    if mode is not None and not stat.S_ISDIR(mode):
        msg = f"cache_dir {str(root)!r} is a file; name a folder"
        raise ConfigurationError(msg)
    return root


def _mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None


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
