"""What this process's memory may still be believed, when others write to the same store.

Two ways lead here. The store's news say at once which entries changed, and may get lost.
Its revision says that something changed, whenever it is asked, and cannot. So memory is
believed for `seconds` from the last time that the revision was what the news had told;
an answer older than that is not served before the store was asked anew.

A store that does not answer vouches for nothing, and takes nothing back either: until it
answers, memory serves what it has.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Collection, Generator, Iterable, Sequence
from functools import partial
from typing import Any, Final

from ..backends._loop_bound import own_tasks, spawn
from ..backends.base import Backend, SupportsRevision
from ..backends.powers import Change, SupportsClock, SupportsNews
from .guard import Budget, Guard
from .tier import MemoryTier, Place

__all__ = ["Coherence"]

_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 30.0
# Between a change that the revision shows and the news of it.
_NEWS_TAKE: Final = 0.02
_NEWS_STEPS: Final = 4
# Clocks that differ by no more are right: the question itself takes time.
_SAME_TIME: Final = 5.0
_CLOCK_EVERY: Final = 60.0
_MOST_TOLD: Final = 1_000
_MOST_CHANGED: Final = 10_000
_MEET_EVERY: Final = 30.0
_MOST_COLLECTIONS: Final = 1_000


class _Known:
    """What is known of one collection; moments are of the monotonic clock."""

    def __init__(self) -> None:
        self.revision: int | None = None
        self.told: set[int] = set()
        self.sure_until = 0.0
        self.is_blind = False
        self.checking: asyncio.Task[None] | None = None
        self.following: asyncio.Task[None] | None = None
        self.bells: dict[str, set[asyncio.Event]] = {}

    @property
    def is_busy(self) -> bool:
        """Whether somebody waits for news or for the store's answer."""
        return bool(self.bells) or (self.checking is not None and not self.checking.done())

    def note(self, revision: int) -> None:
        """Note a revision that the news have told, and so those that follow on the known one."""
        if self.revision is None or revision <= self.revision:
            return
        self.told.add(revision)
        while self.revision + 1 in self.told:
            self.revision += 1
            self.told.discard(self.revision)
        if len(self.told) > _MOST_TOLD:
            self.told.clear()

    def ring(self, keys: Iterable[str] | None) -> None:
        """Wake those who wait for news of `keys`, or of anything."""
        for key in list(self.bells) if keys is None else keys:
            for bell in self.bells.get(key, ()):
                bell.set()


class Coherence:
    """Keeps one memory in step with one store."""

    def __init__(
        self,
        backend: Backend,
        guard: Guard,
        tier: MemoryTier,
        tasks: set[asyncio.Task[Any]],
        *,
        seconds: float,
        background: float,
    ) -> None:
        """Checks become `tasks`, which whoever owns them waits for; they take `background` at most."""
        self.author = secrets.token_hex(8)
        """How the news name what this process wrote: it need not forget that."""
        self.next_look: dict[str, float] = {}
        """When a hit in memory has to ask `may_serve`, by collection; absent: always."""
        self.meet_at: dict[str, float] = {}
        """When a collection is to be met again, by `meet`; who was met longest ago comes first."""
        self.moment = 0
        """Rises with every change; see `may_hold`."""
        self._changed_at: OrderedDict[Place, int] = OrderedDict()
        self._emptied_at: dict[str, int] = {}
        self._forgotten = 0
        self.ahead = 0.0
        """Seconds that the store's clock is ahead of this machine's; 0 where it has none."""
        self._clocked = backend if isinstance(backend, SupportsClock) else None
        self._next_clock = 0.0
        self._revised = backend if isinstance(backend, SupportsRevision) else None
        self._told = backend if isinstance(backend, SupportsNews) else None
        self._guard = guard
        self._tier = tier
        self._tasks = tasks
        self._seconds = seconds
        self._background = background
        self._known: dict[str, _Known] = {}
        self._following: set[asyncio.Task[None]] = set()

    # --- which collections are known ------------------------------------------------------------

    async def meet(self, collection: str, budget: Budget) -> Collection[str]:
        """Learn a collection's revision and clock before its first entry is held or made.

        And from time to time again, since clocks are set; what memory may serve is
        asked where memory serves it. Returns the collections that were forgotten for it.
        """
        now = time.monotonic()
        if now < self.meet_at.get(collection, 0.0):
            return ()
        self.meet_at.pop(collection, None)
        self.meet_at[collection] = now + _MEET_EVERY
        gone = self._make_room() if len(self.meet_at) > _MOST_COLLECTIONS else ()
        await self.confirm(collection, budget)
        return gone

    def knows(self, collection: str) -> bool:
        """Return whether anything is known of a collection: of one that was forgotten, nothing is held."""
        return collection in self._known

    def _make_room(self) -> set[str]:
        """Forget the half of the collections that were met longest ago; memory holds nothing of them.

        A collection for each user is a use like any other: what is kept of one, its task that
        listens above all, must not be kept for ever. Those where something is under way stay.
        """
        half = list(self.meet_at)[: _MOST_COLLECTIONS // 2]
        gone = {name for name in half if not self._of(name).is_busy}
        for name in gone:
            following = self._known.pop(name).following
            if following is not None and own_tasks([following]):
                following.cancel()
            for moments in (self.meet_at, self.next_look, self._emptied_at):
                moments.pop(name, None)
        self._tier.forget(lambda name, _: name in gone)
        # What is being read now may change unseen: it is not held.
        self.moment += 1
        self._forgotten = self.moment
        return gone

    # --- what memory may serve ------------------------------------------------------------------

    def may_serve(self, collection: str) -> bool:
        """Return whether memory may answer without asking; asks behind the call when it is time."""
        if self._revised is None:
            self.next_look[collection] = float("inf")
            return True
        known = self._of(collection)
        now = time.monotonic()
        self._follow(collection, known)
        if now >= known.sure_until and not known.is_blind:
            return False
        self.next_look[collection] = max(known.sure_until, now + self._seconds / 2)
        self._check(self._revised, collection, known)
        return True

    async def confirm(self, collection: str, budget: Budget) -> None:
        """Learn what changed, unless that is known; then memory may be asked.

        Before the first entry of a collection is held, too: what changes later is noticed.
        """
        known = self._of(collection)
        if self._revised is None or known.is_blind or time.monotonic() < known.sure_until:
            return
        budget.note_waiting()
        started = time.monotonic()
        task = self._check(self._revised, collection, known)
        await asyncio.wait({task}, timeout=max(0.0, budget.left))
        budget.left -= time.monotonic() - started
        if not task.done():
            self._lose_sight(collection, known)

    def _check(
        self, backend: SupportsRevision, collection: str, known: _Known
    ) -> asyncio.Task[None]:
        """Return the task that asks for the revision; one at a time."""
        if known.checking is None or not own_tasks([known.checking]) or known.checking.done():
            known.checking = spawn(self._tasks, self._ask(backend, collection, known))
        return known.checking

    async def _ask(self, backend: SupportsRevision, collection: str, known: _Known) -> None:
        started, before = time.monotonic(), known.revision
        if self._clocked is not None and started >= self._next_clock:
            self._next_clock = started + _CLOCK_EVERY
            await self._compare(self._clocked)
        revision = await self._guard.run(
            "revision", partial(backend.revision, collection), Budget(self._background), None
        )
        if revision is None:
            self._lose_sight(collection, known)
            return
        is_first = before is None and not known.is_blind
        if not await self._is_told(known, before, revision):
            if not is_first:  # nothing was read before
                self._forget(collection, None)
            known.revision = revision
            known.told.clear()
        known.is_blind = False
        known.sure_until = started + self._seconds
        # Who has news to listen to begins with the first hit.
        is_deaf = self._told is not None and known.following is None
        self.next_look[collection] = 0.0 if is_deaf else started + self._seconds / 2

    async def _compare(self, clocked: SupportsClock) -> None:
        """Learn how far this machine's clock is from the one that all share."""
        theirs = await self._guard.run("clock", clocked.clock, Budget(self._background), None)
        if theirs is not None:
            ahead = theirs - time.time()
            self.ahead = ahead if abs(ahead) > _SAME_TIME else 0.0

    async def _is_told(self, known: _Known, before: int | None, revision: int) -> bool:
        """Return whether the news have told everything up to `revision`."""
        if before is None or revision < before:
            return False
        for _ in range(_NEWS_STEPS if known.following is not None else 0):
            if known.revision is not None and revision <= known.revision:
                return True
            await asyncio.sleep(_NEWS_TAKE / _NEWS_STEPS)
        return known.revision is not None and revision <= known.revision

    def _lose_sight(self, collection: str, known: _Known) -> None:
        known.is_blind = True
        self.next_look[collection] = time.monotonic() + self._seconds

    # --- what changes while it is read or written -----------------------------------------------

    def changed(self, collection: str, keys: Iterable[str]) -> None:
        """Note that `keys` change: what is being read of them now may be what they were before."""
        self.moment += 1
        for key in keys:
            self._changed_at.pop((collection, key), None)
            self._changed_at[collection, key] = self.moment
        while len(self._changed_at) > _MOST_CHANGED:
            _, self._forgotten = self._changed_at.popitem(last=False)

    def may_hold(self, collection: str, key: str, since: int) -> bool:
        """Return whether what was read of a key, beginning at the moment `since`, is not outdated."""
        if since == self.moment:
            return True
        last = max(self._changed_at.get((collection, key), 0), self._emptied_at.get(collection, 0))
        return last <= since and self._forgotten <= since

    def _forget(self, collection: str, keys: Sequence[str] | None) -> None:
        """Forget what others changed: `keys`, or anything in the collection."""
        self.changed(collection, keys or ())
        if keys is None:
            self._emptied_at[collection] = self.moment
            self._tier.forget(lambda name, _: name == collection)
        for key in keys or ():
            self._tier.discard((collection, key))

    # --- the news -------------------------------------------------------------------------------

    @contextlib.contextmanager
    def watching(self, place: Place) -> Generator[asyncio.Event, None, None]:
        """Yield an event that is set whenever the store tells something of `place`, if it does."""
        collection, key = place
        known = self._of(collection)
        self._follow(collection, known)
        bell = asyncio.Event()
        known.bells.setdefault(key, set()).add(bell)
        try:
            yield bell
        finally:
            known.bells[key].discard(bell)
            if not known.bells[key]:
                del known.bells[key]

    def _follow(self, collection: str, known: _Known) -> None:
        """Listen to the news of a collection, on this loop, if there are any."""
        if self._told is None:
            return
        task = known.following
        if task is None or task.done() or not own_tasks([task]):
            known.following = spawn(self._following, self._hear(self._told, collection, known))

    async def _hear(self, backend: SupportsNews, collection: str, known: _Known) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                async with contextlib.aclosing(backend.news(collection)) as news:
                    async for change in news:
                        pause = _FIRST_PAUSE
                        self._take(collection, known, change)
            except Exception as error:  # noqa: BLE001 - without news there is the revision
                self._guard.warn("news", type(error).__name__, str(error))
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _take(self, collection: str, known: _Known, change: Change) -> None:
        if not change.is_lease and change.author != self.author:
            self._forget(collection, change.keys)
        if change.revision is not None:
            known.note(change.revision)
        # One who begins to listen may have missed what others wait for.
        known.ring(change.keys or None)

    async def aclose(self) -> None:
        """Stop listening."""
        tasks = own_tasks(self._following)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=self._background)

    def _of(self, collection: str) -> _Known:
        known = self._known.get(collection)
        if known is None:
            known = self._known[collection] = _Known()
        return known
