"""Filling the memory tier before the first call, with what is most likely to be asked."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, get_args

from ..backends.base import EntryInfo, check_collection
from ..errors import ConfigurationError, ProviderError
from ..providers.base import Dialect
from ..types import CacheEntry
from .guard import Budget
from .recording import parse_entry
from .store import Store
from .tier import Held

__all__ = ["Order", "WarmReport", "warm"]

Order: TypeAlias = Literal["most_used", "newest"]
"""`most_used`: by number of uses, then by last use. `newest`: written or used last."""

_BATCH: Final = 100
_MISFITS: Final = 20
_EMBEDDING: Final = "embedding"
_PATIENCE: Final = 10.0


@dataclass(frozen=True, slots=True)
class WarmReport:
    """What a warming did.

    - `loaded`, `bytes`: entries now in memory, and their size there.
    - `found`, `made`, `failed`: of given requests, those stored already, those the
      provider answered now, and those it did not; `errors` has the first reasons.
    - `skipped`: entries of an API that nobody registered, or that could not be read.
    - `complete`: nothing was left out for want of bytes or time.
    """

    loaded: int = 0
    bytes: int = 0
    found: int = 0
    made: int = 0
    failed: int = 0
    errors: tuple[str, ...] = ()
    skipped: int = 0
    seconds: float = 0.0
    complete: bool = True


async def warm(  # noqa: PLR0913 - the operation's own arguments
    store: Store,
    dialects: Mapping[str, Dialect],
    collection: str | None,
    *,
    order: Order,
    max_bytes: int,
    seconds: float,
    progress: Callable[[int, int], Any] | None,
) -> WarmReport:
    """Load the best entries, up to `max_bytes` of memory and `seconds` of time.

    Raises:
        ConfigurationError: an unknown order, or a name that no collection can have.
    """
    _check(order, collection)
    started = time.monotonic()
    stop = started + seconds
    loaded: list[Held] = []
    size = skipped = misfits = 0
    complete = True
    since = store.coherence.moment
    try:
        chosen, complete = await _best(store, collection, order, max_bytes, stop)
        for start in range(0, len(chosen), _BATCH):
            batch = chosen[start : start + _BATCH]
            for held in await _load(store, dialects, batch):
                if held is None:
                    skipped += 1
                elif size + held.size <= max_bytes:
                    loaded.append(held)
                    size += held.size
                else:
                    misfits += 1
            if progress is not None:
                progress(min(start + _BATCH, len(chosen)), len(chosen))
            if misfits >= _MISFITS or time.monotonic() > stop:
                complete = complete and start + _BATCH >= len(chosen)
                break
    except Exception as error:  # noqa: BLE001 - warming is a favour: a store that fails ends it
        store.guard.warn("warm", type(error).__name__, str(error))
        complete = False
    # The best goes in last: then it is the last to go. What changed meanwhile stays out.
    for held in reversed(loaded):
        if store.coherence.may_hold(held.collection, held.entry.key, since):
            store.tier.put((held.collection, held.entry.key), held)
    return WarmReport(
        loaded=len(loaded),
        bytes=size,
        skipped=skipped,
        seconds=time.monotonic() - started,
        complete=complete and not misfits,
    )


def _check(order: Order, collection: str | None) -> None:
    if order not in get_args(Order):
        known = " or ".join(map(repr, get_args(Order)))
        msg = f"order must be {known}, not {order!r}"
        raise ConfigurationError(msg)
    if collection is not None:
        check_collection(collection)


async def _best(
    store: Store, collection: str | None, order: Order, max_bytes: int, stop: float
) -> tuple[list[EntryInfo], bool]:
    """Return the best entries whose stored sizes fit into `max_bytes`, best first.

    Keeps no more than those: an entry is larger in memory than in the store.
    """
    heap: list[tuple[tuple[float, float], int, EntryInfo]] = []
    ties = itertools.count()  # a request may be in several collections under the same key
    total = 0
    complete = True
    async for info in store.backend.scan(collection):
        rank = (float(info.uses), info.used_at) if order == "most_used" else (info.used_at, 0.0)
        heapq.heappush(heap, (rank, next(ties), info))
        total += info.size
        while total > max_bytes and heap:
            total -= heapq.heappop(heap)[2].size
            complete = False
        if time.monotonic() > stop:
            complete = False
            break
    return [info for _, _, info in sorted(heap, reverse=True)], complete


async def _load(
    store: Store, dialects: Mapping[str, Dialect], batch: list[EntryInfo]
) -> list[Held | None]:
    """Return the entries of a batch, parsed, in its order."""
    by_collection: dict[str, list[str]] = {}
    for info in batch:
        by_collection.setdefault(info.collection, []).append(info.key)
    found: dict[tuple[str, str], CacheEntry] = {}
    for name, keys in by_collection.items():
        await store.coherence.confirm(name, Budget(_PATIENCE))
        for key, entry in (await store.fetch(name, keys)).items():
            if isinstance(entry, CacheEntry):
                found[name, key] = entry
    return [_held(found.get((i.collection, i.key)), i.collection, dialects) for i in batch]


def _held(
    entry: CacheEntry | None, collection: str, dialects: Mapping[str, Dialect]
) -> Held | None:
    if entry is None:
        return None
    entry = entry._replace(identity=b"")
    if entry.kind == _EMBEDDING:
        return Held.of(entry, None, collection)
    dialect = dialects.get(entry.kind)
    if dialect is None:
        return None
    try:
        return Held.of(entry, parse_entry(entry, dialect), collection)
    except ProviderError:
        return None
