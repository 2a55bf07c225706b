"""What memory may be believed while its store is slow, down, or has nothing to tell."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest
from cache_support import BrokenBackend, answering, completion, until

from llmcache import OpenAIProvider
from llmcache.backends import Change, MemoryBackend
from llmcache.cache.coherence import Coherence
from llmcache.cache.guard import Budget, Guard
from llmcache.cache.tier import MemoryTier
from llmcache.errors import BackendUnavailableError

MakeProvider = Callable[..., OpenAIProvider]


class Telling(MemoryBackend):
    """A stand-in that tells what it is told to, and counts how often it is listened to."""

    def __init__(self, *, is_deaf: bool = False) -> None:
        super().__init__()
        self.told: asyncio.Queue[Change] = asyncio.Queue()
        self.number = 10
        self.listened = 0
        self.asked = 0
        self.is_deaf = is_deaf

    async def revision(self, collection: str, /) -> int:
        self.asked += 1
        return self.number

    async def news(self, collection: str, /) -> AsyncGenerator[Change, None]:
        self.listened += 1
        if self.is_deaf:
            raise BackendUnavailableError("nobody there", backend="telling", operation="news")
        yield Change()
        while True:
            yield await self.told.get()


def coherence_of(backend: MemoryBackend, seconds: float = 60.0) -> Coherence:
    guard, tier = Guard(backend.name), MemoryTier(10**6)
    return Coherence(backend, guard, tier, set(), seconds=seconds, background=5.0)


async def test_a_revision_that_was_told_takes_nothing_away() -> None:
    """In any order, and with one of ours among them."""
    backend = Telling()
    coherence = coherence_of(backend, 0.0)
    await coherence.confirm("c", Budget(1.0))
    with coherence.watching(("c", "v1:k")) as bell:
        for revision in (12, 13, 11):
            backend.told.put_nowait(Change(("v1:k",), coherence.author, revision))
        await until(lambda: coherence._known["c"].revision == 13)
        assert bell.is_set()
        before, backend.number = coherence.moment, 13
        await coherence.confirm("c", Budget(1.0))
        assert coherence.moment == before
        backend.number = 15
        await coherence.confirm("c", Budget(1.0))
        assert coherence.moment > before, "one was not told"
    await coherence.aclose()


@pytest.mark.parametrize("number", [9, 0, 10**15])
async def test_a_revision_that_goes_anywhere_else_takes_all(number: int) -> None:
    """As of a store that was emptied, restored, or replaced by another."""
    backend = Telling()
    coherence = coherence_of(backend, 0.0)
    await coherence.confirm("c", Budget(1.0))
    before, backend.number = coherence.moment, number
    await coherence.confirm("c", Budget(1.0))
    assert coherence.moment > before
    assert not coherence.may_hold("c", "v1:any", before)
    assert coherence.may_hold("other", "v1:any", before)


async def test_what_is_remembered_of_changes_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    from llmcache.cache import coherence as module  # noqa: PLC0415 - beside its use

    monkeypatch.setattr(module, "_MOST_CHANGED", 10)
    monkeypatch.setattr(module, "_MOST_TOLD", 10)
    coherence = coherence_of(Telling())
    start = coherence.moment
    coherence.changed("c", [f"v1:{n}" for n in range(5)])
    middle = coherence.moment
    assert coherence.may_hold("c", "v1:9", start)
    assert not coherence.may_hold("c", "v1:4", start)
    for number in range(100):
        coherence.changed("c", [f"v1:new{number}"])
    assert len(coherence._changed_at) == 10
    assert not coherence.may_hold("c", "v1:9", middle), "in doubt, not"
    known = coherence._of("c")
    known.revision = 0
    for revision in range(2, 1_000):
        known.note(revision)
    assert len(known.told) <= 10
    assert known.revision == 0


async def test_a_store_without_news_is_not_listened_to(
    make_provider: MakeProvider,
) -> None:
    async with make_provider() as provider:
        await provider.complete("q", cache_response=True)
        for _ in range(3):
            await provider.complete("q", cache_response=True)
        assert not provider.cache.store.coherence._following


async def test_who_only_misses_does_not_listen(make_provider: MakeProvider) -> None:
    backend = Telling()
    async with answering(completion("a")) as server:
        async with make_provider(base_url=server.base_url, cache_backend=backend) as provider:
            await provider.complete("q", cache_response=True)
            assert backend.listened == 0
            await provider.complete("q", cache_response=True)
            await until(lambda: backend.listened == 1)
            for _ in range(50):
                await provider.complete("q", cache_response=True)
            assert backend.listened == 1
            assert backend.asked < 5, "hits ask nothing"


async def test_news_that_fail_are_asked_for_again_and_not_all_the_time(
    make_provider: MakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llmcache.cache import coherence as module  # noqa: PLC0415 - beside its use

    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.05)
    backend = Telling(is_deaf=True)
    async with answering(completion("a")) as server:
        async with make_provider(base_url=server.base_url, cache_backend=backend) as provider:
            for _ in range(2):
                await provider.complete("q", cache_response=True)
            await until(lambda: backend.listened == 3)
            assert (await provider.complete("q", cache_response=True)).content == "a"


@pytest.mark.parametrize("fault", ["hangs", "raises"])
async def test_a_store_that_does_not_answer_holds_up_one_hit_at_most(
    make_provider: MakeProvider, fault: str
) -> None:
    backend = BrokenBackend(fault, set())
    options: dict[str, Any] = {"coherence": 0.05, "deadline": 0.5, "background_timeout": 0.5}
    async with answering(completion("a"), completion("b")) as server:
        async with make_provider(
            base_url=server.base_url, cache_backend=backend, cache_options=options
        ) as provider:
            await provider.complete("q", cache_response=True)
            backend.operations = {"revision"}
            slow = 0
            for _ in range(10):
                await asyncio.sleep(0.1)
                started = time.monotonic()
                answer = await provider.complete("q", cache_response=True)
                slow += time.monotonic() - started >= 0.25
                assert answer.content == "a", "what memory has still serves"
                assert answer.cache is not None
                assert answer.cache.tier == "memory"
            assert slow <= 1
            backend.operations = set()
            await backend.delete("default", [answer.cache.key or ""])
            async with asyncio.timeout(20):
                while (await provider.complete("q", cache_response=True)).content == "a":
                    await asyncio.sleep(0.05)
