"""From the name of a backend to the cache in front of it."""

from __future__ import annotations

import os
from typing import Any, Final

from ..backends.base import Backend, check_collection
from ..backends.filesystem import FSCache
from ..backends.memory import MemoryBackend
from ..codec import MAX_ENTRY_BYTES
from ..errors import ConfigurationError
from .control import CachePolicy
from .manager import CacheManager

__all__ = ["open_backend", "open_cache"]

_NAMES: Final = ("fs", "memory")


def open_backend(
    backend: str | Backend | None,
    *,
    cache_dir: str | os.PathLike[str] = "./cache",
    max_entry_bytes: int = MAX_ENTRY_BYTES,
) -> Backend:
    """Return the backend called `backend`; one that is given is returned as it is.

    Raises:
        ConfigurationError: an unknown name, or a folder that cannot be one.
    """
    if backend == "fs":
        return FSCache(cache_dir, max_entry_bytes=max_entry_bytes)
    if backend is None or backend == "memory":
        return MemoryBackend()
    if isinstance(backend, str):
        known = ", ".join(repr(name) for name in _NAMES)
        msg = f"unknown cache_backend {backend!r}; known: {known}, None, or a Backend"
        raise ConfigurationError(msg)
    if not isinstance(backend, Backend):
        msg = f"cache_backend: {type(backend).__name__} is not a Backend (get, put, delete, scan, aclose)"
        raise ConfigurationError(msg)
    return backend


def open_cache(
    backend: str | Backend | None,
    *,
    cache_dir: str | os.PathLike[str] = "./cache",
    collection: str | None = None,
    policy: CachePolicy | None = None,
    max_entry_bytes: int = MAX_ENTRY_BYTES,
    **options: Any,
) -> CacheManager:
    """Return a cache; `options` are those of `CacheManager`.

    Raises:
        ConfigurationError: as `open_backend`, or a collection that cannot be one.
    """
    return CacheManager(
        open_backend(backend, cache_dir=cache_dir, max_entry_bytes=max_entry_bytes),
        collection=check_collection(collection or "default"),
        policy=policy,
        max_entry_bytes=max_entry_bytes,
        **options,
    )
