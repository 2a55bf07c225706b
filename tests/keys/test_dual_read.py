"""An upgrade does not start cold: what an older version stored under its key still answers."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from llmcache import OpenAIProvider
from llmcache.backends.memory import MemoryBackend
from llmcache.cache.manager import CacheManager
from llmcache.keys import KeyRules, Request
from llmcache.testing.upstream import DemoUpstream


def _older(request: Request, sample: int) -> str:
    """Return a key as a version before the first might have made it."""
    body = repr(sorted(request.body.items())) + str(sample)
    return f"v0:{hashlib.sha256(body.encode()).hexdigest()}"


class _OldRequest(Request):
    """A request of the older version."""

    __slots__ = ()

    def key(self, sample: int = 0) -> str:
        return _older(self, sample)


class _OldProvider(OpenAIProvider):
    """A provider of the older version: same identity, other key."""

    def _request(self, *args: object) -> Request:
        new = super()._request(*args)  # type: ignore[arg-type]
        return _OldRequest(
            new.kind, new.endpoint, new.body, new.api, new.tenant, new.salt, new.rules
        )


@asynccontextmanager
async def _provider(
    backend: MemoryBackend, upstream: DemoUpstream, *, old: bool = False, dual: bool = True
) -> AsyncIterator[OpenAIProvider]:
    older_keys = [lambda request, sample: "v00:" + "0" * 64, _older] if dual else []
    cache = CacheManager(backend, older_keys=older_keys)
    make = _OldProvider if old else OpenAIProvider
    async with make("m", base_url=upstream.base_url, cache=cache) as provider:
        yield provider
        await cache.store.settle()


async def test_an_entry_under_an_older_key_is_served(upstream: DemoUpstream) -> None:
    backend = MemoryBackend()
    async with _provider(backend, upstream, old=True, dual=False) as old:
        first = await old.complete("q", cache_response=True)
    assert first.cache is not None
    assert first.cache.key is not None
    assert first.cache.key.startswith("v0:")
    async with _provider(backend, upstream) as new:
        again = await new.complete("q", cache_response=True)
        streamed = [event async for event in new.stream("q", cache_response=True)]
        offline = await new.complete("q", mode="offline")
    assert upstream.calls == 1
    assert again == first == offline == streamed[-1].data
    assert again.cache is not None
    assert again.cache.status == "hit"
    assert again.cache.key == first.cache.key


async def test_without_dual_read_the_older_entry_is_a_miss(upstream: DemoUpstream) -> None:
    backend = MemoryBackend()
    async with _provider(backend, upstream, old=True, dual=False) as old:
        await old.complete("q", cache_response=True)
    async with _provider(backend, upstream, dual=False) as new:
        await new.complete("q", cache_response=True)
    assert upstream.calls == 2


async def test_the_new_key_goes_before_the_older_one(upstream: DemoUpstream) -> None:
    backend = MemoryBackend()
    async with _provider(backend, upstream, old=True, dual=False) as old:
        await old.complete("q", cache_response=True)
    async with _provider(backend, upstream) as new:
        rewritten = await new.complete("q", cache_response=True, rewrite_cache=True)
        again = await new.complete("q", cache_response=True)
    assert upstream.calls == 2
    assert rewritten.cache is not None
    assert again.cache is not None
    assert again.cache.key == rewritten.cache.key
    assert again.cache.key is not None
    assert again.cache.key.startswith("v1:")


async def test_another_request_is_not_answered_by_an_older_entry(upstream: DemoUpstream) -> None:
    backend = MemoryBackend()
    async with _provider(backend, upstream, old=True, dual=False) as old:
        await old.complete("q", cache_response=True)
    async with _provider(backend, upstream) as new:
        other = await new.complete("r", cache_response=True)
        sample = await new.complete("q", cache_response=True, sample=1)
    assert upstream.calls == 3
    assert other.cache is not None
    assert sample.cache is not None
    assert (other.cache.status, sample.cache.status) == ("miss", "miss")


async def test_stateful_requests_are_cached_when_a_time_was_asked_for(
    upstream: DemoUpstream,
) -> None:
    part = {"type": "file", "file": {"file_id": "file-1"}}
    question = [{"role": "user", "content": [part]}]
    calls = []
    for rules in (KeyRules(), KeyRules(stateful_ttl=60)):
        provider = OpenAIProvider(
            "m", base_url=upstream.base_url, cache_backend="memory", key_rules=rules
        )
        async with provider:
            before = upstream.calls
            statuses = []
            for _ in range(2):
                answer = await provider.complete(question, cache_response=True)
                assert answer.cache is not None
                statuses.append(answer.cache.status)
            calls.append((upstream.calls - before, statuses))
    assert calls == [(2, ["bypass", "bypass"]), (1, ["miss", "hit"])]
