"""No credential that stands in a request's body is readable in what is kept of the call.

Wherever it stands it still tells requests apart, and the key is that of the stored request.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcache import AnthropicProvider, CacheMissError, CachePolicy, KeyRules, OpenAIProvider
from llmcache.backends import MemoryBackend
from llmcache.cache import inspection
from llmcache.cache.transfer import line_of_entry
from llmcache.errors import ProviderError
from llmcache.keys import Request, key_of_identity
from llmcache.testing.upstream import Reply, UpstreamRequest

from . import claude
from .responses import response
from .support import SECRET, as_json, collect, completion, handler, serving, stored, streamed

MARK: Final = "mark-0123456789-abcdef"
URL: Final = f"https://img.example/a.png?size=2&X-Amz-Signature={MARK}"


def _mcp(**fields: Any) -> dict[str, Any]:
    return {
        "type": "mcp",
        "server_label": "m",
        "server_url": "https://mcp.example/mcp",
        **fields,
    }


def _data_source(**authentication: str) -> dict[str, Any]:
    parameters = {"endpoint": "https://x.search.windows.net", "authentication": authentication}
    return {"data_sources": [{"type": "azure_search", "parameters": parameters}]}


def _container(**policy: Any) -> dict[str, Any]:
    return {"type": "code_interpreter", "container": {"type": "auto", "network_policy": policy}}


# --- by field: the API, what is asked besides the question, whether the request stays readable ---

FIELDS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "mcp authorization": ("responses", {"tools": [_mcp(authorization=MARK)]}),
    "mcp header": ("responses", {"tools": [_mcp(headers={"X-Any-Name": f"Bearer {MARK}"})]}),
    "mcp path": ("responses", {"tools": [_mcp(server_url=f"https://mcp.example/s/{MARK}/mcp")]}),
    "mcp query": ("responses", {"tools": [_mcp(server_url=f"https://mcp.example/?k={MARK}")]}),
    "mcp user": ("responses", {"tools": [_mcp(server_url=f"https://u:{MARK}@mcp.example/")]}),
    "mcp, chat": ("chat", {"tools": [_mcp(authorization=MARK, headers={"A": MARK})]}),
    "domain secret": (
        "responses",
        {"tools": [_container(domain_secrets=[{"domain": "d", "name": "n", "value": MARK}])]},
    ),
    "header of another tool": (
        "responses",
        {"tools": [{"type": "later", "extra_headers": {"a": MARK}, "api_key": MARK}]},
    ),
    "header of a function": (
        "chat",
        {"tools": [{"type": "function", "function": {"name": "f"}, "server": {"secret": MARK}}]},
    ),
    "on your data, key": ("chat", {"extra_body": _data_source(type="api_key", key=MARK)}),
    "on your data, token": (
        "chat",
        {"extra_body": _data_source(type="access_token", access_token=MARK)},
    ),
    "on your data, connection": (
        "chat",
        {"extra_body": _data_source(type="connection_string", connection_string=MARK)},
    ),
    "on your data, encoded": (
        "chat",
        {"extra_body": _data_source(type="encoded_api_key", encoded_api_key=MARK)},
    ),
    "on your data, older": (
        "chat",
        {"extra_body": {"dataSources": [{"parameters": {"endpoint": "e", "key": MARK}}]}},
    ),
    "a gateway's key": ("chat", {"extra_body": {"api_key": MARK}}),
    "a gateway's headers": ("chat", {"extra_body": {"extra_headers": {"X-Tenant": MARK}}}),
    "a gateway's fallbacks": (
        "chat",
        {"extra_body": {"fallbacks": [{"model": "n", "api_key": MARK}]}},
    ),
    "mcp server": (
        "messages",
        {"mcp_servers": [{"type": "url", "name": "m", "url": "u", "authorization_token": MARK}]},
    ),
    "mcp server's path": (
        "messages",
        {"mcp_servers": [{"type": "url", "name": "m", "url": f"https://mcp.example/{MARK}"}]},
    ),
    "credit token": ("messages", {"extra_body": {"fallback_credit_token": MARK}}),
    "credit token object": (
        "messages",
        {"extra_body": {"fallback_credit_token": {"token": MARK}}},
    ),
}


def _image(api: str, url: str) -> list[dict[str, Any]]:
    part: dict[str, Any] = {"type": "image_url", "image_url": {"url": url}}
    if api == "messages":
        part = {"type": "image", "source": {"type": "url", "url": url}}
    return [{"role": "user", "content": [{"type": "text", "text": "Look:"}, part]}]


URLS: Final[dict[str, str]] = {
    "S3": URL,
    "S3 token": f"https://img.example/a.png?X-Amz-Security-Token={MARK}",
    "Azure": f"https://x.blob.core.windows.net/a.png?sv=2024-01-01&sig={MARK}",
    "Google": f"https://storage.example/a.png?X-Goog-Signature={MARK}",
    "a key": f"https://img.example/a.png?key={MARK}",
    "a token": f"https://img.example/a.png?access_token={MARK}",
    "a fragment": f"https://img.example/a.png#token={MARK}",
    "a password": f"https://user:{MARK}@img.example/a.png",
    "a user": f"https://{MARK}@img.example/a.png",
    "another scheme": f"s3://user:{MARK}@bucket/a.png",
}


def _answer(request: UpstreamRequest) -> Reply:
    if request.path.endswith("/messages"):
        return claude.plain_answer(request)
    if request.path.endswith("/responses"):
        return Reply(body=as_json(response()))
    return Reply(body=as_json(completion()))


def _open(api: str, answer: Any = _answer, **options: Any) -> Any:
    """Return a provider of an API that caches what depends on the server's state, too."""
    options = {"key_rules": KeyRules(stateful_ttl=600), **options}
    if api == "messages":
        return claude.serving(answer, **options)
    return serving(answer, use_responses_api=api == "responses", **options)


async def _kept(provider: Any) -> Iterator[bytes]:
    """Return all that a store holds, as the codec unpacks it and as it is exported."""
    backend = provider.cache.store.backend
    assert isinstance(backend, MemoryBackend)
    entries = await stored(provider)
    assert entries
    shown = [repr(entry) for entry in entries]
    shown += [str(line_of_entry("default", entry)) for entry in entries]
    infos = [repr(info) async for info in backend.scan()]
    raw = [
        entry.identity
        + (entry.recording.body or b"")
        + b"".join(event.data for event in entry.recording.events or ())
        for entry in entries
    ]
    return iter([*(text.encode() for text in (*shown, *infos)), *raw])


@pytest.mark.parametrize("readable", [True, False])
@pytest.mark.parametrize(("api", "options"), FIELDS.values(), ids=FIELDS)
async def test_a_credential_in_a_field_of_its_own(
    api: str, options: dict[str, Any], readable: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "llmcache")
    policy = CachePolicy(store_request=readable)
    async with _open(api, cache_policy=policy) as (provider, upstream):
        miss = await provider.complete("q", cache_response=True, **options)
        assert MARK in repr(upstream.requests[0].json()), "it must reach the server"
        assert (await provider.complete("q", cache_response=True, **options)).cache.hit
        (entry,) = await stored(provider)
        if readable:
            assert key_of_identity(entry.identity) == entry.key
            assert inspection.misplaced(entry) is None
        assert bool(entry.identity) is readable
        assert not [kept for kept in await _kept(provider) if MARK.encode() in kept]
        assert MARK not in repr(miss) + repr(provider) + caplog.text
        # What differs is said, and not what it was.
        with pytest.raises(CacheMissError) as missed:
            await provider.complete("r", mode="offline", **options)
        assert MARK not in str(missed.value)
        assert MARK not in str(await provider.explain("r", **options))


@pytest.mark.parametrize(("api", "options"), FIELDS.values(), ids=FIELDS)
def test_a_credential_still_tells_requests_apart(api: str, options: dict[str, Any]) -> None:
    other = _replaced(options, "another-credential")
    assert _key(api, options) != _key(api, other)
    assert _key(api, options) == _key(api, _replaced(options, MARK))
    # A digest that somebody sends is not the credential that it is the digest of.
    body = _request(api, options).normalized()
    assert _request(api, options)._replace(body=body).key() != _key(api, options)


@pytest.mark.parametrize("name", URLS)
@pytest.mark.parametrize("api", ["chat", "responses", "messages"])
async def test_a_credential_in_a_url_of_the_conversation(api: str, name: str) -> None:
    url = URLS[name]
    messages = _image(api, url)
    async with _open(api) as (provider, upstream):
        await provider.complete(messages, cache_response=True)
        assert url in repr(upstream.requests[0].json())
        assert (await provider.complete(messages, cache_response=True)).cache.hit
        (entry,) = await stored(provider)
        assert not entry.identity
        assert entry.components
        assert not [kept for kept in await _kept(provider) if MARK.encode() in kept]
        for kept_url in ("https://img.example/b.png", url.replace(MARK, "another-one")):
            changed = _image(api, kept_url)
            assert not (await provider.complete(changed, cache_response=True)).cache.hit
            shown = str(await provider.explain([*messages, {"role": "user", "content": "?"}]))
            assert "nearest" in shown
            assert MARK not in shown
        assert {bool(entry.identity) for entry in await stored(provider)} == {True, False}


@pytest.mark.parametrize(
    "url",
    [
        "https://img.example/a.png",
        "https://img.example/a.png?size=2&keyboard=us",
        "data:image/png;base64,AAAA",
        "https://img.example/a@b.png",
        "see https://img.example/?key=yours for more",
    ],
)
async def test_a_url_without_a_credential_stays_readable(url: str) -> None:
    async with _open("chat") as (provider, _):
        await provider.complete(_image("chat", url), cache_response=True)
        (entry,) = await stored(provider)
        assert key_of_identity(entry.identity) == entry.key


async def test_a_url_in_a_field_that_nobody_has_classified() -> None:
    async with _open("chat") as (provider, _):
        await provider.complete("q", cache_response=True, extra_body={"later": {"image": [URL]}})
        (entry,) = await stored(provider)
        assert not entry.identity


def test_a_pinned_key_of_a_signed_url_is_that_of_its_text() -> None:
    """Keys of conversations do not move: what has changed is what is kept with the answer."""
    request = _request("chat", {"messages": _image("chat", URL)})
    assert URL.encode() in request.identity()


# --- anywhere in what nobody has classified -----------------------------------------------------

_NAMES = st.sampled_from(["a", "provider", "options", "list", "0"])
_SECRET_NAMES = st.sampled_from(
    [
        *("api_key", "key", "x-api-key", "Authorization", "password", "access_token", "secret"),
        *("connection_string", "session", "cookie", "sig", "headers", "extra_headers", "auth"),
    ]
)


@st.composite
def _nested(draw: st.DrawFn) -> dict[str, Any]:
    """Return an unclassified field with the mark somewhere inside, under a credential's name."""
    value: Any = MARK
    for wrap in draw(st.lists(st.sampled_from("lo"), max_size=3)):
        value = [value, "x"] if wrap == "l" else {"inner": value, "n": 1}
    value = {draw(_SECRET_NAMES): value}
    for wrap in draw(st.lists(st.sampled_from("lo"), max_size=4)):
        value = [1, value] if wrap == "l" else {draw(_NAMES): value, "more": None}
    return {f"x_{draw(_NAMES)}": value}


@settings(deadline=None)
@given(extra=_nested(), kind=st.sampled_from(["chat", "responses", "messages", "tomorrow"]))
def test_wherever_it_stands_it_is_a_digest_and_counts(extra: dict[str, Any], kind: str) -> None:
    def made(fields: dict[str, Any]) -> Request:
        return Request(kind, "https://x.example/v1", {"model": "m", **fields})

    request = made(extra)
    assert MARK.encode() not in request.identity()
    assert request.key() != made(_replaced(extra, "another")).key()
    assert request.key() == made(_replaced(extra, MARK)).key()


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "user", "content": MARK, "name": "key"}]},
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {"arguments": MARK}}]}]},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"key": MARK}}}]},
        {"guided_json": {"properties": {"key": {"description": MARK}}}},
        {"response_format": {"json_schema": {"schema": {"token": {"description": MARK}}}}},
    ],
    ids=repr,
)
def test_what_was_said_and_schemas_stay_as_they_are(body: dict[str, Any]) -> None:
    assert MARK.encode() in Request("chat", "https://x.example/v1", body).identity()


# --- errors and answers -------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["complete", "stream"])
@pytest.mark.parametrize(("api", "options"), FIELDS.values(), ids=FIELDS)
async def test_an_error_that_repeats_it_does_not_show_it(
    api: str, options: dict[str, Any], how: str
) -> None:
    told = Reply(400, as_json({"error": {"message": f"cannot use {MARK}"}}))
    async with _open(api, handler(told)) as (provider, _):
        ask = _streamed if how == "stream" else _whole
        with pytest.raises(ProviderError) as raised:
            await ask(provider, **options)
        assert MARK not in str(raised.value) + repr(raised.value) + repr(vars(raised.value))
        assert "cannot use" in str(raised.value)


@pytest.mark.parametrize("name", URLS)
async def test_an_error_that_repeats_a_url_does_not_show_what_is_secret_in_it(name: str) -> None:
    told = Reply(400, as_json({"error": {"message": f"cannot load {URLS[name]}"}}))
    async with _open("chat", handler(told)) as (provider, _):
        with pytest.raises(ProviderError) as raised:
            await provider.complete(_image("chat", URLS[name]))
        assert MARK not in str(raised.value)
        assert "a.png" in str(raised.value)


async def _whole(provider: Any, **options: Any) -> Any:
    return await provider.complete("q", cache_response=True, **options)


async def _streamed(provider: Any, **options: Any) -> Any:
    events = await collect(provider.stream("q", cache_response=True, **options))
    return events[-1].data


ECHOES: Final[dict[str, Any]] = {
    "the header": f"you sent Bearer {SECRET}",
    "a tool's authorization": MARK,
}


@pytest.mark.parametrize("told", ECHOES.values(), ids=ECHOES)
@pytest.mark.parametrize("how", ["complete", "stream"])
async def test_an_answer_that_repeats_it_is_not_kept(told: str, how: str) -> None:
    tools = [_mcp(authorization=MARK)]
    whole = Reply(body=as_json(completion(told)))
    streaming = streamed(
        b"data: " + as_json({"choices": [{"index": 0, "delta": {"content": told}}]}) + b"\n\n"
        b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\n'
        b"data: [DONE]\n\n"
    )
    async with _open("chat", handler(whole if how == "complete" else streaming)) as (provider, up):
        for _ in range(2):
            ask = _streamed if how == "stream" else _whole
            result = await ask(provider, tools=tools)
            assert told in (result.content or "")
            assert result.cache.reason == "the answer repeats a credential of the call"
            assert not result.cache.stored
        assert up.calls == 2
        assert await stored(provider) == []


async def test_an_answer_may_have_the_words_of_a_request() -> None:
    tools = [_mcp(headers={"Accept": "application/json", "X-A": "short"})]
    body = as_json(completion("application/json, short, ollama, m, mcp.example"))
    async with _open("chat", handler(Reply(body=body)), api_key="ollama") as (provider, _):
        result = await provider.complete("q", cache_response=True, tools=tools)
        assert result.cache is not None
        assert result.cache.stored


async def test_a_response_may_repeat_what_is_no_credential() -> None:
    asked: dict[str, Any] = {
        "prompt_cache_key": "the-key-of-a-prompt-cache",
        "metadata": {"session": "a-session-of-somebody"},
        "safety_identifier": "somebody-or-other-0123",
    }
    async with _open("responses", handler(Reply(body=as_json(response(**asked))))) as (provider, _):
        result = await provider.complete("q", cache_response=True, **asked)
        assert result.cache is not None
        assert result.cache.stored


# --- documents on a server ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["data_sources", "dataSources"])
async def test_documents_on_a_server_are_not_cached_unless_for_a_time(name: str) -> None:
    extra = {name: [{"type": "azure_search", "parameters": {"index_name": "i"}}]}
    async with _open("chat", key_rules=KeyRules()) as (provider, _):
        result = await provider.complete("q", cache_response=True, extra_body=extra)
        assert result.cache is not None
        assert result.cache.status == "bypass"
        assert name in (result.cache.reason or "")
        assert await stored(provider) == []
    async with _open("chat") as (provider, _):
        await provider.complete("q", cache_response=True, extra_body=extra)
        (entry,) = await stored(provider)
        assert entry.expires_at is not None


def _key(api: str, options: dict[str, Any]) -> str:
    return _request(api, options).key()


def _request(api: str, options: dict[str, Any]) -> Request:
    settled: Any = {"cache_backend": None, "api_key": SECRET}
    messages = options.get("messages", "q")
    rest = {name: value for name, value in options.items() if name != "messages"}
    if api == "messages":
        return AnthropicProvider("m", **settled)._call(messages, rest).request
    provider = OpenAIProvider("m", use_responses_api=api == "responses", **settled)
    return provider._call(messages, rest).request


def _replaced(value: Any, by: str) -> Any:
    """Return a copy with the mark replaced wherever it stands."""
    if isinstance(value, str):
        return value.replace(MARK, by)
    if isinstance(value, dict):
        return {name: _replaced(item, by) for name, item in value.items()}
    return [_replaced(item, by) for item in value] if isinstance(value, list) else value
