"""The tables of Postgres divided into partitions: the same promises, and nothing lost on the way."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest
from backend_support import entry, key, scan
from server_support import emptied, own_database

from llmcache.backends import Backend, StoredEntry
from llmcache.backends._pg_database import Database
from llmcache.backends._pg_sql import statements
from llmcache.backends.postgres import PostgresBackend
from llmcache.errors import BackendUnavailableError, ConfigurationError
from llmcache.testing import BackendTests
from llmcache.testing.servers import PostgresServer


@pytest.fixture(scope="module")
def _divided(each_postgres: PostgresServer) -> Iterator[str]:
    """A database whose tables are divided."""

    async def divide(url: str) -> None:
        async with PostgresBackend(url) as backend:
            assert await backend.partition(5) == 5

    with asyncio.Runner() as runner:
        database = own_database(each_postgres)
        url = runner.run(database.__aenter__())
        runner.run(divide(url))
        yield url
        runner.run(database.__aexit__(None, None, None))


class TestPartitions(BackendTests):
    @pytest.fixture
    async def backend(self, _divided: str) -> AsyncIterator[Backend]:
        async with emptied(_divided) as backend:
            yield backend


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Any]:
    connected = await asyncpg.connect(dsn)
    yield connected
    await connected.close()


async def _definitions(connection: Any) -> dict[str, str]:
    """Return the indexes of the two tables, by name; partitioned or not."""
    rows = await connection.fetch(
        "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index "
        "WHERE indrelid IN ('llmcache.entries'::regclass, 'llmcache.uses'::regclass)"
    )
    return {name: sql.replace(" ON ONLY ", " ON ") for name, sql in rows}


async def test_everything_is_there_afterwards(dsn: str, connection: Any) -> None:
    async with PostgresBackend(dsn) as backend:
        entries = [
            StoredEntry(key(n), b"%d" % n, f"m{n % 3}", (f"t{n}",), float(n), n * 1e10)
            for n in range(1, 500)
        ]
        await backend.put("one", entries)
        await backend.put("two", [entry(1, b"x" * 100_000)])
        await backend.touch("one", {key(n): n for n in range(1, 100)})
        infos = sorted(await scan(backend), key=lambda info: (info.collection, info.key))
        rows = await connection.fetch("SELECT * FROM llmcache.entries ORDER BY collection, key")
        stats, indexes = await backend.stats(), await _definitions(connection)
        assert await backend.partition(7) == 7
        assert await backend.stats() == stats
        assert [info async for info in backend.scan()] == infos, "in the order of keys, as before"
        again = await connection.fetch("SELECT * FROM llmcache.entries ORDER BY collection, key")
        assert again == rows, "versions and times too"
        assert await _definitions(connection) == indexes
        used = [
            await connection.fetchval(f"SELECT count(*) FROM llmcache.entries_{n}")
            for n in range(7)
        ]
        assert all(count > 0 for count in used)
        assert sum(used) == 500
        storage = await connection.fetch(
            "SELECT DISTINCT attstorage FROM pg_attribute JOIN pg_class ON attrelid = pg_class.oid "
            "WHERE attname = 'data' AND relname LIKE 'entries%' AND relkind IN ('r', 'p')"
        )
        assert [row[0] for row in storage] == [b"e"]


async def test_tables_that_are_divided_stay_as_they_are(dsn: str, connection: Any) -> None:
    async with PostgresBackend(dsn) as backend:
        assert await backend.partition(3) == 3
        await backend.put("default", [entry(1)])
        place = await connection.fetchval(
            "SELECT tableoid::regclass || ctid::text FROM llmcache.entries"
        )
        assert await backend.partition(9) == 3
        assert place == await connection.fetchval(
            "SELECT tableoid::regclass || ctid::text FROM llmcache.entries"
        )
        assert await backend.upgrade() == []


async def test_processes_that_run_meanwhile_go_on_afterwards(dsn: str) -> None:
    """Their prepared statements are of the tables that were."""
    async with PostgresBackend(dsn) as running, PostgresBackend(dsn) as other:
        for number in range(10):
            await running.put("default", [entry(number)])
            await running.get("default", [key(number)])
        version = (await running.get_versions("default", [key(1)]))[key(1)].version
        await other.partition(4)
        await running.put("default", [entry(1, b"anew")])
        found = await running.get_versions("default", [key(n) for n in range(10)])
        assert len(found) == 10
        assert found[key(1)].entry.data == b"anew"
        assert (found[key(1)].version or 0) > (version or 0)
        assert await running.delete("default", [key(1)]) == 1


async def test_owner_and_rights_stay(dsn: str, connection: Any) -> None:
    """An administrator divides what belongs to one role and is used by another."""
    async with PostgresBackend(dsn) as backend:
        await backend.put("default", [entry(1)])
        await connection.execute(
            "CREATE ROLE keeper; CREATE ROLE user_ LOGIN PASSWORD 'u';"
            "GRANT ALL ON SCHEMA llmcache TO keeper; GRANT USAGE ON SCHEMA llmcache TO user_;"
            "ALTER TABLE llmcache.entries OWNER TO keeper; ALTER TABLE llmcache.uses OWNER TO keeper;"
            "GRANT SELECT, INSERT ON llmcache.entries TO user_"
        )
        try:
            before = "SELECT relowner::regrole::text, relacl::text[] FROM pg_class WHERE oid = 'llmcache.entries'::regclass"
            owner, rights = await connection.fetchrow(before)
            await backend.partition(2)
            now, kept = await connection.fetchrow(before)
            assert (now, sorted(kept)) == (owner, sorted(rights))
            await connection.execute("SET ROLE user_")
            assert await connection.fetchval("SELECT count(*) FROM llmcache.entries") == 1
        finally:
            await connection.execute(
                "RESET ROLE; DROP OWNED BY user_, keeper; DROP ROLE user_, keeper"
            )


async def test_without_room_nothing_happens(dsn: str, connection: Any) -> None:
    """The disk is full, or the rows cannot be copied: the tables are as they were."""
    async with PostgresBackend(dsn) as backend:
        await backend.put("default", [entry(n) for n in range(10)])
        await connection.execute("CREATE TABLE llmcache.uses_1 ()")  # in the way of the last step
        with pytest.raises(BackendUnavailableError, match="uses_1"):
            await backend.partition(4)
        assert len(await scan(backend)) == 10
        kinds = "SELECT relkind FROM pg_class WHERE oid = 'llmcache.entries'::regclass"
        assert await connection.fetchval(kinds) == b"r"
        assert await connection.fetchval("SELECT to_regclass('llmcache.entries_0')") is None


async def test_who_is_in_the_way_is_not_waited_for_long(dsn: str, connection: Any) -> None:
    """Readers that come later must not wait behind a lock that cannot be had."""
    async with PostgresBackend(dsn) as backend:
        await backend.put("default", [entry(1)])
        async with connection.transaction():
            await connection.execute("SELECT FROM llmcache.entries")
            with pytest.raises(BackendUnavailableError, match="lock timeout"):
                await backend.partition(2)
        assert dict(await backend.get("default", [key(1)])) == {key(1): b"data"}


@pytest.mark.parametrize("parts", [0, 1, 1_025, True, "4", None])
async def test_a_number_of_parts_that_cannot_be(dsn: str, parts: Any) -> None:
    async with PostgresBackend(dsn) as backend:
        with pytest.raises(ConfigurationError, match="from 2 to 1024"):
            await backend.partition(parts)


async def test_the_script_runs_by_itself(dsn: str, connection: Any) -> None:
    """As `psql --single-transaction` would run it, with 16 partitions where nothing is said."""
    async with PostgresBackend(dsn) as backend:
        await backend.put("default", [entry(n) for n in range(50)])
        async with connection.transaction():
            await connection.execute(statements("partition.sql")["partition"])
        assert await connection.fetchval(statements("partition.sql")["partitions"]) == 16
        assert len(await scan(backend)) == 50


async def test_the_command(dsn: str) -> None:
    for _ in range(2):
        command = ["db", "partition", "--parts", "4", "--pg-dsn", dsn, "--json"]
        program = [sys.executable, "-m", "llmcache", *command]
        done = await asyncio.to_thread(subprocess.run, program, capture_output=True, check=True)
        assert json.loads(done.stdout) == {"partitions": 4}


async def test_a_read_asks_only_the_partitions_that_have_the_keys(
    dsn: str, connection: Any
) -> None:
    """By the hash of the keys: with 16 partitions, all but one would be asked in vain."""
    async with PostgresBackend(dsn) as backend:
        await backend.put("default", [entry(n) for n in range(100)])
        await backend.partition(16)
    for name, wanted in (("get_divided", f"ARRAY['{key(1)}']"), ("get_one", f"'{key(1)}'")):
        sql = statements("entries.sql")[name].rstrip(";")
        sql = sql.replace("$1", "'default'").replace("$2", wanted)
        rows = await connection.fetch(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {sql}")
        plan = "\n".join(row[0] for row in rows)
        assert plan.count("on entries_") - plan.count("(never executed)") == 1, plan


async def test_a_batch_is_read_as_the_table_is_divided_or_not(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One table is asked with an array, which is three times as fast; partitions key by key."""
    sql, asked = statements("entries.sql"), []
    read = Database.read

    async def noted(self: Database, operation: str, text: str, *arguments: Any) -> Any:
        asked.extend(name for name in ("get", "get_divided") if sql[name] == text)
        return await read(self, operation, text, *arguments)

    monkeypatch.setattr(Database, "read", noted)
    async with PostgresBackend(dsn) as backend:
        await backend.put("default", [entry(n) for n in range(100)])
        assert len(await backend.get("default", [key(1), key(2)])) == 2
        await backend.partition(16)
    async with PostgresBackend(dsn) as backend:
        await backend.open()
        assert len(await backend.get("default", [key(1), key(2)])) == 2
    assert asked == ["get", "get_divided"]
