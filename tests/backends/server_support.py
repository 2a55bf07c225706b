"""Databases and key spaces for tests, on the real servers that all tests share."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from llmcache.backends.postgres import PostgresBackend
from llmcache.testing.servers import PostgresServer

_TABLES = "entries, uses, revisions, dictionaries, quarantine"


@asynccontextmanager
async def own_database(
    server: PostgresServer, tablespace: str = "pg_default"
) -> AsyncIterator[str]:
    """Yield the URL of a new database."""
    name = f"t{uuid.uuid4().hex}"
    admin = await asyncpg.connect(server.url)
    try:
        await admin.execute(f"CREATE DATABASE {name} TABLESPACE {tablespace}")
        yield server.url.rpartition("/")[0] + f"/{name}"
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()


@asynccontextmanager
async def emptied(url: str, **options: Any) -> AsyncIterator[PostgresBackend]:
    """Yield a backend without entries: making a database for each test would take most of the time."""
    async with PostgresBackend(url, **options) as backend:
        await backend.open()
        connection = await asyncpg.connect(url)
        await connection.execute(
            "TRUNCATE " + ", ".join(f"llmcache.{name}" for name in _TABLES.split(", "))
        )
        await connection.close()
        yield backend
