"""Commands that carry entries over: `export`, `import`."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import ConfigurationError
from . import output
from .inspect import unknown_collection
from .opening import AsJson, CacheDir, Collection, with_cache
from .places import CachePlace

if TYPE_CHECKING:
    from ..cache import CacheManager
    from ..cache.transfer import ExportReport

__all__ = ["OnConflict", "export", "import_"]


class OnConflict(StrEnum):
    """Which entry stays when a key is in the file and in the cache."""

    KEEP = "keep"
    REPLACE = "replace"
    NEWER = "newer"


def export(
    file: Annotated[Path, typer.Argument(help="A JSON Lines file; .zst compresses.")],
    *,
    tag: Annotated[str | None, typer.Option(help="Only entries with this tag.")] = None,
    collection: Collection = None,
    cache_dir: CacheDir = None,
    cache: CachePlace = None,
    as_json: AsJson = False,
) -> None:
    """Write entries to a file, one a line.

    The file appears when it is complete; one of that name is replaced. With entries
    that cannot be read, which are left out, the exit code is 1.
    """
    _check_file(file)

    async def work(manager: CacheManager) -> ExportReport:
        report = await manager.export(file, collection, tag=tag)
        if not report.exported:
            await unknown_collection(manager, collection)
        return report

    report = with_cache(cache_dir, work, place=cache)
    size = file.stat().st_size
    if as_json:
        counts = {"exported": report.exported, "skipped": report.skipped}
        output.put_json({"file": str(file), **counts, "bytes": size})
    else:
        output.put(f"exported {report.exported} entries ({output.size_text(size)}) to {file}")
    if report.skipped:
        output.note(f"{report.skipped} entries cannot be read; `llmcache verify` says why")
        raise typer.Exit(1)


def import_(
    file: Annotated[Path, typer.Argument(help="A file that `export` wrote.")],
    *,
    on_conflict: Annotated[
        OnConflict, typer.Option(help="What happens to keys that are stored already.")
    ] = OnConflict.KEEP,
    collection: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Put all entries here, not into their own."),
    ] = None,
    cache_dir: CacheDir = None,
    cache: CachePlace = None,
    as_json: AsJson = False,
) -> None:
    """Read entries from a file that `export` wrote.

    Lines that are no entry are named, and the rest is imported; then the exit code is 1.
    """
    _check_file(file)

    async def work(manager: CacheManager) -> Any:
        return await manager.import_(file, collection, on_conflict=on_conflict.value)

    report = with_cache(cache_dir, work, create=True, place=cache)
    if as_json:
        rejected = [{"line": number, "reason": reason} for number, reason in report.rejected]
        output.put_json({**asdict(report), "rejected": rejected})
    else:
        output.fields(
            {
                "imported": str(report.imported),
                "replaced": str(report.replaced),
                "kept as they were": str(report.kept),
                "rejected": str(report.rejected_count),
            }
        )
        if report.rejected:
            output.put()
            rows = [(str(number), reason) for number, reason in report.rejected]
            output.table(("line", "reason"), rows, right=("line",))
    if report.rejected_count:
        raise typer.Exit(1)


def _check_file(file: Path) -> None:
    """Refuse what the shell's habits would make of a file's name.

    Raises:
        ConfigurationError: a lone dash would become a file called so.
    """
    if str(file) == "-":
        msg = "name a file: standard input and output are not supported here"
        raise ConfigurationError(msg)
