"""Many processes ask the same at once: one pays, and who dies while paying is replaced."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from shared_support import Program, program

from llmcache.testing import DemoUpstream
from llmcache.testing.servers import RedisServer

_PROCESSES = 8
_CALLS = 200
_HOW = ("complete", "stream")
_LEASE = 5.0

# The machine may be busy with other tests.
pytestmark = [pytest.mark.alone, pytest.mark.timeout(180)]


@asynccontextmanager
async def _callers(
    upstream: DemoUpstream, dsn: str, redis_server: RedisServer, lease: float = 10.0
) -> AsyncIterator[list[Program]]:
    """Yield eight processes with two Redis and two Postgres pools each, all of them ready."""
    asked = {
        "base_url": upstream.base_url,
        "dsn": dsn,
        "redis_url": redis_server.url,
        "collection": dsn.rpartition("/")[2],
        "providers": 2,
        "calls": _CALLS,
        "lease": lease,
    }
    async with AsyncExitStack() as stack:
        starting = [program("shared_caller.py", **asked) for _ in range(_PROCESSES)]
        yield await asyncio.gather(*map(stack.enter_async_context, starting))


def _check_paid_once(told: list[dict[str, Any]]) -> None:
    """Everybody has the same answer, and one of all was it that paid."""
    assert len({text for each in told for text in each["texts"]}) == 1
    assert sum(each["misses"] for each in told) == 1
    assert sum(each["hits"] for each in told) == len(told) * _CALLS - 1


async def test_eight_processes_make_one_call(
    upstream: DemoUpstream, dsn: str, redis_server: RedisServer
) -> None:
    upstream.latency = 0.5
    async with _callers(upstream, dsn, redis_server) as callers:
        for number, how in enumerate(_HOW):
            for caller in callers:
                caller.tell(how)
            _check_paid_once(await asyncio.gather(*(caller.told() for caller in callers)))
            assert upstream.calls == number + 1


async def _slowness(upstream: DemoUpstream, callers: list[Program], how: str) -> float:
    """Return the seconds that the machine takes for a round in which nobody dies."""
    upstream.latency = 0.1
    started = time.monotonic()
    for caller in callers:
        caller.tell(f"{how} first")
    told = await asyncio.gather(*(caller.told() for caller in callers))
    return float(max(each["ended"] for each in told) - started)


async def test_a_killed_leader_is_replaced_by_one(
    upstream: DemoUpstream, dsn: str, redis_server: RedisServer
) -> None:
    """Its lease runs out, and one of the others asks: nobody waits for ever, nobody pays twice."""
    async with _callers(upstream, dsn, redis_server, _LEASE) as callers:
        for how in _HOW:
            slowness = await _slowness(upstream, callers, how)
            upstream.requests.clear()
            upstream.latency = 60.0
            for caller in callers:
                caller.tell(how)
            while not upstream.calls:
                await asyncio.sleep(0.01)
            await asyncio.sleep(1.0)  # the others are waiting by now
            assert upstream.calls == 1
            upstream.latency = 0.1
            leader = int(upstream.requests[0].headers["x-process"])
            os.kill(leader, signal.SIGKILL)
            killed = time.monotonic()
            callers = [caller for caller in callers if caller.pid != leader]  # noqa: PLW2901
            told = await asyncio.gather(*(caller.told() for caller in callers))
            _check_paid_once(told)
            assert upstream.calls == 2
            assert max(each["ended"] for each in told) - killed < _LEASE + 1 + slowness
        assert len(callers) == _PROCESSES - 2
