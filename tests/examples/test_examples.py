"""Each example runs: by itself, and against a server from the environment."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from llmcache.backends.postgres import PostgresBackend
from llmcache.testing.servers import PostgresServer, RedisServer
from llmcache.testing.upstream import DemoUpstream

FOLDER = Path(__file__).resolve().parents[2] / "examples"
NAMES = sorted(path.name for path in FOLDER.glob("*.py"))
# Those that ask a chat-completions server; the other brings its own.
CHATS = [name for name in NAMES if name != "adding_a_provider.py"]
SECRET = "sk-test-secret-that-nobody-may-see"


async def _run(name: str, folder: Path, **variables: str) -> str:
    """Run an example in `folder` and return what it printed."""
    others = ("OPENAI_", "LLMCACHE_", "PG_DSN", "REDIS_URL")
    kept = {n: v for n, v in os.environ.items() if not n.startswith(others)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", str(FOLDER / name)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=folder,
        env={**kept, "PYTHONIOENCODING": "utf-8", **variables},
    )
    out, err = await asyncio.wait_for(process.communicate(), 50)
    assert process.returncode == 0, err.decode()
    # A busy machine may take longer for files than a call waits: that is said, and no fault.
    slow = ("goes on in the background", "no answer within")
    lines = err.decode().splitlines()
    assert [line for line in lines if not any(words in line for words in slow)] == []
    return out.decode()


def test_the_examples_are_those_that_the_readme_promises() -> None:
    assert set(NAMES) >= {
        "adding_a_provider.py",
        "basic_completions_fs_cache.py",
        "embeddings_with_cache.py",
        "provider_streaming.py",
        "providers_by_name.py",
        "shared_cache.py",
        "simple_generation.py",
        "warm_cache_at_startup.py",
    }


@pytest.mark.parametrize("name", NAMES)
async def test_an_example_runs_by_itself(name: str, tmp_path: Path) -> None:
    assert await _run(name, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} <= {"cache"}


@pytest.mark.parametrize("name", CHATS)
async def test_an_example_asks_the_server_of_the_environment(
    name: str, tmp_path: Path, upstream: DemoUpstream
) -> None:
    variables = {"OPENAI_BASE_URL": upstream.base_url, "OPENAI_API_KEY": SECRET}
    out = await _run(name, tmp_path, **variables)
    assert upstream.calls
    assert SECRET not in out
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes()


async def test_adding_a_provider(tmp_path: Path) -> None:
    out = await _run("adding_a_provider.py", tmp_path)
    assert re.findall(r"(?m)^(miss|hit) +You said: (.*)$", out) == [
        ("miss", "Hello"),
        ("hit", "Hello"),
        ("miss", "Hello again"),
    ]
    assert "token token token token done" in out
    assert len((FOLDER / "adding_a_provider.py").read_text().splitlines()) < 150


async def test_simple_generation(tmp_path: Path, upstream: DemoUpstream) -> None:
    out = await _run("simple_generation.py", tmp_path, OPENAI_BASE_URL=upstream.base_url)
    answers = dict(line.split(maxsplit=1) for line in out.splitlines()[:4])
    assert answers["str"] == answers["dict"] == answers["Message"] != answers["list"]
    assert "not sent: messages[0].content" in out
    assert "ConnectionFailedError" in out
    assert upstream.calls == 6


async def test_basic_completions(tmp_path: Path, upstream: DemoUpstream) -> None:
    out = await _run("basic_completions_fs_cache.py", tmp_path, OPENAI_BASE_URL=upstream.base_url)
    found = dict(re.findall(r"(?m)^(\S.*?\S) {2,}(bypass|miss|hit) ", out))
    assert found == {
        "no cache": "bypass",
        "first": "miss",
        "again": "hit",
        "one more sample": "miss",
        "replaced": "miss",
        "three samples": "hit",
        "offline": "hit",
        "found bad": "hit",
        "after reject()": "miss",
        "tagged": found["tagged"],
    }
    assert "['hit', 'hit', 'miss']" in out
    assert "differs in ['temperature: absent → 0.5']" in out


async def test_basic_completions_with_a_salt(tmp_path: Path, upstream: DemoUpstream) -> None:
    out = await _run("basic_completions_fs_cache.py", tmp_path, OPENAI_BASE_URL=upstream.base_url)
    assert re.search(r"(?m)^tagged +miss ", out)
    assert re.search(r"(?m)^invalidate +1 removed", out)


async def test_streaming(tmp_path: Path, upstream: DemoUpstream) -> None:
    upstream.token_delay = 0.005
    out = await _run("provider_streaming.py", tmp_path, OPENAI_BASE_URL=upstream.base_url)
    replays = re.findall(r"(?m)^(miss|hit) +replay=(\S+) ", out)
    assert replays == [("miss", "instant"), ("hit", "instant"), ("hit", "recorded"), ("hit", "4.0")]
    assert re.search(r"(?m)^hit +complete\(\)", out)
    assert "server-sent events, such as 'event: token\\ndata: " in out
    pieces = re.search(r"callbacks: (\d+) pieces", out)
    assert pieces is not None
    assert int(pieces[1]) > 1
    assert upstream.calls == 6


async def test_providers_by_name(tmp_path: Path, upstream: DemoUpstream) -> None:
    out = await _run("providers_by_name.py", tmp_path, OPENAI_BASE_URL=upstream.base_url)
    assert re.findall(r"(?m)^(miss|hit) ", out) == ["miss", "hit"]
    assert "name a model of 'anthropic'" in out
    assert upstream.calls == 1


async def test_embeddings(tmp_path: Path, upstream: DemoUpstream) -> None:
    variables = {"OPENAI_BASE_URL": upstream.base_url}
    out = await _run("embeddings_with_cache.py", tmp_path, **variables)
    known = re.findall(r"(\d) texts: (\d) known, status '(\w+)'", out)
    assert known == [("2", "0", "miss"), ("4", "2", "miss"), ("4", "4", "hit")]
    assert [len(request.json()["input"]) for request in upstream.requests[:2]] == [2, 2]
    before = upstream.calls
    again = await _run("embeddings_with_cache.py", tmp_path, **variables)
    assert "2 texts: 2 known, status 'hit'" in again
    assert upstream.calls == before
    assert again.splitlines()[-4:] == out.splitlines()[-4:]


async def test_warming(tmp_path: Path, upstream: DemoUpstream) -> None:
    variables = {"OPENAI_BASE_URL": upstream.base_url}
    out = await _run("warm_cache_at_startup.py", tmp_path, **variables)
    assert "filled: 0 were there, 4 made, 0 failed" in out
    assert "loaded: 4 answers" in out
    assert "the first user gets a hit from memory" in out
    again = await _run("warm_cache_at_startup.py", tmp_path, **variables)
    assert "filled: 4 were there, 0 made, 0 failed" in again
    assert upstream.calls == 4


async def test_the_shared_cache(
    tmp_path: Path,
    upstream: DemoUpstream,
    postgres_server: PostgresServer,
    redis_server: RedisServer,
) -> None:
    upstream.latency = 0.2
    variables = {
        "OPENAI_BASE_URL": upstream.base_url,
        "PG_DSN": postgres_server.url,
        "REDIS_URL": redis_server.url,
    }
    for calls in (2, 4):
        out = await _run("shared_cache.py", tmp_path, **variables)
        assert "20 calls, 1 paid for" in out
        assert "warmed: 2 in memory, 2 in Redis" in out
        assert "the first user gets a hit from memory" in out
        assert "stored: 2 entries" in out
        assert "invalidated: 1, on every machine" in out
        assert upstream.calls == calls
    async with PostgresBackend(postgres_server.url) as backend:
        assert "shared-example" in await backend.names(), "it was that database"
