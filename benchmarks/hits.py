"""A hit through the whole call, beside its floor and beside the peers.

Run as a module, this is the process in which our own calls are made.
"""

from __future__ import annotations

import asyncio
import hashlib
import statistics
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import orjson
import zstandard

from llmcache import CompletionResult, FSCache, OpenAIProvider
from llmcache.testing.upstream import Reply, Upstream, UpstreamRequest

from . import exchange, peers
from .runner import Bar, Options, Rounds, Row, Turn, failed_row, interleave, row_of
from .worker import Subject, Worker, serve

__all__ = ["PacedUpstream", "digest", "open_workers", "rows"]

_GROUP: Final = "hit, whole call"
_OURS: Final = ("memory", "memory floor", "filesystem", "filesystem inline", "filesystem floor")


class PacedUpstream(Upstream):
    """Answers every call with the same completion, after `latency` seconds."""

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.latency = 0.0
        self._body = exchange.answer()

    async def _answer(self, _: UpstreamRequest) -> Reply:
        if self.latency:
            await asyncio.sleep(self.latency)
        return Reply(body=self._body, headers={"x-request-id": "req_0123456789abcdef0123456789"})


# --- in the worker ------------------------------------------------------------------------------


async def prepare(name: str, base_url: str, folder: Path) -> Subject:
    """Return one of our subjects; ready to hit."""
    tier = name.partition(" ")[0]
    if name.endswith("floor"):
        return _memory_floor() if tier == "memory" else _file_floor(folder)
    provider = OpenAIProvider(
        model=exchange.MODEL,
        base_url=base_url,
        api_key="sk-benchmark",
        cache_backend=FSCache(folder, io="inline") if name.endswith("inline") else "fs",
        cache_dir=folder,
        cache_options={"memory_bytes": 0} if tier == "filesystem" else None,
    )
    expected_tier = "memory" if tier == "memory" else "backend"

    async def call() -> CompletionResult:
        return await provider.complete(exchange.PROMPT, cache_response=True)

    def text(result: CompletionResult) -> str | None:
        info = result.cache
        served = info is not None and info.hit and info.tier == expected_tier
        return result.content if served else f"not a hit: {info}"

    async def burst(prompt: str) -> CompletionResult:
        return await provider.complete(prompt, cache_response=True)

    await call()
    return Subject(call, text, exchange.TEXT, burst)


def _memory_floor() -> Subject:
    """The least that a look-up by content costs: canonical bytes, a hash, a dict."""
    body = exchange.body()
    stored = {digest(body): exchange.TEXT}

    def call() -> str:
        return stored[digest(body)]

    return Subject(call, str, exchange.TEXT)


def _file_floor(folder: Path) -> Subject:
    """The least that a compressed file costs: the same, `open().read()`, zstd, JSON."""
    body = exchange.body()
    folder.mkdir(parents=True, exist_ok=True)
    root = str(folder)
    with open(f"{root}/{digest(body).hex()}", "wb") as file:  # noqa: PTH123 - the plain way
        file.write(zstandard.ZstdCompressor().compress(exchange.answer()))
    decompress = zstandard.ZstdDecompressor().decompress

    def call() -> Mapping[str, Any]:
        with open(f"{root}/{digest(body).hex()}", "rb") as file:  # noqa: PTH123
            data = file.read()
        answer: Mapping[str, Any] = orjson.loads(decompress(data))
        return answer

    return Subject(call, lambda a: a["choices"][0]["message"]["content"], exchange.TEXT)


def digest(body: Mapping[str, Any]) -> bytes:
    """Return the SHA-256 of a request's sorted JSON."""
    return hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).digest()


# --- in the parent ------------------------------------------------------------------------------


@dataclass(slots=True)
class Ready:
    """Processes that have made their one call upstream and answer from their caches now."""

    workers: dict[str, Worker]
    versions: dict[str, str]
    failed: list[Row]


@asynccontextmanager
async def open_workers(
    options: Options, upstream: Upstream, python: Path | None
) -> AsyncIterator[Ready]:
    """Start everybody; each subject asks once, and whatever it does later must not ask again."""
    ready = Ready({}, {}, [])
    async with AsyncExitStack() as stack:

        async def add(worker: Worker, subjects: tuple[str, ...]) -> None:
            stack.push_async_callback(worker.close)
            for subject in subjects:
                folder = str(options.folder / "hits" / subject.replace(" ", "-"))
                reply = await worker.ask(
                    "prepare", subject, base_url=upstream.base_url, folder=folder
                )
                ready.versions.update(reply["versions"])
                ready.workers[subject] = worker

        await add(await Worker.start(sys.executable, "benchmarks.hits"), _OURS)
        if python is not None:
            for peer in peers.PEERS:
                environment = peers.environment(options.folder / "peers")
                worker = await Worker.start(
                    python, "benchmarks.peer_worker", environment, quiet=True
                )
                try:
                    await add(worker, tuple(subject.name for subject in peer))
                except RuntimeError as error:
                    ready.failed.append(failed_row(_GROUP, peer[0].title, error))
        yield ready


async def rows(options: Options) -> list[Row]:
    """Return the rows of our hits, their floors and the peers' hits."""
    python = peers.install() if options.peers else None
    rounds, calls = (12, 40) if options.quick else (80, 60)
    async with PacedUpstream() as upstream, open_workers(options, upstream, python) as ready:
        asked = upstream.calls
        walls: dict[str, list[float]] = {name: [] for name in ready.workers}

        def turn(name: str) -> Turn:
            async def run(calls: int) -> list[float]:
                share = peers.share(name)
                reply = await ready.workers[name].ask("run", name, calls=max(10, calls // share))
                walls[name].append(reply["wall"])
                samples: list[float] = reply["samples"]
                return samples

            return run

        turns = {name: turn(name) for name in ready.workers}
        samples = await interleave(turns, rounds=rounds, calls=calls)
        found = _rows(samples, ready)
        for row, name in zip(found, samples, strict=True):
            row.details["wall_per_call"] = statistics.median(walls[name])
        note = f"{asked} subjects asked upstream once each; {len(samples)} subjects then hit"
        counted = Row(
            _GROUP,
            "calls upstream during all hits",
            "calls",
            upstream.calls - asked,
            bar=Bar("median", "==", 0),
            note=note,
            details={"versions": ready.versions},
        )
        return [*found, *ready.failed, counted]


def _rows(samples: Rounds, ready: Ready) -> list[Row]:
    row = partial(row_of, samples, group=_GROUP)
    hit_memory = row(
        "memory",
        title="llmcache, memory tier",
        against="memory floor",
        bar=Bar("ratio", "<=", 8),
    )
    hit_file = row(
        "filesystem",
        title="llmcache, filesystem (memory_bytes=0)",
        against="filesystem floor",
        bar=Bar("ratio", "<=", 3),
    )
    titles: dict[str, Callable[[], Row]] = {
        "memory": lambda: hit_memory,
        "filesystem": lambda: hit_file,
        "filesystem inline": lambda: row(
            "filesystem inline",
            title="llmcache, filesystem, never in threads (io='inline')",
            against="filesystem floor",
        ),
        "memory floor": lambda: row(
            "memory floor", title="floor: orjson sorted dump + SHA-256 + dict"
        ),
        "filesystem floor": lambda: row(
            "filesystem floor", title="floor: the same + open().read() + zstd + orjson.loads"
        ),
    }
    found = []
    for name in ready.workers:
        make = titles.get(name)
        found.append(make() if make is not None else _peer_row(samples, name))
    return found


def _peer_row(samples: Rounds, name: str) -> Row:
    subject = peers.subject(name)
    return row_of(
        samples,
        name,
        group=_GROUP,
        title=subject.title,
        against=subject.against,
        against_title=f"llmcache, {subject.against}",
        bar=Bar("ratio", ">=", subject.least),
    )


def main() -> None:
    """Serve our subjects."""
    serve(prepare)


if __name__ == "__main__":
    main()
