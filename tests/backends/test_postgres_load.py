"""Many entries into Postgres through COPY, what stops it half-way, and Redis in front of it."""

from __future__ import annotations

import asyncio
import contextlib
import tracemalloc

import asyncpg
import pytest
from backend_support import entry, key, running, scan

from llmcache.backends import StoredEntry
from llmcache.backends import hybrid as hybrid_module
from llmcache.backends.hybrid import HybridRedisPostgreSQLCache
from llmcache.backends.postgres import PostgresBackend
from llmcache.backends.redis import RedisBackend
from llmcache.errors import BackendUnavailableError

_NOBODY = "redis://127.0.0.1:9"


async def _counts(backend: PostgresBackend) -> tuple[int, int]:
    """Return how many entries there are, and how many temporary tables are left."""
    connection = await asyncpg.connect(backend._database._dsn)
    left = await connection.fetchval(
        "SELECT count(*) FROM pg_class WHERE relname = 'llmcache_loaded'"
    )
    await connection.close()
    return len(await scan(backend)), left


async def test_what_is_loaded_is_what_would_be_put(postgres: PostgresBackend, dsn: str) -> None:
    entries = [
        StoredEntry(key(1), b"data", "größe\0\ud800", ("t\0", "ü", "\udfff"), 1.5, 2.5),
        StoredEntry(key(2), bytes(range(256)) * 400, None, (), 0.0, None),
        StoredEntry(key(3), b"", "", ("",), -1e9, 1e12),
    ]
    await postgres.put("put", entries)
    await postgres.load("load", entries)
    connection = await asyncpg.connect(postgres._database._dsn)
    columns = "key, data, model, tags, created_at, keep_until"
    put, loaded = [
        await connection.fetch(
            f"SELECT {columns} FROM llmcache.entries WHERE collection = $1 ORDER BY key", name
        )
        for name in ("put", "load")
    ]
    await connection.close()
    assert len(loaded) == 3
    for each, other in zip(put, loaded, strict=True):
        *columns, keep_until = each
        *others, until = other
        assert columns == others
        # Told in seconds from now on, of which some pass between the two.
        assert until == (None if keep_until is None else pytest.approx(keep_until, abs=30, rel=0))


async def test_versions_and_uses_are_those_of_a_put(postgres: PostgresBackend) -> None:
    await postgres.put("default", [entry(n) for n in range(10)])
    await postgres.touch("default", {key(n): 3 for n in range(10)})
    before = await postgres.get_versions("default", [key(n) for n in range(10)])
    loaded = await postgres.load_versions("default", [entry(n) for n in range(5, 15)], "replace")
    after = await postgres.get_versions("default", [key(n) for n in range(15)])
    highest = max(each.version or 0 for each in before.values())
    for number in range(5, 15):
        assert highest < (after[key(number)].version or 0) < loaded.version
    uses = {info.key: info.uses for info in await scan(postgres)}
    assert uses == {key(n): 3 if n < 5 else 0 for n in range(15)}
    written = await postgres.put_versions("default", [entry(1)])
    assert (written.entries[0].version or 0) > loaded.version


async def test_a_load_that_is_cancelled_stores_all_or_nothing(postgres: PostgresBackend) -> None:
    await postgres.open()
    seen = set()
    for turns in range(60):
        collection = f"c{turns}"
        entries = [entry(n, b"x" * 100) for n in range(1_000)]
        loading = asyncio.create_task(postgres.load(collection, entries))
        for _ in range(turns):
            await asyncio.sleep(0.0005)
        loading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await loading
        seen.add(len(await scan(postgres, collection)))
    assert seen <= {0, 1_000}
    assert 0 in seen, "none was cancelled in time"
    assert (await _counts(postgres))[1] == 0


async def test_a_batch_that_postgres_refuses_stores_nothing(dsn: str) -> None:
    """In the last step, as when the disk is full."""
    async with PostgresBackend(dsn) as backend:
        await backend.open()
        connection = await asyncpg.connect(dsn)
        await connection.execute(
            "ALTER TABLE llmcache.entries ADD CONSTRAINT small CHECK (octet_length(data) < 100)"
        )
        await connection.close()
        with pytest.raises(BackendUnavailableError, match="small") as caught:
            await backend.load("default", [entry(1), entry(2, b"x" * 100)])
        assert caught.value.operation == "load"
        assert await _counts(backend) == (0, 0)
        assert (await backend.load("default", [entry(1)])).stored == 1


_LOAD = """
import asyncio, hashlib, sys
from llmcache.backends import StoredEntry
from llmcache.backends.postgres import PostgresBackend

def key(number):
    return "v1:" + hashlib.sha256(b"%d" % number).hexdigest()

async def main():
    async with PostgresBackend(sys.argv[1]) as backend:
        for start in range(0, 10**9, 500):
            await backend.load("default", [StoredEntry(key(n), b"x" * 200) for n in range(start, start + 500)])
            print(start + 500, flush=True)

asyncio.run(main())
"""


async def test_a_load_whose_process_is_killed_leaves_whole_batches(dsn: str) -> None:
    async with PostgresBackend(dsn) as backend:
        await backend.open()
        with running(_LOAD, dsn) as process:
            assert process.stdout is not None
            said = 0
            for _ in range(5):
                said = int(await asyncio.to_thread(process.stdout.readline))
            process.kill()
        async with asyncio.timeout(20):  # the server has to notice
            while (await _counts(backend))[1]:
                await asyncio.sleep(0.05)
        entries = len(await scan(backend))
        assert entries >= said
        assert entries % 500 == 0


async def test_a_connection_that_was_lost_is_replaced(postgres: PostgresBackend) -> None:
    await postgres.put("default", [entry(1)])
    other = await asyncpg.connect(postgres._database._dsn)
    await other.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE pid <> pg_backend_pid() AND datname = current_database() AND state = 'idle'"
    )
    await other.close()
    assert (await postgres.load("default", [entry(n) for n in range(10)])).stored == 10


async def test_without_prepared_statements(dsn: str) -> None:
    """As behind PgBouncer in transaction mode."""
    async with PostgresBackend(dsn, statement_cache_size=0, max_connections=2) as backend:
        loads = [backend.load(f"c{n}", [entry(m) for m in range(100)]) for n in range(10)]
        assert {report.stored for report in await asyncio.gather(*loads)} == {100}
        assert await _counts(backend) == (1_000, 0)


async def test_writers_of_the_same_entries_take_turns(postgres: PostgresBackend) -> None:
    async def load(data: bytes, numbers: list[int]) -> None:
        for _ in range(10):
            await postgres.load("default", [entry(n, data) for n in numbers])

    async def put(data: bytes, numbers: list[int]) -> None:
        for _ in range(10):
            await postgres.put("default", [entry(n, data) for n in numbers])

    up = list(range(300))
    await asyncio.gather(load(b"a", up), load(b"b", up[::-1]), put(b"c", up), put(b"d", up[::-1]))
    found = await postgres.get("default", [key(n) for n in up])
    assert len(set(found.values())) == 1, "a load is seen whole"


async def test_a_newer_entry_that_comes_in_between_is_kept(postgres: PostgresBackend) -> None:
    """What decides is there when the row is written, and not what was read before."""
    connection = await asyncpg.connect(postgres._database._dsn)
    await postgres.put("default", [StoredEntry(key(1), b"old", created_at=1.0)])
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("UPDATE llmcache.entries SET data = 'newest', created_at = 3")
    entries = [StoredEntry(key(1), b"newer", created_at=2.0), entry(2)]
    loading = asyncio.create_task(postgres.load("default", entries, on_conflict="newer"))
    async with asyncio.timeout(20):
        while not await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0.01)
    await transaction.commit()
    await connection.close()
    assert (await loading).stored == 1
    assert (await postgres.get("default", [key(1)]))[key(1)] == b"newest"


async def test_a_load_holds_no_second_copy(postgres: PostgresBackend) -> None:
    entries = [entry(n, b"%04d" % n * 1_024) for n in range(5_000)]
    await postgres.load("warm", entries[:10])
    tracemalloc.start()
    try:
        await postgres.load("default", entries)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10 * 2**20, "20 MiB of entries were copied in memory"


# --- Redis in front of it -----------------------------------------------------------------------


async def test_redis_does_not_hide_what_is_loaded(hybrid: HybridRedisPostgreSQLCache) -> None:
    await hybrid.put("default", [entry(n, b"old") for n in range(10)])
    assert len(await hybrid.redis.get("default", [key(n) for n in range(10)])) == 10
    await hybrid.load("default", [entry(n, b"new") for n in range(5, 15)])
    found = await hybrid.get("default", [key(n) for n in range(15)])
    assert found == {key(n): b"old" if n < 5 else b"new" for n in range(15)}


async def test_redis_does_not_hide_what_postgres_had_pruned(
    hybrid: HybridRedisPostgreSQLCache,
) -> None:
    """To Postgres, the entry is new."""
    await hybrid.put("default", [entry(1, b"old")])
    assert (await hybrid.prune(max_bytes=0)).evicted == 1
    assert (await hybrid.load("default", [entry(1, b"new")])).replaced == 0
    assert (await hybrid.get("default", [key(1)]))[key(1)] == b"new"


async def test_a_slow_reader_does_not_bring_back_what_a_load_replaced(
    hybrid: HybridRedisPostgreSQLCache,
) -> None:
    await hybrid.postgres.put("default", [entry(1, b"old")])
    _, tickets = await hybrid.redis.look("default", [key(1)])
    slow = list((await hybrid.postgres.get_versions("default", [key(1)])).values())
    await hybrid.load("default", [entry(1, b"new")])
    assert await hybrid.redis.fill("default", slow, tickets) == 0
    assert (await hybrid.get("default", [key(1)]))[key(1)] == b"new"


async def test_what_is_loaded_or_peeked_at_does_not_fill_redis(
    hybrid: HybridRedisPostgreSQLCache,
) -> None:
    keys = [key(n) for n in range(100)]
    await hybrid.load("default", [entry(n) for n in range(100)])
    assert len(await hybrid.peek("default", keys)) == 100
    await asyncio.gather(*hybrid._tasks)
    assert dict(await hybrid.redis.get("default", keys)) == {}
    assert len(await hybrid.get("default", keys)) == 100
    await asyncio.gather(*hybrid._tasks)
    assert len(await hybrid.redis.get("default", keys)) == 100


async def test_a_redis_that_is_away_is_told_when_it_is_back(
    postgres: PostgresBackend, redis: RedisBackend
) -> None:
    other = HybridRedisPostgreSQLCache(postgres=postgres, redis=redis)
    await other.put("default", [entry(1, b"old")])
    cut_off = RedisBackend(_NOBODY, timeout=0.5)
    async with HybridRedisPostgreSQLCache(postgres=postgres, redis=cut_off) as hybrid:
        assert (await hybrid.load("default", [entry(1, b"new")])).replaced == 1
        hybrid.redis = redis  # reached again
        async with asyncio.timeout(20):
            while (await other.get("default", [key(1)]))[key(1)] != b"new":
                await asyncio.sleep(0.05)


async def test_more_than_can_be_remembered_is_not_loaded(
    postgres: PostgresBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hybrid_module, "_MOST_OWED", 15)
    redis = RedisBackend(_NOBODY, timeout=0.5)
    async with HybridRedisPostgreSQLCache(postgres=postgres, redis=redis) as hybrid:
        assert (await hybrid.load("default", [entry(n) for n in range(10)])).stored == 10
        with pytest.raises(BackendUnavailableError, match="go on when it is back"):
            await hybrid.load("default", [entry(n) for n in range(10, 20)])
        assert len(await scan(hybrid)) == 10
