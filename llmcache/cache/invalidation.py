"""Removing what matches: by an index where the store has one, else by a look at every entry."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, TypeAlias

from ..backends.base import MOST_KEYS, EntryInfo
from ..backends.powers import Sought, SupportsFind
from ..errors import BackendError
from ..types import CacheEntry
from .inspection import entries
from .store import Store

__all__ = ["Criteria", "empty", "invalidate"]

_LOOKED_AT_ONCE: Final = 100

Place: TypeAlias = tuple[str, str]
"""Collection and key."""


@dataclass(frozen=True, slots=True)
class Criteria:
    """What an entry must be like to be removed: all that is given."""

    key: str | None
    sought: Sought

    @classmethod
    def of(
        cls, key: str | None, tag: str | None, model: str | None, made_before: float | None
    ) -> Criteria:
        """Return the criteria; `made_before` is a moment of the store's clock."""
        return cls(key, Sought(tag, model, made_before))

    @property
    def is_key_alone(self) -> bool:
        """Whether nothing but a key is given, if that is."""
        return self.sought == Sought()

    def match(self, entry: CacheEntry) -> bool:
        """Return whether `entry` is one of them."""
        tag, model, limit = self.sought
        return (
            (self.key is None or entry.key == self.key)
            and (tag is None or tag in entry.tags)
            and (model is None or model in {entry.model, entry.answered_by})
            and (limit is None or entry.created_at < limit)
        )


async def invalidate(store: Store, collection: str | None, criteria: Criteria) -> int:
    """Remove what matches, of a collection or of all; return how many entries there were.

    Raises:
        BackendError: the store failed; what came before is removed.
    """
    await store.written()
    store.forget(lambda name, entry: collection in {None, name} and criteria.match(entry))
    return await _remove(store, _matching(store, collection, criteria))


async def empty(store: Store, collection: str) -> int:
    """Remove every entry of a collection; return how many there were.

    Raises:
        BackendError: the store failed; what came before is removed.
    """
    await store.written()
    store.forget(lambda name, _: name == collection)
    return await _remove(store, _places(store.backend.scan(collection)))


async def _remove(store: Store, places: AsyncGenerator[Place, None]) -> int:
    removed = 0
    batch: list[str] = []
    batch_name = ""
    async with aclosing(places):
        async for name, key in places:
            if batch and (name != batch_name or len(batch) >= MOST_KEYS):
                removed += await store.remove(batch_name, batch)
                batch = []
            batch_name = name
            batch.append(key)
    return removed + (await store.remove(batch_name, batch) if batch else 0)


async def _places(infos: AsyncIterator[EntryInfo]) -> AsyncGenerator[Place, None]:
    async for info in infos:
        yield info.collection, info.key


async def _matching(
    store: Store, collection: str | None, criteria: Criteria
) -> AsyncGenerator[Place, None]:
    backend = store.backend
    if not isinstance(backend, SupportsFind):
        async for info, entry in entries(store, collection):
            if not isinstance(entry, BackendError) and criteria.match(entry):
                yield info.collection, info.key
        return
    for name in await backend.names() if collection is None else (collection,):
        async for place in _found(store, backend, name, criteria):
            yield place


async def _found(
    store: Store, backend: SupportsFind, name: str, criteria: Criteria
) -> AsyncGenerator[Place, None]:
    """Yield what an index names; where it is in doubt, what the entry itself says counts."""
    doubtful: list[str] = []
    async for key, certain in backend.find(name, criteria.sought):
        if criteria.key not in {None, key}:
            continue
        if certain:
            yield name, key
            continue
        doubtful.append(key)
        if len(doubtful) >= _LOOKED_AT_ONCE:
            for place in await _confirmed(store, name, doubtful, criteria.match):
                yield place
            doubtful = []
    for place in await _confirmed(store, name, doubtful, criteria.match):
        yield place


async def _confirmed(
    store: Store, name: str, keys: list[str], match: Callable[[CacheEntry], bool]
) -> list[Place]:
    read = await store.fetch(name, keys) if keys else {}
    return [
        (name, key)
        for key, entry in read.items()
        if not isinstance(entry, BackendError) and match(entry)
    ]
