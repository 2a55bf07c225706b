"""A real cache folder, made by a provider, and ways to run commands on it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from llmcache import CompletionResult, OpenAIProvider
from llmcache.cache import CachePolicy
from llmcache.cli import make_app
from llmcache.testing.upstream import DemoUpstream

SECRET = "sk-test-secret-that-nobody-may-see"
QUESTION = "Explain WAL in one paragraph."
STREAMED = "Explain checkpoints in one paragraph."


@dataclass
class Filled:
    """A cache folder, the server's address it was made with, and what the provider answered."""

    folder: Path
    base_url: str = ""
    results: dict[str, CompletionResult] = field(default_factory=dict)

    def key(self, name: str) -> str:
        cache = self.results[name].cache
        assert cache is not None
        assert cache.key is not None
        return cache.key


@dataclass
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, which is one JSON document and nothing else."""
        return json.loads(self.out)


async def _fill(folder: Path) -> Filled:
    async with DemoUpstream() as upstream:
        filled = Filled(folder, upstream.base_url)
        options: dict[str, Any] = {
            "model": "demo",
            "base_url": upstream.base_url,
            "api_key": SECRET,
            "cache_dir": folder,
        }
        async with OpenAIProvider(**options) as provider:
            ask = {"cache_response": True}
            results = filled.results
            results["plain"] = await provider.complete(QUESTION, tags=["a"], **ask)
            async for event in provider.stream(STREAMED, tags=["a", "b"], **ask):
                if event.type == "done":
                    results["streamed"] = event.data
            results["sample"] = await provider.complete(QUESTION, regen_cache=True, **ask)
            results["other"] = await provider.complete(
                QUESTION, model="other", ttl=3600, temperature=0.2, **ask
            )
            results["expired"] = await provider.complete("Of yesterday?", ttl=0, **ask)
            results["elsewhere"] = await provider.complete(
                QUESTION, cache_collection="elsewhere", **ask
            )
            await provider.embed(["one", "two"], model="vec", cache_collection="vectors", **ask)
        policy = CachePolicy(store_request=False)
        async with OpenAIProvider(**options, cache_policy=policy) as discreet:
            filled.results["discreet"] = await discreet.complete(
                "Between us.", cache_collection="discreet", **ask
            )
    return filled


@pytest.fixture(scope="session")
def _filled(tmp_path_factory: pytest.TempPathFactory) -> Filled:
    return asyncio.run(_fill(tmp_path_factory.mktemp("filled") / "cache"))


@pytest.fixture
def filled(_filled: Filled, tmp_path: Path) -> Filled:
    """A copy of the folder, to do with as one likes: 9 entries in 4 collections."""
    folder = shutil.copytree(_filled.folder, tmp_path / "cache")
    return Filled(folder, _filled.base_url, _filled.results)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in an empty folder, without settings from outside."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LLMCACHE_DIR", raising=False)
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def run() -> Callable[..., Ran]:
    """A function that runs a command in this process; it ends with an exit code, never otherwise."""

    def call(*args: str | Path, stdin: str | bytes | None = None) -> Ran:
        result = CliRunner().invoke(make_app(), [str(arg) for arg in args], input=stdin)
        assert result.exception is None or isinstance(result.exception, SystemExit), (
            result.exception
        )
        return Ran(result.exit_code, result.stdout, result.stderr)

    return call


@pytest.fixture
def process(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """A function that runs `python -m llmcache` as a process of its own."""

    def call(
        *args: str | Path, stdin: bytes | None = None, **variables: str
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "llmcache", *map(str, args)],
            input=b"" if stdin is None else stdin,
            capture_output=True,
            cwd=tmp_path,
            env=environment(**variables),
            timeout=50,
            check=False,
        )

    return call


def environment(**variables: str) -> dict[str, str]:
    """Return this process's environment without settings of ours, and with `variables`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OPENAI_", "LLMCACHE_"))
    }
    return {**kept, **variables}


@pytest.fixture
def clean_environment() -> Callable[..., dict[str, str]]:
    return environment


@pytest.fixture
def secret() -> str:
    return SECRET


def entry_file(folder: Path, key: str, collection: str = "default") -> Path:
    """Return the file of an entry."""
    scheme, _, digits = key.partition(":")
    (found,) = (folder / collection).glob(f"*/{scheme}-{digits}.llmc")
    return found


@pytest.fixture
def damage() -> Callable[..., Path]:
    """A function that changes one byte in the middle of an entry's file."""

    def call(folder: Path, key: str, collection: str = "default") -> Path:
        path = entry_file(folder, key, collection)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0xFF
        path.write_bytes(data)
        return path

    return call


@pytest.fixture
def file_of() -> Callable[..., Path]:
    return entry_file
