"""Warming: the memory tier before the first call, and the store before it is needed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from cache_support import BrokenBackend

from llmcache import MemoryBackend, Message, OpenAIProvider
from llmcache.backends import EntryInfo
from llmcache.cache.tier import Held
from llmcache.errors import ConfigurationError, InvalidRequestError
from llmcache.testing.upstream import DemoUpstream, Reply, Upstream, UpstreamRequest

MakeProvider = Callable[..., OpenAIProvider]


async def fill(provider: OpenAIProvider, count: int) -> None:
    for number in range(count):
        await provider.complete(f"q{number}", cache_response=True)


async def test_a_warm_memory_answers_without_the_store(
    make_provider: MakeProvider, upstream: DemoUpstream
) -> None:
    async with make_provider() as before:
        await fill(before, 10)
        await before.embed(["a", "b"], cache_response=True)
    async with make_provider() as provider:
        report = await provider.warm_cache()
        assert (report.loaded, report.skipped, report.complete) == (12, 0, True)
        assert report.bytes == provider.cache.store.tier.bytes
        hit = await provider.complete("q3", cache_response=True)
        assert hit.cache is not None
        assert hit.cache.tier == "memory"
        calls = upstream.calls
        await provider.embed(["b", "a"], cache_response=True)
        assert upstream.calls == calls


async def test_the_most_used_or_the_newest_come_first(
    make_provider: MakeProvider, upstream: DemoUpstream
) -> None:
    async with make_provider() as before:
        await fill(before, 6)
        for number, uses in ((1, 5), (3, 9), (4, 2)):
            for _ in range(uses):
                await before.complete(f"q{number}", cache_response=True)
    async with make_provider() as after:
        await after.complete("q0", cache_response=True, rewrite_cache=True)  # the newest

    async def loaded(order: Any, count: int) -> set[int]:
        async with make_provider() as provider:
            [info, *_] = [info async for info in provider.cache.backend.scan()]
            await provider.warm_cache()
            held: Held | None = provider.cache.store.tier.get((info.collection, info.key))
            assert held is not None
            room = held.size * count + held.size // 2
        async with make_provider(cache_options={"memory_bytes": room}) as provider:
            report = await provider.warm_cache(order=order)
            assert report.loaded == count
            assert not report.complete
            found = set()
            for number in range(6):
                request = provider._call(f"q{number}", {}).request
                if provider.cache.store.tier.get(("default", request.key())) is not None:
                    found.add(number)
            return found

    assert await loaded("most_used", 2) == {1, 3}
    assert await loaded("most_used", 3) == {1, 3, 4}
    assert 0 in await loaded("newest", 2)


async def test_one_request_in_two_collections_is_loaded_from_both(
    make_provider: MakeProvider, upstream: DemoUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    """They have one key, and here the same rank."""

    class SameRank(MemoryBackend):
        async def scan(self, collection: str | None = None, /) -> AsyncIterator[EntryInfo]:
            async for info in super().scan(collection):
                yield replace(info, uses=1, used_at=1.0)

    async with make_provider(cache_backend=SameRank()) as provider:
        for name in ("one", "two", "three"):
            await provider.complete("q", cache_response=True, cache_collection=name)
        report = await provider.cache.warm()
        assert (report.loaded, report.complete) == (3, True)
    assert not caplog.records


@pytest.mark.parametrize(
    "options",
    [{"order": "bogus"}, {"order": ""}, {"collection": "../up"}, {"collection": ""}],
)
async def test_what_cannot_be_warmed_is_said(provider: OpenAIProvider, options: Any) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        await provider.warm_cache(**options)
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        await provider.cache.warm(**options)


@pytest.mark.parametrize("option", ["order", "max_bytes", "seconds"])
async def test_requests_are_not_loaded(
    provider: OpenAIProvider, upstream: DemoUpstream, option: str
) -> None:
    options: Any = {option: {"order": "newest", "max_bytes": 1, "seconds": 1.0}[option]}
    with pytest.raises(InvalidRequestError, match="beside requests") as raised:
        await provider.warm_cache(["q"], **options)
    assert raised.value.path == option
    assert not upstream.calls


@pytest.mark.parametrize(
    "requests",
    ["abc", b"abc", Message.user("abc"), {"role": "user", "content": "x"}, {"messages": "x"}, 5],
)
async def test_one_request_has_to_be_in_a_list(
    provider: OpenAIProvider, upstream: DemoUpstream, requests: Any
) -> None:
    with pytest.raises(InvalidRequestError, match="must be a list of requests") as raised:
        await provider.warm_cache(requests=requests)
    assert raised.value.path == "requests"
    assert not upstream.calls


async def test_without_a_cache_there_is_nothing_to_fill(
    make_provider: MakeProvider, upstream: DemoUpstream
) -> None:
    async with make_provider(cache_backend=None) as provider:
        with pytest.raises(ConfigurationError, match="cache_backend=None"):
            await provider.warm_cache(["a", "b"])
        with pytest.raises(ConfigurationError, match="collection"):
            await provider.warm_cache(["a"], collection="a/b")
        assert not upstream.calls


async def test_warming_keeps_to_its_time(
    make_provider: MakeProvider, upstream: DemoUpstream
) -> None:
    async with make_provider() as before:
        await fill(before, 5)
    async with make_provider() as provider:
        report = await provider.warm_cache(seconds=0)
        assert not report.complete


async def test_a_store_that_fails_ends_the_warming_with_a_warning(
    make_provider: MakeProvider, caplog: pytest.LogCaptureFixture
) -> None:
    for fault in ("raises", "os error"):
        backend = BrokenBackend(fault, {"scan"})
        async with make_provider(cache_backend=backend) as provider:
            report = await provider.warm_cache()
            assert (report.loaded, report.complete) == (0, False)
    assert any("warm failed" in record.message for record in caplog.records)


async def test_requests_are_answered_ahead(
    provider: OpenAIProvider, upstream: DemoUpstream
) -> None:
    await provider.complete("known", cache_response=True)
    requests: list[Any] = [
        "known",
        "new",
        Message.user("as a message"),
        [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}],
        {"messages": "with options", "temperature": 0.5, "tags": ["warm"]},
    ]
    report = await provider.warm_cache(requests)
    assert (report.found, report.made, report.failed, report.complete) == (1, 4, 0, True)
    hit = await provider.complete("with options", temperature=0.5, mode="offline")
    assert hit.content
    assert await provider.cache.invalidate(tag="warm") == 1


async def test_failures_are_counted_and_the_others_go_on(make_provider: MakeProvider) -> None:
    def handler(request: UpstreamRequest) -> Reply:
        if "bad" in request.json()["messages"][0]["content"]:
            return Reply(400, b'{"error": {"message": "no bad questions"}}')
        from cache_support import completion  # noqa: PLC0415 - beside its use

        return Reply(body=completion())

    async with Upstream(handler) as server, make_provider(base_url=server.base_url) as provider:
        report = await provider.warm_cache(["good 1", "bad", ["x", 5], "good 2"])  # type: ignore[list-item]
        assert (report.made, report.failed) == (2, 2)
        assert any("no bad questions" in error for error in report.errors)
        assert any("messages[1]" in error for error in report.errors)
        assert not report.complete


async def test_no_more_calls_at_once_than_asked_for(make_provider: MakeProvider) -> None:
    running = most = 0

    async def handler(request: UpstreamRequest) -> Reply:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1
        from cache_support import completion  # noqa: PLC0415 - beside its use

        return Reply(body=completion())

    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        for number in range(12):
            taken += 1
            assert taken <= most + 12
            yield f"q{number}"

    async with Upstream(handler) as server, make_provider(base_url=server.base_url) as provider:
        report = await provider.warm_cache(endless(), concurrency=3)
        assert report.made == 12
        assert most == 3
        with pytest.raises(InvalidRequestError):
            await provider.warm_cache(["q"], concurrency=0)
