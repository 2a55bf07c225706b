"""Many entries into Postgres at once: COPY, import and copy beside a bare COPY of the same bytes."""

from __future__ import annotations

import asyncio
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import asyncpg

from llmcache import FSCache
from llmcache.backends.base import MOST_KEYS, MOST_LOADED, StoredEntry
from llmcache.backends.postgres import PostgresBackend
from llmcache.testing.servers import PostgresServer

from .filling import COLLECTION, fill
from .runner import Bar, Options, Row, Turn, interleave, row_of
from .worker import ROOT, clean_environment

__all__ = ["rows"]

_GROUP: Final = "importing into Postgres"
_UNIT: Final = "/s"
_COLUMNS: Final = ("collection", "key", "data", "model", "tags", "created_at", "keep_until")
_FLOORS: Final = {
    "bare": "floor: bare COPY of the same bytes, same indexes",
    "bare, no index": "floor: bare COPY of the same bytes, no index",
}


async def rows(options: Options) -> list[Row]:
    """Return entries per second of each way in, and of whole commands."""
    count = 2_000 if options.quick else 40_000
    folder = options.folder / "importing"
    await fill(folder, count)
    entries = await _entries(folder)
    size = sum(len(entry.data) for entry in entries)
    with PostgresServer() as server:
        async with PostgresBackend(server.url) as backend:
            await backend.open()
            found = await _ways(backend, server.url, entries, rounds=2 if options.quick else 7)
            found[0].note = f"{count:,} entries of {size / count:.0f} bytes on average"
            found += await _commands(server, folder, count)
    return found


async def _entries(folder: Path) -> list[StoredEntry]:
    """Return the entries of a folder, as they are stored."""
    async with FSCache(folder) as cache:
        keys = [info.key async for info in cache.scan(COLLECTION)]
        found: list[StoredEntry] = []
        for start in range(0, len(keys), MOST_KEYS):
            frames = await cache.get(COLLECTION, keys[start : start + MOST_KEYS])
            found += [
                StoredEntry(key, data, "gpt-4o-mini", (), 1.0, None) for key, data in frames.items()
            ]
    return found


# --- in one process ---------------------------------------------------------------------------


async def _ways(
    backend: PostgresBackend, url: str, entries: Sequence[StoredEntry], rounds: int
) -> list[Row]:
    connection = await asyncpg.connect(url)
    await connection.execute(
        "CREATE TABLE bare (LIKE llmcache.entries INCLUDING ALL);"
        "CREATE TABLE plain (LIKE llmcache.entries INCLUDING DEFAULTS INCLUDING STORAGE)"
    )
    empty = partial(connection.execute, "TRUNCATE llmcache.entries, bare, plain")

    async def nothing() -> None:
        """Leave the entries of the turn before."""

    load = partial(_load, backend, entries)
    turns: dict[str, Turn] = {
        "bare": _turn(empty, partial(_bare, connection, "bare", entries), len(entries)),
        "bare, no index": _turn(empty, partial(_bare, connection, "plain", entries), len(entries)),
        "put": _turn(empty, partial(_put, backend, entries), len(entries)),
        "load": _turn(empty, load, len(entries)),
    }
    samples = await interleave(turns, rounds=rounds, calls=1)
    samples |= await interleave(
        {"load again": _turn(nothing, load, len(entries))}, rounds=rounds, calls=1
    )
    await connection.close()
    row = partial(row_of, samples, group=_GROUP, unit=_UNIT, against="bare")
    row = partial(row, against_title="the first floor")
    return [
        row_of(samples, "bare", group=_GROUP, unit=_UNIT, title=_FLOORS["bare"]),
        row("bare, no index", title=_FLOORS["bare, no index"]),
        row("load", title="load(), 5,000 a batch, new keys", bar=Bar("median", ">=", 30_000)),
        row("load again", title="load(), every key is there and is replaced"),
        row("put", title="put(), 1,000 a batch, new keys"),
    ]


def _turn(
    prepare: Callable[[], Awaitable[Any]], work: Callable[[], Awaitable[Any]], count: int
) -> Turn:
    """Return a turn whose samples are entries per second."""

    async def run(calls: int) -> list[float]:
        samples = []
        for _ in range(calls):
            await prepare()
            started = time.perf_counter()
            await work()
            samples.append(count / (time.perf_counter() - started))
        return samples

    return run


async def _bare(connection: Any, table: str, entries: Sequence[StoredEntry]) -> None:
    records = (
        (COLLECTION, e.key, e.data, e.model, list(e.tags), e.created_at, e.keep_until)
        for e in entries
    )
    await connection.copy_records_to_table(table, records=records, columns=_COLUMNS)


async def _load(backend: PostgresBackend, entries: Sequence[StoredEntry]) -> None:
    for start in range(0, len(entries), MOST_LOADED):
        await backend.load(COLLECTION, entries[start : start + MOST_LOADED])


async def _put(backend: PostgresBackend, entries: Sequence[StoredEntry]) -> None:
    for start in range(0, len(entries), MOST_KEYS):
        await backend.put(COLLECTION, entries[start : start + MOST_KEYS])


# --- whole commands ---------------------------------------------------------------------------


async def _commands(server: PostgresServer, folder: Path, count: int) -> list[Row]:
    """Return the rates of commands, each a process of its own from its start to its end."""
    file = folder.with_suffix(".jsonl")
    await _command(server, "export", str(file), "--cache-dir", str(folder))
    commands = {
        "llmcache import FILE --cache pg": ("import", str(file), "--cache", "pg"),
        "llmcache copy fs:DIR pg": ("copy", f"fs:{folder}", "pg"),
        "the same again: all is there": ("copy", f"fs:{folder}", "pg"),
    }
    found = []
    for title, arguments in commands.items():
        if not title.startswith("the same"):
            await _emptied(server.url)
        seconds = await _command(server, *arguments)
        note = f"{seconds:.2f} s in all, with the start of the process"
        found.append(Row(_GROUP, title, _UNIT, count / seconds, note=note))
    found[0].note += f"; a file of {file.stat().st_size / 2**20:.1f} MiB"
    return found


async def _emptied(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("TRUNCATE llmcache.entries, llmcache.dictionaries")
    await connection.close()


async def _command(server: PostgresServer, *arguments: str) -> float:
    """Return the seconds that a command took; raises when it fails."""
    environment = clean_environment() | {"PG_DSN": server.url}
    started = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "llmcache", *arguments),
        stdout=DEVNULL,
        stderr=PIPE,
        cwd=ROOT,
        env=environment,
    )
    _, said = await process.communicate()
    if process.returncode:
        msg = f"{arguments[0]} failed: {said.decode()[:200]}"
        raise RuntimeError(msg)
    return time.perf_counter() - started
