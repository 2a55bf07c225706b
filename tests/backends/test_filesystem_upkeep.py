"""Shrinking a folder: what goes first, what stays, and that nobody waits for it."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
import shutil
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from backend_support import entry, file_of, files, framed, key, path_of, scan, set_age

from llmcache import FSCache
from llmcache.backends import StoredEntry
from llmcache.backends import _fs_upkeep as upkeep

_DAY = 86_400.0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
async def cache(root: Path) -> AsyncIterator[FSCache]:
    async with FSCache(root) as cache:
        yield cache


# --- the ceiling ----------------------------------------------------------------------------


async def test_the_least_recently_used_go_first(cache: FSCache, root: Path) -> None:
    await cache.put("default", [entry(n, b"x" * 1_000) for n in range(20)])
    for number in range(20):  # 0 was used last, 19 longest ago
        set_age(path_of(root, number), 2.0 ** (number / 2))
    report = await cache.prune(max_bytes=10_000)
    # Not merely below the ceiling: to 90 % of it, or the next write would evict again.
    assert (report.evicted, report.bytes_freed) == (11, 11_000)
    assert (report.entries_left, report.bytes_left) == (9, 9_000)
    assert {info.key for info in await scan(cache)} == {key(n) for n in range(9)}


async def test_what_is_touched_stays(cache: FSCache, root: Path) -> None:
    await cache.put("default", [entry(n, b"x" * 1_000) for n in range(20)])
    for number in range(20):
        set_age(path_of(root, number), 3600.0 * (number + 1))
    rescued = {key(n) for n in (19, 17, 11)}
    await cache.touch("default", dict.fromkeys(rescued, 1))
    await cache.prune(max_bytes=5_000)
    left = {info.key for info in await scan(cache)}
    assert left == rescued | {key(0)}


async def test_what_fits_stays(cache: FSCache) -> None:
    await cache.put("default", [entry(n, b"x" * 1_000) for n in range(10)])
    report = await cache.prune(max_bytes=10_000)
    assert (report.evicted, report.entries_left, report.bytes_left) == (0, 10, 10_000)


async def test_a_ceiling_for_one_collection_spares_the_others(cache: FSCache) -> None:
    await cache.put("one", [entry(n, b"x" * 1_000) for n in range(10)])
    await cache.put("two", [entry(n, b"x" * 1_000) for n in range(10)])
    report = await cache.prune("one", max_bytes=1_500)
    assert (report.evicted, report.entries_left) == (9, 1)
    assert (await cache.stats()).collections == {"one": (1, 1_000), "two": (10, 10_000)}


async def test_one_entry_larger_than_the_ceiling_goes(cache: FSCache) -> None:
    await cache.put("default", [entry(1, b"x" * 100_000)])
    assert (await cache.prune(max_bytes=1_000)).evicted == 1
    assert await scan(cache) == []


async def test_times_from_a_clock_ahead_count_as_now(cache: FSCache, root: Path) -> None:
    await cache.put("default", [entry(n, b"x" * 1_000) for n in range(4)])
    set_age(path_of(root, 0), -_DAY)
    set_age(path_of(root, 1), _DAY)
    report = await cache.prune(max_bytes=3_400)
    assert report.evicted == 1
    assert key(1) not in {info.key for info in await scan(cache)}


async def test_writes_past_the_ceiling_evict_in_the_background(root: Path) -> None:
    async with FSCache(root, max_bytes=100_000) as cache:
        for number in range(50):
            await cache.put("default", [entry(number, b"x" * 10_000)])
            await cache.aclose()  # waits for an eviction
            infos = await scan(cache)
            assert sum(info.size for info in infos) <= 100_000
            assert len(infos) >= min(number + 1, 8)
            assert key(number) in {info.key for info in infos}


async def test_an_eviction_blocks_nobody(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()
    real = upkeep.evict

    def slow(*arguments: Any) -> Any:
        begun.set()
        go_on.wait(30)
        return real(*arguments)

    monkeypatch.setattr(upkeep, "evict", slow)
    async with FSCache(root, max_bytes=50_000) as cache:
        await cache.put("default", [entry(n, b"x" * 10_000) for n in range(10)])
        await asyncio.to_thread(begun.wait, 30)
        async with asyncio.timeout(20):
            assert len(await cache.get("default", [key(n) for n in range(10)])) == 10
            await cache.put("default", [entry(10)])
            assert (await cache.get("default", [key(10)]))[key(10)] == b"data"
            assert len(await scan(cache)) == 11
        go_on.set()
        await cache.aclose()
        assert sum(info.size for info in await scan(cache)) <= 50_000


async def test_an_eviction_that_fails_is_a_warning(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(root))

    monkeypatch.setattr(upkeep, "evict", broken)
    async with FSCache(root, max_bytes=1_000) as cache:
        await cache.put("default", [entry(1)])
        await cache.aclose()
        assert (await cache.get("default", [key(1)]))[key(1)] == b"data"
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "no permission" in caplog.text


async def test_an_entry_that_goes_while_it_is_read_is_a_miss_or_whole(root: Path) -> None:
    async with FSCache(root, max_bytes=200_000) as cache:
        for number in range(60):
            await cache.put("default", [entry(number, b"%03d" % number * 5_000)])
            found = await cache.get("default", [key(n) for n in range(number + 1)])
            assert all(found[key(n)] == b"%03d" % n * 5_000 for n in range(60) if key(n) in found)


async def test_what_is_written_during_an_eviction_counts(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted, go_on = threading.Event(), threading.Event()
    real = upkeep.evict

    def slow(*arguments: Any) -> Any:
        report = real(*arguments)
        counted.set()
        go_on.wait(30)
        return report

    async with FSCache(root, max_bytes=100_000) as cache:
        with monkeypatch.context() as patch:
            patch.setattr(upkeep, "evict", slow)
            await cache.put("default", [entry(1, b"x" * 60_000)])
            await asyncio.to_thread(counted.wait, 30)
            await cache.put("default", [entry(2, b"x" * 60_000)])
            go_on.set()
            await cache.aclose()
        await cache.put("default", [entry(3, b"x" * 30_000)])
        await cache.aclose()
        assert sum(info.size for info in await scan(cache)) <= 100_000


async def test_the_ceiling_is_that_of_the_folder(root: Path) -> None:
    caches = [FSCache(root, max_bytes=100_000) for _ in range(4)]
    totals = []
    for number in range(36):
        cache = caches[number % 4]
        await cache.put("default", [entry(number, b"x" * 10_000)])
        await cache.aclose()  # waits for an eviction
        totals.append(sum(info.size for info in await scan(cache)))
    assert max(totals) <= 130_000


# --- time to live ---------------------------------------------------------------------------


async def test_what_is_past_its_time_goes(cache: FSCache) -> None:
    now = time.time()
    kept = [framed(1, None), framed(2, now + 60), entry(3, b"no frame"), entry(4, b"")]
    gone = [framed(5, now - 1), framed(6, 1.0), framed(7, -5.0)]
    await cache.put("default", [*kept, *gone])
    report = await cache.prune()
    assert (report.expired, report.evicted) == (3, 0)
    assert report.bytes_freed == sum(len(each.data) for each in gone)
    assert (report.entries_left, report.bytes_left) == (4, sum(len(each.data) for each in kept))
    assert {info.key for info in await scan(cache)} == {each.key for each in kept}
    assert (await cache.prune()).expired == 0


async def test_what_expires_makes_room_before_anything_is_evicted(cache: FSCache) -> None:
    body = hashlib.shake_256(b"x").digest(5_000)
    await cache.put("default", [framed(n, 1.0, body=body) for n in range(5)])
    await cache.put("default", [framed(n, None, body=body) for n in range(5, 10)])
    report = await cache.prune(max_bytes=27_000)
    assert (report.expired, report.evicted, report.entries_left) == (5, 0, 5)


# --- left-overs -----------------------------------------------------------------------------


def _leave(path: Path, age: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"half")
    set_age(path, age)
    return path


async def test_left_overs_go_when_they_are_old(cache: FSCache, root: Path) -> None:
    await cache.put("default", [framed(1, None)])
    shard, locks = path_of(root, 1).parent, root / "default" / ".locks"
    corrupt = root / "default" / ".corrupt"
    old = [
        _leave(shard / ".tmp-1-0-v1-x.llmc", 2 * 3600),
        _leave(locks / "v1-a.lock", 8 * _DAY),
        _leave(corrupt / "v1-a.llmc.1", 8 * _DAY),
    ]
    young = [
        _leave(shard / ".tmp-1-1-v1-x.llmc", 1800),
        _leave(locks / "v1-b.lock", 6 * _DAY),
        _leave(corrupt / "v1-b.llmc.1", 6 * _DAY),
        path_of(root, 1),
    ]
    set_age(path_of(root, 1), 900 * _DAY)
    assert (await cache.stats()).quarantined == 2
    assert (await cache.prune("other")).leftovers == 0
    report = await cache.prune()
    assert (report.leftovers, report.bytes_freed) == (3, 12)
    assert not any(path.exists() for path in old)
    assert files(root) == sorted(young)


async def test_a_left_over_dictionary_goes_too(cache: FSCache, root: Path) -> None:
    left = _leave(root / "default" / ".dictionaries" / ".tmp-1-0-0001-0.zdict", 30 * _DAY)
    await cache.prune()
    assert not left.exists()


async def test_a_lock_that_is_held_is_not_swept(cache: FSCache, root: Path) -> None:
    path = root / "default" / ".locks" / f"{key(1).replace(':', '-')}.lock"
    _leave(path, 30 * _DAY)  # of a holder that was killed, a month ago
    lease = await cache.try_lease("default", key(1))
    assert lease is not None
    other = FSCache(root)
    await other.prune()
    assert await other.try_lease("default", key(1)) is None
    await lease.release()


async def test_what_was_just_set_aside_stays_for_a_week(cache: FSCache, root: Path) -> None:
    await cache.put("default", [entry(1, b"damaged")])
    set_age(path_of(root, 1), 30 * _DAY)
    await cache.quarantine("default", key(1), b"damaged")
    await cache.prune()
    assert (await cache.stats()).quarantined == 1


# --- times of use ---------------------------------------------------------------------------


async def test_uses_and_their_time_survive_a_restart(cache: FSCache, root: Path) -> None:
    await cache.put("default", [entry(1), entry(2)])
    await cache.touch("default", {key(1): 41})
    await cache.touch("default", {key(1): 1})
    set_before = {info.key: info for info in await scan(cache)}
    again = {info.key: info for info in await scan(FSCache(root))}
    assert again == set_before
    assert again[key(1)].uses == 42
    assert time.time() - 60 < again[key(1)].used_at <= time.time()


async def test_uses_stop_counting_below_the_next_millisecond(cache: FSCache) -> None:
    await cache.put("default", [entry(1)])
    await cache.touch("default", {key(1): 20_000})
    first = (await scan(cache))[0]
    await cache.touch("default", {key(1): 20_000})
    second = (await scan(cache))[0]
    assert first.uses == second.uses == 9_999
    assert abs(second.used_at - time.time()) < 60


async def test_a_new_answer_starts_at_no_uses(cache: FSCache) -> None:
    await cache.put("default", [entry(1)])
    await cache.touch("default", {key(1): 5})
    await cache.put("default", [entry(1, b"new")])
    assert (await scan(cache))[0].uses == 0


def _keep_whole(monkeypatch: pytest.MonkeyPatch, grain: int) -> None:
    """Make the file system keep times in steps of `grain` nanoseconds."""
    real = os.utime

    def utime(path: Any, times: Any = None, *, ns: tuple[int, int] | None = None) -> None:
        if ns is None:
            real(path, times)
        else:
            real(path, ns=(ns[0] // grain * grain, ns[1] // grain * grain))

    monkeypatch.setattr(os, "utime", utime)


@pytest.mark.parametrize("grain", [10**9, 2 * 10**9], ids=["1 s", "2 s"])
async def test_coarse_times_keep_the_order(
    cache: FSCache, root: Path, monkeypatch: pytest.MonkeyPatch, grain: int
) -> None:
    _keep_whole(monkeypatch, grain)
    await cache.put("default", [entry(n, b"x" * 1_000) for n in range(10)])
    await cache.touch("default", {key(n): 3 for n in range(10)})
    assert {info.uses for info in await scan(cache)} == {0}  # lost, as documented
    for number in range(10):
        moment = (time.time_ns() - (number + 1) * 10**10) // grain * grain
        os.utime(path_of(root, number), ns=(moment, moment))
    await cache.touch("default", {key(9): 1})
    await cache.prune(max_bytes=5_000)
    assert {info.key for info in await scan(cache)} == {key(n) for n in (9, 0, 1, 2)}


@pytest.mark.parametrize(
    "grain",
    [
        1,
        100,
        10**9,
    ],
    ids=["1 ns", "100 ns", "1 s"],
)
async def test_a_revision_does_not_depend_on_the_grain_of_times(
    cache: FSCache, monkeypatch: pytest.MonkeyPatch, grain: int
) -> None:
    _keep_whole(monkeypatch, grain)
    await cache.put("default", [entry(1)])
    seen = []
    for number in range(4):
        await cache.put("default", [entry(1, b"%d" % number)])
        seen.append(await cache.revision("default"))
    assert len(set(seen)) == 4


# --- memory ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 20,000 entries, made without the cache's help."""
    root = tmp_path_factory.mktemp("many") / "cache"
    for number in range(256):
        (root / "default" / f"{number:02x}").mkdir(parents=True)
    frame = framed(1, None).data
    for number in range(20_000):
        path = path_of(root, number)
        path.write_bytes(frame)
        set_age(path, number)
    yield root
    shutil.rmtree(root)


async def test_stats_and_prune_stream(many: Path) -> None:
    cache = FSCache(many)
    size = len(framed(1, None).data)
    await cache.stats()  # warms what is warmed once
    gc.collect()
    tracemalloc.start()
    try:
        stats = await cache.stats()
        report = await cache.prune(max_bytes=19_000 * size)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (stats.entries, stats.bytes) == (20_000, 20_000 * size)
    assert report.entries_left == pytest.approx(0.9 * 19_000, abs=2)
    assert peak < 2**20
    # Exact in bytes, and to a ninth in age: the oldest tenth is gone, the youngest half is there.
    infos = [info async for info in cache.scan()]
    left = {info.key for info in infos}
    assert not any(key(n) in left for n in range(18_800, 20_000))
    assert all(key(n) in left for n in range(15_000))


async def test_a_frame_is_not_read_to_know_its_time(
    cache: FSCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    big = framed(1, time.time() + 60, body=hashlib.shake_256(b"x").digest(1_000_000))
    await cache.put("default", [big, StoredEntry(key(2), b"\0" * 1_000_000)])
    read: list[int] = []
    real = os.read

    def counting(descriptor: int, size: int) -> bytes:
        data = real(descriptor, size)
        if "cache" in file_of(descriptor):
            read.append(len(data))
        return data

    monkeypatch.setattr(os, "read", counting)
    await cache.prune()
    assert 0 < sum(read) < 200
