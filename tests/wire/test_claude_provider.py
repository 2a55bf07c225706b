"""`AnthropicProvider`: versions, headers, keys, and what is refused before anything is sent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from llmcache import (
    ANTHROPIC_AVAILABLE,
    AnthropicProvider,
    InvalidRequestError,
    KeyRules,
    ProviderError,
    StreamEventType,
)
from llmcache.errors import (
    BadRequestError,
    ConfigurationError,
    ContextLengthError,
    InvalidResponseError,
    OverloadedError,
    QuotaExceededError,
    RateLimitError,
    ResponseTimeoutError,
    ServerError,
)
from llmcache.options import CALL_FIELDS, COMPLETION_FIELDS
from llmcache.providers.base import Provider
from llmcache.testing import ProviderTests
from llmcache.testing.upstream import Reply, Upstream, UpstreamRequest

from .claude import (
    ends,
    message,
    plain_answer,
    provider_of,
    reply_of,
    serving,
    starts,
    streamed,
    text_block,
)
from .support import SECRET, as_json, collect, sleeps, stored, until_error
from .test_secrets import check_clean

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


# --- options ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(COMPLETION_FIELDS - AnthropicProvider._fields))
async def test_an_option_of_another_api_is_refused_by_name(name: str) -> None:
    async with serving(plain_answer) as (provider, upstream):
        options: Any = {name: 1}
        with pytest.raises(InvalidRequestError, match=f"^{name}: unknown option"):
            await provider.complete("x", **options)
        with pytest.raises(InvalidRequestError, match=f"^{name}: unknown option"):
            await collect(provider.stream("x", **options))
        with pytest.raises(InvalidRequestError, match=f"^{name}: unknown option"):
            await provider.count_tokens("x", **options)
        assert upstream.calls == 0


def test_which_options_those_are() -> None:
    assert AnthropicProvider._fields < COMPLETION_FIELDS
    assert COMPLETION_FIELDS - AnthropicProvider._fields >= {
        "n",
        "seed",
        "logprobs",
        "frequency_penalty",
        "audio",
        "stream_options",
    }


@pytest.mark.parametrize("name", sorted(AnthropicProvider._fields - CALL_FIELDS))
def test_an_option_that_is_none_is_left_out(name: str) -> None:
    body = made()._call("x", {name: None}).request.body
    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "x"}],
        "max_tokens": 4096,
    }


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({"tools": {"name": "f"}}, "tools"),
        ({"tools": [5]}, "tools[0]"),
        ({"tools": [{"description": "d"}]}, "tools[0]"),
        ({"tool_choice": 5}, "tool_choice"),
        ({"tool_choice": {"type": "function"}}, "tool_choice"),
        ({"stop": "a", "stop_sequences": ["b"]}, "stop"),
        ({"stop": 5}, "stop_sequences"),
        ({"max_tokens": 1, "max_completion_tokens": 2}, "max_completion_tokens"),
        ({"system": 5}, "system"),
        ({"metadata": "m"}, "metadata"),
        ({"output_config": "o"}, "output_config"),
        ({"response_format": "json_object"}, "response_format"),
        ({"response_format": {"type": "grammar"}}, "response_format"),
        ({"response_format": 5}, "response_format"),
        (
            {"response_format": {"type": "object"}, "output_config": {"format": {"type": "x"}}},
            "response_format",
        ),
        ({"betas": "a"}, "betas"),
        ({"extra_body": []}, "extra_body"),
    ],
    ids=repr,
)
async def test_an_option_of_the_wrong_shape_is_refused(options: dict[str, Any], path: str) -> None:
    async with serving(plain_answer) as (provider, upstream):
        with pytest.raises(InvalidRequestError) as raised:
            await provider.complete("x", **options)
        assert raised.value.path == path
        assert upstream.calls == 0


@pytest.mark.parametrize(
    ("given", "messages", "sent"),
    [
        ("a", "q", "a"),
        ("", "q", None),
        ("a", [{"role": "system", "content": "b"}, "q"], [("a"), ("b")]),
        ([{"type": "text", "text": "a"}], [{"role": "system", "content": "b"}, "q"], ["a", "b"]),
        (None, [{"role": "system", "content": "b"}, "q"], "b"),
    ],
    ids=repr,
)
def test_the_system_prompt_is_that_of_the_option_and_of_the_messages(
    given: Any, messages: Any, sent: Any
) -> None:
    body = made()._call(messages, {"system": given}).request.body
    if isinstance(sent, list):
        sent = [{"type": "text", "text": one} for one in sent]
    assert body.get("system") == sent


# --- counting -----------------------------------------------------------------------------------


async def test_tokens_are_counted_by_the_api() -> None:
    async with serving(reply_of({"input_tokens": 12}), betas=["a"]) as (provider, upstream):
        assert await provider.count_tokens("x", temperature=0.5, system="s", stop="a") == 12
        assert await provider.count_tokens("x", model="other", extra_body={"later": 1}) == 12
        first, second = upstream.requests
    assert first.path == "/v1/messages/count_tokens"
    assert first.headers["anthropic-beta"] == "a"
    turns = [{"role": "user", "content": "x"}]
    assert first.json() == {"model": "demo", "messages": turns, "system": "s"}
    assert second.json() == {"model": "other", "messages": turns, "later": 1}


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b'{"input_tokens": "5"}', b'{"input_tokens": true}']
)
async def test_a_count_that_is_none_is_a_typed_error(body: bytes) -> None:
    async with serving(Reply(body=body)) as (provider, _):
        with pytest.raises(InvalidResponseError):
            await provider.count_tokens("x")


async def test_counting_takes_no_part_in_the_cache() -> None:
    async with serving(reply_of({"input_tokens": 12})) as (provider, _):
        options: Any = {"cache_response": True}
        with pytest.raises(InvalidRequestError, match=r"^cache_response: "):
            await provider.count_tokens("x", **options)


# --- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind", "text", "expected", "retryable"),
    [
        (400, "invalid_request_error", "max_tokens: Field required", BadRequestError, False),
        (
            400,
            "invalid_request_error",
            "prompt is too long: 200001 tokens > 200000 maximum",
            ContextLengthError,
            False,
        ),
        (402, "billing_error", "pay", QuotaExceededError, False),
        (413, "request_too_large", "big", BadRequestError, False),
        (429, "rate_limit_error", "slow", RateLimitError, True),
        (500, "api_error", "oops", ServerError, True),
        (504, "timeout_error", "late", ResponseTimeoutError, True),
        (529, "overloaded_error", "full", OverloadedError, True),
    ],
)
async def test_errors_are_typed(
    status: int, kind: str, text: str, expected: type[ProviderError], *, retryable: bool
) -> None:
    error = {"type": "error", "error": {"type": kind, "message": text}, "request_id": "req_body"}
    reply = reply_of(error, status, **{"request-id": "req_1", "retry-after": "3"})
    async with serving(reply) as (provider, upstream):
        with pytest.raises(ProviderError) as raised:
            await provider.complete("x", cache_response=True)
        assert type(raised.value) is expected
        assert (raised.value.status, raised.value.code) == (status, kind)
        assert (raised.value.request_id, raised.value.retry_after) == ("req_1", 3.0)
        assert raised.value.retryable == retryable
        assert upstream.calls == (3 if retryable else 1)
        assert sleeps(provider) == [3.0, 3.0] * retryable  # type: ignore[arg-type]


@pytest.mark.parametrize(("status", "word", "calls"), [(529, "false", 1), (400, "true", 3)])
async def test_the_server_s_word_on_retries_wins_over_the_status(
    status: int, word: str, calls: int
) -> None:
    error = {"type": "error", "error": {"type": "x_error", "message": "m"}}
    async with serving(reply_of(error, status, **{"x-should-retry": word})) as (provider, upstream):
        with pytest.raises(ProviderError):
            await provider.complete("x")
        assert upstream.calls == calls


async def test_a_wait_on_a_success_is_no_wait() -> None:
    async with serving(reply_of(message(), **{"retry-after": "60"})) as (provider, upstream):
        assert (await provider.complete("x")).ok
        assert (upstream.calls, sleeps(provider)) == (1, [])  # type: ignore[arg-type]


async def test_what_the_headers_say_of_the_account_is_not_stored() -> None:
    headers = {
        "request-id": "req_1",
        "anthropic-organization-id": "o",
        "anthropic-ratelimit-requests-limit": "5",
    }
    async with serving(reply_of(message(), **headers)) as (provider, _):
        await provider.complete("x", cache_response=True)
        (entry,) = await stored(provider)  # type: ignore[arg-type]
        assert entry.recording.headers == (("request-id", "req_1"),)


# --- secrets ------------------------------------------------------------------------------------

ECHO = f"invalid x-api-key: {SECRET}"


@pytest.mark.parametrize("version", [OLD, NEW])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_key_that_the_server_repeats_shows_nowhere(version: str, *, stream: bool) -> None:
    error = {
        "type": "error",
        "error": {"type": "authentication_error", "message": ECHO},
        "request_id": SECRET,
    }
    replies = [
        reply_of(error, 401),
        streamed(starts(), *text_block(0, "a"), error),
        Reply(body=as_json(ECHO)),
    ]
    for reply in replies:
        async with serving(reply, api_version=version, attempts=1) as (provider, _):
            if stream:
                events, raised = await until_error(provider.stream("x", cache_response=True))
                shown = [event for event in events if event.type is StreamEventType.ERROR]
                assert SECRET not in repr(shown)
            else:
                with pytest.raises(ProviderError) as caught:
                    await provider.complete("x", cache_response=True)
                raised = caught.value
            check_clean(raised)
            with pytest.raises(ProviderError) as counted:
                await provider.count_tokens("x")
            check_clean(counted.value)


@pytest.mark.parametrize("version", [OLD, NEW])
async def test_the_key_is_nowhere_in_the_provider_or_the_entry(version: str) -> None:
    async with serving(plain_answer, api_version=version) as (provider, _):
        await provider.complete("x", cache_response=True)
        (entry,) = await stored(provider)  # type: ignore[arg-type]
        assert SECRET not in repr(entry)
        assert SECRET not in repr(provider)
        assert SECRET not in repr(provider._transport)


async def test_the_token_of_a_tool_server_counts_and_is_not_in_the_entry() -> None:
    def options(token: str) -> dict[str, Any]:
        return {"mcp_servers": [{"type": "url", "name": "m", "authorization_token": token}]}

    rules = KeyRules(stateful_ttl=60)
    async with serving(plain_answer, key_rules=rules) as (provider, upstream):
        for token in (SECRET, "another", SECRET):
            await provider.complete("x", cache_response=True, **options(token))
        assert upstream.calls == 2
        assert upstream.requests[0].json()["mcp_servers"] == options(SECRET)["mcp_servers"]
        entries = await stored(provider)  # type: ignore[arg-type]
        assert len(entries) == 2
        assert SECRET not in repr(entries)


async def test_a_stream_that_nobody_reads_to_the_end_stores_nothing() -> None:
    async with serving(streamed(starts(), *text_block(0, "a", "b"), *ends())) as (provider, _):
        stream = provider.stream("x", cache_response=True)
        async for event in stream:
            if event.type is StreamEventType.TOKEN:
                break
        await stream.aclose()
        assert await stored(provider) == []  # type: ignore[arg-type]
