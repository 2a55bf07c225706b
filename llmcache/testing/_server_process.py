"""A server as a process that cannot outlive this one, on a port of its own."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Account", "ServerProcess", "free_port", "is_free", "log_since"]

_GUARD: Final = Path(__file__).with_name("_server_guard.py")
# Nothing of our own environment is passed on: it may hold keys, and settings for clients.
_ENVIRONMENT: Final = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TZ": "UTC"}
_LAST_LINES: Final = 15

# Below the ports that systems give to outgoing connections (32768 and up), so that none of those
# takes a server's port while it is down; a cluster's bus, 10000 above, stays below them as well.
_FIRST_PORT: Final = 15_000
_PORTS: Final = 7_000
_TRIES: Final = 200


@dataclass(frozen=True, slots=True)
class Account:
    """Whom a process runs as."""

    uid: int
    gid: int
    name: str


class ServerProcess:
    """A command that runs until it is told to end, or until this process is gone.

    A small program (`_server_guard`) starts it, passes signals on, and when this process
    ends without a word, even by SIGKILL, stops it and removes the folder `doomed`.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        log: Path,
        stop_signal: signal.Signals,
        account: Account | None = None,
        doomed: Path | None = None,
    ) -> None:
        """Start it; what it prints goes to the end of `log`."""
        user = f"{account.uid}:{account.gid}" if account else ""
        with log.open("ab") as output:
            self._guard = subprocess.Popen(  # noqa: S603 - programs that were looked up by us
                [
                    *(sys.executable, "-I", "-S", _GUARD),
                    *(str(os.getpid()), str(int(stop_signal)), user, str(doomed or "")),
                    *command,
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                cwd="/",
                env=_ENVIRONMENT,
                start_new_session=True,  # Ctrl-C in a terminal is for this process alone
            )
        if self._guard.stdin is None or self._guard.stdout is None:  # pragma: no cover
            msg = "no pipes"
            raise RuntimeError(msg)
        self._orders, self._answers = self._guard.stdin, self._guard.stdout
        # Zero when it could not be run: the log says why.
        self.pid = int(self._answers.readline() or 0)

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.wait(0) is None

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; SIGKILL, SIGSTOP and SIGCONT reach its children as well.

        It has been sent when this returns; one to a process that has ended goes nowhere.
        """
        if self.alive:
            with contextlib.suppress(BrokenPipeError):
                os.write(self._orders.fileno(), bytes([number]))
                self._answers.read(1)

    def wait(self, seconds: float) -> int | None:
        """Return its exit code, `None` when it still runs after `seconds`."""
        try:
            code = self._guard.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        self._orders.close()
        self._answers.close()
        return code


def free_port(*, with_bus: bool = False) -> int:
    """Return a port of the loopback interface that nobody uses now; somebody may a moment later.

    `with_bus`: the port 10000 above is free, too.

    Raises:
        OSError: two hundred were tried.
    """
    for _ in range(_TRIES):
        # Not from `random`: its seed may be the same in every test process.
        port = _FIRST_PORT + secrets.randbelow(_PORTS)
        if is_free(port) and not (with_bus and not is_free(port + 10_000)):
            return port
    msg = f"no free port among {_FIRST_PORT} to {_FIRST_PORT + _PORTS}"
    raise OSError(msg)


def is_free(port: int) -> bool:
    """Return whether a server could listen on the port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def log_since(log: Path, offset: int) -> str:
    """Return the last lines written to a log after its first `offset` bytes."""
    try:
        with log.open("rb") as file:
            file.seek(offset)
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.strip().splitlines()[-_LAST_LINES:])
