"""Commands that tend a cache: `prune`, `invalidate`, `verify`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import ConfigurationError
from . import output
from .inspect import one_entry, unknown_collection
from .opening import AsJson, CacheDir, Collection, with_cache
from .parsing import option, parse_duration, parse_size
from .places import CachePlace

if TYPE_CHECKING:
    from ..cache import CacheManager

__all__ = ["invalidate", "prune", "verify"]


def prune(
    *,
    max_bytes: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Then shrink to this: 500MB, 2GiB. Oldest use first."),
    ] = None,
    collection: Collection = None,
    cache_dir: CacheDir = None,
    cache: CachePlace = None,
    as_json: AsJson = False,
) -> None:
    """Remove what is past its time; shrink to a size.

    What killed writers left behind goes too, and what was set aside a week ago.
    """
    ceiling = option("--max-bytes", max_bytes, parse_size)

    async def work(manager: CacheManager) -> Any:
        report = await manager.prune(collection, max_bytes=ceiling)
        if not report.entries_left:
            await unknown_collection(manager, collection)
        return report

    report = with_cache(cache_dir, work, place=cache)
    if as_json:
        output.put_json(asdict(report))
        return
    output.fields(
        {
            "expired": str(report.expired),
            "evicted": str(report.evicted),
            "left-over files": str(report.leftovers),
            "freed": output.size_text(report.bytes_freed),
            "left": f"{report.entries_left} entries, {output.size_text(report.bytes_left)}",
        }
    )


def invalidate(  # noqa: PLR0913 - a command's options
    *,
    key: Annotated[
        str | None, typer.Option(help="This entry: a key, or enough of its beginning.")
    ] = None,
    tag: Annotated[str | None, typer.Option(help="Entries with this tag.")] = None,
    model: Annotated[str | None, typer.Option(help="Entries of this model.")] = None,
    older_than: Annotated[
        str | None, typer.Option(metavar="TIME", help="Entries older than 7d, 12h, 1d12h.")
    ] = None,
    collection: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Only in this collection; alone: all of it."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    cache_dir: CacheDir = None,
    cache: CachePlace = None,
    as_json: AsJson = False,
) -> None:
    """Remove the entries that match everything given.

    Asks before it does, unless --yes.
    """
    age = option("--older-than", older_than, parse_duration)
    given = {"key": key, "tag": tag, "model": model, "older than": older_than}
    named = [f"{name} {value}" for name, value in given.items() if value is not None]
    if not named and collection is None:
        msg = "say what to remove: --key, --tag, --model, --older-than or --collection"
        raise ConfigurationError(msg)
    what = " and ".join(named) or "everything"
    where = "every collection" if collection is None else f"collection {collection}"

    async def work(manager: CacheManager) -> int:
        place, whole = collection, key
        if key is not None:
            info = await one_entry(manager, key, collection)
            if info is None:
                return 0
            place, whole = info.collection, info.key
        _confirm(f"Remove {what} from {where}?", yes=yes)
        removed = await manager.invalidate(
            key=whole, tag=tag, model=model, collection=place, older_than=age
        )
        if not removed:
            await unknown_collection(manager, collection)
        return removed

    removed = with_cache(cache_dir, work, place=cache)
    if as_json:
        output.put_json({"removed": removed})
    else:
        output.put(f"removed {removed} {'entry' if removed == 1 else 'entries'}")


def _confirm(question: str, *, yes: bool) -> None:
    """Ask whoever is there; without --yes and without anybody there, do nothing.

    Raises:
        ConfigurationError: nobody can be asked.
        typer.Abort: the answer was no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        msg = "nobody to ask on this standard input: add --yes"
        raise ConfigurationError(msg)
    typer.confirm(output.clean(question), abort=True, err=True)


def verify(
    *,
    repair: Annotated[
        bool, typer.Option("--repair", help="Set damaged entries aside, in .corrupt.")
    ] = False,
    collection: Collection = None,
    cache_dir: CacheDir = None,
    cache: CachePlace = None,
    as_json: AsJson = False,
) -> None:
    """Read every entry and check that it is sound.

    Exits with 1 when one is damaged, also when --repair set it aside, or cannot be read.
    """

    async def work(manager: CacheManager) -> Any:
        report = await manager.verify(collection, repair=repair)
        if not report.checked:
            await unknown_collection(manager, collection)
        return report

    report = with_cache(cache_dir, work, place=cache)
    if as_json:
        problems = [
            {"collection": name, "key": key, "reason": reason}
            for name, key, reason in report.problems
        ]
        output.put_json({**asdict(report), "problems": problems})
    else:
        output.fields(
            {
                "checked": str(report.checked),
                "damaged": str(report.corrupt),
                "set aside": str(report.repaired) if repair else None,
                "sound, but not for this version": str(report.unreadable),
                "not to be read": str(report.failed),
            }
        )
        if report.problems:
            output.put()
            output.table(("collection", "key", "reason"), report.problems)
    if report.corrupt or report.failed:
        raise typer.Exit(1)
