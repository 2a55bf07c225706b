"""A server starts, answers, keeps its data through stops and kills, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio
from local_support import ask, eventually, exists, query, shell_engine

from llmcache.errors import BackendUnavailableError
from llmcache.testing import PostgresServer, RedisServer, ServerEngine
from llmcache.testing._redis_server import ask_redis

linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


async def test_postgres_answers(each_postgres: PostgresServer) -> None:
    version = await query(each_postgres, "SHOW server_version")
    assert each_postgres.engine.startswith(f"PostgreSQL {version.split()[0]} (")
    assert each_postgres.url.endswith(f"@127.0.0.1:{each_postgres.port}/postgres")
    assert await query(each_postgres, "SHOW server_encoding") == "UTF8"
    assert await query(each_postgres, "SHOW fsync") == "off"


async def test_redis_answers(each_redis: RedisServer) -> None:
    async with redis.asyncio.Redis.from_url(each_redis.url) as client:
        assert await client.set("key", "välue", nx=True, ex=60)
        assert await client.get("key") == "välue".encode()
    told = ask(each_redis, "INFO", "server").decode()
    version = each_redis.engine.split()[1]
    assert f"_version:{version}\r\n" in told
    assert ask(each_redis, "EXISTS", "nothing") == 0
    assert ask(each_redis, "MGET", "key", "nothing") == ["välue".encode(), None]


async def test_postgres_keeps_its_data(each_postgres: PostgresServer) -> None:
    server = each_postgres
    url, first = server.url, server.pid
    await query(server, "CREATE TABLE kept AS SELECT 'stopped' AS how")
    server.stop()
    assert not server.running
    with pytest.raises(OSError, match="Connect call failed"):
        await query(server, "SELECT 1")
    server.start()
    await query(server, "INSERT INTO kept VALUES ('killed')")
    server.kill()
    assert not server.running
    server.start()
    assert server.url == url
    assert server.pid != first
    assert await query(server, "SELECT string_agg(how, ' ') FROM kept") == "stopped killed"


def test_redis_keeps_its_data(redis_engines: list[ServerEngine]) -> None:
    for engine in redis_engines:
        with RedisServer(engine) as server:
            url = server.url
            ask(server, "SET", "stopped", "1")
            server.stop()
            with pytest.raises(ConnectionRefusedError):
                ask(server, "PING")
            server.start()
            ask(server, "SET", "killed", "2")
            server.kill()
            server.start()
            assert server.url == url
            assert ask(server, "MGET", "stopped", "killed") == [b"1", b"2"]


async def test_two_of_each_at_once(
    postgres_server: PostgresServer, redis_server: RedisServer, pg_engines: list[ServerEngine]
) -> None:
    with PostgresServer(pg_engines[0]) as postgres, RedisServer() as other:
        assert len({postgres.port, postgres_server.port, other.port, redis_server.port}) == 4
        await query(postgres, "CREATE TABLE only_here ()")
        assert await query(postgres_server, "SELECT to_regclass('only_here')") is None
        ask(other, "SET", "only here", "1")
        assert ask(redis_server, "GET", "only here") is None


@linux
async def test_what_happens_to_postgres_happens_to_all_its_processes(
    pg_engines: list[ServerEngine],
) -> None:
    """One that computes does not look whether its parent is still there."""
    with PostgresServer(pg_engines[0]) as server:
        connection = await asyncpg.connect(server.url)
        pid = connection.get_server_pid()
        server.pause()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(asking := _one(connection)), 0.2)
        server.resume()
        assert await asyncio.wait_for(asking, 10) == 1
        busy = asyncio.create_task(
            connection.fetchval("SELECT count(*) FROM generate_series(1, 1000000000000)")
        )
        while not await query(
            server, "SELECT state = 'active' FROM pg_stat_activity WHERE pid = $1", pid
        ):
            await asyncio.sleep(0.01)
        assert exists(pid)
        server.kill()
        assert not exists(pid)
        with suppress(asyncpg.PostgresError, ConnectionError):
            await busy
        connection.terminate()
        server.start()
        assert await query(server, "SELECT 1") == 1


def test_a_frozen_server_is_silent_and_comes_back() -> None:
    with RedisServer() as server:
        server.pause()
        with socket.create_connection(("127.0.0.1", server.port), timeout=0.2) as connection:
            connection.sendall(b"PING\r\n")
            with pytest.raises(TimeoutError):
                connection.recv(100)
        server.resume()
        assert eventually(lambda: ask(server, "PING") == b"PONG")
        server.pause()  # `close` ends one that is frozen, too


def _one(connection: asyncpg.Connection) -> asyncio.Future[int]:
    return asyncio.ensure_future(connection.fetchval("SELECT 1"))


async def test_only_who_knows_the_password_is_let_in(
    postgres_server: PostgresServer, redis_server: RedisServer
) -> None:
    wrong = postgres_server.url.replace(postgres_server._password, "guess")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(wrong)
    with pytest.raises(BackendUnavailableError, match="WRONGPASS"):
        ask_redis(redis_server.port, "guess", ["GET", "key"])


def test_a_server_knows_nothing_of_our_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-secret")
    monkeypatch.setenv("PGPORT", "1")
    script = f"env > {tmp_path}/env; echo $@ > {tmp_path}/args; echo Ready to accept connections; exec sleep 60"
    with RedisServer(shell_engine(tmp_path, script)) as server:
        environment = (tmp_path / "env").read_text()
        assert "PATH=" in environment
        assert "sk-test-secret" not in environment
        assert "PGPORT" not in environment
        assert server._password not in (tmp_path / "args").read_text()


def test_nothing_is_left_behind() -> None:
    with RedisServer() as server:
        folder, pid = server._folder, server.pid
        assert folder is not None
        assert pid is not None
        assert folder.is_dir()
        assert (folder.stat().st_mode & 0o077) == 0
        server.start()  # one that runs stays as it is
        assert server.pid == pid
    assert not folder.exists()
    assert not exists(pid)
    server.close()


def test_one_that_was_closed_starts_anew() -> None:
    server = RedisServer()
    with pytest.raises(RuntimeError, match="not started"):
        _ = server.url
    for _ in range(2):
        with server:
            assert ask(server, "DBSIZE") == 0
            ask(server, "SET", "key", "1")


def test_one_that_ended_by_itself_is_seen_and_can_be_started() -> None:
    with RedisServer() as server:
        with pytest.raises(BackendUnavailableError, match="no answer"):
            ask(server, "SHUTDOWN")
        assert eventually(lambda: not server.running)
        server.start()
        assert ask(server, "PING") == b"PONG"
