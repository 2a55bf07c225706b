"""The filesystem cache: what a call may read and write, samples, offline, and removing.

Runs against OPENAI_BASE_URL or OpenAI when OPENAI_API_KEY or OPENAI_BASE_URL is
set, else against a stand-in on this machine that makes its answers up. Run it
twice against a server of yours: the second run finds the answers of the first.
"""

import asyncio
import os
import time
from typing import Any

from llmcache import CacheMissError, CompletionResult, OpenAIProvider
from llmcache.testing.upstream import DemoUpstream

MODEL = "gpt-5-nano"
HAS_SERVER = bool(os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL"))
QUESTION = "Explain WAL in one paragraph."


async def ask(provider: OpenAIProvider, title: str, **options: Any) -> CompletionResult:
    started = time.perf_counter()
    result = await provider.complete(QUESTION, cache_collection="example", **options)
    milliseconds = (time.perf_counter() - started) * 1000
    cache = result.cache  # where the answer came from, and what that spared
    print(f"{title:22} {cache.status:7} {cache.tier or '-':8} {milliseconds:8.1f} ms")
    return result


async def main() -> None:
    async with (
        DemoUpstream(latency=0.3) as stand_in,
        OpenAIProvider(
            model=MODEL,
            base_url=None if HAS_SERVER else stand_in.base_url,
            cache_backend="fs",
            cache_dir="./cache",
        ) as provider,
    ):
        # Without cache_response, the cache takes no part: neither read nor written.
        await ask(provider, "no cache")

        # The first call asks the provider, the next one finds what it answered.
        await ask(provider, "first", cache_response=True)
        again = await ask(provider, "again", cache_response=True)
        print(f"{'':22} spared {again.cache.saved_seconds:.2f} s, ${again.cache.saved_cost}")

        # regen_cache asks again and keeps the answer as a further sample;
        # rewrite_cache asks again and replaces what plain calls find.
        await ask(provider, "one more sample", cache_response=True, regen_cache=True)
        await ask(provider, "replaced", cache_response=True, rewrite_cache=True)

        # samples=k returns k answers, and makes only those that are missing.
        several = await ask(provider, "three samples", cache_response=True, samples=3)
        print(f"{'':22} {[sample.cache.status for sample in several.samples]}")

        # Offline never calls: what is not stored is an error that names the nearest entry.
        await ask(provider, "offline", mode="offline")
        try:
            await ask(provider, "", mode="offline", temperature=0.5)
        except CacheMissError as error:
            print(f"{'offline, not stored':22} differs in {list(error.differences)}")

        # An answer that you found bad goes; the next equal call asks again.
        bad = await ask(provider, "found bad", cache_response=True)
        await bad.cache.reject()
        await ask(provider, "after reject()", cache_response=True)

        # A salt is whatever else the answer depends on: another salt, another answer.
        # Tags, models, age and collections choose what may go.
        await ask(provider, "tagged", cache_response=True, salt="v2", tags=["draft"])
        print(f"{'invalidate':22} {await provider.cache.invalidate(tag='draft')} removed")

        counters = provider.cache.counters
        print(f"\n{counters.hits} hits, {counters.misses} misses, {counters.bypassed} bypassed")
        print(f"{counters.stored} stored, {counters.dropped} dropped by the store")
        print(f"spared {counters.saved_seconds:.2f} s and ${counters.saved_cost}")


if __name__ == "__main__":
    asyncio.run(main())
