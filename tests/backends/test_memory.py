"""The memory backend keeps every promise of a backend."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from backend_support import entry, key, scan

from llmcache import MemoryBackend
from llmcache.backends import Backend, SupportsDictionaries, SupportsLease, SupportsTouch
from llmcache.backends.base import SupportsPrune, SupportsQuarantine, SupportsRevision
from llmcache.errors import ConfigurationError
from llmcache.testing import BackendTests


class TestMemoryBackend(BackendTests):
    @pytest.fixture
    async def backend(self) -> AsyncIterator[Backend]:
        async with aclosing(MemoryBackend()) as backend:
            yield backend


async def test_its_powers_are_those_of_a_dict() -> None:
    backend = MemoryBackend()
    for power in (SupportsLease, SupportsQuarantine, SupportsDictionaries, SupportsRevision):
        assert isinstance(backend, power)
    for power in (SupportsTouch, SupportsPrune):
        assert not isinstance(backend, power)


async def test_two_backends_share_nothing() -> None:
    one, other = MemoryBackend(), MemoryBackend()
    await one.put("default", [entry(1)])
    assert dict(await other.get("default", [key(1)])) == {}
    lease = await one.try_lease("default", key(1))
    assert await other.try_lease("default", key(1)) is not None
    assert lease is not None


async def test_closing_keeps_everything() -> None:
    backend = MemoryBackend()
    await backend.put("default", [entry(1)])
    await backend.aclose()
    assert len(await scan(backend)) == 1


async def test_what_was_set_aside_can_be_looked_at() -> None:
    backend = MemoryBackend()
    await backend.put("default", [entry(1, b"damaged")])
    await backend.quarantine("default", key(1), b"damaged")
    assert backend.quarantined == [("default", key(1), b"damaged")]
    assert await backend.revision("default") == 1


async def test_what_is_removed_is_freed() -> None:
    backend = MemoryBackend()
    tracemalloc.start()
    try:
        for number in range(50):
            await backend.put("default", [entry(number, b"%d" % number * 50_000)])
        await backend.delete("default", [key(number) for number in range(50)])
        gc.collect()
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held < 200_000


async def test_every_power_checks_names() -> None:
    backend = MemoryBackend()
    with pytest.raises(ConfigurationError):
        await backend.revision("../x")
    with pytest.raises(ConfigurationError):
        await backend.quarantine("../x", key(1), b"")
