"""Every LLM call durable: asked twice, paid once; restarted, nothing lost.

    from llmcache import OpenAIProvider

    async with OpenAIProvider(model="gpt-5-nano", cache_dir="./cache") as provider:
        result = await provider.complete("Explain WAL.", cache_response=True)

Names are loaded when they are first used: `import llmcache` itself loads nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._lazy import lazy_names
from ._version import __version__

if TYPE_CHECKING:
    from .backends import Backend as Backend
    from .backends import FSCache as FSCache
    from .backends import MemoryBackend as MemoryBackend
    from .backends.hybrid import HybridRedisPostgreSQLCache as HybridRedisPostgreSQLCache
    from .backends.postgres import PostgresBackend as PostgresBackend
    from .backends.redis import RedisBackend as RedisBackend
    from .cache import CacheManager as CacheManager
    from .cache import CachePolicy as CachePolicy
    from .errors import AuthenticationError as AuthenticationError
    from .errors import BackendError as BackendError
    from .errors import BackendUnavailableError as BackendUnavailableError
    from .errors import BadRequestError as BadRequestError
    from .errors import CacheMissError as CacheMissError
    from .errors import ConfigurationError as ConfigurationError
    from .errors import ConflictError as ConflictError
    from .errors import ConnectionFailedError as ConnectionFailedError
    from .errors import ContentFilteredError as ContentFilteredError
    from .errors import ContextLengthError as ContextLengthError
    from .errors import CorruptEntryError as CorruptEntryError
    from .errors import InvalidRequestError as InvalidRequestError
    from .errors import InvalidResponseError as InvalidResponseError
    from .errors import LLMCacheError as LLMCacheError
    from .errors import MissingExtraError as MissingExtraError
    from .errors import NotFoundError as NotFoundError
    from .errors import OverloadedError as OverloadedError
    from .errors import PermissionDeniedError as PermissionDeniedError
    from .errors import ProviderError as ProviderError
    from .errors import QuotaExceededError as QuotaExceededError
    from .errors import RateLimitError as RateLimitError
    from .errors import ResponseTimeoutError as ResponseTimeoutError
    from .errors import ServerError as ServerError
    from .errors import StreamInterruptedError as StreamInterruptedError
    from .errors import UnreadableEntryError as UnreadableEntryError
    from .keys import KeyRules as KeyRules
    from .providers.anthropic import ANTHROPIC_AVAILABLE as ANTHROPIC_AVAILABLE
    from .providers.anthropic import AnthropicProvider as AnthropicProvider
    from .providers.base import BaseProvider as BaseProvider
    from .providers.base import Provider as Provider
    from .providers.openai import OpenAIProvider as OpenAIProvider
    from .streaming.adapters import BufferingAdapter as BufferingAdapter
    from .streaming.adapters import CallbackAdapter as CallbackAdapter
    from .streaming.adapters import SSEAdapter as SSEAdapter
    from .streaming.adapters import collect_stream as collect_stream
    from .streaming.adapters import stream_to_string as stream_to_string
    from .types import AudioPart as AudioPart
    from .types import CacheInfo as CacheInfo
    from .types import CompletionResult as CompletionResult
    from .types import EmbeddingResult as EmbeddingResult
    from .types import FilePart as FilePart
    from .types import ImagePart as ImagePart
    from .types import Message as Message
    from .types import MessageInput as MessageInput
    from .types import Native as Native
    from .types import Role as Role
    from .types import StreamEvent as StreamEvent
    from .types import StreamEventType as StreamEventType
    from .types import TextPart as TextPart
    from .types import ToolCall as ToolCall
    from .types import ToolCallDelta as ToolCallDelta
    from .types import Usage as Usage
    from .types import format_sse_event as format_sse_event
    from .types import normalize_messages as normalize_messages

_HOMES = {
    "ANTHROPIC_AVAILABLE": "providers.anthropic",
    "AnthropicProvider": "providers.anthropic",
    "AudioPart": "types",
    "AuthenticationError": "errors",
    "Backend": "backends",
    "BackendError": "errors",
    "BackendUnavailableError": "errors",
    "BadRequestError": "errors",
    "BaseProvider": "providers.base",
    "BufferingAdapter": "streaming.adapters",
    "CacheInfo": "types",
    "CacheManager": "cache",
    "CacheMissError": "errors",
    "CachePolicy": "cache",
    "CallbackAdapter": "streaming.adapters",
    "CompletionResult": "types",
    "ConfigurationError": "errors",
    "ConflictError": "errors",
    "ConnectionFailedError": "errors",
    "ContentFilteredError": "errors",
    "ContextLengthError": "errors",
    "CorruptEntryError": "errors",
    "EmbeddingResult": "types",
    "FSCache": "backends",
    "FilePart": "types",
    "HybridRedisPostgreSQLCache": "backends.hybrid",
    "ImagePart": "types",
    "InvalidRequestError": "errors",
    "InvalidResponseError": "errors",
    "KeyRules": "keys",
    "LLMCacheError": "errors",
    "MemoryBackend": "backends",
    "Message": "types",
    "MessageInput": "types",
    "Native": "types",
    "MissingExtraError": "errors",
    "NotFoundError": "errors",
    "OpenAIProvider": "providers.openai",
    "OverloadedError": "errors",
    "PermissionDeniedError": "errors",
    "PostgresBackend": "backends.postgres",
    "Provider": "providers.base",
    "ProviderError": "errors",
    "QuotaExceededError": "errors",
    "RateLimitError": "errors",
    "RedisBackend": "backends.redis",
    "ResponseTimeoutError": "errors",
    "Role": "types",
    "SSEAdapter": "streaming.adapters",
    "ServerError": "errors",
    "StreamEvent": "types",
    "StreamEventType": "types",
    "StreamInterruptedError": "errors",
    "TextPart": "types",
    "ToolCall": "types",
    "ToolCallDelta": "types",
    "UnreadableEntryError": "errors",
    "Usage": "types",
    "collect_stream": "streaming.adapters",
    "format_sse_event": "types",
    "normalize_messages": "types",
    "stream_to_string": "streaming.adapters",
}

__all__ = [
    "ANTHROPIC_AVAILABLE",
    "AnthropicProvider",
    "AudioPart",
    "AuthenticationError",
    "Backend",
    "BackendError",
    "BackendUnavailableError",
    "BadRequestError",
    "BaseProvider",
    "BufferingAdapter",
    "CacheInfo",
    "CacheManager",
    "CacheMissError",
    "CachePolicy",
    "CallbackAdapter",
    "CompletionResult",
    "ConfigurationError",
    "ConflictError",
    "ConnectionFailedError",
    "ContentFilteredError",
    "ContextLengthError",
    "CorruptEntryError",
    "EmbeddingResult",
    "FSCache",
    "FilePart",
    "HybridRedisPostgreSQLCache",
    "ImagePart",
    "InvalidRequestError",
    "InvalidResponseError",
    "KeyRules",
    "LLMCacheError",
    "MemoryBackend",
    "Message",
    "MessageInput",
    "MissingExtraError",
    "Native",
    "NotFoundError",
    "OpenAIProvider",
    "OverloadedError",
    "PermissionDeniedError",
    "PostgresBackend",
    "Provider",
    "ProviderError",
    "QuotaExceededError",
    "RateLimitError",
    "RedisBackend",
    "ResponseTimeoutError",
    "Role",
    "SSEAdapter",
    "ServerError",
    "StreamEvent",
    "StreamEventType",
    "StreamInterruptedError",
    "TextPart",
    "ToolCall",
    "ToolCallDelta",
    "UnreadableEntryError",
    "Usage",
    "__version__",
    "collect_stream",
    "format_sse_event",
    "normalize_messages",
    "stream_to_string",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
