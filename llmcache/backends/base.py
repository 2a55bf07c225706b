"""What the cache asks of a place that keeps entries.

A backend is a dumb, durable map from a key in a collection to bytes. It never
makes a key, never reads a payload, never decides whether an entry is fresh, and
never calls a provider. Eviction, size limits and connection settings are its own.

`Backend` is all that a store must do. What some stores can do beyond it are
separate small protocols, found by `isinstance`; the cache works without any.
`llmcache.testing.BackendTests` checks each promise made here.
"""

from __future__ import annotations

import functools
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, Protocol, runtime_checkable

from ..errors import ConfigurationError

__all__ = [
    "MOST_KEYS",
    "MOST_LOADED",
    "Backend",
    "BackendStats",
    "EntryInfo",
    "EverybodysLease",
    "Lease",
    "LoadReport",
    "OnConflict",
    "PruneReport",
    "StoredEntry",
    "SupportsDictionaries",
    "SupportsLease",
    "SupportsLoad",
    "SupportsPeek",
    "SupportsPrune",
    "SupportsQuarantine",
    "SupportsRevision",
    "SupportsStats",
    "SupportsTouch",
    "VersionedEntry",
    "check_collection",
]

MOST_KEYS: Final = 1_000
"""The most keys or entries that one call to a backend may name."""

MOST_LOADED: Final = 5_000
"""The most entries of one `SupportsLoad.load`."""

OnConflict = Literal["keep", "newer", "replace"]
"""What happens to an entry whose key is there: it is kept, replaced by a newer one, or replaced."""

_COLLECTION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
_LONGEST_SCHEME: Final = 16
_DIGITS: Final = range(32, 129)
# What `may_be_key` says of one, for keys with a line each.
_KEY: Final = r"[0-9A-Za-z]{1,16}:[0-9A-Za-z]{32,128}"
_KEYS: Final = re.compile(rf"{_KEY}(?:\n{_KEY})*", re.ASCII)


def check_collection(name: str) -> str:
    """Return `name` if it may name a collection (and so a folder, a table partition, a prefix).

    Raises:
        ConfigurationError: it may not; nothing is derived from such a name.
    """
    if isinstance(name, str) and may_be_collection(name):
        return name
    msg = (
        f"collection {name!r}: use 1 to 128 letters, digits, '.', '_' or '-', "
        "starting with a letter or digit"
    )
    raise ConfigurationError(msg)


@functools.lru_cache(maxsize=1024)
def may_be_collection(name: str) -> bool:
    """Return whether `name` may name a collection."""
    return _COLLECTION.fullmatch(name) is not None


def check_key(key: str) -> str:
    """Return `key` if it has the form `<scheme>:<digits>`, of ASCII letters and digits.

    Raises:
        ConfigurationError: it has not; a store never sees a name it did not expect.
    """
    if isinstance(key, str) and may_be_key(key):
        return key
    msg = f"key {key!r} is not of the form 'v1:<64 hex digits>'"
    raise ConfigurationError(msg)


def check_keys(keys: Sequence[str]) -> Sequence[str]:
    """As `check_key` for each of them; return `keys`."""
    if len(keys) == 1:
        check_key(keys[0])
        return keys
    try:
        # One pass in C: a batch has a thousand. The count finds a key with a line's end inside.
        lines = "\n".join(keys)
        if _KEYS.fullmatch(lines) and lines.count("\n") == len(keys) - 1:
            return keys
    except TypeError:
        pass
    for key in keys:
        check_key(key)
    return keys


def may_be_key(key: str) -> bool:
    """Return whether `key` has the form of one."""
    # Without a regular expression: this is asked for every key of every read.
    scheme, _, digits = key.partition(":")
    return (
        len(digits) in _DIGITS
        and len(scheme) <= _LONGEST_SCHEME
        and scheme.isalnum()
        and digits.isalnum()
        and key.isascii()
    )


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """An entry on its way into a store: opaque bytes, and what a store may index.

    `keep_until` is Unix seconds (`None`: for ever): the store may drop the entry
    from then on, and never returns it for being older; freshness is not its business.
    `answered_by` is the model that answered, where it is not `model`: empty when it
    is, `None` when the writer does not say.
    """

    key: str
    data: bytes
    model: str | None = None
    tags: tuple[str, ...] = ()
    created_at: float = 0.0
    keep_until: float | None = None
    answered_by: str | None = None


class VersionedEntry(NamedTuple):
    """An entry and the number that orders it among others of its key; `None`: the newest.

    A composition of stores moves such entries between them.
    """

    entry: StoredEntry
    version: int | None = None


class Written(NamedTuple):
    """What became of a write: the entries with their versions, and the keys of those that came too late.

    `revision` is the collection's after it, `None` when nothing was replaced.
    """

    entries: list[VersionedEntry]
    late: list[str]
    revision: int | None = None


class Removed(NamedTuple):
    """How many entries were removed, a version above all that they had, and the revision after it."""

    existed: int
    version: int
    revision: int | None = None


@dataclass(frozen=True, slots=True)
class EntryInfo:
    """One entry as a scan sees it: sizes in bytes, times in Unix seconds."""

    collection: str
    key: str
    size: int
    used_at: float = 0.0
    uses: int = 0


@dataclass(frozen=True, slots=True)
class BackendStats:
    """Totals of a store; `collections` maps a name to (entries, bytes).

    Where `estimated`, entries and bytes are from a sample.
    """

    entries: int = 0
    bytes: int = 0
    collections: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    quarantined: int = 0
    oldest_use: float | None = None
    newest_use: float | None = None
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What a load stored; `replaced` is how many of the `stored` were there already."""

    stored: int = 0
    replaced: int = 0


@dataclass(frozen=True, slots=True)
class PruneReport:
    """What a prune removed: entries past their time, entries over the ceiling, left-over files."""

    expired: int = 0
    evicted: int = 0
    leftovers: int = 0
    bytes_freed: int = 0
    entries_left: int = 0
    bytes_left: int = 0


@runtime_checkable
class Backend(Protocol):
    """Five methods. Every one of them:

    - may be called from many tasks at once, on the loop that used the backend first;
    - raises `BackendError` when the store fails, and nothing else of a driver's;
    - is safe to cancel: a cancelled write leaves the old entry or the new one,
      never half of one;
    - raises `ConfigurationError` for a collection or key of the wrong form.
    """

    name: str
    """For messages and statistics, such as `fs`."""

    async def get(self, collection: str, keys: Sequence[str], /) -> Mapping[str, bytes]:
        """Return the entries that exist among `keys` (at most 1,000).

        A missing key is absent from the result: a miss is not an error. The bytes
        are those that were put, or older ones of a put that was replaced; a torn
        write is never returned as if it were whole.
        """
        ...

    async def put(self, collection: str, entries: Sequence[StoredEntry], /) -> None:
        """Store `entries` (at most 1,000) under their keys; the last writer wins.

        When this returns, a `get` from any process sees them. The batch is not
        atomic: after an error, some entries may be stored.
        """
        ...

    async def delete(self, collection: str, keys: Sequence[str], /) -> int:
        """Remove `keys` and return how many existed. Idempotent."""
        ...

    def scan(self, collection: str | None = None, /) -> AsyncIterator[EntryInfo]:
        """Yield the entries of one collection, or of all, in no particular order.

        Entries written or deleted meanwhile may or may not appear. Memory use
        does not grow with their number.
        """
        ...

    async def aclose(self) -> None:
        """Flush, and release what this backend opened itself. Idempotent.

        A client or pool that was passed in stays open: who opens it, closes it.
        """
        ...


class Lease(Protocol):
    """The right to make one answer, held by one process."""

    async def release(self) -> None:
        """Give it up. Idempotent; never raises."""
        ...


class EverybodysLease:
    """A lease that excludes nobody, where no store gives one."""

    async def release(self) -> None:
        """Nothing to give up."""


@runtime_checkable
class SupportsLease(Protocol):
    """A store through which processes agree on who calls the provider."""

    async def try_lease(self, collection: str, key: str, /) -> Lease | None:
        """Return the lease of `key`, or `None` when another holder has it. Never waits for them.

        A lease whose holder dies is free again without anybody's help.
        """
        ...


@runtime_checkable
class SupportsLoad(Protocol):
    """A store that takes many entries at once faster than by `put`."""

    async def load(
        self,
        collection: str,
        entries: Sequence[StoredEntry],
        /,
        *,
        on_conflict: OnConflict = "replace",
    ) -> LoadReport:
        """Store `entries` (at most 5,000) under their keys, all of them or none.

        As a `put` to all others. Whether an entry gives way is decided as it is
        written: `newer` compares `created_at`, and no writer comes in between.
        """
        ...


@runtime_checkable
class SupportsPeek(Protocol):
    """A composition of stores that can read without moving entries nearer."""

    async def peek(self, collection: str, keys: Sequence[str], /) -> Mapping[str, bytes]:
        """As `get`, of what is kept for good alone: who reads everything needs none of it again."""
        ...


@runtime_checkable
class SupportsQuarantine(Protocol):
    """A store that can set damaged bytes aside for a look at them."""

    async def quarantine(self, collection: str, key: str, data: bytes, /) -> None:
        """Move the entry aside if it still holds `data`; otherwise somebody mended it: do nothing."""
        ...


@runtime_checkable
class SupportsDictionaries(Protocol):
    """A store that keeps compression dictionaries beside the entries that need them."""

    async def dictionaries(self, collection: str, /) -> Sequence[bytes]:
        """Return every sound dictionary of the collection, oldest first."""
        ...

    async def put_dictionary(self, collection: str, data: bytes, /) -> None:
        """Keep one more. It stays as long as any entry may name it."""
        ...


@runtime_checkable
class SupportsRevision(Protocol):
    """A store that can tell cheaply whether an entry was replaced or removed.

    Process memories in front of the store ask this, to forget what others changed.
    """

    async def revision(self, collection: str, /) -> int:
        """Return a number that changes when a caller replaced or removed an entry of the collection.

        Expiry and eviction do not count: what they remove was no wrong answer.
        """
        ...


@runtime_checkable
class SupportsTouch(Protocol):
    """A store that remembers use, for eviction and for warming the most used entries."""

    async def touch(self, collection: str, uses: Mapping[str, int], /) -> None:
        """Add `uses` to the keys' counts and set their time of last use to now."""
        ...


@runtime_checkable
class SupportsStats(Protocol):
    """A store that can count what it holds."""

    async def stats(self) -> BackendStats:
        """Return totals, in memory that does not grow with the number of entries.

        A store that would have to read too much for them estimates, and says so.
        """
        ...


@runtime_checkable
class SupportsPrune(Protocol):
    """A store that can shrink."""

    async def prune(
        self, collection: str | None = None, /, *, max_bytes: int | None = None
    ) -> PruneReport:
        """Remove entries past `keep_until`, then the least recently used above `max_bytes`."""
        ...
