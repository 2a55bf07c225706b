"""One large table of entries, made into many small ones. The steps stand in `sql/partition.sql`."""

from __future__ import annotations

from typing import Any, Final

from ._pg_database import translated
from ._pg_sql import statements

__all__ = ["partition"]

# Longer than it takes: who has enough of it ends the program, and nothing has happened.
_WITHIN: Final = 7 * 86_400.0


async def partition(session: Any, parts: int) -> int:
    """Divide the tables, unless they are; return how many parts the entries have.

    Raises:
        BackendUnavailableError: it could not be done; nothing is changed.
    """
    sql = statements("partition.sql")
    with translated("partition"):
        async with session.transaction():
            await session.execute("SELECT set_config('llmcache.partitions', $1, true)", str(parts))
            await session.execute(sql["partition"], timeout=_WITHIN)
        found: int = await session.fetchval(sql["partitions"])
    return found
