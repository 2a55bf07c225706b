"""From a folder on the command line to a cache that is open for one command."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias, TypeVar

import typer

from ..errors import ConfigurationError
from ..settings import environment

if TYPE_CHECKING:
    from ..cache import CacheManager

__all__ = ["AsJson", "CacheDir", "Collection", "cache_folder", "with_cache"]

T = TypeVar("T")
_DEFAULT: Final = "./cache"

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


def cache_folder(given: Path | None) -> Path:
    """Return the folder that was named, by option, environment or default."""
    return (given or Path(environment("LLMCACHE_DIR") or _DEFAULT)).expanduser()


def with_cache(
    given: Path | None, work: Callable[[CacheManager], Awaitable[T]], *, create: bool = False
) -> T:
    """Return what `work` makes of the cache in a folder, and close the cache.

    Raises:
        ConfigurationError: there is no such folder (unless `create`), or it is a file.
    """
    folder = cache_folder(given)
    if not create and not folder.exists():
        msg = f"no cache folder {str(folder)!r}: name one with --cache-dir or LLMCACHE_DIR"
        raise ConfigurationError(msg)

    async def session() -> T:
        from ..cache import open_cache  # noqa: PLC0415 - `--help` needs no cache

        manager = open_cache("fs", store={"cache_dir": folder})
        try:
            return await work(manager)
        finally:
            await manager.aclose()

    return asyncio.run(session())
