"""One backend with its codec, its dictionaries and the memory in front of it.

Everything here keeps the failure contract: what goes wrong in a store is a
miss or an answer that is not kept, with one warning.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from ..backends._loop_bound import own_tasks, spawn
from ..backends.base import (
    MOST_KEYS,
    Backend,
    StoredEntry,
    SupportsQuarantine,
)
from ..backends.powers import SupportsFence, SupportsHiddenFailures
from ..codec import Codec, Parts
from ..errors import CorruptEntryError, ProviderError, UnreadableEntryError
from ..types import CacheEntry, CompletionResult
from .coherence import Coherence
from .entries import Entries
from .guard import Budget
from .savings import CacheStats
from .tier import Held, MemoryTier
from .uses import Uses

__all__ = ["Parse", "Store"]

T = TypeVar("T")
Parse = Callable[[CacheEntry], CompletionResult | None]
"""Reads an entry's recording; raises `ProviderError` when it is not what it should be."""

_MOST_PENDING: Final = 1_000


class Store(Entries):
    """Reads and writes entries of one backend."""

    def __init__(
        self,
        backend: Backend,
        codec: Codec,
        *,
        memory_bytes: int,
        coherence: float,
        background_timeout: float,
    ) -> None:
        """Arguments as the manager's."""
        super().__init__(backend, codec, background_timeout)
        self.tier = MemoryTier(memory_bytes)
        self.counters = CacheStats()
        self._composed = backend if isinstance(backend, SupportsHiddenFailures) else None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._writes: set[asyncio.Task[Any]] = set()
        self._fenced = backend if isinstance(backend, SupportsFence) else None
        timing = {"seconds": coherence, "background": background_timeout}
        self.coherence = Coherence(backend, self.guard, self.tier, self._tasks, **timing)
        self._next_look = self.coherence.next_look
        self._meet_at = self.coherence.meet_at
        self.uses = Uses(backend, self.guard, self._tasks, seconds=background_timeout)
        self._note_use = self.uses.note

    def now(self) -> float:
        """Return Unix seconds, by the clock that all who use the store share, if it has one."""
        return time.time() + self.coherence.ahead

    def here(self, moment: float | None) -> float | None:
        """Return a moment of that clock by this machine's, as backends are told it."""
        return None if moment is None else moment - self.coherence.ahead

    def counted(self) -> CacheStats:
        """Return the counters of the cache, with the failures of the store until now."""
        hidden = 0 if self._composed is None else self._composed.hidden_failures
        self.counters.store_failures = self.guard.failures + hidden
        return self.counters

    # --- memory -------------------------------------------------------------------------------

    def held(self, collection: str, key: str) -> Held | None:
        """Return the answer if it is in memory and can be believed. Never waits; notes the use."""
        place = (collection, key)
        found = self.tier.get(place)
        if found is not None:
            is_due = time.monotonic() >= self._next_look.get(collection, 0.0)
            if is_due and not self.coherence.may_serve(collection):
                return None
            self._note_use(place)
        return found

    async def confirm(self, collection: str, keys: Sequence[str], budget: Budget) -> None:
        """Let memory be believed, if it has any of `keys` and cannot be: the store is asked."""
        if any((collection, key) in self.tier for key in keys):
            await self.coherence.confirm(collection, budget)

    async def confirmed(self, collection: str, key: str, budget: Budget) -> Held | None:
        """Return the answer if it is in memory and, after the store was asked, can be believed."""
        await self.confirm(collection, [key], budget)
        found = self.tier.get((collection, key))
        if found is not None:
            self._note_use((collection, key))
        return found

    # --- reading ------------------------------------------------------------------------------

    async def meet(self, collection: str, budget: Budget) -> None:
        """Learn a collection's revision and clock before its first entry is held or made."""
        gone = await self.coherence.meet(collection, budget)
        if gone:
            self.dictionaries.forget(gone)

    async def find(
        self, collection: str, keys: Sequence[str], parse: Parse, budget: Budget
    ) -> Held | None:
        """Return what the backend holds under the first of `keys` that it has, at most 1,000."""
        if time.monotonic() >= self._meet_at.get(collection, 0.0):
            await self.meet(collection, budget)
        since = self.coherence.moment
        # As `_get`, without its frame: every hit from a store passes here.
        get = partial(self.backend.get, collection, keys)
        got = await self.guard.run("get", get, budget, None)
        if type(got) is dict and len(keys) == 1:
            # What nearly every hit is: one key, and an entry that can be opened.
            data = got.get(keys[0])
            if data is None:
                return None
            if type(data) is bytes and self.codec.can_open(data):
                return self._accepted(collection, keys[0], data, parse, since)
        found = self._checked(got)
        if not self._can_open(found):
            await self.dictionaries.load(collection, budget)
        for key in keys if found else ():
            if key in found:
                held = self._accepted(collection, key, found[key], parse, since)
                if held is not None:
                    return held
        return None

    async def read(
        self, collection: str, keys: Sequence[str], parse: Parse, budget: Budget
    ) -> dict[str, Held]:
        """Return what the backend holds among `keys`, decoded and parsed; the rest are misses."""
        await self.meet(collection, budget)
        result: dict[str, Held] = {}
        for start in range(0, len(keys), MOST_KEYS):
            batch = keys[start : start + MOST_KEYS]
            since = self.coherence.moment
            found = self._checked(await self._get(collection, batch, budget))
            if not self._can_open(found):
                await self.dictionaries.load(collection, budget)
            for key, data in found.items():
                held = self._accepted(collection, key, data, parse, since)
                if held is not None:
                    result[key] = held
        return result

    def _get(self, collection: str, keys: Sequence[str], budget: Budget) -> Awaitable[Any]:
        """Return what the backend has for `keys`, whatever it is; `None` when it fails."""
        return self.guard.run("get", partial(self.backend.get, collection, keys), budget, None)

    def _checked(self, found: Any) -> Mapping[str, bytes]:
        """Return `found` if it is what a backend should return; nothing otherwise."""
        if found is None:
            return {}
        if type(found) is not dict and not isinstance(found, Mapping):
            self.guard.warn("get", "garbage", f"returned {type(found).__name__}, not a mapping")
            return {}
        for key, data in found.items():
            if type(data) is not bytes:
                self.guard.warn("get", "garbage", f"{key}: {type(data).__name__}, not bytes")
                return {}
        return found

    def _can_open(self, found: Mapping[str, bytes]) -> bool:
        return all(map(self.codec.can_open, found.values()))

    def _accepted(
        self, collection: str, key: str, data: bytes, parse: Parse, since: int
    ) -> Held | None:
        """Decode and parse what was read, and hold it; `None` for what is of no use."""
        try:
            entry = self.codec.decode(key, data, with_identity=False)
            held = Held.of(entry, parse(entry), collection)
        except UnreadableEntryError as error:
            self.guard.warn("decode", "unreadable", f"{collection}/{key}: {error}")
        except (CorruptEntryError, ProviderError) as error:
            self.guard.warn("decode", "corrupt entry, set aside", f"{collection}/{key}: {error}")
            spawn(self._tasks, self._set_aside(collection, key, data))
        else:
            if self.tier.max_bytes and self.coherence.may_hold(collection, key, since):
                self.tier.put((collection, key), held)
            self._note_use((collection, key))
            return held
        return None

    async def _set_aside(self, collection: str, key: str, data: bytes) -> None:
        backend = self.backend
        if isinstance(backend, SupportsQuarantine):
            budget = Budget(self._background)
            await self.guard.run(
                "quarantine", lambda: backend.quarantine(collection, key, data), budget, None
            )

    # --- writing ------------------------------------------------------------------------------

    async def write(
        self, collection: str, helds: Sequence[Held], budget: Budget, fence: int | None = None
    ) -> str | None:
        """Store answers in memory and in the backend; return why they are not stored, if they are not.

        Waits for the backend as long as the budget lasts. A slow write goes on behind
        the call, and so does one whose caller was cancelled: the answer is paid for. Nobody
        knows yet whether it will be stored; the counters will.
        What others stored above `fence` stays, and memory waits for whether they did.
        """
        try:
            parts = [self.codec.parts(held.entry) for held in helds]
        except ValueError as error:
            self.guard.warn("encode", "not stored", f"{collection}: {error}", failed=False)
            self.counters.dropped += len(helds)
            return str(error)
        if fence is None:
            self.coherence.changed(collection, [held.entry.key for held in helds])
            for held in helds if self.coherence.knows(collection) else ():
                self.tier.put((collection, held.entry.key), held)
        if len(self._writes) >= _MOST_PENDING:
            reason = "too many writes are waiting for the store"
            self.guard.warn("put", "not stored", reason)
            self.counters.dropped += len(helds)
            return reason
        task = spawn(self._tasks, self._put(collection, helds, parts, fence))
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)
        await asyncio.wait({task}, timeout=max(0.0, budget.left))
        if not task.done():
            self.guard.warn("put", "slow", "the write goes on in the background")
            return "the write goes on behind the call"
        return task.result()

    async def _put(
        self, collection: str, helds: Sequence[Held], parts: Sequence[Parts], fence: int | None
    ) -> str | None:
        late: Sequence[str] | None = None
        try:
            late = await self._put_all(collection, helds, parts, fence)
        finally:
            self.counters.dropped += len(helds) if late is None else 0
            self.counters.stored += 0 if late is None else len(helds) - len(late)
        if late is None:
            return "the store failed to take it"
        return "another answer was stored meanwhile" if late else None

    async def _put_all(
        self, collection: str, helds: Sequence[Held], parts: Sequence[Parts], fence: int | None
    ) -> Sequence[str] | None:
        """Return the keys of those that came too late; `None` where the store failed."""
        budget = Budget(self._background)
        keys = [held.entry.key for held in helds]
        dictionary = await self.dictionaries.current(collection, budget)
        stored = [
            StoredEntry(
                key=entry.key,
                data=self.codec.pack(entry, each, dictionary),
                model=entry.model,
                tags=entry.tags,
                created_at=entry.created_at,
                keep_until=self.here(entry.keep_until),
                answered_by=entry.answered_by or "",
            )
            for (entry, *_), each in zip(helds, parts, strict=True)
        ]
        since = self.coherence.moment
        send = partial(self._sent, collection, stored, fence)
        late = await self.guard.run("put", send, budget, None)
        # What was read while this went on may be what it replaced, and may be held already.
        for held in helds:
            place = (collection, held.entry.key)
            self.tier.discard(place)
            is_ours = place[1] not in (late or ()) and self.coherence.knows(collection)
            if is_ours and self.coherence.may_hold(*place, since):
                self.tier.put(place, held)
        self.coherence.changed(collection, keys)
        for each in parts if late is not None else ():
            spawn(self._tasks, self.dictionaries.learn(collection, each))
        return late

    async def _sent(
        self, collection: str, entries: Sequence[StoredEntry], fence: int | None
    ) -> list[str]:
        """Put entries into the backend, a batch at a time; return the keys of those that came too late."""
        late: list[str] = []
        for start in range(0, len(entries), MOST_KEYS):
            batch = entries[start : start + MOST_KEYS]
            if self._fenced is None:
                await self.backend.put(collection, batch)
            else:
                late += await self._fenced.put_unless_newer(
                    collection, batch, fence=fence, author=self.coherence.author
                )
        return late

    async def fence(self, collection: str, budget: Budget) -> int | None:
        """Return what `write` is to have for a fence; 0, which replaces nothing, if the store fails."""
        if self._fenced is None:
            return None
        return await self.guard.run("fence", partial(self._fenced.fence, collection), budget, 0)

    # --- removing -------------------------------------------------------------------------------

    def forget(self, which: Callable[[str, CacheEntry], bool]) -> None:
        """Forget, in this process's memory, the answers for which `which` holds."""
        self.tier.forget(which)

    async def remove(self, collection: str, keys: Sequence[str]) -> int:
        """Remove entries from memory and from the backend; return how many the backend had.

        Raises:
            BackendError: the backend failed. Removing is asked for, not a cache's favour.
        """
        await self.written()
        self.drop(collection, keys)
        try:
            return await self.backend.delete(collection, keys)
        finally:
            # What was read while this went on may be what it removed.
            self.drop(collection, keys)

    def drop(self, collection: str, keys: Sequence[str]) -> None:
        """Forget entries that change: what is being read of them now is not held, either."""
        self.coherence.changed(collection, keys)
        for key in keys:
            self.tier.discard((collection, key))

    async def written(self) -> None:
        """Wait for the writes that go on behind the calls: what is removed next must stay removed."""
        writes = own_tasks(self._writes)
        if writes:
            await asyncio.wait(writes, timeout=self._background)

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Return a task that goes on behind the calls; `settle` waits for it."""
        return spawn(self._tasks, work)

    async def settle(self) -> None:
        """Wait for what goes on in the background, as long as it may take; then let it go."""
        self.uses.flush()
        stop = time.monotonic() + self._background
        while (tasks := own_tasks(self._tasks)) and time.monotonic() < stop:
            await asyncio.wait(tasks, timeout=max(0.0, stop - time.monotonic()))
        for task in own_tasks(self._tasks):
            task.cancel()
        await self.coherence.aclose()
