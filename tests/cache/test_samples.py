"""Several answers to one request; bad answers, tags and invalidation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from cache_support import answering, ask, completion

from llmcache import CacheMissError, OpenAIProvider
from llmcache.errors import ConfigurationError
from llmcache.testing.upstream import DemoUpstream

MakeProvider = Callable[..., OpenAIProvider]
HOWS = pytest.mark.parametrize("how", ["complete", "stream"])


def numbered(count: int) -> list[bytes]:
    return [completion(f"answer {number}") for number in range(count)]


async def test_each_sample_replays_as_itself(make_provider: MakeProvider) -> None:
    async with answering(*numbered(9)) as server, make_provider(base_url=server.base_url) as p:
        made = [
            (await p.complete("q", cache_response=True, sample=sample)).content
            for sample in range(3)
        ]
        again = [
            (await p.complete("q", cache_response=True, sample=sample)).content
            for sample in range(3)
        ]
        assert made == again == ["answer 0", "answer 1", "answer 2"]
        assert server.calls == 3
        assert (await p.complete("q", cache_response=True)).content == "answer 0"


async def test_samples_tops_up_what_is_missing(make_provider: MakeProvider) -> None:
    async with answering(*numbered(9)) as server, make_provider(base_url=server.base_url) as p:
        await p.complete("q", cache_response=True)
        result = await p.complete("q", cache_response=True, samples=3)
        assert len(result.samples) == 3
        assert server.calls == 3
        assert {sample.content for sample in result.samples} == {
            "answer 0",
            "answer 1",
            "answer 2",
        }
        assert result.content == result.samples[0].content == "answer 0"
        again = await p.complete("q", cache_response=True, samples=3)
        assert again.samples == result.samples
        assert server.calls == 3
        offline = await p.complete("q", mode="offline", samples=3)
        assert offline.samples == result.samples
        with pytest.raises(CacheMissError):
            await p.complete("q", mode="offline", samples=4)


@HOWS
async def test_regenerating_adds_a_sample_and_leaves_the_rest(
    make_provider: MakeProvider, how: str
) -> None:
    async with answering(*numbered(9)) as server, make_provider(base_url=server.base_url) as p:
        await p.complete("q", cache_response=True)
        for number in (1, 2):
            fresh = await ask(p, how, "q", cache_response=True, regen_cache=True)
            assert fresh.content == f"answer {number}"
            assert fresh.cache is not None
            assert fresh.cache.sample == number
        assert (await p.complete("q", cache_response=True)).content == "answer 0"
        assert (await p.complete("q", cache_response=True, sample=2)).content == "answer 2"
        assert server.calls == 3


async def test_concurrent_regenerations_lose_no_sample(make_provider: MakeProvider) -> None:
    async with answering(*numbered(20)) as server, make_provider(base_url=server.base_url) as p:
        await p.complete("q", cache_response=True)
        await asyncio.gather(
            *(p.complete("q", cache_response=True, regen_cache=True) for _ in range(8))
        )
        assert server.calls == 9
        kept = await p.complete("q", mode="offline", samples=9)
        assert len({sample.content for sample in kept.samples}) == 9


@HOWS
async def test_a_rejected_answer_is_asked_for_again(make_provider: MakeProvider, how: str) -> None:
    async with answering(*numbered(3)) as server, make_provider(base_url=server.base_url) as p:
        bad = await ask(p, how, "q", cache_response=True)
        assert bad.cache is not None
        assert await bad.cache.reject()
        assert not await bad.cache.reject()
        good = await ask(p, how, "q", cache_response=True)
        assert good.content == "answer 1"
        hit = await ask(p, how, "q", cache_response=True)
        assert hit.cache is not None
        assert hit.cache.status == "hit"
        # What was rejected before is gone; its handle must not take the good answer away.
        assert not await bad.cache.reject()
        assert await hit.cache.reject()
        assert server.calls == 2


async def test_entries_go_by_tag_model_age_key_and_collection(
    provider: OpenAIProvider, upstream: DemoUpstream
) -> None:
    async def fill() -> None:
        for number in range(4):
            tags = ["even"] if number % 2 == 0 else ["odd", "third"]
            await provider.complete(f"q{number}", cache_response=True, tags=tags)
        await provider.complete("other", cache_response=True, model="second")
        await provider.complete("there", cache_response=True, cache_collection="elsewhere")

    cache = provider.cache
    await fill()
    assert (await cache.stats()).entries == 6
    assert await cache.invalidate(tag="even") == 2
    assert await cache.invalidate(tag="even") == 0
    assert await cache.invalidate(tag="third", model="second") == 0
    assert await cache.invalidate(model="second") == 1
    assert await cache.invalidate(collection="elsewhere") == 1
    hit = await provider.complete("q1", cache_response=True)
    assert hit.cache is not None
    assert hit.cache.status == "hit"
    assert await cache.invalidate(key=hit.cache.key) == 1
    assert await cache.invalidate(older_than=3_600) == 0
    assert await cache.invalidate(older_than=0) == 1
    assert (await cache.stats()).entries == 0
    before = upstream.calls
    await fill()
    assert upstream.calls == before + 6
    with pytest.raises(ConfigurationError, match="say what"):
        await cache.invalidate()


async def test_a_tag_reaches_every_collection_unless_one_is_named(
    provider: OpenAIProvider,
) -> None:
    for name in ("a", "b", "c"):
        await provider.complete("q", cache_response=True, cache_collection=name, tags=["t"])
    assert await provider.cache.invalidate(tag="t", collection="b") == 1
    assert await provider.cache.invalidate(tag="t") == 2


async def test_what_another_process_replaced_is_noticed(
    make_provider: MakeProvider, tmp_path: Path
) -> None:
    """Two providers on one folder have memories of their own, as two processes do."""
    options = {"cache_options": {"coherence": 0.0}}
    async with (
        answering(*numbered(3)) as server,
        make_provider(base_url=server.base_url, **options) as mine,
        make_provider(base_url=server.base_url, **options) as theirs,
    ):
        assert (await mine.complete("q", cache_response=True)).content == "answer 0"
        assert (await mine.complete("q", cache_response=True)).content == "answer 0"
        await theirs.complete("q", cache_response=True, rewrite_cache=True)
        async with asyncio.timeout(10):
            while (await mine.complete("q", cache_response=True)).content != "answer 1":
                await asyncio.sleep(0.01)
        await theirs.cache.invalidate(collection="default")
        async with asyncio.timeout(10):
            while (await mine.complete("q", cache_response=True)).content != "answer 2":
                await asyncio.sleep(0.01)
        assert server.calls == 3
