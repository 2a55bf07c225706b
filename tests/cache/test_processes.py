"""Many processes on one folder: real ones, started and killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cache_support import completion, until

from llmcache import OpenAIProvider
from llmcache.testing.upstream import Reply, Upstream, UpstreamRequest

WORKER = textwrap.dedent(
    """
    import asyncio, json, sys
    from llmcache import OpenAIProvider

    async def main(base_url, folder, count, options):
        async with OpenAIProvider(model="demo", base_url=base_url, cache_dir=folder,
                                  cache_options=options) as provider:
            print("ready", flush=True)
            sys.stdin.readline()
            calls = [provider.complete("q", cache_response=True) for _ in range(count)]
            results = await asyncio.gather(*calls)
            print(json.dumps({"contents": sorted({r.content for r in results}),
                              "statuses": sorted({r.cache.status for r in results}),
                              "misses": provider.cache.counters.misses}), flush=True)

    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4])))
    """
)


class Worker:
    """A process that makes equal calls when it is told to."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def start(cls, base_url: str, folder: Path, count: int, **options: Any) -> Worker:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            WORKER,
            base_url,
            str(folder),
            str(count),
            json.dumps(options),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        worker = cls(process)
        assert await worker._line() == "ready"
        return worker

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")

    async def result(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(await self._line())
        await self.process.wait()
        return found

    async def _line(self) -> str:
        assert self.process.stdout is not None
        return (await self.process.stdout.readline()).decode().strip()

    async def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()


class Slow:
    """An upstream handler: every call gets another answer, after a pause or at a sign."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.hold: asyncio.Event | None = None
        self.calls = 0

    async def __call__(self, request: UpstreamRequest) -> Reply:
        self.calls += 1
        number = self.calls
        if self.hold is not None:
            await self.hold.wait()
        await asyncio.sleep(self.seconds)
        return Reply(body=completion(f"answer {number}"))


async def test_eight_processes_make_one_call(tmp_path: Path) -> None:
    handler = Slow(0.5)
    async with Upstream(handler) as server:
        workers = await asyncio.gather(
            *(Worker.start(server.base_url, tmp_path / "cache", 50) for _ in range(8))
        )
        for worker in workers:
            worker.go()
        results = await asyncio.gather(*(worker.result() for worker in workers))
    assert handler.calls == 1
    assert {content for result in results for content in result["contents"]} == {"answer 1"}
    assert sum(result["misses"] for result in results) == 1
    assert not list((tmp_path / "cache" / "default" / ".locks").iterdir())


async def test_a_killed_leader_hands_over(tmp_path: Path) -> None:
    handler = Slow()
    handler.hold = asyncio.Event()
    async with Upstream(handler) as server:
        leader = await Worker.start(server.base_url, tmp_path / "cache", 1)
        leader.go()
        await until(lambda: handler.calls == 1)
        follower = await Worker.start(server.base_url, tmp_path / "cache", 10)
        follower.go()
        await asyncio.sleep(0.3)
        assert handler.calls == 1  # the follower waits
        leader.process.send_signal(signal.SIGKILL)
        await leader.process.wait()
        await until(lambda: handler.calls == 2)
        handler.hold.set()
        result = await follower.result()
    assert result["contents"] == ["answer 2"]
    assert handler.calls == 2


async def test_a_leader_that_hangs_does_not_hold_others_for_ever(tmp_path: Path) -> None:
    handler = Slow()
    handler.hold = asyncio.Event()
    async with Upstream(handler) as server:
        leader = await Worker.start(server.base_url, tmp_path / "cache", 1)
        leader.go()
        await until(lambda: handler.calls == 1)
        os.kill(leader.process.pid, signal.SIGSTOP)
        follower = await Worker.start(server.base_url, tmp_path / "cache", 5, flight_timeout=0.3)
        follower.go()
        await until(lambda: handler.calls == 2)
        handler.hold.set()
        result = await follower.result()
        assert len(result["contents"]) == 1
        await leader.stop()


async def test_a_stored_answer_needs_no_lease(
    make_provider: Callable[..., OpenAIProvider], tmp_path: Path
) -> None:
    """While another process makes the answer, one that is already there is served."""
    async with make_provider() as provider:
        made = await provider.complete("q", cache_response=True)
        assert made.cache is not None
        assert made.cache.key is not None
        lease = await provider.cache.backend.try_lease("default", made.cache.key)  # type: ignore[attr-defined]
        try:
            async with make_provider() as other:
                hit = await other.complete("q", cache_response=True)
                assert hit.cache is not None
                assert hit.cache.status == "hit"
        finally:
            await lease.release()


async def test_a_follower_in_another_process_replays_the_leaders_stream(tmp_path: Path) -> None:
    """Both stream the same request; one call is made, and both get the whole answer."""
    from cache_support import chunks, streamed  # noqa: PLC0415 - beside its use

    calls = 0

    async def handler(request: UpstreamRequest) -> Reply:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0.3)
        return Reply(body=chunks("a", "b"), headers={"content-type": "text/event-stream"})

    async with Upstream(handler) as server:
        # Two providers with a cache each share no memory: only the folder joins them.
        options: dict[str, Any] = {
            "model": "demo",
            "base_url": server.base_url,
            "cache_dir": tmp_path / "cache",
        }
        async with OpenAIProvider(**options) as one, OpenAIProvider(**options) as other:
            results = await asyncio.gather(
                streamed(one, "q", cache_response=True), streamed(other, "q", cache_response=True)
            )
    assert calls == 1
    assert [result.content for result in results] == ["ab", "ab"]
    statuses = sorted(result.cache.status for result in results if result.cache)
    assert statuses == ["hit", "miss"]


@pytest.mark.parametrize("seconds", [0.0, 0.05])
async def test_the_folder_outlives_a_process_killed_while_it_writes(
    tmp_path: Path, seconds: float
) -> None:
    """Killed at any moment, a writer leaves whole entries and nothing that hinders the next."""
    handler = Slow(seconds)
    async with Upstream(handler) as server:
        for delay in (0.0, 0.01, 0.03, 0.06, 0.1):
            worker = await Worker.start(server.base_url, tmp_path / "cache", 3)
            worker.go()
            await asyncio.sleep(delay)
            await worker.stop()
        options: dict[str, Any] = {"base_url": server.base_url, "cache_dir": tmp_path / "cache"}
        async with OpenAIProvider(model="demo", **options) as provider:
            result = await provider.complete("q", cache_response=True)
            assert (result.content or "").startswith("answer")
            report = await provider.cache.verify()
            assert (report.checked, report.corrupt) == (1, 0)
