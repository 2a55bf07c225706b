"""One large table of entries, made into many small ones. The steps stand in `sql/partition.sql`."""

from __future__ import annotations

from typing import Any

from ._pg_errors import translated
from ._pg_sql import WITHIN, statements

__all__ = ["partition"]


async def partition(session: Any, parts: int) -> int:
    """Divide the tables, unless they are; return how many parts the entries have.

    Raises:
        BackendUnavailableError: it could not be done; nothing is changed.
    """
    sql = statements("partition.sql")
    with translated("partition"):
        async with session.transaction():
            await session.execute("SELECT set_config('llmcache.partitions', $1, true)", str(parts))
            await session.execute(sql["partition"], timeout=WITHIN)
        found: int = await session.fetchval(sql["partitions"])
    return found
