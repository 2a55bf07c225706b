"""What large and shared stores can do beyond `base`: open, count, rank, warm, find, tell.

Small protocols, found by `isinstance`, as those of `base`; the cache works without any.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

from .base import BackendStats, EntryInfo, StoredEntry

__all__ = [
    "Change",
    "Copied",
    "FoundEntry",
    "Order",
    "Sought",
    "SupportsClock",
    "SupportsCount",
    "SupportsFence",
    "SupportsFind",
    "SupportsHiddenFailures",
    "SupportsNews",
    "SupportsOpen",
    "SupportsRank",
    "SupportsWarm",
]

Order: TypeAlias = Literal["most_used", "newest"]
"""`most_used`: by number of uses, then by last use. `newest`: made or used last."""


class Sought(NamedTuple):
    """What to find: the entries that match all that is given, of which there is at least one.

    `model` is the one asked for or the one that answered; `created_before` Unix seconds.
    """

    tag: str | None = None
    model: str | None = None
    created_before: float | None = None


class FoundEntry(NamedTuple):
    """The key of an entry that a search found; unless `certain`, the entry itself has to tell."""

    key: str
    certain: bool


class Copied(NamedTuple):
    """What of some entries was copied nearer, the bytes that took, and how many were there already."""

    entries: int = 0
    bytes: int = 0
    present: int = 0


class Change(NamedTuple):
    """What a store says has happened in a collection.

    - `keys`: the entries that were stored, replaced or removed; `None`: any may have been.
    - `author`: who stored them, as named in `put_unless_newer`.
    - `revision`: what the change made of the collection's revision, where it changed it.
    - `is_lease`: nothing happened to the entries, but the leases of `keys` are free.

    One that names no key says that from now on the store is being listened to.
    """

    keys: tuple[str, ...] | None = ()
    author: str = ""
    revision: int | None = None
    is_lease: bool = False


@runtime_checkable
class SupportsCount(Protocol):
    """A store whose `stats` may be an estimate, and that can count all the same."""

    async def count(self) -> BackendStats:
        """Return totals, however long it takes."""
        ...


@runtime_checkable
class SupportsOpen(Protocol):
    """A store that can say at start whether it will work."""

    async def open(self) -> object:
        """Connect now, and check what calls will need.

        Raises:
            ConfigurationError: it will not work before something is changed, and what.
            BackendUnavailableError: it cannot be reached.
        """
        ...


@runtime_checkable
class SupportsRank(Protocol):
    """A store that knows what is used most, without a look at all it has."""

    def ranked(self, collection: str, order: Order, /) -> AsyncIterator[EntryInfo]:
        """Yield the entries of a collection that are worth keeping near, the best first.

        Those past `keep_until` are left out. What is used, written or removed
        meanwhile may come twice or not at all. Memory use does not grow with their number.
        """
        ...


@runtime_checkable
class SupportsWarm(Protocol):
    """A composition of stores, of which one has copies that are nearer."""

    async def room(self) -> int | None:
        """Return the bytes that the nearer store can still take; `None` when nobody knows."""
        ...

    async def warm(self, collection: str, keys: Sequence[str], /) -> Copied:
        """Copy those of `keys` (at most 1,000) that are not there into the nearer store.

        Safe while others write: it never brings back what was replaced or removed.

        Raises:
            BackendUnavailableError: one of the stores failed.
        """
        ...


@runtime_checkable
class SupportsFind(Protocol):
    """A store that finds entries by what was said of them, without reading them all."""

    def find(self, collection: str, sought: Sought, /) -> AsyncIterator[FoundEntry]:
        """Yield every entry that matches, and perhaps others that are not `certain`.

        Entries may be removed meanwhile; those written meanwhile may or may not appear.
        Memory use does not grow with their number.
        """
        ...

    async def names(self) -> Sequence[str]:
        """Return the names of the collections that have entries."""
        ...


@runtime_checkable
class SupportsClock(Protocol):
    """A store with a clock that all machines share."""

    async def clock(self) -> float:
        """Return the store's time in Unix seconds."""
        ...


@runtime_checkable
class SupportsFence(Protocol):
    """A store that can refuse who comes too late.

    A leader draws a fence when it has its lease, and writes with it. When the lease
    was lost meanwhile, or somebody rewrote the entry, what they stored stays.
    """

    async def fence(self, collection: str, /) -> int:
        """Return a number that no entry of the collection is above now, and every later one will be."""
        ...

    async def put_unless_newer(
        self,
        collection: str,
        entries: Sequence[StoredEntry],
        /,
        *,
        fence: int | None,
        author: str = "",
    ) -> Sequence[str]:
        """As `put`, but what was stored above `fence` stays; return the keys of these.

        A fence of 0 replaces nothing, `None` everything. `author` is named in the
        `Change`, for a reader of the news to know its own writes by.
        """
        ...


@runtime_checkable
class SupportsHiddenFailures(Protocol):
    """A composition that goes on where one of its stores fails, so that its callers hear nothing."""

    @property
    def hidden_failures(self) -> int:
        """Operations that one of its stores did not do, since the composition was made."""
        ...


@runtime_checkable
class SupportsNews(Protocol):
    """A store that tells others at once what one of them changed."""

    def news(self, collection: str, /) -> AsyncGenerator[Change, None]:
        """Yield what happens in a collection: first that it is listened to, then each change.

        A change may be told late, twice, or never: the revision has the last word.

        Raises:
            BackendError: nothing more will be told. Whoever wants to, asks anew.
        """
        ...
