"""Every LLM call durable: asked twice, paid once; restarted, nothing lost.

    from llmcache import OpenAIProvider

    async with OpenAIProvider(model="gpt-5-nano", cache_dir="./cache") as provider:
        result = await provider.complete("Explain WAL.", cache_response=True)

Names are loaded when they are first used: `import llmcache` itself loads nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._lazy import lazy_names

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .backends import FSCache as FSCache
    from .backends import MemoryBackend as MemoryBackend
    from .cache import CacheManager as CacheManager
    from .cache import CachePolicy as CachePolicy
    from .errors import CacheMissError as CacheMissError
    from .errors import InvalidRequestError as InvalidRequestError
    from .errors import LLMCacheError as LLMCacheError
    from .errors import ProviderError as ProviderError
    from .errors import ResponseTimeoutError as ResponseTimeoutError
    from .keys import KeyRules as KeyRules
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
    "AudioPart": "types",
    "BaseProvider": "providers.base",
    "BufferingAdapter": "streaming.adapters",
    "CacheInfo": "types",
    "CacheManager": "cache",
    "CacheMissError": "errors",
    "CachePolicy": "cache",
    "CallbackAdapter": "streaming.adapters",
    "CompletionResult": "types",
    "EmbeddingResult": "types",
    "FSCache": "backends",
    "FilePart": "types",
    "ImagePart": "types",
    "InvalidRequestError": "errors",
    "KeyRules": "keys",
    "LLMCacheError": "errors",
    "MemoryBackend": "backends",
    "Message": "types",
    "MessageInput": "types",
    "OpenAIProvider": "providers.openai",
    "Provider": "providers.base",
    "ProviderError": "errors",
    "ResponseTimeoutError": "errors",
    "Role": "types",
    "SSEAdapter": "streaming.adapters",
    "StreamEvent": "types",
    "StreamEventType": "types",
    "TextPart": "types",
    "ToolCall": "types",
    "ToolCallDelta": "types",
    "Usage": "types",
    "collect_stream": "streaming.adapters",
    "format_sse_event": "types",
    "normalize_messages": "types",
    "stream_to_string": "streaming.adapters",
}

__all__ = [
    "AudioPart",
    "BaseProvider",
    "BufferingAdapter",
    "CacheInfo",
    "CacheManager",
    "CacheMissError",
    "CachePolicy",
    "CallbackAdapter",
    "CompletionResult",
    "EmbeddingResult",
    "FSCache",
    "FilePart",
    "ImagePart",
    "InvalidRequestError",
    "KeyRules",
    "LLMCacheError",
    "MemoryBackend",
    "Message",
    "MessageInput",
    "OpenAIProvider",
    "Provider",
    "ProviderError",
    "ResponseTimeoutError",
    "Role",
    "SSEAdapter",
    "StreamEvent",
    "StreamEventType",
    "TextPart",
    "ToolCall",
    "ToolCallDelta",
    "Usage",
    "__version__",
    "collect_stream",
    "format_sse_event",
    "normalize_messages",
    "stream_to_string",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
