"""Values: messages, results, events. Immutable, JSON-shaped, without I/O."""

from .content import (
    AudioPart,
    ContentPart,
    FilePart,
    ImagePart,
    RawPart,
    TextPart,
    part_from_dict,
)
from .entry import CacheEntry, Recording, WireEvent
from .messages import Message, MessageInput, Role, ToolCall, ToolCallDelta, normalize_messages
from .native import Native
from .results import CacheInfo, CacheStatus, Choice, CompletionResult, EmbeddingResult
from .stream import StreamEvent, StreamEventType, format_sse_event
from .usage import Usage

__all__ = [
    "AudioPart",
    "CacheEntry",
    "CacheInfo",
    "CacheStatus",
    "Choice",
    "CompletionResult",
    "ContentPart",
    "EmbeddingResult",
    "FilePart",
    "ImagePart",
    "Message",
    "MessageInput",
    "Native",
    "RawPart",
    "Recording",
    "Role",
    "StreamEvent",
    "StreamEventType",
    "TextPart",
    "ToolCall",
    "ToolCallDelta",
    "Usage",
    "WireEvent",
    "format_sse_event",
    "normalize_messages",
    "part_from_dict",
]
