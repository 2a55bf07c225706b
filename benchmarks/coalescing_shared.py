"""Identical calls from many processes through Postgres and Redis: one pays, and who dies is replaced.

Run as a module, this is one of the processes.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from contextlib import AsyncExitStack
from typing import Any, Final

from llmcache import OpenAIProvider, StreamEventType
from llmcache.testing.servers import PostgresServer, RedisServer
from llmcache.testing.upstream import DemoUpstream

from . import exchange
from .runner import Bar, Options, Row, failed_row
from .worker import ROOT, clean_environment

__all__ = ["rows"]

_LATENCY: Final = 0.5
_POOLS: Final = 2
# What `RedisBackend` gives a lease unless told otherwise.
_LEASE: Final = 10.0
_AWAY: Final = 3_600.0


async def rows(options: Options, group: str) -> list[Row]:
    """Return how many calls reach the upstream, whole, streamed, and with the leader killed."""
    processes, each = (2, 20) if options.quick else (8, 200)
    try:
        with PostgresServer() as postgres, RedisServer() as redis:
            crowd = _Crowd(group, postgres.url, redis.url, processes, each)
            found = [await crowd.together(how) for how in ("complete", "stream")]
            if not options.quick:
                for how in ("complete", "stream"):
                    found += await crowd.bereft(how)
            return found
    except Exception as error:  # noqa: BLE001 - a row that says so, beside those that were measured
        return [failed_row(group, "Postgres and Redis", error)]


class _Crowd:
    """Processes with two Redis and two Postgres pools each, which ask the same at once."""

    def __init__(self, group: str, dsn: str, redis_url: str, processes: int, each: int) -> None:
        self._group = group
        self._urls = (dsn, redis_url)
        self._processes = processes
        self._each = each
        self._turn = 0

    async def together(self, how: str) -> Row:
        """Return the row of calls that all come to an end."""
        async with DemoUpstream(latency=_LATENCY) as upstream, AsyncExitStack() as stack:
            started = await self._start(stack, upstream.base_url, how)
            begun = time.monotonic()
            told = await asyncio.gather(*map(_told, started))
            seconds = time.monotonic() - begun
            title, bar = f"{how}, Postgres and Redis", Bar("median", "==", 1)
            return self._row(title, upstream.calls, bar, told, seconds)

    async def bereft(self, how: str) -> list[Row]:
        """Return the rows of calls whose leader is killed while the upstream is at it."""
        async with DemoUpstream(latency=_AWAY) as upstream, AsyncExitStack() as stack:
            started = await self._start(stack, upstream.base_url, how)
            while not upstream.calls:  # noqa: ASYNC110 - it has no event to wait for
                await asyncio.sleep(0.005)
            await asyncio.sleep(2.0)  # the others wait for it by now
            upstream.latency = _LATENCY
            leader = int(upstream.requests[0].headers["x-process"])
            os.kill(leader, signal.SIGKILL)
            killed = time.monotonic()
            others = [process for process in started if process.pid != leader]
            told = await asyncio.gather(*map(_told, others))
            longest = max(each["ended"] for each in told) - killed
            title = f"{how}, leader killed"
            return [
                self._row(title, upstream.calls, Bar("median", "==", 2), told, longest),
                Row(
                    self._group,
                    f"{title}: longest wait after the kill",
                    "s",
                    longest,
                    bar=Bar("median", "<=", _LEASE + 1),
                    note=f"the lease is {_LEASE:g} s",
                ),
            ]

    async def _start(self, stack: AsyncExitStack, base_url: str, how: str) -> list[Process]:
        """Start everybody, wait until all are ready, and let them go together."""
        self._turn += 1
        asked = (*self._urls, base_url, f"turn{self._turn}", str(self._each), how)
        started = [
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "benchmarks.coalescing_shared", *asked),
                stdin=PIPE,
                stdout=PIPE,
                cwd=ROOT,
                env=clean_environment(),
            )
            for _ in range(self._processes)
        ]
        for process in started:
            stack.push_async_callback(_end, process)
        for process in started:
            if process.stdout is not None:
                await process.stdout.readline()
        for process in started:
            if process.stdin is not None:
                process.stdin.write(b"go\n")
        return started

    def _row(
        self, name: str, calls: int, bar: Bar, told: list[dict[str, Any]], seconds: float
    ) -> Row:
        texts = {text for each in told for text in each["texts"]}
        if len(texts) != 1:
            msg = f"{len(texts)} different texts for one request"
            raise ValueError(msg)
        asked = self._each * len(told)
        return Row(
            self._group,
            f"{self._processes} processes × {self._each} × {name}",
            "calls",
            calls,
            bar=bar,
            note=f"{asked:,} answers in {seconds:.2f} s (upstream {_LATENCY} s), {_POOLS} pools of each",
            details={"seconds": seconds, "asked": asked, "distinct_texts": len(texts)},
        )


async def _told(process: Process) -> dict[str, Any]:
    """Return what a process says of its calls."""
    line = await process.stdout.readline() if process.stdout is not None else b""
    if not line:
        msg = "a process ended without a word"
        raise RuntimeError(msg)
    told: dict[str, Any] = json.loads(line)
    return told


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()


async def _ask(provider: OpenAIProvider, how: str) -> str:
    if how == "complete":
        answer = await provider.complete(exchange.PROMPT, cache_response=True)
        return answer.content or ""
    events = provider.stream(exchange.PROMPT, cache_response=True)
    return "".join([str(e.data) async for e in events if e.type is StreamEventType.TOKEN])


async def _child(arguments: list[str]) -> None:
    dsn, redis_url, base_url, collection, calls, how = arguments
    async with AsyncExitStack() as stack:
        providers = [
            await stack.enter_async_context(
                OpenAIProvider(
                    exchange.MODEL,
                    base_url=base_url,
                    api_key="sk-benchmark",
                    cache_backend="pg_redis",
                    pg_dsn=dsn,
                    redis_url=redis_url,
                    cache_collection=collection,
                    # All of them connect at once, on few cores.
                    cache_options={"deadline": 30.0},
                    headers={"x-process": str(os.getpid())},
                )
            )
            for _ in range(_POOLS)
        ]
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        asked = (_ask(providers[number % _POOLS], how) for number in range(int(calls)))
        texts = sorted(set(await asyncio.gather(*asked)))
        print(json.dumps({"texts": texts, "ended": time.monotonic()}), flush=True)


if __name__ == "__main__":
    asyncio.run(_child(sys.argv[1:]))
