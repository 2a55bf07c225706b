"""Real servers for the tests of the shared cache."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from server_support import own_database

from llmcache.testing.servers import PostgresServer


@pytest.fixture
async def dsn(postgres_server: PostgresServer) -> AsyncIterator[str]:
    """A new database."""
    async with own_database(postgres_server) as url:
        yield url
