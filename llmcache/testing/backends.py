"""The promises of `llmcache.backends.base`, as tests for any backend.

    class TestMine(BackendTests):
        @pytest.fixture
        async def backend(self, tmp_path: Path) -> AsyncIterator[Backend]:
            async with aclosing(MyBackend(tmp_path)) as backend:
                yield backend

The fixture gives an empty backend. Tests of powers that it does not have are
skipped. Needs pytest and pytest-asyncio.
"""

# ruff: noqa: D102, PLR2004, S101 - a suite: names say what is shown, asserts show it

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
import tracemalloc
from collections import Counter
from collections.abc import Coroutine
from typing import Any, Final

import pytest

from ..backends.base import MOST_KEYS, Backend, StoredEntry
from ._backend_powers import PowerTests, check_refused, entry, key, scan
from ._shared_powers import SharedPowerTests

__all__ = ["BackendTests"]

_HEX: Final = "0123456789abcdef" * 4
_ALL_BYTES: Final = bytes(range(256))
_BIG: Final = 5 * 2**20

_VALUES: Final = {
    "empty": b"",
    "nul": b"\0",
    "every byte": _ALL_BYTES,
    "line ends": b"\r\n\n\r\x1a",
    "no utf-8": b"\xff\xfe\xfa",
    "64 KiB less one": b"x" * 65_535,
    "64 KiB": b"x" * 65_536,
    "64 KiB and one": b"x" * 65_537,
}
_COLLECTIONS: Final = ("default", "A", "0", "a.b", "a..b", "a-b_c.d", "default.", "x" * 128)
_KEYS: Final = {
    "usual": f"v1:{_HEX}",
    "shortest": f"v1:{_HEX[:32]}",
    "longest": f"v1:{_HEX}{_HEX}",
    "another scheme": f"embed:{_HEX}",
}
_BAD_COLLECTIONS: Final[dict[str, Any]] = {
    "empty": "",
    "dot": ".",
    "dots": "..",
    "up": "../x",
    "up and down": "a/../../x",
    "slash": "a/b",
    "backslash": "a\\b",
    "absolute": "/x",
    "hidden": ".x",
    "dash first": "-x",
    "space": "a b",
    "colon": "a:b",
    "nul": "a\0b",
    "line end": "a\n",
    "percent": "a%",
    "umlaut": "ä",
    "long": "x" * 129,
    "very long": "x" * 100_000,
    "surrogate": "\ud800",
    "none": None,
    "number": 5,
    "bytes": b"default",
}
_BAD_KEYS: Final[dict[str, Any]] = {
    "empty": "",
    "no digits": "v1:",
    "no scheme": f":{_HEX}",
    "no colon": _HEX,
    "two colons": f"v1:{_HEX}:{_HEX}",
    "up": "v1:../../../../../../../../../../x",
    "up in scheme": f"../v1:{_HEX}",
    "slash": f"v1:{_HEX[1:]}/",
    "dot": f"v1:{_HEX[1:]}.",
    "dash": f"v1:{_HEX[1:]}-",
    "nul": f"v1:{_HEX[1:]}\0",
    "line end": f"v1:{_HEX}\n",
    "space": f"v1: {_HEX}",
    "umlaut": f"v1:{_HEX[1:]}ä",
    "short": f"v1:{_HEX[:31]}",
    "long": f"v1:{'a' * 129}",
    "very long": f"v1:{'a' * 100_000}",
    "surrogate": f"v1:{_HEX[1:]}\ud800",
    "none": None,
    "number": 5,
    "bytes": f"v1:{_HEX}".encode(),
}


class BackendTests(PowerTests, SharedPowerTests):
    """Subclass it with an async fixture `backend`; see the module's own words."""

    pytestmark = pytest.mark.asyncio

    # --- the map ----------------------------------------------------------------------------

    async def test_it_is_a_backend(self, backend: Backend) -> None:
        assert isinstance(backend, Backend)
        assert backend.name
        assert backend.name.isprintable()

    async def test_a_missing_key_is_absent(self, backend: Backend) -> None:
        await backend.put("default", [entry(1)])
        assert dict(await backend.get("default", [key(2)])) == {}
        assert dict(await backend.get("elsewhere", [key(1)])) == {}

    @pytest.mark.parametrize("value", _VALUES)
    async def test_what_is_put_comes_back_exactly(self, backend: Backend, value: str) -> None:
        await backend.put("default", [entry(1, _VALUES[value])])
        found = await backend.get("default", [key(1)])
        assert dict(found) == {key(1): _VALUES[value]}
        assert type(found[key(1)]) is bytes

    async def test_a_big_value_comes_back_exactly(self, backend: Backend) -> None:
        data = hashlib.shake_256(b"big").digest(_BIG)
        await backend.put("default", [entry(1, data)])
        assert (await backend.get("default", [key(1)]))[key(1)] == data

    async def test_an_entry_with_every_field_comes_back(self, backend: Backend) -> None:
        now = time.time()
        entry = StoredEntry(key(1), b"data", "gpt-5", ("a", "ä", "'; --"), now, now + 3600)
        await backend.put("default", [entry])
        assert (await backend.get("default", [key(1)]))[key(1)] == b"data"

    async def test_the_last_writer_wins(self, backend: Backend) -> None:
        for data in (b"long " * 100, b"", b"last"):
            await backend.put("default", [entry(1, data)])
        assert (await backend.get("default", [key(1)]))[key(1)] == b"last"
        assert len(await scan(backend)) == 1

    async def test_the_last_of_a_batch_wins(self, backend: Backend) -> None:
        await backend.put("default", [entry(1, b"first"), entry(2), entry(1, b"last")])
        assert (await backend.get("default", [key(1)]))[key(1)] == b"last"

    async def test_a_batch_gets_those_that_exist(self, backend: Backend) -> None:
        await backend.put("default", [entry(n, b"%d" % n) for n in (1, 3)])
        found = await backend.get("default", [key(n) for n in (1, 2, 3, 4, 3, 1)])
        assert dict(found) == {key(1): b"1", key(3): b"3"}

    async def test_empty_batches_do_nothing(self, backend: Backend) -> None:
        await backend.put("default", [])
        assert dict(await backend.get("default", [])) == {}
        assert await backend.delete("default", []) == 0
        assert await scan(backend) == []

    async def test_the_largest_batch(self, backend: Backend) -> None:
        entries = [entry(n, b"%d" % n) for n in range(MOST_KEYS)]
        keys = [entry.key for entry in entries]
        await backend.put("default", entries)
        found = await backend.get("default", keys)
        assert dict(found) == {entry.key: entry.data for entry in entries}
        assert await backend.delete("default", keys) == MOST_KEYS
        assert await scan(backend) == []

    async def test_delete_counts_what_existed_and_is_idempotent(self, backend: Backend) -> None:
        await backend.put("default", [entry(1), entry(2), entry(3)])
        assert await backend.delete("default", [key(1), key(2), key(9), key(1)]) == 2
        assert await backend.delete("default", [key(1), key(2)]) == 0
        assert await backend.delete("elsewhere", [key(3)]) == 0
        assert set(await backend.get("default", [key(n) for n in range(9)])) == {key(3)}

    @pytest.mark.parametrize("key", _KEYS)
    async def test_keys_of_every_form(self, backend: Backend, key: str) -> None:
        name = _KEYS[key]
        await backend.put("default", [StoredEntry(name, b"data")])
        assert dict(await backend.get("default", [name])) == {name: b"data"}
        assert [info.key for info in await scan(backend)] == [name]
        assert await backend.delete("default", [name]) == 1

    async def test_keys_differ_in_every_digit(self, backend: Backend) -> None:
        names = [f"v1:{_HEX[:i]}f{_HEX[i + 1 :]}" for i in range(15)]
        await backend.put("default", [StoredEntry(name, name.encode()) for name in names])
        found = await backend.get("default", names)
        assert dict(found) == {name: name.encode() for name in names}

    async def test_collections_are_apart(self, backend: Backend) -> None:
        for name in _COLLECTIONS:
            await backend.put(name, [entry(1, name.encode())])
        for name in _COLLECTIONS:
            assert dict(await backend.get(name, [key(1)])) == {key(1): name.encode()}
        assert await backend.delete(_COLLECTIONS[0], [key(1)]) == 1
        left = {info.collection for info in await scan(backend)}
        assert left == set(_COLLECTIONS[1:])

    async def test_many_collections(self, backend: Backend) -> None:
        names = [f"tenant-{n}" for n in range(100)]
        await asyncio.gather(*(backend.put(name, [entry(1), entry(2)]) for name in names))
        seen = Counter(info.collection for info in await scan(backend))
        assert seen == dict.fromkeys(names, 2)

    @pytest.mark.parametrize("bad", _BAD_COLLECTIONS)
    async def test_a_collection_of_the_wrong_form_is_refused(
        self, backend: Backend, bad: str
    ) -> None:
        name = _BAD_COLLECTIONS[bad]
        attempts: list[Coroutine[Any, Any, Any]] = [
            backend.get(name, [key(1)]),
            backend.put(name, [entry(1)]),
            backend.delete(name, [key(1)]),
        ]
        if name is not None:  # no collection means all of them
            attempts.append(scan(backend, name))
        await check_refused(attempts)
        assert await scan(backend) == []

    @pytest.mark.parametrize("bad", _BAD_KEYS)
    async def test_a_key_of_the_wrong_form_is_refused(self, backend: Backend, bad: str) -> None:
        name = _BAD_KEYS[bad]
        await check_refused(
            [
                backend.get("default", [name]),
                backend.put("default", [StoredEntry(name, b"data")]),
                backend.delete("default", [name]),
            ]
        )
        assert await scan(backend) == []

    # --- scan -------------------------------------------------------------------------------

    async def test_scan_yields_every_entry_once(self, backend: Backend) -> None:
        sizes = {key(n): n * 100 for n in range(20)}
        await backend.put("one", [StoredEntry(k, b"x" * size) for k, size in sizes.items()])
        await backend.put("two", [entry(1)])
        infos = await scan(backend, "one")
        assert {info.key: info.size for info in infos} == sizes
        assert len(infos) == len(sizes)
        assert {info.collection for info in infos} == {"one"}
        both = Counter(info.collection for info in await scan(backend))
        assert both == {"one": len(sizes), "two": 1}

    async def test_scan_of_nothing(self, backend: Backend) -> None:
        assert await scan(backend) == []
        assert await scan(backend, "nowhere") == []

    async def test_scan_while_others_write(self, backend: Backend) -> None:
        staying = {key(n) for n in range(100)}
        await backend.put("default", [entry(n) for n in range(200)])
        seen: list[str] = []
        number = 0
        async for info in backend.scan("default"):
            seen.append(info.key)
            await backend.put("default", [entry(1000 + number), entry(number % 100, b"new")])
            await backend.delete("default", [key(100 + number % 100)])
            number += 1
            assert number < 10_000, "the scan follows its own writes for ever"
        counts = Counter(seen)
        assert staying <= counts.keys()
        assert max(counts.values()) == 1

    async def test_a_scan_that_is_left_early_harms_nothing(self, backend: Backend) -> None:
        await backend.put("default", [entry(n) for n in range(20)])
        started: Any = backend.scan("default")
        async with contextlib.aclosing(started) as infos:
            async for _ in infos:
                break
        assert len(await scan(backend)) == 20

    async def test_a_scan_holds_no_values(self, backend: Backend) -> None:
        for start in range(0, 2_000, 500):
            numbers = range(start, start + 500)
            await backend.put("default", [entry(n, b"%04d" % n * 512) for n in numbers])
        tracemalloc.start()
        try:
            count = 0
            async for _ in backend.scan("default"):
                count += 1
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert count == 2_000
        assert peak < 2**20, "a scan of 4 MiB took more than one"

    # --- many at once, and half way ---------------------------------------------------------

    async def test_many_tasks_at_once(self, backend: Backend) -> None:
        async def work(number: int) -> None:
            name = f"c{number % 5}"
            for turn in range(5):
                data = b"%d-%d" % (number, turn)
                await backend.put(name, [entry(number, data)])
                assert (await backend.get(name, [key(number)]))[key(number)] == data
            assert await backend.delete(name, [key(number)]) == 1

        await asyncio.gather(*(work(number) for number in range(60)))
        assert await scan(backend) == []

    async def test_readers_see_the_old_or_the_new(self, backend: Backend) -> None:
        await backend.put("default", [entry(1, _uniform(0))])
        writing = True

        async def write(start: int) -> None:
            for number in range(start, start + 15):
                await backend.put("default", [entry(1, _uniform(number))])

        async def read() -> None:
            while writing:
                _check_uniform((await backend.get("default", [key(1)]))[key(1)])
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(read())
            await asyncio.gather(*(write(100 * n) for n in range(3)))
            writing = False
        assert len(await scan(backend)) == 1

    async def test_a_cancelled_put_leaves_the_old_or_the_new(self, backend: Backend) -> None:
        await backend.put("default", [entry(1, _uniform(0))])
        for turns in range(30):
            writing = asyncio.create_task(
                backend.put("default", [entry(1, _uniform(turns + 1)), entry(2 + turns)])
            )
            for _ in range(turns % 10):
                await asyncio.sleep(0)
            writing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writing
            _check_uniform((await backend.get("default", [key(1)]))[key(1)])
        await backend.put("other", [entry(1, b"still working")])
        assert (await backend.get("other", [key(1)]))[key(1)] == b"still working"

    async def test_a_cancelled_read_harms_nothing(self, backend: Backend) -> None:
        await backend.put("default", [entry(n) for n in range(100)])
        for turns in range(10):
            reading: list[asyncio.Task[Any]] = [
                asyncio.create_task(scan(backend)),
                asyncio.create_task(_get(backend, [key(n) for n in range(100)])),
            ]
            for _ in range(turns):
                await asyncio.sleep(0)
            for task in reading:
                task.cancel()
            await asyncio.gather(*reading, return_exceptions=True)
        assert len(await _get(backend, [key(n) for n in range(100)])) == 100

    async def test_closing_twice_is_closing_once(self, backend: Backend) -> None:
        await backend.put("default", [entry(1)])
        await backend.aclose()
        await backend.aclose()


def _uniform(number: int) -> bytes:
    """Return a value of which half would be noticed."""
    return b"%04d" % (number % 10_000) * 50_000


def _check_uniform(data: bytes) -> None:
    assert len(data) == 200_000
    assert data == data[:4] * 50_000


async def _get(backend: Backend, keys: list[str]) -> dict[str, bytes]:
    return dict(await backend.get("default", keys))
