"""Stores for entries: one file per outside store, none knows another."""

from .base import (
    Backend,
    BackendStats,
    EntryInfo,
    Lease,
    PruneReport,
    StoredEntry,
    SupportsDictionaries,
    SupportsLease,
    SupportsPrune,
    SupportsQuarantine,
    SupportsRevision,
    SupportsStats,
    SupportsTouch,
    check_collection,
)
from .filesystem import FSCache
from .memory import MemoryBackend
from .powers import (
    Copied,
    FoundEntry,
    Sought,
    SupportsCount,
    SupportsFind,
    SupportsOpen,
    SupportsRank,
    SupportsWarm,
)

__all__ = [
    "Backend",
    "BackendStats",
    "Copied",
    "EntryInfo",
    "FSCache",
    "FoundEntry",
    "Lease",
    "MemoryBackend",
    "PruneReport",
    "Sought",
    "StoredEntry",
    "SupportsCount",
    "SupportsDictionaries",
    "SupportsFind",
    "SupportsLease",
    "SupportsOpen",
    "SupportsPrune",
    "SupportsQuarantine",
    "SupportsRank",
    "SupportsRevision",
    "SupportsStats",
    "SupportsTouch",
    "SupportsWarm",
    "check_collection",
]
