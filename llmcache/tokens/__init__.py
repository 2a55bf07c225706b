"""How many tokens a text, messages or tools are to a model, without asking anybody."""

from .counting import TokenCount, count_tokens

__all__ = ["TokenCount", "count_tokens"]
