"""What a folder keeps beside its entries: dictionaries, and the locks behind leases."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from backend_support import files, key

from llmcache import FSCache
from llmcache.backends import filesystem
from llmcache.backends._fs_leases import LockedFile


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
async def cache(root: Path) -> AsyncIterator[FSCache]:
    async with FSCache(root) as cache:
        yield cache


# --- dictionaries ---------------------------------------------------------------------------


async def test_dictionaries_written_at_once_are_all_kept(cache: FSCache) -> None:
    made = [b"%d" % n * 100 for n in range(8)]
    await asyncio.gather(*(cache.put_dictionary("default", data) for data in made))
    assert sorted(await cache.dictionaries("default")) == sorted(made)


async def test_a_damaged_dictionary_is_left_out(cache: FSCache, root: Path) -> None:
    await cache.put_dictionary("default", b"one")
    await cache.put_dictionary("default", b"two")
    folder = root / "default" / ".dictionaries"
    first = min(folder.iterdir())
    first.write_bytes(b"damaged")
    (folder / "notes.zdict").write_bytes(b"foreign")
    (folder / "README").write_bytes(b"foreign")
    assert list(await cache.dictionaries("default")) == [b"two"]
    await cache.put_dictionary("default", b"three")
    assert list(await cache.dictionaries("default")) == [b"two", b"three"]


async def test_a_dictionary_that_is_being_written_is_not_there_yet(
    cache: FSCache, root: Path
) -> None:
    await cache.put_dictionary("default", b"one")
    # Listed, and renamed before it can be read: as a link to nothing.
    (root / "default" / ".dictionaries" / ".tmp-1-0-0002-00000000.zdict").symlink_to("gone")
    assert list(await cache.dictionaries("default")) == [b"one"]


# --- leases ---------------------------------------------------------------------------------


async def test_a_thousand_leases_leave_no_file(cache: FSCache, root: Path) -> None:
    async def take(number: int) -> None:
        lease = await cache.try_lease("default", key(number))
        assert lease is not None
        await lease.release()

    for start in range(0, 1_000, 100):
        await asyncio.gather(*(take(start + n) for n in range(100)))
    assert files(root) == []


class _SlowLock:
    """Lets the first attempt at a lease take as long as the test wants."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.go_on, self.done = (threading.Event() for _ in range(3))
        self._real = filesystem.lock_file
        monkeypatch.setattr(filesystem, "lock_file", self._lock_file)

    def _lock_file(self, path: str) -> LockedFile | None:
        if self.begun.is_set():
            return self._real(path)
        self.begun.set()
        self.go_on.wait(30)
        locked = self._real(path)
        self.done.set()
        return locked


async def _free_again(cache: FSCache) -> bool:
    for _ in range(20):
        lease = await cache.try_lease("default", key(1))
        if lease is not None:
            await lease.release()
            return True
        await asyncio.sleep(0.02)
    return False


async def test_a_lease_whose_caller_gave_up_is_free(
    cache: FSCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = _SlowLock(monkeypatch)
    attempt = asyncio.create_task(cache.try_lease("default", key(1)))
    await asyncio.to_thread(slow.begun.wait, 30)
    attempt.cancel()
    await asyncio.gather(attempt, return_exceptions=True)
    slow.go_on.set()
    await asyncio.to_thread(slow.done.wait, 30)
    assert await _free_again(cache)


async def test_a_lease_that_comes_as_its_caller_is_cancelled_is_free(
    cache: FSCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = _SlowLock(monkeypatch)
    attempt = asyncio.create_task(cache.try_lease("default", key(1)))
    await asyncio.to_thread(slow.begun.wait, 30)
    slow.go_on.set()
    # The loop stands still: it must not see the lease before the cancellation.
    slow.done.wait(30)
    time.sleep(0.2)  # noqa: ASYNC251
    asyncio.get_running_loop().call_soon(attempt.cancel)
    await asyncio.gather(attempt, return_exceptions=True)
    assert attempt.cancelled()
    assert await _free_again(FSCache(cache.cache_dir))


async def test_a_lease_whose_caller_gave_up_leaves_no_file(
    cache: FSCache, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = _SlowLock(monkeypatch)
    attempt = asyncio.create_task(cache.try_lease("default", key(1)))
    await asyncio.to_thread(slow.begun.wait, 30)
    attempt.cancel()
    await asyncio.gather(attempt, return_exceptions=True)
    slow.go_on.set()
    await asyncio.to_thread(slow.done.wait, 30)
    for _ in range(20):
        await asyncio.sleep(0.02)
    assert files(root) == []
