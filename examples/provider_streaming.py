"""Streams: events, adapters for web servers, callbacks and buffers, and replay from the cache.

Runs against OPENAI_BASE_URL or OpenAI when OPENAI_API_KEY or OPENAI_BASE_URL is
set, else against a stand-in on this machine that makes its answers up.
"""

import asyncio
import os
import time

from llmcache import (
    BufferingAdapter,
    CallbackAdapter,
    OpenAIProvider,
    SSEAdapter,
    StreamEventType,
    stream_to_string,
)
from llmcache.testing.upstream import DemoUpstream

MODEL = "gpt-5-nano"
HAS_SERVER = bool(os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL"))
PROMPT = "Explain checkpoints in one sentence."


async def events(provider: OpenAIProvider) -> None:
    async for event in provider.stream(PROMPT):
        match event.type:
            case StreamEventType.TOKEN:
                print(event.data, end="", flush=True)
            case StreamEventType.REASONING:
                print(f"[thinking: {event.data}]", end="", flush=True)
            case StreamEventType.TOOL_CALL_END:
                print(f"\ntool call: {event.data.name}({event.data.arguments})")
            case StreamEventType.DONE:
                # The last event of every complete stream: the whole answer.
                print(f"\n{event.data.usage.total_tokens} tokens, {event.data.finish_reason}")
            case StreamEventType.ERROR:
                print(f"\nfailed: {event.data}")
            case _:
                pass  # META, USAGE, the pieces of tool calls


async def server_sent_events(provider: OpenAIProvider) -> None:
    # `transform` is what a web framework's streaming response takes.
    blocks = [block async for block in SSEAdapter().transform(provider.stream(PROMPT))]
    print(f"\n{len(blocks)} server-sent events, such as {blocks[1]!r}")


async def callbacks(provider: OpenAIProvider) -> None:
    words: list[str] = []
    adapter = CallbackAdapter(
        on_token=words.append,
        on_done=lambda result: print(f"\ncallbacks: {len(words)} pieces, {result.model}"),
        on_error=lambda error: print(f"failed: {error}"),
    )
    await adapter.consume(provider.stream(PROMPT))


async def buffered(provider: OpenAIProvider) -> None:
    # Pass the events on and have the answer afterwards.
    buffer = BufferingAdapter()
    async for event in buffer.wrap(provider.stream(PROMPT)):
        if event.type == StreamEventType.TOKEN:
            pass
    print(f"\nbuffered: {buffer.get_result().finish_reason}, {len(buffer.content)} characters")
    # Or only the text:
    print(f"as a string: {len(await stream_to_string(provider.stream(PROMPT)))} characters")


async def replayed(provider: OpenAIProvider) -> None:
    # A cached stream is recorded with its pauses. One entry answers complete() too.
    print()
    for replay in ("instant", "instant", "recorded", 4.0):
        started = time.perf_counter()
        first = None
        async for event in provider.stream(PROMPT, cache_response=True, replay=replay):
            if event.type == StreamEventType.TOKEN and first is None:
                first = time.perf_counter() - started
            elif event.type == StreamEventType.DONE:
                status = event.data.cache.status
        seconds = time.perf_counter() - started
        print(f"{status:5} replay={replay!s:9} first after {first or 0:.3f} s, all {seconds:.3f} s")
    whole = await provider.complete(PROMPT, cache_response=True)
    print(f"{whole.cache.status:5} complete()")


async def main() -> None:
    async with (
        DemoUpstream(latency=0.2, token_delay=0.01) as stand_in,
        OpenAIProvider(
            model=MODEL,
            base_url=None if HAS_SERVER else stand_in.base_url,
            cache_dir="./cache",
        ) as provider,
    ):
        await events(provider)
        await server_sent_events(provider)
        await callbacks(provider)
        await buffered(provider)
        await replayed(provider)


if __name__ == "__main__":
    asyncio.run(main())
