"""Commands as processes of their own, on a Postgres database and a Redis of a test's own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from backend_support import ROOT

__all__ = ["Shared", "run_command"]


@dataclass
class Shared:
    """The addresses of a Postgres database and a Redis of this test's own."""

    pg_dsn: str
    redis_url: str

    @property
    def place(self) -> str:
        return f"pg_redis:{self.pg_dsn},{self.redis_url}"


async def run_command(*arguments: str, **variables: str) -> tuple[int, Any, str]:
    """Run a command in a process of its own; return its code, its JSON and its standard error."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "llmcache", *arguments, "--json"],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        check=False,
    )
    return done.returncode, json.loads(done.stdout or "null"), done.stderr.decode()
