"""What the tests of the shared cache have in common."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from llmcache import CompletionResult

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


class Program:
    """One of the programs beside this file, as a process that speaks JSON."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @property
    def pid(self) -> int:
        return self.process.pid

    def tell(self, line: str = "") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())

    async def line(self) -> str:
        assert self.process.stdout is not None
        return (await self.process.stdout.readline()).decode().strip()

    async def told(self) -> dict[str, Any]:
        """Return the next of what it prints."""
        found: dict[str, Any] = json.loads(await self.line())
        return found

    async def kill(self) -> None:
        """End it with SIGKILL."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def program(file: str, **asked: Any) -> AsyncIterator[Program]:
    """Yield a program that is ready; it is gone at the end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "ignore", str(HERE / file), json.dumps(asked)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**24,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    started = Program(process)
    try:
        assert await started.line() == "ready"
        yield started
    finally:
        await started.kill()


def status(result: CompletionResult) -> str:
    """Return where an answer came from."""
    assert result.cache is not None
    return result.cache.status
