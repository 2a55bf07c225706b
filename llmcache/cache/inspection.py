"""Why a request is not answered from the cache: the nearest entry, and what differs."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Final

from ..backends.base import EntryInfo
from ..errors import BackendError, CacheMissError, CorruptEntryError
from ..keys import (
    Request,
    component_differences,
    components,
    differences,
    has_secret_url,
    key_of_identity,
    similarity,
)
from ..types import CacheEntry
from .control import Control
from .store import Store

__all__ = ["Explanation", "entries", "explain", "misplaced", "offline_miss"]

_BATCH: Final = 100
# An offline miss is an error message, not a search: it looks at what fits in this time.
_OFFLINE_SECONDS: Final = 0.25


@dataclass(frozen=True, slots=True)
class Explanation:
    """Whether a request is stored, and if not, what the nearest stored one is.

    `reason` says why what is stored does not serve (it is past its time), or why the
    request is never cached. `differences` leads from the nearest entry to the request.
    Its lines have values where requests are stored, and only names where digests are,
    as they are of a request with a credential in a URL.
    """

    key: str
    stored: bool
    nearest: str | None = None
    differences: tuple[str, ...] = ()
    compared: int = 0
    complete: bool = True
    """Whether every entry of the collection was compared."""
    reason: str | None = None

    @property
    def usable(self) -> bool:
        """Whether a call would be answered from the store."""
        return self.stored and self.reason is None

    def __str__(self) -> str:
        """Return the explanation as a few lines of text."""
        lines = [f"{self.key}: {'stored' if self.stored else 'not stored'}"]
        if self.reason is not None:
            lines[0] += f", {self.reason}"
        if not self.stored and self.nearest is not None:
            lines.append(f"nearest of {self.compared}: {self.nearest}, which differs in:")
            lines += [f"  {line}" for line in self.differences]
        return "\n".join(lines)


async def entries(
    store: Store, collection: str | None, infos: AsyncIterator[EntryInfo] | None = None
) -> AsyncGenerator[tuple[EntryInfo, CacheEntry | BackendError], None]:
    """Yield the entries of `infos` (default: all), or what is wrong with one; a hundred at a time.

    Raises:
        BackendError: the store failed.
    """
    batch: list[EntryInfo] = []
    async for info in store.backend.scan(collection) if infos is None else infos:
        if batch and (info.collection != batch[0].collection or len(batch) >= _BATCH):
            for found in await _loaded(store, batch):
                yield found
            batch = []
        batch.append(info)
    if batch:
        for found in await _loaded(store, batch):
            yield found


async def _loaded(
    store: Store, batch: list[EntryInfo]
) -> list[tuple[EntryInfo, CacheEntry | BackendError]]:
    found = await store.fetch(batch[0].collection, [info.key for info in batch])
    # What has gone since the scan is not there, which is no error.
    return [(info, found[info.key]) for info in batch if info.key in found]


def misplaced(entry: CacheEntry) -> CorruptEntryError | None:
    """Return the error of an entry whose stored request has another key."""
    if entry.identity and key_of_identity(entry.identity) != entry.key:
        return CorruptEntryError("the stored request has another key")
    return None


async def explain(
    store: Store,
    collection: str,
    request: Request,
    sample: int = 0,
    *,
    seconds: float = float("inf"),
) -> Explanation:
    """Return whether `request` is stored, or the stored request that differs least.

    Compares every entry of the collection, for at most `seconds`.
    """
    never = request.bypass()
    if never is not None:
        return Explanation(request.key(sample), stored=False, reason=f"never cached: {never}")
    identity = request.identity(sample)
    key = request.key(sample)
    mine = components(identity)
    best: tuple[float, CacheEntry] | None = None
    compared, finished = 0, True
    stop = time.monotonic() + seconds
    async for _, entry in entries(store, collection):
        if isinstance(entry, BackendError):
            continue
        if entry.key == key:
            late = entry.expires_at is not None and entry.expires_at <= store.now()
            reason = "past its time to live" if late else None
            return Explanation(key, True, key, compared=compared + 1, reason=reason)  # noqa: FBT003
        compared += 1
        score = similarity(mine, _components_of(entry))
        if best is None or score > best[0]:
            best = (score, entry)
        if time.monotonic() > stop:
            finished = False
            break
    if best is None:
        return Explanation(key, stored=False, complete=finished)
    nearest = best[1]
    if nearest.identity and not any(map(has_secret_url, (nearest.identity, identity))):
        lines = differences(nearest.identity, identity)
    else:
        lines = component_differences(_components_of(nearest), mine)
    return Explanation(key, False, nearest.key, tuple(lines), compared, finished)  # noqa: FBT003


def _components_of(entry: CacheEntry) -> Mapping[str, str]:
    return components(entry.identity) if entry.identity else entry.components


async def offline_miss(
    store: Store, request: Request, control: Control, key: str
) -> CacheMissError:
    """Return the error for a request that nothing stored answers."""
    try:
        found = await explain(
            store, control.collection, request, control.sample, seconds=_OFFLINE_SECONDS
        )
    except Exception as error:  # noqa: BLE001 - the miss is the news, not why it has no neighbour
        store.guard.warn("scan", type(error).__name__, str(error))
        return CacheMissError(key, collection=control.collection)
    if found.stored:  # expired, or damaged: its neighbour is itself
        reason = found.reason or "what is stored is too old for this call, or damaged"
        return CacheMissError(key, collection=control.collection, reason=reason)
    return CacheMissError(
        key, collection=control.collection, nearest=found.nearest, differences=found.differences
    )
