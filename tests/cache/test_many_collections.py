"""A collection for each user: what is kept of them is bounded, and nothing outdated is served."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import pytest
from cache_support import until

from llmcache import OpenAIProvider
from llmcache.backends import Change, FSCache
from llmcache.cache import coherence, dictionaries
from llmcache.testing.upstream import DemoUpstream

MakeProvider = Callable[..., OpenAIProvider]


class Heard(FSCache):
    """Files with news that never come: a stand-in that counts who listens."""

    listening = 0

    async def news(self, collection: str, /) -> AsyncGenerator[Change, None]:
        self.listening += 1
        try:
            yield Change()
            await asyncio.Event().wait()
        finally:
            self.listening -= 1


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let few be many."""
    monkeypatch.setattr(coherence, "_MOST_COLLECTIONS", 10)


async def _ask(provider: OpenAIProvider, number: int, **options: bool) -> tuple[str, str]:
    result = await provider.complete(
        "q", cache_response=True, cache_collection=f"user-{number}", **options
    )
    assert result.cache is not None
    return result.id or "", result.cache.tier or result.cache.status


async def test_what_is_kept_of_collections_is_bounded(
    make_provider: MakeProvider, upstream: DemoUpstream, tmp_path: Path
) -> None:
    backend = Heard(tmp_path / "cache")
    async with make_provider(cache_backend=backend) as provider:
        store = provider.cache.store
        for number in range(50):
            await _ask(provider, number)
            assert await _ask(provider, number) == (*(await _ask(provider, number))[:1], "memory")
        kept = store.coherence
        assert len(kept.meet_at) <= 10
        assert len(kept._known) <= 10
        assert len(kept.next_look) <= 10
        assert len(store.dictionaries._ids) <= 10
        assert len(store.dictionaries._samples) <= 10
        assert {place[0] for place in store.tier.places()} <= kept._known.keys()
        await until(lambda: 0 < backend.listening <= 10)
    await until(lambda: backend.listening == 0)
    assert upstream.calls == 50


async def test_a_collection_that_was_forgotten_is_read_anew(
    make_provider: MakeProvider, upstream: DemoUpstream
) -> None:
    async with make_provider() as one, make_provider() as other:
        await _ask(one, 0)
        assert (await _ask(one, 0))[1] == "memory"
        for number in range(1, 30):
            await _ask(one, number)
        await _ask(other, 0, rewrite_cache=True)
        assert (await _ask(one, 0))[1] == "backend", "memory has nothing that it may not believe"
        assert (await _ask(one, 0))[1] == "memory"
    assert upstream.calls == 31


async def test_what_is_read_while_its_collection_is_forgotten_is_not_held(
    make_provider: MakeProvider,
) -> None:
    async with make_provider() as provider:
        kept = provider.cache.store.coherence
        await _ask(provider, 0)
        since = kept.moment
        assert kept.may_hold("user-0", "v1:k", since)
        for number in range(1, 30):
            await _ask(provider, number)
        assert not kept.may_hold("user-0", "v1:k", since)
        await _ask(provider, 0)
        assert not kept.may_hold("user-0", "v1:k", since), "known again, and was not in between"
        assert kept.may_hold("user-0", "v1:k", kept.moment)


async def test_samples_of_all_collections_have_one_bound(
    make_provider: MakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dictionaries, "_MOST_SAMPLES", 4_000)
    async with make_provider() as provider:
        learned = provider.cache.store.dictionaries
        for number in range(8):
            await _ask(provider, number)
            await provider.cache.store.settle()
            kept = [part for parts in learned._samples.values() for each in parts for part in each]
            assert learned._sampled == sum(map(len, kept)) <= 4_000
        assert 0 < len(learned._samples) < 8


async def test_warming_keeps_to_the_bound(make_provider: MakeProvider, tmp_path: Path) -> None:
    async with make_provider() as writer:
        for number in range(40):
            await _ask(writer, number)
    backend = Heard(tmp_path / "cache")
    async with make_provider(cache_backend=backend) as provider:
        for number in range(40):
            report = await provider.warm_cache(collection=f"user-{number}")
            assert report.loaded == 1
        store = provider.cache.store
        assert len(store.coherence._known) <= 10
        assert {place[0] for place in store.tier.places()} <= store.coherence._known.keys()
        for number in range(40):
            assert (await _ask(provider, number))[1] in {"memory", "backend"}
        assert len(store.coherence._known) <= 10
        await until(lambda: backend.listening <= 10)
