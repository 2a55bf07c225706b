"""What surrounds the body: headers, addresses, and how the answer is encoded."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import zstandard

from llmcache import InvalidRequestError, OpenAIProvider
from llmcache.errors import ConfigurationError, ProviderError
from llmcache.testing.upstream import Reply

from .support import (
    EVENT_STREAM,
    SECRET,
    answer_stream,
    as_json,
    collect,
    completion,
    final,
    serving,
    sse,
    stored,
)
from .test_clients import provider_with, recording_client

GOOD = Reply(body=as_json(completion("hi")))


# --- headers ----------------------------------------------------------------------------------


async def headers_of(*, extra: Any = None, **options: Any) -> httpx.Headers:
    seen: list[Any] = []
    async with recording_client(seen) as client:
        await provider_with(client, **options).complete("x", extra_headers=extra)
    headers: httpx.Headers = seen[0].headers
    return headers


async def test_the_headers_of_a_call() -> None:
    headers = await headers_of(organization="org", project="proj", headers={"X-Own": "1"})
    assert headers["authorization"] == f"Bearer {SECRET}"
    assert headers["content-type"] == headers["accept"] == "application/json"
    assert headers["openai-organization"] == "org"
    assert headers["openai-project"] == "proj"
    assert headers["x-own"] == "1"
    assert headers["user-agent"].startswith("llmcache/")


async def test_no_key_no_header() -> None:
    assert "authorization" not in await headers_of(api_key=None)
    assert "authorization" not in await headers_of(api_key="")


async def test_azure_wants_the_key_in_its_own_header() -> None:
    address = "http://me.openai.azure.com/openai/deployments/d?api-version=2024-10-21"
    seen: list[Any] = []
    async with recording_client(seen) as client:
        await provider_with(client, base_url=address).complete("x")
    assert seen[0].headers["api-key"] == SECRET
    assert "authorization" not in seen[0].headers
    assert seen[0].url == (
        "http://me.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-10-21"
    )


@pytest.mark.parametrize("name", ["x-own", "user-agent", "authorization"])
async def test_headers_of_a_call_win(name: str) -> None:
    headers = await headers_of(headers={"x-own": "1"}, extra={name: "2"})
    assert headers.get_list(name) == ["2"]


@pytest.mark.parametrize("name", ["Authorization", "Content-Type", "User-Agent", "X-Own"])
async def test_headers_of_a_call_win_however_they_are_spelled(name: str) -> None:
    headers = await headers_of(headers={"x-own": "1"}, extra={name: "own/value"})
    assert headers.get_list(name) == ["own/value"]


# --- addresses --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        ("http://x.test/v1", "http://x.test/v1/chat/completions"),
        ("http://x.test/v1/", "http://x.test/v1/chat/completions"),
        ("http://x.test", "http://x.test/chat/completions"),
        ("http://x.test:8080/a/b?key=1", "http://x.test:8080/a/b/chat/completions?key=1"),
        ("http://[::1]:9/v1", "http://[::1]:9/v1/chat/completions"),
    ],
)
async def test_where_a_call_goes(base_url: str, url: str) -> None:
    seen: list[Any] = []
    async with recording_client(seen) as client:
        await provider_with(client, base_url=base_url).complete("x")
    assert str(seen[0].url) == url


@pytest.mark.parametrize(
    "base_url",
    [
        "ftp://x.test",
        "x.test/v1",
        "http://",
        "http://x.test:port",
        "http://[::1",
        "http://a b/v1",
        "http://\ud800.test",
    ],
)
def test_an_address_that_is_none_is_refused_at_once(base_url: str) -> None:
    with pytest.raises((InvalidRequestError, ConfigurationError)):
        OpenAIProvider(model="m", base_url=base_url, cache_backend="memory")


@pytest.mark.parametrize("base_url", ["http://xn--/v1", "http://\u00ad/v1", "http://x.test/\0"])
async def test_an_address_that_only_httpx_refuses_is_no_failure_of_the_server(
    base_url: str,
) -> None:
    options = {"model": "m", "base_url": base_url, "cache_backend": "memory"}
    async with OpenAIProvider(**options) as provider:
        with pytest.raises(InvalidRequestError, match=r"^base_url: "):
            await provider.complete("x")


# --- encodings of the body --------------------------------------------------------------------

ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_an_encoded_body_is_stored_as_what_it_says(encoding: str) -> None:
    body = sse(*answer_stream())
    headers = {"content-encoding": encoding}
    encode = ENCODINGS[encoding]
    async with serving(Reply(body=encode(GOOD.body), headers=headers)) as (provider, upstream):  # type: ignore[arg-type]
        assert (await provider.complete("x", cache_response=True)).content == "hi"
        assert encoding in upstream.requests[0].headers["accept-encoding"]
        (entry,) = await stored(provider)
        assert entry.recording.body == GOOD.body
    async with serving(Reply(body=encode(body), headers={**EVENT_STREAM, **headers})) as (
        provider,
        _,
    ):
        live = await collect(provider.stream("x", cache_response=True))
        assert final(live).content == "one two three "
        assert await collect(provider.stream("x", cache_response=True)) == live


async def ask(provider: OpenAIProvider, how: str) -> None:
    if how == "complete":
        await provider.complete("x", cache_response=True)
    else:
        await collect(provider.stream("x", cache_response=True))


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("how", ["complete", "stream"])
async def test_an_encoded_body_that_is_cut_is_an_error(encoding: str, how: str) -> None:
    plain = GOOD.body if how == "complete" else sse(*answer_stream())
    assert isinstance(plain, bytes)
    body = ENCODINGS[encoding](plain)[:-12]
    async with serving(Reply(body=body, headers={"content-encoding": encoding})) as (provider, _):
        with pytest.raises(ProviderError):
            await ask(provider, how)
        assert await stored(provider) == []
