"""Verify, prune, stats, export and import."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from cache_support import Clock, answering, chunks, completion, streamed

from llmcache import OpenAIProvider
from llmcache.backends import MemoryBackend
from llmcache.cache.transfer import entry_from_line, line_of_entry
from llmcache.errors import ConfigurationError
from llmcache.testing.upstream import DemoUpstream
from llmcache.types import CacheEntry, Recording, WireEvent

MakeProvider = Callable[..., OpenAIProvider]


async def fill(provider: OpenAIProvider, count: int = 5, **options: Any) -> None:
    for number in range(count):
        await provider.complete(f"q{number}", cache_response=True, **options)


def entry_files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.llmc"))


async def test_verify_finds_damage_and_repair_sets_it_aside(
    provider: OpenAIProvider, tmp_path: Path
) -> None:
    await fill(provider)
    files = entry_files(tmp_path)
    data = files[0].read_bytes()
    files[0].write_bytes(data[:-1] + bytes([data[-1] ^ 1]))  # damaged
    files[1].write_bytes(files[2].read_bytes())  # another entry's bytes
    files[3].write_bytes(data[:4] + b"\xff" + data[5:])  # from the future
    report = await provider.cache.verify()
    assert (report.checked, report.corrupt, report.unreadable, report.repaired) == (5, 2, 1, 0)
    assert len(report.problems) == 3
    repaired = await provider.cache.verify(repair=True)
    assert repaired.repaired == 2
    again = await provider.cache.verify()
    assert (again.checked, again.corrupt, again.unreadable) == (3, 0, 1)
    assert (await provider.cache.stats()).quarantined == 2
    assert files[3].exists()  # another version may read it


async def test_verify_checks_that_the_request_has_the_key_it_lies_under(
    make_provider: MakeProvider,
) -> None:
    async with make_provider() as provider:
        await fill(provider, 1)
        cache = provider.cache
        [info] = [info async for info in cache.backend.scan()]
        entry = (await cache.store.fetch(info.collection, [info.key]))[info.key]
        forged = "v1:" + "0" * 64
        moved = entry._replace(key=forged)
        from llmcache.backends import StoredEntry  # noqa: PLC0415 - beside its use

        frame = cache.store.codec.encode(moved)
        await cache.backend.put(info.collection, [StoredEntry(forged, frame)])
        report = await cache.verify()
        assert (report.checked, report.corrupt) == (2, 1)
        assert report.problems[0][1] == forged


async def test_prune_takes_what_is_past_its_time(
    provider: OpenAIProvider, upstream: DemoUpstream, clock: Clock
) -> None:
    await fill(provider, 3, ttl=10)
    await provider.complete("stays", cache_response=True)
    await provider.complete("grace", cache_response=True, ttl=10, stale_if_error=100)
    clock.advance(50)
    report = await provider.cache.prune()
    assert (report.expired, report.entries_left) == (3, 2)
    clock.advance(100)
    assert (await provider.cache.prune()).expired == 1


async def test_a_store_without_pruning_is_pruned_from_outside(
    make_provider: MakeProvider, upstream: DemoUpstream, clock: Clock
) -> None:
    async with make_provider(cache_backend=MemoryBackend()) as provider:
        await fill(provider, 3, ttl=10)
        await provider.complete("stays", cache_response=True)
        clock.advance(11)
        report = await provider.cache.prune()
        assert (report.expired, report.entries_left) == (3, 1)
        with pytest.raises(ConfigurationError, match="max_bytes"):
            await provider.cache.prune(max_bytes=1)


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.zst"])
async def test_what_is_exported_comes_back_the_same(
    make_provider: MakeProvider, tmp_path: Path, suffix: str
) -> None:
    body = completion("Grüße", logprobs=None)
    async with answering(body, chunks("a", "b")) as server:
        async with make_provider(base_url=server.base_url) as provider:
            whole = await provider.complete("whole", cache_response=True, tags=["t"], ttl=10**6)
            flow = await streamed(provider, "streamed", cache_response=True)
            path = tmp_path / f"out.{suffix}"
            assert (await provider.cache.export(path)).exported == 2
            tagged = await provider.cache.export(tmp_path / "tagged.jsonl", tag="t")
            assert tagged.exported == 1
        options = {"base_url": server.base_url, "cache_dir": tmp_path / "other"}
        async with make_provider(**options) as copy:
            report = await copy.cache.import_(path)
            assert (report.imported, report.rejected_count) == (2, 0)
            assert await copy.complete("whole", mode="offline") == whole
            assert await copy.complete("streamed", mode="offline") == flow
            assert (await copy.cache.verify()).corrupt == 0
            assert await copy.cache.invalidate(tag="t") == 1
    raw = path.read_bytes()
    text = zstandard.ZstdDecompressor().stream_reader(raw).read() if suffix.endswith("zst") else raw
    lines = [json.loads(line) for line in text.splitlines()]
    assert len(lines) == 2
    assert {line["request"]["body"]["messages"][0]["content"] for line in lines} == {
        "whole",
        "streamed",
    }


async def test_embeddings_travel_too(provider: OpenAIProvider, tmp_path: Path) -> None:
    first = await provider.embed(["a", "b"], cache_response=True)
    await provider.cache.export(tmp_path / "out.jsonl")
    await provider.cache.invalidate(collection="default")
    assert (await provider.cache.import_(tmp_path / "out.jsonl")).imported == 2
    assert await provider.embed(["a", "b"], mode="offline") == first


@pytest.mark.parametrize(
    ("on_conflict", "expected", "counts"),
    [
        ("keep", "new", (0, 0, 1)),
        ("replace", "old", (0, 1, 0)),
        ("newer", "new", (0, 0, 1)),
    ],
)
async def test_merge_rules(
    make_provider: MakeProvider,
    tmp_path: Path,
    clock: Clock,
    on_conflict: Any,
    expected: str,
    counts: tuple[int, int, int],
) -> None:
    async with (
        answering(completion("old"), completion("new")) as server,
        make_provider(base_url=server.base_url) as provider,
    ):
        await provider.complete("q", cache_response=True)
        await provider.cache.export(tmp_path / "old.jsonl")
        clock.advance(10)
        await provider.complete("q", cache_response=True, rewrite_cache=True)
        report = await provider.cache.import_(tmp_path / "old.jsonl", on_conflict=on_conflict)
        assert (report.imported, report.replaced, report.kept) == counts
        assert (await provider.complete("q", mode="offline")).content == expected


def damaged_lines(good: str) -> dict[str, str]:
    line = json.loads(good)

    def changed(**fields: Any) -> str:
        return json.dumps({**line, **fields})

    return {
        "no JSON": "{",
        "no object": "[]",
        "null": "null",
        "empty object": "{}",
        "hostile collection": changed(collection="../../etc"),
        "hostile key": changed(key="../../etc/passwd"),
        "another key": changed(key="v1:" + "0" * 64),
        "another request": changed(request={**line["request"], "sample": 7}),
        "request of a wrong type": changed(request="text"),
        "body of a wrong type": changed(body=5),
        "body not base64": json.dumps(
            {**{k: v for k, v in line.items() if k != "body"}, "body_base64": "!"}
        ),
        "events of a wrong type": changed(events=5),
        "event without data": changed(events=[{"offset": 1}]),
        "event offset of a wrong type": changed(events=[{"offset": "x", "data": "{}"}]),
        "tags of a wrong type": changed(tags=[1]),
        "time of a wrong type": changed(created_at="yesterday"),
        "cost of a wrong type": changed(cost=5),
        "headers of a wrong type": changed(headers=[1]),
        "deep": '{"a":' * 100_000,
    }


async def test_a_bad_line_is_rejected_and_named_and_the_rest_is_imported(
    provider: OpenAIProvider, tmp_path: Path
) -> None:
    await fill(provider, 2)
    source = tmp_path / "good.jsonl"
    await provider.cache.export(source)
    good = source.read_text().splitlines()
    bad = damaged_lines(good[0])
    mixed = tmp_path / "mixed.jsonl"
    mixed.write_bytes("\n".join([*bad.values(), "", *good]).encode() + b"\n\xff\xfe not text\n")
    await provider.cache.invalidate(collection="default")
    report = await provider.cache.import_(mixed)
    assert report.imported == 2
    assert report.rejected_count == len(bad) + 1
    numbers = [number for number, _ in report.rejected]
    assert numbers[: len(bad)] == list(range(1, len(bad) + 1))
    assert all(reason for _, reason in report.rejected)
    assert (await provider.cache.stats()).entries == 2


async def test_a_damaged_archive_keeps_what_came_before(
    provider: OpenAIProvider, tmp_path: Path
) -> None:
    await fill(provider, 300)
    path = tmp_path / "out.jsonl.zst"
    await provider.cache.export(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + b"\0" * 50)
    await provider.cache.invalidate(collection="default")
    report = await provider.cache.import_(path)
    assert report.rejected_count == 1
    assert (await provider.cache.stats()).entries == report.imported


async def test_a_failed_export_leaves_no_file(
    provider: OpenAIProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(provider, 2)
    target = tmp_path / "out.jsonl"
    target.write_text("what was there before")

    def fail(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("llmcache.cache.transfer.line_of_entry", fail)
    with pytest.raises(OSError, match="No space left"):
        await provider.cache.export(target)
    assert target.read_text() == "what was there before"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["out.jsonl"]


def test_a_line_is_exact() -> None:
    entry = CacheEntry(
        key="v1:" + "a" * 64,
        recording=Recording(
            events=(WireEvent(b'{"a":1}', "message", 0.25), WireEvent(b"\xff\x00", None, 0.5)),
            headers=(("x-request-id", "r"),),
        ),
        kind="chat",
        model="m",
        tags=("a", "b"),
        created_at=1.5,
        expires_at=2.5,
        keep_until=3.5,
        duration=0.25,
        cost="0.001",
        answered_by="m-2",
        components={"model": "0123"},
    )
    assert entry_from_line(line_of_entry("c", entry)) == ("c", entry)
