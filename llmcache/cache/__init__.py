"""The cache between a caller and a provider; `manager` is the one path."""

from .control import CachePolicy, Control
from .copying import CopyReport, copy_entries
from .manager import CacheManager
from .opening import open_backend, open_cache
from .savings import CacheStats

__all__ = [
    "CacheManager",
    "CachePolicy",
    "CacheStats",
    "Control",
    "CopyReport",
    "copy_entries",
    "open_backend",
    "open_cache",
]
