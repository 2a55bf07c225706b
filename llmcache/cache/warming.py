"""Bringing what is most likely to be asked near, before the first call.

The best entries first: into the nearer one of two stores, where there are two, and
into this process's memory as long as there is room.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, get_args

from ..backends.base import EntryInfo, check_collection
from ..backends.powers import Order, SupportsRank, SupportsWarm
from ..errors import BackendError, ConfigurationError, ProviderError
from ..providers.base import Dialect
from ..types import CompletionResult
from .guard import Budget
from .recording import parse_entry
from .store import Store
from .tier import Held

__all__ = ["Limits", "Order", "WarmReport", "warm"]

# One batch is in memory at a time: so many entries, or so many bytes.
_BATCH: Final = 500
_BATCH_BYTES: Final = 2**20
_DECODED_AT_ONCE: Final = 50
_MISFITS: Final = 20
_EMBEDDING: Final = "embedding"
_PATIENCE: Final = 10.0
# What an entry takes in the nearer store beside its bytes; and what is left free there.
_OVERHEAD: Final = 256
_RESERVE: Final = 4 * _BATCH_BYTES
# How much longer than its time a warming may hang in a store that does not answer.
_GRACE: Final = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a warming stops: entries in all, bytes of memory, bytes copied, seconds."""

    bytes: int
    seconds: float
    entries: int | None = None
    near_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class WarmReport:
    """What a warming did.

    - `loaded`, `bytes`: entries now in memory, and their size there.
    - `copied`, `copied_bytes`, `present`: of the entries that a store keeps further away
      (Postgres), those it copied into the nearer one (Redis), and those already there.
    - `found`, `made`, `failed`: of given requests, those stored already, those the
      provider answered now, and those it did not; `errors` has the first reasons.
    - `skipped`: entries of an API that nobody registered, that could not be read, or that
      changed while they were.
    - `complete`: nothing was left out; else `stopped` says for want of what:
      `bytes`, `entries` or `seconds`, or `failed`: a store did, and a warning says how.
    """

    loaded: int = 0
    bytes: int = 0
    copied: int = 0
    copied_bytes: int = 0
    present: int = 0
    found: int = 0
    made: int = 0
    failed: int = 0
    errors: tuple[str, ...] = ()
    skipped: int = 0
    seconds: float = 0.0
    complete: bool = True
    stopped: str | None = None


async def warm(
    store: Store,
    dialects: Mapping[str, Sequence[Dialect]],
    collection: str | None,
    *,
    order: Order,
    limits: Limits,
    progress: Callable[[int, int], Any] | None,
) -> WarmReport:
    """Bring the best entries near, within `limits`.

    Of a kind with several dialects only what is text and nothing else comes into memory:
    whose words the rest has, the call knows that asks for it.

    Safe to cancel, and while others write: what they replace or remove meanwhile is not
    brought back.

    Raises:
        ConfigurationError: an unknown order, or a name that no collection can have.
    """
    _check(order, collection)
    started = time.monotonic()
    stop = started + limits.seconds
    warming = _Warming(store, dialects, limits)
    try:
        async with asyncio.timeout(limits.seconds + _GRACE):
            async with aclosing(_batches(_best(warming, collection, order, stop))) as batches:
                async for batch in batches:
                    await warming.load(batch)
                    if progress is not None:
                        progress(warming.seen, max(warming.seen, warming.total))
                    if warming.is_over:
                        break
                    if time.monotonic() > stop:
                        warming.lacked = "seconds"
                        break
    except TimeoutError:
        warming.lacked = "seconds"
    except Exception as error:  # noqa: BLE001 - warming is a favour: a store that fails ends it
        store.guard.warn("warm", type(error).__name__, str(error))
        warming.lacked = "failed"
    finally:
        warming.finish()
    return warming.report(time.monotonic() - started)


def _check(order: Order, collection: str | None) -> None:
    if order not in get_args(Order):
        known = " or ".join(map(repr, get_args(Order)))
        msg = f"order must be {known}, not {order!r}"
        raise ConfigurationError(msg)
    if collection is not None:
        check_collection(collection)


class _Warming:
    """What one warming has done so far."""

    def __init__(
        self, store: Store, dialects: Mapping[str, Sequence[Dialect]], limits: Limits
    ) -> None:
        self.store = store
        self.limits = limits
        self.seen = self.total = 0
        self.lacked: str | None = None
        """For want of what something was left out."""
        self._dialects = dialects
        backend = store.backend
        self._near = backend if isinstance(backend, SupportsWarm) else None
        self._near_left = float("inf") if limits.near_bytes is None else limits.near_bytes
        self._loaded: dict[tuple[str, str], None] = {}
        self._bytes = self._skipped = self._misfits = 0
        self._copied = self._copied_bytes = self._present = 0
        self._room = min(limits.bytes, store.tier.max_bytes)
        self._is_full = not self._room
        self._has_more = True

    @property
    def is_over(self) -> bool:
        """Whether nothing more may be brought near."""
        return not self._has_more or (self._is_full and self._near is None)

    async def load(self, batch: list[EntryInfo]) -> None:
        """Bring a batch of one collection near."""
        most = self.limits.entries
        if most is not None and self.seen + len(batch) > most:
            batch = batch[: most - self.seen]
            self.lacked, self._has_more = "entries", False
        if not batch:
            return
        self.seen += len(batch)
        # What changes from here on is noticed, and what changed before is not in memory.
        await self.store.meet(batch[0].collection, Budget(_PATIENCE))
        await self.store.coherence.confirm(batch[0].collection, Budget(_PATIENCE))
        if self._near is not None:
            await self._copy(self._near, batch)
        if not self._is_full:
            await self._hold(batch)

    async def _copy(self, near: SupportsWarm, batch: list[EntryInfo]) -> None:
        try:
            room = await near.room()
            # What is on its way takes room as well, and an entry more than its bytes.
            left = self._near_left if room is None else min(self._near_left, room - _RESERVE)
            fitting = _first(batch, left)
            if len(fitting) < len(batch):
                self._near, self.lacked = None, "bytes"
            if not fitting:
                return
            copied = await near.warm(fitting[0].collection, [info.key for info in fitting])
        except BackendError as error:
            # The one that is further away may serve all the same.
            self.store.guard.warn("warm", type(error).__name__, str(error))
            self._near, self.lacked = None, "failed"
            return
        self._copied += copied.entries
        self._copied_bytes += copied.bytes
        self._present += copied.present
        self._near_left -= copied.bytes + copied.entries * _OVERHEAD

    async def _hold(self, batch: list[EntryInfo]) -> None:
        tier = self.store.tier
        collection = batch[0].collection
        since = self.store.coherence.moment
        unknown = [info.key for info in batch if tier.get((collection, info.key)) is None]
        found = await self.store.raw(collection, unknown) if unknown else {}
        for number, info in enumerate(batch):
            if number % _DECODED_AT_ONCE == 0:
                await asyncio.sleep(0)
            place = (collection, info.key)
            if place in self._loaded:
                continue
            # What is there now is at least as new as what was read.
            held = tier.get(place)
            coherence = self.store.coherence
            is_known = coherence.knows(collection) and coherence.may_hold(*place, since)
            if held is None and is_known:
                held = self._held(collection, info.key, found.get(info.key))
            if held is None:
                self._skipped += 1
            elif self._bytes + held.size > self._room or not tier.put(place, held):
                self._misfits += 1
            else:
                self._loaded[place] = None
                self._bytes += held.size
        self._is_full = self._misfits >= _MISFITS

    def _held(self, collection: str, key: str, data: bytes | BackendError | None) -> Held | None:
        if not isinstance(data, bytes):
            return None
        try:
            entry = self.store.codec.decode(key, data, with_identity=False)
            if entry.kind == _EMBEDDING:
                return Held.of(entry, None, collection)
            spoken = self._dialects.get(entry.kind)
            if not spoken:
                return None
            result = parse_entry(entry, spoken[0])
            if len(spoken) > 1 and _is_marked(result):
                return None
            return Held.of(entry, result, collection)
        except (BackendError, ProviderError):
            return None

    def finish(self) -> None:
        """Let the best be the last to go from memory."""
        for place in reversed(self._loaded):
            self.store.tier.get(place)

    def report(self, seconds: float) -> WarmReport:
        """Return what was done."""
        out_of_room = self._misfits or (self._is_full and self._room)
        stopped = self.lacked or ("bytes" if out_of_room else None)
        return WarmReport(
            loaded=len(self._loaded),
            bytes=self._bytes,
            copied=self._copied,
            copied_bytes=self._copied_bytes,
            present=self._present,
            skipped=self._skipped,
            seconds=seconds,
            complete=stopped is None,
            stopped=stopped,
        )


def _is_marked(result: CompletionResult) -> bool:
    return result.native is not None or any(c.message.native for c in result.choices)


def _first(batch: list[EntryInfo], room: float) -> list[EntryInfo]:
    """Return as many as the nearer store has room for."""
    for number, info in enumerate(batch):
        room -= info.size + _OVERHEAD
        if room < 0:
            return batch[:number]
    return batch


async def _batches(infos: AsyncIterator[EntryInfo]) -> AsyncGenerator[list[EntryInfo], None]:
    """Yield what comes in batches of one collection each."""
    batch: list[EntryInfo] = []
    size = 0
    async for info in infos:
        full = len(batch) >= _BATCH or size + info.size > _BATCH_BYTES
        if batch and (full or info.collection != batch[0].collection):
            yield batch
            batch, size = [], 0
        batch.append(info)
        size += info.size
    if batch:
        yield batch


async def _best(
    warming: _Warming, collection: str | None, order: Order, stop: float
) -> AsyncGenerator[EntryInfo, None]:
    """Yield entries, the best first.

    A store that ranks them does so as long as anybody asks. Any other is scanned, and the
    best that fit into memory are kept, but no more: an entry is larger there than in the
    store.
    """
    backend = warming.store.backend
    if collection is not None and isinstance(backend, SupportsRank):
        async for info in backend.ranked(collection, order):
            yield info
        return
    heap: list[tuple[tuple[float, float], int, EntryInfo]] = []
    ties = itertools.count()  # a request may be in several collections under the same key
    size = 0
    async for info in backend.scan(collection):
        rank = (float(info.uses), info.used_at) if order == "most_used" else (info.used_at, 0.0)
        heapq.heappush(heap, (rank, next(ties), info))
        size += info.size
        while size > warming.limits.bytes and heap:
            size -= heapq.heappop(heap)[2].size
            warming.lacked = "bytes"
        if time.monotonic() > stop:
            warming.lacked = "seconds"
            break
    warming.total = len(heap)
    for _, _, info in sorted(heap, reverse=True):
        yield info
