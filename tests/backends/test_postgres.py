"""The Postgres backend on every Postgres of this machine."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from backend_support import entry, framed, key
from server_support import emptied

from llmcache.backends import Backend, StoredEntry
from llmcache.backends import _pg_database as database
from llmcache.backends._pg_sql import Migration, migrations, statements
from llmcache.backends.postgres import PostgresBackend
from llmcache.cache.opening import open_backend
from llmcache.errors import BackendUnavailableError, ConfigurationError
from llmcache.testing import BackendTests
from llmcache.testing.servers import PostgresServer


class TestPostgres(BackendTests):
    @pytest.fixture
    async def backend(self, each_postgres: PostgresServer) -> AsyncIterator[Backend]:
        async with emptied(each_postgres.url) as backend:
            yield backend


# --- the schema -----------------------------------------------------------------------------


async def test_the_first_operation_makes_the_schema(dsn: str) -> None:
    async with PostgresBackend(dsn) as backend:
        await backend.put("default", [entry(1)])
    connection = await asyncpg.connect(dsn)
    numbers = await connection.fetch("SELECT number FROM llmcache.migrations ORDER BY number")
    assert [row[0] for row in numbers] == [migration.number for migration in migrations()]
    storage = await connection.fetchval(
        "SELECT attstorage FROM pg_attribute WHERE attname = 'data' "
        "AND attrelid = 'llmcache.entries'::regclass"
    )
    assert storage == b"e", "external: the codec has compressed"
    await connection.close()


async def test_many_that_start_at_once_make_it_once(dsn: str) -> None:
    backends = [PostgresBackend(dsn, max_connections=2) for _ in range(8)]
    await asyncio.gather(*(backend.open() for backend in backends))
    await asyncio.gather(*(b.put("default", [entry(n)]) for n, b in enumerate(backends)))
    assert (await backends[0].stats()).entries == 8
    for backend in backends:
        await backend.aclose()


async def test_an_upgrade_keeps_what_is_there(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with PostgresBackend(dsn) as backend:
        await backend.put("default", [entry(1)])
    later = [*migrations(), Migration(9_000, "more", "CREATE TABLE llmcache.more (a int)")]
    with monkeypatch.context() as patch:
        patch.setattr(database, "migrations", lambda: later)
        async with PostgresBackend(dsn, migrate=False) as backend:
            with pytest.raises(ConfigurationError, match=r"\[9000\].*llmcache db upgrade"):
                await backend.open()
        async with PostgresBackend(dsn) as backend:
            assert (await backend.get("default", [key(1)]))[key(1)] == b"data"
    async with PostgresBackend(dsn) as backend:  # the earlier version, once more
        with pytest.raises(ConfigurationError, match="upgrade llmcache"):
            await backend.open()
        with pytest.raises(BackendUnavailableError, match="upgrade llmcache"):
            await backend.get("default", [key(1)])


async def test_an_upgrade_that_fails_changes_nothing(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = [
        *migrations(),
        Migration(9_000, "broken", "CREATE TABLE llmcache.x (a int); SELECT 1/0"),
    ]
    monkeypatch.setattr(database, "migrations", lambda: broken)
    async with PostgresBackend(dsn) as backend:
        with pytest.raises(BackendUnavailableError, match="division by zero"):
            await backend.open()
    connection = await asyncpg.connect(dsn)
    assert await connection.fetchval("SELECT to_regnamespace('llmcache') IS NULL")
    await connection.close()


async def test_an_upgrade_may_take_longer_than_a_statement(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an index of a large table does; who starts meanwhile waits for it."""
    slow = [*migrations(), Migration(9_000, "slow", "SELECT pg_sleep(1.5)")]
    monkeypatch.setattr(database, "migrations", lambda: slow)
    options: dict[str, Any] = {"statement_timeout": 0.5}
    async with PostgresBackend(dsn, **options) as one, PostgresBackend(dsn, **options) as other:
        applied = await asyncio.gather(one.upgrade(), other.upgrade())
        assert sorted(map(len, applied)) == [0, len(slow)]
        await one.put("default", [entry(1)])


async def test_calls_go_on_while_an_upgrade_takes_long(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = [*migrations(), Migration(9_000, "slow", "SELECT pg_sleep(1.5)")]
    monkeypatch.setattr(database, "migrations", lambda: slow)
    async with PostgresBackend(dsn) as backend:
        for _ in range(2):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await backend.get("default", [key(1)])
        await backend.put("default", [entry(1)])  # the same attempt ends well
        assert (await backend.get("default", [key(1)]))[key(1)] == b"data"


async def test_an_upgrade_says_who_is_in_the_way(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with PostgresBackend(dsn) as backend:
        await backend.put("default", [entry(1)])
    later = [*migrations(), Migration(9_000, "more", "ALTER TABLE llmcache.entries ADD more int")]
    monkeypatch.setattr(database, "migrations", lambda: later)
    holder = await asyncpg.connect(dsn, server_settings={"application_name": "report"})
    async with holder.transaction():
        await holder.fetch("SELECT key, 'hunter22' FROM llmcache.entries")
        pid = await holder.fetchval("SELECT pg_backend_pid()")
        async with PostgresBackend(dsn) as backend:
            with pytest.raises(BackendUnavailableError) as caught:
                await backend.open()
            assert f"process {pid} (report, " in str(caught.value)
            assert "hunter22" not in str(caught.value)
    await holder.close()
    async with PostgresBackend(dsn) as backend:
        await backend.open()
        assert (await backend.get("default", [key(1)]))[key(1)] == b"data"


async def test_the_owner_of_the_schema_may_upgrade_it(dsn: str) -> None:
    """Without the right to make another one."""
    role = f"r{uuid.uuid4().hex}"
    admin = await asyncpg.connect(dsn)
    await admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'p'")
    await admin.execute(f"CREATE SCHEMA llmcache AUTHORIZATION {role}")
    scheme, _, rest = dsn.partition("://")
    async with PostgresBackend(f"{scheme}://{role}:p@{rest.rpartition('@')[2]}") as backend:
        assert len(await backend.upgrade()) == len(migrations())
        await backend.open()
    await admin.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    await admin.close()


async def test_the_command_upgrades_once(dsn: str) -> None:
    for expected in ([migration.number for migration in migrations()], []):
        command = ["db", "upgrade", "--pg-dsn", dsn, "--json"]
        program = [sys.executable, "-m", "llmcache", *command]
        done = await asyncio.to_thread(subprocess.run, program, capture_output=True, check=True)
        assert json.loads(done.stdout) == {"applied": expected}


# --- what cannot be -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_connections": 0},
        {"max_connections": "x"},
        {"max_connections": True},
        {"max_connections": 2.5},
        {"statement_cache_size": -1},
        {"statement_timeout": 0},
        {"statement_timeout": float("nan")},
        {"statement_timeout": float("inf")},
        {"statement_timeout": "10"},
        {"max_bytes": -1},
    ],
    ids=str,
)
def test_a_number_that_cannot_be_is_refused_at_once(wrong: dict[str, Any]) -> None:
    [name] = wrong
    with pytest.raises(ConfigurationError, match=f"{name} must be a .*number"):
        PostgresBackend("postgresql://localhost/db", **wrong)


def test_a_missing_dsn_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PG_DSN", raising=False)
    with pytest.raises(ConfigurationError, match=r"pg_dsn is missing.*PG_DSN"):
        open_backend("pg")


@pytest.mark.parametrize("dsn", [None, 5, "", "mysql://localhost/db", "localhost", "redis://x"])
def test_a_dsn_of_something_else_is_refused(dsn: Any) -> None:
    with pytest.raises(ConfigurationError, match="postgresql://"):
        PostgresBackend(dsn)


def test_a_wrong_dsn_does_not_show_its_password() -> None:
    with pytest.raises(ConfigurationError) as caught:
        PostgresBackend("mysql://user:hunter22@localhost")
    assert "hunter22" not in str(caught.value)


async def test_a_missing_database_is_said_at_start_and_bypassed_by_calls(
    postgres_server: PostgresServer,
) -> None:
    url = postgres_server.url.rpartition("/")[0] + "/nowhere"
    async with PostgresBackend(url) as backend:
        with pytest.raises(ConfigurationError, match="create the database"):
            await backend.open()
        with pytest.raises(BackendUnavailableError, match="create the database"):
            await backend.get("default", [key(1)])


async def test_a_missing_privilege_is_said(dsn: str) -> None:
    admin = await asyncpg.connect(dsn)
    await admin.execute("CREATE ROLE reader LOGIN PASSWORD 'reader'")
    try:
        scheme, _, rest = dsn.partition("://")
        url = f"{scheme}://reader:reader@{rest.rpartition('@')[2]}"
        async with PostgresBackend(url) as backend:
            with pytest.raises(ConfigurationError, match=r"permission denied.*needs this right"):
                await backend.open()
    finally:
        await admin.execute("DROP ROLE reader")
        await admin.close()


async def test_nobody_there_is_unavailable() -> None:
    async with PostgresBackend("postgresql://postgres@127.0.0.1:9/x") as backend:
        with pytest.raises(BackendUnavailableError) as caught:
            await backend.get("default", [key(1)])
    assert (caught.value.backend, caught.value.operation) == ("pg", "open")


# --- connections ----------------------------------------------------------------------------


async def test_a_connection_that_was_lost_is_replaced(postgres: PostgresBackend) -> None:
    await postgres.put("default", [entry(1)])
    pool = postgres._database._bound.get().pool
    async with pool.acquire() as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )
        pid = await connection.fetchval("SELECT pg_backend_pid()")
    other = await asyncpg.connect(postgres._database._dsn)
    await other.execute("SELECT pg_terminate_backend($1)", pid)
    await other.close()
    await asyncio.sleep(0.1)
    assert (await postgres.get("default", [key(1)]))[key(1)] == b"data"


async def test_closing_waits_for_statements_that_were_given_up(dsn: str) -> None:
    """Else the loop ends before they do, and says so; a pool that was given waits for nobody."""
    async with asyncpg.create_pool(dsn, min_size=0) as pool:
        async with PostgresBackend(pool=pool) as backend:
            await backend.open()
            database = backend._database
            slow = asyncio.create_task(database.fetch("get", "SELECT pg_sleep(60)"))
            await asyncio.sleep(0.1)
            slow.cancel()
            await asyncio.wait({slow})
            ending = set(database._bound.get().tasks)
            assert ending, "the server is told behind the call"
        assert all(task.done() for task in ending)


async def test_opening_goes_on_when_its_first_caller_leaves(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Callers that are shorter of time than the opening do not start it anew each time."""
    prepare, attempts = database.Database._prepare, []

    async def slow(self: database.Database, pool: Any) -> None:
        attempts.append(pool)
        await asyncio.sleep(0.3)
        await prepare(self, pool)

    monkeypatch.setattr(database.Database, "_prepare", slow)
    async with PostgresBackend(dsn) as backend:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(backend.get("default", [key(1)]), 0.02)
        assert dict(await backend.get("default", [key(1)])) == {}
    assert len(attempts) == 1
    async with PostgresBackend(dsn) as backend:  # closed while it opens
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(backend.get("default", [key(1)]), 0.02)
    async with asyncpg.create_pool(dsn, min_size=1, max_size=1) as pool:
        left = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        async with asyncio.timeout(10):
            while await pool.fetchval(left) > 1:
                await asyncio.sleep(0.02)


async def test_a_pool_that_was_given_is_used_and_stays_open(dsn: str) -> None:
    async with asyncpg.create_pool(dsn, min_size=1, max_size=3) as pool:
        async with PostgresBackend(pool=pool) as backend:
            await backend.put("default", [entry(1)])
            lease = await backend.try_lease("default", key(1))
            assert lease is not None
        assert await pool.fetchval("SELECT count(*) FROM llmcache.entries") == 1
        locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
        assert await pool.fetchval(locks) == 0


@pytest.mark.parametrize("most", [1, 2, 3])
async def test_there_are_never_more_connections_than_were_allowed(dsn: str, most: int) -> None:
    async with PostgresBackend(dsn, max_connections=most) as backend:
        await backend.open()
        counted = (
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND backend_type = 'client backend'"
        )

        async def use(number: int) -> int:
            await backend.put("default", [entry(number)])
            await backend.get("default", [key(number)])
            return int((await backend._database.fetch("count", counted))[0][0])

        counts = await asyncio.gather(*(use(number) for number in range(40)))
        assert max(counts) <= most


async def test_without_prepared_statements(dsn: str) -> None:
    """As behind PgBouncer in transaction mode, for versions that know none."""
    async with PostgresBackend(dsn, statement_cache_size=0) as backend:
        await backend.put("default", [entry(n) for n in range(10)])
        assert len(await backend.get("default", [key(n) for n in range(20)])) == 10


async def test_a_lease_goes_with_its_session(dsn: str) -> None:
    async with PostgresBackend(dsn) as one, PostgresBackend(dsn) as other:
        lease = await one.try_lease("default", key(1))
        assert lease is not None
        assert await other.try_lease("default", key(1)) is None
        one._leases._bound.get().connection.terminate()  # its process was killed
        for _ in range(50):
            taken = await other.try_lease("default", key(1))
            if taken is not None:
                break
            await asyncio.sleep(0.05)
        assert taken is not None
        await lease.release()
        assert await one.try_lease("default", key(1)) is None
        await taken.release()


# --- entries --------------------------------------------------------------------------------


async def test_a_batch_is_one_statement(postgres: PostgresBackend, monkeypatch: Any) -> None:
    asked: list[str] = []
    for name in ("fetch", "read"):
        method = getattr(postgres._database, name)

        async def counting(operation: str, *arguments: Any, method: Any = method) -> Any:
            asked.append(operation)
            return await method(operation, *arguments)

        monkeypatch.setattr(postgres._database, name, counting)
    await postgres.put("default", [entry(n) for n in range(1_000)])
    assert len(await postgres.get("default", [key(n) for n in range(1_000)])) == 1_000
    assert await postgres.delete("default", [key(n) for n in range(1_000)]) == 1_000
    assert asked == ["put", "get", "delete"]


async def test_texts_that_postgres_cannot_hold_do_not_fail_a_write(
    postgres: PostgresBackend,
) -> None:
    strange = StoredEntry(key(1), b"data", "a\0b\ud800", ("t\0", "\udfff", "größe"))
    await postgres.put("default", [strange])
    assert (await postgres.get("default", [key(1)]))[key(1)] == b"data"


async def test_a_fenced_write_that_is_made_again_is_not_late(postgres: PostgresBackend) -> None:
    """Its connection was lost when it was stored, and before that was said."""
    fence = await postgres.fence("default")
    for _ in range(2):
        assert await postgres.put_unless_newer("default", [entry(1)], fence=fence) == []
    others = [entry(1, b"other"), entry(2, b"other")]
    assert await postgres.put_unless_newer("default", others, fence=fence) == [key(1)]
    found = await postgres.get("default", [key(1), key(2)])
    assert found == {key(1): b"data", key(2): b"other"}


async def test_two_batches_that_overlap_do_not_lock_each_other_out(
    postgres: PostgresBackend,
) -> None:
    async def write(numbers: list[int], data: bytes) -> None:
        for _ in range(20):
            await postgres.put("default", [entry(n, data) for n in numbers])

    await asyncio.gather(
        write(list(range(50)), b"up"),
        write(list(range(50))[::-1], b"down"),
        write(list(range(25, 75)), b"more"),
    )
    assert (await postgres.stats()).entries == 75


async def test_a_clock_that_is_a_day_ahead_expires_nothing_early(
    postgres: PostgresBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    await postgres.put("default", [framed(1, now + 3600), framed(2, now - 60)])
    monkeypatch.setattr(time, "time", lambda: now + 86_400)
    report = await postgres.prune()
    assert (report.expired, report.entries_left) == (1, 1)


async def test_what_is_past_its_time_goes_in_batches(
    postgres: PostgresBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llmcache.backends import _pg_prune as module  # noqa: PLC0415

    monkeypatch.setattr(module, "_BATCH", 10)
    await postgres.put("default", [framed(n, 1.0) for n in range(35)])
    await postgres.put("default", [framed(n, None) for n in range(35, 40)])
    report = await postgres.prune()
    assert (report.expired, report.entries_left) == (35, 5)
    report = await postgres.prune(max_bytes=1)
    assert (report.evicted, report.entries_left) == (5, 0)


def test_every_statement_has_a_name() -> None:
    found = statements("entries.sql")
    assert {"get", "put", "delete", "scan", "touch"} <= found.keys()
    assert all(sql.rstrip().endswith(";") for sql in found.values())
