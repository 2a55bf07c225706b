"""Places of a cache, as one argument: `fs:DIR`, `pg:DSN`, `redis:URL`, `pg_redis:DSN,URL`.

What is left out comes from where the other commands take it: LLMCACHE_DIR, PG_DSN and
REDIS_URL. A place may hold a password: none is ever printed.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple, TypeAlias

import typer

from ..errors import ConfigurationError
from ..settings import environment

if TYPE_CHECKING:
    from ..backends import Backend

__all__ = ["CachePlace", "Place", "cache_folder", "open_place", "parse_place"]

CachePlace: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--cache", metavar="PLACE", help="Another cache than a folder: see `llmcache copy --help`."
    ),
]

_DEFAULT: Final = "./cache"
_FORMS: Final = "fs:DIR, pg:DSN, redis:URL or pg_redis:DSN,URL"
_ADDRESS: Final = re.compile(r"[a-z][a-z+]*://")
# A comma may be in an address (several hosts): it ends one where another one begins.
_BETWEEN: Final = re.compile(r",(?=[a-z][a-z+]*://)")


def cache_folder(given: Path | None) -> Path:
    """Return the folder that was named, by option, environment or default."""
    return (given or Path(environment("LLMCACHE_DIR") or _DEFAULT)).expanduser()


class Place(NamedTuple):
    """Where a cache is: the kind of backend, and what of its address was given."""

    kind: str
    folder: Path | None = None
    pg_dsn: str | None = None
    redis_url: str | None = None


def parse_place(text: str) -> Place:
    """Return the place that `text` names.

    Raises:
        ConfigurationError: it names none. What stands behind the kind is not repeated.
    """
    kind, _, rest = text.partition(":")
    if kind == "fs":
        return Place("fs", folder=Path(rest) if rest else None)
    given = _BETWEEN.split(rest) if rest else []
    if kind not in {"pg", "redis", "pg_redis"}:
        msg = f"this is no place of a cache; write {_FORMS}"
        raise ConfigurationError(msg)
    if not all(map(_ADDRESS.match, given)):
        msg = f"{kind}: an address starts with postgresql:// or redis://; write {_FORMS}"
        raise ConfigurationError(msg)
    databases = [address for address in given if address.startswith("postgres")]
    servers = [address for address in given if not address.startswith("postgres")]
    most_databases, most_servers = kind != "redis", kind != "pg"
    if len(databases) > most_databases or len(servers) > most_servers:
        msg = f"{kind}: more addresses than it has servers, or one of another kind; write {_FORMS}"
        raise ConfigurationError(msg)
    return Place(
        kind,
        pg_dsn=next(iter(databases), None),
        redis_url=next(iter(servers), None),
    )


def open_place(text: str, *, reading: bool = False) -> Backend:
    """Return the backend of a place; one that is only read must be there, and is left as it is.

    In a Redis alone, entries stay as long as they may: it is no tier in front of anything.

    Raises:
        ConfigurationError: no place, no such folder, or an address that is nowhere.
    """
    place = parse_place(text)
    if place.kind == "fs":
        return _folder(place.folder, reading=reading)
    # Only here: who keeps files has no use for them.
    from ..backends.hybrid import HybridRedisPostgreSQLCache  # noqa: PLC0415
    from ..backends.postgres import PostgresBackend  # noqa: PLC0415
    from ..backends.redis import RedisBackend  # noqa: PLC0415

    dsn = place.pg_dsn or environment("PG_DSN")
    url = place.redis_url or environment("REDIS_URL")
    if place.kind != "redis" and dsn is None:
        msg = f"{place.kind}: no database; write it behind the colon, or set PG_DSN"
        raise ConfigurationError(msg)
    if place.kind != "pg" and url is None:
        msg = f"{place.kind}: no Redis; write it behind the colon, or set REDIS_URL"
        raise ConfigurationError(msg)
    if place.kind == "redis":
        return RedisBackend(url, redis_ttl_seconds=None)
    postgres = PostgresBackend(dsn, migrate=not reading)
    if place.kind == "pg":
        return postgres
    return HybridRedisPostgreSQLCache(postgres=postgres, redis=RedisBackend(url))


def _folder(folder: Path | None, *, reading: bool) -> Backend:
    from ..backends import FSCache  # noqa: PLC0415 - `--help` needs none

    folder = cache_folder(folder)
    if reading and not folder.is_dir():
        msg = f"no cache folder {str(folder)!r}"
        raise ConfigurationError(msg)
    return FSCache(folder)
