"""The failure contract: a store that fails costs a warning and a provider call, nothing else."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from cache_support import BrokenBackend, Gate, ask, completion, until

from llmcache import CacheMissError, OpenAIProvider
from llmcache.backends import Lease, MemoryBackend
from llmcache.errors import ConfigurationError
from llmcache.testing.upstream import DemoUpstream, Upstream

MakeProvider = Callable[..., OpenAIProvider]
HOWS = pytest.mark.parametrize("how", ["complete", "stream"])
OPERATIONS = ["get", "put", "lease", "revision", "dictionaries", "close"]
EVERYTHING = {*OPERATIONS, "scan"}
# What the loop, the HTTP call and a busy machine may add to the deadline.
SLACK = 5.0
QUICK = {"deadline": 0.05, "background_timeout": 0.1}


@HOWS
@pytest.mark.parametrize("fault", ["raises", "os error", "hangs", "garbage"])
@pytest.mark.parametrize("operation", [*OPERATIONS, "everything"])
async def test_one_failing_operation_never_fails_the_call(
    make_provider: MakeProvider,
    upstream: DemoUpstream,
    caplog: pytest.LogCaptureFixture,
    how: str,
    fault: str,
    operation: str,
) -> None:
    backend = BrokenBackend(fault, EVERYTHING if operation == "everything" else {operation})
    async with make_provider(cache_backend=backend, cache_options=QUICK) as provider:
        result = await ask(provider, how, "q", cache_response=True)
        assert result.content
        again = await ask(provider, how, "q", cache_response=True)
        assert again == result
        assert upstream.calls == 1  # memory has it, whatever the store does
    assert backend.asked
    if fault != "garbage" or operation in {"get", "everything"}:
        assert any("the call goes on" in record.message for record in caplog.records)


@HOWS
async def test_a_store_that_hangs_costs_the_deadline_once(
    make_provider: MakeProvider, upstream: DemoUpstream, how: str
) -> None:
    """Reading, the lease and writing hang one after another; together they get one deadline."""
    deadline = 1.0
    backend = BrokenBackend("hangs", EVERYTHING - {"close"})
    options = {"deadline": deadline, "memory_bytes": 0, "background_timeout": 0.1}
    async with make_provider(cache_backend=backend, cache_options=options) as provider:
        started = time.monotonic()
        result = await ask(provider, how, "q", cache_response=True)
        took = time.monotonic() - started
        assert result.content
        assert took < deadline + SLACK
        assert took < 3 * deadline
        started = time.monotonic()
    assert time.monotonic() - started < SLACK  # closing gives up on the write that hangs


@HOWS
async def test_a_full_disk_is_said_once_and_stores_nothing(
    make_provider: MakeProvider,
    upstream: DemoUpstream,
    caplog: pytest.LogCaptureFixture,
    how: str,
) -> None:
    backend = BrokenBackend("os error", {"put"})
    options = {"memory_bytes": 0}
    async with make_provider(cache_backend=backend, cache_options=options) as provider:
        for number in range(5):
            result = await ask(provider, how, f"q{number}", cache_response=True)
            assert result.cache is not None
            assert not result.cache.stored
            assert result.cache.reason == "the store failed to take it"
        assert (await provider.cache.stats()).entries == 0
        counters = provider.cache.counters
        assert (counters.stored, counters.dropped, counters.refused) == (0, 5, 0)
        assert counters.store_failures == 5
        assert counters.to_dict()["dropped"] == 5
    warnings = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "No space left" in warnings[0]


@HOWS
async def test_offline_is_honest_about_a_broken_store(
    make_provider: MakeProvider, upstream: DemoUpstream, how: str
) -> None:
    """Offline the store is the point; without it there is a miss, not an invented answer."""
    backend = BrokenBackend("raises", EVERYTHING - {"close"})
    async with make_provider(cache_backend=backend) as provider:
        with pytest.raises(CacheMissError):
            await ask(provider, how, "q", mode="offline")
    assert upstream.calls == 0


async def test_a_cache_folder_that_is_a_file_is_refused_at_once(
    make_provider: MakeProvider, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("not a folder")
    with pytest.raises(ConfigurationError, match="is a file; name a folder"):
        make_provider()


@HOWS
async def test_a_folder_that_cannot_be_written_costs_a_warning(
    make_provider: MakeProvider,
    upstream: DemoUpstream,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    how: str,
) -> None:
    """A file stands where a collection's folder belongs: no permission bits are needed for that."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "default").write_text("in the way")
    async with make_provider(cache_options={"memory_bytes": 0}) as provider:
        for _ in range(3):
            result = await ask(provider, how, "q", cache_response=True)
            assert result.content
            assert result.cache is not None
            assert result.cache.status == "miss"
            assert not result.cache.stored
    assert upstream.calls == 3
    puts = [record for record in caplog.records if "fs put failed" in record.message]
    assert len(puts) == 1
    assert (tmp_path / "cache" / "default").read_text() == "in the way"


@pytest.mark.parametrize(
    "backend",
    ["sqlite", "postgres", "FS", 5, object(), {"fs": True}],
    ids=lambda value: str(type(value)),
)
def test_an_unknown_backend_is_refused_with_the_known_ones(
    make_provider: MakeProvider, backend: Any
) -> None:
    with pytest.raises(ConfigurationError, match=r"known: 'fs', 'memory'|is not a Backend"):
        make_provider(cache_backend=backend)


@pytest.mark.parametrize(
    "options",
    [{"memory_bytes": -1}, {"deadline": 0}, {"deadline": float("nan")}, {"flight_timeout": -1}],
)
def test_settings_out_of_range_are_refused(
    make_provider: MakeProvider, options: dict[str, Any]
) -> None:
    with pytest.raises(ConfigurationError):
        make_provider(cache_options=options)


class _Gated(BrokenBackend):
    """A store that takes nothing before its gate is open."""

    def __init__(self) -> None:
        super().__init__("raises", set())
        self.gate = asyncio.Event()

    async def put(self, collection: str, entries: Any, /) -> None:
        await self.gate.wait()
        await super().put(collection, entries)


_BEHIND = "the write goes on behind the call"


@HOWS
async def test_a_slow_write_goes_on_behind_the_call(
    make_provider: MakeProvider, upstream: DemoUpstream, how: str
) -> None:
    """It is not said to be stored before it is."""
    backend = _Gated()
    options = {"deadline": 0.05, "memory_bytes": 0}
    async with make_provider(cache_backend=backend, cache_options=options) as provider:
        result = await ask(provider, how, "q", cache_response=True)
        assert result.content
        assert result.cache is not None
        assert (result.cache.stored, result.cache.reason) == (False, _BEHIND)
        assert (await backend.stats()).entries == 0
        assert provider.cache.counters.stored == 0
        backend.gate.set()
    assert (await backend.stats()).entries == 1  # closing waited for it
    assert (provider.cache.counters.stored, provider.cache.counters.dropped) == (1, 0)


async def test_vectors_are_not_said_to_be_stored_before_they_are(
    make_provider: MakeProvider, upstream: DemoUpstream
) -> None:
    backend = _Gated()
    options = {"deadline": 0.05, "memory_bytes": 0}
    async with make_provider(cache_backend=backend, cache_options=options) as provider:
        result = await provider.embed(["a", "b", "a"], cache_response=True)
        assert result.cache is not None
        assert (result.cache.stored, result.cache.reason) == (False, _BEHIND)
        assert provider.cache.counters.stored == 0
        backend.gate.set()
    assert (provider.cache.counters.stored, provider.cache.counters.dropped) == (2, 0)


async def test_a_write_that_is_given_up_when_closing_is_counted(
    make_provider: MakeProvider, upstream: DemoUpstream
) -> None:
    backend = _Gated()
    options = {"deadline": 0.05, "memory_bytes": 0, "background_timeout": 0.1}
    async with make_provider(cache_backend=backend, cache_options=options) as provider:
        await provider.complete("q", cache_response=True)
    assert (provider.cache.counters.stored, provider.cache.counters.dropped) == (0, 1)
    assert provider.cache.counters.store_failures > 0


async def test_an_answer_too_large_to_store_is_counted(
    make_provider: MakeProvider, upstream: DemoUpstream
) -> None:
    async with make_provider(cache_options={"max_entry_bytes": 100}) as provider:
        result = await provider.complete("q", cache_response=True)
        assert result.cache is not None
        assert not result.cache.stored
        assert (provider.cache.counters.stored, provider.cache.counters.dropped) == (0, 1)


async def test_a_write_survives_the_cancellation_of_its_call(
    make_provider: MakeProvider, upstream: DemoUpstream
) -> None:
    """The answer is paid for: it is kept although nobody waits for it any more."""
    gate, reached = asyncio.Event(), asyncio.Event()

    class Slow(BrokenBackend):
        async def put(self, collection: str, entries: Any, /) -> None:
            reached.set()
            await gate.wait()
            await super().put(collection, entries)

    backend = Slow("raises", set())
    async with make_provider(cache_backend=backend, cache_options={"deadline": 30}) as provider:
        call = asyncio.ensure_future(provider.complete("q", cache_response=True))
        await reached.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        gate.set()
    assert (await backend.stats()).entries == 1


class _Sluggish(MemoryBackend):
    """A store that takes its time for everything, and works."""

    async def try_lease(self, collection: str, key: str, /) -> Lease | None:
        await asyncio.sleep(0.05)
        return await super().try_lease(collection, key)

    async def get(self, collection: str, keys: Sequence[str], /) -> Mapping[str, bytes]:
        await asyncio.sleep(0.05)
        return await super().get(collection, keys)


async def test_a_store_that_is_asked_again_and_again_is_not_slow(
    make_provider: MakeProvider, upstream: DemoUpstream
) -> None:
    """Who waits for another's answer asks for longer than the deadline, and not once in vain."""
    backend, options = _Sluggish(), {"deadline": 0.5, "memory_bytes": 0}
    upstream.latency = 1.5
    async with (
        make_provider(cache_backend=backend, cache_options=options) as one,
        make_provider(cache_backend=backend, cache_options=options) as other,
    ):
        calls = [each.complete("q", cache_response=True) for each in (one, other)]
        results = await asyncio.gather(*calls)
    assert upstream.calls == 1
    assert sorted(r.cache.status for r in results if r.cache) == ["hit", "miss"]


@pytest.mark.parametrize("flight_timeout", [0.0, 0.05])
async def test_a_slow_provider_is_no_failure_of_the_store(
    make_provider: MakeProvider, caplog: pytest.LogCaptureFixture, flight_timeout: float
) -> None:
    """With a term of 0 nobody is kept waiting, and there is no end to say anything of."""
    gate = Gate(completion("late"))
    options = {"cache_options": {"flight_timeout": flight_timeout}}
    async with Upstream(gate) as server, make_provider(base_url=server.base_url, **options) as made:
        asked = asyncio.ensure_future(made.complete("q", cache_response=True))
        await gate.arrived.wait()
        if flight_timeout:
            await until(lambda: "another may take over" in caplog.text)
        gate.open.set()
        assert (await asked).content == "late"
        counters = made.cache.counters
        assert (counters.store_failures, counters.stored) == (0, 1)
    assert bool(caplog.records) == bool(flight_timeout)


async def test_an_answer_that_is_too_large_is_dropped_and_no_failure_of_the_store(
    make_provider: MakeProvider,
) -> None:
    options = {"cache_options": {"max_entry_bytes": 1_000}}
    async with make_provider(**options) as made:
        await made.complete("q" * 2_000, cache_response=True)
        counters = made.cache.counters
        assert (counters.dropped, counters.store_failures) == (1, 0)
