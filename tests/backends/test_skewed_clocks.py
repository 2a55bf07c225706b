"""Machines whose clocks are a day apart: nothing lives for ever, and nothing is dead from the start."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from backend_support import key
from machine_support import Machine, asked, number, origin

from llmcache.backends import StoredEntry
from llmcache.backends.hybrid import HybridRedisPostgreSQLCache

_DAY = 86_400.0
KINDS = pytest.mark.parametrize("kind", ["pg", "redis", "pg_redis"])
SKEWS = pytest.mark.parametrize(
    ("written", "read"),
    [pair for pair in itertools.product([-_DAY, 0.0, _DAY], repeat=2) if pair != (0.0, 0.0)],
)


@contextmanager
def clock(seconds: float) -> Iterator[None]:
    """Let this machine's clock be ahead of the servers' by so much."""
    true = time.time
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: true() + seconds)
        yield


@KINDS
@SKEWS
async def test_an_answer_lives_as_long_as_it_was_meant_to(
    machine: Machine, kind: str, written: float, read: float
) -> None:
    async with machine(kind=kind) as one, machine(kind=kind) as other:
        with clock(written):
            assert await number(one, ttl=1.5) == 0
        made = time.monotonic()
        with clock(read):
            answer = await asked(other)
            if time.monotonic() - made < 1.0:  # on a machine that is not too busy
                assert origin(answer) == ("hit", "backend")
                assert answer.cache is not None
                assert answer.cache.age is not None
                assert answer.cache.age < 30
            async with asyncio.timeout(30):
                while await number(other, ttl=60) == 0:
                    await asyncio.sleep(0.05)
            assert time.monotonic() - made >= 1.4
            assert origin(await asked(other))[0] == "hit", "its own lives"
        with clock(written):
            answer = await asked(one, max_age=30)
            assert (origin(answer)[0], answer.content) == ("hit", "1")


@SKEWS
async def test_the_servers_keep_an_entry_for_as_long_as_its_writer_said(
    hybrid: HybridRedisPostgreSQLCache, written: float, read: float
) -> None:
    redis, place = hybrid.redis, hybrid.redis._place("default", key(1))
    client = await redis._client._opened()
    with clock(written):
        kept = StoredEntry(key(1), b"kept", keep_until=time.time() + 1_000)
        late = StoredEntry(key(2), b"late", keep_until=time.time() - 1)
        await hybrid.put("default", [kept, late])
    assert 900_000 < await client.pttl(place) <= 1_000_000
    await client.unlink(place)
    with clock(read):
        assert (await hybrid.get("default", [key(1)]))[key(1)] == b"kept"
        await asyncio.gather(*hybrid._tasks)
        assert 900_000 < await client.pttl(place) <= 1_000_000, "filled by another machine"
        report = await hybrid.prune("default")
    assert (report.expired, report.entries_left) == (1, 1)


@SKEWS
async def test_what_is_loaded_stays_as_long_as_what_is_put(
    hybrid: HybridRedisPostgreSQLCache, written: float, read: float
) -> None:
    with clock(written):
        kept = StoredEntry(key(1), b"kept", keep_until=time.time() + 1_000)
        late = StoredEntry(key(2), b"late", keep_until=time.time() - 1)
        await hybrid.load("default", [kept, late])
    with clock(read):
        entry, _ = (await hybrid.postgres.get_versions("default", [key(1)]))[key(1)]
        assert 900 < (entry.keep_until or 0) - time.time() <= 1_000
        report = await hybrid.prune("default")
    assert (report.expired, report.entries_left) == (1, 1)


@KINDS
@pytest.mark.parametrize("seconds", [-_DAY, _DAY])
async def test_an_import_keeps_the_times_that_it_finds(
    machine: Machine, tmp_path: Path, kind: str, seconds: float
) -> None:
    """They are of the clock that all share, whatever that of the importing machine says."""
    file = tmp_path / "answers.jsonl"
    async with machine(kind=kind) as one:
        assert await number(one, ttl=1_000) == 0
        await one.cache.export(file)
        await one.cache.invalidate(collection="default")
    with clock(seconds):
        async with machine(kind=kind) as other:
            assert (await other.cache.import_(file)).imported == 1
            assert await other.cache.invalidate(older_than=3_600) == 0
            assert (await other.cache.prune()).expired == 0
    async with machine(kind=kind) as third:
        assert origin(await asked(third)) == ("hit", "backend")


@SKEWS
async def test_a_rewrite_wins_whatever_the_clocks_say(
    machine: Machine, written: float, read: float
) -> None:
    async with machine() as one, machine(coherence=0.0) as other:
        with clock(written):
            assert await number(one) == 0
        with clock(read):
            assert await number(other) == 0
            assert await number(other, rewrite_cache=True) == 1
        with clock(written):
            assert await number(one, rewrite_cache=True) == 2
        with clock(read):
            assert await number(other) == 2


async def test_a_clock_that_is_nearly_right_is_left_alone(machine: Machine) -> None:
    for seconds, expected in ((2.0, 0.0), (-2.0, 0.0), (600.0, -600.0)):
        async with machine() as one:
            with clock(seconds):
                await number(one)
                assert one.cache.store.coherence.ahead == pytest.approx(expected, abs=2.0)
                if not expected:
                    assert one.cache.store.coherence.ahead == 0.0


async def test_a_clock_that_was_set_right_is_noticed(machine: Machine) -> None:
    async with machine(coherence=0.0) as one:
        coherence = one.cache.store.coherence
        with clock(_DAY):
            await number(one)
            assert coherence.ahead == pytest.approx(-_DAY, abs=30)
        coherence._next_clock = 0.0  # a minute later
        await number(one)
        assert coherence.ahead == 0.0
