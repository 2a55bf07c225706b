"""What the nearer of two stores may still have and must not keep, until it has been told.

Removals are never forgotten: whoever asks for more of them than can be remembered is
refused. What was replaced is: its answer is paid for, and must not be lost for the sake of
an older one, which goes with its time to live.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Container, Iterable, Mapping, Sequence
from itertools import chain, count, islice
from typing import Final, NamedTuple, TypeAlias

from ..errors import BackendUnavailableError, LLMCacheError
from ._loop_bound import own_tasks, spawn
from ._warner import Warner

__all__ = ["Owed"]

Tell: TypeAlias = Callable[[str, Sequence[str], int], Awaitable[object]]
"""Makes the store forget keys of a collection, with a version above all they had."""

_PAY_EVERY: Final = 1.0
# More in one script would hold up everybody else on the server.
_AT_ONCE: Final = 1_000
# A store that is away refuses all; of a cluster, a node may be.
_MOST_UNHEARD: Final = 3


class _Debt(NamedTuple):
    """A version above what the store may have, and which of all debts this is."""

    version: int
    number: int


_Debts: TypeAlias = OrderedDict[tuple[str, str], _Debt]


class Owed:
    """The debts of one process to one store, which are paid as soon as it can be reached.

    What is owed when the process dies, the store keeps until its time to live is over.
    """

    def __init__(self, tell: Tell, warner: Warner, *, store: str, most: int) -> None:
        """At most so many removals and as many replacements; `store` is named in errors."""
        self._tell = tell
        self._warner = warner
        self._store = store
        self._most = most
        self._removed: _Debts = OrderedDict()
        self._replaced: _Debts = OrderedDict()
        self._numbers = count()
        self._paying: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """Return how many entries are owed."""
        return len(self._removed) + len(self._replaced)

    def __contains__(self, place: tuple[str, str]) -> bool:
        """Return whether the store may have what was in the place before."""
        return place in self._removed or place in self._replaced

    def check_room(self, operation: str, more: int) -> None:
        """Do nothing when so many `more` removals can be remembered.

        Raises:
            BackendUnavailableError: they cannot.
        """
        if self._removed and len(self._removed) + more > self._most:
            msg = "too much was replaced or removed that it still has; go on when it is back"
            raise BackendUnavailableError(msg, backend=self._store, operation=operation)

    def removals(self, collection: str, versions: Mapping[str, int]) -> None:
        """Remember keys that were removed, with a version each that is above what they had."""
        for key, version in versions.items():
            before = self._replaced.pop((collection, key), None)
            self._note(self._removed, (collection, key), version, before)
        self.keep_paying()

    def replacements(self, collection: str, versions: Mapping[str, int]) -> None:
        """Remember keys that were written, each with its version; of too many, the newest."""
        for key, version in versions.items():
            place = (collection, key)
            debts = self._removed if place in self._removed else self._replaced
            self._note(debts, place, version)
        while len(self._replaced) > self._most:
            self._replaced.popitem(last=False)
            reason = "more was replaced than can be remembered; it may serve what was there before"
            self._warner.warn("put", "stale", reason)
        self.keep_paying()

    def _note(
        self, debts: _Debts, place: tuple[str, str], version: int, before: _Debt | None = None
    ) -> None:
        """Owe what is above all that was owed: a slow write between the two must not fit."""
        known = before or debts.get(place)
        highest = version if known is None else max(version, known.version)
        debts[place] = _Debt(highest, next(self._numbers))

    def keep_paying(self) -> None:
        """Go on paying behind the calls, if that was left to a loop that is gone."""
        if not own_tasks(self._paying):
            spawn(self._paying, self._pay_all())

    async def _pay_all(self) -> None:
        while len(self):
            if not await self.pay():
                await asyncio.sleep(_PAY_EVERY)

    async def pay(self) -> bool:
        """Tell the store all; return whether it heard."""
        unheard: set[str] = set()
        while batch := self._batch(unheard):
            for collection, owed in batch.items():
                try:
                    highest = max(debt.version for debt in owed.values())
                    await self._tell(collection, list(owed), highest)
                except LLMCacheError as error:
                    self._warner.warn("pay", type(error).__name__, str(error))
                    unheard.add(collection)
                    self._put_off(collection, owed)
                    if len(unheard) >= _MOST_UNHEARD:
                        return False
                else:
                    self._paid(collection, owed)
        return not unheard

    def _batch(self, but: Container[str]) -> dict[str, dict[str, _Debt]]:
        """Return what is told next, by collection, `but` for some of these."""
        owed = chain(self._removed.items(), self._replaced.items())
        batch: dict[str, dict[str, _Debt]] = {}
        for (collection, key), debt in islice((d for d in owed if d[0][0] not in but), _AT_ONCE):
            batch.setdefault(collection, {})[key] = debt
        return batch

    def _put_off(self, collection: str, owed: Iterable[str]) -> None:
        """Let others be told first the next time."""
        for debts in (self._removed, self._replaced):
            for key in owed:
                if (collection, key) in debts:
                    debts.move_to_end((collection, key))

    def _paid(self, collection: str, owed: Mapping[str, _Debt]) -> None:
        """Forget what was told, unless it has changed again meanwhile."""
        for debts in (self._removed, self._replaced):
            for key, debt in owed.items():
                if debts.get((collection, key)) == debt:
                    del debts[collection, key]

    def stop(self) -> None:
        """Pay no more behind the calls."""
        for task in own_tasks(self._paying):
            task.cancel()
