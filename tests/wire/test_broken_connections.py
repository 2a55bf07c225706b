"""Servers that refuse, fall silent, break off or break HTTP: typed errors, tried again where that can help."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from llmcache import OpenAIProvider, ProviderError
from llmcache.errors import (
    ConnectionFailedError,
    InvalidResponseError,
    ResponseTimeoutError,
    StreamInterruptedError,
)
from llmcache.testing.upstream import Reply, Upstream, UpstreamRequest

from .support import (
    SECRET,
    Sleeps,
    answer_stream,
    as_json,
    collect,
    completion,
    final,
    handler,
    raw_server,
    serving,
    sse,
    stored,
)

GOOD = Reply(body=as_json(completion("hi")))


async def test_a_refused_connection_is_tried_again_and_typed() -> None:
    async with Upstream(handler(GOOD)) as upstream:
        base_url = upstream.base_url
    for ask in ("complete", "stream", "embed"):
        provider = OpenAIProvider(
            model="m", base_url=base_url, api_key=SECRET, cache_backend="memory"
        )
        async with provider:
            provider._transport._sleep = noted = Sleeps()
            with pytest.raises(ConnectionFailedError) as raised:
                await _ask(provider, ask)
            assert type(raised.value) is ConnectionFailedError
            assert raised.value.status is None
            assert len(noted) == 2


async def _ask(provider: OpenAIProvider, how: str) -> Any:
    if how == "stream":
        return await collect(provider.stream("x", cache_response=True))
    return await getattr(provider, how)("x", cache_response=True)


@pytest.mark.parametrize("how", ["complete", "stream"])
async def test_a_server_that_says_nothing_is_a_time_out(how: str) -> None:
    async def silent(_: UpstreamRequest) -> Reply:
        await asyncio.Event().wait()
        return GOOD

    async with serving(silent, timeout=0.1, attempts=2) as (provider, upstream):
        with pytest.raises(ResponseTimeoutError) as raised:
            await _ask(provider, how)
        assert raised.value.retryable
        assert upstream.calls == 2
    async with serving(silent, attempts=1) as (provider, upstream):
        with pytest.raises(ResponseTimeoutError):
            await provider.complete("x", timeout=0.1)


async def test_a_stream_that_falls_silent_is_a_time_out_and_not_tried_again() -> None:
    async def falling_silent() -> Any:
        yield sse(*answer_stream()[:2])
        await asyncio.Event().wait()

    async with serving(lambda _: Reply(body=falling_silent()), timeout=0.1) as (provider, upstream):
        with pytest.raises(ResponseTimeoutError):
            await collect(provider.stream("x", cache_response=True))
        assert upstream.calls == 1
        assert await stored(provider) == []


async def test_a_body_that_breaks_off_is_tried_again() -> None:
    half = Reply(body=b'{"choices": [', cut=True)
    async with serving([half, half, GOOD]) as (provider, upstream):
        assert (await provider.complete("x", cache_response=True)).content == "hi"
        assert upstream.calls == 3
    async with serving(half) as (provider, upstream):
        with pytest.raises(ConnectionFailedError):
            await provider.complete("x", cache_response=True)
        assert upstream.calls == 3
        assert await stored(provider) == []


async def test_an_error_body_that_breaks_off_still_has_its_status() -> None:
    async with serving(Reply(404, b'{"error": {"mess', cut=True)) as (provider, upstream):
        with pytest.raises(ProviderError) as raised:
            await provider.complete("x")
        assert raised.value.status == 404
        assert upstream.calls == 1


_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
_BODY = as_json(completion("hi"))


@pytest.mark.parametrize(
    "writes",
    [
        b"",
        b"HTTP/1.1 2",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\ncontent-length: 9\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n" + _BODY,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\nnope",
    ],
    ids=repr,
)
@pytest.mark.parametrize("how", ["complete", "stream"])
async def test_a_server_that_breaks_http_is_a_typed_error(writes: bytes, how: str) -> None:
    async with raw_server(writes) as base_url, OpenAIProvider(
        model="m", base_url=base_url, api_key=SECRET, cache_backend="memory", attempts=1
    ) as provider:  # fmt: skip
        with pytest.raises(ConnectionFailedError):
            await _ask(provider, how)
        assert await stored(provider) == []


@pytest.mark.parametrize("how", ["complete", "stream"])
async def test_a_body_that_ends_with_the_connection_is_whole(how: str) -> None:
    body = sse(*answer_stream()) if how == "stream" else _BODY
    head = b"HTTP/1.0 200 OK\r\n\r\n"
    async with raw_server(head, body[:20], body[20:]) as base_url, OpenAIProvider(
        model="m", base_url=base_url, api_key=SECRET, cache_backend="memory", attempts=1
    ) as provider:  # fmt: skip
        assert await _ask(provider, how)
        assert len(await stored(provider)) == 1


async def test_a_stream_cut_with_the_connection_of_http_1_0_is_interrupted() -> None:
    body = sse(*answer_stream()[:3])
    async with raw_server(b"HTTP/1.0 200 OK\r\n\r\n", body) as base_url, OpenAIProvider(
        model="m", base_url=base_url, api_key=SECRET, cache_backend="memory"
    ) as provider:  # fmt: skip
        with pytest.raises(StreamInterruptedError):
            await _ask(provider, "stream")
        assert await stored(provider) == []


async def test_who_does_not_close_after_done_holds_nobody_up() -> None:
    body = sse(*answer_stream())
    async with raw_server(_HEAD + b"\r\n", body, hang=True) as base_url, OpenAIProvider(
        model="m", base_url=base_url, api_key=SECRET, cache_backend="memory"
    ) as provider:  # fmt: skip
        async with asyncio.timeout(10):
            assert final(await _ask(provider, "stream")).content == "one two three "
        assert len(await stored(provider)) == 1


async def test_nonsense_with_200_is_not_tried_again() -> None:
    for body in (b"<html>", b"", b"{", b'{"choices": []}'):
        async with serving([Reply(body=body), GOOD]) as (provider, upstream):
            with pytest.raises(InvalidResponseError):
                await provider.complete("x", cache_response=True)
            assert upstream.calls == 1
