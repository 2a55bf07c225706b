"""Providers: `base` what one is, a file per wire API, and the clients built from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import lazy_names

if TYPE_CHECKING:
    from ..types import CompletionResult as CompletionResult
    from ..types import EmbeddingResult as EmbeddingResult
    from ..types import StreamEvent as StreamEvent
    from .anthropic import ANTHROPIC_AVAILABLE as ANTHROPIC_AVAILABLE
    from .anthropic import AnthropicProvider as AnthropicProvider
    from .base import BaseProvider as BaseProvider
    from .base import Provider as Provider
    from .cached import CachedProvider as CachedProvider
    from .openai import OpenAIProvider as OpenAIProvider

# The clients stand above the cache, which stands above the wire: loading them here at once
# would make every module of this package depend on the highest.
_HOMES = {
    "ANTHROPIC_AVAILABLE": "anthropic",
    "AnthropicProvider": "anthropic",
    "BaseProvider": "base",
    "CachedProvider": "cached",
    "CompletionResult": "..types",
    "EmbeddingResult": "..types",
    "OpenAIProvider": "openai",
    "Provider": "base",
    "StreamEvent": "..types",
}

__all__ = [
    "ANTHROPIC_AVAILABLE",
    "AnthropicProvider",
    "BaseProvider",
    "CachedProvider",
    "CompletionResult",
    "EmbeddingResult",
    "OpenAIProvider",
    "Provider",
    "StreamEvent",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
