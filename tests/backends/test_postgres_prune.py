"""Shrinking a Postgres table while others use it."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest
from backend_support import entry, framed, key, running, scan

from llmcache.backends import _pg_prune as module
from llmcache.backends.postgres import PostgresBackend

_PRUNE = """
import asyncio, sys
from llmcache.backends.postgres import PostgresBackend

async def main():
    async with PostgresBackend(sys.argv[1]) as backend:
        await backend.open()
        print("ready", flush=True)
        sys.stdin.readline()
        report = await backend.prune(max_bytes=int(sys.argv[2]))
        print(report.expired, report.evicted, flush=True)

asyncio.run(main())
"""


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BATCH", 10)
    monkeypatch.setattr(module, "_READ", 16)
    monkeypatch.setattr(module, "_PAGES", 1)


@pytest.fixture
async def connection(postgres: PostgresBackend) -> AsyncIterator[Any]:
    connected = await asyncpg.connect(postgres._database._dsn)
    yield connected
    await connected.close()


async def _left(backend: PostgresBackend) -> set[str]:
    return {info.key for info in await scan(backend)}


# --- which of them go -------------------------------------------------------------------------


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("collection", [None, "default"])
async def test_the_order_of_use_is_kept_over_many_batches(
    postgres: PostgresBackend, connection: Any, collection: str | None
) -> None:
    """Some were used and some never; each goes at its time, whichever table knows of it."""
    order = list(range(200))
    random.Random(4).shuffle(order)
    await postgres.put("default", [entry(n, b"x" * 100) for n in order])
    await postgres.put("other", [entry(n, b"x" * 100) for n in range(50)])
    for place, number in enumerate(order):
        at = f"now() - interval '1 day' + interval '1 minute' * {place}"
        if number % 3:
            await postgres.touch("default", {key(number): 1})
            await connection.execute(
                f"UPDATE llmcache.uses SET used_at = {at} WHERE key = $1", key(number)
            )
            at = "now() - interval '2 days'"  # stored before all others: what counts is the use
        sql = f"UPDATE llmcache.entries SET stored_at = {at} WHERE collection = 'default' AND key = $1"
        await connection.execute(sql, key(number))
    size = 20_000 if collection else 25_000
    report = await postgres.prune(collection, max_bytes=size - 5_000)
    going = -((size - int((size - 5_000) * 0.9)) // -100)
    assert (report.evicted, report.bytes_freed) == (going, going * 100)
    assert await _left(postgres) >= {key(number) for number in order[going:]}
    left = {info.key for info in await scan(postgres, "default")}
    assert left == {key(number) for number in order[going:]}
    assert len(await scan(postgres, "other")) == 50
    assert (report.entries_left, report.bytes_left) == (size // 100 - going, size - going * 100)
    assert await connection.fetchval("SELECT count(*) FROM llmcache.uses") == sum(
        number % 3 > 0 for number in order[going:]
    )


@pytest.mark.usefixtures("small_batches")
async def test_many_of_one_moment_go_one_after_another(postgres: PostgresBackend) -> None:
    """What was loaded together has one time, and there is more of it than a batch takes."""
    await postgres.load("default", [entry(n, b"x" * 100) for n in range(150)])
    report = await postgres.prune(max_bytes=5_000)
    assert (report.evicted, report.entries_left) == (105, 45)
    assert len(await _left(postgres)) == 45


@pytest.mark.usefixtures("small_batches")
async def test_the_largest_ceiling_removes_nothing_and_the_smallest_all(
    postgres: PostgresBackend,
) -> None:
    await postgres.put("default", [entry(n, b"x" * 100) for n in range(100)])
    await postgres.touch("default", {key(n): 1 for n in range(50)})
    assert (await postgres.prune(max_bytes=10_000)).evicted == 0
    assert (await postgres.prune(max_bytes=0)).evicted == 100
    assert (await postgres.prune(max_bytes=0)).evicted == 0


async def test_what_was_written_anew_meanwhile_stays(
    postgres: PostgresBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    await postgres.put("default", [entry(n, b"x" * 100) for n in range(10)])
    fetch = postgres._database.fetch

    async def rewriting(operation: str, sql: str, *arguments: Any) -> Any:
        if operation == "evict":
            await postgres.put("default", [entry(3, b"anew")])
        return await fetch(operation, sql, *arguments)

    monkeypatch.setattr(postgres._database, "fetch", rewriting)
    report = await postgres.prune(max_bytes=1)
    assert report.evicted == 9
    assert dict(await postgres.get("default", [key(3)])) == {key(3): b"anew"}


@pytest.mark.usefixtures("small_batches")
async def test_what_was_set_aside_goes_in_batches(
    postgres: PostgresBackend, connection: Any
) -> None:
    for number in range(35):
        await postgres.put("default", [entry(number)])
        await postgres.quarantine("default", key(number), b"data")
    await connection.execute(
        "UPDATE llmcache.quarantine SET set_aside_at = now() - interval '8 days' WHERE number % 7 > 0"
    )
    report = await postgres.prune()
    assert (report.leftovers, report.bytes_freed) == (30, 120)
    assert (await postgres.stats()).quarantined == 5


# --- beside others ----------------------------------------------------------------------------


async def test_nobody_is_waited_for(postgres: PostgresBackend, connection: Any) -> None:
    """Another session holds rows: what it holds stays, and the rest goes at once."""
    await postgres.put("default", [framed(n, 1.0) for n in range(20)])
    await postgres.put("default", [entry(n, b"x" * 100) for n in range(20, 40)])
    async with connection.transaction():
        await connection.execute(
            "SELECT FROM llmcache.entries WHERE key = ANY($1) FOR UPDATE", [key(3), key(23)]
        )
        async with asyncio.timeout(20):
            report = await postgres.prune(max_bytes=0)
    assert (report.expired, report.evicted) == (19, 19)
    assert await _left(postgres) == {key(3), key(23)}


async def _again(work: Callable[[], Awaitable[Any]]) -> None:
    for _ in range(40):
        await work()


@pytest.mark.usefixtures("small_batches")
async def test_nobody_waits_in_a_circle(postgres: PostgresBackend, connection: Any) -> None:
    """Writers, removers, users and prunes of the same entries, each in an order of its own."""
    source = random.Random(7)
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    before = await connection.fetchval(deadlocks)

    def some() -> list[int]:
        return source.sample(range(60), 40)

    def write() -> Awaitable[Any]:
        return postgres.put("default", [framed(n, 1.0 if n % 4 == 0 else None) for n in some()])

    def load() -> Awaitable[Any]:
        return postgres.load("default", [entry(n, b"x" * 90) for n in some()])

    def remove() -> Awaitable[Any]:
        return postgres.delete("default", [key(n) for n in some()[:8]])

    def use() -> Awaitable[Any]:
        return postgres.touch("default", {key(n): 1 for n in some()})

    def prune() -> Awaitable[Any]:
        return postgres.prune(max_bytes=2_000)

    each = [write, write, load, load, remove, use, use, prune, prune]
    await asyncio.gather(*map(_again, each))
    await connection.execute("SELECT pg_stat_clear_snapshot()")
    assert await connection.fetchval(deadlocks) == before
    orphans = "SELECT count(*) FROM llmcache.uses LEFT JOIN llmcache.entries USING (collection, key) WHERE version IS NULL"
    # A use noted while its entry goes may outlive it: one at most for each key that there is.
    assert await connection.fetchval(orphans) <= 60


async def test_two_processes_prune_at_the_same_time(dsn: str) -> None:
    """Together they remove what one would, and the writers between them lose nothing."""
    async with PostgresBackend(dsn) as backend:
        for start in range(0, 12_000, 1_000):
            numbers = range(start, start + 1_000)
            await backend.put("default", [framed(n, 1.0 if n % 6 == 0 else None) for n in numbers])
        size = (await backend.stats()).bytes
        ceiling = size // 2
        with running(_PRUNE, dsn, ceiling) as one, running(_PRUNE, dsn, ceiling) as other:
            for process in (one, other):
                assert process.stdout is not None
                assert await asyncio.to_thread(process.stdout.readline) == b"ready\n"
            for process in (one, other):
                assert process.stdin is not None
                process.stdin.write(b"\n")
                process.stdin.flush()
            new = [entry(n, b"new") for n in range(20_000, 20_100)]
            for each in new:
                await backend.put("default", [each])
            said = []
            for process in (one, other):
                assert process.stdout is not None
                said.append(
                    list(map(int, (await asyncio.to_thread(process.stdout.readline)).split()))
                )
        assert sum(expired for expired, _ in said) == 2_000
        stats = await backend.stats()
        assert len(await backend.get("default", [each.key for each in new])) == 100
        # One alone goes to 90 % of the ceiling; two that knew nothing of each other, to 40 %.
        assert 0.8 * ceiling <= stats.bytes <= ceiling
        assert stats.entries == 12_100 - sum(map(sum, said))


@pytest.mark.usefixtures("small_batches")
async def test_a_prune_that_is_cancelled_leaves_the_rest(
    postgres: PostgresBackend, connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = []
    fetch = postgres._database.fetch
    left = 0
    pruning: asyncio.Task[Any]

    async def cancelled_in_it(operation: str, sql: str, *arguments: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            asyncio.get_running_loop().call_later(0.0005, pruning.cancel)
        return await fetch(operation, sql, *arguments)

    for statement in range(1, 45, 4):
        await postgres.put("default", [framed(n, 1.0) for n in range(60)])
        await postgres.put("default", [entry(n, b"x" * 50) for n in range(60, 120)])
        await postgres.touch("default", {key(n): 1 for n in range(0, 120, 2)})
        left = statement
        with monkeypatch.context() as patch:
            patch.setattr(postgres._database, "fetch", cancelled_in_it)
            pruning = asyncio.create_task(postgres.prune(max_bytes=0))
            with contextlib.suppress(asyncio.CancelledError):
                await pruning
        counts.append(len(await scan(postgres)))
        orphans = """
            SELECT count(*) FROM llmcache.uses LEFT JOIN llmcache.entries USING (collection, key)
            WHERE version IS NULL
        """
        assert await connection.fetchval(orphans) == 0
    assert len(set(counts)) > 2, "some were cancelled half-way"
    report = await postgres.prune(max_bytes=0)
    assert (report.entries_left, report.bytes_left) == (0, 0)
    assert await scan(postgres) == []


# --- large tables -----------------------------------------------------------------------------


async def test_what_was_used_least_is_found_by_the_indexes(
    postgres: PostgresBackend, connection: Any
) -> None:
    """No statement of a prune sorts the table: at millions of entries each batch would."""
    for start in range(0, 20_000, 5_000):
        await postgres.load("default", [entry(n) for n in range(start, start + 5_000)])
    for start in range(0, 10_000, 1_000):
        await postgres.touch("default", {key(n): 1 for n in range(start, start + 1_000)})
    await connection.execute("ANALYZE llmcache.entries; ANALYZE llmcache.uses")
    values = ["null", "'1970-01-01'", "''", "''", "100"]
    for name, index in {"stored_first": "entries_stored_at", "used_first": "uses_used_at"}.items():
        sql = postgres._pruning._sql[name].rstrip(";")
        for number, value in enumerate(values, 1):
            sql = sql.replace(f"${number}", value)
        plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {sql}"))
        assert f"using {index}" in plan
        assert "Seq Scan" not in plan
