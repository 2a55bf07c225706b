"""Many processes on one folder, some of which are killed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest
from backend_support import files, key, running, scan, set_age

from llmcache import FSCache

# Every value is one number over and over, so that a half of one and a half of another shows.
_COMMON: Final = """
import asyncio, hashlib, random, sys, time
from llmcache import FSCache
from llmcache.backends import StoredEntry
root, seed = sys.argv[1], int(sys.argv[2])
random.seed(seed)
cache = FSCache(root)
KEYS = ["v1:" + hashlib.sha256(b"%d" % n).hexdigest() for n in range(8)]
def value():
    return b"%08d" % random.randrange(10**8) * random.choice((1, 100, 20_000))
def check(data):
    assert data and len(data) % 8 == 0 and data == data[:8] * (len(data) // 8), data[:64]
"""

_WRITER: Final = (
    _COMMON
    + """
async def main():
    print("ready", flush=True)
    while True:
        entries = [StoredEntry(key, value()) for key in random.sample(KEYS, 3)]
        await cache.put("default", entries)
asyncio.run(main())
"""
)

_READER: Final = (
    _COMMON
    + """
async def main():
    reads = 0
    end = time.monotonic() + float(sys.argv[3])
    while time.monotonic() < end:
        for data in (await cache.get("default", KEYS)).values():
            check(data)
            reads += 1
    print(reads, flush=True)
asyncio.run(main())
"""
)

_WORKER: Final = (
    _COMMON
    + """
async def main():
    for turn in range(60):
        name = random.choice(("one", "two"))
        await cache.put(name, [StoredEntry(key, value()) for key in random.sample(KEYS, 2)])
        for data in (await cache.get(name, KEYS)).values():
            check(data)
        await cache.touch(name, dict.fromkeys(KEYS, 1))
        if turn % 10 == 0:
            await cache.delete(name, random.sample(KEYS, 2))
            await cache.prune(max_bytes=2_000_000)
            infos = [info async for info in cache.scan()]
            stats = await cache.stats()
    print("done", flush=True)
asyncio.run(main())
"""
)

_HOLDER: Final = (
    _COMMON
    + """
async def main():
    lease = await cache.try_lease("default", KEYS[1])
    print("held" if lease else "refused", flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
)

# Inside the lease a file is made that must not be there yet.
_CONTENDER: Final = (
    _COMMON
    + """
import os
mark = os.path.join(root, "inside")
async def main():
    held = 0
    end = time.monotonic() + float(sys.argv[3])
    while time.monotonic() < end:
        lease = await cache.try_lease("default", KEYS[0])
        if lease is None:
            await asyncio.sleep(random.random() / 1000)
            continue
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
        await asyncio.sleep(random.random() / 1000)
        os.unlink(mark)
        held += 1
        await lease.release()
    print(held, flush=True)
asyncio.run(main())
"""
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
async def cache(root: Path) -> AsyncIterator[FSCache]:
    async with FSCache(root) as cache:
        yield cache


async def test_a_killed_writer_tears_nothing(cache: FSCache, root: Path) -> None:
    kills = 0
    with running(_READER, root, 0, 4.0) as reader:
        while reader.poll() is None:
            with running(_WRITER, root, kills) as writer:
                assert writer.stdout is not None
                assert writer.stdout.readline() == b"ready\n"
                await asyncio.sleep(random.uniform(0.01, 0.2))
                writer.kill()
                writer.wait()
            kills += 1
        assert reader.stdout is not None
        reads = int(reader.stdout.read())
        assert reader.returncode == 0, "a read was torn"
    assert kills >= 3
    assert reads > 100
    found = await cache.get("default", [key(n) for n in range(8)])
    assert all(data == data[:8] * (len(data) // 8) for data in found.values())
    # What the killed left behind is no entry, and goes in time.
    assert {info.key for info in await scan(cache)} == found.keys()
    left = [path for path in files(root) if path.name.startswith(".tmp-")]
    for path in left:
        set_age(path, 2 * 3600)
    assert (await cache.prune()).leftovers == len(left)
    assert not [path for path in files(root) if path.name.startswith(".tmp-")]


async def test_eight_processes_on_one_folder(cache: FSCache, root: Path) -> None:
    with ExitStack() as stack:
        workers = [stack.enter_context(running(_WORKER, root, seed)) for seed in range(8)]
        outputs = [worker.communicate(timeout=50)[0] for worker in workers]
    assert outputs == [b"done\n"] * 8
    assert [worker.returncode for worker in workers] == [0] * 8
    infos = await scan(cache)
    for info in infos:
        data = (await cache.get(info.collection, [info.key]))[info.key]
        assert len(data) == info.size
        assert data == data[:8] * (len(data) // 8)
    assert infos
    assert not [path for path in files(root) if path.name.startswith(".tmp-")]


async def test_a_killed_holder_frees_its_lease_at_once(cache: FSCache, root: Path) -> None:
    with running(_HOLDER, root, 0) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert await cache.try_lease("default", key(1)) is None
        other = await cache.try_lease("default", key(2))
        assert other is not None
        await other.release()
        holder.kill()
        holder.wait()
        lease = await cache.try_lease("default", key(1))
        assert lease is not None
        await lease.release()
    assert files(root) == []


async def test_a_holder_that_ends_without_a_word_frees_its_lease(
    cache: FSCache, root: Path
) -> None:
    ending = _HOLDER.replace("await asyncio.sleep(60)", "return")
    with running(ending, root, 0) as holder:
        assert holder.communicate(timeout=30)[0] == b"held\n"
    lease = await cache.try_lease("default", key(1))
    assert lease is not None
    await lease.release()


async def test_processes_that_contend_hold_the_lease_one_at_a_time(root: Path) -> None:
    root.mkdir()
    with ExitStack() as stack:
        contenders = [
            stack.enter_context(running(_CONTENDER, root, seed, 2.0)) for seed in range(4)
        ]
        held = [int(contender.communicate(timeout=50)[0] or -1) for contender in contenders]
    assert [contender.returncode for contender in contenders] == [0] * 4, "two held it at once"
    assert min(held) > 0
    assert files(root) == []
