"""Servers that are not there, full, closed, slow or somebody else's: a call costs its deadline."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import asyncpg
import pytest
from backend_support import entry, key
from server_support import own_database
from shared_support import status

from llmcache import OpenAIProvider
from llmcache.backends.hybrid import HybridRedisPostgreSQLCache
from llmcache.backends.postgres import PostgresBackend
from llmcache.backends.redis import RedisBackend
from llmcache.errors import BackendUnavailableError, ConfigurationError
from llmcache.testing import DemoUpstream
from llmcache.testing._server_folders import nobody
from llmcache.testing.servers import PostgresServer, RedisServer, ServerEngine

Make: TypeAlias = Callable[..., OpenAIProvider]

_DEADLINE = 1.0
# What a busy machine may add: this bounds stalls, it measures nothing.
_SLACK = 10.0


@pytest.fixture
def make(upstream: DemoUpstream, dsn: str, redis_server: RedisServer) -> Make:
    """A function that makes a provider on the two servers, or on what stands in for them."""

    def make(pg_dsn: str = dsn, redis_url: str = redis_server.url, **pg: Any) -> OpenAIProvider:
        backend = HybridRedisPostgreSQLCache(
            postgres=PostgresBackend(pg_dsn, **pg),
            redis=RedisBackend(redis_url, prefix=dsn.rpartition("/")[2]),
        )
        return OpenAIProvider(
            "demo",
            base_url=upstream.base_url,
            api_key="sk-test",
            cache_backend=backend,
            cache_options={"memory_bytes": 0, "deadline": _DEADLINE, "background_timeout": 2.0},
        )

    return make


async def _ask(provider: OpenAIProvider, prompt: str = "q") -> str:
    """Return where the answer came from; it comes in time."""
    started = time.monotonic()
    result = await provider.complete(prompt, cache_response=True)
    assert result.content
    assert time.monotonic() - started < _DEADLINE + _SLACK
    return status(result)


@asynccontextmanager
async def _admin(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


def _check_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """No operation of a store is warned of twice for one kind of reason."""
    said = [record.args[:3] for record in caplog.records if record.name == "llmcache"]
    assert said
    assert len(said) == len(set(said))


# --- what cannot be ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"pg_dsn": "mysql://user:hunter22@localhost/db"},
        {"pg_dsn": "sqlite:///file.db"},
        {"pg_dsn": "redis://:hunter22@localhost"},
        {"redis_url": "postgresql://user:hunter22@localhost/db"},
        {"redis_url": "http://user:hunter22@localhost"},
        {"redis_url": "memcached://localhost"},
        {"redis_ttl_seconds": 0},
        {"redis_ttl_seconds": -1.5},
        {"redis_ttl_seconds": float("nan")},
        {"redis_ttl_seconds": True},
        {"cache_collection": "../../etc"},
        {"cache_collection": "a'; DROP TABLE llmcache.entries; --"},
        {"cache_collection": "}:e:{"},
        {"cache_collection": "a\r\nFLUSHALL"},
    ],
    ids=str,
)
def test_what_cannot_be_is_said_at_once(wrong: dict[str, Any]) -> None:
    options: dict[str, Any] = {
        "cache_backend": "pg_redis",
        "pg_dsn": "postgresql://localhost/db",
        "redis_url": "redis://localhost",
        **wrong,
    }
    with pytest.raises(ConfigurationError) as caught:
        OpenAIProvider("demo", **options)
    assert "hunter22" not in str(caught.value)


@pytest.mark.parametrize("ttl", [float("inf"), 1e30, 10**400, 1e-9])
async def test_a_time_to_live_beyond_all_bounds_is_kept_to(
    redis_server: RedisServer, ttl: float
) -> None:
    prefix = uuid.uuid4().hex
    async with RedisBackend(redis_server.url, prefix=prefix, redis_ttl_seconds=ttl) as redis:
        await redis.put("default", [entry(1)])
        client = await redis._client._opened()
        left = await client.pttl(redis._place("default", key(1)))
        assert left == -1 if ttl > 1 else left <= 1


# --- nobody there -----------------------------------------------------------------------------


@contextmanager
def _blackhole() -> Iterator[int]:
    """Yield a port where nobody ever answers: the queue of those who knock is full."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        place = listening.getsockname()
        knocking = [socket.socket() for _ in range(8)]
        for each in knocking:
            each.setblocking(False)
            each.connect_ex(place)
        try:
            yield place[1]
        finally:
            for each in knocking:
                each.close()


@pytest.fixture(params=["refused", "blackholed"])
def nobody_there(request: pytest.FixtureRequest) -> Iterator[int]:
    if request.param == "refused":
        yield 9
    else:
        with _blackhole() as port:
            yield port


@pytest.mark.parametrize("which", ["postgres", "redis", "both"])
async def test_nobody_there_costs_a_deadline(
    make: Make, upstream: DemoUpstream, which: str, nobody_there: int
) -> None:
    urls = {}
    if which != "redis":
        urls["pg_dsn"] = f"postgresql://postgres:hunter22@127.0.0.1:{nobody_there}/postgres"
    if which != "postgres":
        urls["redis_url"] = f"redis://:hunter22@127.0.0.1:{nobody_there}/0"
    async with make(**urls) as provider:
        found = [await _ask(provider) for _ in range(4)]
    assert found[0] == "miss"
    counters = provider.cache.counters
    assert counters.store_failures > 0, "what an operator is to see"
    if which == "redis":
        assert found[-1] == "hit", "Postgres has it"
        assert (counters.stored, counters.dropped) == (1, 0)
    else:
        assert (counters.stored, counters.dropped) == (0, found.count("miss"))
    assert upstream.calls == found.count("miss")


# --- Redis --------------------------------------------------------------------------------------


async def test_a_full_redis_that_may_evict_nothing(
    redis_engines: list[ServerEngine],
    make: Make,
    upstream: DemoUpstream,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with RedisServer(next(each for each in redis_engines if each.program)) as server:
        async with make(redis_url=server.url) as provider:
            hybrid: Any = provider.cache.backend
            client = await hybrid.redis._client._opened()
            await client.config_set("maxmemory-policy", "noeviction")
            await client.config_set("maxmemory", "1kb")
            assert [await _ask(provider) for _ in range(3)] == ["miss", "hit", "hit"]
            _check_said_once(caplog)
            assert any("maxmemory-policy" in record.message for record in caplog.records)
            await client.config_set("maxmemory", "0")
            async with asyncio.timeout(30):
                while not await client.keys("*:e:*"):
                    assert await _ask(provider) == "hit"
                    await asyncio.sleep(0.1)
    assert upstream.calls == 1


# --- Postgres -------------------------------------------------------------------------------------


async def test_a_database_that_may_only_be_read(
    make: Make, dsn: str, upstream: DemoUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    name = dsn.rpartition("/")[2]
    async with make() as provider:
        await _ask(provider)
    async with _admin(dsn) as admin:
        await admin.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    nowhere = "redis://127.0.0.1:9"
    async with make(redis_url=nowhere) as provider:
        assert await _ask(provider) == "hit"
        assert [await _ask(provider, "new") for _ in range(2)] == ["miss", "miss"]
    _check_said_once(caplog)
    assert upstream.calls == 3
    async with _admin(dsn) as admin:
        await admin.execute("SET default_transaction_read_only = off")
        await admin.execute("DROP SCHEMA llmcache CASCADE")
    async with PostgresBackend(dsn) as backend:
        with pytest.raises(BackendUnavailableError, match="read-only"):
            await backend.open()


async def test_a_privilege_that_is_lost_and_given_again(
    make: Make, dsn: str, upstream: DemoUpstream
) -> None:
    role = f"r{uuid.uuid4().hex}"
    everything = f"ALL ON ALL TABLES IN SCHEMA llmcache {{}} {role}"
    async with PostgresBackend(dsn) as backend:
        await backend.open()
    async with _admin(dsn) as admin:
        await admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'p'")
        await admin.execute(f"GRANT USAGE ON SCHEMA llmcache TO {role}")
        await admin.execute(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA llmcache TO {role}")
        await admin.execute("GRANT " + everything.format("TO"))
        url = f"postgresql://{role}:p@{dsn.rpartition('@')[2]}"
        async with make(pg_dsn=url, redis_url="redis://127.0.0.1:9") as provider:
            assert [await _ask(provider) for _ in range(2)] == ["miss", "hit"]
            await admin.execute("REVOKE " + everything.format("FROM"))
            assert [await _ask(provider) for _ in range(2)] == ["miss", "miss"]
            await admin.execute("GRANT " + everything.format("TO"))
            async with asyncio.timeout(40):
                while await _ask(provider) == "miss":
                    await asyncio.sleep(0.1)
        await admin.execute(f"DROP OWNED BY {role}")
        await admin.execute(f"DROP ROLE {role}")


async def test_a_schema_of_a_later_version_is_left_alone(
    make: Make, dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with make() as provider:
        await _ask(provider)
    async with _admin(dsn) as admin:
        await admin.execute("INSERT INTO llmcache.migrations (number, name) VALUES (9999, 'x')")
    caplog.clear()
    async with make(redis_url="redis://127.0.0.1:9") as provider:
        assert [await _ask(provider) for _ in range(3)] == ["miss"] * 3
    assert any("upgrade llmcache" in record.message for record in caplog.records)
    _check_said_once(caplog)


async def test_no_connection_left(make: Make, dsn: str, upstream: DemoUpstream) -> None:
    role = f"r{uuid.uuid4().hex}"
    async with _admin(dsn) as admin:
        await admin.execute(f"CREATE ROLE {role} LOGIN SUPERUSER PASSWORD 'p'")
        await admin.execute(f"ALTER DATABASE {dsn.rpartition('/')[2]} CONNECTION LIMIT 0")
        await admin.execute(f"ALTER ROLE {role} NOSUPERUSER")
        url = f"postgresql://{role}:p@{dsn.rpartition('@')[2]}"
        async with PostgresBackend(url) as backend:
            with pytest.raises(BackendUnavailableError, match="too many connections"):
                await backend.open()
        async with make(pg_dsn=url, redis_url="redis://127.0.0.1:9") as provider:
            assert [await _ask(provider) for _ in range(2)] == ["miss", "miss"]
        await admin.execute(f"DROP ROLE {role}")


async def test_a_lock_of_somebody_else_costs_a_deadline(
    make: Make, dsn: str, upstream: DemoUpstream
) -> None:
    async with make(redis_url="redis://127.0.0.1:9", statement_timeout=0.5) as provider:
        assert [await _ask(provider) for _ in range(2)] == ["miss", "hit"]
        async with _admin(dsn) as admin:
            async with admin.transaction():
                await admin.execute("LOCK TABLE llmcache.entries")
                assert [await _ask(provider) for _ in range(2)] == ["miss", "miss"]
            async with asyncio.timeout(40):
                while await _ask(provider) == "miss":
                    await asyncio.sleep(0.1)


@pytest.mark.parametrize("operation", ["get", "put"])
async def test_a_connection_lost_in_mid_statement_is_replaced_once(
    dsn: str, operation: str
) -> None:
    async with PostgresBackend(dsn) as backend, _admin(dsn) as admin:
        await backend.put("default", [entry(1)])
        lock = admin.transaction()
        await lock.start()
        await admin.execute("LOCK TABLE llmcache.entries")
        if operation == "get":
            work = asyncio.create_task(backend.get("default", [key(1)]))
        else:
            work = asyncio.create_task(backend.put("default", [entry(1, b"new")]))
        waiting = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        async with asyncio.timeout(20):
            while not await admin.fetchval(waiting):
                await admin.execute("SELECT pg_stat_clear_snapshot()")  # one is kept a transaction
                await asyncio.sleep(0.01)
        await lock.rollback()
        await work
        found = await backend.get("default", [key(1)])
        assert dict(found) == {key(1): b"data" if operation == "get" else b"new"}


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of sixteen megabytes."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small file system")
    folder = Path(tempfile.mkdtemp(prefix="llmcache-small-", dir="/tmp"))
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m,mode=0777", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        folder.rmdir()
        pytest.skip("nothing can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
        folder.rmdir()


async def _fill(postgres: PostgresBackend) -> None:
    """Store what cannot be compressed, more of it than there is room for."""
    for number in range(64):
        await postgres.put("other", [entry(number, os.urandom(2**20))])


async def test_a_full_disk(
    postgres_server: PostgresServer,
    small_disk: Path,
    make: Make,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if not postgres_server.can_be_stopped:
        pytest.skip("its disk is not ours")
    name = f"t{uuid.uuid4().hex}"
    place = small_disk / "space"
    place.mkdir(0o700)
    account = nobody()
    if account:
        shutil.chown(place, account.uid, account.gid)
    async with _admin(postgres_server.url) as admin:
        await admin.execute(f"CREATE TABLESPACE {name} LOCATION '{place}'")
        async with own_database(postgres_server, tablespace=name) as dsn:
            async with make(pg_dsn=dsn, redis_url="redis://127.0.0.1:9") as provider:
                assert await _ask(provider) == "miss"
                backend: Any = provider.cache.backend
                with pytest.raises(BackendUnavailableError, match="No space left"):
                    await _fill(backend.postgres)
                assert [await _ask(provider) for _ in range(2)] == ["hit", "hit"]
                assert len(await backend.postgres.get("other", [key(0)])) == 1
        await admin.execute(f"DROP TABLESPACE {name}")
