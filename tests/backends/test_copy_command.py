"""`llmcache copy`, and `--cache` of export and import, on real servers."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from backend_support import ROOT
from command_support import Shared, run_command
from copy_support import contents, fill, made
from typer.testing import CliRunner

from llmcache.backends import FSCache
from llmcache.backends.hybrid import HybridRedisPostgreSQLCache
from llmcache.backends.postgres import PostgresBackend
from llmcache.cli import make_app
from llmcache.cli.places import Place, open_place, parse_place
from llmcache.errors import ConfigurationError

_PG = "postgresql://user:s3cret@host/db"
_REDIS = "redis://:s3cret@host:6379/0"

pytestmark = pytest.mark.usefixtures("own_folder")


async def _filled(count: int, folder: str = "cache") -> FSCache:
    backend = FSCache(folder)
    await fill(backend, [made(n) for n in range(count)], "one")
    await fill(backend, [made(n) for n in range(10)], "two")
    return backend


# --- there and back -----------------------------------------------------------------------------


async def test_a_folder_into_a_shared_cache_and_back(shared: Shared) -> None:
    source = await _filled(300)
    code, report, said = await run_command("copy", "fs:./cache", shared.place)
    assert (code, said) == (0, "")
    assert (report["copied"], report["dictionaries"], report["problems"]) == (310, 2, [])
    async with HybridRedisPostgreSQLCache(shared.pg_dsn, shared.redis_url) as hybrid:
        assert await contents(hybrid) == await contents(source)
    code, report, _ = await run_command(
        "copy", "pg_redis", "fs:back", PG_DSN=shared.pg_dsn, REDIS_URL=shared.redis_url
    )
    assert (code, report["copied"]) == (0, 310)
    async with FSCache("back") as back:
        assert await contents(back) == await contents(source)
    for target in (shared.place, "fs:back"):
        code, report, _ = await run_command("copy", "fs", target)
        assert (code, report["copied"], report["unchanged"]) == (0, 0, 310)
    await source.aclose()


async def test_one_collection_into_a_redis_alone(shared: Shared) -> None:
    await (await _filled(20)).aclose()
    place = f"redis:{shared.redis_url}"
    code, report, _ = await run_command("copy", "fs", place, "--collection", "two")
    assert (code, report["copied"]) == (0, 10)
    code, report, _ = await run_command("copy", place, f"pg:{shared.pg_dsn}")
    assert (code, report["copied"]) == (0, 10)


@pytest.mark.parametrize(("option", "copied"), [((), 0), (("--on-conflict", "replace"), 10)])
async def test_an_older_entry_replaces_a_newer_one_only_when_asked_to(
    option: tuple[str, ...], copied: int
) -> None:
    newer = made(0).created_at + 100
    async with FSCache("cache") as source, FSCache("there") as target:
        await fill(source, [made(n, text="old") for n in range(10)])
        await fill(target, [made(n, text="new", created_at=newer) for n in range(10)])
    code, report, _ = await run_command("copy", "fs", "fs:there", *option)
    assert (code, report["copied"], report["kept"]) == (0, copied, 10 - copied)


async def test_damage_is_named_and_the_code_is_1() -> None:
    await (await _filled(20)).aclose()
    path = next(iter(Path("cache/one").glob("*/*.llmc")))
    path.write_bytes(path.read_bytes()[:-5])
    code, report, _ = await run_command("copy", "fs:cache", "fs:there")
    assert (code, report["copied"], report["damaged"]) == (1, 29, 1)
    assert report["problems"][0]["collection"] == "one"
    arguments = ["copy", "fs:cache", "fs:there"]
    ran = await asyncio.to_thread(CliRunner().invoke, make_app(), arguments)
    assert ran.exit_code == 1
    assert re.search(r"damaged +1\n", ran.stdout)
    assert "checksum mismatch" in ran.stdout
    assert re.search(r"there already +29\n", ran.stdout)


async def test_ctrl_c_leaves_whole_entries_and_the_copy_goes_on(shared: Shared) -> None:
    source = await _filled(4_000)
    async with PostgresBackend(shared.pg_dsn) as target:
        await target.open()
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "llmcache", "copy", "fs:cache", f"pg:{shared.pg_dsn}"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        async with asyncio.timeout(40):
            while not (await target.stats()).entries:
                await asyncio.sleep(0.005)
            program.send_signal(signal.SIGINT)
            _, said = await program.communicate()
        found = await contents(target)
        if len(found) < 4_010:  # it was faster otherwise
            assert program.returncode not in {0, None}
            assert b"goes on from here" in said
        assert b"Traceback" not in said
        code, report, _ = await run_command("copy", "fs:cache", f"pg:{shared.pg_dsn}")
        assert (code, report["copied"]) == (0, 4_010 - len(found))
        assert await contents(target) == await contents(source)
    await source.aclose()


async def test_a_source_is_left_as_it_is(shared: Shared) -> None:
    """A database without our tables does not get them by being read."""
    code, _, said = await run_command("copy", f"pg:{shared.pg_dsn}", "fs:there")
    assert code == 2
    assert "llmcache db upgrade" in said
    async with PostgresBackend(shared.pg_dsn, migrate=False) as backend:
        with pytest.raises(ConfigurationError, match="migrations"):
            await backend.open()


async def test_export_and_import_of_a_shared_cache(shared: Shared) -> None:
    source = await _filled(50)
    assert (await run_command("export", "all.jsonl"))[0] == 0
    code, report, _ = await run_command("import", "all.jsonl", "--cache", f"pg:{shared.pg_dsn}")
    assert (code, report["imported"]) == (0, 60)
    async with PostgresBackend(shared.pg_dsn) as backend:
        assert await contents(backend) == await contents(source)
    code, report, _ = await run_command("export", "back.jsonl", "--cache", shared.place)
    assert (code, report["exported"]) == (0, 60)
    lines = [sorted(Path(name).read_text().splitlines()) for name in ("all.jsonl", "back.jsonl")]
    assert lines[0] == lines[1]
    code, _, said = await run_command("export", "x.jsonl", "--cache", "fs", "--cache-dir", "cache")
    assert code == 2
    assert "one of" in said
    await source.aclose()


# --- places -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "place"),
    {
        "fs": Place("fs"),
        "fs:": Place("fs"),
        "fs:./a b,c": Place("fs", Path("a b,c")),
        "fs:C:\\cache": Place("fs", Path("C:\\cache")),
        "pg": Place("pg"),
        f"pg:{_PG}": Place("pg", pg_dsn=_PG),
        "pg:postgres://a,b,c/db": Place("pg", pg_dsn="postgres://a,b,c/db"),
        f"redis:{_REDIS}": Place("redis", redis_url=_REDIS),
        "redis:redis+sentinel://a,b/m": Place("redis", redis_url="redis+sentinel://a,b/m"),
        "pg_redis": Place("pg_redis"),
        f"pg_redis:{_PG},{_REDIS}": Place("pg_redis", pg_dsn=_PG, redis_url=_REDIS),
        f"pg_redis:{_REDIS},{_PG}": Place("pg_redis", pg_dsn=_PG, redis_url=_REDIS),
        f"pg_redis:{_REDIS}": Place("pg_redis", redis_url=_REDIS),
        "pg_redis:postgresql://a,b/db,rediss://c,d": Place(
            "pg_redis", pg_dsn="postgresql://a,b/db", redis_url="rediss://c,d"
        ),
    }.items(),
)
def test_a_place_is_read(text: str, place: Place) -> None:
    assert parse_place(text) == place


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", "s3cret", "mysql:x", "memory:", "FS:x", "s3cret@host:5432/db", _PG, _REDIS),
        *("pg:s3cret@host/db", f"pg:{_REDIS}", f"redis:{_PG}", f"pg:{_PG},{_PG}"),
        *(f"pg_redis:{_PG},s3cret:x", "pg_redis:s3cret", f"pg_redis:{_PG},{_REDIS},{_REDIS}"),
        *("pg", "redis", "pg_redis", f"pg_redis:{_PG}", f"pg_redis:{_REDIS}"),
    ],
)
def test_what_is_no_place_is_one_line_without_its_secrets(text: str) -> None:
    Path("cache").mkdir()
    for order in ([text, "fs:there"], ["fs:cache", text]):
        ran = CliRunner().invoke(make_app(), ["copy", *order])
        assert (ran.exit_code, ran.stdout) == (2, "")
        assert ran.stderr.startswith("llmcache: ")
        assert ran.stderr.count("\n") == 1
        assert "s3cret" not in ran.stderr
        assert not Path("there").exists()


async def test_a_server_that_is_not_there_is_one_line_without_its_password() -> None:
    Path("cache").mkdir()
    code, report, said = await run_command(
        "copy", "pg:postgresql://u:s3cret@127.0.0.1:9/x", "fs:there"
    )
    assert (code, report) == (2, None)
    assert said.startswith("llmcache: ")
    assert said.count("\n") == 1
    assert "s3cret" not in said


def test_a_folder_that_is_read_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = CliRunner().invoke(make_app(), ["copy", "fs:nowhere", "fs:there"])
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert "'nowhere'" in ran.stderr
    monkeypatch.setenv("LLMCACHE_DIR", "elsewhere")
    backend = open_place("fs")
    assert isinstance(backend, FSCache)
    assert backend.cache_dir.name == "elsewhere"


# --- how far it is ------------------------------------------------------------------------------


async def test_who_watches_sees_a_bar() -> None:
    await (await _filled(1_500)).aclose()
    master, slave = os.openpty()
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "llmcache", "copy", "fs:cache", "fs:there"),
        stdout=asyncio.subprocess.PIPE,
        stderr=slave,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(slave)
    shown = b""
    with contextlib.suppress(OSError):  # what a terminal says at its end
        while part := await asyncio.to_thread(os.read, master, 2**16):
            shown += part
    os.close(master)
    out, _ = await program.communicate()
    assert program.returncode == 0
    assert b"copying" in shown
    assert b"100%" in shown
    assert re.search(rb"copied +1510 \(", out)


def test_a_log_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module("llmcache.cli.copy"), "_SAY_EVERY", 0.0)
    asyncio.run(_close(_filled(1_500)))
    ran = CliRunner().invoke(make_app(), ["copy", "fs:cache", "fs:there", "--json"])
    assert ran.exit_code == 0
    assert json.loads(ran.stdout)["copied"] == 1_510
    lines = ran.stderr.splitlines()
    assert lines[-1] == "1510 entries, 1510 of them copied"
    assert len(lines) > 1


async def _close(filling: Any) -> None:
    await (await filling).aclose()
