"""A disk that is slow, far away or hung: reads move to threads, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from backend_support import ROOT, entry, key, running

from llmcache import FSCache, OpenAIProvider
from llmcache.backends import _fs_layout as layout
from llmcache.backends import filesystem
from llmcache.backends._workers import Workers
from llmcache.testing import DemoUpstream

_PROMPT: Final = "Explain WAL."


class _Reads:
    """Watches and delays the reads of entries."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.delay = 0.0
        self.inline: list[bool] = []
        self._real = filesystem.read_file
        monkeypatch.setattr(filesystem, "read_file", self._read)

    def _read(self, path: str, most: int) -> bytes | None:
        self.inline.append(threading.current_thread() is threading.main_thread())
        time.sleep(self.delay)
        return self._real(path, most)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> _Reads:
    return _Reads(monkeypatch)


async def _get(cache: FSCache, *numbers: int) -> None:
    found = await cache.get("default", [key(n) for n in numbers or (1,)])
    assert key(1) in found


async def test_a_slow_disk_is_read_in_threads_for_a_while(tmp_path: Path, reads: _Reads) -> None:
    async with FSCache(tmp_path) as cache:
        await cache.put("default", [entry(1)])
        await _get(cache)
        reads.delay = 0.05
        await _get(cache)
        reads.delay = 0.0
        await _get(cache)  # one slow read may be the scheduler's doing
        reads.delay = 0.05
        await _get(cache)
        await _get(cache)
        reads.delay = 0.0
        await _get(cache)
        await _get(cache)
        assert reads.inline == [True] * 5 + [False, False]
        cache._threaded_until = time.monotonic() - 1  # the while is over
        await _get(cache)
        await _get(cache)
        assert reads.inline[7:] == [False, True]


async def test_inline_reads_stay_inline(tmp_path: Path, reads: _Reads) -> None:
    async with FSCache(tmp_path, io="inline") as cache:
        await cache.put("default", [entry(1)])
        reads.delay = 0.05
        await _get(cache)
        await _get(cache)
    assert reads.inline == [True, True]


async def test_threaded_reads_stay_in_threads(tmp_path: Path, reads: _Reads) -> None:
    async with FSCache(tmp_path, io="thread") as cache:
        await cache.put("default", [entry(1)])
        for _ in range(3):
            await _get(cache)
    assert reads.inline == [False] * 3


async def test_a_long_list_is_read_in_a_thread(tmp_path: Path, reads: _Reads) -> None:
    async with FSCache(tmp_path) as cache:
        await cache.put("default", [entry(1)])
        await _get(cache, *range(200))
        assert set(reads.inline) == {False}
        await _get(cache)
        assert reads.inline[-1]


# --- hung -----------------------------------------------------------------------------------


@pytest.fixture
def hung(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Reads of entries hang until this event."""
    go_on = threading.Event()
    real = filesystem.read_file

    def hang(path: str, most: int) -> bytes | None:
        go_on.wait(50)
        return real(path, most)

    monkeypatch.setattr(filesystem, "read_file", hang)
    yield go_on
    go_on.set()


async def test_a_hung_disk_costs_a_deadline_and_no_answer(
    tmp_path: Path,
    make_provider: Callable[..., OpenAIProvider],
    upstream: DemoUpstream,
    hung: threading.Event,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "llmcache")
    cache = FSCache(tmp_path / "cache", io="thread")
    options: dict[str, Any] = {"deadline": 0.2, "memory_bytes": 0}
    async with make_provider(cache_backend=cache, cache_options=options) as provider:
        async with asyncio.timeout(20):
            # More than there are threads: the last ones find none that is free.
            for number in range(6):
                result = await provider.complete(f"{_PROMPT} {number}", cache_response=True)
                assert result.content
                assert result.cache is not None
                assert result.cache.status == "miss"
        assert upstream.calls == 6
        assert "no answer within 0." in caplog.text
        hung.set()  # the disk is back
        async with asyncio.timeout(20):
            while True:
                result = await provider.complete(_PROMPT, cache_response=True)
                assert result.cache is not None
                if result.cache.hit:
                    break
                await asyncio.sleep(0.05)


def test_a_hung_read_does_not_stop_the_process_from_ending(tmp_path: Path) -> None:
    script = """
import asyncio, sys, threading
from llmcache import FSCache
from llmcache.backends import filesystem
filesystem.read_file = lambda path, most: threading.Event().wait()
async def main():
    cache = FSCache(sys.argv[1], io="thread")
    try:
        async with asyncio.timeout(0.1):
            await cache.get("default", ["v1:" + "0" * 64])
    except TimeoutError:
        await cache.aclose()
        print("left")
asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        capture_output=True,
        timeout=40,
        check=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.stdout.strip() == b"left"


# --- the workers ----------------------------------------------------------------------------


async def test_workers_start_as_they_are_needed_and_end_when_closed() -> None:
    workers = Workers(3, "test-workers")

    def alive() -> int:
        return sum(thread.name == "test-workers" for thread in threading.enumerate())

    assert alive() == 0
    for number in range(5):
        assert await workers.run(lambda number=number: number) == number
    assert 1 <= alive() <= 3
    gate = threading.Event()
    waiting = [asyncio.create_task(workers.run(gate.wait)) for _ in range(10)]
    await asyncio.sleep(0)
    assert alive() == 3
    gate.set()
    assert await asyncio.gather(*waiting) == [True] * 10
    workers.close()
    async with asyncio.timeout(10):
        while alive():
            await asyncio.sleep(0.01)
    assert await workers.run(lambda: "again") == "again"
    workers.close()


async def test_workers_raise_what_the_function_raises() -> None:
    workers = Workers(1, "test-raise")

    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await workers.run(fail)
    assert await workers.run(lambda: 1) == 1
    workers.close()


def test_workers_serve_one_loop_after_another() -> None:
    workers = Workers(2, "test-loops")
    for _ in range(3):
        assert asyncio.run(workers.run(lambda: 1)) == 1
    workers.close()


def test_a_job_whose_loop_is_gone_harms_nothing() -> None:
    workers = Workers(1, "test-gone")
    gate = threading.Event()

    async def leave() -> None:
        task = asyncio.create_task(workers.run(gate.wait))
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(leave())
    gate.set()
    assert asyncio.run(workers.run(lambda: "alive")) == "alive"
    workers.close()


async def test_a_job_that_nobody_waits_for_is_not_begun() -> None:
    workers = Workers(1, "test-given-up")
    gate = threading.Event()
    begun: list[int] = []
    first = asyncio.create_task(workers.run(gate.wait))
    await asyncio.sleep(0)
    given_up = [
        asyncio.create_task(workers.run(lambda number=number: begun.append(number)))
        for number in range(100)
    ]
    await asyncio.sleep(0)
    for task in given_up:
        task.cancel()
    await asyncio.gather(*given_up, return_exceptions=True)
    gate.set()
    await first
    await workers.run(lambda: None)
    workers.close()
    assert begun == []


async def test_a_thread_that_could_not_start_is_not_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workers = Workers(2, "test-exhausted")

    def start(_: threading.Thread) -> None:
        msg = "can't start new thread"
        raise RuntimeError(msg)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        for _ in range(2):
            with pytest.raises(RuntimeError):
                await workers.run(lambda: None)
    async with asyncio.timeout(2):
        assert await workers.run(lambda: "alive") == "alive"
    workers.close()


def test_a_forked_process_has_workers_of_its_own(tmp_path: Path) -> None:
    script = """
import asyncio, os, sys, time, warnings
from llmcache import FSCache
from llmcache.backends import StoredEntry
warnings.simplefilter("ignore")  # that there are threads is the point
cache = FSCache(sys.argv[1])
def put(data):
    entry = StoredEntry("v1:" + "0" * 64, data)
    asyncio.run(asyncio.wait_for(cache.put("default", [entry]), 3))
put(b"of the parent")
time.sleep(0.3)  # the thread is idle
child = os.fork()
if not child:
    try:
        put(b"of the child")
    finally:
        os._exit(sys.exc_info()[0] is not None)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    with running(script, tmp_path) as process:
        assert process.communicate(timeout=40)[0].strip() == b"0"


# --- network file systems -------------------------------------------------------------------

_MOUNTS: Final = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:21 / /proc rw,nosuid - proc proc rw
40 22 0:40 / /mnt/nfs rw,relatime shared:2 - nfs4 server:/export rw,vers=4.2
41 40 8:2 / /mnt/nfs/local rw - xfs /dev/sdb1 rw
42 22 0:42 / /mnt/with\\040space rw - cifs //server/share rw
43 22 0:43 / /mnt/ssh rw - fuse.sshfs user@host:/ rw
44 22 0:44 / /mnt/ntfs rw - fuseblk /dev/sdc1 rw
45 22 0:45 / /mnt/over rw - ext4 /dev/sdd1 rw
46 45 0:46 / /mnt/over rw - nfs server:/other rw
47 22 0:47 / /mnt/tab\\011and\\134 rw - nfs server:/tab rw
48 22 0:48 / /mnt/plain rw - fuse somefs rw
broken line
"""


@pytest.mark.parametrize(
    ("path", "network"),
    [
        ("/home/me/cache", False),
        ("/mnt/nfs", True),
        ("/mnt/nfs/a/cache", True),
        ("/mnt/nfs2/cache", False),
        ("/mnt/nfs/local/cache", False),
        ("/mnt/nfs/localized", True),
        ("/mnt/with space/cache", True),
        ("/mnt/ssh/cache", True),
        ("/mnt/ntfs/cache", False),
        ("/mnt/over/cache", True),
        ("/mnt/tab\tand\\/cache", True),
        ("/mnt/plain/cache", True),
    ],
)
def test_a_network_file_system_is_recognized(
    monkeypatch: pytest.MonkeyPatch, path: str, *, network: bool
) -> None:
    real = Path.read_text

    def read_text(self: Path, *arguments: Any, **options: Any) -> str:
        return _MOUNTS if str(self) == "/proc/self/mountinfo" else real(self, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", read_text)
    assert layout.is_network(Path(path)) is network
    threaded = FSCache(path)._threaded_until == float("inf")
    assert threaded is network
    assert FSCache(path, io="inline")._threaded_until == 0.0


def test_without_mountinfo_a_share_is_known_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def read_text(*_: Any, **__: Any) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", read_text)
    assert layout.is_network(Path("//server/share/cache"))
    assert not layout.is_network(Path("/home/me/cache"))
