"""One cache for many machines: Postgres keeps every answer, Redis those in use.

`llmcache up` starts both; set PG_DSN and REDIS_URL to the two URLs that it prints.
Without them, this starts servers of its own, which are gone at its end. The answers
come from OPENAI_BASE_URL or OpenAI when OPENAI_API_KEY or OPENAI_BASE_URL is set, else
from a stand-in on this machine that makes them up.
"""

import asyncio
import os
from contextlib import ExitStack

from llmcache import OpenAIProvider
from llmcache.testing.servers import PostgresServer, RedisServer
from llmcache.testing.upstream import DemoUpstream

HAS_SERVER = bool(os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL"))
PROMPT = "What is a write-ahead log?"


async def show(base_url: str | None, pg_dsn: str, redis_url: str) -> None:
    def machine() -> OpenAIProvider:
        """A provider with connections and a memory of its own, as on another machine."""
        return OpenAIProvider(
            model="gpt-5-nano",
            base_url=base_url,
            cache_backend="pg_redis",
            pg_dsn=pg_dsn,
            redis_url=redis_url,
            redis_ttl_seconds=86_400,
            cache_collection="shared-example",
            cache_options={"deadline": 5.0},  # seconds that the cache may hold up a call; default 1
            strict=True,  # wrong password, no database, no rights: an error here, and not a warning later
        )

    async with machine() as one, machine() as other:
        await one.cache.invalidate(collection="shared-example")

        # Twenty equal calls at once on two machines: the provider is asked once.
        calls = [p.complete(PROMPT, cache_response=True) for p in (one, other) for _ in range(10)]
        results = await asyncio.gather(*calls)
        print(
            f"{len(results)} calls, {one.cache.counters.misses + other.cache.counters.misses} paid for"
        )
        await one.complete("What is fsync?", cache_response=True, tags=["v7"])

    async with machine() as fresh:
        # At startup: the most used answers, from Postgres to Redis to memory.
        report = await fresh.warm_cache(max_entries=10_000, seconds=5.0)
        print(f"warmed: {report.loaded} in memory, {report.copied + report.present} in Redis")
        result = await fresh.complete(PROMPT, cache_response=True)
        print(f"the first user gets a {result.cache.status} from {result.cache.tier}")

        stats = await fresh.cache.stats()
        entries, size = stats.collections["shared-example"]
        print(f"stored: {entries} entries, {size} bytes{', estimated' if stats.estimated else ''}")
        print(f"invalidated: {await fresh.cache.invalidate(tag='v7')}, on every machine")


async def main() -> None:
    with ExitStack() as servers:
        urls = [os.environ.get("PG_DSN"), os.environ.get("REDIS_URL")]
        if not all(urls):
            urls = [servers.enter_context(kind()).url for kind in (PostgresServer, RedisServer)]
        async with DemoUpstream(latency=0.2) as stand_in:
            await show(None if HAS_SERVER else stand_in.base_url, *urls)


if __name__ == "__main__":
    asyncio.run(main())
