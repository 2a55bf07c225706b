"""Compression dictionaries: trained behind the calls, kept beside the data, never missed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cache_support import until

from llmcache import OpenAIProvider
from llmcache.codec import dictionary_of
from llmcache.testing.upstream import DemoUpstream

MakeProvider = Callable[..., OpenAIProvider]


async def fill(provider: OpenAIProvider, start: int, stop: int) -> None:
    for number in range(start, stop):
        await provider.complete(f"question number {number}", cache_response=True)


def has_own(provider: OpenAIProvider) -> bool:
    return provider.cache.store.dictionaries._trained.get("default") == 1


def trained(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "default").glob(".dictionaries/*.zdict"))


async def test_a_collection_gets_its_own_dictionary(
    make_provider: MakeProvider, upstream: DemoUpstream, tmp_path: Path
) -> None:
    async with make_provider() as provider:
        await fill(provider, 0, 70)
        await until(lambda: has_own(provider))
        await fill(provider, 70, 80)
        sizes: dict[bool, list[int]] = {True: [], False: []}
        own = int(trained(tmp_path)[0].stem.partition("-")[2], 16)
        async for info in provider.cache.backend.scan():
            data = (await provider.cache.backend.get(info.collection, [info.key]))[info.key]
            sizes[dictionary_of(data) == own].append(len(data))
        assert len(sizes[True]) >= 10
        assert max(sizes[True]) < min(sizes[False])
    # A later process finds it and reads what it compressed.
    async with make_provider(cache_options={"memory_bytes": 0}) as later:
        for number in (0, 75):
            hit = await later.complete(f"question number {number}", cache_response=True)
            assert hit.cache is not None
            assert hit.cache.status == "hit"
        assert (await later.cache.verify()).corrupt == 0


async def test_another_processes_dictionary_is_found_when_an_entry_names_it(
    make_provider: MakeProvider, upstream: DemoUpstream, tmp_path: Path
) -> None:
    async with make_provider(cache_options={"memory_bytes": 0}) as reader:
        await reader.complete("question number 0", cache_response=True)  # knows no dictionary yet
        async with make_provider() as writer:
            await fill(writer, 0, 70)
            await until(lambda: has_own(writer))
            await fill(writer, 70, 72)
        hit = await reader.complete("question number 71", cache_response=True)
        assert hit.cache is not None
        assert hit.cache.status == "hit"


@pytest.mark.parametrize("damage", ["missing", "changed"])
async def test_without_its_dictionary_an_entry_is_a_miss_and_stays(
    make_provider: MakeProvider,
    upstream: DemoUpstream,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    damage: str,
) -> None:
    async with make_provider() as provider:
        await fill(provider, 0, 70)
        await until(lambda: has_own(provider))
        await fill(provider, 70, 71)
    [path] = trained(tmp_path)
    original = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(original[:-1] + b"\0")
    calls = upstream.calls
    async with make_provider() as later:
        result = await later.complete("question number 70", mode="auto", cache_response=True)
        assert result.content
        assert upstream.calls == calls + 1
    assert any("is missing" in record.message for record in caplog.records)
    assert not list((tmp_path / "cache").rglob(".corrupt/*"))


async def test_a_dictionary_that_cannot_be_kept_is_not_used(
    make_provider: MakeProvider, upstream: DemoUpstream, tmp_path: Path
) -> None:
    """An entry may only name a dictionary that is safely beside it."""
    (tmp_path / "cache" / "default").mkdir(parents=True)
    (tmp_path / "cache" / "default" / ".dictionaries").write_text("in the way")
    async with make_provider() as provider:
        await fill(provider, 0, 80)
    async with make_provider(cache_options={"memory_bytes": 0}) as later:
        calls = upstream.calls
        await fill(later, 0, 80)
        assert upstream.calls == calls
