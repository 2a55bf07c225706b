"""Providers by name and by identifier, and where their requests and keys go."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from llmcache import (
    ConfigurationError,
    OpenAIProvider,
    ProviderRegistry,
    get_provider,
    provider_for,
)
from llmcache.providers.registry import PROVIDERS
from llmcache.providers.servers import SERVERS, server_name
from llmcache.testing import FakeProvider
from llmcache.testing.upstream import DemoUpstream

from .support import as_json, completion

# What an identifier means, and where a call of it goes.
IDENTIFIERS = {
    "openai/gpt-5": ("https://api.openai.com/v1/chat/completions", "gpt-5"),
    "groq/llama-3.3-70b-versatile": (
        "https://api.groq.com/openai/v1/chat/completions",
        "llama-3.3-70b-versatile",
    ),
    "openrouter/anthropic/claude-sonnet-4.5": (
        "https://openrouter.ai/api/v1/chat/completions",
        "anthropic/claude-sonnet-4.5",
    ),
    "together/meta-llama/Llama-3-8b-chat-hf": (
        "https://api.together.xyz/v1/chat/completions",
        "meta-llama/Llama-3-8b-chat-hf",
    ),
    "huggingface/openai/gpt-oss-20b:novita": (
        "https://router.huggingface.co/v1/chat/completions",
        "openai/gpt-oss-20b:novita",
    ),
    "perplexity/sonar": ("https://api.perplexity.ai/chat/completions", "sonar"),
    "vllm/Qwen/Qwen3-8B": ("http://localhost:8000/v1/chat/completions", "Qwen/Qwen3-8B"),
}
# Recorded traffic of these went elsewhere: a host of the account's own, or a proxy.
ELSEWHERE = {"azure", "huggingface"}


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for server in SERVERS.values():
        for name in (server.key_variable, server.base_url_variable):
            if name:
                monkeypatch.delenv(name, raising=False)


async def sent(make: Any, name: str, **options: Any) -> Any:
    """Return the request that a provider sends."""
    seen: list[Any] = []

    def answer(request: Any) -> Any:
        seen.append(request)
        return httpx.Response(200, content=as_json(completion("hi")))

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        provider = make(name, cache_backend=None, http_client=client, **options)
        assert (await provider.complete("x")).content == "hi"
    return seen[0]


@pytest.mark.parametrize("identifier", IDENTIFIERS)
async def test_an_identifier_leads_to_a_model_of_a_server(identifier: str) -> None:
    url, model = IDENTIFIERS[identifier]
    request = await sent(provider_for, identifier, api_key="sk-test-secret")
    assert str(request.url) == url
    assert json.loads(request.content)["model"] == model
    assert request.headers["authorization"] == "Bearer sk-test-secret"


@pytest.mark.parametrize("name", sorted(SERVERS))
async def test_every_server_gets_its_own_key_and_no_other(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = SERVERS[name]
    given: dict[str, Any] = {"model": "m"}
    if server.base_url is None:
        given["base_url"] = "https://res.openai.azure.com/openai/v1"
    for other in SERVERS.values():
        if other.key_variable and other.key_variable != server.key_variable:
            monkeypatch.setenv(other.key_variable, "sk-of-another-server")
    request = await sent(get_provider, name, **given)
    shown = str(dict(request.headers))
    assert "sk-of-another-server" not in shown
    assert "authorization" not in request.headers
    if server.key_variable:
        monkeypatch.setenv(server.key_variable, "sk-its-own-secret")
        request = await sent(get_provider, name, **given)
        header = "api-key" if name == "azure" else "authorization"
        assert request.headers[header].removeprefix("Bearer ") == "sk-its-own-secret"
        request = await sent(get_provider, name, api_key="sk-given-secret", **given)
        assert request.headers[header].removeprefix("Bearer ") == "sk-given-secret"


def test_the_addresses_are_those_of_recorded_traffic(recordings: Path) -> None:
    seen = set()
    for row in json.loads((recordings / "manifest.json").read_text()):
        if row["endpoint"] not in {"chat.completions", "responses", "embeddings"}:
            continue
        exchange = json.loads((recordings / row["file"]).read_text())
        host, path = exchange["host"], exchange["request"]["path"]
        for name, server in SERVERS.items():
            if server.base_url and host == httpx.URL(server.base_url).netloc.decode():
                base = httpx.URL(server.base_url).path.rstrip("/")
                ends = tuple(
                    f"{base}/{end}" for end in ("chat/completions", "responses", "embeddings")
                )
                known = path in ends or name in ELSEWHERE or path.startswith("/beta/")
                assert known, (name, path)
                seen.add(name)
    assert seen >= {"openai", "groq", "openrouter", "deepseek", "mistral", "cerebras", "perplexity"}


async def test_azure_is_at_an_address_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="AZURE_OPENAI_ENDPOINT"):
        get_provider("azure", model="gpt-5")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://res.openai.azure.com/")
    request = await sent(provider_for, "azure/my-deployment")
    assert str(request.url) == "https://res.openai.azure.com/openai/v1/chat/completions"


async def test_a_server_elsewhere_is_named_by_its_base_url() -> None:
    async with DemoUpstream() as upstream:
        provider = provider_for("vllm/m", base_url=upstream.base_url, cache_backend="memory")
        async with provider:  # type: ignore[attr-defined]
            assert (await provider.complete("x", cache_response=True)).ok
            assert (await provider.complete("x", cache_response=True)).cache.hit  # type: ignore[union-attr]
        assert upstream.calls == 1


def test_options_of_the_constructor_pass() -> None:
    provider: Any = get_provider("openai", cache_backend="memory", use_responses_api=True)
    assert isinstance(provider, OpenAIProvider)
    assert (provider.model, provider.name, provider._use_responses) == (
        "gpt-5-nano",
        "openai",
        True,
    )
    with pytest.raises(TypeError, match="temprature"):
        get_provider("openai", temprature=1)


@pytest.mark.parametrize(
    ("make", "name", "said"),
    [
        (get_provider, "grok", "did you mean 'groq'"),
        (get_provider, "nobody", "known: anthropic, azure"),
        (get_provider, "groq", "name a model"),
        (provider_for, "gpt-5", "provider/model"),
        (provider_for, "openai/", "provider/model"),
        (provider_for, "/gpt-5", "provider/model"),
        (provider_for, "", "provider/model"),
        (provider_for, "opnai/gpt-5", "did you mean 'openai'"),
    ],
)
def test_what_leads_nowhere_says_what_would(make: Any, name: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        make(name, cache_backend="memory")


# Those that have a model of their own; a server somewhere else has none that we could know.
OWN_MODELS = {"openai": "gpt-5-nano", "ollama": "qwen2.5:3b"}


@pytest.mark.parametrize("given", [{}, {"model": None}], ids=repr)
@pytest.mark.parametrize("name", PROVIDERS.names)
def test_a_name_without_a_model_has_its_own_or_asks_for_one(
    name: str, given: dict[str, Any]
) -> None:
    if name in OWN_MODELS:
        made: Any = get_provider(name, cache_backend="memory", **given)
        assert made.model == OWN_MODELS[name]
    else:
        said = f"name a model of '{name}': model=…, or {name}/<model>"
        with pytest.raises(ConfigurationError, match=re.escape(said)):
            get_provider(name, cache_backend="memory", **given)


def test_a_factory_of_one_s_own_that_needs_a_model_asks_for_one() -> None:
    def strict(model: str, **_: Any) -> FakeProvider:
        return FakeProvider(model=model)

    mine = PROVIDERS.with_provider("strict", strict)
    with pytest.raises(ConfigurationError, match="name a model of 'strict'"):
        mine.get_provider("strict")
    made: Any = mine.get_provider("strict", model="m")
    assert made.model == "m"


async def test_a_provider_of_one_s_own_is_added_to_a_registry_of_one_s_own() -> None:
    def parrot(model: str = "parrot", **_: Any) -> FakeProvider:
        return FakeProvider(model=model)

    mine = PROVIDERS.with_provider("parrot", parrot)
    async with mine.provider_for("parrot/grey/african") as provider:  # type: ignore[attr-defined]
        assert isinstance(provider, FakeProvider)
        assert provider.model == "grey/african"
    assert "parrot" in mine.names
    assert "parrot" not in PROVIDERS.names
    with pytest.raises(ConfigurationError):
        provider_for("parrot/grey")
    mine = mine.with_provider("openai", parrot)
    assert isinstance(mine.get_provider("openai"), FakeProvider)
    assert isinstance(get_provider("openai", cache_backend="memory"), OpenAIProvider)


@pytest.mark.parametrize("name", ["", "a/b"])
def test_a_name_that_no_identifier_can_have_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError):
        PROVIDERS.with_provider(name, FakeProvider)


def test_a_provider_is_found_where_its_place_says() -> None:
    registry = ProviderRegistry({"fake": "llmcache.testing:FakeProvider"})
    assert isinstance(registry.get_provider("fake"), FakeProvider)
    assert repr(registry) == "ProviderRegistry(fake)"
    for place in ("no.such:Thing", "llmcache.testing:Nothing", "llmcache.testing", ":x"):
        with pytest.raises(ConfigurationError, match="no provider at"):
            ProviderRegistry({"a": place}).get_provider("a")


@pytest.mark.parametrize("name", ["anthropic", "ollama"])
def test_the_other_apis_are_loaded_when_they_are_asked_for(name: str) -> None:
    if importlib.util.find_spec(f"llmcache.providers.{name}") is None:
        pytest.skip(f"llmcache.providers.{name} is not here yet")
    provider: Any = provider_for(f"{name}/some-model", cache_backend="memory")
    assert (
        type(provider).__name__
        == {"anthropic": "AnthropicProvider", "ollama": "OllamaProvider"}[name]
    )
    assert provider.model == "some-model"


def test_a_host_has_the_name_that_price_lists_know() -> None:
    assert server_name("api.x.ai") == "x-ai"
    assert server_name("res.openai.azure.com") == "azure"
    assert server_name("llm.example.com") == "llm.example.com"
