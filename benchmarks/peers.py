"""The other caches: which, pinned to what, and what we must show against them."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from .worker import ROOT, clean_environment

__all__ = ["PEERS", "PeerSubject", "environment", "install", "share", "subject"]

_FOLDER: Final = ROOT / ".venv-bench"
_LOCK: Final = Path(__file__).with_name("requirements-peers.txt")


@dataclass(frozen=True, slots=True)
class PeerSubject:
    """One way to hit one peer; `least` times as long as ours `against` it must take.

    `share`: it makes one call where the fast ones make so many.
    """

    name: str
    title: str
    against: Literal["memory", "filesystem"]
    least: float
    share: int = 1


PEERS: Final = (
    (PeerSubject("dspy-memory", "DSPy, memory: lm(prompt)", "memory", 3),),
    (PeerSubject("dspy-disk", "DSPy, disk: lm(prompt)", "filesystem", 1.5),),
    (
        PeerSubject("litellm", "LiteLLM, local: completion()", "memory", 15, 6),
        PeerSubject("litellm-async", "LiteLLM, local: await acompletion()", "memory", 15, 6),
    ),
    (PeerSubject("langchain", "LangChain, SQLiteCache: ChatOpenAI.invoke()", "filesystem", 5, 3),),
)
"""By process: subjects that can share one stand together."""

_SUBJECTS: Final = {one.name: one for process in PEERS for one in process}


def subject(name: str) -> PeerSubject:
    """Return the peer's subject of that name."""
    return _SUBJECTS[name]


def share(name: str) -> int:
    """Return by how much to divide the number of calls; 1 for our own subjects."""
    found = _SUBJECTS.get(name)
    return 1 if found is None else found.share


def environment(folder: Path) -> dict[str, str]:
    """Return an environment in which peers write into `folder` and ask no other machine."""
    return clean_environment(
        DSPY_CACHEDIR=str(folder / "dspy"),
        LITELLM_LOCAL_MODEL_COST_MAP="True",
        LITELLM_LOG="ERROR",
        LANGSMITH_TRACING="false",
        OPENAI_API_KEY="sk-benchmark",
    )


def install() -> Path:
    """Return the interpreter of an environment with the locked peers, made anew when the lock changed."""
    python = _FOLDER / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    mark = _FOLDER / ".installed"
    wanted = f"{hashlib.sha256(_LOCK.read_bytes()).hexdigest()} {sys.version}"
    if mark.is_file() and python.exists() and mark.read_text(encoding="utf-8") == wanted:
        return python
    print(f"installing the peers into {_FOLDER.name} …", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(_FOLDER)], check=True)
    pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    done = subprocess.run(
        [*pip, "--require-hashes", "-r", str(_LOCK)], check=False, capture_output=True, text=True
    )
    if done.returncode:
        msg = f"the peers cannot be installed: {done.stderr[-2_000:]}"
        raise RuntimeError(msg)
    mark.write_text(wanted, encoding="utf-8")
    return python
