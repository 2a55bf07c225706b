"""What a local Postgres and a local Redis have in common: folder, port, password, life and death."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Final, Self

from ..errors import BackendUnavailableError, ConfigurationError
from ._server_engines import ServerEngine
from ._server_folders import (
    lock_folder,
    read_line,
    temporary_folder,
    unreachable,
    write_line,
)
from ._server_process import Account, ServerProcess, free_port, is_free, log_since

__all__ = ["LocalServer"]

_START: Final = 30.0
_STOP: Final = 20.0
_LOOK: Final = 0.005
_TRIES: Final = 5
_IN_USE: Final = "already in use"


class LocalServer(ABC):
    """A server on the loopback interface, for as long as a `with` block lasts.

    Only who knows its password, which is made up, can use it; it cannot outlive this
    process, whatever ends that. All its methods wait until they are done, and none is
    for two threads at once.
    """

    _kind: ClassVar[str]
    _stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    _with_bus: ClassVar[bool] = False

    def __init__(
        self,
        engine: ServerEngine,
        *,
        port: int | None = None,
        data_dir: Path | None = None,
        durable: bool = False,
        password: str | None = None,
    ) -> None:
        """Start nothing yet.

        `port`: default a free one, the last one of `data_dir` if that is free.
        `data_dir`: default a temporary folder, which goes when the server is closed.
        `password`: default the one of `data_dir`, else made up; for a new `data_dir` only.
        `durable`: whether data must survive a power failure; a kill it survives always.
        """
        self.engine = engine.name
        self._engine = engine
        self._port = port
        self._chosen: int | None = None
        self._data_dir = data_dir
        self._durable = durable
        self._password = password or ""
        self._folder: Path | None = None
        self._temporary: Path | None = None
        self._lock: int | None = None
        self._process: ServerProcess | None = None

    # --- what it is ---------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where it answers, with its password; the same after a restart.

        Raises:
            RuntimeError: it has not been started.
        """
        return self._engine.url or self._make_url(self.port, self._password)

    @property
    def port(self) -> int:
        """The port of the loopback interface; the same after a restart.

        Raises:
            RuntimeError: it has not been started, or is not ours.
        """
        if self._chosen is None:
            msg = f"{self.engine}: no port of ours; it was not started here"
            raise RuntimeError(msg)
        return self._chosen

    @property
    def pid(self) -> int | None:
        """The number of its first process while it runs and is ours."""
        return self._process.pid if self._process is not None and self._process.alive else None

    @property
    def running(self) -> bool:
        """Whether it runs, or is not ours to run."""
        return self._engine.program is None or self.pid is not None

    @property
    def can_be_stopped(self) -> bool:
        """Whether the server is ours: one that a URL names is neither stopped nor killed."""
        return self._engine.program is not None

    # --- its life -----------------------------------------------------------------------------

    def __enter__(self) -> Self:
        """Start it."""
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def start(self) -> None:
        """Start it, or start it again on the same data and port, and wait until it answers.

        A server that runs stays as it is.

        Raises:
            BackendUnavailableError: it ended, or did not answer in 30 seconds; with the
                end of its log.
            ConfigurationError: the folder cannot be used.
        """
        if self.running:
            return
        fixed = self._chosen or self._port
        if fixed is not None and not is_free(fixed):
            raise self._failed(f"{self.engine}: port {fixed} is {_IN_USE}")
        folder = self._folder or self._open_folder()
        for left in reversed(range(_TRIES)):
            port = fixed or self._last_port(folder) or free_port(with_bus=self._with_bus)
            said = self._launch(folder, port)
            if said is None:
                self._chosen = port
                write_line(folder / "port", str(port))
                return
            # Somebody took the free port before the server did: there are others.
            if fixed is not None or left == 0 or _IN_USE not in said.lower():
                msg = (
                    f"{self.engine} did not start on port {port}:\n{said or '(no word in its log)'}"
                )
                raise self._failed(msg)

    def stop(self) -> None:
        """End it as its makers mean it to end; data and port stay."""
        self._own("stopped")
        if self._process is not None:
            self._process.signal(signal.SIGCONT)
            self._process.signal(self._stop_signal)
            if self._process.wait(_STOP) is None:
                self.kill()
            self._process = None

    def kill(self) -> None:
        """End it with SIGKILL, all its processes at once; data and port stay."""
        self._own("killed")
        if self._process is not None:
            self._process.signal(signal.SIGKILL)
            if self._process.wait(_STOP) is None:
                raise self._failed("it does not even end when it is killed")
            self._process = None

    def pause(self) -> None:
        """Freeze it: connections stay open, and nothing answers. `resume` ends that."""
        self._own("paused")
        if self._process is not None:
            self._process.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self._own("resumed")
        if self._process is not None:
            self._process.signal(signal.SIGCONT)

    def close(self) -> None:
        """Stop it, and remove its data unless they are in a folder that was named."""
        try:
            if self.can_be_stopped:
                self.stop()
        finally:
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None
            if self._temporary is not None:
                shutil.rmtree(self._temporary, ignore_errors=True)
            self._folder = self._temporary = None

    # --- what each kind says ------------------------------------------------------------------

    @abstractmethod
    def _make_url(self, port: int, password: str) -> str: ...

    @abstractmethod
    def _prepare(self, folder: Path) -> None:
        """Make what it needs before its first start in a folder."""

    @abstractmethod
    def _command(self, folder: Path, port: int) -> list[str | Path]:
        """Return the program and its arguments."""

    @abstractmethod
    def _is_ready(self, pid: int, said: str) -> bool:
        """Return whether it answers; `said` is the end of what it wrote to its log so far."""

    def _account(self) -> Account | None:
        """Whom it runs as; `None` is whoever we are."""
        return None

    # --- how it is done -----------------------------------------------------------------------

    def _open_folder(self) -> Path:
        account = self._account()
        if self._data_dir is None:
            folder = self._temporary = temporary_folder(self._kind, account)
        else:
            folder = self._data_dir.expanduser().absolute()
            folder.mkdir(0o711 if account else 0o700, parents=True, exist_ok=True)
            self._lock = lock_folder(folder)
        closed = unreachable(folder) if account else None
        if account and closed:
            msg = (
                f"root may not run {self.engine}, and {account.name}, who runs it, may not"
                f" enter {closed}: name another folder, or chmod o+x that one"
            )
            raise ConfigurationError(msg)
        secret = folder / "password"
        if not self._password:
            self._password = read_line(secret) or secrets.token_urlsafe(18)
        write_line(secret, self._password)
        if account:
            os.chown(secret, account.uid, account.gid)
        self._prepare(folder)
        self._folder = folder
        return folder

    def _launch(self, folder: Path, port: int) -> str | None:
        """Start the process; return `None` once it is ready, its last words when it is not."""
        log = folder / "server.log"
        before = log.stat().st_size if log.exists() else 0
        self._process = process = self._run(self._command(folder, port), folder)
        until = time.monotonic() + _START
        while time.monotonic() < until:
            # Looked at first: what it says afterwards, it says for good.
            alive = process.alive
            said = log_since(log, before)
            if not alive:
                break
            if self._is_ready(process.pid, said):
                return None
            time.sleep(_LOOK)
        else:
            said = f"{log_since(log, before)}\n(no answer in {_START:.0f} s)"
        self.kill()
        return said

    def _run(self, command: list[str | Path], folder: Path) -> ServerProcess:
        return ServerProcess(
            command,
            log=folder / "server.log",
            stop_signal=self._stop_signal,
            account=self._account(),
            doomed=self._temporary,
        )

    def _last_port(self, folder: Path) -> int | None:
        text = read_line(folder / "port")
        port = int(text) if text.isdecimal() else 0
        return port if 0 < port < 2**16 and is_free(port) else None

    def _own(self, what: str) -> None:
        if not self.can_be_stopped:
            msg = f"{self.engine} is not ours: it cannot be {what}"
            raise ConfigurationError(msg)

    def _failed(self, message: str) -> BackendUnavailableError:
        return BackendUnavailableError(message, backend=self._kind, operation="start")
