"""Prepare a cache before the first user asks: fill in what is missing, load what is used most.

Runs against OPENAI_BASE_URL or OpenAI when OPENAI_API_KEY or OPENAI_BASE_URL is
set, else against a stand-in on this machine that makes its answers up.
"""

import asyncio
import os

from llmcache import OpenAIProvider
from llmcache.testing.upstream import DemoUpstream

MODEL = "gpt-5-nano"
HAS_SERVER = bool(os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL"))
# What is asked often: prompts, messages, or mappings with options of their own.
QUESTIONS = [
    "What is a write-ahead log?",
    "What is a checkpoint?",
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is fsync?"}],
    {"messages": "What is a page cache?", "max_tokens": 2000},
]


def provider_of(base_url: str) -> OpenAIProvider:
    return OpenAIProvider(
        model=MODEL,
        base_url=None if HAS_SERVER else base_url,
        cache_dir="./cache",
        cache_collection="faq",
    )


async def main() -> None:
    async with DemoUpstream(latency=0.2) as stand_in:
        # At deployment: answer what is not stored yet, a few at a time. A request
        # that fails is counted, and the others go on.
        async with provider_of(stand_in.base_url) as provider:
            report = await provider.warm_cache(requests=QUESTIONS, concurrency=4)
            print(f"filled: {report.found} were there, {report.made} made, {report.failed} failed")
            for error in report.errors:
                print(f"  {error}")

        # At startup: load the most used answers into memory, within bytes and seconds.
        async with provider_of(stand_in.base_url) as provider:
            report = await provider.warm_cache(max_bytes=64 * 2**20, seconds=5.0)
            print(f"loaded: {report.loaded} answers, {report.bytes} bytes, {report.seconds:.3f} s")
            print(f"everything that is stored: {'yes' if report.complete else 'no'}")

            result = await provider.complete(QUESTIONS[0], cache_response=True)
            print(f"the first user gets a {result.cache.status} from {result.cache.tier}")


if __name__ == "__main__":
    asyncio.run(main())
