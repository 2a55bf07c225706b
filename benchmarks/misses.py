"""What the cache adds to a call that it cannot answer. For information: no bar."""

from __future__ import annotations

import itertools
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import httpx

from llmcache import OpenAIProvider

from . import exchange
from .hits import PacedUpstream
from .runner import Options, Row, Turn, interleave, row_of

__all__ = ["rows"]

_GROUP: Final = "miss, upstream without latency"
_PLAIN: Final = "without cache"


async def rows(options: Options) -> list[Row]:
    """Return a miss beside the same call without the cache, and beside plain httpx."""
    numbers = itertools.count()
    async with PacedUpstream() as upstream, httpx.AsyncClient() as client:
        provider = OpenAIProvider(
            model=exchange.MODEL,
            base_url=upstream.base_url,
            api_key="sk-benchmark",
            cache_dir=options.folder / "misses",
        )

        def fresh() -> str:
            return f"{next(numbers)} {exchange.PROMPT}"

        async def bare() -> Any:
            url = f"{upstream.base_url}/chat/completions"
            reply = await client.post(url, json=exchange.body(fresh()))
            return reply.json()

        calls: dict[str, Callable[[], Awaitable[Any]]] = {
            "miss": lambda: provider.complete(fresh(), cache_response=True),
            _PLAIN: lambda: provider.complete(fresh()),
            "httpx": bare,
        }
        turns: dict[str, Turn] = {name: partial(_timed, call) for name, call in calls.items()}
        for turn in turns.values():
            await turn(3)
        rounds = 8 if options.quick else 60
        samples = await interleave(turns, rounds=rounds, calls=10)
        await provider.close()
    row = partial(row_of, samples, group=_GROUP)
    miss = row("miss", title="complete(cache_response=True), stored in files", against=_PLAIN)
    plain = row(_PLAIN, title="complete() without the cache", against="httpx")
    added = (miss.median or 0) - (plain.median or 0)
    miss.note = f"the cache adds {added:.0f} µs: key, look-up, lease, encode, write"
    return [miss, plain, row("httpx", title="floor: httpx post + .json()")]


async def _timed(call: Callable[[], Awaitable[Any]], calls: int) -> list[float]:
    samples = []
    for _ in range(calls):
        started = time.perf_counter_ns()
        await call()
        samples.append((time.perf_counter_ns() - started) / 1e3)
    return samples
