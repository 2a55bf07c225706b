"""Many entries into Postgres at once: COPY into a table of the transaction's own, then one statement.

COPY has no answer to a key that is there. So entries are copied beside, which neither
waits for anybody nor is logged, and taken over by one statement with the meaning of
`put`. All of it is one transaction on one connection, as PgBouncer in transaction mode
needs it; it locks entries for the last statement alone, some 100 ms for 5,000 of them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, get_args

from ..errors import ConfigurationError
from ._pg_database import Database
from ._pg_sql import as_text, moved
from .base import LoadReport, OnConflict, StoredEntry, check_collection, check_key

__all__ = ["Loaded", "load"]

_STAGE: Final = "llmcache_loaded"
_COLUMNS: Final = "key data model tags created_at seconds_left answered_by".split()


class Loaded(NamedTuple):
    """What a load did, a version above all that its entries have, and the revision after it.

    `revision` is `None` when nothing was replaced.
    """

    report: LoadReport
    version: int
    revision: int | None = None


async def load(
    database: Database,
    sql: Mapping[str, str],
    collection: str,
    entries: Sequence[StoredEntry],
    on_conflict: OnConflict,
) -> Loaded:
    """Store `entries`, the last of each key, all of them or none; `sql` is that of `load.sql`.

    Raises:
        ConfigurationError: a collection, key or `on_conflict` that cannot be.
        BackendUnavailableError: the server failed; nothing is stored.
    """
    check_collection(collection)
    if on_conflict not in get_args(OnConflict):
        msg = f"on_conflict must be 'keep', 'newer' or 'replace', not {on_conflict!r}"
        raise ConfigurationError(msg)
    last = {check_key(entry.key): entry for entry in entries}
    if not last:
        return Loaded(LoadReport(), 0)

    async def work(connection: Any) -> Any:
        now = time.time()
        records = (_record(entry, now) for entry in last.values())
        await connection.execute(sql["stage"])
        await connection.copy_records_to_table(
            _STAGE, schema_name="pg_temp", columns=_COLUMNS, records=records
        )
        return await connection.fetchrow(sql["load"], collection, on_conflict)

    stored, replaced, version, revision = await database.transact("load", work)
    return Loaded(LoadReport(stored, replaced), version, revision)


def _record(entry: StoredEntry, now: float) -> tuple[Any, ...]:
    return (
        entry.key,
        entry.data,
        as_text(entry.model),
        [as_text(tag) for tag in entry.tags],
        entry.created_at,
        moved(entry.keep_until, -now),
        as_text(entry.answered_by),
    )
