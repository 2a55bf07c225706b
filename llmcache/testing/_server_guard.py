"""A program that stands between a server and whoever started it, and outlives neither.

    python _server_guard.py STARTER STOP_SIGNAL USER FOLDER COMMAND…

Each byte on standard input is a signal for the server, and answered when it is sent. When standard input ends, or the
starter is gone (killed, so that it could not tidy up), the server is stopped and FOLDER
removed, unless it is empty. USER is `uid:gid` to run as, or empty. The server's number is
printed once it runs, and its exit code is this program's. Nothing of a server is left
behind when this ends: on Linux its orphans are adopted and killed, too.

It is run by its path with nothing but the standard library: it starts in 15 ms.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

__all__ = ["main"]

_PR_SET_PDEATHSIG: Final = 1  # include/uapi/linux/prctl.h
_PR_SET_CHILD_SUBREAPER: Final = 36
_GRACE: Final = 5.0
_LOOK: Final = 1.0
_COULD_NOT_RUN: Final = 127
# A machine that stands still does so with all processes of a server; a polite request is for the
# first, and when that one is killed, the others are killed as its orphans.
_FOR_ALL: Final = frozenset({signal.SIGSTOP, signal.SIGCONT})


def main(arguments: list[str]) -> int:
    """Run the command until it ends or nobody wants it any more; return its exit code."""
    starter, stop_signal, user, folder, *command = arguments
    prctl = _prctl()
    prctl(_PR_SET_CHILD_SUBREAPER, 1)
    # The server's end is told to a pipe, so that one `select` waits for both sides.
    ended, wake = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(ended, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    uid, _, gid = user.partition(":")
    try:
        server = subprocess.Popen(  # noqa: S603 - what our own process asks for
            command,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            cwd="/",
            user=int(uid) if uid else None,
            group=int(gid) if gid else None,
            extra_groups=[] if uid else None,
            # After the change of user, which would clear it; there is one thread here.
            preexec_fn=lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),  # noqa: PLW1509
        )
    except OSError as error:
        sys.stderr.write(f"cannot run {command[0]}: {error}\n")
        return _COULD_NOT_RUN
    os.write(1, b"%d\n" % server.pid)
    wanted = _watch(server, int(starter), ended)
    if not wanted:
        _stop(server, int(stop_signal))
    _end_orphans()
    if not wanted and folder:
        shutil.rmtree(folder, ignore_errors=True)
    return server.returncode if server.returncode >= 0 else 128 - server.returncode


def _prctl() -> Callable[[int, int], object]:
    """Return Linux's `prctl` of two arguments; elsewhere something that does nothing."""
    if sys.platform != "linux":
        return lambda _option, _value: None
    call = ctypes.CDLL(None).prctl
    return lambda option, value: call(option, ctypes.c_ulong(value), 0, 0, 0)


def _watch(server: subprocess.Popen[bytes], starter: int, ended: int) -> bool:
    """Pass signals on until the server ends; return `False` when nobody wants it before that."""
    while server.poll() is None:
        ready, _, _ = select.select([0, ended], [], [], _LOOK)
        if ended in ready:
            os.read(ended, 4096)
        if 0 in ready:
            told = os.read(0, 1)
            if not told:
                return server.poll() is not None
            _send(server, told[0])
            with contextlib.suppress(BrokenPipeError):
                os.write(1, b".")
        # A copy of the pipe in a forked sibling keeps it open after the starter's death.
        if os.getppid() != starter:
            return False
    return True


def _send(server: subprocess.Popen[bytes], number: int) -> None:
    """Send a signal to the server; one that is like a machine's fate to its children, too."""
    server.send_signal(number)
    for pid in _descendants(server.pid) if number in _FOR_ALL else ():
        _kill(pid, number)


def _stop(server: subprocess.Popen[bytes], number: int) -> None:
    """End the server, by asking first."""
    _send(server, signal.SIGCONT)
    _send(server, number)
    try:
        server.wait(_GRACE)
    except subprocess.TimeoutExpired:
        _send(server, signal.SIGKILL)
        server.wait()


def _end_orphans() -> None:
    """Kill what a server left behind when it was killed itself, and wait until it is gone."""
    until = time.monotonic() + _GRACE
    while time.monotonic() < until:
        for pid in _children(os.getpid()):
            _kill(pid, signal.SIGKILL)
        try:
            gone, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not gone:
            time.sleep(0.005)


def _descendants(pid: int) -> list[int]:
    found = _children(pid)
    return [*found, *(further for child in found for further in _descendants(child))]


def _children(pid: int) -> list[int]:
    """Return the numbers of a process's children; none where the system does not tell."""
    try:
        return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _kill(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
