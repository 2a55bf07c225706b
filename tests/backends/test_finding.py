"""Counting, ranking and finding in Postgres: many pages, hostile text, others who write meanwhile."""

from __future__ import annotations

import asyncio
import time

import asyncpg
import pytest
from backend_support import key

from llmcache.backends import Sought, StoredEntry
from llmcache.backends import _pg_finding as finding
from llmcache.backends.postgres import PostgresBackend

# What a text may hold, among it what Postgres cannot, and what the two may be mistaken for.
HOSTILE = [
    "a",
    "a\0",
    "a\\0",
    "a\\\0",
    "\0",
    "?",
    "\ud800",
    "\\ud800",
    "\udfff\0",
    "größe",
    "'; DROP TABLE llmcache.entries; --",
    '{"a",NULL}',
    "NULL",
    "\\",
]


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a few rows be many: a page of three, two of an index, one page of the file at a time."""
    for name, value in {"_PAGE": 3, "_FEW": 2, "_SEARCHED_PAGES": 1, "_COUNTED_PAGES": 1}.items():
        monkeypatch.setattr(finding, name, value)


def _many(count: int, **said: str) -> list[StoredEntry]:
    return [
        StoredEntry(key(n), b"x" * 500, f"m{n % 7}", (f"t{n % 10}",), float(n // 2), **said)
        for n in range(count)
    ]


async def _found(postgres: PostgresBackend, sought: Sought, name: str = "default") -> list[str]:
    found = [each async for each in postgres.find(name, sought)]
    assert all(each.certain for each in found)
    return [each.key for each in found]


async def test_many_pages_are_one_answer(postgres: PostgresBackend, small_pages: None) -> None:
    await postgres.put("default", _many(400, answered_by=""))
    await postgres.put(
        "default", [StoredEntry(key(n), b"x", created_at=1.0) for n in range(400, 500)]
    )
    await postgres.touch("default", {key(n): 1 + n % 4 for n in range(0, 400, 3)})
    assert sorted(await _found(postgres, Sought(tag="t3"))) == sorted(
        key(n) for n in range(3, 400, 10)
    )
    older = await _found(postgres, Sought(created_before=50.0))
    assert sorted(older) == sorted(key(n) for n in (*range(100), *range(400, 500)))
    models = [each async for each in postgres.find("default", Sought(model="m3"))]
    assert {each.key for each in models if each.certain} == {key(n) for n in range(3, 400, 7)}
    assert {each.key for each in models if not each.certain} == {key(n) for n in range(400, 500)}
    for order in ("most_used", "newest"):
        ranked = [info.key async for info in postgres.ranked("default", order)]
        assert sorted(ranked) == sorted(key(n) for n in range(500))
    counted = await postgres.count()
    assert (counted.entries, counted.bytes) == (500, 400 * 500 + 100)
    assert await _found(postgres, Sought(tag="t3"), "other") == []


async def test_what_is_past_its_time_is_not_worth_keeping_near(postgres: PostgresBackend) -> None:
    now = time.time()
    entries = [StoredEntry(key(n), b"x", keep_until=now + (-60, 60)[n % 2]) for n in range(8)]
    await postgres.put("default", entries)
    await postgres.touch("default", {key(0): 1, key(1): 1})
    for order in ("most_used", "newest"):
        ranked = {info.key async for info in postgres.ranked("default", order)}
        assert ranked == {key(n) for n in (1, 3, 5, 7)}


@pytest.mark.parametrize("few", [0, 5_000], ids=["through the table", "by the index"])
async def test_hostile_texts_are_found_and_not_mistaken(
    postgres: PostgresBackend, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(finding, "_FEW", few)
    await postgres.put(
        "default",
        [
            StoredEntry(key(n), b"x", f"{text}m", (text, "other"), answered_by=f"{text}a")
            for n, text in enumerate(HOSTILE)
        ],
    )
    for n, text in enumerate(HOSTILE):
        for sought in (Sought(tag=text), Sought(model=f"{text}m"), Sought(model=f"{text}a")):
            found = [each async for each in postgres.find("default", sought)]
            assert key(n) in {each.key for each in found}
            assert {each.key for each in found if each.certain} <= {key(n)}


@pytest.mark.parametrize("text", HOSTILE)
async def test_what_the_first_version_wrote_is_found_and_in_doubt(dsn: str, text: str) -> None:
    """It left out NUL, and wrote a question mark for what is no Unicode."""
    async with PostgresBackend(dsn) as postgres:
        await postgres.put("default", [StoredEntry(key(1), b"x")])
        lossy = text.replace("\0", "").encode("utf-8", "replace").decode()
        connection = await asyncpg.connect(dsn)
        await connection.execute(
            "UPDATE llmcache.entries SET model = $1, tags = $2, answered_by = NULL", lossy, [lossy]
        )
        await connection.close()
        for sought in (Sought(tag=text), Sought(model=text)):
            assert [each.key async for each in postgres.find("default", sought)] == [key(1)]


async def test_all_that_matches_goes_while_others_write(
    postgres: PostgresBackend, small_pages: None
) -> None:
    await postgres.put("default", _many(300, answered_by=""))
    await postgres.put("default", [StoredEntry(key(n), b"x", "kept") for n in range(300, 330)])
    stop = False

    async def write() -> None:
        number = 1_000
        while not stop:
            await postgres.put("default", [StoredEntry(key(number), b"new", "kept")])
            number += 1

    writer = asyncio.create_task(write())
    gone = 0
    async for each in postgres.find("default", Sought(tag="t4")):
        gone += await postgres.delete("default", [each.key])
    stop = True
    await writer
    assert gone == 30
    assert await _found(postgres, Sought(tag="t4")) == []
    assert len(await _found(postgres, Sought(tag="t5"))) == 30


async def test_a_large_table_is_estimated_and_says_so(
    postgres: PostgresBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    for start in range(0, 4_000, 1_000):
        await postgres.put("default", _many(4_000)[start : start + 1_000])
    await postgres.put("small", _many(3))
    exact = await postgres.stats()
    assert (exact.entries, exact.bytes, exact.estimated) == (4_003, 4_003 * 500, False)
    assert exact.oldest_use is not None
    monkeypatch.setattr(finding, "_SAMPLED_PAGES", 100)
    estimate = await postgres.stats()
    assert estimate.estimated
    # A hundred of some three hundred pages are expected to be looked at: the share varies by a
    # tenth, and this allows five times that.
    assert estimate.entries == pytest.approx(4_003, rel=0.5)
    assert estimate.bytes == pytest.approx(4_003 * 500, rel=0.5)
    assert set(estimate.collections) == {"default", "small"}
    assert estimate.newest_use == exact.newest_use
    assert await postgres.count() == exact


_IN_PARTITIONS = """
ALTER TABLE llmcache.entries RENAME TO whole;
CREATE TABLE llmcache.entries (LIKE llmcache.whole INCLUDING DEFAULTS)
    PARTITION BY HASH (collection, key);
CREATE TABLE llmcache.e0 PARTITION OF llmcache.entries FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE llmcache.e1 PARTITION OF llmcache.entries FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO llmcache.entries SELECT * FROM llmcache.whole;
"""


async def test_a_table_in_partitions_is_counted_and_searched(
    dsn: str, small_pages: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with PostgresBackend(dsn) as postgres:
        await postgres.put("default", _many(300, answered_by=""))
        connection = await asyncpg.connect(dsn)
        await connection.execute(_IN_PARTITIONS)
        await connection.close()
        assert (await postgres.count()).entries == 300
        assert len(await _found(postgres, Sought(tag="t4"))) == 30
        assert len(await _found(postgres, Sought(created_before=50.0))) == 100
        monkeypatch.setattr(finding, "_SAMPLED_PAGES", 1)
        assert (await postgres.stats()).estimated


async def test_an_empty_table_has_totals(postgres: PostgresBackend) -> None:
    stats = await postgres.stats()
    assert (stats.entries, stats.bytes, stats.estimated) == (0, 0, False)
    assert (stats.oldest_use, stats.newest_use) == (None, None)
    assert list(await postgres.names()) == []
    assert [info async for info in postgres.ranked("default", "newest")] == []
