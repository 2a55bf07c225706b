"""A folder of a thousand entries beside one of a hundred thousand."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from asyncio.subprocess import PIPE
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final

from llmcache import OpenAIProvider

from . import exchange
from .filling import BASE_URL, fill, prompt
from .runner import Bar, Options, Row, Turn, interleave, row_of
from .worker import ROOT, clean_environment

__all__ = ["MIB", "hits_of", "open_provider", "rows"]

_GROUP: Final = "scale"
MIB: Final = 2**20
_SMALL: Final = 1_000


def open_provider(folder: Path, **cache_options: Any) -> OpenAIProvider:
    return OpenAIProvider(
        model=exchange.MODEL,
        base_url=BASE_URL,
        api_key="sk-benchmark",
        cache_dir=folder,
        cache_options=cache_options,
        attempts=1,
    )


async def rows(options: Options) -> list[Row]:
    """Return hits, stats, prune, warming and the memory tier's ceiling, small and large."""
    large = 2_000 if options.quick else 100_000
    folders = {count: options.folder / "scale" / str(count) for count in (_SMALL, large)}
    seconds = 0.0
    for count, folder in folders.items():
        seconds = await fill(folder, count)
    found = await _hits(folders, rounds=10 if options.quick else 60)
    found[-1].note = f"{large:,} entries written in {seconds:.1f} s by two processes"
    found.append(await _tier(folders[large], large, 2 if options.quick else 16))
    found += await _warm(folders[large], large, whole=not options.quick)
    found += await _flat("stats", folders)
    found += await _flat("prune", folders)
    return found


# --- hits ---------------------------------------------------------------------------------------


async def _hits(folders: dict[int, Path], rounds: int) -> list[Row]:
    source = random.Random(5)
    turns: dict[str, Turn] = {}
    async with AsyncExitStack() as stack:
        for count, folder in folders.items():
            provider = await stack.enter_async_context(open_provider(folder, memory_bytes=0))
            turns[f"hit {count}"] = partial(hits_of, provider, source, count)
            turns[f"read {count}"] = partial(_plain_reads, source, _files(folder))
        samples = await interleave(turns, rounds=rounds, calls=100)
    small, large = folders
    row = partial(row_of, samples, group=_GROUP)
    return [
        row(f"hit {small}", title=f"filesystem hit, random key of {small:,}"),
        row(
            f"hit {large}",
            title=f"filesystem hit, random key of {large:,}",
            against=f"hit {small}",
            against_title=f"the same of {small:,}",
            bar=Bar("ratio", "<=", 1.3),
        ),
        row(f"read {small}", title=f"floor: open().read() of a random file of {small:,}"),
        row(
            f"read {large}",
            title=f"floor: open().read() of a random file of {large:,}",
            against=f"read {small}",
            against_title=f"the same of {small:,}",
        ),
    ]


async def hits_of(
    provider: OpenAIProvider, source: random.Random, count: int, calls: int
) -> list[float]:
    """Return the microseconds of hits of random entries among the first `count`."""
    prompts = [prompt(source.randrange(count)) for _ in range(calls)]
    samples = []
    for text in prompts:
        started = time.perf_counter_ns()
        result = await provider.complete(text, cache_response=True)
        samples.append((time.perf_counter_ns() - started) / 1e3)
        if result.cache is None or result.cache.tier != "backend":
            msg = f"not a hit of the store: {result.cache}"
            raise ValueError(msg)
        await asyncio.sleep(0)
    return samples


async def _plain_reads(source: random.Random, files: list[str], calls: int) -> list[float]:
    samples = []
    for path in source.choices(files, k=calls):
        started = time.perf_counter_ns()
        with open(path, "rb") as file:  # noqa: ASYNC230, PTH123 - the floor
            file.read()
        samples.append((time.perf_counter_ns() - started) / 1e3)
    return samples


def _files(folder: Path) -> list[str]:
    return [
        os.path.join(parent, name)  # noqa: PTH118 - a hundred thousand of them
        for parent, _, names in os.walk(folder)
        for name in names
        if not name.startswith(".") and not parent.endswith(".dictionaries")
    ]


# --- memory -------------------------------------------------------------------------------------


async def _tier(folder: Path, count: int, ceiling: int) -> Row:
    found = await _probe("tier", folder, min(count, 20_000), ceiling)
    return Row(
        _GROUP,
        f"memory tier, ceiling {ceiling} MiB: growth of the process",
        "MiB",
        found["growth"] / MIB,
        against="ceiling",
        ratio=found["growth"] / (ceiling * MIB),
        bar=Bar("ratio", "<=", 1.0),
        note=(
            f"{found['read']:,} entries read, {found['held']:,} held; the tier claims "
            f"{found['claimed'] / MIB:.1f} MiB"
        ),
        details=found,
    )


async def _warm(folder: Path, count: int, *, whole: bool) -> list[Row]:
    found = []
    for title, arguments in (
        ("warm_cache(), 64 MiB and 5 s (defaults)", ("64", "5")),
        ("warm_cache(), room and time for all", ("4096", "600")),
    ):
        if arguments[0] != "64" and not whole:
            continue
        report = await _probe("warm", folder, *arguments)
        found.append(
            Row(
                _GROUP,
                f"{title}, of {count:,}",
                "s",
                report["seconds"],
                note=(
                    f"{report['loaded']:,} entries loaded, {report['bytes'] / MIB:.1f} MiB, "
                    f"complete: {report['complete']}"
                ),
                details=report,
            )
        )
    return found


async def _flat(operation: str, folders: dict[int, Path]) -> list[Row]:
    reports = {count: await _probe(operation, folder) for count, folder in folders.items()}
    (small, few), (large, many) = reports.items()
    more = (many["traced"] - few["traced"]) / MIB
    time_row = Row(
        _GROUP,
        f"{operation}() of {large:,} entries",
        "s",
        many["seconds"],
        against=f"the same of {small:,}",
        ratio=many["seconds"] / few["seconds"],
        details={str(small): few, str(large): many},
    )
    memory_row = Row(
        _GROUP,
        f"{operation}() of {large:,}: peak memory above that of {small:,}",
        "MiB",
        more,
        bar=Bar("median", "<=", 1.0),
        note=(
            f"tracemalloc peak {few['traced'] / MIB:.2f} → {many['traced'] / MIB:.2f} MiB, "
            f"RSS peak growth {few['rss'] / MIB:.1f} → {many['rss'] / MIB:.1f} MiB; "
            f"{many['said']}"
        ),
    )
    return [time_row, memory_row]


async def _probe(*arguments: Any) -> dict[str, Any]:
    """Run one operation in a process of its own, whose memory is nobody else's."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.probe",
        *map(str, arguments),
        stdout=PIPE,
        cwd=ROOT,
        env=clean_environment(),
    )
    output, _ = await process.communicate()
    if process.returncode:
        msg = f"probe {arguments[0]} failed"
        raise RuntimeError(msg)
    found: dict[str, Any] = json.loads(output)
    return found
