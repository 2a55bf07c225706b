"""What is known about a model, as a class: its limits, what it reads, what it refuses."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, ClassVar

from ..errors import ConfigurationError
from ..prices import find_price
from ..providers.usage import api_of_usage, parse_usage
from ..tokens import TokenCount, count_tokens
from ..types import MessageInput, Usage

__all__ = ["ModelProfile"]


class ModelProfile:
    """A model, to pass as `model=` and to ask about. Subclass it for one of your own:

        class Mine(ModelProfile):
            model_name = "ft:gpt-4o:acme"
            context_window = 128_000
            tokenizer = "o200k_base"

    What nobody knows is `None`, and never a guess. There are no instances.
    """

    model_name: ClassVar[str]
    """The name that goes onto the wire."""
    provider: ClassVar[str | None] = None
    """Whose model it is, or who serves it: `openai`, `anthropic`, `groq`, `ollama` …"""
    category: ClassVar[str] = "completions"
    """`completions` or `embeddings`."""
    context_window: ClassVar[int | None] = None
    """Tokens that a call can hold in all, read and written."""
    max_input_tokens: ClassVar[int | None] = None
    """Tokens that a call can read, where that is less than the context window."""
    max_output_tokens: ClassVar[int | None] = None
    """Tokens that an answer can have, its reasoning included."""
    dimensions: ClassVar[int | None] = None
    """Numbers in a vector, unless fewer are asked for."""
    reads: ClassVar[tuple[str, ...]] = ()
    """What it reads beside text: `audio`, `image`, `pdf`, `video`."""
    reasoning_model: ClassVar[bool] = False
    """Whether it can reason before it answers."""
    reasoning_efforts: ClassVar[tuple[str, ...]] = ()
    """The efforts it takes, lowest first; empty where nobody says."""
    later_system: ClassVar[bool | None] = None
    """Whether a Claude model takes system messages after the first turn; elsewhere all do."""
    rejects: ClassVar[frozenset[str]] = frozenset()
    """Options that it is known to answer with an error; there may be others."""
    tokenizer: ClassVar[str | None] = None
    """The vocabulary that it reads text with, by tiktoken's name."""
    pricing_id: ClassVar[str | None] = None
    """The name in price lists, where it is another one."""
    retires: ClassVar[str | None] = None
    """The day on which its maker turns it off, `YYYY-MM-DD`, as far as announced."""

    @staticmethod
    def get(name: str) -> type[ModelProfile]:
        """Return the profile of a model, a subclass of your own before one that is built in.

        `name` may have its provider in front (`anthropic/claude-opus-5-5`) and a date or
        `latest` behind; an Ollama tag that is not known by itself is its model.

        Raises:
            ConfigurationError: there is none; names that resemble it are in the message.
        """
        found = ModelProfile.find(name)
        if found is None:
            raise _unknown(name)
        return found

    @staticmethod
    def find(name: str) -> type[ModelProfile] | None:
        """Return what `get` returns, or `None`."""
        from .registry import BUILT_IN, ModelRegistry  # noqa: PLC0415 - it holds profiles

        # The language keeps the list of subclasses already, and drops those that are gone.
        own = (one for one in _descendants(ModelProfile) if one not in BUILT_IN)
        return ModelRegistry(own).find(name) or BUILT_IN.find(name)

    @classmethod
    def count_tokens(cls, content: MessageInput, tools: Any = None) -> TokenCount:
        """Return how many tokens `content` is to this model: a text alone, or messages.

        See `llmcache.count_tokens`.
        """
        return count_tokens(content, model=cls, tools=tools)

    @classmethod
    def cost(cls, usage: Usage) -> Decimal | None:
        """Return what `usage` costs in US dollars; `None` when nobody knows, or without `prices`."""
        price = find_price(usage, cls.provider, cls.pricing_id or cls.model_name)
        return None if price is None else price.on(usage).total_cost

    @staticmethod
    def parse_usage(usage: Any, api: str | None = None) -> Usage:
        """Return what an API's `usage` states: an object, or one of an SDK's.

        `api` is the request's kind (`chat`, `responses`, `messages`, `ollama.chat`);
        without it the names of the fields tell.
        """
        data = _fields(usage)
        return parse_usage(data, api or api_of_usage(data))


def _unknown(name: str) -> ConfigurationError:
    from .registry import BUILT_IN  # noqa: PLC0415 - it holds profiles

    close = difflib.get_close_matches(name, BUILT_IN.names(), n=3)
    hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
    return ConfigurationError(f"no profile of a model {name!r}{hint} (any name works as `model=`)")


def _descendants(profile: type[ModelProfile]) -> Iterator[type[ModelProfile]]:
    for one in profile.__subclasses__():
        if "model_name" in vars(one):
            yield one
        yield from _descendants(one)


def _fields(usage: Any) -> Mapping[str, Any]:
    """Return an SDK's object as the JSON it was made from."""
    if isinstance(usage, Mapping):
        return usage
    dump = getattr(usage, "model_dump", None)
    if dump is None:
        msg = f"usage must be an object, not {type(usage).__name__}"
        raise TypeError(msg)
    fields: Mapping[str, Any] = dump()
    return fields
