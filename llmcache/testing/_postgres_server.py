"""A Postgres of one's own on this machine."""

from __future__ import annotations

import shutil
import signal
import sys
from pathlib import Path
from typing import ClassVar, Final

from ._local_server import LocalServer
from ._server_engines import ServerEngine, find_postgres, first_engine
from ._server_folders import nobody, unreachable
from ._server_process import Account, log_since

__all__ = ["PostgresServer"]

_INITDB: Final = 60.0
# The last line but none of `postmaster.pid`: LOCK_FILE_LINE_PM_STATUS in miscadmin.h.
_STATUS_LINE: Final = 7
# What only a power failure, or a crash of the machine, would need. Not among it: the write of the
# log before a commit is answered (`synchronous_commit`), which a kill needs.
_CARELESS: Final = (
    "fsync=off",
    "full_page_writes=off",
    "dynamic_shared_memory_type=mmap",  # shared memory that goes with the folder after a kill
)


class PostgresServer(LocalServer):
    """A Postgres server for development and tests.

    with PostgresServer() as server:
        ... server.url  # postgresql://postgres:…@127.0.0.1:15432/postgres

    Unless `durable`, it does not wait for the disk. Root may not run Postgres: `nobody`
    does it then, which needs a `data_dir` that everybody may enter (not read). It listens
    on TCP alone, so that no path is too long for it.
    """

    _kind: ClassVar[str] = "postgres"
    # "Fast": running transactions are rolled back, and the data are written out.
    _stop_signal: ClassVar[signal.Signals] = signal.SIGINT

    def __init__(
        self,
        engine: ServerEngine | None = None,
        *,
        port: int | None = None,
        data_dir: Path | None = None,
        durable: bool = False,
        password: str | None = None,
    ) -> None:
        """Start nothing yet; `engine` is the first of `find_postgres()` unless given.

        Raises:
            ConfigurationError: there is none.
        """
        engine = engine or first_engine("Postgres", find_postgres())
        super().__init__(engine, port=port, data_dir=data_dir, durable=durable, password=password)
        self._programs: Path | None = None

    def _make_url(self, port: int, password: str) -> str:
        return f"postgresql://postgres:{password}@127.0.0.1:{port}/postgres"

    def _account(self) -> Account | None:
        return nobody()

    def _prepare(self, folder: Path) -> None:
        data = folder / "data"
        if data.exists():
            return
        # Made aside and renamed: a half-made one is never taken for data.
        made = folder / "data.new"
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(0o700)
        account = self._account()
        if account:
            shutil.chown(made, account.uid, account.gid)
        locale = "C.UTF-8" if sys.platform == "linux" else "C"
        command: list[str | Path] = [
            *(self._folder_of_programs(folder) / "initdb", "-D", made),
            *(() if self._durable else ("--no-sync",)),
            *("-U", "postgres", "-A", "scram-sha-256", f"--pwfile={folder / 'password'}"),
            *(f"--locale={locale}", "--encoding=UTF8"),
        ]
        making = self._run(command, folder)
        code = making.wait(_INITDB)
        if code != 0:
            making.signal(signal.SIGKILL)
            making.wait(_INITDB)
            said = log_since(folder / "server.log", 0)
            raise self._failed(f"{self.engine} made no data folder (initdb: {code}):\n{said}")
        made.rename(data)

    def _command(self, folder: Path, port: int) -> list[str | Path]:
        settings = [
            "listen_addresses=127.0.0.1",
            f"port={port}",
            "unix_socket_directories=",
            "max_connections=200",
            "logging_collector=off",
            *(() if self._durable else _CARELESS),
        ]
        program = self._folder_of_programs(folder) / "postgres"
        return [program, "-D", folder / "data", *(x for item in settings for x in ("-c", item))]

    def _is_ready(self, pid: int, said: str) -> bool:  # noqa: ARG002 - Redis needs it
        """Look into the file that `pg_ctl` waits for; one of an earlier life has another number."""
        if self._folder is None:
            return False
        try:
            lines = (self._folder / "data" / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        ready = len(lines) > _STATUS_LINE and lines[_STATUS_LINE].strip() == "ready"
        return ready and lines[0].strip() == str(pid)

    def _folder_of_programs(self, folder: Path) -> Path:
        """Return where the programs are that the server's account may run.

        A virtual environment below a folder like /root is closed to `nobody`: of a wheel's
        programs and libraries (40 MB, 0.3 s) a copy is made, laid out as in the wheel.
        """
        if self._programs is None:
            program = self._engine.program
            if program is None:  # pragma: no cover - such a server is never started
                msg = "no program"
                raise RuntimeError(msg)
            self._programs = program.parent
            if self._account() and unreachable(program):
                self._programs = _copied(program.parent, folder / "program")
        return self._programs


def _copied(programs: Path, target: Path) -> Path:
    """Copy `…/<package>/<install>/bin` with its surroundings; return the copy of `bin`."""
    install = programs.parent
    package = install.parent
    shutil.rmtree(target, ignore_errors=True)
    copy = target / package.name / install.name
    shutil.copytree(install, copy, symlinks=True, ignore=shutil.ignore_patterns("include"))
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, target / libraries.name, symlinks=True)
    for path in (target, *target.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o755 if path.is_dir() else 0o444))
    return copy / programs.name
