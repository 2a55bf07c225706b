"""Backends on real servers."""

from __future__ import annotations

import socket
import subprocess
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from command_support import Shared
from machine_support import Machine, Numbered
from server_support import emptied, own_database

from llmcache import OpenAIProvider
from llmcache.backends import Backend
from llmcache.backends.hybrid import HybridRedisPostgreSQLCache
from llmcache.backends.postgres import PostgresBackend
from llmcache.backends.redis import RedisBackend
from llmcache.testing.servers import PostgresServer, RedisServer, find_redis
from llmcache.testing.upstream import Upstream


@pytest.fixture
async def dsn(postgres_server: PostgresServer) -> AsyncIterator[str]:
    """A new database."""
    async with own_database(postgres_server) as url:
        yield url


@pytest.fixture
async def postgres(postgres_server: PostgresServer) -> AsyncIterator[PostgresBackend]:
    async with emptied(postgres_server.url) as backend:
        yield backend


@pytest.fixture
async def redis(redis_server: RedisServer) -> AsyncIterator[RedisBackend]:
    async with RedisBackend(redis_server.url, prefix=uuid.uuid4().hex) as backend:
        yield backend


@pytest.fixture
def sentinel(redis_server: RedisServer, tmp_path: Path) -> Iterator[str]:
    """The URL of `redis_server` behind a real Sentinel."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    password = urlsplit(redis_server.url).password
    file = tmp_path / "sentinel.conf"
    file.write_text(
        f"port {port}\nbind 127.0.0.1\n"
        f"sentinel monitor main 127.0.0.1 {redis_server.port} 1\n"
        f"sentinel auth-pass main {password}\n"
    )
    program = find_redis(programs_only=True)[0].program
    command = [str(program), str(file), "--sentinel"]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=tmp_path)
    try:
        yield f"redis+sentinel://:{password}@127.0.0.1:{port}/main/0"
    finally:
        running.kill()
        running.wait()


@pytest.fixture
async def hybrid(
    postgres: PostgresBackend, redis: RedisBackend
) -> AsyncIterator[HybridRedisPostgreSQLCache]:
    async with HybridRedisPostgreSQLCache(postgres=postgres, redis=redis) as backend:
        yield backend


@pytest.fixture
def numbered() -> Numbered:
    return Numbered()


@pytest.fixture
async def machine(
    numbered: Numbered, dsn: str, redis_server: RedisServer
) -> AsyncIterator[Machine]:
    """A function that makes a provider as on another machine: with connections of its own."""
    async with Upstream(numbered) as upstream:
        # The server is shared: no other test has this name.
        prefix = dsn.rpartition("/")[2]

        def make(
            redis_url: str = redis_server.url,
            kind: str = "pg_redis",
            lease_seconds: float = 10.0,
            base_url: str | None = None,
            **options: Any,
        ) -> OpenAIProvider:
            near = RedisBackend(redis_url, prefix=prefix, lease_seconds=lease_seconds)
            backends: dict[str, Callable[[], Backend]] = {
                "pg": lambda: PostgresBackend(dsn),
                "redis": lambda: near,
                "pg_redis": lambda: HybridRedisPostgreSQLCache(dsn, redis=near),
            }
            return OpenAIProvider(
                "demo",
                base_url=base_url or upstream.base_url,
                api_key="sk-test",
                attempts=1,
                cache_backend=backends[kind](),
                cache_options={"deadline": 10.0, **options},
            )

        yield make


@pytest.fixture
async def shared(
    postgres_server: PostgresServer, redis_engines: list[Any]
) -> AsyncIterator[Shared]:
    async with own_database(postgres_server) as dsn:
        with RedisServer(redis_engines[0]) as redis:
            yield Shared(dsn, redis.url)


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in an empty folder, without settings from outside."""
    monkeypatch.chdir(tmp_path)
    for name in ("LLMCACHE_DIR", "PG_DSN", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
