"""Providers: `base` what one is, a file per wire API, and the clients built from them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..types import CompletionResult as CompletionResult
    from ..types import EmbeddingResult as EmbeddingResult
    from ..types import StreamEvent as StreamEvent
    from .base import BaseProvider as BaseProvider
    from .base import Provider as Provider
    from .cached import CachedProvider as CachedProvider
    from .openai import OpenAIProvider as OpenAIProvider

# The clients stand above the cache, which stands above the wire: loading them here at once
# would make every module of this package depend on the highest.
_HOMES = {
    "BaseProvider": "llmcache.providers.base",
    "CachedProvider": "llmcache.providers.cached",
    "CompletionResult": "llmcache.types",
    "EmbeddingResult": "llmcache.types",
    "OpenAIProvider": "llmcache.providers.openai",
    "Provider": "llmcache.providers.base",
    "StreamEvent": "llmcache.types",
}

__all__ = [
    "BaseProvider",
    "CachedProvider",
    "CompletionResult",
    "EmbeddingResult",
    "OpenAIProvider",
    "Provider",
    "StreamEvent",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module (PEP 562)."""
    home = _HOMES.get(name)
    if home is None:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(importlib.import_module(home), name)
