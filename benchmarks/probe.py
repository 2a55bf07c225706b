"""One operation on a folder of entries, in a process of its own; prints JSON.

Arguments: `stats FOLDER`, `prune FOLDER`, `tier FOLDER ENTRIES MIB` or
`warm FOLDER MIB SECONDS`.
"""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, TypeAlias

from llmcache import CacheManager

from .filling import prompt
from .scale import MIB, open_provider

Work: TypeAlias = Callable[[CacheManager, int], Awaitable[Any]]

_SHARE: Final = 0.98
"""A prune is given this share of what there is as its ceiling, so that it has something to do."""


async def _measured(work: Work, folder: Path) -> dict[str, Any]:
    """Return the seconds of `work`, and by how much memory grew at its peak."""
    with tempfile.TemporaryDirectory() as empty:
        async with open_provider(Path(empty)) as provider:
            await work(provider.cache, 1)  # loads what the first use loads
    async with open_provider(folder) as provider:
        held = (await provider.cache.stats()).bytes
        before = _peak_rss()
        started = time.perf_counter()
        said = await work(provider.cache, int(held * _SHARE))
        seconds = time.perf_counter() - started
        rss = _peak_rss() - before
        gc.collect()
        tracemalloc.start()
        traced = tracemalloc.get_traced_memory()[0]
        await work(provider.cache, int(held * _SHARE**10))
        traced = tracemalloc.get_traced_memory()[1] - traced
    return {"seconds": seconds, "rss": rss, "traced": traced, "said": said}


def _peak_rss() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


async def _stats(cache: CacheManager, _: int) -> str:
    found = await cache.stats()
    return f"{found.entries:,} entries, {found.bytes / MIB:.1f} MiB"


async def _prune(cache: CacheManager, ceiling: int) -> str:
    report = await cache.prune(max_bytes=ceiling)
    return f"{report.evicted:,} evicted, {report.entries_left:,} left"


async def _tier(folder: Path, entries: int, mib: int) -> dict[str, Any]:
    """Read far more entries than fit, and compare what the tier says with what the process has."""
    async with open_provider(folder, memory_bytes=mib * MIB) as provider:
        await provider.complete(prompt(0), cache_response=True)
        await provider.cache.invalidate(key="v1:" + "0" * 64)
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for number in range(1, entries):
            await provider.complete(prompt(number), cache_response=True)
            await asyncio.sleep(0)
        gc.collect()
        growth = tracemalloc.get_traced_memory()[0] - before
        tier = provider.cache.store.tier
        return {"growth": growth, "claimed": tier.bytes, "held": len(tier), "read": entries}


async def _warm(folder: Path, mib: int, seconds: float) -> dict[str, Any]:
    async with open_provider(folder, memory_bytes=mib * MIB) as provider:
        return asdict(await provider.warm_cache(seconds=seconds))


async def _run(operation: str, folder: Path, more: list[str]) -> dict[str, Any]:
    if operation == "tier":
        return await _tier(folder, int(more[0]), int(more[1]))
    if operation == "warm":
        return await _warm(folder, int(more[0]), float(more[1]))
    return await _measured(_stats if operation == "stats" else _prune, folder)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_run(sys.argv[1], Path(sys.argv[2]), sys.argv[3:]))))
