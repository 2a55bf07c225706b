"""A server by others that stands in for every provider: npm's @copilotkit/aimock, pinned by its lock file."""

from __future__ import annotations

import os
import queue
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from filelock import FileLock

_FOLDER = Path(__file__).resolve().parent
_PACKAGE = _FOLDER / "node_modules" / "@copilotkit" / "aimock"
_INSTALLED = _FOLDER / "node_modules" / ".package-lock.json"
_LISTENING = re.compile(r"listening on (http://\S+)")


def _missing(reason: str) -> NoReturn:
    """Skip; fail where the server is required."""
    if os.environ.get("LLMCACHE_REQUIRE_NODE") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def aimock_program(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that starts aimock, installed if it is not here yet."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        _missing("node and npm are not on this machine")
    # The folder is shared by all processes of a run.
    with FileLock(tmp_path_factory.getbasetemp().parent / "aimock.lock"):
        lock = _FOLDER / "package-lock.json"
        if not _INSTALLED.exists() or _INSTALLED.stat().st_mtime < lock.stat().st_mtime:
            done = subprocess.run(
                [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
                cwd=_FOLDER,
                capture_output=True,
                text=True,
                timeout=50,
                check=False,
            )
            if done.returncode:
                _missing(f"npm ci failed: {done.stderr[-300:]}")
    return [node, str(_PACKAGE / "dist" / "cli.js")]


@pytest.fixture(scope="session")
def aimock(aimock_program: list[str]) -> Iterator[str]:
    """The address of a running aimock, which answers `fixtures.json`."""
    command = [*aimock_program, "--port", "0", "--fixtures", str(_FOLDER / "fixtures.json")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=_FOLDER
    ) as process:
        lines: queue.Queue[str] = queue.Queue()

        def read() -> None:
            for line in process.stdout or ():
                lines.put(line)

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        try:
            yield _address(lines)
        finally:
            process.terminate()
            reader.join(20)


def _address(lines: queue.Queue[str]) -> str:
    said = ""
    while True:
        try:
            said += lines.get(timeout=20)
        except queue.Empty:
            pytest.fail(f"aimock did not start: {said}")
        found = _LISTENING.search(said)
        if found:
            return found[1]
