"""Figures of a call: attempts, ids, tokens, times, and that a hit sent nothing."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from llmcache import CacheMissError, CallStats, InvalidRequestError, ProviderError, StreamEventType
from llmcache import stats as stats_module
from llmcache.testing import FakeProvider
from llmcache.testing.upstream import Reply, UpstreamRequest
from llmcache.types import Usage

from .support import (
    EVENT_STREAM,
    USAGE,
    answer_stream,
    as_json,
    collect,
    completion,
    serving,
    sse,
    stored,
)

HEADERS = {"x-request-id": "req_1", "x-other": "no"}
GOOD = Reply(body=as_json(completion("hi")), headers=HEADERS)
STREAM = Reply(body=sse(*answer_stream()), headers={**EVENT_STREAM, **HEADERS})
FAILED = Reply(503, b"{}", {"x-request-id": "req_0"})


class Clock:
    """Stands in for the monotonic clock: a second later at every look."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 1.0
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(stats_module, "time", clock)
    return clock


def sent_id(request: UpstreamRequest) -> str | None:
    return request.headers.get("x-client-request-id")


async def test_a_whole_answer_has_its_figures(clock: Clock) -> None:
    async with serving([FAILED, FAILED, GOOD]) as (provider, upstream):
        result, stats = await provider.complete_with_stats("x", cache_response=True)
        assert result.content == "hi"
        assert (stats.attempts, stats.retry_count, stats.request_id) == (3, 2, "req_1")
        assert (stats.provider, stats.model) == ("127.0.0.1", "demo")
        assert (stats.cache_status, stats.finish_reason) == ("miss", "stop")
        assert (stats.prompt_tokens, stats.completion_tokens, stats.total_tokens) == (3, 2, 5)
        assert (stats.latency_ms, stats.tokens_per_second) == (1000.0, 2.0)
        assert stats.time_to_first_token_ms is stats.inter_token_ms is None
        ids = {sent_id(request) for request in upstream.requests}
        assert ids == {stats.client_request_id}
        assert json.loads(json.dumps(stats.to_dict()))["usage"]["total_tokens"] == 5


async def test_a_hit_sent_nothing() -> None:
    async with serving(GOOD) as (provider, upstream):
        _, first = await provider.complete_with_stats("x", cache_response=True)
        result, stats = await provider.complete_with_stats("x", cache_response=True)
        assert upstream.calls == 1
        assert (stats.cache_status, stats.attempts, stats.retry_count) == ("hit", 0, 0)
        assert (stats.request_id, stats.tokens_per_second) == (None, None)
        assert stats.total_tokens == 5
        assert stats.client_request_id != first.client_request_id
        assert result.cache is not None
        assert result.cache.hit


async def test_who_joined_a_call_sent_nothing() -> None:
    arrived, go = asyncio.Event(), asyncio.Event()

    async def slowly(_: UpstreamRequest) -> Reply:
        arrived.set()
        await go.wait()
        return GOOD

    async with serving(slowly) as (provider, upstream):
        calls = [
            asyncio.create_task(provider.complete_with_stats("x", cache_response=True))
            for _ in range(3)
        ]
        await arrived.wait()
        go.set()
        figures = [stats for _, stats in await asyncio.gather(*calls)]
        assert upstream.calls == 1
        assert sorted(stats.attempts for stats in figures) == [0, 0, 1]
        assert sorted(str(stats.cache_status) for stats in figures) == ["hit", "hit", "miss"]


@pytest.mark.parametrize("options", [{}, {"cache_response": True}])
async def test_a_stream_has_its_figures(clock: Clock, options: dict[str, Any]) -> None:
    async with serving([FAILED, STREAM]) as (provider, _):
        events = provider.stream_with_stats("x", **options)
        stats = events.stats
        assert (stats.latency_ms, stats.attempts, stats.token_events) == (0.0, 0, 0)
        seen = await collect(events)
        assert seen[-1].type is StreamEventType.DONE
        assert (stats.attempts, stats.retry_count, stats.request_id) == (2, 1, "req_1")
        assert (stats.time_to_first_token_ms, stats.token_events) == (1000.0, 3)
        assert (stats.inter_token_ms, stats.longest_pause_ms) == (1000.0, 1000.0)
        assert (stats.latency_ms, stats.total_tokens) == (4000.0, 5)
        assert stats.cache_status == ("miss" if options else "bypass")
        assert stats.finish_reason == "stop"


async def test_a_replayed_stream_sent_nothing() -> None:
    async with serving(STREAM) as (provider, upstream):
        await collect(provider.stream("x", cache_response=True))
        async with provider.stream_with_stats("x", cache_response=True) as events:
            seen = await collect(events)
        assert upstream.calls == 1
        assert [e.data for e in seen if e.type is StreamEventType.TOKEN] == [
            "one ",
            "two ",
            "three ",
        ]
        assert (events.stats.cache_status, events.stats.attempts) == ("hit", 0)
        assert events.stats.token_events == 3


async def test_who_stops_reading_has_the_figures_so_far() -> None:
    async with serving(STREAM) as (provider, _):
        async with provider.stream_with_stats("x") as events:
            async for event in events:
                if event.type is StreamEventType.TOKEN:
                    break
        stats = events.stats
        assert stats.has_ended
        assert (stats.token_events, stats.attempts, stats.usage) == (1, 1, None)
        assert stats.total_tokens == 0
        assert stats.inter_token_ms is None
        latency = stats.latency_ms
        assert latency == stats.latency_ms  # the clock stands


async def test_a_stream_that_is_never_begun_can_be_closed() -> None:
    async with serving(STREAM) as (provider, upstream):
        events = provider.stream_with_stats("x")
        await events.aclose()
        assert (upstream.calls, events.stats.latency_ms, events.stats.has_ended) == (0, 0.0, False)


async def test_a_stream_that_fails_has_ended() -> None:
    async with serving(FAILED, attempts=2) as (provider, _):
        events = provider.stream_with_stats("x")
        with pytest.raises(ProviderError):
            await collect(events)
        assert events.stats.has_ended
        assert (events.stats.attempts, events.stats.request_id) == (2, None)


async def test_a_provider_without_http_has_figures_as_well() -> None:
    async with FakeProvider() as provider:
        result, stats = await provider.complete_with_stats("x")
        assert (stats.provider, stats.attempts, stats.cache_status) == ("fake", 0, "bypass")
        assert result.usage is not None
        assert stats.total_tokens == result.usage.total_tokens > 0
        events = provider.stream_with_stats("x")
        await collect(events)
        assert events.stats.token_events > 0


async def test_what_a_call_raises_is_raised() -> None:
    async with serving(GOOD) as (provider, _):
        with pytest.raises(CacheMissError):
            await provider.complete_with_stats("x", mode="offline")
        with pytest.raises(InvalidRequestError, match="did you mean 'temperature'"):
            provider.stream_with_stats("x", temperatur=1)  # type: ignore[call-arg]
        with pytest.raises(InvalidRequestError, match="stats: unknown option"):
            await provider.complete("x", stats=CallStats())  # type: ignore[call-arg]


async def test_a_request_id_of_ones_own_travels_and_is_forgotten() -> None:
    async with serving([GOOD, STREAM]) as (provider, upstream):
        plain = await provider.complete("x", cache_response=True, request_id="my-id-1")
        again = await provider.complete("x", cache_response=True, request_id="my-id-2")
        assert plain.cache is not None
        assert again.cache is not None
        assert (plain.cache.key, again.cache.status) == (again.cache.key, "hit")
        assert [sent_id(request) for request in upstream.requests] == ["my-id-1"]
        _, stats = await provider.complete_with_stats("x", cache_response=True, request_id="my-3")
        assert stats.client_request_id == "my-3"
        await collect(provider.stream("y", request_id="my-4", extra_headers={"X-Own": "1"}))
        assert sent_id(upstream.requests[-1]) == "my-4"
        assert upstream.requests[-1].headers["x-own"] == "1"
        assert b"my-id-1" not in b"".join(repr(entry).encode() for entry in await stored(provider))


async def test_without_an_id_nothing_is_sent() -> None:
    async with serving(GOOD) as (provider, upstream):
        await provider.complete("x")
        assert sent_id(upstream.requests[0]) is None


@pytest.mark.parametrize("wrong", ["", "a b", "é", "a\nb", "x" * 513, 7])
async def test_an_id_that_cannot_be_sent_is_refused(wrong: Any) -> None:
    async with serving(GOOD) as (provider, upstream):
        for ask in (provider.complete, provider.complete_with_stats):
            with pytest.raises(InvalidRequestError, match="request_id: must be 1 to 512 visible"):
                await ask("x", request_id=wrong)
        with pytest.raises(InvalidRequestError, match="request_id: must be 1 to 512 visible"):
            provider.stream_with_stats("x", request_id=wrong)
        assert upstream.calls == 0


async def test_an_embedding_takes_an_id_as_well() -> None:
    body = as_json({"data": [{"index": 0, "embedding": [1.0]}], "model": "m", "usage": USAGE})
    async with serving(Reply(body=body)) as (provider, upstream):
        await provider.embed("x", request_id="emb-1")
        assert sent_id(upstream.requests[0]) == "emb-1"


def test_calls_of_ones_own_can_be_measured(clock: Clock) -> None:
    stats = CallStats()
    stats.record_start()
    stats.record_first_token()
    stats.record_token()
    clock.now += 4
    stats.record_token()
    stats.record_end()
    stats.record_usage({"prompt_tokens": 7, "completion_tokens": 4, "total_tokens": 11})
    assert (stats.time_to_first_token_ms, stats.latency_ms) == (1000.0, 8000.0)
    assert (stats.inter_token_ms, stats.longest_pause_ms) == (3000.0, 5000.0)
    assert (stats.prompt_tokens, stats.tokens_per_second) == (7, 0.5)
    stats.record_usage(Usage(1, 2, 3))
    assert stats.total_tokens == 3
    assert len(CallStats().client_request_id) == 32


def test_the_clock_of_a_call_never_goes_back() -> None:
    stats = CallStats()
    stats.record_start()
    assert 0.0 <= stats.latency_ms <= time.monotonic() * 1e3
    assert stats.latency_ms <= stats.latency_ms
