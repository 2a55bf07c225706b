"""A process that asks one question many times, through providers with pools of their own.

    python shared_caller.py '{"base_url": …, "dsn": …, "redis_url": …, "collection": …, …}'

It says `ready`. For each line, which begins with `complete` or `stream`, it asks that, all at
once, and prints what came of it as JSON. Its number goes with every request, so that the upstream knows
whom to kill.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from contextlib import AsyncExitStack
from typing import Any

from llmcache import CacheMissError, CompletionResult, OpenAIProvider, StreamEventType
from llmcache.backends.hybrid import HybridRedisPostgreSQLCache
from llmcache.backends.postgres import PostgresBackend
from llmcache.backends.redis import RedisBackend


def provider(asked: dict[str, Any]) -> OpenAIProvider:
    """Return a provider as on a machine of its own; patient, as this one may be busy."""
    backend = HybridRedisPostgreSQLCache(
        postgres=PostgresBackend(asked["dsn"], max_connections=4, statement_timeout=60.0),
        redis=RedisBackend(
            asked["redis_url"], max_connections=8, timeout=60.0, lease_seconds=asked["lease"]
        ),
    )
    return OpenAIProvider(
        "demo",
        base_url=asked["base_url"],
        api_key="sk-test",
        cache_backend=backend,
        cache_collection=asked["collection"],
        cache_options={"deadline": 60.0},
        headers={"x-process": str(os.getpid())},
    )


async def ask(provider: OpenAIProvider, how: str) -> CompletionResult:
    """Return the answer to this question, in the way that is its first word."""
    if how.startswith("complete"):
        return await provider.complete(how, cache_response=True)
    events = [event async for event in provider.stream(how, cache_response=True)]
    assert events[-1].type is StreamEventType.DONE
    result: CompletionResult = events[-1].data
    return result


async def round_of(providers: list[OpenAIProvider], how: str, count: int) -> dict[str, Any]:
    """Ask `count` times at once, and return what came of it."""
    calls = [ask(providers[number % len(providers)], how) for number in range(count)]
    answers = await asyncio.gather(*calls)
    statuses = [answer.cache.status for answer in answers if answer.cache]
    return {
        "texts": sorted({answer.content or "" for answer in answers}),
        "misses": statuses.count("miss"),
        "hits": statuses.count("hit"),
        "ended": time.monotonic(),
    }


async def main(asked: dict[str, Any]) -> None:
    """Ask when told to, until nobody tells any more."""
    async with AsyncExitStack() as stack:
        providers = [
            await stack.enter_async_context(provider(asked)) for _ in range(asked["providers"])
        ]
        for each in providers:
            try:
                await each.complete("are you there?", mode="offline")
            except CacheMissError:
                continue
        print("ready", flush=True)
        while how := (await asyncio.to_thread(sys.stdin.readline)).strip():
            print(json.dumps(await round_of(providers, how, asked["calls"])), flush=True)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
