"""A folder of entries: what it promises beyond the map, and what a disk can do to it."""

from __future__ import annotations

import errno
import gc
import hashlib
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from backend_support import (
    break_call,
    entry,
    files,
    framed,
    key,
    open_descriptors,
    path_of,
    scan,
)

from llmcache import FSCache
from llmcache.backends import Backend, powers
from llmcache.backends import base as protocols
from llmcache.errors import BackendUnavailableError, ConfigurationError
from llmcache.testing import BackendTests


class TestInline(BackendTests):
    @pytest.fixture
    async def backend(self, tmp_path: Path) -> AsyncIterator[Backend]:
        async with aclosing(FSCache(tmp_path / "cache")) as backend:
            yield backend


class TestThreads(BackendTests):
    @pytest.fixture
    async def backend(self, tmp_path: Path) -> AsyncIterator[Backend]:
        folder = tmp_path / "a folder" / "with ünïcode %s {0}"
        async with FSCache(folder, io="thread", fsync=True, max_bytes=2**30) as backend:
            yield backend


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
async def cache(root: Path) -> AsyncIterator[FSCache]:
    async with FSCache(root) as cache:
        yield cache


# --- the folder -----------------------------------------------------------------------------


def test_it_has_every_power_but_those_of_servers() -> None:
    """Files need none of those: one clock, locks that cannot be lost, nothing in front of them."""
    for name in protocols.__all__:
        if name.startswith("Supports") and name not in {"SupportsLoad", "SupportsPeek"}:
            assert issubclass(FSCache, getattr(protocols, name)), name
    for name in ("SupportsClock", "SupportsFence", "SupportsNews"):
        assert not issubclass(FSCache, getattr(powers, name)), name


def test_a_file_is_no_cache_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="is a file; name a folder"):
        FSCache(tmp_path / "file")


@pytest.mark.parametrize(
    "options",
    [
        {"max_bytes": 0},
        {"max_bytes": -1},
        {"max_bytes": "1 GB"},
        {"max_entry_bytes": 0},
        {"io": "fast"},
        {"io": ["inline"]},
    ],
    ids=str,
)
def test_an_argument_out_of_range_is_refused(root: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        FSCache(root, **options)


@pytest.mark.parametrize(
    "folder",
    ["a\0b", "x" * 5_000, "~nobody-of-this-name/cache", 7, None],
    ids=["nul", "long", "home", "a number", "nothing"],
)
def test_a_folder_that_cannot_be_one_is_refused(folder: Any) -> None:
    with pytest.raises(ConfigurationError):
        FSCache(folder)


def test_a_folder_we_may_not_enter_is_ours_to_explain(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_call(monkeypatch, "stat", root, errno.EACCES)
    with pytest.raises(ConfigurationError):
        FSCache(root)


async def test_nothing_is_made_before_the_first_write(cache: FSCache, root: Path) -> None:
    await cache.get("default", [key(1)])
    await cache.delete("default", [key(1)])
    await cache.touch("default", {key(1): 1})
    await cache.quarantine("elsewhere", key(1), b"")
    await cache.revision("default")
    await cache.dictionaries("default")
    await cache.stats()
    await cache.prune(max_bytes=1)
    assert await scan(cache) == []
    assert not root.exists()


async def test_the_layout_is_the_documented_one(cache: FSCache, root: Path) -> None:
    await cache.put("a.b", [entry(1, b"data")])
    await cache.put_dictionary("a.b", b"dictionary")
    lease = await cache.try_lease("a.b", key(1))
    assert lease is not None
    name = key(1).replace(":", "-")
    digits = hashlib.sha256(b"dictionary").digest()[:4][::-1].hex()
    assert {str(path.relative_to(root / "a.b")) for path in files(root)} == {
        str(path_of(root, 1, "a.b").relative_to(root / "a.b")),
        f".dictionaries/0001-{digits}.zdict",
        f".locks/{name}.lock",
    }
    assert path_of(root, 1, "a.b").read_bytes() == b"data"
    await lease.release()


async def test_a_folder_that_vanishes_is_an_empty_one(cache: FSCache, root: Path) -> None:
    await cache.put("default", [entry(1), entry(2)])
    shutil.rmtree(root)
    assert dict(await cache.get("default", [key(1)])) == {}
    assert await scan(cache) == []
    assert (await cache.stats()).entries == 0
    await cache.put("default", [entry(3)])
    assert [info.key for info in await scan(cache)] == [key(3)]


async def test_it_can_be_used_after_it_was_closed(cache: FSCache) -> None:
    await cache.put("default", [entry(1)])
    await cache.aclose()
    await cache.put("default", [entry(2)])
    assert len(await scan(cache)) == 2


async def test_a_second_instance_sees_everything(cache: FSCache, root: Path) -> None:
    await cache.put("default", [entry(1)])
    other = FSCache(root)
    assert (await other.get("default", [key(1)]))[key(1)] == b"data"
    before = await other.revision("default")
    await cache.put("default", [entry(1, b"new")])
    assert await other.revision("default") != before
    lease = await cache.try_lease("default", key(1))
    assert lease is not None
    assert await other.try_lease("default", key(1)) is None
    await lease.release()
    await other.aclose()


async def test_no_descriptor_is_left_open(
    cache: FSCache, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def use() -> None:
        await cache.put("default", [framed(n, 1.0) for n in range(20)])
        await cache.get("default", [key(n) for n in range(40)])
        await cache.touch("default", {key(n): 1 for n in range(40)})
        lease = await cache.try_lease("default", key(1))
        assert lease is not None
        assert await cache.try_lease("default", key(1)) is None
        await lease.release()
        await cache.put_dictionary("default", b"data")
        await cache.dictionaries("default")
        await cache.quarantine("default", key(1), b"")
        await scan(cache)
        await cache.stats()
        await cache.prune(max_bytes=10)
        with monkeypatch.context() as patch:
            break_call(patch, "replace", root, errno.EIO)
            with pytest.raises(BackendUnavailableError):
                await cache.put("default", [entry(1)])

    await use()
    gc.collect()
    before = open_descriptors()
    for _ in range(5):
        await use()
    gc.collect()
    assert open_descriptors() == before


# --- what stands in the way -----------------------------------------------------------------


async def test_below_a_file_every_operation_fails_as_ours(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    async with FSCache(tmp_path / "file" / "cache") as cache:
        assert dict(await cache.get("default", [key(1)])) == {}
        assert await cache.delete("default", [key(1)]) == 0
        for attempt in (
            cache.put("default", [entry(1)]),
            cache.try_lease("default", key(1)),
            cache.put_dictionary("default", b"x"),
            cache.stats(),
            cache.prune(),
            scan(cache),
        ):
            with pytest.raises(BackendUnavailableError, match="a file stands where a folder"):
                await attempt


@pytest.mark.parametrize(
    "blocked", ["default", f"default/{key(1)[3:5]}"], ids=["collection", "shard"]
)
async def test_a_file_in_place_of_a_folder(cache: FSCache, root: Path, blocked: str) -> None:
    (root / blocked).parent.mkdir(parents=True)
    (root / blocked).write_bytes(b"not a folder")
    assert dict(await cache.get("default", [key(1)])) == {}
    with pytest.raises(BackendUnavailableError, match="a file stands where a folder"):
        await cache.put("default", [entry(1)])
    await cache.put("other", [entry(1)])
    assert [info.collection for info in await scan(cache)] == ["other"]


async def test_a_folder_in_place_of_an_entry(cache: FSCache, root: Path) -> None:
    path_of(root, 1).mkdir(parents=True)
    with pytest.raises(BackendUnavailableError):
        await cache.get("default", [key(1)])
    with pytest.raises(BackendUnavailableError):
        await cache.put("default", [entry(1)])
    assert files(root) == []
    await cache.put("default", [entry(2)])
    assert (await cache.get("default", [key(2)]))[key(2)] == b"data"


def _operations(cache: FSCache) -> dict[str, Callable[[], Any]]:
    return {
        "get": lambda: cache.get("default", [key(1)]),
        "put": lambda: cache.put("default", [entry(1)]),
        "lease": lambda: cache.try_lease("default", key(1)),
        "dictionaries": lambda: cache.dictionaries("default"),
        "put_dictionary": lambda: cache.put_dictionary("default", b"another"),
        "quarantine": lambda: cache.quarantine("default", key(1), b"data"),
        "touch": lambda: cache.touch("default", {key(1): 1}),
        "delete": lambda: cache.delete("default", [key(1)]),
        "scan": lambda: scan(cache),
        "stats": cache.stats,
        "prune": cache.prune,
        "revision": lambda: cache.revision("default"),
    }


_NEEDS = {
    "dictionaries": "io.open",
    "touch": "utime",
    "delete": "unlink",
    "scan": "scandir",
    "stats": "scandir",
    "prune": "scandir",
}


@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES, errno.EROFS, errno.ESTALE])
@pytest.mark.parametrize("operation", list(_operations(FSCache())))
async def test_an_error_of_the_system_is_ours(
    cache: FSCache, root: Path, monkeypatch: pytest.MonkeyPatch, operation: str, code: int
) -> None:
    await cache.put("default", [entry(1), entry(1)])
    await cache.put_dictionary("default", b"dictionary")
    with monkeypatch.context() as patch:
        break_call(patch, _NEEDS.get(operation, "open"), root, code)
        with pytest.raises(BackendUnavailableError) as caught:
            await _operations(cache)[operation]()
    assert (caught.value.backend, caught.value.operation) == ("fs", operation)
    assert (await cache.get("default", [key(1)]))[key(1)] == b"data"


@pytest.mark.parametrize(
    "name",
    [
        "README.txt",
        "noscheme.llmc",
        ".hidden-0123.llmc",
        ".tmp-1-0-v1-0123.llmc",
        "v1-0123.llmc.bak",
        "a-b.llmc",
    ],
)
async def test_foreign_files_are_no_entries(cache: FSCache, root: Path, name: str) -> None:
    await cache.put("default", [framed(1, None)])
    for folder in (path_of(root, 1).parent, root, root / "default"):
        (folder / name).write_bytes(b"whatever")
    assert [info.key for info in await scan(cache)] == [key(1)]
    assert (await cache.stats()).entries == 1
    assert (await cache.prune()).entries_left == 1
    await cache.get("default", [info.key for info in await scan(cache)])


@pytest.mark.parametrize("content", [b"", b"LLMC", b"\0" * 4096], ids=["empty", "torn", "zeros"])
async def test_what_is_in_an_entrys_place_is_for_the_codec_to_judge(
    cache: FSCache, root: Path, content: bytes
) -> None:
    path_of(root, 1).parent.mkdir(parents=True)
    path_of(root, 1).write_bytes(content)
    assert dict(await cache.get("default", [key(1)])) == {key(1): content}
    assert [(info.key, info.size) for info in await scan(cache)] == [(key(1), len(content))]
    report = await cache.prune()
    assert (report.expired, report.entries_left) == (0, 1)


async def test_foreign_folders_are_no_collections(cache: FSCache, root: Path) -> None:
    await cache.put("default", [entry(1)])
    shutil.copytree(root / "default", root / "lost+found")
    assert [info.collection for info in await scan(cache)] == ["default"]


async def test_a_foreign_folder_that_nobody_may_read_stops_nothing(
    cache: FSCache, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cache.put("default", [entry(1)])
    (root / "lost+found").mkdir()
    break_call(monkeypatch, "scandir", root / "lost+found", errno.EACCES)
    assert (await cache.stats()).entries == 1
    assert (await cache.prune(max_bytes=1)).evicted == 1


@pytest.mark.parametrize(
    "operation",
    [
        lambda cache: cache.touch("../x", {key(1): 1}),
        lambda cache: cache.touch("default", {"v1:../../../../x": 1}),
        lambda cache: cache.revision("../x"),
    ],
    ids=["touch collection", "touch key", "revision"],
)
async def test_every_power_checks_names(cache: FSCache, operation: Callable[..., Any]) -> None:
    with pytest.raises(ConfigurationError):
        await operation(cache)
