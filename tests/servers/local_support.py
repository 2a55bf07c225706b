"""Ways to ask servers, and to see whether processes are gone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg

from llmcache.testing import PostgresServer, RedisServer, ServerEngine
from llmcache.testing._redis_server import ask_redis

ROOT = Path(__file__).resolve().parents[2]


async def query(server: PostgresServer, statement: str, *values: Any) -> Any:
    """Return the first value that Postgres answers."""
    connection = await asyncpg.connect(server.url, timeout=20)
    try:
        return await connection.fetchval(statement, *values)
    finally:
        await connection.close()


def ask(server: RedisServer, *words: str) -> Any:
    """Return what Redis answers."""
    return ask_redis(server.port, server._password, words)


def exists(pid: int) -> bool:
    """Whether a process runs; one that is dead and not yet buried does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in {"Z", "X"}


def eventually(holds: Callable[[], bool], seconds: float = 15.0) -> bool:
    """Whether something holds before the time is over."""
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def start_python(code: str, *arguments: str, **variables: str) -> subprocess.Popen[str]:
    """Run a program that uses this package, with its output in a pipe."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **variables},
    )


def shell_engine(folder: Path, script: str) -> ServerEngine:
    """Return a server that is a shell script."""
    program = folder / "server"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return ServerEngine("Shell 1.0 (test)", program=program)
