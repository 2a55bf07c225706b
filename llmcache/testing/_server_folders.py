"""Where a server keeps what it has: its folder, who may enter it, and small files in it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from ..errors import ConfigurationError
from ._server_process import Account

__all__ = ["lock_folder", "nobody", "read_line", "temporary_folder", "unreachable", "write_line"]


def nobody() -> Account | None:
    """Return whom a server runs as that refuses to be run by root; `None` when we are not root."""
    if os.geteuid() != 0:
        return None
    import pwd  # noqa: PLC0415 - as fcntl below

    entry = pwd.getpwnam("nobody")
    return Account(entry.pw_uid, entry.pw_gid, entry.pw_name)


def temporary_folder(kind: str, account: Account | None) -> Path:
    """Return a new folder that the account may enter, if there is such a place for one."""
    usual = Path(tempfile.gettempdir())
    places = [usual, Path("/tmp"), Path("/var/tmp")]  # noqa: S108 - the folder in it is new and ours
    fit = (place for place in places if place.is_dir() and not unreachable(place))
    place = next(fit, usual) if account else usual
    folder = Path(tempfile.mkdtemp(prefix=f"llmcache-{kind}-", dir=place))
    folder.chmod(0o711 if account else 0o700)
    return folder


def lock_folder(folder: Path) -> int:
    """Return an open file that keeps other servers out of a folder until it is closed."""
    import fcntl  # noqa: PLC0415 - not there on Windows, where this is imported and never called

    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        msg = f"another server uses {folder}: stop it, or name another folder"
        raise ConfigurationError(msg) from None
    return lock


def read_line(path: Path) -> str:
    return path.read_text().strip() if path.exists() else ""


def write_line(path: Path, text: str) -> None:
    """Write a file that nobody else can read."""
    path.touch(0o600)
    path.write_text(text)


def unreachable(path: Path) -> Path | None:
    """Return the folder on the way to `path`, or `path`, that not everybody may pass; or `None`."""
    path = path.resolve()
    for place in (*reversed(path.parents), path):
        if not place.stat().st_mode & 0o001:
            return place
    return None
