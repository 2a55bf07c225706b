"""Machines that share a Postgres and a Redis, and an upstream whose every answer is another."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any, TypeAlias

from redis.exceptions import ConnectionError as LostError

from llmcache import CompletionResult, OpenAIProvider
from llmcache.testing.upstream import Reply, UpstreamRequest

Machine: TypeAlias = Callable[..., OpenAIProvider]


class Numbered:
    """Answers `0`, `1`, …; a call may be held back until it is let go."""

    def __init__(self) -> None:
        self.calls = 0
        self.held: dict[int, asyncio.Event] = {}

    async def __call__(self, request: UpstreamRequest) -> Reply:
        number = self.calls
        self.calls += 1
        if number in self.held:
            await self.held[number].wait()
        turn = {"role": "assistant", "content": str(number)}
        choice = {"index": 0, "message": turn, "finish_reason": "stop"}
        body = {"id": "c-1", "model": "demo", "choices": [choice]}
        return Reply(body=json.dumps(body).encode())

    def hold(self, number: int) -> asyncio.Event:
        """Hold the call of that number back; return what lets it go."""
        return self.held.setdefault(number, asyncio.Event())


async def asked(provider: OpenAIProvider, question: str = "q", **options: Any) -> CompletionResult:
    """Return the answer to a cached question."""
    return await provider.complete(question, cache_response=True, **options)


async def number(provider: OpenAIProvider, question: str = "q", **options: Any) -> int:
    """Return which answer of a `Numbered` upstream it is."""
    return int((await asked(provider, question, **options)).content or "")


def origin(result: CompletionResult) -> tuple[str, str | None]:
    """Return the status and the tier of an answer."""
    assert result.cache is not None
    return result.cache.status, result.cache.tier


async def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until `condition()` holds; fail when it does not."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


async def listens(provider: OpenAIProvider, question: str | None = "q") -> None:
    """Return when the memory of a provider hears the news: those who use it begin to listen."""
    cache = provider.cache
    redis: Any = getattr(cache.backend, "redis", cache.backend)
    client = await redis._client._opened()
    async with asyncio.timeout(30):
        while True:
            known = cache.store.coherence._known.get(cache.collection)
            is_following = known is not None and known.following is not None
            channel = redis._channel(cache.collection)
            # The connection may be one from before the server was started anew.
            with contextlib.suppress(LostError):
                if is_following and (await client.pubsub_numsub(channel))[0][1]:
                    return
            if question is not None:
                await number(provider, question)
            await asyncio.sleep(0.01)
