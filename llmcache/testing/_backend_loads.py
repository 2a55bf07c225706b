"""The promises of a backend that takes many entries at once, and what the suites share.

`BackendTests` inherits them; the tests of a power that a backend lacks are skipped.
"""

# ruff: noqa: S101 - a suite: names say what is shown, asserts show it

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import pytest

from ..backends.base import (
    MOST_KEYS,
    MOST_LOADED,
    Backend,
    EntryInfo,
    LoadReport,
    OnConflict,
    StoredEntry,
    SupportsLoad,
    SupportsPeek,
    SupportsRevision,
)
from ..errors import ConfigurationError

__all__ = ["LoadTests", "check_refused", "entry", "key", "scan"]


class LoadTests:
    """The part of `BackendTests` that is about loading, and reading without a trace."""

    @pytest.fixture
    def loads(self, backend: Backend) -> SupportsLoad:
        if not isinstance(backend, SupportsLoad):
            pytest.skip(f"{backend.name} loads no faster than it puts")
        return backend

    async def test_a_load_is_a_put(self, backend: Backend, loads: SupportsLoad) -> None:
        await backend.put("default", [entry(n, b"old") for n in range(10)])
        entries = [entry(n, b"%d" % n * n) for n in range(MOST_LOADED)]
        assert await loads.load("default", entries) == LoadReport(MOST_LOADED, 10)
        await loads.load("other", [entry(1)])
        for start in range(0, MOST_LOADED, MOST_KEYS):
            some = entries[start : start + MOST_KEYS]
            found = await backend.get("default", [each.key for each in some])
            assert dict(found) == {each.key: each.data for each in some}
        assert len(await scan(backend)) == MOST_LOADED + 1
        assert await loads.load("default", []) == LoadReport()

    async def test_the_last_of_a_key_is_loaded(self, backend: Backend, loads: SupportsLoad) -> None:
        report = await loads.load("default", [entry(1, b"first"), entry(2), entry(1, b"last")])
        assert report == LoadReport(2, 0)
        assert (await backend.get("default", [key(1)]))[key(1)] == b"last"

    @pytest.mark.parametrize(
        ("on_conflict", "winners"), [("keep", ""), ("newer", "c"), ("replace", "abc")]
    )
    async def test_a_conflict_ends_as_it_was_asked_to(
        self, backend: Backend, loads: SupportsLoad, on_conflict: OnConflict, winners: str
    ) -> None:
        await backend.put("default", [replace(entry(n), created_at=100.0) for n in range(3)])
        ages = {"a": 99.0, "b": 100.0, "c": 101.0}
        entries = [
            StoredEntry(key(n), name.encode(), created_at=ages[name])
            for n, name in enumerate("abc")
        ]
        new = [entry(n, b"new") for n in range(3, 6)]
        report = await loads.load("default", [*entries, *new], on_conflict=on_conflict)
        assert report == LoadReport(3 + len(winners), len(winners))
        found = await backend.get("default", [key(n) for n in range(6)])
        shown = b"".join(found[key(n)] for n in range(3)).replace(b"data", b"")
        assert shown.decode() == winners
        assert {found[key(n)] for n in range(3, 6)} == {b"new"}

    async def test_what_is_loaded_over_another_is_a_revision(
        self, backend: Backend, loads: SupportsLoad
    ) -> None:
        if not isinstance(backend, SupportsRevision):
            pytest.skip(f"{backend.name} has no revision")
        before = await backend.revision("default")
        await loads.load("default", [entry(1), entry(2)])
        await loads.load("default", [entry(1)], on_conflict="keep")
        assert await backend.revision("default") == before
        await loads.load("default", [entry(1), entry(3)])
        assert await backend.revision("default") != before

    async def test_a_load_of_the_wrong_form_is_refused(
        self, backend: Backend, loads: SupportsLoad
    ) -> None:
        hostile: Any = "replace'; --"
        await check_refused(
            [
                loads.load("../x", [entry(1)]),
                loads.load("default", [entry(1), StoredEntry("../x", b"data")]),
                loads.load("default", [entry(1)], on_conflict=hostile),
            ]
        )
        assert await scan(backend) == []

    async def test_a_peek_reads_what_a_get_reads(self, backend: Backend) -> None:
        if not isinstance(backend, SupportsPeek):
            pytest.skip(f"{backend.name} is no composition")
        await backend.put("default", [entry(n, b"%d" % n) for n in range(10)])
        keys = [key(n) for n in range(5, 15)]
        assert dict(await backend.peek("default", keys)) == dict(await backend.get("default", keys))


def key(number: int) -> str:
    """Return the key of an entry for tests."""
    return "v1:" + hashlib.sha256(b"%d" % number).hexdigest()


def entry(number: int, data: bytes = b"data") -> StoredEntry:
    """Return an entry for tests."""
    return StoredEntry(key(number), data, created_at=time.time())


async def scan(backend: Backend, collection: str | None = None) -> list[EntryInfo]:
    """Return what a scan yields."""
    return [info async for info in backend.scan(collection)]


async def check_refused(attempts: list[Coroutine[Any, Any, Any]]) -> None:
    """Check that every attempt is a `ConfigurationError`."""
    outcomes = await asyncio.gather(*attempts, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ConfigurationError] * len(attempts)
