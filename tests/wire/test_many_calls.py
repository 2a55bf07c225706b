"""Many calls at once: they wait for a connection outside of the HTTP client, and give it back."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator

import pytest

from llmcache import OpenAIProvider, ProviderError
from llmcache.errors import ConnectionFailedError
from llmcache.providers.connections import Connections
from llmcache.testing.upstream import DemoUpstream, Reply, Upstream, UpstreamRequest

from .support import EVENT_STREAM, answer_stream, as_json, completion, provider_of, sse

_PLACES = 2


def free(provider: OpenAIProvider) -> int:
    """Return how many more requests would not have to wait."""
    pool = provider._transport._pool
    assert pool is not None
    return pool.places._value


@pytest.fixture
async def few() -> AsyncIterator[OpenAIProvider]:
    """A provider with two connections; the prompt says what its server does."""
    async with (
        Upstream(_as_told) as upstream,
        Connections(max_connections=_PLACES) as connections,
        provider_of(upstream, attempts=1, connections=connections) as provider,
    ):
        yield provider


async def _as_told(request: UpstreamRequest) -> Reply:
    body = request.json()
    told = body["messages"][0]["content"]
    if told == "hang":
        await asyncio.Event().wait()
    if told == "fail":
        return Reply(500, b'{"error": {"message": "no"}}')
    if told == "cut":
        return Reply(body=b"{", cut=True, headers={"content-length": "9"})
    if told == "late":
        await asyncio.sleep(0.3)
    if body.get("stream"):
        return Reply(body=_events(told), headers=EVENT_STREAM)
    return Reply(body=as_json(completion(told)))


async def _events(told: str) -> AsyncGenerator[bytes, None]:
    whole = sse(*answer_stream())
    yield whole[: len(whole) // 2]
    if told == "stall":
        await asyncio.Event().wait()
    yield whole[len(whole) // 2 :]


async def test_two_thousand_calls_at_once_do_not_stop_the_loop() -> None:
    longest, last = 0.0, time.monotonic()

    async def tick() -> None:
        nonlocal longest, last
        while True:
            await asyncio.sleep(0.01)
            now = time.monotonic()
            longest, last = max(longest, now - last), now

    async with DemoUpstream(latency=0.1) as upstream, provider_of(upstream) as provider:
        ticking = asyncio.create_task(tick())
        async with asyncio.timeout(50):
            await asyncio.gather(*(provider.complete(f"q{n}") for n in range(2_000)))
        ticking.cancel()
        assert upstream.calls == 2_000
    # The server has the same loop, and the machine other things to do: a second would be a lot.
    assert longest < 5


async def test_waiting_for_a_connection_is_no_time_out(few: OpenAIProvider) -> None:
    prompts = ["late"] * (3 * _PLACES)
    results = await asyncio.gather(*(few.complete(prompt, timeout=0.6) for prompt in prompts))
    assert all(result.ok for result in results)


async def test_a_stream_has_its_connection_until_it_is_closed(few: OpenAIProvider) -> None:
    streams = [few.stream("stall") for _ in range(_PLACES)]
    for stream in streams:
        await anext(stream)
    assert free(few) == 0
    waiting = asyncio.create_task(few.complete("x"))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await streams[0].aclose()
    assert (await waiting).ok
    await streams[1].aclose()
    assert free(few) == _PLACES


@pytest.mark.parametrize("told", ["fine", "fail", "cut"])
async def test_every_end_of_a_call_gives_its_connection_back(
    few: OpenAIProvider, told: str
) -> None:
    for _ in range(2 * _PLACES):
        with contextlib.suppress(ProviderError):
            await few.complete(told)
        with contextlib.suppress(ProviderError):
            async for _event in few.stream(told):
                pass
    assert free(few) == _PLACES


@pytest.mark.parametrize("cache_response", [False, True])
async def test_who_is_cancelled_gives_the_connection_back(
    few: OpenAIProvider, *, cache_response: bool
) -> None:
    async def read() -> None:
        async for _ in few.stream("stall", cache_response=cache_response):
            pass

    for _ in range(2):
        asked = [asyncio.create_task(few.complete("hang")) for _ in range(_PLACES)]
        queued = [asyncio.create_task(read()) for _ in range(_PLACES)]
        await asyncio.sleep(0.05)
        for task in [*queued, *asked]:
            task.cancel()
        await asyncio.wait([*queued, *asked])
        reading = [asyncio.create_task(read()) for _ in range(_PLACES)]
        await asyncio.sleep(0.05)
        for task in reading:
            task.cancel()
        await asyncio.wait(reading)
    async with asyncio.timeout(5):
        while free(few) < _PLACES:
            await asyncio.sleep(0.01)


async def test_a_stream_that_nobody_closes_gives_its_connection_back(few: OpenAIProvider) -> None:
    async for _ in few.stream("stall"):
        break
    async with asyncio.timeout(5):
        while free(few) < _PLACES:
            await asyncio.sleep(0.01)


async def test_who_waits_when_the_provider_is_closed_is_told(few: OpenAIProvider) -> None:
    streams = [few.stream("stall") for _ in range(_PLACES)]
    for stream in streams:
        await anext(stream)
    waiting = asyncio.create_task(few.complete("x", attempts=3))
    await asyncio.sleep(0.05)
    await few.close()
    for stream in streams:
        await stream.aclose()
    with pytest.raises(ConnectionFailedError, match="closed during the call"):
        await waiting
    assert few._transport._pool is None
