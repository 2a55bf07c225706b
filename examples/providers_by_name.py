"""Providers by name, over connections that they share, with a time-out for each phase.

Runs against OPENAI_BASE_URL or OpenAI when OPENAI_API_KEY or OPENAI_BASE_URL is
set, else against a stand-in on this machine that makes its answers up.
"""

import asyncio
import os

from llmcache import (
    ConfigurationError,
    Connections,
    Timeouts,
    close_all,
    get_provider,
    provider_for,
)
from llmcache.testing.upstream import DemoUpstream

MODEL = "gpt-5-nano"
HAS_SERVER = bool(os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL"))


async def main() -> None:
    async with (
        DemoUpstream(latency=0.1) as stand_in,
        # One pool a server. http2=True speaks HTTP/2: pip install 'llmcache[http2]'
        Connections(max_connections=20) as connections,
    ):
        options = {
            "base_url": None if HAS_SERVER else stand_in.base_url,
            "connections": connections,
            "timeout": Timeouts(connect=5, read=60),  # seconds
        }
        # By its name, or as a configuration file has it: `provider/model`.
        named = get_provider("openai", model=MODEL, **options)
        meant = provider_for(f"openai/{MODEL}", **options)
        for provider in (named, meant):
            question = "What does a checkpoint do?"
            result, stats = await provider.complete_with_stats(question, cache_response=True)
            print(f"{stats.cache_status:4} {stats.latency_ms:6.1f} ms  {result.content[:60]}…")
        await named.close()
        await meant.close()

    try:  # What cannot be says what would.
        get_provider("anthropic")
    except ConfigurationError as error:
        print(error)
    # Clients that are given no connections share those of their event loop. At the end of a
    # service, all of them at once:
    await close_all()


if __name__ == "__main__":
    asyncio.run(main())
