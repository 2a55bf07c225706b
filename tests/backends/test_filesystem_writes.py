"""A write is there whole or not at all, whatever the disk does."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import importlib
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from backend_support import break_call, entry, file_of, files, is_below, key, path_of

from llmcache import FSCache
from llmcache.backends import _fs_files
from llmcache.errors import BackendError, BackendUnavailableError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
async def cache(root: Path) -> AsyncIterator[FSCache]:
    async with FSCache(root) as cache:
        yield cache


async def test_fsync_flushes_file_and_folder(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        flushed.append(file_of(descriptor))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    async with FSCache(root, fsync=True) as durable:
        await durable.put("default", [entry(1)])
    shard = str(path_of(root, 1).parent)
    assert len(flushed) == 2
    assert flushed[0].startswith(f"{shard}/.tmp-")
    assert flushed[1] == shard
    async with FSCache(root) as usual:
        await usual.put("default", [entry(1)])
    assert len(flushed) == 2


async def test_short_writes_add_up(
    cache: FSCache, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write

    def write(descriptor: int, data: Any) -> int:
        return real(descriptor, data[:1000] if is_below(root, descriptor) else data)

    monkeypatch.setattr(os, "write", write)
    data = hashlib.shake_256(b"x").digest(100_001)
    await cache.put("default", [entry(1, data)])
    assert (await cache.get("default", [key(1)]))[key(1)] == data


async def test_a_disk_that_fills_up_leaves_the_old_entry(
    cache: FSCache, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cache.put("default", [entry(1, b"old")])
    before = files(root)
    real = os.write

    def write(descriptor: int, data: Any) -> int:
        if not is_below(root, descriptor):
            return real(descriptor, data)
        if len(data) <= 50_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data[:50_000])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        with pytest.raises(BackendUnavailableError, match=r"disk is full.*max_bytes") as caught:
            await cache.put("default", [entry(1, b"n" * 100_000)])
        with pytest.raises(BackendUnavailableError):
            await cache.put("default", [entry(2, b"n" * 100_000)])
    assert (caught.value.backend, caught.value.operation) == ("fs", "put")
    assert str(path_of(root, 1)) in str(caught.value)
    assert files(root) == before
    assert dict(await cache.get("default", [key(1), key(2)])) == {key(1): b"old"}
    await cache.put("default", [entry(1, b"new")])
    assert (await cache.get("default", [key(1)]))[key(1)] == b"new"


@pytest.mark.parametrize("call", ["open", "replace", "utime"])
@pytest.mark.parametrize(
    ("code", "hint"),
    [
        (errno.EROFS, "read-only"),
        (errno.ENOSPC, "disk is full"),
        (errno.EACCES, "no permission"),
        (errno.EIO, "Input/output error"),
    ],
)
async def test_a_write_that_fails_changes_nothing(
    cache: FSCache,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    code: int,
    hint: str,
) -> None:
    await cache.put("default", [entry(1, b"old")])
    before = files(root)
    with monkeypatch.context() as patch:
        break_call(patch, call, root, code)
        with pytest.raises(BackendUnavailableError, match=hint) as caught:
            await cache.put("default", [entry(1, b"new"), entry(2)])
    assert (caught.value.backend, caught.value.operation) == ("fs", "put")
    assert str(root) in str(caught.value)
    assert files(root) == before
    assert (await cache.get("default", [key(1)]))[key(1)] == b"old"


async def test_a_batch_that_fails_half_way_is_still_a_revision(
    cache: FSCache, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cache.put("default", [entry(1, b"old"), entry(2, b"old")])
    before = await cache.revision("default")
    with monkeypatch.context() as patch:
        break_call(patch, "replace", root, errno.EIO, after=1)
        with pytest.raises(BackendUnavailableError):
            await cache.put("default", [entry(1, b"new"), entry(2, b"new")])
    found = await cache.get("default", [key(1), key(2)])
    assert dict(found) == {key(1): b"new", key(2): b"old"}
    assert await cache.revision("default") != before


async def test_a_delete_that_fails_half_way_is_still_a_revision(
    cache: FSCache, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cache.put("default", [entry(1), entry(2)])
    before = await cache.revision("default")
    with monkeypatch.context() as patch:
        break_call(patch, "unlink", root, errno.EACCES, after=1)
        with pytest.raises(BackendUnavailableError):
            await cache.delete("default", [key(1), key(2)])
    assert set(await cache.get("default", [key(1), key(2)])) == {key(2)}
    assert await cache.revision("default") != before


async def test_a_left_over_temporary_blocks_no_write(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two containers may have the same process numbers, and have counted as far.
    monkeypatch.setattr(os, "getpid", lambda: 1)
    written: list[str] = []
    real = os.open

    def noting(path: Any, flags: int, *arguments: Any) -> int:
        if flags & os.O_CREAT and str(path).startswith(str(root)):
            written.append(str(path))
        return real(path, flags, *arguments)

    monkeypatch.setattr(os, "open", noting)
    for _ in range(2):
        importlib.reload(_fs_files)
        async with FSCache(root) as cache:
            await cache.put("default", [entry(1)])
        left = path_of(root, 1).rename(written[-1])  # as if killed before the rename
        assert left.read_bytes() == b"data"
    assert len(set(written)) == 2


async def test_a_write_that_was_given_up_does_not_undo_a_later_one(
    cache: FSCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, go_on, done = threading.Event(), threading.Event(), threading.Event()
    real_utime, real_unlink = os.utime, os.unlink

    def utime(*arguments: Any, **options: Any) -> None:
        real_utime(*arguments, **options)
        if not slow.is_set():
            slow.set()
            go_on.wait(30)

    def unlink(path: Any) -> None:
        real_unlink(path)
        done.set()

    monkeypatch.setattr(os, "utime", utime)
    monkeypatch.setattr(os, "unlink", unlink)
    giving_up = asyncio.create_task(cache.put("default", [entry(1, b"early")]))
    await asyncio.to_thread(slow.wait, 30)
    giving_up.cancel()
    await cache.put("default", [entry(1, b"late")])
    go_on.set()
    assert await asyncio.to_thread(done.wait, 30)
    assert (await cache.get("default", [key(1)]))[key(1)] == b"late"


@pytest.mark.parametrize("size", [100_000, 4 * 2**20])
async def test_what_is_too_large_to_be_an_entry_is_neither_written_nor_read(
    cache: FSCache, root: Path, size: int
) -> None:
    await cache.put("default", [entry(1, bytes(size))])
    assert (await cache.get("default", [key(1)]))[key(1)] == bytes(size)
    async with FSCache(root, max_entry_bytes=10_000) as small:
        assert dict(await small.get("default", [key(1)])) == {}
        with pytest.raises(BackendError, match="raise max_entry_bytes"):
            await small.put("default", [entry(2, bytes(size))])
    assert len(files(root)) == 1
