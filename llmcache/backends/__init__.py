"""Stores for entries: one file per outside store, none knows another."""

from .base import (
    Backend,
    BackendStats,
    EntryInfo,
    Lease,
    LoadReport,
    PruneReport,
    StoredEntry,
    SupportsDictionaries,
    SupportsLease,
    SupportsLoad,
    SupportsPeek,
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
    "EntryInfo",
    "FSCache",
    "Lease",
    "LoadReport",
    "MemoryBackend",
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
    "check_collection",
]
