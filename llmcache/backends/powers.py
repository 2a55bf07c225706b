"""What large and shared stores can do beyond `base`: open, count, rank, warm and find.

Small protocols, found by `isinstance`, as those of `base`; the cache works without any.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

from .base import BackendStats, EntryInfo

__all__ = [
    "Copied",
    "FoundEntry",
    "Order",
    "Sought",
    "SupportsCount",
    "SupportsFind",
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
