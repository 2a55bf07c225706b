"""Which dictionary a collection compresses with: the shipped one, until it has its own.

Entries are one to three kilobytes, too short for zstd to find much in one of
them alone. A dictionary trained on the collection's own entries halves them.
Training happens behind the calls, in a thread, after a few entries and once
more after many; entries name the dictionary they need, and none is ever dropped.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from itertools import chain
from typing import Final

from .. import _base_dictionary
from ..backends.base import Backend, SupportsDictionaries
from ..codec import Codec, Dictionary, Parts, train_dictionary
from .guard import Budget, Guard

__all__ = ["Dictionaries"]

_log = logging.getLogger("llmcache")

# The nth dictionary of a collection is trained when this process has stored so many entries.
_TRAIN_AFTER: Final = (64, 1_024)
_LARGEST_SAMPLE: Final = 16 * 2**10
# Of all collections together: the fewest entries of the largest size, and as much again.
_MOST_SAMPLES: Final = 32 * 2**20
_PATIENCE: Final = 10.0


class Dictionaries:
    """The dictionaries of one store's collections."""

    def __init__(self, backend: Backend, codec: Codec, guard: Guard) -> None:
        """Make the shipped dictionary known; read nothing yet."""
        self._store = backend if isinstance(backend, SupportsDictionaries) else None
        self._codec = codec
        self._guard = guard
        self._ids: dict[str, list[int]] = {}
        self._trained: dict[str, int] = {}
        self._samples: dict[str, list[Parts]] = {}
        self._sampled = 0
        base = _base_dictionary.load()
        codec.add(base)
        self._base = base.id

    async def load(self, collection: str, budget: Budget) -> None:
        """Learn the collection's dictionaries; the newest is used from now on."""
        store = self._store
        if store is None:
            self._ids.setdefault(collection, [])
            return
        found = await self._guard.run(
            "dictionaries", lambda: store.dictionaries(collection), budget, None
        )
        if found is None:
            return
        known = [Dictionary(data) for data in found]
        for dictionary in known:
            self._codec.add(dictionary)
        self._ids[collection] = [dictionary.id for dictionary in known]
        self._trained[collection] = len(known)

    async def current(self, collection: str, budget: Budget) -> int:
        """Return the id of the dictionary to compress with."""
        if collection not in self._ids:
            await self.load(collection, budget)
        ids = self._ids.get(collection)
        return ids[-1] if ids else self._base

    def forget(self, collections: Iterable[str]) -> None:
        """Forget what is known of `collections`; entries that name their dictionaries have them loaded."""
        named: set[int] = set()
        for collection in collections:
            named.update(self._ids.pop(collection, ()))
            self._trained.pop(collection, None)
            self._drop_samples(collection)
        # A copied collection has the dictionaries of the one that it was copied from.
        for number in named.difference([self._base], *self._ids.values()):
            self._codec.discard(number)

    def _drop_samples(self, collection: str) -> None:
        self._sampled -= sum(map(_size, self._samples.pop(collection, ())))

    async def learn(self, collection: str, parts: Parts) -> None:
        """Keep an entry's parts as samples; with enough entries, train and keep a dictionary."""
        trained = self._trained.get(collection)
        if self._store is None or trained is None or trained >= len(_TRAIN_AFTER):
            return
        samples = self._samples.setdefault(collection, [])
        if _size(parts) <= _LARGEST_SAMPLE:
            samples.append(parts)
            self._sampled += _size(parts)
        while self._sampled > _MOST_SAMPLES:
            self._drop_samples(next(iter(self._samples)))
        if len(samples) < _TRAIN_AFTER[trained]:
            return
        # What comes in while this one trains begins the next collection of samples.
        self._drop_samples(collection)
        # Another process may have trained meanwhile: one dictionary is enough.
        await self.load(collection, Budget(_PATIENCE))
        if self._trained.get(collection) == trained:
            await self.train(collection, samples)

    async def train(self, collection: str, samples: list[Parts]) -> bool:
        """Train a dictionary on `samples`, keep it, and use it from now on. Return whether it worked."""
        store = self._store
        if store is None:
            return False
        try:
            dictionary = await asyncio.to_thread(train_dictionary, chain.from_iterable(samples))
        except ValueError as error:
            _log.info("llmcache: collection %s: %s", collection, error)
            return False

        async def keep() -> bool:
            await store.put_dictionary(collection, dictionary.data)
            return True

        # An entry may only name a dictionary that is safely kept.
        if not await self._guard.run("put_dictionary", keep, Budget(_PATIENCE), default=False):
            return False
        self._codec.add(dictionary)
        self._ids.setdefault(collection, []).append(dictionary.id)
        self._trained[collection] = self._trained.get(collection, 0) + 1
        return True


def _size(parts: Parts) -> int:
    return len(parts.answer) + len(parts.request)
