"""How often a call is tried, and how long it waits in between. Nothing here really waits."""

from __future__ import annotations

import asyncio
import email.utils
import json
import random
import time

import pytest

from llmcache import ProviderError
from llmcache.errors import (
    QuotaExceededError,
    ServerError,
)
from llmcache.providers.retry import Retry
from llmcache.testing.upstream import Reply, Upstream, UpstreamRequest

from .support import (
    answer_stream,
    as_json,
    collect,
    completion,
    final,
    provider_of,
    serving,
    sleeps,
    sse,
    stored,
)

GOOD = Reply(body=as_json(completion("hi")))
STREAM = Reply(body=sse(*answer_stream()), headers={"content-type": "text/event-stream"})
LIMITED = {"error": {"message": "slow down", "code": "rate_limit_exceeded"}}


def failing(status: int, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, as_json({"error": {"message": "boom"}}), named)


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 520, 529, 599])
@pytest.mark.parametrize("good", [GOOD, STREAM], ids=["complete", "stream"])
async def test_what_may_pass_is_tried_again(status: int, good: Reply) -> None:
    async with serving([failing(status), failing(status), good]) as (provider, upstream):
        if good is GOOD:
            assert (await provider.complete("x", cache_response=True)).content == "hi"
        else:
            assert final(await collect(provider.stream("x"))).content == "one two three "
        assert upstream.calls == 3
        assert len({request.body for request in upstream.requests}) == 1
        assert len(sleeps(provider)) == 2


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 410, 413, 415, 422, 451])
async def test_what_cannot_pass_is_not_tried_again(status: int) -> None:
    async with serving([failing(status), GOOD]) as (provider, upstream):
        with pytest.raises(ProviderError) as raised:
            await provider.complete("x")
        assert not raised.value.retryable
        assert upstream.calls == 1
        assert sleeps(provider) == []


@pytest.mark.parametrize(
    ("status", "said", "calls"),
    [(400, "true", 3), (429, "false", 1), (500, "FALSE", 1), (500, "true", 3), (500, "maybe", 3)],
)
async def test_the_server_knows_better_than_its_status(status: int, said: str, calls: int) -> None:
    async with serving(failing(status, x_should_retry=said)) as (provider, upstream):
        with pytest.raises(ProviderError):
            await provider.complete("x")
        assert upstream.calls == calls


async def test_a_spent_quota_is_not_tried_again() -> None:
    spent = Reply(429, as_json({"error": {"message": "m", "code": "insufficient_quota"}}))
    for reply in (spent, Reply(429, spent.body, {"x-should-retry": "true"})):  # type: ignore[arg-type]
        async with serving([reply, GOOD]) as (provider, upstream):
            with pytest.raises(QuotaExceededError):
                await provider.complete("x")
            assert upstream.calls == 1


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (413, {"type": "tokens", "code": "rate_limit_exceeded"}),
        (429, {"type": "insufficient_quota", "code": "rate_limit_exceeded"}),
        (402, {"code": 402}),
    ],
)
async def test_a_limit_that_no_wait_lifts_is_not_waited_for(
    status: int, said: dict[str, str | int]
) -> None:
    reply = Reply(status, as_json({"error": {"message": "m", **said}}), {"retry-after": "1"})
    async with serving([reply, GOOD]) as (provider, upstream):
        with pytest.raises(ProviderError) as raised:
            await provider.complete("x")
        assert not raised.value.retryable
        assert (upstream.calls, sleeps(provider)) == (1, [])


async def test_a_200_with_an_error_inside_is_tried_again() -> None:
    async with serving([Reply(body=as_json(LIMITED)), GOOD]) as (provider, upstream):
        assert (await provider.complete("x", cache_response=True)).content == "hi"
        assert upstream.calls == 2
        assert len(await stored(provider)) == 1


# --- waits ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "waits"),
    [
        ({"retry_after": "7"}, [7.0, 7.0]),
        ({"retry_after_ms": "250"}, [0.25, 0.25]),
        ({"retry_after_ms": "250", "retry_after": "7"}, [0.25, 0.25]),
        ({"retry_after": "120"}, [120.0, 120.0]),
        ({"retry_after": "120.5"}, []),
        ({"retry_after": "3600"}, []),
        ({"retry_after_ms": "120001"}, []),
    ],
    ids=str,
)
async def test_the_server_says_how_long_to_wait(
    headers: dict[str, str], waits: list[float]
) -> None:
    async with serving(failing(429, **headers)) as (provider, upstream):
        with pytest.raises(ProviderError) as raised:
            await provider.complete("x")
        assert sleeps(provider) == waits
        assert upstream.calls == len(waits) + 1
        assert raised.value.retry_after is not None


async def test_a_date_says_how_long_to_wait() -> None:
    date = email.utils.formatdate(time.time() + 60, usegmt=True)
    async with serving([failing(503, retry_after=date), GOOD]) as (provider, _):
        await provider.complete("x")
        (wait,) = sleeps(provider)
        assert 50 < wait <= 60


@pytest.mark.parametrize(
    "value", ["0", "-1", "nan", "inf", "", "soon", "Wed, 21 Oct 2015 07:28:00 GMT"]
)
async def test_a_useless_wait_becomes_the_usual_one(value: str) -> None:
    async with serving([failing(429, retry_after=value), GOOD], backoff=2.0) as (
        provider,
        upstream,
    ):
        await provider.complete("x")
        (wait,) = sleeps(provider)
        assert 1.5 <= wait <= 2.0
        assert upstream.calls == 2


async def test_a_wait_that_a_success_names_is_no_matter() -> None:
    async with serving(Reply(body=GOOD.body, headers={"retry-after": "60"})) as (
        provider,
        upstream,
    ):
        await provider.complete("x")
        assert (upstream.calls, sleeps(provider)) == (1, [])


@pytest.mark.parametrize("seed", range(5))
async def test_waits_double_to_a_ceiling_with_jitter_downwards(seed: int) -> None:
    random.seed(seed)
    async with serving(failing(500), attempts=8, backoff=0.5) as (provider, upstream):
        with pytest.raises(ServerError):
            await provider.complete("x")
        assert upstream.calls == 8
        ceilings = [0.5, 1, 2, 4, 8, 8, 8]
        for wait, ceiling in zip(sleeps(provider), ceilings, strict=True):
            assert 0.75 * ceiling <= wait <= ceiling


def test_jitter_spreads() -> None:
    error = ServerError("boom", retryable=True)
    waits = [Retry(3, 1.0).wait(1, error) or 0.0 for _ in range(200)]
    assert min(waits) < 0.8
    assert max(waits) > 0.95


async def test_attempts_and_backoff_of_a_call_win() -> None:
    async with serving(failing(500), attempts=2, backoff=4.0) as (provider, upstream):
        for options, calls in (({}, 2), ({"attempts": 1}, 1), ({"attempts": 4, "backoff": 0}, 4)):
            upstream.requests.clear()
            sleeps(provider).clear()
            with pytest.raises(ServerError):
                await provider.complete("x", **options)
            assert upstream.calls == calls
        assert sleeps(provider) == [0.0, 0.0, 0.0]


def test_very_many_attempts_still_wait() -> None:
    wait = Retry(5_000, 1.0).wait(2_000, ServerError("boom", retryable=True))
    assert wait is not None
    assert 6.0 <= wait <= 8.0


async def test_a_cancelled_wait_stops_the_call() -> None:
    waiting = asyncio.Event()

    async def wait_for_ever(_: float) -> None:
        waiting.set()
        await asyncio.Event().wait()

    async with serving(failing(500)) as (provider, upstream):
        provider._transport._sleep = wait_for_ever
        task = asyncio.create_task(provider.complete("x"))
        await waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert upstream.calls == 1


async def test_attempts_of_calls_at_the_same_time_do_not_mix() -> None:
    seen: dict[str, int] = {}

    def flaky(request: UpstreamRequest) -> Reply:
        prompt = json.loads(request.body)["messages"][0]["content"]
        seen[prompt] = seen.get(prompt, 0) + 1
        return GOOD if seen[prompt] == 3 else failing(500)

    async with Upstream(flaky) as upstream, provider_of(upstream) as provider:
        await asyncio.gather(*(provider.complete(str(n)) for n in range(20)))
        assert set(seen.values()) == {3}
