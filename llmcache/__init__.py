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
    from .models import GPT5 as GPT5
    from .models import GPT5Mini as GPT5Mini
    from .models import GPT5Nano as GPT5Nano
    from .models import GPT5Point1 as GPT5Point1
    from .models import GPT5Point2 as GPT5Point2
    from .models import ModelProfile as ModelProfile
    from .models import ModelRegistry as ModelRegistry
    from .models import TextEmbedding3Large as TextEmbedding3Large
    from .models import TextEmbedding3Small as TextEmbedding3Small
    from .providers.anthropic import ANTHROPIC_AVAILABLE as ANTHROPIC_AVAILABLE
    from .providers.anthropic import AnthropicProvider as AnthropicProvider
    from .providers.base import BaseProvider as BaseProvider
    from .providers.base import Provider as Provider
    from .providers.connections import Connections as Connections
    from .providers.connections import close_all as close_all
    from .providers.measured import MeasuredStream as MeasuredStream
    from .providers.ollama import OllamaProvider as OllamaProvider
    from .providers.ollama_models import ModelPull as ModelPull
    from .providers.ollama_models import PullProgress as PullProgress
    from .providers.openai import OpenAIProvider as OpenAIProvider
    from .providers.registry import ProviderRegistry as ProviderRegistry
    from .providers.registry import get_provider as get_provider
    from .providers.registry import provider_for as provider_for
    from .stats import CallStats as CallStats
    from .streaming.adapters import BufferingAdapter as BufferingAdapter
    from .streaming.adapters import CallbackAdapter as CallbackAdapter
    from .streaming.adapters import SSEAdapter as SSEAdapter
    from .streaming.adapters import collect_stream as collect_stream
    from .streaming.adapters import stream_to_string as stream_to_string
    from .timeouts import Timeouts as Timeouts
    from .tokens import TokenCount as TokenCount
    from .tokens import count_tokens as count_tokens
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
    "CallStats": "stats",
    "CallbackAdapter": "streaming.adapters",
    "CompletionResult": "types",
    "ConfigurationError": "errors",
    "ConflictError": "errors",
    "ConnectionFailedError": "errors",
    "Connections": "providers.connections",
    "ContentFilteredError": "errors",
    "ContextLengthError": "errors",
    "CorruptEntryError": "errors",
    "EmbeddingResult": "types",
    "FSCache": "backends",
    "FilePart": "types",
    "GPT5": "models",
    "GPT5Mini": "models",
    "GPT5Nano": "models",
    "GPT5Point1": "models",
    "GPT5Point2": "models",
    "HybridRedisPostgreSQLCache": "backends.hybrid",
    "ImagePart": "types",
    "InvalidRequestError": "errors",
    "InvalidResponseError": "errors",
    "KeyRules": "keys",
    "LLMCacheError": "errors",
    "MeasuredStream": "providers.measured",
    "MemoryBackend": "backends",
    "Message": "types",
    "MessageInput": "types",
    "MissingExtraError": "errors",
    "ModelProfile": "models",
    "ModelPull": "providers.ollama_models",
    "ModelRegistry": "models",
    "Native": "types",
    "NotFoundError": "errors",
    "OllamaProvider": "providers.ollama",
    "OpenAIProvider": "providers.openai",
    "OverloadedError": "errors",
    "PermissionDeniedError": "errors",
    "PostgresBackend": "backends.postgres",
    "Provider": "providers.base",
    "ProviderError": "errors",
    "ProviderRegistry": "providers.registry",
    "PullProgress": "providers.ollama_models",
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
    "TextEmbedding3Large": "models",
    "TextEmbedding3Small": "models",
    "TextPart": "types",
    "TokenCount": "tokens",
    "Timeouts": "timeouts",
    "ToolCall": "types",
    "ToolCallDelta": "types",
    "UnreadableEntryError": "errors",
    "Usage": "types",
    "close_all": "providers.connections",
    "collect_stream": "streaming.adapters",
    "count_tokens": "tokens",
    "format_sse_event": "types",
    "get_provider": "providers.registry",
    "normalize_messages": "types",
    "provider_for": "providers.registry",
    "stream_to_string": "streaming.adapters",
}

__all__ = [
    "ANTHROPIC_AVAILABLE",
    "GPT5",
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
    "CallStats",
    "CallbackAdapter",
    "CompletionResult",
    "ConfigurationError",
    "ConflictError",
    "ConnectionFailedError",
    "Connections",
    "ContentFilteredError",
    "ContextLengthError",
    "CorruptEntryError",
    "EmbeddingResult",
    "FSCache",
    "FilePart",
    "GPT5Mini",
    "GPT5Nano",
    "GPT5Point1",
    "GPT5Point2",
    "HybridRedisPostgreSQLCache",
    "ImagePart",
    "InvalidRequestError",
    "InvalidResponseError",
    "KeyRules",
    "LLMCacheError",
    "MeasuredStream",
    "MemoryBackend",
    "Message",
    "MessageInput",
    "MissingExtraError",
    "ModelProfile",
    "ModelPull",
    "ModelRegistry",
    "Native",
    "NotFoundError",
    "OllamaProvider",
    "OpenAIProvider",
    "OverloadedError",
    "PermissionDeniedError",
    "PostgresBackend",
    "Provider",
    "ProviderError",
    "ProviderRegistry",
    "PullProgress",
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
    "TextEmbedding3Large",
    "TextEmbedding3Small",
    "TextPart",
    "Timeouts",
    "TokenCount",
    "ToolCall",
    "ToolCallDelta",
    "UnreadableEntryError",
    "Usage",
    "__version__",
    "close_all",
    "collect_stream",
    "count_tokens",
    "format_sse_event",
    "get_provider",
    "normalize_messages",
    "provider_for",
    "stream_to_string",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
