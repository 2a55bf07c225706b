"""Commands that look over a cache: `stats`, `ls`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ..errors import ConfigurationError
from . import output, reading
from .opening import AsJson, CacheDir, Collection, with_cache
from .places import CachePlace, cache_folder, parse_place

if TYPE_CHECKING:
    from ..backends.base import EntryInfo
    from ..cache import CacheManager
    from ..types import CacheEntry

__all__ = ["list_entries", "listed", "one_entry", "stats", "unknown_collection"]

_SHOWN_DIGITS: Final = 15
_CANDIDATES: Final = 5


def stats(*, cache_dir: CacheDir = None, cache: CachePlace = None, as_json: AsJson = False) -> None:
    """Count what the cache holds, by collection."""

    async def work(manager: CacheManager) -> Any:
        return await manager.stats()

    found = with_cache(cache_dir, work, place=cache)
    # A place may hold a password: of one that is no folder, the kind is enough.
    kind, folder = ("fs", cache_dir) if cache is None else parse_place(cache)[:2]
    named = {"folder": str(cache_folder(folder))} if kind == "fs" else {"cache": kind}
    if as_json:
        collections = {
            name: {"entries": number, "bytes": size}
            for name, (number, size) in found.collections.items()
        }
        output.put_json(
            {
                "cache_dir": named.get("folder"),
                "cache": kind,
                "entries": found.entries,
                "bytes": found.bytes,
                "quarantined": found.quarantined,
                "oldest_use": found.oldest_use,
                "newest_use": found.newest_use,
                "collections": collections,
            }
        )
        return
    rows = [
        (name, str(number), output.size_text(size))
        for name, (number, size) in found.collections.items()
    ]
    rows.append(("all", str(found.entries), output.size_text(found.bytes)))
    output.table(("collection", "entries", "size"), rows, right=("entries", "size"))
    output.put()
    output.fields(
        {
            **named,
            "last used": _when(found.newest_use),
            "longest unused": _when(found.oldest_use),
            "set aside": f"{found.quarantined} damaged" if found.quarantined else None,
        }
    )


def _when(moment: float | None) -> str | None:
    return (
        None if moment is None else f"{output.age_text(moment)} (at {output.moment_text(moment)})"
    )


def list_entries(  # noqa: PLR0913 - a command's options
    *,
    collection: Collection = None,
    tag: Annotated[str | None, typer.Option(help="Only entries with this tag.")] = None,
    model: Annotated[str | None, typer.Option(help="Only this model's, asked or answered.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = 20,
    cache_dir: CacheDir = None,
    cache: CachePlace = None,
    as_json: AsJson = False,
) -> None:
    """List entries, newest first."""

    async def work(manager: CacheManager) -> reading.Listing:
        found = await reading.newest(manager, collection, tag=tag, model=model, limit=limit)
        if not found.matched:
            await unknown_collection(manager, collection)
        return found

    found = with_cache(cache_dir, work, place=cache)
    if found.unreadable:
        output.note(f"{found.unreadable} entries cannot be read; `llmcache verify` says why")
    if as_json:
        entries = [listed(info, entry) for info, entry in found.rows]
        output.put_json(
            {"entries": entries, "matched": found.matched, "unreadable": found.unreadable}
        )
        return
    output.table(
        ("key", "collection", "model", "age", "expires", "size", "uses", "tokens", "tags"),
        [_row(info, entry) for info, entry in found.rows],
        right=("size", "uses", "tokens"),
    )
    if found.matched > len(found.rows):
        output.note(f"{len(found.rows)} of {found.matched} entries; --limit shows more")


def _row(info: EntryInfo, entry: CacheEntry) -> tuple[str, ...]:
    usage = reading.answer_of(entry).usage
    return (
        entry.key[:_SHOWN_DIGITS],
        info.collection,
        entry.model or "",
        output.age_text(entry.created_at),
        output.until_text(entry.expires_at),
        output.size_text(info.size),
        str(info.uses),
        "" if usage is None else str(usage.total_tokens),
        ", ".join(entry.tags),
    )


def listed(info: EntryInfo, entry: CacheEntry) -> dict[str, Any]:
    """Return what a list says of an entry, for machines: sizes in bytes, times in Unix seconds."""
    usage = reading.answer_of(entry).usage
    return {
        "collection": info.collection,
        "key": entry.key,
        "kind": entry.kind,
        "model": entry.model,
        "answered_by": entry.answered_by,
        "tags": list(entry.tags),
        "created_at": entry.created_at,
        "age_seconds": max(0.0, time.time() - entry.created_at),
        "expires_at": entry.expires_at,
        "keep_until": entry.keep_until,
        "duration": entry.duration,
        "cost": entry.cost,
        "size": info.size,
        "uses": info.uses,
        "used_at": info.used_at,
        "tokens": None if usage is None else usage.total_tokens,
        "streamed": entry.recording.events is not None,
    }


async def unknown_collection(manager: CacheManager, collection: str | None) -> None:
    """Say so when nothing was found because there is no such collection."""
    if collection is None:
        return
    known = (await manager.stats()).collections
    if collection not in known:
        names = ", ".join(known) or "none"
        output.note(f"nothing is stored in collection {collection!r}; there are: {names}")


async def one_entry(manager: CacheManager, start: str, collection: str | None) -> EntryInfo | None:
    """Return the one entry whose key begins with `start`, `None` when there is none.

    Raises:
        ConfigurationError: there are several; names some of them.
    """
    found = await reading.find(manager, start, collection)
    if len(found) > 1:
        named = ", ".join(f"{i.key} in {i.collection}" for i in found[:_CANDIDATES])
        more = ", …" if len(found) > _CANDIDATES else ""
        msg = (
            f"{start!r} is ambiguous: {len(found)} entries ({named}{more}); "
            "write more of the key, or --collection"
        )
        raise ConfigurationError(msg)
    return found[0] if found else None
