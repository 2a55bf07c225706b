"""Model profiles: what is known of each model, by name and as classes.

from llmcache import GPT5, ModelProfile

ModelProfile.get("claude-opus-5-5").context_window
OpenAIProvider(model=GPT5)
"""

from typing import Final

from .profile import ModelProfile
from .registry import BUILT_IN, ModelRegistry

__all__ = [
    "BUILT_IN",
    "GPT5",
    "GPT5Mini",
    "GPT5Nano",
    "GPT5Point1",
    "GPT5Point2",
    "ModelProfile",
    "ModelRegistry",
    "TextEmbedding3Large",
    "TextEmbedding3Small",
]

GPT5: Final = ModelProfile.get("gpt-5")
GPT5Mini: Final = ModelProfile.get("gpt-5-mini")
GPT5Nano: Final = ModelProfile.get("gpt-5-nano")
GPT5Point1: Final = ModelProfile.get("gpt-5.1")
GPT5Point2: Final = ModelProfile.get("gpt-5.2")
TextEmbedding3Large: Final = ModelProfile.get("text-embedding-3-large")
TextEmbedding3Small: Final = ModelProfile.get("text-embedding-3-small")
