"""Fixtures that every test may use. Nothing here reaches beyond this machine."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llmcache import OpenAIProvider
from llmcache.testing.servers import (
    PostgresServer,
    RedisServer,
    ServerEngine,
    find_postgres,
    find_redis,
)
from llmcache.testing.upstream import DemoUpstream

_ROOT = Path(__file__).resolve().parent.parent
_SHARED = Path(os.environ.get("LLMCACHE_SHARED", _ROOT.parent / "shared"))


def shared_folder(name: str, variable: str | None = None) -> Path:
    """Return a folder of recorded data; skip where it is absent, fail where it is required."""
    given = os.environ.get(variable) if variable else None
    folder = Path(given) if given else _SHARED / name
    if folder.is_dir():
        return folder
    reason = f"recorded data is not here: {folder} (set LLMCACHE_SHARED)"
    if os.environ.get("LLMCACHE_REQUIRE_SHARED") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def recordings() -> Path:
    return shared_folder("recordings", "LLMCACHE_RECORDINGS")


@pytest.fixture(scope="session")
def key_pairs() -> Path:
    return shared_folder("keys") / "key_pairs.json"


@pytest.fixture(autouse=True)
def _only_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make any connection to another machine an error: no test may call a real provider."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in {socket.AF_INET, socket.AF_INET6}:
            assert address[0] in {"127.0.0.1", "::1", "localhost"}, f"a test reached for {address}"
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.delenv("OLLAMA_API_KEY", raising=False)
    monkeypatch.delenv("OLLAMA_HOST", raising=False)


# --- real servers: one of an engine for all tests of a process, started when first asked for ----


def pytest_report_header() -> list[str]:
    """Say which real servers the tests run on."""
    found = {"postgres": find_postgres(), "redis": find_redis()}
    return [f"{kind}: {', '.join(map(str, all_)) or 'none'}" for kind, all_ in found.items()]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for `each_postgres` or `each_redis` once on every engine found."""
    for name, find in {"each_postgres": find_postgres, "each_redis": find_redis}.items():
        if name in metafunc.fixturenames:
            engines = find()
            ids = [engine.name.partition(" (")[0].replace(" ", "-") for engine in engines]
            metafunc.parametrize(name, engines, ids=ids, indirect=True, scope="session")


@pytest.fixture(scope="session")
def pg_engines() -> list[ServerEngine]:
    """Every Postgres on this machine, the preferred first; the test is skipped without any."""
    return found_engines("Postgres", find_postgres())


@pytest.fixture(scope="session")
def redis_engines() -> list[ServerEngine]:
    """Every Redis on this machine, the preferred first; the test is skipped without any."""
    return found_engines("Redis", find_redis())


def found_engines(kind: str, engines: list[ServerEngine]) -> list[ServerEngine]:
    """Return the engines; skip where there are none, fail where they are required."""
    if not engines:
        reason = f"no {kind} server on this machine"
        if os.environ.get("LLMCACHE_REQUIRE_SERVERS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return engines


@pytest.fixture(scope="session")
def postgres_server(pg_engines: list[ServerEngine]) -> Iterator[PostgresServer]:
    """A Postgres for all tests, which share it: a database or schema each, and no `kill`."""
    with PostgresServer(pg_engines[0]) as server:
        yield server


@pytest.fixture(scope="session")
def redis_server(redis_engines: list[ServerEngine]) -> Iterator[RedisServer]:
    """A Redis for all tests, which share it: a key prefix each, and no `kill`."""
    with RedisServer(redis_engines[0]) as server:
        yield server


@pytest.fixture(scope="session")
def each_postgres(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """As `postgres_server`, of every engine in turn."""
    with PostgresServer(request.param) as server:
        yield server


@pytest.fixture(scope="session")
def each_redis(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """As `redis_server`, of every engine in turn."""
    with RedisServer(request.param) as server:
        yield server


@pytest.fixture
async def upstream() -> AsyncIterator[DemoUpstream]:
    """A server that answers chat completions and embeddings, and counts its calls."""
    async with DemoUpstream() as server:
        yield server


@pytest.fixture
def make_provider(
    upstream: DemoUpstream, tmp_path: Path
) -> Iterator[Callable[..., OpenAIProvider]]:
    """A function that makes a provider of `upstream`, with its cache in `tmp_path/cache`."""

    def make(**options: Any) -> OpenAIProvider:
        options = {
            "model": "demo",
            "base_url": upstream.base_url,
            "api_key": "sk-test-secret",
            "cache_dir": tmp_path / "cache",
            "backoff": 0.01,
            **options,
        }
        return OpenAIProvider(**options)

    return make


@pytest.fixture
async def provider(make_provider: Callable[..., OpenAIProvider]) -> AsyncIterator[OpenAIProvider]:
    """A provider of `upstream` with the filesystem cache."""
    async with make_provider() as made:
        yield made
