"""Where `FSCache` keeps what: names, folders, and the facts it writes into a file's times.

    <cache_dir>/<collection>/<2 hex digits>/<scheme>-<hex digits>.llmc    one entry
    <cache_dir>/<collection>/.dictionaries/<nnnn>-<16 hex digits>.zdict   compression dictionaries
    <cache_dir>/<collection>/.locks/<scheme>-<hex digits>.lock            calls in progress
    <cache_dir>/<collection>/.corrupt/<entry>.<nanoseconds>               set aside
    <cache_dir>/<collection>/.revision                                    eight bytes, new ones at every change

A folder that cannot be a collection and a file that cannot be an entry are
somebody else's, and left alone.

A file's modification time holds two numbers: the time of its last use in whole
milliseconds, and below them the number of uses, in steps of 100 ns (the grain of
the coarsest file system that has sub-second times). It is the one place that
survives a restart, needs no second file, and costs no write on a hit. Where a
file system keeps only whole seconds, the counts are lost and the order remains.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Final

from .base import EntryInfo, may_be_collection, may_be_key

__all__ = [
    "SUFFIX",
    "TEMPORARY_PREFIX",
    "collections",
    "entry_path",
    "is_network",
    "key_of_file",
    "list_shard",
    "lock_path",
    "mark_used",
    "revision_path",
    "shards",
    "used",
]

SUFFIX: Final = ".llmc"
TEMPORARY_PREFIX: Final = ".tmp-"
_SHARD_LENGTH: Final = 2
_MILLISECOND: Final = 10**6
_USE: Final = 100
_MOST_USES: Final = _MILLISECOND // _USE - 1

# "fuse": of a file system without a name of its own; a local disk through FUSE is "fuseblk".
_NETWORK_TYPES: Final = frozenset(
    "9p afs beegfs ceph cifs davfs fuse gfs2 glusterfs gpfs lustre ncpfs nfs nfs4 ocfs2 "
    "prl_fs smb3 smbfs vboxsf virtiofs".split()
)


def entry_path(root: str, collection: str, key: str) -> str:
    """Return the path of an entry; `collection` and `key` were checked."""
    scheme, _, digits = key.partition(":")
    return f"{root}/{collection}/{digits[:_SHARD_LENGTH]}/{scheme}-{digits}{SUFFIX}"


def lock_path(root: str, collection: str, key: str) -> str:
    """Return the path of the lock behind the lease of `key`; names were checked."""
    return f"{root}/{collection}/.locks/{key.replace(':', '-')}.lock"


def revision_path(root: str, collection: str) -> str:
    """Return the path of a collection's revision; its name was checked."""
    return f"{root}/{collection}/.revision"


def key_of_file(name: str) -> str | None:
    """Return the key of an entry's file name, `None` when it is not an entry's."""
    if not name.endswith(SUFFIX):
        return None
    key = name[: -len(SUFFIX)].replace("-", ":", 1)
    return key if may_be_key(key) else None


def collections(root: Path) -> list[str]:
    """Return the names of all collections, sorted."""
    try:
        with os.scandir(root) as found:
            return sorted(e.name for e in found if may_be_collection(e.name) and e.is_dir())
    except FileNotFoundError:
        return []


def shards(root: Path, collection: str) -> list[Path]:
    """Return the folders that hold a collection's entries: at most 256."""
    try:
        with os.scandir(root / collection) as found:
            names = sorted(e.name for e in found if len(e.name) == _SHARD_LENGTH and e.is_dir())
    except FileNotFoundError:
        return []
    return [root / collection / name for name in names]


def list_shard(collection: str, shard: Path) -> list[EntryInfo]:
    """Return the entries of one folder: some four hundred where there are a hundred thousand."""
    infos = []
    try:
        with os.scandir(shard) as found:
            for file in found:
                key = key_of_file(file.name)
                if key is None:
                    continue
                try:
                    status = file.stat()
                except FileNotFoundError:
                    continue  # removed while we looked
                used_at, uses = used(status.st_mtime_ns)
                infos.append(EntryInfo(collection, key, status.st_size, used_at, uses))
    except FileNotFoundError:
        pass
    return infos


def used(mtime_ns: int) -> tuple[float, int]:
    """Return the time of last use in Unix seconds and the number of uses."""
    milliseconds, below = divmod(mtime_ns, _MILLISECOND)
    return milliseconds / 1000, below // _USE


def mark_used(path: str | Path, uses: int, *, fresh: bool = False) -> None:
    """Add `uses` to a file's count and set its last use to now; `fresh` starts the count anew."""
    known = 0 if fresh else used(os.stat(path).st_mtime_ns)[1]
    now = time.time_ns() // _MILLISECOND * _MILLISECOND
    os.utime(path, ns=(now, now + min(known + uses, _MOST_USES) * _USE))


def is_network(path: Path) -> bool:
    """Return whether `path` lies on a file system whose server may not answer (Linux; else a guess)."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return str(path).startswith(("//", "\\\\"))
    best, found = "", ""
    resolved = str(path.resolve())
    for line in mounts.splitlines():
        # man 5 proc: fields up to " - ", then type; the fifth is the mount point.
        before, _, after = line.partition(" - ")
        fields = before.split()
        point = _unescaped(fields[4]) if len(fields) > 4 else ""  # noqa: PLR2004 - see above
        inside = resolved == point or resolved.startswith(point.rstrip("/") + "/")
        if point and inside and len(point) >= len(best):
            best, found = point, after.split(" ", 1)[0]
    return found in _NETWORK_TYPES or found.startswith("fuse.")


def _unescaped(point: str) -> str:
    """Return a mount point as it is named; the kernel writes white space and backslashes in octal."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), point)
