"""What all commands share: folders, exit codes, JSON, terminals, secrets."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmcache import __version__

COMMANDS = "demo stats ls show explain prune invalidate verify export import up".split()
ON_A_FOLDER: list[list[str]] = [
    ["stats"],
    ["ls"],
    ["show", "v1:ab"],
    ["explain", "request.json"],
    ["prune"],
    ["invalidate", "--tag", "a", "--yes"],
    ["verify"],
    ["export", "out.jsonl"],
]
REQUEST = {"model": "demo", "messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture(autouse=True)
def _request(tmp_path: Path) -> None:
    (tmp_path / "request.json").write_text(json.dumps(REQUEST))


def test_help_names_every_command_and_the_exit_codes(run: Callable[..., Any]) -> None:
    ran = run("--help")
    assert ran.code == 0
    for name in COMMANDS:
        assert f"  {name} " in ran.out
    for word in ("Exit codes", "--json", "--cache-dir", "LLMCACHE_DIR"):
        assert word in ran.out
    assert "\x1b" not in ran.out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(run: Callable[..., Any], command: str) -> None:
    ran = run(command, "--help")
    assert ran.code == 0
    assert "--json" in ran.out
    assert ("--data-dir" if command == "up" else "--cache-dir") in ran.out


def test_the_version(run: Callable[..., Any]) -> None:
    assert run("--version").out == f"llmcache {__version__}\n"


def test_help_loads_nothing_that_only_commands_need(
    clean_environment: Callable[..., dict[str, str]],
) -> None:
    code = (
        "import sys\nfrom llmcache.cli import main\n"
        "sys.argv = ['llmcache', '--help']\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = {'rich', 'httpx', 'pydantic', 'orjson', 'zstandard', 'filelock', 'openai', 'h11'}\n"
        "print('heavy:', sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env=clean_environment(), check=True
    )
    loaded = done.stdout.decode().splitlines()[-1]
    assert loaded == "heavy: []"


@pytest.mark.parametrize("args", ON_A_FOLDER, ids=lambda args: args[0])
@pytest.mark.parametrize("as_json", [False, True])
def test_a_folder_that_does_not_exist_is_named(
    run: Callable[..., Any], args: list[str], as_json: bool
) -> None:
    ran = run(*args, "--cache-dir", "nowhere", *["--json"] * as_json)
    assert ran.code == 2
    assert ran.out == ""
    assert "no cache folder 'nowhere'" in ran.err
    assert ran.err.count("\n") == 1
    assert not Path("nowhere").exists()


@pytest.mark.parametrize(
    "args", [*ON_A_FOLDER, ["import", "request.json"], ["demo"]], ids=lambda args: args[0]
)
def test_a_file_in_place_of_a_folder_is_named(
    run: Callable[..., Any], args: list[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("not a folder")
    ran = run(*args, "--cache-dir", "file")
    assert ran.code == 2
    assert "is a file; name a folder" in ran.err
    assert "Traceback" not in ran.err


def test_the_folder_comes_from_option_then_environment_then_default(
    run: Callable[..., Any], filled: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("stats", "--json").json["entries"] == 9  # ./cache
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("LLMCACHE_DIR", str(tmp_path / "empty"))
    assert run("stats", "--json").json["entries"] == 0
    assert run("stats", "--json", "--cache-dir", filled.folder).json["entries"] == 9
    monkeypatch.setenv("LLMCACHE_DIR", "  ")  # blank is unset
    assert run("stats", "--json").json["entries"] == 9


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "", "x" * 129])
@pytest.mark.parametrize("command", ["ls", "prune", "verify"])
def test_a_collection_name_that_cannot_be_one_is_refused(
    run: Callable[..., Any], filled: Any, command: str, name: str
) -> None:
    ran = run(command, "--collection", name)
    assert ran.code == 2
    assert ran.err.startswith("llmcache: collection ")
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize("command", ["ls", "prune", "verify"])
def test_an_unknown_collection_is_told_with_those_that_exist(
    run: Callable[..., Any], filled: Any, command: str
) -> None:
    ran = run(command, "--collection", "defualt")
    assert ran.code == 0
    assert "'defualt'; there are: default, discreet, elsewhere, vectors" in ran.err


@pytest.mark.parametrize(
    "args",
    [
        ["stats"],
        ["ls", "--tag", "a"],
        ["verify"],
        ["prune", "--max-bytes", "1GB"],
        ["export", "out.jsonl"],
        ["invalidate", "--tag", "none", "--yes"],
        ["explain", "request.json"],
    ],
    ids=lambda args: args[0],
)
def test_json_is_one_document_and_nothing_else(
    run: Callable[..., Any], filled: Any, args: list[str]
) -> None:
    ran = run(*args, "--json")
    assert isinstance(ran.json, dict)
    assert ran.out.isascii()


def test_a_module_run_is_the_command(process: Callable[..., Any], filled: Any) -> None:
    done = process("stats", "--json")
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["collections"]["default"]["entries"] == 5


def test_piped_output_has_no_escape_codes(process: Callable[..., Any], filled: Any) -> None:
    for args in (["stats"], ["ls"], ["show", filled.key("other")], ["verify"], ["--help"]):
        done = process(*args, FORCE_COLOR="1", TERM="xterm-256color")
        assert done.returncode == 0
        assert b"\x1b" not in done.stdout


def test_an_output_without_unicode_is_no_failure(process: Callable[..., Any], filled: Any) -> None:
    done = process("show", filled.key("other"), PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert b"answer" in done.stdout
    (filled.folder.parent / "r.json").write_text(json.dumps({**REQUEST, "temperature": 0.5}))
    done = process("explain", "r.json", PYTHONIOENCODING="ascii")
    assert done.returncode == 1
    assert b"temperature: absent " in done.stdout
    assert b" 0.5" in done.stdout


def test_a_reader_that_has_enough_is_no_failure(
    filled: Any, clean_environment: Callable[..., dict[str, str]]
) -> None:
    started = subprocess.Popen(
        [sys.executable, "-m", "llmcache", "ls"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=filled.folder.parent,
        env=clean_environment(),
    )
    assert started.stdout is not None
    started.stdout.close()
    assert started.stderr is not None
    error = started.stderr.read().decode()
    started.stderr.close()
    started.wait(timeout=30)
    assert "Traceback" not in error


def _on_a_terminal(args: list[str], folder: Path, environment: dict[str, str], typed: bytes) -> Any:
    """Run a command with a terminal for its three streams; return its exit code and the screen."""
    ours, theirs = pty.openpty()
    started = subprocess.Popen(
        [sys.executable, "-m", "llmcache", *args],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=folder,
        env={**environment, "TERM": "xterm-256color", "COLUMNS": "160"},
        close_fds=True,
    )
    os.close(theirs)
    screen = b""
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        ready, _, _ = select.select([ours], [], [], 1.0)
        if not ready:
            continue
        try:
            data = os.read(ours, 4096)
        except OSError:  # the other side is closed
            break
        if not data:
            break
        screen += data
        if typed and b"?" in screen:
            os.write(ours, typed)
            typed = b""
    os.close(ours)
    return started.wait(timeout=10), screen


@pytest.mark.parametrize(("typed", "code", "left"), [(b"y\n", 0, 7), (b"n\n", 1, 9)])
def test_a_terminal_is_asked_before_anything_is_removed(
    filled: Any,
    run: Callable[..., Any],
    clean_environment: Callable[..., dict[str, str]],
    typed: bytes,
    code: int,
    left: int,
) -> None:
    args = ["invalidate", "--tag", "a"]
    found, screen = _on_a_terminal(args, filled.folder.parent, clean_environment(), typed)
    assert found == code
    assert b"Remove tag a from every collection?" in screen
    assert run("stats", "--json").json["entries"] == left


def test_a_terminal_gets_a_drawn_table(
    filled: Any, clean_environment: Callable[..., dict[str, str]]
) -> None:
    code, screen = _on_a_terminal(["ls"], filled.folder.parent, clean_environment(), b"")
    assert code == 0
    assert "─" in screen.decode()
    assert filled.key("plain")[:15] in screen.decode()


def test_no_command_shows_a_secret_or_an_escape(
    run: Callable[..., Any], filled: Any, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", secret)
    key = filled.key("plain")
    for args in (
        ["stats"],
        ["ls", "--limit", "100"],
        ["ls", "--json"],
        ["show", key, "--collection", "default"],
        ["show", key, "--collection", "default", "--raw"],
        ["show", key, "--collection", "default", "--json", "--raw"],
        ["explain", "request.json", "--base-url", f"http://user:{secret}@127.0.0.1:1/v1"],
        ["explain", "request.json", "--base-url", f"http://127.0.0.1:1/v1?key={secret}", "--json"],
        ["verify", "--json"],
        ["export", "out.jsonl"],
        ["prune"],
    ):
        ran = run(*args)
        assert ran.code in {0, 1}, args
        assert secret not in ran.out + ran.err, args
        assert "\x1b" not in ran.out + ran.err, args
    for path in filled.folder.parent.rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes(), path


@pytest.mark.parametrize(
    "url", ["ftp://user:hunter2@127.0.0.1/v1", "http://user:hunter2/@127.0.0.1/v1"]
)
def test_a_url_that_is_none_is_refused_without_its_password(
    run: Callable[..., Any], filled: Any, url: str
) -> None:
    ran = run("explain", "request.json", "--base-url", url)
    assert ran.code == 2
    assert "hunter2" not in ran.err
