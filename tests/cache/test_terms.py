"""Who is spared another's failure: callers with more patience, and with connections of their own.

Equal calls share one call to the provider, and what fails on its leader's terms alone is
tried again on the others': at once, and once for all who have the same.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from cache_support import until
from tenants import BAD, GOOD, HOWS, SAID, House, ask, fine, house, token_of

from llmcache import CacheManager, Connections, MemoryBackend, OpenAIProvider
from llmcache.cache.control import Control
from llmcache.errors import (
    BadRequestError,
    ConnectionFailedError,
    ProviderError,
    RateLimitError,
    ResponseTimeoutError,
    ServerError,
)
from llmcache.providers.base import Terms, terms_of
from llmcache.testing import FakeProvider
from llmcache.testing.upstream import Reply, UpstreamRequest


class Server:
    """An upstream that gives some replies first, when it may, and sound answers from then on."""

    def __init__(self, *first: int) -> None:
        self.open = asyncio.Event()
        self.calls = 0
        self._first = list(first)

    async def __call__(self, request: UpstreamRequest) -> Reply:
        self.calls += 1
        status = self._first.pop(0) if self._first else 200
        await self.open.wait()
        if status == 200:
            return fine(request)
        return Reply(status, b'{"error": {"message": "no"}}')


async def leader_and_followers(
    h: House, server: Server, how: str, options: Mapping[str, Any], *, count: int = 1
) -> tuple[asyncio.Task[Any], list[asyncio.Task[Any]]]:
    """Return a call with `options` under way, and those that wait for it with the usual ones."""
    one = await h.tenant(GOOD, attempts=3, backoff=0)
    other = await h.tenant(GOOD, attempts=3, backoff=0)
    leader = asyncio.ensure_future(ask(one, how, **options))
    await until(lambda: server.calls == 1)
    followers = [asyncio.ensure_future(ask(other, how)) for _ in range(count)]
    await until(lambda: h.waiting() == 1 + count)
    return leader, followers


class Clocked(httpx.AsyncBaseTransport):
    """A network on which time passes when it is told to, and then 60 seconds at once."""

    def __init__(self) -> None:
        self.passed = asyncio.Event()
        self.calls = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.calls += 1
        await self.passed.wait()
        if request.extensions["timeout"]["read"] < 60:
            raise httpx.ReadTimeout("", request=request)
        asked = UpstreamRequest("POST", request.url.path, {}, request.content)
        reply = fine(asked)
        return httpx.Response(reply.status, headers=reply.headers, content=reply.body)


async def _unasked(_: UpstreamRequest) -> Reply:
    raise AssertionError


@pytest.mark.parametrize("how", HOWS)
async def test_who_would_wait_longer_does_not_share_a_time_out(how: str) -> None:
    network = Clocked()
    async with house(_unasked) as h, httpx.AsyncClient(transport=network) as client:
        one = await h.tenant(GOOD, http_client=client, timeout=1)
        other = await h.tenant(GOOD, http_client=client, timeout=600)
        leaders = [asyncio.ensure_future(ask(one, how)) for _ in range(20)]
        await until(lambda: network.calls == 1)
        followers = [asyncio.ensure_future(ask(other, how)) for _ in range(20)]
        await until(lambda: h.waiting() == 40)
        network.passed.set()
        results = await asyncio.gather(*leaders, return_exceptions=True)
        assert all(isinstance(result, ResponseTimeoutError) for result in results)
        assert await asyncio.gather(*followers) == [SAID[how]] * 20
        assert network.calls == 2


@pytest.mark.parametrize("how", HOWS)
async def test_equal_terms_share_a_time_out_whoever_has_them(how: str) -> None:
    network = Clocked()
    async with house(_unasked) as h, httpx.AsyncClient(transport=network) as client:
        tenants = [await h.tenant(key, http_client=client, timeout=1) for key in (GOOD, GOOD, BAD)]
        calls = [asyncio.ensure_future(ask(tenants[i % 3], how)) for i in range(60)]
        await until(lambda: h.waiting() == 60)
        network.passed.set()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(result, ResponseTimeoutError) for result in results)
        assert network.calls == 1


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize(
    ("status", "error"), [(500, ServerError), (503, ServerError), (429, RateLimitError)]
)
async def test_who_would_try_again_does_not_share_a_failure_that_passes(
    how: str, status: int, error: type[Exception]
) -> None:
    server = Server(status, status)
    async with house(server) as h:
        leader, followers = await leader_and_followers(h, server, how, {"attempts": 1}, count=20)
        server.open.set()
        with pytest.raises(error):
            await leader
        assert await asyncio.gather(*followers) == [SAID[how]] * 20
        # One for the leader, and two for all the rest: the second of their tries went well.
        assert server.calls == 3


@pytest.mark.parametrize("how", HOWS)
async def test_who_tries_more_often_still_shares_a_failure_that_lasts(how: str) -> None:
    server = Server(400)
    async with house(server) as h:
        leader, [follower] = await leader_and_followers(h, server, how, {"attempts": 1})
        server.open.set()
        for call in (leader, follower):
            with pytest.raises(BadRequestError):
                await call
        assert server.calls == 1


@pytest.mark.parametrize("how", HOWS)
async def test_an_open_provider_outlives_the_leaders(how: str) -> None:
    server = Server()
    async with house(server) as h:
        one, other = await h.tenant(GOOD), await h.tenant(GOOD)
        leader = asyncio.ensure_future(ask(one, how))
        await until(lambda: server.calls == 1)
        followers = [asyncio.ensure_future(ask(other, how)) for _ in range(5)]
        await until(lambda: h.waiting() == 6)
        await one.close()
        with pytest.raises(ConnectionFailedError):
            await leader
        server.open.set()
        assert await asyncio.gather(*followers) == [SAID[how]] * 5
        assert server.calls == 2


@pytest.mark.parametrize("how", HOWS)
async def test_a_closed_cache_ends_the_calls_of_all(how: str) -> None:
    server = Server()
    async with house(server) as h:
        leader, [follower] = await leader_and_followers(h, server, how, {"attempts": 1})
        await h.cache.aclose()
        for call in (leader, follower):
            with pytest.raises(ConnectionFailedError, match="cache was closed"):
                await call
        assert server.calls == 1


# --- no line ------------------------------------------------------------------------------------


class Slow:
    """An upstream that refuses the first, answers the good ones at once, and keeps others waiting."""

    def __init__(self) -> None:
        self.first, self.open, self.good = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.asked: Counter[str] = Counter()

    async def __call__(self, request: UpstreamRequest) -> Reply:
        token = token_of(request)
        self.asked[token] += 1
        if token == GOOD:
            await self.good.wait()
            return fine(request)
        await (self.first if self.asked.total() == 1 else self.open).wait()
        return Reply(429, b'{"error": {"message": "slow down"}}', {"retry-after": "60"})


@contextlib.asynccontextmanager
async def crowd(h: House, slow: Slow, how: str) -> Any:
    """Yield the calls of fifteen bad credentials and of a good one, once the first was refused."""
    leader = asyncio.ensure_future(ask(await h.tenant(f"{BAD}-0"), how))
    await until(lambda: slow.asked.total() == 1)
    tenants = [await h.tenant(f"{BAD}-{i}") for i in range(1, 15)]
    good = await h.tenant(GOOD)
    bad = [asyncio.ensure_future(ask(tenant, how)) for tenant in tenants]
    calls = [asyncio.ensure_future(ask(good, how)) for _ in range(3)]
    await until(lambda: h.waiting() == 18)
    slow.first.set()
    with pytest.raises(RateLimitError):
        await leader
    await until(lambda: len(slow.asked) == 16)
    yield good, calls
    slow.open.set()
    results = await asyncio.gather(*bad, return_exceptions=True)
    assert all(isinstance(result, RateLimitError) for result in results)
    assert max(slow.asked.values()) == 1


@pytest.mark.parametrize("how", HOWS)
async def test_nobody_waits_for_a_second_strangers_failure(how: str) -> None:
    slow = Slow()
    slow.good.set()
    async with house(slow) as h, crowd(h, slow, how) as (_, calls):
        # The bad ones are still under way, and one of them holds the lease.
        assert await asyncio.gather(*calls) == [SAID[how]] * 3


@pytest.mark.parametrize("how", HOWS)
async def test_who_comes_later_starts_no_call_beside_those_under_way(how: str) -> None:
    slow = Slow()
    async with house(slow) as h:
        async with crowd(h, slow, how) as (good, calls):
            late = asyncio.ensure_future(ask(good, how))
            await until(lambda: h.waiting() == 18)
        # It joined a stranger's, was spared its failure, and found the one of its like.
        slow.good.set()
        assert await asyncio.gather(late, *calls) == [SAID[how]] * 4
        assert slow.asked[GOOD] == 1


@pytest.mark.parametrize("how", HOWS)
async def test_who_was_spared_looks_whether_the_answer_has_come(how: str) -> None:
    slow, backend = Slow(), MemoryBackend()
    slow.good.set()
    async with house(slow, backend) as h:
        leader = asyncio.ensure_future(ask(await h.tenant(BAD), how))
        await until(lambda: slow.asked[BAD] == 1)
        follower = asyncio.ensure_future(ask(await h.tenant(GOOD), how))
        await until(lambda: h.waiting() == 2)
        async with contextlib.aclosing(CacheManager(backend)) as another:
            await ask(await h.tenant(GOOD, cache=another), how, rewrite_cache=True)
        slow.first.set()
        with pytest.raises(RateLimitError):
            await leader
        assert await follower == SAID[how]
        assert slow.asked == {BAD: 1, GOOD: 1}


# --- the terms ----------------------------------------------------------------------------------


def manner(provider: OpenAIProvider, **options: Any) -> tuple[object, ...]:
    return provider._call("q", options).terms().manner


async def test_patience_and_connections_tell_terms_apart() -> None:
    async with house(_unasked) as h, httpx.AsyncClient() as own, Connections() as apart:
        one, other = await h.tenant(GOOD, timeout=600), await h.tenant(BAD)
        closed = await h.tenant(GOOD)
        await closed.close()
        made = [
            manner(one),
            manner(one, timeout=1),
            manner(one, attempts=5),
            manner(one, backoff=0.5),
            manner(await h.tenant(GOOD, http_client=own)),
            manner(await h.tenant(GOOD, connections=apart)),
            manner(closed),
        ]
        assert len(set(made)) == len(made)
        same = [manner(other), manner(one, timeout=600.0), manner(one, request_id="r")]
        assert same == made[:1] * 3


async def test_calls_that_know_of_no_terms_are_alike() -> None:
    def fail(_: Any) -> ProviderError:
        return ServerError("no", retryable=True)

    async with FakeProvider(fail) as fake:
        control = Control.of({"cache_response": True}, fake.cache.policy, fake.cache.collection)
        call = fake._call("q", {})
        assert terms_of(call) == Terms()
        calls = (fake.cache.complete(call, control) for _ in range(100))
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(result, ServerError) for result in results)
        assert fake.calls == 1
