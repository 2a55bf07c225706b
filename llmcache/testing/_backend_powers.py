"""The promises of a backend's powers, as tests: leases, quarantine, dictionaries, uses, totals.

`BackendTests` inherits them; the tests of a power that a backend lacks are skipped.
"""

# ruff: noqa: PLR2004, S101 - a suite: names say what is shown, asserts show it

from __future__ import annotations

import asyncio
import hashlib
import time
from typing import Any, Final

import pytest

from ..backends.base import (
    Backend,
    StoredEntry,
    SupportsDictionaries,
    SupportsLease,
    SupportsPrune,
    SupportsQuarantine,
    SupportsRevision,
    SupportsStats,
    SupportsTouch,
)
from ..backends.powers import Sought, SupportsCount, SupportsFind, SupportsRank
from ..codec import Codec
from ..types import CacheEntry, Recording
from ._backend_loads import LoadTests, check_refused, entry, key, scan

__all__ = ["PowerTests", "check_refused", "entry", "key", "scan"]

_DICTIONARY: Final = bytes(range(256)) * 64


class PowerTests(LoadTests):
    """The half of `BackendTests` that is about what not every backend can do."""

    # --- leases -----------------------------------------------------------------------------

    @pytest.fixture
    def leases(self, backend: Backend) -> SupportsLease:
        """The backend, in the tests that need leases; the other fixtures likewise."""
        if not isinstance(backend, SupportsLease):
            pytest.skip(f"{backend.name} has no leases")
        return backend

    async def test_a_lease_has_one_holder(self, leases: SupportsLease) -> None:
        lease = await leases.try_lease("default", key(1))
        assert lease is not None
        assert await leases.try_lease("default", key(1)) is None
        await lease.release()
        again = await leases.try_lease("default", key(1))
        assert again is not None
        await again.release()

    async def test_leases_of_other_places_are_free(self, leases: SupportsLease) -> None:
        places = [("default", key(1)), ("default", key(2)), ("other", key(1))]
        taken = [await leases.try_lease(*place) for place in places]
        assert all(lease is not None for lease in taken)
        assert [await leases.try_lease(*place) for place in places] == [None] * 3
        for lease in taken:
            if lease is not None:
                await lease.release()

    async def test_releasing_twice_does_not_free_the_next_holder(
        self, leases: SupportsLease
    ) -> None:
        first = await leases.try_lease("default", key(1))
        assert first is not None
        await first.release()
        second = await leases.try_lease("default", key(1))
        assert second is not None
        await first.release()
        assert await leases.try_lease("default", key(1)) is None
        await second.release()

    async def test_of_many_tasks_one_gets_the_lease(self, leases: SupportsLease) -> None:
        for _ in range(5):
            tried = [leases.try_lease("default", key(1)) for _ in range(20)]
            holders = [lease for lease in await asyncio.gather(*tried) if lease is not None]
            assert len(holders) == 1
            await holders[0].release()

    async def test_a_cancelled_attempt_holds_no_lease(self, leases: SupportsLease) -> None:
        for turns in range(10):
            attempt = asyncio.create_task(_lease(leases, key(turns)))
            for _ in range(turns % 4):
                await asyncio.sleep(0)
            attempt.cancel()
            await asyncio.gather(attempt, return_exceptions=True)
            if not attempt.cancelled() and attempt.result() is not None:
                continue  # it was faster
            lease = None
            async with asyncio.timeout(10):
                while lease is None:
                    lease = await leases.try_lease("default", key(turns))
            await lease.release()

    async def test_a_lease_is_no_entry(self, backend: Backend, leases: SupportsLease) -> None:
        lease = await leases.try_lease("default", key(1))
        assert lease is not None
        assert dict(await backend.get("default", [key(1)])) == {}
        assert await scan(backend) == []
        await backend.put("default", [entry(1)])
        await lease.release()
        assert len(await scan(backend)) == 1

    async def test_a_lease_of_the_wrong_form_is_refused(self, leases: SupportsLease) -> None:
        await check_refused([leases.try_lease("../x", key(1)), leases.try_lease("default", "../x")])

    # --- quarantine -------------------------------------------------------------------------

    @pytest.fixture
    def quarantines(self, backend: Backend) -> SupportsQuarantine:
        if not isinstance(backend, SupportsQuarantine):
            pytest.skip(f"{backend.name} has no quarantine")
        return backend

    async def test_damaged_bytes_are_set_aside(
        self, backend: Backend, quarantines: SupportsQuarantine
    ) -> None:
        await backend.put("default", [entry(1, b"damaged"), entry(2)])
        await quarantines.quarantine("default", key(1), b"damaged")
        assert set(await backend.get("default", [key(1), key(2)])) == {key(2)}
        assert [info.key for info in await scan(backend)] == [key(2)]
        if isinstance(backend, SupportsStats):
            assert (await backend.stats()).quarantined == 1

    async def test_a_mended_entry_stays(
        self, backend: Backend, quarantines: SupportsQuarantine
    ) -> None:
        await backend.put("default", [entry(1, b"mended")])
        await quarantines.quarantine("default", key(1), b"damaged")
        await quarantines.quarantine("default", key(2), b"damaged")
        await quarantines.quarantine("elsewhere", key(1), b"mended")
        assert (await backend.get("default", [key(1)]))[key(1)] == b"mended"

    # --- dictionaries -----------------------------------------------------------------------

    @pytest.fixture
    def shelves(self, backend: Backend) -> SupportsDictionaries:
        if not isinstance(backend, SupportsDictionaries):
            pytest.skip(f"{backend.name} keeps no dictionaries")
        return backend

    async def test_dictionaries_are_kept_in_order(self, shelves: SupportsDictionaries) -> None:
        assert list(await shelves.dictionaries("default")) == []
        kept = [hashlib.shake_256(b"%d" % n).digest(16_384) for n in range(12)]
        for data in kept:
            await shelves.put_dictionary("default", data)
        assert list(await shelves.dictionaries("default")) == kept
        assert list(await shelves.dictionaries("other")) == []

    async def test_a_dictionary_is_no_entry(
        self, backend: Backend, shelves: SupportsDictionaries
    ) -> None:
        await shelves.put_dictionary("default", _DICTIONARY)
        assert await scan(backend) == []
        await backend.put("default", [entry(1)])
        await backend.delete("default", [key(1)])
        assert list(await shelves.dictionaries("default")) == [_DICTIONARY]

    # --- revision ---------------------------------------------------------------------------

    @pytest.fixture
    def revised(self, backend: Backend) -> SupportsRevision:
        if not isinstance(backend, SupportsRevision):
            pytest.skip(f"{backend.name} has no revision")
        return backend

    async def test_a_new_key_is_no_revision(
        self, backend: Backend, revised: SupportsRevision
    ) -> None:
        before = await revised.revision("default")
        await backend.put("default", [entry(1), entry(2)])
        await backend.get("default", [key(1)])
        await backend.delete("default", [key(3)])
        assert await revised.revision("default") == before

    async def test_what_is_replaced_or_removed_is_a_revision(
        self, backend: Backend, revised: SupportsRevision
    ) -> None:
        await backend.put("default", [entry(1), entry(2)])
        await backend.put("other", [entry(1)])
        other = await revised.revision("other")
        seen = [await revised.revision("default")]
        for number in range(3):
            await backend.put("default", [entry(3 + number), entry(1, b"%d" % number)])
            seen.append(await revised.revision("default"))
        for number in (1, 2):
            await backend.delete("default", [key(number)])
            seen.append(await revised.revision("default"))
        assert len(set(seen)) == len(seen)
        assert await revised.revision("other") == other

    # --- use --------------------------------------------------------------------------------

    @pytest.fixture
    def touched(self, backend: Backend) -> SupportsTouch:
        if not isinstance(backend, SupportsTouch):
            pytest.skip(f"{backend.name} does not note uses")
        return backend

    async def test_uses_add_up_and_show_in_a_scan(
        self, backend: Backend, touched: SupportsTouch
    ) -> None:
        before = time.time() - 2  # the coarsest clocks of file systems have steps of two seconds
        await backend.put("default", [entry(1), entry(2)])
        await touched.touch("default", {key(1): 2, key(3): 5})
        await touched.touch("default", {key(1): 3})
        await touched.touch("default", {})
        infos = {info.key: info for info in await scan(backend)}
        assert {key: info.uses for key, info in infos.items()} == {key(1): 5, key(2): 0}
        assert all(before <= info.used_at <= time.time() + 1 for info in infos.values())
        assert (await backend.get("default", [key(1)]))[key(1)] == b"data"

    # --- totals and shrinking ---------------------------------------------------------------

    @pytest.fixture
    def counted(self, backend: Backend) -> SupportsStats:
        if not isinstance(backend, SupportsStats):
            pytest.skip(f"{backend.name} does not count")
        return backend

    async def test_stats_are_what_a_scan_adds_up_to(
        self, backend: Backend, counted: SupportsStats
    ) -> None:
        empty = await counted.stats()
        assert (empty.entries, empty.bytes, empty.quarantined) == (0, 0, 0)
        await backend.put("one", [entry(n, b"x" * n) for n in range(10)])
        await backend.put("two", [entry(1, b"xyz")])
        stats = await counted.stats()
        assert (stats.entries, stats.bytes) == (11, 48)
        assert dict(stats.collections) == {"one": (10, 45), "two": (1, 3)}

    async def test_what_is_counted_is_what_a_scan_adds_up_to(self, backend: Backend) -> None:
        if not isinstance(backend, SupportsCount):
            pytest.skip(f"{backend.name} counts always")
        await backend.put("one", [entry(n, b"x" * n) for n in range(10)])
        await backend.put("two", [entry(1, b"xyz")])
        totals = await backend.count()
        assert (totals.entries, totals.bytes, totals.estimated) == (11, 48, False)
        assert dict(totals.collections) == {"one": (10, 45), "two": (1, 3)}

    # --- ranking and finding ----------------------------------------------------------------

    async def test_the_best_come_first(self, backend: Backend) -> None:
        if not isinstance(backend, SupportsRank) or not isinstance(backend, SupportsTouch):
            pytest.skip(f"{backend.name} does not rank")
        await backend.put("default", [_made(n, created_at=time.time() + n) for n in range(5)])
        await backend.put("other", [_made(5)])
        await backend.touch("default", {key(1): 5})
        await asyncio.sleep(0.05)  # so that times of use differ
        await backend.touch("default", {key(0): 2})
        numbers = {key(n): n for n in range(6)}
        ranked = [info async for info in backend.ranked("default", "most_used")]
        assert [numbers[info.key] for info in ranked] == [1, 0, 4, 3, 2]
        assert {numbers[i.key]: (i.size, i.uses) for i in ranked} == {
            n: (4, {1: 5, 0: 2}.get(n, 0)) for n in range(5)
        }
        newest = [numbers[i.key] async for i in backend.ranked("default", "newest")]
        assert sorted(newest) == [0, 1, 2, 3, 4]
        assert newest.index(0) < newest.index(1)
        assert newest.index(4) < newest.index(3) < newest.index(2)

    @pytest.fixture
    def finder(self, backend: Backend) -> SupportsFind:
        if not isinstance(backend, SupportsFind):
            pytest.skip(f"{backend.name} does not find")
        return backend

    @pytest.mark.parametrize(
        ("sought", "matching"),
        [
            (Sought(tag="even"), {0, 2, 4}),
            (Sought(tag="none"), set()),
            (Sought(model="m0"), {0, 3}),
            (Sought(model="m0-mini"), {0, 3}),
            (Sought(created_before=102.0), {0, 1}),
            (Sought(tag="odd", model="m2", created_before=200.0), {5}),
        ],
        ids=str,
    )
    async def test_whatever_matches_is_found(
        self, backend: Backend, finder: SupportsFind, sought: Sought, matching: set[int]
    ) -> None:
        entries = [
            _made(
                n,
                model=f"m{n % 3}",
                tags=("odd" if n % 2 else "even", "any"),
                created_at=100.0 + n,
                answered_by=f"m{n % 3}-mini",
            )
            for n in range(6)
        ]
        await backend.put("default", entries)
        await backend.put("other", entries)
        found = [each async for each in finder.find("default", sought)]
        assert {key(n) for n in matching} <= {each.key for each in found}
        assert {each.key for each in found if each.certain} <= {key(n) for n in matching}
        assert len({each.key for each in found}) == len(found)
        assert list(await finder.names()) == ["default", "other"]

    async def test_who_did_not_say_which_model_answered_is_in_doubt(
        self, backend: Backend, finder: SupportsFind
    ) -> None:
        await backend.put("default", [_made(1, model="m"), _made(2, model="m", answered_by="")])
        found = [each async for each in finder.find("default", Sought(model="another"))]
        assert found == [(key(1), False)]
        found = [each async for each in finder.find("default", Sought(model="m"))]
        assert {each.key for each in found} == {key(1), key(2)}

    @pytest.fixture
    def pruned(self, backend: Backend) -> SupportsPrune:
        if not isinstance(backend, SupportsPrune):
            pytest.skip(f"{backend.name} does not shrink")
        return backend

    async def test_prune_removes_what_is_past_its_time(
        self, backend: Backend, pruned: SupportsPrune
    ) -> None:
        now = time.time()
        await backend.put("one", [_framed(1, None), _framed(2, now + 3600), _framed(3, now - 60)])
        await backend.put("two", [_framed(4, now - 60)])
        size = len(_framed(3, now - 60).data)
        report = await pruned.prune("one")
        assert (report.expired, report.evicted, report.bytes_freed) == (1, 0, size)
        assert (report.entries_left, report.bytes_left) == await _totals(backend, "one")
        assert {info.key for info in await scan(backend, "one")} == {key(1), key(2)}
        assert len(await scan(backend, "two")) == 1
        assert (await pruned.prune()).expired == 1
        assert {info.key for info in await scan(backend)} == {key(1), key(2)}

    async def test_prune_removes_the_least_recently_used_above_a_ceiling(
        self, backend: Backend, pruned: SupportsPrune
    ) -> None:
        await backend.put("default", [entry(n, b"x" * 1_000) for n in range(10)])
        assert (await pruned.prune(max_bytes=10_000)).evicted == 0
        recent = {key(n) for n in (0, 4, 9)}
        if isinstance(backend, SupportsTouch):
            await asyncio.sleep(0.5)  # so that times of use differ
            await backend.touch("default", dict.fromkeys(recent, 1))
        report = await pruned.prune("default", max_bytes=5_000)
        assert 3 <= report.entries_left <= 5
        assert report.evicted == 10 - report.entries_left
        assert report.bytes_freed == 1_000 * report.evicted
        assert (report.entries_left, report.bytes_left) == await _totals(backend, "default")
        if isinstance(backend, SupportsTouch):
            assert recent <= {info.key for info in await scan(backend)}


def _framed(number: int, keep_until: float | None) -> StoredEntry:
    """Return an entry as the cache writes it: some stores read the time from its frame."""
    recording = Recording(body=b"{}")
    entry = CacheEntry(key(number), recording, "chat", created_at=1.0, keep_until=keep_until)
    data = Codec().encode(entry)
    return StoredEntry(entry.key, data, created_at=1.0, keep_until=keep_until)


async def _totals(backend: Backend, collection: str) -> tuple[int, int]:
    infos = await scan(backend, collection)
    return len(infos), sum(info.size for info in infos)


async def _lease(leases: SupportsLease, key: str) -> Any:
    return await leases.try_lease("default", key)


def _made(number: int, **said: Any) -> StoredEntry:
    return StoredEntry(key(number), b"data", **said)
