"""Backends on real servers."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest
from server_support import emptied, own_database

from llmcache.backends.hybrid import HybridRedisPostgreSQLCache
from llmcache.backends.postgres import PostgresBackend
from llmcache.backends.redis import RedisBackend
from llmcache.testing.servers import PostgresServer, RedisServer


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
async def hybrid(
    postgres: PostgresBackend, redis: RedisBackend
) -> AsyncIterator[HybridRedisPostgreSQLCache]:
    async with HybridRedisPostgreSQLCache(postgres=postgres, redis=redis) as backend:
        yield backend
