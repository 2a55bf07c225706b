"""`llmcache copy`: entries from one cache to another, of whatever kind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ..errors import BackendError
from . import output
from .opening import AsJson, Collection
from .places import open_place
from .transfer import OnConflict

if TYPE_CHECKING:
    from ..backends import Backend
    from ..cache import CopyReport

__all__ = ["copy"]

_SAY_EVERY: Final = 5.0


def copy(
    source: Annotated[str, typer.Argument(metavar="FROM", help="The cache that is read.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="The cache that is written.")],
    *,
    on_conflict: Annotated[
        OnConflict,
        typer.Option(help="What happens to another entry that is stored under the same key."),
    ] = OnConflict.NEWER,
    collection: Collection = None,
    as_json: AsJson = False,
) -> None:
    """Copy entries from one cache to another, with all that is known of them but their uses.

    \b
    A place is one of
      fs:DIR            a folder; alone: LLMCACHE_DIR, then ./cache
      pg:DSN            a Postgres; alone: PG_DSN
      redis:URL         a Redis; alone: REDIS_URL
      pg_redis:DSN,URL  both; what is left out is PG_DSN, REDIS_URL

    Passwords are best left to the two variables: others on the machine see arguments.
    Entries that are there already are passed over: a copy that was stopped goes on when
    it is started again. Entries that are damaged, or cannot be read, stay behind and are
    named; then the exit code is 1.
    """  # noqa: D301 - typer keeps the lines behind \b as they are
    report = asyncio.run(_copy(source, target, on_conflict, collection))
    if as_json:
        names = ("collection", "key", "reason")
        problems = [dict(zip(names, each, strict=True)) for each in report.problems]
        output.put_json({**asdict(report), "problems": problems})
    else:
        _show(report)
    if report.left_out:
        raise typer.Exit(1)


async def _copy(
    source: str, target: str, on_conflict: OnConflict, collection: str | None
) -> CopyReport:
    from ..cache import copy_entries  # noqa: PLC0415 - `--help` needs no cache
    from ..providers.filling import progress_bar  # noqa: PLC0415 - likewise

    async with AsyncExitStack() as stack:
        read = await stack.enter_async_context(aclosing(open_place(source, reading=True)))
        written = await stack.enter_async_context(aclosing(open_place(target)))
        bar = stack.enter_context(progress_bar("copying"))
        total = 0 if bar is None else await _total(read, collection)

        def move(report: CopyReport) -> None:
            if bar is not None:
                bar(report.seen, max(total, report.seen))

        try:
            return await copy_entries(
                read,
                written,
                collection,
                on_conflict=on_conflict.value,
                progress=_said_at_times() if bar is None else move,
            )
        except asyncio.CancelledError:
            output.note("stopped; the same command goes on from here")
            raise


async def _total(backend: Backend, collection: str | None) -> int:
    """Return how many entries there are to copy; 0 where that cannot be told quickly."""
    from ..backends import SupportsStats  # noqa: PLC0415 - `--help` needs none

    if isinstance(backend, SupportsStats):
        with suppress(BackendError):
            stats = await backend.stats()
            if collection is None:
                return stats.entries
            return stats.collections.get(collection, (0, 0))[0]
    return 0


def _said_at_times() -> Callable[[CopyReport], None]:
    """Return what prints one line every few seconds, for a log."""
    last = time.monotonic()

    def say(report: CopyReport) -> None:
        nonlocal last
        if time.monotonic() - last >= _SAY_EVERY:
            last = time.monotonic()
            output.note(f"{report.seen} entries, {report.copied} of them copied")

    return say


def _show(report: CopyReport) -> None:
    output.fields(
        {
            "copied": f"{report.copied} ({output.size_text(report.bytes)})",
            "in place of others": str(report.replaced),
            "there already": str(report.unchanged),
            "kept as they were": str(report.kept),
            "dictionaries": str(report.dictionaries),
            "damaged": str(report.damaged),
            "not for this version": str(report.unreadable),
            "not to be read": str(report.failed),
        }
    )
    if report.problems:
        output.put()
        output.table(("collection", "key", "reason"), report.problems)
