"""What the tests of the backends share."""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from llmcache.backends import Backend, EntryInfo, StoredEntry
from llmcache.codec import Codec
from llmcache.types import CacheEntry, Recording

ROOT = Path(__file__).resolve().parents[2]


def key(number: int) -> str:
    return "v1:" + hashlib.sha256(b"%d" % number).hexdigest()


def entry(number: int, data: bytes = b"data") -> StoredEntry:
    return StoredEntry(key(number), data)


def framed(number: int, keep_until: float | None, *, body: bytes = b"{}") -> StoredEntry:
    """Return an entry with a real frame around `body`."""
    recording = Recording(body=body)
    made = CacheEntry(key(number), recording, "chat", created_at=1.0, keep_until=keep_until)
    return StoredEntry(made.key, Codec().encode(made), keep_until=keep_until)


async def scan(backend: Backend, collection: str | None = None) -> list[EntryInfo]:
    return [info async for info in backend.scan(collection)]


def path_of(root: Path, number: int, collection: str = "default") -> Path:
    """Return where the documented layout puts an entry."""
    scheme, digits = key(number).split(":")
    return root / collection / digits[:2] / f"{scheme}-{digits}.llmc"


def files(root: Path) -> list[Path]:
    """Return every file below `root`."""
    return sorted(path for path in root.rglob("*") if path.is_file())


def set_age(path: Path, seconds: float) -> None:
    """Let a file have been used last so many seconds ago."""
    moment = (time.time_ns() - int(seconds * 1e9)) // 1_000_000 * 1_000_000
    os.utime(path, ns=(moment, moment))


def start(script: str, *arguments: object) -> subprocess.Popen[bytes]:
    """Run a Python script in a process of its own; its output is a pipe."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, cwd=ROOT
    )


@contextmanager
def running(script: str, *arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    """As `start`; the process is gone at the end."""
    process = start(script, *arguments)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def break_call(
    monkeypatch: pytest.MonkeyPatch, name: str, root: Path, code: int, *, after: int = 0
) -> None:
    """Let `os.<name>` fail with `code` for paths below `root`, after so many that work."""
    module = io if name == "io.open" else os
    name = name.removeprefix("io.")
    real: Callable[..., Any] = getattr(module, name)
    left = itertools.count(after, -1)

    def broken(path: Any, *arguments: Any, **options: Any) -> Any:
        if str(path).startswith(str(root)) and next(left) <= 0:
            raise OSError(code, os.strerror(code), str(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(module, name, broken)


def file_of(descriptor: int) -> str:
    return str(Path(f"/proc/self/fd/{descriptor}").readlink())


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def is_below(root: Path, descriptor: int) -> bool:
    return file_of(descriptor).startswith(str(root))
