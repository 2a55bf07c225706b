"""What an import costs: a fresh interpreter each time, beside a bare one."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from . import peers
from .runner import Bar, Options, Row, Turn, interleave, row_of
from .worker import ROOT

__all__ = ["rows"]

_GROUP: Final = "import, fresh interpreter"
_BARE: Final = "bare interpreter"
_OURS: Final = {
    _BARE: "pass",
    "import llmcache": "import llmcache",
    "from llmcache import OpenAIProvider": "from llmcache import OpenAIProvider",
}
_PEERS: Final = {
    "import dspy": "import dspy",
    "import litellm": "import litellm",
    "from langchain_openai import ChatOpenAI": "from langchain_openai import ChatOpenAI",
}


async def rows(options: Options) -> list[Row]:
    """Return the milliseconds from the start of a process to its end, all in turn."""
    rounds = 5 if options.quick else 15
    found = await _measure(_OURS, sys.executable, None, rounds)
    if options.peers:
        environment = peers.environment(options.folder / "peers")
        found += await _measure(_PEERS, peers.install(), environment, 3)
    return found


async def _measure(
    statements: Mapping[str, str],
    python: str | Path,
    environment: Mapping[str, str] | None,
    rounds: int,
) -> list[Row]:
    def turn(statement: str) -> Turn:
        async def run(calls: int) -> list[float]:
            return [_seconds(python, statement, environment) * 1e3 for _ in range(calls)]

        return run

    turns = {name: turn(statement) for name, statement in statements.items()}
    for name in statements:
        await turns[name](1)  # compiles what has not been compiled yet
    samples = await interleave(turns, rounds=rounds, calls=1)
    base = _BARE if _BARE in statements else None
    return [
        row_of(
            samples,
            name,
            group=_GROUP,
            title=name,
            unit="ms",
            against=None if name == base else base,
            bar=Bar("median", "<=", 120) if name == "import llmcache" else None,
        )
        for name in statements
    ]


def _seconds(python: str | Path, statement: str, environment: Mapping[str, str] | None) -> float:
    started = time.perf_counter()
    subprocess.run(
        [str(python), "-W", "ignore", "-c", statement],
        check=True,
        cwd=ROOT,
        env=None if environment is None else dict(environment),
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - started
