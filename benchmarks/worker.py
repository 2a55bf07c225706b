"""A process that runs calls when it is told to, so that many take turns on one machine.

One JSON object a line in each direction. Standard library only: the peers'
processes run this too, with nothing of `llmcache` imported.

    {"do": "prepare", "subject": name, "base_url": …, "folder": …}  →  {"versions": {…}}
    {"do": "run", "subject": name, "calls": n}                      →  {"samples": [µs, …], "wall": µs}
    {"do": "burst", "subject": name, "calls": n}                    →  {"seconds": s, "failures": […]}
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import os
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

__all__ = ["ROOT", "Subject", "Worker", "clean_environment", "forget_keys", "serve"]

ROOT: Final = Path(__file__).resolve().parent.parent
_LINE: Final = 2**24
_WARM_UP: Final = 5
_DRAIN: Final = 0.05


@dataclass(slots=True)
class Subject:
    """What is measured. `call` is one whole call (or a coroutine function of it).

    `text` takes the answer's text out of what the call returns; `expected` is what
    it must be. `burst` asks a prompt of its own, for calls at the same time.
    """

    call: Callable[[], Any]
    text: Callable[[Any], Any] | None = None
    expected: Any = None
    burst: Callable[[str], Awaitable[Any]] | None = None
    versions: Mapping[str, str] = field(default_factory=dict)


Prepare = Callable[[str, str, Path], "Subject | Awaitable[Subject]"]


def serve(prepare: Prepare) -> None:
    """Answer commands until the parent closes the pipe."""
    # Libraries print; what they print must not land between the answers.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    subjects: dict[str, Subject] = {}
    with asyncio.Runner() as runner:
        for line in sys.stdin:
            command = json.loads(line)
            try:
                reply = _obey(runner, subjects, prepare, command)
            except Exception as error:  # noqa: BLE001 - told to the parent, which reports it
                reply = {"error": f"{type(error).__name__}: {error}"}
            out.write(json.dumps(reply) + "\n")
            out.flush()


def _obey(
    runner: asyncio.Runner,
    subjects: dict[str, Subject],
    prepare: Prepare,
    command: Mapping[str, Any],
) -> dict[str, Any]:
    name = command["subject"]
    if command["do"] == "prepare":
        made = prepare(name, command["base_url"], Path(command["folder"]))
        subject = runner.run(_awaited(made)) if inspect.isawaitable(made) else made
        subjects[name] = subject
        _turn(runner, subject, 1)
        return {"versions": dict(subject.versions)}
    if command["do"] == "burst":
        return runner.run(_burst(subjects[name], command["calls"]))
    return _turn(runner, subjects[name], command["calls"])


async def _awaited(made: Awaitable[Subject]) -> Subject:
    return await made


def _turn(runner: asyncio.Runner, subject: Subject, calls: int) -> dict[str, Any]:
    if inspect.iscoroutinefunction(subject.call):
        samples, wall, last = runner.run(_async_turn(subject.call, calls))
    else:
        samples, wall, last = _sync_turn(subject.call, calls)
    if subject.text is not None and subject.text(last) != subject.expected:
        msg = "the answer is not the one that was expected"
        raise ValueError(msg)
    return {"samples": samples, "wall": wall}


def _sync_turn(call: Callable[[], Any], calls: int) -> tuple[list[float], float, Any]:
    clock, samples, last = time.perf_counter_ns, [], None
    for _ in range(_WARM_UP):
        last = call()
    begun = clock()
    for _ in range(calls):
        started = clock()
        last = call()
        samples.append((clock() - started) / 1e3)
    return samples, (clock() - begun) / 1e3 / calls, last


async def _async_turn(
    call: Callable[[], Awaitable[Any]], calls: int
) -> tuple[list[float], float, Any]:
    """Between two calls the loop has a turn, so that work behind the calls is really done."""
    clock, samples, last = time.perf_counter_ns, [], None
    for _ in range(_WARM_UP):
        last = await call()
        await asyncio.sleep(0)
    begun = clock()
    for _ in range(calls):
        started = clock()
        last = await call()
        samples.append((clock() - started) / 1e3)
        await asyncio.sleep(0)
    wall = (clock() - begun) / 1e3 / calls
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        await asyncio.wait(others, timeout=_DRAIN)
    return samples, wall, last


async def _burst(subject: Subject, calls: int) -> dict[str, Any]:
    if subject.burst is None:
        msg = "this subject has no burst"
        raise ValueError(msg)
    prompt = f"asked {calls} times at once"
    started = time.perf_counter()
    asked = (subject.burst(prompt) for _ in range(calls))
    answers = await asyncio.gather(*asked, return_exceptions=True)
    failures = [type(a).__name__ for a in answers if isinstance(a, BaseException)]
    return {"seconds": time.perf_counter() - started, "failures": sorted(failures)}


def clean_environment(**more: str) -> dict[str, str]:
    """Return the environment without anybody's keys and servers."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OPENAI_", "ANTHROPIC_"))}
    return {**kept, **more}


def forget_keys() -> None:
    """Take the same out of this process's own environment."""
    kept = clean_environment()
    for name in os.environ.keys() - kept.keys():
        del os.environ[name]


class Worker:
    """The parent's end of the pipe."""

    def __init__(self, process: Process) -> None:
        self._process = process

    @classmethod
    async def start(
        cls,
        python: str | Path,
        module: str,
        environment: Mapping[str, str] | None = None,
        *,
        quiet: bool = False,
    ) -> Worker:
        """Return a process that runs `module`, and has not been asked anything yet.

        `quiet` hides what it writes to its error output; failures come in its answers.
        """
        process = await asyncio.create_subprocess_exec(
            str(python),
            "-W",
            "ignore",
            "-m",
            module,
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL if quiet else None,
            cwd=ROOT,
            env=dict(environment or clean_environment()),
            limit=_LINE,
        )
        return cls(process)

    async def ask(self, do: str, subject: str, **more: Any) -> dict[str, Any]:
        """Return the answer to one command.

        Raises:
            RuntimeError: the worker failed, or is gone.
        """
        reader, writer = self._process.stdout, self._process.stdin
        if reader is None or writer is None:
            msg = "the worker has no pipe"
            raise RuntimeError(msg)
        writer.write(json.dumps({"do": do, "subject": subject, **more}).encode() + b"\n")
        await writer.drain()
        line = await reader.readline()
        reply: dict[str, Any] = json.loads(line) if line else {"error": "the process ended"}
        if "error" in reply:
            msg = f"{subject}: {reply['error']}"
            raise RuntimeError(msg)
        return reply

    async def close(self) -> None:
        """Close the pipe and wait; who does not go is ended."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(5):
                await self._process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
