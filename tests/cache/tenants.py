"""Callers on different terms who share a cache, and the upstream that they ask."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from cache_support import chunks, completion

from llmcache import CacheManager, MemoryBackend, OpenAIProvider, StreamEventType
from llmcache.testing.upstream import Reply, Upstream, UpstreamRequest

GOOD, BAD = "sk-good-0123456789", "sk-bad-0123456789"
VECTOR = b'{"data": [{"index": 0, "embedding": [1.0, 2.0]}], "model": "m"}'


Handler = Callable[[UpstreamRequest], Awaitable[Reply]]


class Bank:
    """An upstream that refuses every credential but the good ones, once it is told to answer."""

    def __init__(
        self, status: int = 401, code: str = "no", good: tuple[str, ...] = (GOOD,)
    ) -> None:
        self.open = asyncio.Event()
        self.asked: Counter[str] = Counter()
        self._good = good
        self._refusal = Reply(
            status,
            f'{{"error": {{"message": "not you", "code": "{code}"}}}}'.encode(),
            {"retry-after": "7", "x-request-id": "req_of_the_leader"},
        )

    async def __call__(self, request: UpstreamRequest) -> Reply:
        token = token_of(request)
        self.asked[token] += 1
        await self.open.wait()
        if token not in self._good:
            return self._refusal
        return fine(request)


def fine(request: UpstreamRequest) -> Reply:
    """Return the answer that `SAID` has."""
    if request.path.endswith("/embeddings"):
        return Reply(body=VECTOR)
    if request.json().get("stream"):
        return Reply(body=chunks("fine"), headers={"content-type": "text/event-stream"})
    return Reply(body=completion("fine"))


def token_of(request: UpstreamRequest) -> str:
    """Return the credential of a request."""
    headers = request.headers
    return headers.get("authorization", headers.get("x-api-key", "")).removeprefix("Bearer ")


class House:
    """One cache, and a provider for each credential that asks through it."""

    def __init__(
        self, server: Upstream, cache: CacheManager, closing: contextlib.AsyncExitStack
    ) -> None:
        self.cache = cache
        self._server = server
        self._closing = closing

    async def tenant(self, key: str, **options: Any) -> OpenAIProvider:
        options = {"attempts": 1, "cache": self.cache, **options}
        made = OpenAIProvider("m", api_key=key, base_url=self._server.base_url, **options)
        return await self._closing.enter_async_context(made)

    def waiting(self) -> int:
        """Return how many wait for a call of somebody's."""
        return sum(f.waiters for flights in self.cache._flights._flights.values() for f in flights)


@contextlib.asynccontextmanager
async def house(
    bank: Handler, backend: MemoryBackend | None = None, **options: Any
) -> AsyncGenerator[House, None]:
    async with Upstream(bank) as server, contextlib.AsyncExitStack() as closing:
        cache = CacheManager(backend or MemoryBackend(), **options)
        closing.push_async_callback(cache.aclose)
        yield House(server, cache, closing)


async def ask(provider: OpenAIProvider, how: str, **options: Any) -> Any:
    """Return what a call says, whichever kind it is."""
    if how == "embed":
        return (await provider.embed("q", cache_response=True, **options)).embeddings
    if how == "complete":
        return (await provider.complete("q", cache_response=True, **options)).content
    events = [event async for event in provider.stream("q", cache_response=True, **options)]
    assert not [event for event in events if event.type is StreamEventType.ERROR]
    return events[-1].data.content


SAID = {"complete": "fine", "stream": "fine", "embed": ((1.0, 2.0),)}
HOWS = sorted(SAID)
