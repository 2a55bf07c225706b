"""`llmcache db`: what is done to the database of the shared cache."""

from __future__ import annotations

import asyncio
from typing import Annotated, TypeAlias

import typer

from ..settings import environment
from . import output
from .opening import AsJson

__all__ = ["make_db"]

Database: TypeAlias = Annotated[
    str | None, typer.Option(metavar="URL", help="The database. [default: PG_DSN]")
]


def make_db() -> typer.Typer:
    """Return the commands under `db`."""
    app = typer.Typer(
        help="Tend the Postgres database of a shared cache.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    app.command("upgrade")(upgrade)
    app.command("partition")(partition)
    return app


def upgrade(*, pg_dsn: Database = None, as_json: AsJson = False) -> None:
    """Make the schema, or bring it up to date.

    Processes that use the cache do this by themselves when they may. One at a time
    upgrades, all of it or nothing; entries stay.
    """
    from ..backends.postgres import PostgresBackend  # noqa: PLC0415 - no other command needs it

    async def work() -> list[int]:
        async with PostgresBackend(pg_dsn or environment("PG_DSN")) as backend:
            return await backend.upgrade()

    applied = asyncio.run(work())
    if as_json:
        output.put_json({"applied": applied})
    else:
        steps = ", ".join(map(str, applied))
        output.put(f"applied {steps}" if applied else "up to date")


def partition(
    *,
    parts: Annotated[int, typer.Option(min=2, max=1024, help="How many partitions.")] = 16,
    pg_dsn: Database = None,
    as_json: AsJson = False,
) -> None:
    """Divide the tables of entries and uses into partitions, for ten million entries and more.

    Copies all of it in one transaction, in which nobody else can use the tables: the
    cache's processes go on as without Postgres. Needs free disk of the tables' size, and
    the rights of their owner. Ended half-way, nothing has happened; tables that are
    divided already stay as they are.
    """
    from ..backends.postgres import PostgresBackend  # noqa: PLC0415 - no other command needs it

    async def work() -> int:
        async with PostgresBackend(pg_dsn or environment("PG_DSN")) as backend:
            return await backend.partition(parts)

    found = asyncio.run(work())
    if as_json:
        output.put_json({"partitions": found})
    else:
        output.put(f"{found} partitions")
