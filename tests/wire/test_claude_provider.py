"""`AnthropicProvider`: versions, headers, keys, and what is refused before anything is sent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from llmcache import (
    ANTHROPIC_AVAILABLE,
    AnthropicProvider,
    InvalidRequestError,
)
from llmcache.errors import (
    ConfigurationError,
)
from llmcache.providers.base import Provider
from llmcache.testing import ProviderTests
from llmcache.testing.upstream import Reply, Upstream, UpstreamRequest

from .claude import (
    plain_answer,
    provider_of,
    reply_of,
    serving,
)
from .support import SECRET, collect, stored

OLD, NEW = "2023-06-01", "2026-10-21"


class _Failing(Upstream):
    """Answers, and fails when it is told to."""

    def __init__(self) -> None:
        super().__init__(self._reply)
        self.statuses: list[int] = []

    def _reply(self, request: UpstreamRequest) -> Reply:
        if self.statuses:
            error = {"type": "error", "error": {"type": "some_error", "message": "made to fail"}}
            return reply_of(error, self.statuses.pop())
        return plain_answer(request)


class TestAnthropicProvider(ProviderTests):
    embeds = False

    @pytest.fixture
    async def provider(self) -> AsyncIterator[Provider]:
        async with _Failing() as self.server, provider_of(self.server) as provider:
            yield provider

    def upstream_calls(self, provider: Any) -> int:
        return self.server.calls

    def fail_next(self, provider: Any, status: int) -> bool:
        self.server.statuses.append(status)
        return True


def key_of(provider: AnthropicProvider, messages: Any = "x", **options: Any) -> str:
    return provider._call(messages, options).request.key()


def made(**options: Any) -> AnthropicProvider:
    return AnthropicProvider(**{"model": "m", "cache_backend": None, "api_key": SECRET, **options})


# --- settings -----------------------------------------------------------------------------------


def test_the_provider_is_always_available() -> None:
    assert ANTHROPIC_AVAILABLE is True


async def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Upstream(plain_answer) as upstream:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", upstream.base_url.removesuffix("/v1"))
        monkeypatch.setenv("ANTHROPIC_API_KEY", SECRET)
        async with AnthropicProvider("claude-a", cache_backend=None) as provider:
            assert (await provider.complete("x")).content == "hi"
        (request,) = upstream.requests
    assert request.path == "/v1/messages"
    assert request.headers["x-api-key"] == SECRET
    assert request.json()["model"] == "claude-a"


@pytest.mark.parametrize("version", [OLD, NEW])
async def test_an_empty_key_is_no_key(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", SECRET)
    async with Upstream(plain_answer) as upstream:
        async with provider_of(upstream, api_key="", api_version=version) as provider:
            await provider.complete("x")
        async with provider_of(upstream, api_key=None, api_version=version) as provider:
            await provider.complete("x")
        foreign, own = upstream.requests
    assert SECRET not in str(foreign.headers)
    assert not {"authorization", "x-api-key"} & foreign.headers.keys()
    assert SECRET in str(own.headers)


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("https://api.anthropic.com", "https://api.anthropic.com/v1/messages"),
        ("https://api.anthropic.com/", "https://api.anthropic.com/v1/messages"),
        ("https://api.anthropic.com/v1/", "https://api.anthropic.com/v1/messages"),
        ("https://x.example/anthropic", "https://x.example/anthropic/v1/messages"),
        ("https://x.example/v1?beta=true&a=b", "https://x.example/v1/messages?beta=true&a=b"),
    ],
)
def test_the_base_url_may_have_its_version_or_not(base: str, url: str) -> None:
    provider = made(base_url=base)
    assert provider._messages.url == url
    assert provider._counting.url == url.replace("/messages", "/messages/count_tokens")


def test_the_beta_of_older_sdks_is_no_part_of_the_endpoint() -> None:
    plain, beta = made(), made(base_url="https://api.anthropic.com?beta=true")
    assert key_of(plain) == key_of(beta)
    other = made(base_url="https://api.anthropic.com?beta=false")
    assert key_of(plain) != key_of(other)


def test_only_anthropic_s_own_server_has_its_name() -> None:
    assert made().name == "anthropic"
    assert made(base_url="https://api.z.ai/api/anthropic").name == "api.z.ai"


@pytest.mark.parametrize(
    "wrong",
    [
        {"api_version": "latest"},
        {"api_version": None},
        {"max_tokens": 0},
        {"max_tokens": "9"},
        {"max_tokens": True},
        {"default_temperature": 0.5, "api_version": NEW},
        {"api_key": 5},
        {"betas": "one"},
        {"betas": [5]},
        {"betas": [" "]},
        {"model": ""},
    ],
    ids=repr,
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises((ConfigurationError, InvalidRequestError)):
        made(**wrong)


async def test_the_seed_s_settings_are_sent() -> None:
    async with serving(plain_answer, max_tokens=1024, default_temperature=0.3) as (
        provider,
        upstream,
    ):
        await provider.complete(messages="a", tools=None, tool_choice=None)
        await provider.complete("a", temperature=0.7, max_tokens=1000)
        first, second = (request.json() for request in upstream.requests)
    assert (first["temperature"], first["max_tokens"]) == (0.3, 1024)
    assert (second["temperature"], second["max_tokens"]) == (0.7, 1000)


# --- versions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [OLD, NEW])
async def test_each_version_has_its_own_way_to_send_the_key(version: str) -> None:
    async with serving(plain_answer, api_version=version) as (provider, upstream):
        await provider.complete("x")
        await collect(provider.stream("x"))
        for request in upstream.requests:
            assert request.headers["anthropic-version"] == version
            bearer = {"authorization": f"Bearer {SECRET}"}
            sent = {"x-api-key": SECRET} if version == OLD else bearer
            names = ("x-api-key", "authorization")
            assert {n: request.headers[n] for n in names if n in request.headers} == sent


@pytest.mark.parametrize("name", ["temperature", "top_p", "top_k"])
@pytest.mark.parametrize("where", ["option", "extra_body", "header"])
async def test_the_newer_version_takes_no_sampling_parameters(name: str, where: str) -> None:
    options: dict[str, Any] = {name: 1}
    version = NEW
    if where == "extra_body":
        options = {"extra_body": options}
    elif where == "header":
        version = OLD
        options["extra_headers"] = {"Anthropic-Version": NEW}
    async with serving(plain_answer, api_version=version) as (provider, upstream):
        with pytest.raises(InvalidRequestError, match=f"^{name}: .*{NEW}") as raised:
            await provider.complete("x", **options)
        assert raised.value.path == name
        with pytest.raises(InvalidRequestError, match=f"^{name}: "):
            await collect(provider.stream("x", **options))
        assert upstream.calls == 0


async def test_the_older_version_takes_them_and_null_is_none() -> None:
    async with serving(plain_answer) as (provider, upstream):
        await provider.complete("x", temperature=0.5, top_p=0.9, top_k=4)
        sent = upstream.requests[0].json()
    assert (sent["temperature"], sent["top_p"], sent["top_k"]) == (0.5, 0.9, 4)
    async with serving(plain_answer, api_version=NEW) as (provider, upstream):
        await provider.complete("x", temperature=None, top_p=None, top_k=None)
        assert upstream.calls == 1


# --- keys ---------------------------------------------------------------------------------------


def test_versions_and_the_set_of_betas_are_in_the_key() -> None:
    plain = key_of(made())
    assert key_of(made(api_version=OLD)) == plain
    assert key_of(made(api_version=NEW)) != plain
    assert key_of(made(), extra_headers={"anthropic-version": NEW}) == key_of(made(api_version=NEW))
    two = key_of(made(betas=["b", "a"]))
    assert two != plain
    assert two != key_of(made(betas=["a"]))
    for same in (
        key_of(made(betas=["a", "b", "a"])),
        key_of(made(betas=["a"]), betas=["b"]),
        key_of(made(), betas=("a", "b")),
        key_of(made(headers={"Anthropic-Beta": "a, b"})),
        key_of(made(), extra_headers={"anthropic-beta": "b,a"}),
        key_of(made(), betas=["a"], extra_headers={"anthropic-beta": "b"}),
    ):
        assert same == two
    assert key_of(made(), betas=[]) == plain


def test_a_workspace_is_a_namespace_that_is_not_named() -> None:
    one = made(headers={"anthropic-workspace-id": "wrkspc_1"})
    other = made(headers={"anthropic-workspace-id": "wrkspc_2"})
    assert len({key_of(one), key_of(other), key_of(made())}) == 3
    assert b"wrkspc" not in one._call("x", {}).request.identity()


async def test_betas_are_sent_in_one_header() -> None:
    async with serving(plain_answer, betas=["b", "a"]) as (provider, upstream):
        await provider.complete("x")
        await provider.complete("x", betas=["c", "a"])
        await provider.complete("x", betas=["c"], extra_headers={"Anthropic-Beta": "d"})
        sent = [request.headers["anthropic-beta"] for request in upstream.requests]
    assert sent == ["b,a", "b,a,c", "d,c"]


def test_equal_requests_in_different_words_share_a_key() -> None:
    provider = made()
    tool = {"name": "f", "input_schema": {"type": "object"}}
    chat = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    assert key_of(provider, tools=[tool]) == key_of(provider, tools=[chat])
    assert key_of(provider, stop="a") == key_of(provider, stop_sequences=["a"])
    assert key_of(provider, max_tokens=4096) == key_of(provider)
    assert key_of(provider, user="u") == key_of(provider)
    assert key_of(provider, max_tokens=5) != key_of(provider)
    assert key_of(provider, temperature=1.0) == key_of(provider)
    assert key_of(provider, thinking={"type": "adaptive"}) != key_of(provider)
    marked = [
        {
            "role": "user",
            "content": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}],
        }
    ]
    plain = [{"role": "user", "content": [{"type": "text", "text": "x"}]}]
    assert key_of(provider, marked) == key_of(provider, plain)


@pytest.mark.parametrize(
    "options",
    [
        {"mcp_servers": [{"type": "url", "url": "https://x", "name": "m"}]},
        {"container": "container_1"},
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        {"tools": [{"type": "code_execution_20250825", "name": "code_execution"}]},
        {"extra_body": {"thread": {"id": "t"}}},
    ],
    ids=lambda options: next(iter(options)),
)
async def test_what_refers_to_the_server_s_state_is_not_cached(options: dict[str, Any]) -> None:
    async with serving(plain_answer) as (provider, _):
        result = await provider.complete("x", cache_response=True, **options)
        assert result.cache is not None
        assert result.cache.status == "bypass"
        assert await stored(provider) == []  # type: ignore[arg-type]
