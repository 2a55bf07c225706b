"""From the name of a backend to the cache in front of it."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from typing import Any, Final, TypedDict, Unpack

from ..backends.base import Backend, check_collection
from ..backends.filesystem import FSCache
from ..backends.memory import MemoryBackend
from ..codec import MAX_ENTRY_BYTES
from ..errors import ConfigurationError
from ..settings import environment
from .control import CachePolicy
from .manager import CacheManager

__all__ = ["StoreOptions", "checked_options", "open_backend", "open_cache"]

_NAMES: Final = ("fs", "memory", "pg", "pg_redis", "redis")
_TTL: Final = 86_400.0
# What a provider takes under a name of its own.
_ELSEWHERE: Final = {
    "backend": "cache_backend=…",
    "collection": "cache_collection=…",
    "compress": "compress_pg=…",
    "policy": "cache_policy=…",
    "cache_dir": "cache_dir=…",
    "strict": "strict=…",
}


class StoreOptions(TypedDict, total=False):
    """Where a named backend keeps what; each backend takes the options that concern it."""

    cache_dir: str | os.PathLike[str]
    """`fs`: the folder. Default: `./cache`."""
    max_entry_bytes: int
    """`fs`: what is larger is no entry; as the cache's."""
    pg_dsn: str | None
    """`pg`, `pg_redis`: the database. Default: `PG_DSN`."""
    redis_url: str | None
    """`redis`, `pg_redis`: the server. Default: `REDIS_URL`."""
    redis_ttl_seconds: float | None
    """`redis`, `pg_redis`: how long Redis keeps an entry at most. Default: a day."""


def open_backend(backend: str | Backend | None, **options: Unpack[StoreOptions]) -> Backend:
    """Return the backend called `backend`; one that is given is returned as it is.

    Raises:
        ConfigurationError: an unknown name, or an option that cannot be.
    """
    if backend is None:
        return MemoryBackend()
    if isinstance(backend, str):
        if backend not in _NAMES:
            known = ", ".join(repr(name) for name in _NAMES)
            msg = f"unknown cache_backend {backend!r}; known: {known}, None, or a Backend"
            raise ConfigurationError(msg)
        return _named(backend, options)
    if not isinstance(backend, Backend):
        msg = f"cache_backend: {type(backend).__name__} is not a Backend (get, put, delete, scan, aclose)"
        raise ConfigurationError(msg)
    return backend


def _named(name: str, options: StoreOptions) -> Backend:
    if name == "memory":
        return MemoryBackend()
    if name == "fs":
        return FSCache(
            options.get("cache_dir", "./cache"),
            max_entry_bytes=options.get("max_entry_bytes", MAX_ENTRY_BYTES),
        )
    pg_dsn = options.get("pg_dsn") or environment("PG_DSN")
    redis_url = options.get("redis_url") or environment("REDIS_URL")
    ttl = options.get("redis_ttl_seconds", _TTL)
    # Not at the top: who keeps files has no use for them.
    from ..backends.hybrid import HybridRedisPostgreSQLCache  # noqa: PLC0415
    from ..backends.postgres import PostgresBackend  # noqa: PLC0415
    from ..backends.redis import RedisBackend  # noqa: PLC0415

    if name == "pg":
        return PostgresBackend(pg_dsn)
    if name == "redis":
        return RedisBackend(redis_url, redis_ttl_seconds=ttl)
    return HybridRedisPostgreSQLCache(pg_dsn, redis_url, redis_ttl_seconds=ttl)


def open_cache(
    backend: str | Backend | None,
    *,
    collection: str | None = None,
    policy: CachePolicy | None = None,
    max_entry_bytes: int = MAX_ENTRY_BYTES,
    store: StoreOptions | None = None,
    **options: Any,
) -> CacheManager:
    """Return a cache; `options` are those of `CacheManager`.

    Raises:
        ConfigurationError: as `open_backend`, or a collection that cannot be one.
    """
    where: StoreOptions = {"max_entry_bytes": max_entry_bytes, **(store or {})}
    return CacheManager(
        open_backend(backend, **where),
        collection=check_collection(collection or "default"),
        policy=policy,
        max_entry_bytes=max_entry_bytes,
        **options,
    )


def checked_options(options: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return a provider's `cache_options`.

    Raises:
        ConfigurationError: not a mapping, or a name that belongs somewhere else.
    """
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        msg = f"cache_options must be a mapping, not {type(options).__name__}"
        raise ConfigurationError(msg)
    known = inspect.signature(CacheManager).parameters.keys() - _ELSEWHERE.keys()
    for name in options:
        if name in known:
            continue
        hint = f"known: {', '.join(sorted(known))}"
        if name in _ELSEWHERE:
            hint = f"give the provider {_ELSEWHERE[name]}"
        elif name in inspect.signature(FSCache).parameters:
            hint = f"it is an argument of cache_backend=FSCache(cache_dir, {name}=…)"
        msg = f"cache_options: CacheManager has no {name!r}; {hint}"
        raise ConfigurationError(msg)
    return options
