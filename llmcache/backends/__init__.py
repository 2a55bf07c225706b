"""Stores for entries: one file per outside store, none knows another."""

from .base import (
    Backend,
    BackendStats,
    Change,
    EntryInfo,
    Lease,
    PruneReport,
    StoredEntry,
    SupportsClock,
    SupportsDictionaries,
    SupportsFence,
    SupportsLease,
    SupportsNews,
    SupportsPrune,
    SupportsQuarantine,
    SupportsRevision,
    SupportsStats,
    SupportsTouch,
    check_collection,
)
from .filesystem import FSCache
from .memory import MemoryBackend

__all__ = [
    "Backend",
    "BackendStats",
    "Change",
    "EntryInfo",
    "FSCache",
    "Lease",
    "MemoryBackend",
    "PruneReport",
    "StoredEntry",
    "SupportsClock",
    "SupportsDictionaries",
    "SupportsFence",
    "SupportsLease",
    "SupportsNews",
    "SupportsPrune",
    "SupportsQuarantine",
    "SupportsRevision",
    "SupportsStats",
    "SupportsTouch",
    "check_collection",
]
