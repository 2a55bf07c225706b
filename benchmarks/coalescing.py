"""Identical calls at the same time: how many reach the provider. Counted, not estimated.

Run as a module, this is one of the processes that share a folder.
"""

from __future__ import annotations

import asyncio
import sys
import time
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Final

from llmcache import OpenAIProvider, StreamEventType
from llmcache.testing.upstream import DemoUpstream

from . import coalescing_shared, exchange, peers
from .hits import PacedUpstream
from .runner import Bar, Options, Row, failed_row
from .worker import ROOT, Worker, clean_environment

__all__ = ["rows"]

_GROUP: Final = "identical calls at once"
_LATENCY: Final = 0.5
_ONE: Final = Bar("median", "==", 1)


def _provider(base_url: str, folder: Path) -> OpenAIProvider:
    return OpenAIProvider(
        model=exchange.MODEL, base_url=base_url, api_key="sk-benchmark", cache_dir=folder
    )


async def rows(options: Options) -> list[Row]:
    """Return how many calls reached the upstream, whole and streamed, in one process and many."""
    calls, processes, each, streams = (200, 2, 10, 50) if options.quick else (1_000, 8, 50, 200)
    found = [
        await _one_process(options.folder / "one", calls),
        await _many_processes(options.folder / "many", processes, each, streamed=False),
        await _streams(options.folder / "streams", streams),
        await _many_processes(options.folder / "many-streams", processes, each, streamed=True),
    ]
    found += await coalescing_shared.rows(options, _GROUP)
    if options.peers:
        found += await _peers(options)
    return found


def _row(name: str, upstream: int, asked: int, seconds: float, texts: int) -> Row:
    return Row(
        _GROUP,
        name,
        "calls",
        upstream,
        bar=_ONE,
        note=f"{asked:,} answers in {seconds:.2f} s (upstream {_LATENCY} s), {texts} distinct text",
        details={"seconds": seconds, "asked": asked, "distinct_texts": texts},
    )


def _same(texts: set[str | None]) -> int:
    if len(texts) != 1 or not next(iter(texts)):
        msg = f"{len(texts)} different texts for one request"
        raise ValueError(msg)
    return len(texts)


async def _one_process(folder: Path, calls: int) -> Row:
    async with DemoUpstream(latency=_LATENCY) as upstream:
        async with _provider(upstream.base_url, folder) as provider:
            started = time.perf_counter()
            answers = await asyncio.gather(
                *(provider.complete(exchange.PROMPT, cache_response=True) for _ in range(calls))
            )
            seconds = time.perf_counter() - started
        texts = _same({answer.content for answer in answers})
        return _row(f"one process, {calls:,} × complete", upstream.calls, calls, seconds, texts)


async def _streams(folder: Path, calls: int) -> Row:
    async with DemoUpstream(latency=_LATENCY, token_delay=0.002) as upstream:
        async with _provider(upstream.base_url, folder) as provider:
            started = time.perf_counter()
            answers = await asyncio.gather(*(_read(provider) for _ in range(calls)))
            seconds = time.perf_counter() - started
        texts = _same(set(answers))
        return _row(f"one process, {calls:,} × stream", upstream.calls, calls, seconds, texts)


async def _read(provider: OpenAIProvider) -> str:
    pieces = [
        str(event.data)
        async for event in provider.stream(exchange.PROMPT, cache_response=True)
        if event.type is StreamEventType.TOKEN
    ]
    return "".join(pieces)


async def _many_processes(folder: Path, processes: int, each: int, *, streamed: bool) -> Row:
    """Start everybody, wait until all are ready, and let them go together."""
    async with DemoUpstream(latency=_LATENCY) as upstream:
        arguments = (upstream.base_url, str(folder), str(each), "stream" if streamed else "")
        started = [
            await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "benchmarks.coalescing",
                *arguments,
                stdin=PIPE,
                stdout=PIPE,
                cwd=ROOT,
                env=clean_environment(),
            )
            for _ in range(processes)
        ]
        for process in started:
            if process.stdout is not None:
                await process.stdout.readline()
        begun = time.perf_counter()
        outputs = await asyncio.gather(*(process.communicate(b"go\n") for process in started))
        seconds = time.perf_counter() - begun
        if any(process.returncode for process in started):
            msg = "a process failed"
            raise RuntimeError(msg)
        texts = _same({line for output, _ in outputs for line in output.decode().splitlines()})
        what = "stream" if streamed else "complete"
        name = f"{processes} processes × {each} × {what}, one folder"
        return _row(name, upstream.calls, processes * each, seconds, texts)


async def _peers(options: Options) -> list[Row]:
    """Return how many of twenty identical calls at once reach the provider with each peer."""
    python = peers.install()
    async with PacedUpstream() as upstream:
        return [await _burst(options, python, upstream, peer[-1].name) for peer in peers.PEERS]


async def _burst(options: Options, python: Path, upstream: PacedUpstream, name: str) -> Row:
    environment = peers.environment(options.folder / "peers")
    worker = await Worker.start(python, "benchmarks.peer_worker", environment, quiet=True)
    title = f"peer {name}, 20 at once"
    try:
        folder = str(options.folder / "burst" / name)
        await worker.ask("prepare", name, base_url=upstream.base_url, folder=folder)
        upstream.latency, before = 0.2, upstream.calls
        reply = await worker.ask("burst", name, calls=20)
    except RuntimeError as error:
        return failed_row(_GROUP, title, error)
    finally:
        upstream.latency = 0.0
        await worker.close()
    note = f"20 calls in {reply['seconds']:.2f} s (upstream 0.2 s)"
    if reply["failures"]:
        kinds = ", ".join(sorted(set(reply["failures"])))
        note += f"; {len(reply['failures'])} of them raised {kinds}"
    return Row(_GROUP, title, "calls", upstream.calls - before, note=note, details=reply)


async def _child(base_url: str, folder: str, calls: int, *, streamed: bool) -> None:
    async with _provider(base_url, Path(folder)) as provider:
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        if streamed:
            texts: list[str | None] = list(
                await asyncio.gather(*(_read(provider) for _ in range(calls)))
            )
        else:
            answers = await asyncio.gather(
                *(provider.complete(exchange.PROMPT, cache_response=True) for _ in range(calls))
            )
            texts = [answer.content for answer in answers]
    for text in texts:
        print(text)


if __name__ == "__main__":
    _, _base_url, _folder, _calls, _kind = sys.argv
    asyncio.run(_child(_base_url, _folder, int(_calls), streamed=_kind == "stream"))
