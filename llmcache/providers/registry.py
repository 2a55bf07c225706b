"""Providers by name, and by a model's identifier: `groq/llama-3.3-70b-versatile`.

    provider = provider_for("openrouter/anthropic/claude-sonnet-4.5")
    mine = PROVIDERS.with_provider("mine", MyProvider).get_provider("mine", model="m")

A registry is a value: adding a provider makes another one, and those of others stay
as they are.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from ..errors import ConfigurationError
from ..settings import environment
from .base import Provider
from .openai import OpenAIProvider
from .servers import SERVERS, Server

__all__ = ["PROVIDERS", "ProviderFactory", "ProviderRegistry", "get_provider", "provider_for"]

ProviderFactory: TypeAlias = Callable[..., Provider]
"""Makes a provider from the options of its constructor, `model` among them."""


class ProviderRegistry:
    """Names of providers, and what makes each."""

    def __init__(self, factories: Mapping[str, ProviderFactory | str]) -> None:
        """`factories`: what makes a provider, or where that is, as in `package.module:Name`."""
        self._factories = MappingProxyType(dict(factories))

    def __repr__(self) -> str:
        """Return the names."""
        return f"{type(self).__name__}({', '.join(self.names)})"

    @property
    def names(self) -> tuple[str, ...]:
        """All names, sorted."""
        return tuple(sorted(self._factories))

    def with_provider(self, name: str, factory: ProviderFactory | str) -> ProviderRegistry:
        """Return a registry that has one more provider, or another under a name it has.

        Raises:
            ConfigurationError: the name is empty, or has a slash, which ends it in identifiers.
        """
        if not name or "/" in name:
            msg = f"a provider's name has no slash, and at least one character: {name!r}"
            raise ConfigurationError(msg)
        return ProviderRegistry({**self._factories, name: factory})

    def get_provider(self, name: str, **options: Any) -> Provider:
        """Return a new provider, made with the options of its constructor.

        Raises:
            ConfigurationError: an unknown name, one that cannot be loaded, or no `model`
                where the provider has none of its own.
        """
        factory = self._factories.get(name)
        if factory is None:
            close = difflib.get_close_matches(str(name), self._factories, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(self.names)}"
            msg = f"unknown provider {name!r}; {hint}"
            raise ConfigurationError(msg)
        made = _loaded(factory) if isinstance(factory, str) else factory
        if options.get("model") is None:
            options.pop("model", None)  # the provider's own, as if it were not mentioned
            if _needs_model(made):
                raise _no_model(name)
        return made(**options)

    def provider_for(self, identifier: str, **options: Any) -> Provider:
        """Return a new provider of the model that `provider/model` names.

        The model's own name may have slashes: `openrouter/anthropic/claude-sonnet-4.5`.

        Raises:
            ConfigurationError: no identifier, or as `get_provider`.
        """
        name, _, model = str(identifier).partition("/")
        if not name or not model:
            msg = f"an identifier is `provider/model`, as in `openai/gpt-5`, not {identifier!r}"
            raise ConfigurationError(msg)
        return self.get_provider(name, model=model, **options)


def _loaded(place: str) -> ProviderFactory:
    module, _, name = place.partition(":")
    try:
        factory: ProviderFactory = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        msg = f"no provider at {place!r}: {error}"
        raise ConfigurationError(msg) from error
    return factory


def _needs_model(factory: ProviderFactory) -> bool:
    """Return whether a factory can make nothing without being told a model."""
    try:
        model = inspect.signature(factory).parameters.get("model")
    except (TypeError, ValueError):  # written in C, or no function: it says itself what it needs
        return False
    return model is not None and model.default is inspect.Parameter.empty


def _no_model(name: str) -> ConfigurationError:
    return ConfigurationError(f"name a model of {name!r}: model=…, or {name}/<model>")


def _compatible(server_key: str, /, **options: Any) -> OpenAIProvider:
    """Return a client of a known server.

    Never with the key of another one: `OPENAI_API_KEY` goes to OpenAI alone.
    """
    server = SERVERS[server_key]
    if options.get("model") is None:
        if server.model is None:
            raise _no_model(server_key)
        options["model"] = server.model
    options["base_url"] = options.get("base_url") or _address(server_key, server)
    if options.get("api_key") is None:
        options["api_key"] = (server.key_variable and environment(server.key_variable)) or ""
    return OpenAIProvider(**options)


def _address(server_key: str, server: Server) -> str:
    variable = server.base_url_variable
    stated = variable and environment(variable)
    if stated:
        return stated.rstrip("/") + server.path
    if server.base_url is None:
        msg = f"{server_key!r} is at an address of your own: base_url=…, or set {variable}"
        raise ConfigurationError(msg)
    return server.base_url


PROVIDERS: Final = ProviderRegistry(
    {
        **{name: partial(_compatible, name) for name in SERVERS},
        "anthropic": "llmcache.providers.anthropic:AnthropicProvider",
        "ollama": "llmcache.providers.ollama:OllamaProvider",
    }
)
"""The providers of this package."""


def get_provider(name: str, **options: Any) -> Provider:
    """Return a new provider of this package, by name; see `ProviderRegistry.get_provider`."""
    return PROVIDERS.get_provider(name, **options)


def provider_for(identifier: str, **options: Any) -> Provider:
    """Return a new provider of the model that `provider/model` names."""
    return PROVIDERS.provider_for(identifier, **options)
