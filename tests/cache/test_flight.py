"""Single flight in one process: equal calls share one, whoever leaves, whatever fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from cache_support import Gate, answering, ask, chunks, completion, events_of, streamed, until

from llmcache import OpenAIProvider, StreamEventType
from llmcache.errors import RateLimitError, StreamInterruptedError
from llmcache.testing.upstream import DemoUpstream, Reply, Upstream, UpstreamRequest

MakeProvider = Callable[..., OpenAIProvider]


async def test_a_thousand_equal_calls_make_one(
    provider: OpenAIProvider, upstream: DemoUpstream
) -> None:
    upstream.latency = 0.2
    calls = [provider.complete("q", cache_response=True) for _ in range(1_000)]
    results = await asyncio.gather(*calls)
    assert upstream.calls == 1
    assert len({result.content for result in results}) == 1
    tiers = [result.cache.tier for result in results if result.cache]
    assert tiers.count("flight") == 999
    assert provider.cache.counters.shared == 999
    assert provider.cache.counters.misses == 1


async def test_different_calls_do_not_share(
    provider: OpenAIProvider, upstream: DemoUpstream
) -> None:
    await asyncio.gather(*(provider.complete(f"q{i}", cache_response=True) for i in range(20)))
    assert upstream.calls == 20


@pytest.mark.parametrize("option", ["regen_cache", "rewrite_cache"])
async def test_calls_that_want_a_new_answer_do_not_share(
    provider: OpenAIProvider, upstream: DemoUpstream, option: str
) -> None:
    upstream.latency = 0.1
    options = {"cache_response": True, option: True}
    await asyncio.gather(*(provider.complete("q", **options) for _ in range(3)))
    assert upstream.calls == 3


async def test_the_call_goes_on_when_its_leader_is_cancelled(make_provider: MakeProvider) -> None:
    gate = Gate(completion("kept"))
    async with Upstream(gate) as server, make_provider(base_url=server.base_url) as provider:
        leader = asyncio.ensure_future(provider.complete("q", cache_response=True))
        await gate.arrived.wait()
        followers = [
            asyncio.ensure_future(provider.complete("q", cache_response=True)) for _ in range(5)
        ]
        await asyncio.sleep(0)
        leader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leader
        gate.open.set()
        results = await asyncio.gather(*followers)
        assert {result.content for result in results} == {"kept"}
        assert server.calls == 1


async def test_the_call_stops_when_everybody_has_left(make_provider: MakeProvider) -> None:
    gate = Gate(completion())
    async with Upstream(gate) as server, make_provider(base_url=server.base_url) as provider:
        calls = [
            asyncio.ensure_future(provider.complete("q", cache_response=True)) for _ in range(3)
        ]
        await gate.arrived.wait()
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
        assert not provider.cache._flights.tasks() or all(
            task.cancelling() for task in provider.cache._flights.tasks()
        )
        # Who comes now does not join the call that is being cancelled.
        gate.open.set()
        assert (await provider.complete("q", cache_response=True)).content == "fine"
        assert server.calls == 2


async def test_an_error_reaches_everybody_and_is_not_kept(make_provider: MakeProvider) -> None:
    limit = Reply(429, b'{"error": {"message": "slow down"}}')
    async with (
        answering(limit, completion("later")) as server,
        make_provider(base_url=server.base_url) as provider,
    ):
        calls = [provider.complete("q", cache_response=True, attempts=1) for _ in range(10)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(result, RateLimitError) for result in results)
        assert server.calls == 1
        assert (await provider.complete("q", cache_response=True)).content == "later"


async def test_closing_the_provider_ends_calls_with_an_error_not_a_cancellation(
    make_provider: MakeProvider,
) -> None:
    gate = Gate(completion())
    async with Upstream(gate) as server:
        provider = make_provider(base_url=server.base_url)
        call = asyncio.ensure_future(provider.complete("q", cache_response=True))
        await gate.arrived.wait()
        await provider.close()
        with pytest.raises(ConnectionError, match="closed during the call"):
            await call
        assert not call.cancelled()


# --- streams ------------------------------------------------------------------------------


class Faucet:
    """An upstream handler that streams piece by piece, as it is told to."""

    def __init__(self, *pieces: bytes) -> None:
        self.permits = asyncio.Semaphore(0)
        self._pieces = pieces

    def __call__(self, request: UpstreamRequest) -> Reply:
        return Reply(body=self._flow(), headers={"content-type": "text/event-stream"})

    async def _flow(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            await self.permits.acquire()
            yield piece

    def release(self, count: int = 1) -> None:
        for _ in range(count):
            self.permits.release()


def faucet(*words: str) -> Faucet:
    text = chunks(*words)
    pieces = [piece + b"\n\n" for piece in text.split(b"\n\n") if piece]
    return Faucet(*pieces)


async def test_followers_tail_the_leaders_stream(make_provider: MakeProvider) -> None:
    source = faucet("a", "b", "c", "d")
    async with Upstream(source) as server, make_provider(base_url=server.base_url) as provider:
        leader = provider.stream("q", cache_response=True)
        source.release(2)
        first = [await anext(leader) for _ in range(3)]  # meta, a, b
        # A late follower starts at the beginning, while the stream is still under way.
        follower = provider.stream("q", cache_response=True)
        assert [await anext(follower) for _ in range(3)] == first
        source.release(20)
        rest = [event async for event in leader]
        assert [event async for event in follower] == rest
        assert server.calls == 1
        assert rest[-1].type is StreamEventType.DONE
        assert rest[-1].data.content == "abcd"


async def test_the_stream_goes_on_when_its_leader_leaves(make_provider: MakeProvider) -> None:
    source = faucet("a", "b", "c")
    async with Upstream(source) as server, make_provider(base_url=server.base_url) as provider:
        leader = provider.stream("q", cache_response=True)
        source.release()
        await anext(leader)
        follower = provider.stream("q", cache_response=True)
        await anext(follower)
        await leader.aclose()
        source.release(20)
        events = [event async for event in follower]
        assert events[-1].data.content == "abc"
        hit = await provider.complete("q", cache_response=True)
        assert hit.content == "abc"
        assert server.calls == 1


async def test_a_stream_that_everybody_left_is_closed_and_not_stored(
    make_provider: MakeProvider,
) -> None:
    source = faucet("a", "b", "c")
    async with Upstream(source) as server, make_provider(base_url=server.base_url) as provider:
        stream = provider.stream("q", cache_response=True)
        source.release()
        await anext(stream)
        await stream.aclose()
        await until(lambda: not provider.cache._flights.tasks())
        source.release(20)
        # The connection was broken off; one that was read to its end would stay open for reuse.
        await until(lambda: not server._tasks)
        assert (await provider.cache.stats()).entries == 0


async def test_a_stream_that_everybody_left_is_drained_when_the_policy_says_so(
    make_provider: MakeProvider,
) -> None:
    from llmcache import CachePolicy  # noqa: PLC0415 - beside its use

    source = faucet("a", "b", "c")
    async with (
        Upstream(source) as server,
        make_provider(
            base_url=server.base_url, cache_policy=CachePolicy(drain_streams=True)
        ) as provider,
    ):
        stream = provider.stream("q", cache_response=True)
        source.release()
        await anext(stream)
        await stream.aclose()
        source.release(20)
        await until(lambda: provider.cache.counters.stored == 1)
        assert (await provider.complete("q", mode="offline")).content == "abc"


async def test_whole_and_streamed_calls_share_one_flight(make_provider: MakeProvider) -> None:
    source = faucet("a", "b")
    async with Upstream(source) as server, make_provider(base_url=server.base_url) as provider:
        stream = asyncio.ensure_future(events_of(provider, "q", cache_response=True))
        await until(lambda: server.calls == 1)
        whole = asyncio.ensure_future(provider.complete("q", cache_response=True))
        await asyncio.sleep(0)
        source.release(20)
        assert (await whole).content == "ab"
        assert (await stream)[-1].data.content == "ab"
        assert server.calls == 1


async def test_a_stream_joins_a_whole_call(make_provider: MakeProvider) -> None:
    gate = Gate(completion("whole"))
    async with Upstream(gate) as server, make_provider(base_url=server.base_url) as provider:
        whole = asyncio.ensure_future(provider.complete("q", cache_response=True))
        await gate.arrived.wait()
        stream = asyncio.ensure_future(streamed(provider, "q", cache_response=True))
        await asyncio.sleep(0)
        gate.open.set()
        assert (await stream).content == (await whole).content == "whole"
        assert server.calls == 1


async def test_a_broken_stream_tells_everybody_and_stores_nothing(
    make_provider: MakeProvider,
) -> None:
    cut = Reply(
        body=chunks("a", "b", finish=None, done=False, usage=False),
        headers={"content-type": "text/event-stream"},
        cut=True,
    )
    async with answering(cut) as server, make_provider(base_url=server.base_url) as provider:

        async def watch() -> list[StreamEventType]:
            seen: list[StreamEventType] = []
            try:
                async for event in provider.stream("q", cache_response=True):
                    seen.append(event.type)  # noqa: PERF401 - what came before the error counts
            except StreamInterruptedError:
                return seen
            pytest.fail("the stream ended as if it were whole")

        watched = await asyncio.gather(*(watch() for _ in range(3)))
        for seen in watched:
            assert seen[-1] is StreamEventType.ERROR
            assert StreamEventType.TOKEN in seen
        assert (await provider.cache.stats()).entries == 0


@pytest.mark.parametrize("how", ["complete", "stream"])
async def test_reading_on_after_the_terminal_marker_is_not_needed(
    make_provider: MakeProvider, how: str
) -> None:
    """A server that keeps the connection open after `[DONE]` holds up nothing."""
    pieces = [piece + b"\n\n" for piece in chunks("a").split(b"\n\n") if piece]
    source = Faucet(*pieces, b": still here\n\n")
    async with Upstream(source) as server, make_provider(base_url=server.base_url) as provider:
        source.release(len(pieces))
        result = await streamed(provider, "q", cache_response=True)
        assert result.content == "a"
        assert result.cache is not None
        assert result.cache.stored
        assert (await ask(provider, how, "q", mode="offline")).content == "a"
