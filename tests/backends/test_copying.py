"""Entries from one backend to another."""

from __future__ import annotations

import asyncio
import contextlib
import tracemalloc
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from copy_support import contents, dictionary_for, fill, made, stored

from llmcache import _base_dictionary
from llmcache.backends import Backend, EntryInfo, FSCache, MemoryBackend, StoredEntry
from llmcache.backends.hybrid import HybridRedisPostgreSQLCache
from llmcache.backends.postgres import PostgresBackend
from llmcache.backends.redis import RedisBackend
from llmcache.cache import CopyReport, copy_entries
from llmcache.cache import copying as module
from llmcache.codec import Codec
from llmcache.errors import BackendError, BackendUnavailableError, ConfigurationError
from llmcache.testing.servers import PostgresServer, RedisServer

Make = Callable[[str], Backend]


@pytest.fixture
async def make(
    tmp_path: Path, hybrid: HybridRedisPostgreSQLCache, redis_server: RedisServer
) -> AsyncIterator[Make]:
    """A function that makes an empty backend of a kind; the fixtures' servers are behind them."""
    async with RedisBackend(
        redis_server.url, prefix=tmp_path.name, redis_ttl_seconds=None
    ) as redis:
        kinds: dict[str, Backend] = {
            "fs": FSCache(tmp_path / "fs"),
            "memory": MemoryBackend(),
            "redis": redis,
            "pg": hybrid.postgres,
            "pg_redis": hybrid,
        }
        yield kinds.__getitem__
        for name in "one two".split():
            await redis.delete(name, [info.key async for info in redis.scan(name)])
        await kinds["fs"].aclose()


class Dull:
    """A backend with nothing beyond the protocol, and with failures to order."""

    name = "dull"

    def __init__(self, fails_after: int | None = None) -> None:
        self.inner = MemoryBackend()
        self.left = fails_after

    async def get(self, collection: str, keys: Sequence[str], /) -> Mapping[str, bytes]:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise BackendUnavailableError("gone", backend=self.name, operation="get")
        return await self.inner.get(collection, keys)

    async def put(self, collection: str, entries: Sequence[StoredEntry], /) -> None:
        await self.inner.put(collection, entries)

    async def delete(self, collection: str, keys: Sequence[str], /) -> int:
        return await self.inner.delete(collection, keys)

    async def scan(self, collection: str | None = None, /) -> AsyncIterator[EntryInfo]:
        async for info in self.inner.scan(collection):
            yield info

    async def aclose(self) -> None:
        """Nothing to do."""


def _counts(report: CopyReport) -> dict[str, int]:
    """Return what is not zero, but for bytes and dictionaries."""
    names = "copied replaced unchanged kept damaged unreadable failed".split()
    return {name: getattr(report, name) for name in names if getattr(report, name)}


# --- everything arrives -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "route",
    [
        *("fs>pg_redis", "pg_redis>fs", "fs>pg", "pg>redis", "redis>fs", "memory>pg", "pg>memory"),
        *("fs>redis", "redis>pg_redis", "memory>fs", "fs>memory"),
    ],
)
async def test_everything_arrives_and_stays_readable(make: Make, route: str) -> None:
    source, target = (make(kind) for kind in route.split(">"))
    await fill(source, [made(n) for n in range(120)], "one")
    await fill(source, [made(n) for n in range(100, 130)], "two")
    before = await contents(source)
    report = await copy_entries(source, target)
    assert _counts(report) == {"copied": 150}
    assert report.dictionaries == 2
    assert report.bytes == sum([info.size async for info in target.scan()])
    assert await contents(target) == before == await contents(source)
    again = await copy_entries(source, target)
    assert (_counts(again), again.dictionaries, again.bytes) == ({"unchanged": 150}, 0, 0)


async def test_only_the_collection_that_was_named(make: Make) -> None:
    source, target = make("fs"), make("memory")
    await fill(source, [made(1)], "one")
    await fill(source, [made(2)], "two")
    assert _counts(await copy_entries(source, target, "two")) == {"copied": 1}
    assert {name for name, _ in await contents(target)} == {"two"}
    assert _counts(await copy_entries(source, target, "three")) == {}


async def test_what_is_indexed_comes_along(make: Make, postgres: PostgresBackend) -> None:
    await fill(make("fs"), [made(1), made(2)])
    await copy_entries(make("fs"), postgres)
    connection = await asyncpg.connect(postgres._database._dsn)
    rows = await connection.fetch(
        "SELECT key, model, tags, created_at, keep_until FROM llmcache.entries"
    )
    await connection.close()
    found = {key: (model, tuple(tags), at, until) for key, model, tags, at, until in rows}
    # How long it stays is told in seconds from now on.
    assert found == {
        e.key: (e.model, e.tags, e.created_at, e.keep_until and pytest.approx(e.keep_until, abs=30))
        for e in (made(1), made(2))
    }


async def test_a_target_that_keeps_no_dictionaries_gets_entries_that_need_none() -> None:
    source, target = MemoryBackend(), Dull()
    await fill(source, [made(n) for n in range(50)])
    assert _counts(await copy_entries(source, target)) == {"copied": 50}
    codec = Codec()
    codec.add(_base_dictionary.load())
    for (name, key), entry in (await contents(source)).items():
        data = (await target.get(name, [key]))[key]
        assert codec.decode(key, data) == entry
    assert _counts(await copy_entries(source, target)) == {"unchanged": 50}


async def test_only_dictionaries_that_are_needed_come_along() -> None:
    source, target = MemoryBackend(), MemoryBackend()
    await fill(source, [made(n) for n in range(4)], "one")
    await source.put_dictionary("one", dictionary_for("never used").data)
    await target.put_dictionary("one", dictionary_for("theirs").data)
    await copy_entries(source, target)
    kept = [dictionary_for("theirs").data, dictionary_for("one").data]
    assert list(await target.dictionaries("one")) == kept


async def test_the_dictionary_is_there_before_its_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in between, the target has a dictionary too many, and no entry that nobody can read."""
    source, target = MemoryBackend(), MemoryBackend()
    await fill(source, [made(n) for n in range(4)])

    async def fail(*_: Any) -> None:
        raise BackendUnavailableError("full", backend="memory", operation="put")

    monkeypatch.setattr(target, "put", fail)
    with pytest.raises(BackendUnavailableError):
        await copy_entries(source, target)
    assert len(await target.dictionaries("one")) == 1
    assert await contents(target) == {}


# --- damage ---------------------------------------------------------------------------------


async def test_what_is_damaged_stays_behind_and_is_named() -> None:
    source, target = MemoryBackend(), MemoryBackend()
    entries = [made(n) for n in range(10)]
    frames = [stored(entry) for entry in entries]
    data = frames[0].data
    flipped = data[:-3] + bytes([data[-3] ^ 1]) + data[-2:]
    forged = stored(entries[4]._replace(key=entries[5].key)).data
    wrong = {
        0: flipped,
        1: frames[1].data[:40],
        2: frames[3].data,  # another entry's
        3: b"",
        4: b"foreign",
        5: forged,  # sound, and of another request
        6: data[:4] + b"\xff" + data[5:],  # of a later version
    }
    for number, bad in wrong.items():
        frames[number] = StoredEntry(entries[number].key, bad)
    await source.put("one", frames)
    report = await copy_entries(source, target)
    assert _counts(report) == {"copied": 3, "damaged": 6, "unreadable": 1}
    assert (report.seen, report.left_out) == (10, 7)
    assert {key for _, key, _ in report.problems} == {entries[n].key for n in wrong}
    assert all(name == "one" and reason for name, _, reason in report.problems)
    assert {key for _, key in await contents(target)} == {entry.key for entry in entries[7:]}


async def test_a_dictionary_that_is_lost_makes_entries_unreadable_and_not_the_rest() -> None:
    source, target = MemoryBackend(), MemoryBackend()
    await fill(source, [made(n) for n in range(10)])
    source._dictionaries.clear()
    report = await copy_entries(source, target)
    assert _counts(report) == {"copied": 5, "unreadable": 5}
    assert "dictionary" in report.problems[0][2]


@pytest.mark.parametrize("on_conflict", ["keep", "newer", "replace"])
async def test_damage_in_the_target_is_mended(postgres: PostgresBackend, on_conflict: Any) -> None:
    source = MemoryBackend()
    await fill(source, [made(1), made(2)])
    future = made(1).created_at + 1e6
    await postgres.put("one", [StoredEntry(made(1).key, b"damaged", created_at=future)])
    report = await copy_entries(source, postgres, on_conflict=on_conflict)
    assert _counts(report) == {"copied": 2, "replaced": 1}
    assert await contents(postgres) == await contents(source)


async def test_the_list_of_problems_is_bounded() -> None:
    source = MemoryBackend()
    await source.put("one", [StoredEntry(made(n).key, b"bad") for n in range(300)])
    report = await copy_entries(source, MemoryBackend())
    assert (report.damaged, len(report.problems)) == (300, 100)


async def test_an_entry_that_cannot_be_read_does_not_hide_the_others(tmp_path: Path) -> None:
    """A folder in an entry's place cannot be read, as a bad sector cannot."""
    source, target = FSCache(tmp_path / "cache"), MemoryBackend()
    await fill(source, [made(n) for n in range(5)])
    path = next(iter((tmp_path / "cache" / "one").glob("*/*.llmc")))
    path.unlink()
    path.mkdir()
    assert _counts(await copy_entries(source, target)) == {"copied": 4, "failed": 1}
    await source.aclose()


# --- what is there already ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["memory", "pg", "pg_redis"])
@pytest.mark.parametrize(
    ("on_conflict", "age", "wins"),
    [
        (None, -1, False),
        (None, 0, False),
        (None, 1, True),
        ("newer", -1, False),
        ("newer", 1, True),
        ("keep", 1, False),
        ("replace", -1, True),
    ],
)
async def test_a_conflict_ends_as_it_was_asked_to(
    make: Make, kind: str, on_conflict: Any, age: float, wins: bool
) -> None:
    source, target = MemoryBackend(), make(kind)
    theirs = made(1, text="theirs")
    ours = made(1, text="ours", created_at=theirs.created_at + age)
    await fill(source, [ours, made(2)])
    await fill(target, [theirs])
    options = {} if on_conflict is None else {"on_conflict": on_conflict}
    report = await copy_entries(source, target, **options)
    expected = {"copied": 2, "replaced": 1} if wins else {"copied": 1, "kept": 1}
    assert _counts(report) == expected
    assert (await contents(target))["one", ours.key] == (ours if wins else theirs)


async def test_a_newer_one_that_comes_meanwhile_is_kept(
    postgres: PostgresBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = MemoryBackend()
    await fill(source, [made(1), made(2)])
    newer = made(1, text="newer", created_at=made(1).created_at + 1)
    load = postgres.load

    async def late(*arguments: Any, **options: Any) -> Any:
        await postgres.put("one", [stored(newer)])
        return await load(*arguments, **options)

    monkeypatch.setattr(postgres, "load", late)
    report = await copy_entries(source, postgres)
    assert _counts(report) == {"copied": 1, "kept": 1}
    assert (await contents(postgres))["one", newer.key] == newer


async def test_a_shared_cache_shows_what_was_copied_and_is_not_filled_by_it(
    hybrid: HybridRedisPostgreSQLCache,
) -> None:
    old = made(1, text="old", created_at=1.0)
    await hybrid.put("one", [stored(old)])  # Redis has it too
    source = MemoryBackend()
    await fill(source, [made(n) for n in range(50)])
    assert _counts(await copy_entries(source, hybrid)) == {"copied": 50, "replaced": 1}
    await copy_entries(hybrid, MemoryBackend())
    await asyncio.gather(*hybrid._tasks)
    keys = [made(n).key for n in range(50)]
    assert dict(await hybrid.redis.get("one", keys)) == {}
    assert await contents(hybrid) == await contents(source)


# --- ended early --------------------------------------------------------------------------------


async def test_a_copy_that_is_cancelled_goes_on_later(
    postgres: PostgresBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BATCH", 20)
    source = FSCache(tmp_path / "cache")
    await fill(source, [made(n) for n in range(400)])
    done = 0
    for wanted in (20, 100, 240):
        reached = asyncio.Event()

        def look(
            report: CopyReport, wanted: int = wanted, reached: asyncio.Event = reached
        ) -> None:
            if report.seen >= wanted:
                reached.set()

        copying = asyncio.create_task(copy_entries(source, postgres, progress=look))
        await reached.wait()
        copying.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await copying
        found = await contents(postgres)
        assert wanted <= len(found) < 400
        assert len(found) >= done
        done = len(found)
    report = await copy_entries(source, postgres)
    assert _counts(report) == {"copied": 400 - done, "unchanged": done}
    assert await contents(postgres) == await contents(source)
    await source.aclose()


async def test_a_source_that_fails_half_way_is_an_error_and_the_copy_goes_on_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_BATCH", 10)
    source, target = Dull(fails_after=3), MemoryBackend()
    frames = [stored(made(n)) for n in range(100)]
    await source.put("one", frames)
    with pytest.raises(BackendError, match="gone"):
        await copy_entries(source, target)
    assert len(await contents(target)) == 30
    source.left = None
    assert _counts(await copy_entries(source, target)) == {"copied": 70, "unchanged": 30}


async def test_a_postgres_that_dies_is_an_error(
    pg_engines: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BATCH", 50)
    source = MemoryBackend()
    await fill(source, [made(n) for n in range(1_000)])
    with PostgresServer(pg_engines[0]) as server:
        async with PostgresBackend(server.url, max_connections=2) as target:

            def kill(report: CopyReport) -> None:
                if report.copied >= 200:
                    server.kill()

            with pytest.raises(BackendError):
                await copy_entries(source, target, progress=kill)
            server.start()
            report = await copy_entries(source, target)
            assert report.unchanged >= 200, "what was said to be copied is there"
            assert report.copied + report.unchanged == 1_000


# --- in bounded memory --------------------------------------------------------------------------


async def _all(infos: Sequence[EntryInfo]) -> list[list[EntryInfo]]:
    async def scan() -> AsyncIterator[EntryInfo]:
        for info in infos:
            yield info

    return [list(batch) async for batch in module._batches(scan())]


async def test_batches_have_one_collection_and_fit_into_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_BATCH", 100)
    monkeypatch.setattr(module, "_BATCH_BYTES", 10_000)
    monkeypatch.setattr(module, "_LARGE", 100)
    monkeypatch.setattr(module, "_MOST_WAITING", 500)
    sizes = [50, 90, 3_000, 20_000, 0]
    infos = [
        EntryInfo(f"c{n * n % 97}", f"k{n}", sizes[n * 7 % 5] if n % 10 == 0 else 60)
        for n in range(3_000)
    ]
    batches = await _all(infos)
    assert sorted(info.key for batch in batches for info in batch) == sorted(i.key for i in infos)
    for batch in batches:
        assert len({info.collection for info in batch}) == 1
        assert len(batch) == 1 or sum(info.size for info in batch) <= 10_000
        assert 1 <= len(batch) <= 100
    assert await _all([]) == []


async def test_memory_does_not_grow_with_the_entries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BATCH_BYTES", 2**19)
    monkeypatch.setattr(module, "_LARGE", 2**9)
    source, target = FSCache(tmp_path / "from"), FSCache(tmp_path / "to")
    codec = Codec(compress=False)
    for start in range(0, 1_000, 50):
        numbers = range(start, start + 50)
        entries = [made(n, text="x" * 10_000) for n in numbers]
        await source.put("one", [stored(entry, codec) for entry in entries])
    tracemalloc.start()
    try:
        report = await copy_entries(source, target)
        again = await copy_entries(source, target)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (report.copied, again.unchanged) == (1_000, 1_000)
    assert report.bytes > 28 * 2**20
    assert peak < 6 * 2**20, "a copy of 28 MiB took more than six"
    await source.aclose()
    await target.aclose()


# --- arguments ----------------------------------------------------------------------------------


async def test_what_cannot_be_is_refused() -> None:
    hostile: Any = "merge"
    with pytest.raises(ConfigurationError, match="on_conflict"):
        await copy_entries(MemoryBackend(), MemoryBackend(), on_conflict=hostile)
    with pytest.raises(ConfigurationError, match="collection"):
        await copy_entries(MemoryBackend(), MemoryBackend(), "../x")


async def test_sealed_entries_are_copied_by_who_has_the_key() -> None:
    class Reversing:
        """Stands for a cipher."""

        def seal(self, payload: bytes, context: bytes) -> bytes:
            return payload[::-1] + context

        def unseal(self, sealed: bytes, context: bytes) -> bytes:
            if not sealed.endswith(context):
                raise ValueError("forged")
            return sealed[: -len(context)][::-1]

    codec = Codec(envelope=Reversing())
    source, target = MemoryBackend(), MemoryBackend()
    await source.put("one", [stored(made(n), codec) for n in range(5)])
    assert _counts(await copy_entries(source, target)) == {"unreadable": 5}
    assert _counts(await copy_entries(source, target, codec=codec)) == {"copied": 5}
    assert await target.get("one", [made(1).key]) == await source.get("one", [made(1).key])
