"""From a folder on the command line to a cache that is open for one command."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias, TypeVar

import typer

from ..errors import ConfigurationError
from .places import cache_folder, open_place

if TYPE_CHECKING:
    from ..backends import Backend
    from ..cache import CacheManager

__all__ = ["AsJson", "CacheDir", "Collection", "with_cache"]

T = TypeVar("T")

CacheDir: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--cache-dir",
        metavar="FOLDER",
        help="The cache's folder. [default: LLMCACHE_DIR, then ./cache]",
    ),
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Collection: TypeAlias = Annotated[
    str | None, typer.Option("--collection", metavar="NAME", help="Only this collection.")
]


def with_cache(
    given: Path | None,
    work: Callable[[CacheManager], Awaitable[T]],
    *,
    create: bool = False,
    place: str | None = None,
) -> T:
    """Return what `work` makes of the cache in a folder, or at a `place`, and close the cache.

    Raises:
        ConfigurationError: there is no such folder (unless `create`), or it is a file;
            or no such place, or both are given.
    """
    if place is not None:
        if given is not None:
            msg = "give one of --cache and --cache-dir"
            raise ConfigurationError(msg)
        return asyncio.run(_session(partial(open_place, place, reading=not create), work))
    folder = cache_folder(given)
    if not create and not folder.exists():
        msg = f"no cache folder {str(folder)!r}: name one with --cache-dir or LLMCACHE_DIR"
        raise ConfigurationError(msg)
    return asyncio.run(_session(partial(open_place, f"fs:{folder}"), work))


async def _session(make: Callable[[], Backend], work: Callable[[CacheManager], Awaitable[T]]) -> T:
    from ..cache import open_cache  # noqa: PLC0415 - `--help` needs no cache

    manager = open_cache(make())
    try:
        return await work(manager)
    finally:
        await manager.aclose()
