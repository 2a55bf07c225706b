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
    from .connections import Connections as Connections
    from .connections import close_all as close_all
    from .ollama import OllamaProvider as OllamaProvider
    from .openai import OpenAIProvider as OpenAIProvider
    from .registry import ProviderRegistry as ProviderRegistry
    from .registry import get_provider as get_provider
    from .registry import provider_for as provider_for

# The clients stand above the cache, which stands above the wire: loading them here at once
# would make every module of this package depend on the highest.
_HOMES = {
    "ANTHROPIC_AVAILABLE": "anthropic",
    "AnthropicProvider": "anthropic",
    "BaseProvider": "base",
    "CachedProvider": "cached",
    "CompletionResult": "..types",
    "Connections": "connections",
    "EmbeddingResult": "..types",
    "OllamaProvider": "ollama",
    "OpenAIProvider": "openai",
    "Provider": "base",
    "ProviderRegistry": "registry",
    "StreamEvent": "..types",
    "close_all": "connections",
    "get_provider": "registry",
    "provider_for": "registry",
}

__all__ = [
    "ANTHROPIC_AVAILABLE",
    "AnthropicProvider",
    "BaseProvider",
    "CachedProvider",
    "CompletionResult",
    "Connections",
    "EmbeddingResult",
    "OllamaProvider",
    "OpenAIProvider",
    "Provider",
    "ProviderRegistry",
    "StreamEvent",
    "close_all",
    "get_provider",
    "provider_for",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
