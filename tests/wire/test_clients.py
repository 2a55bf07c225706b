"""The HTTP client underneath: ours or the caller's, and the loops that it belongs to."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest

from llmcache import InvalidRequestError, OpenAIProvider
from llmcache.errors import LLMCacheError, ProviderError
from llmcache.testing.upstream import DemoUpstream, Reply, Upstream

from .support import (
    SECRET,
    Sleeps,
    as_json,
    collect,
    completion,
    final,
    handler,
    provider_of,
)

GOOD = Reply(body=as_json(completion("hi")))


def recording_client(seen: list[Any], module: Any = httpx, **options: Any) -> Any:
    """Return a client that answers by itself and notes what it was asked."""

    def answer(request: Any) -> Any:
        seen.append(request)
        return module.Response(200, content=GOOD.body)

    return module.AsyncClient(transport=module.MockTransport(answer), **options)


def provider_with(client: Any, **options: Any) -> OpenAIProvider:
    defaults = {"model": "m", "base_url": "http://x.test/v1", "api_key": SECRET}
    return OpenAIProvider(
        **{**defaults, "cache_backend": "memory", "http_client": client, **options}
    )


# --- the caller's client ----------------------------------------------------------------------


@pytest.mark.parametrize("module", [httpx, httpx2])
async def test_a_client_that_was_passed_in_is_used_and_not_closed(module: Any) -> None:
    async with DemoUpstream() as upstream, module.AsyncClient(timeout=20) as client:
        for _ in range(2):
            async with provider_of(upstream, http_client=client) as provider:
                whole = await provider.complete("x", cache_response=True)
                events = await collect(provider.stream("y", cache_response=True))
                vectors = await provider.embed(["a", "b"], cache_response=True)
                assert whole.content
                assert final(events).content
                assert len(vectors.embeddings) == 2
                assert await provider.complete("y", cache_response=True) == final(events)
            assert not client.is_closed
        assert upstream.calls == 6


@pytest.mark.parametrize("module", [httpx, httpx2])
async def test_failures_of_either_library_are_translated(module: Any) -> None:
    kinds = {
        "ConnectError": "ConnectionFailedError",
        "ReadError": "ConnectionFailedError",
        "RemoteProtocolError": "ConnectionFailedError",
        "TooManyRedirects": "ConnectionFailedError",
        "DecodingError": "ConnectionFailedError",
        "PoolTimeout": "ResponseTimeoutError",
        "ReadTimeout": "ResponseTimeoutError",
        "ConnectTimeout": "ResponseTimeoutError",
    }
    for name, ours in kinds.items():

        def fail(request: Any, name: str = name) -> Any:
            raise getattr(module, name)("boom", request=request)

        async with module.AsyncClient(transport=module.MockTransport(fail)) as client:
            provider = provider_with(client)
            provider._transport._sleep = waits = Sleeps()
            with pytest.raises(ProviderError) as raised:
                await provider.complete("x")
            assert type(raised.value).__name__ == ours
            assert len(waits) == 2


async def test_a_blocking_client_is_refused() -> None:
    def answer(_: Any) -> Any:
        return httpx.Response(200, content=GOOD.body)

    with httpx.Client(transport=httpx.MockTransport(answer)) as client:
        with pytest.raises(LLMCacheError, match="AsyncClient"):
            await provider_with(client).complete("x")


@pytest.mark.parametrize("client", [object(), "client", 7])
async def test_what_is_no_client_is_refused(client: Any) -> None:
    with pytest.raises(InvalidRequestError, match=r"^http_client: must be an httpx.AsyncClient"):
        await provider_with(client).complete("x")


async def test_a_client_that_is_closed_is_a_typed_error() -> None:
    client = recording_client([])
    await client.aclose()
    with pytest.raises(LLMCacheError):
        await provider_with(client).complete("x")


async def test_the_time_out_of_the_provider_holds_for_a_passed_in_client() -> None:
    seen: list[Any] = []
    async with recording_client(seen) as client:
        await provider_with(client, timeout=42.0).complete("x")
        assert seen[0].extensions["timeout"]["read"] == 42.0


async def test_the_time_out_that_a_passed_in_client_was_made_with_holds() -> None:
    seen: list[Any] = []
    async with recording_client(seen, timeout=20.0) as client:
        await provider_with(client).complete("x")
        assert seen[0].extensions["timeout"]["read"] == 20.0


async def test_a_provider_without_time_out_still_connects_in_time() -> None:
    seen: list[Any] = []
    async with recording_client(seen) as client:
        await provider_with(client, timeout=None).complete("x")
        assert seen[0].extensions["timeout"]["read"] is None
        assert seen[0].extensions["timeout"]["connect"] == 5.0


async def test_the_time_out_of_a_call_holds_for_a_passed_in_client() -> None:
    seen: list[Any] = []
    async with recording_client(seen) as client:
        await provider_with(client).complete("x", timeout=3.0)
        assert seen[0].extensions["timeout"] == dict.fromkeys(("read", "write", "connect"), 3.0) | {
            "pool": None
        }


# --- our own client and its loops -------------------------------------------------------------


# Connections of a loop that is gone cannot be closed any more: nobody closed the provider in it.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_one_provider_serves_two_loops_one_after_the_other() -> None:
    """Each loop has its own server; the provider, and its memory, stay."""
    seen = []

    async def main(provider: OpenAIProvider | None) -> OpenAIProvider:
        async with Upstream(handler(GOOD)) as upstream:
            if provider is None:
                provider = provider_of(upstream)
            else:
                provider._chat = type(provider._chat)(
                    provider._transport,
                    f"{upstream.base_url}/chat/completions",
                    provider._chat.retry,
                )
            for prompt in ("x", f"y{len(seen)}"):
                result = await provider.complete(prompt, cache_response=True)
                assert result.cache is not None
                seen.append(result.cache.status)
        return provider

    provider = asyncio.run(main(None))
    asyncio.run(main(provider))
    asyncio.run(provider.close())
    gc.collect()
    assert seen == ["miss", "miss", "hit", "miss"]


def test_no_client_is_made_for_answers_that_are_stored(tmp_path: Path) -> None:
    async def main() -> None:
        async with DemoUpstream() as upstream:
            options: dict[str, Any] = {"cache_backend": "fs", "cache_dir": tmp_path}
            async with provider_of(upstream, **options) as provider:
                await provider.complete("x", cache_response=True)
            async with provider_of(upstream, **options) as provider:
                await provider.complete("x", cache_response=True)
                await collect(provider.stream("x", cache_response=True))
                assert provider._transport._pool is None

    asyncio.run(main())


async def test_a_closed_provider_leaves_no_connection() -> None:
    async with DemoUpstream() as upstream:
        provider = provider_of(upstream)
        await provider.complete("x")
        pool = provider._transport._pool
        assert pool is not None
        await provider.close()
        assert pool.client.is_closed
        await provider.close()


async def test_connections_are_used_again() -> None:
    async with DemoUpstream() as upstream, provider_of(upstream) as provider:
        await provider.complete("a")
        await collect(provider.stream("b"))
        await collect(provider.stream("c", cache_response=True))
        pool = provider._transport._pool
        assert pool is not None
        assert len(pool.client._transport._pool.connections) == 1
