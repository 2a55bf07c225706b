"""What can go wrong at a start is told, and what can be put right is put right."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_support import ask, eventually, exists, query, shell_engine

from llmcache.errors import BackendUnavailableError, ConfigurationError
from llmcache.testing import PostgresServer, RedisServer, ServerEngine, _local_server
from llmcache.testing._server_folders import nobody, temporary_folder
from llmcache.testing._server_process import free_port, is_free

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may not run Postgres")


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))  # one that is found first may be lost again
        listening.listen()
        yield listening.getsockname()[1]


@pytest.mark.parametrize("kind", [PostgresServer, RedisServer])
def test_a_port_that_is_taken_is_told(kind: type[PostgresServer | RedisServer], taken: int) -> None:
    assert not is_free(taken)
    with pytest.raises(BackendUnavailableError, match=r"(?i)already in use") as caught:
        kind(port=taken).__enter__()
    assert str(taken) in str(caught.value)
    assert (caught.value.backend, caught.value.operation) == (kind._kind, "start")


@pytest.mark.parametrize("kind", [PostgresServer, RedisServer])
def test_a_free_port_that_was_just_lost_is_no_matter(
    kind: type[PostgresServer | RedisServer], taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the server's own words say that it was lost."""
    ports = iter([taken, free := free_port()])
    monkeypatch.setattr(_local_server, "free_port", lambda with_bus: next(ports))
    with kind() as server:
        assert server.port == free


def test_the_end_of_the_log_is_told(tmp_path: Path) -> None:
    script = "for i in $(seq 50); do echo line $i; done; echo 'no luck today' >&2; exit 3"
    server = RedisServer(shell_engine(tmp_path, script))
    with pytest.raises(BackendUnavailableError, match="no luck today") as caught:
        server.__enter__()
    assert "line 50" in str(caught.value)
    assert "line 5\n" not in str(caught.value)
    assert server._temporary is None


def test_a_program_that_cannot_run_is_told(tmp_path: Path) -> None:
    engine = ServerEngine("Nothing", program=tmp_path / "nothing")
    with pytest.raises(BackendUnavailableError, match=r"cannot run .*No such file"):
        RedisServer(engine).__enter__()


def test_one_that_never_answers_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_local_server, "_START", 0.3)
    server = RedisServer(shell_engine(tmp_path, f"echo $$ > {tmp_path}/pid; exec sleep 60"))
    with pytest.raises(BackendUnavailableError, match="no answer in 0 s"):
        server.__enter__()
    assert not exists(int((tmp_path / "pid").read_text()))


def test_one_that_does_not_stop_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_local_server, "_STOP", 0.3)
    script = "trap '' TERM; echo Ready to accept connections; while :; do sleep 0.1; done"
    with RedisServer(shell_engine(tmp_path, script)) as server:
        pid = server.pid or 0
        assert exists(pid)
    assert not exists(pid)


def test_a_failing_initdb_is_told(tmp_path: Path, open_folder: Path) -> None:
    engine = shell_engine(open_folder, "exit 1")
    assert engine.program is not None
    shutil.copy(shell_engine(tmp_path, "echo disk is made of cheese; exit 1").program or "",
                engine.program.with_name("initdb"))  # fmt: skip
    with pytest.raises(BackendUnavailableError, match="disk is made of cheese"):
        PostgresServer(engine).__enter__()


async def test_a_named_folder_keeps_data_password_and_port(open_folder: Path) -> None:
    """Its path may be longer than that of a socket can be."""
    folder = open_folder / ("long" * 30) / "with space"
    with PostgresServer(data_dir=folder, durable=True) as server:
        url = server.url
        await query(server, "CREATE TABLE kept AS SELECT 1 AS one")
        assert await query(server, "SHOW fsync") == "on"
        with pytest.raises(ConfigurationError, match="another server uses"):
            PostgresServer(data_dir=folder).start()
    with PostgresServer(data_dir=folder) as server:
        assert server.url == url
        assert await query(server, "SELECT one FROM kept") == 1


def test_a_named_folder_of_redis(tmp_path: Path) -> None:
    folder = tmp_path / 'a "quoted" näme'
    with RedisServer(data_dir=folder, durable=True) as server:
        url = server.url
        ask(server, "SET", "key", "kept")
        assert ask(server, "CONFIG", "GET", "appendfsync")[1] == b"everysec"
    with RedisServer(data_dir=folder) as server:
        assert server.url == url
        assert ask(server, "GET", "key") == b"kept"
    with socket.socket() as listening:  # the last port is a wish
        listening.bind(("127.0.0.1", server.port))
        listening.listen()
        with RedisServer(data_dir=folder) as other:
            assert other.port != listening.getsockname()[1]


@as_root
def test_root_learns_which_folder_is_closed(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with pytest.raises(ConfigurationError, match="nobody, who runs it, may not enter"):
        PostgresServer(data_dir=tmp_path / "data").__enter__()


@as_root
async def test_programs_in_a_closed_folder_are_copied(
    tmp_path: Path, pg_engines: list[ServerEngine]
) -> None:
    """A virtual environment below /root, say."""
    program = next((e.program for e in pg_engines if "wheel" in e.name), None)
    if program is None:
        pytest.skip("no Postgres that can be moved")
    package = program.parents[2]
    for name in (package.name, f"{package.name}.libs"):
        shutil.copytree(package.with_name(name), tmp_path / name, symlinks=True)
    tmp_path.chmod(0o700)
    moved = tmp_path / program.relative_to(package.parent)
    with PostgresServer(ServerEngine("moved", program=moved)) as server:
        assert await query(server, "SELECT 1") == 1
        assert server._folder_of_programs(Path()) != moved.parent


@as_root
def test_a_temporary_folder_is_where_it_can_be_entered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for account, inside in ((nobody(), False), (None, True)):
        folder = temporary_folder("test", account)
        folder.rmdir()
        assert folder.is_relative_to(tmp_path) is inside


async def test_one_that_a_url_names_is_used_and_left_alone(postgres_server: PostgresServer) -> None:
    engine = ServerEngine("PostgreSQL elsewhere", url=postgres_server.url)
    with PostgresServer(engine) as server:
        assert server.url == postgres_server.url
        assert server.running
        assert not server.can_be_stopped
        assert await query(server, "SELECT 1") == 1
        for what in (server.stop, server.kill, server.pause, server.resume):
            with pytest.raises(ConfigurationError, match="not ours"):
                what()
    assert postgres_server.running


def test_a_server_outlives_the_thread_that_started_it() -> None:
    server = RedisServer()
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
    try:
        assert not eventually(lambda: not server.running, 0.3)
        assert ask(server, "PING") == b"PONG"
    finally:
        server.close()
