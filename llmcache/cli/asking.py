"""A request as a file has it, and as the provider that would send it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from ..errors import InvalidRequestError

if TYPE_CHECKING:
    from ..cache import CacheManager
    from ..keys import Request
    from ..providers.http_provider import HTTPProvider

__all__ = ["Kind", "ProviderName", "kind_of", "provider_class", "request_for"]


class ProviderName(StrEnum):
    """A provider of this package."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    OLLAMA = "ollama"


class Kind(StrEnum):
    """The API that a request is for; the two embeddings differ in where they are asked."""

    CHAT = "chat"
    RESPONSES = "responses"
    MESSAGES = "messages"
    EMBEDDING = "embedding"
    OLLAMA_CHAT = "ollama.chat"
    OLLAMA_GENERATE = "ollama.generate"
    OLLAMA_EMBED = "ollama.embed"

    @property
    def field(self) -> str:
        """Where a body of this kind has what is asked."""
        if self in {Kind.RESPONSES, Kind.EMBEDDING, Kind.OLLAMA_EMBED}:
            return "input"
        return "prompt" if self is Kind.OLLAMA_GENERATE else "messages"

    @property
    def provider(self) -> ProviderName:
        """Who speaks this API."""
        if self is Kind.MESSAGES:
            return ProviderName.ANTHROPIC
        return ProviderName.OLLAMA if self.value.startswith("ollama.") else ProviderName.OPENAI


_CLASSES: Final = {
    ProviderName.OPENAI: "OpenAIProvider",
    ProviderName.ANTHROPIC: "AnthropicProvider",
    ProviderName.OLLAMA: "OllamaProvider",
}
# Fields that one API has, and no other that is asked in the same way.
_EMBEDDING_ONLY: Final = frozenset({"dimensions", "encoding_format"})
_OLLAMA_ONLY: Final = frozenset({"keep_alive", "options", "think"})
_MESSAGES_ONLY: Final = frozenset({"anthropic_version", "stop_sequences", "system"})


def kind_of(body: Mapping[str, Any]) -> Kind:
    """Return the kind that a wire body looks like; a chat completion in doubt."""
    if "messages" not in body and "prompt" in body:
        return Kind.OLLAMA_GENERATE
    model = str(body.get("model")).lower()
    if "messages" not in body and "input" in body:
        vectors = "embed" in model or not _EMBEDDING_ONLY.isdisjoint(body)
        return Kind.EMBEDDING if vectors else Kind.RESPONSES
    if not _OLLAMA_ONLY.isdisjoint(body):
        return Kind.OLLAMA_CHAT
    # Under its bare name, Claude is asked by its own API, which demands a limit.
    bare = model.startswith("claude") and "max_tokens" in body
    if bare or not _MESSAGES_ONLY.isdisjoint(body) or _has_input_schema(body.get("tools")):
        return Kind.MESSAGES
    return Kind.CHAT


def _has_input_schema(tools: object) -> bool:
    return isinstance(tools, list) and any(
        isinstance(t, dict) and "input_schema" in t for t in tools
    )


def provider_class(name: ProviderName) -> Callable[..., HTTPProvider]:
    """Return what makes a provider."""
    module = import_module(f"..providers.{name}", __package__)
    made: Callable[..., HTTPProvider] = getattr(module, _CLASSES[name])
    return made


async def request_for(
    kind: Kind, body: Mapping[str, Any], manager: CacheManager, salt: str | None, **settings: Any
) -> Request:
    """Return the request whose key a call that sends `body` has.

    `settings` are arguments of the provider's constructor.

    Raises:
        InvalidRequestError: `body` is no request of this kind, or one of several inputs.
    """
    rest = {name: value for name, value in body.items() if name not in {"model", kind.field}}
    asked = body[kind.field]
    options: dict[str, Any] = {"extra_body": rest, "salt": salt}
    made: Any = provider_class(kind.provider)(body["model"], cache=manager, **settings)
    async with made as provider:
        if kind.field == "input" and kind is not Kind.RESPONSES:
            requests = provider._embed_call(asked, options).requests  # noqa: SLF001 - what it would ask, unasked
            if len(requests) != 1:
                raise InvalidRequestError("input", "each input has a key of its own; give one")
            request: Request = requests[0]
        elif kind is Kind.OLLAMA_GENERATE:
            request = provider._generate_call(asked, options).request  # noqa: SLF001 - as above
        else:
            if kind is Kind.RESPONSES:
                options["use_responses_api"] = True
            request = provider._call(asked, options).request  # noqa: SLF001 - as above
    return request
