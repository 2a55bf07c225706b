"""A real PgBouncer in transaction mode, in front of a Postgres of the tests."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

from llmcache.settings import environment
from llmcache.testing._server_folders import nobody
from llmcache.testing._server_process import Account
from llmcache.testing.servers import LocalServer, ServerEngine

_VARIABLE = "LLMCACHE_TEST_PGBOUNCER_URL"
_PATH = "/usr/local/sbin:/usr/sbin:/sbin"


def find_pgbouncer() -> ServerEngine | None:
    """Return the one that the environment names, or one that can be started here."""
    url = environment(_VARIABLE)
    if url:
        return ServerEngine("PgBouncer (environment)", url=url)
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path=_PATH)
    return ServerEngine("PgBouncer", program=Path(program)) if program else None


class PgBouncer(LocalServer):
    """It shares two connections among all its clients, by the transaction."""

    _kind: ClassVar[str] = "pgbouncer"

    def __init__(self, engine: ServerEngine, behind: str) -> None:
        """`behind` is the URL of a Postgres; user and password are the same."""
        super().__init__(engine, password=urlsplit(behind).password)
        self._behind = urlsplit(behind)

    def _make_url(self, port: int, password: str) -> str:
        return f"postgresql://{self._behind.username}:{password}@127.0.0.1:{port}/postgres"

    def _account(self) -> Account | None:
        return nobody()

    def _prepare(self, folder: Path) -> None:
        users = folder / "users.txt"
        users.touch(0o600)
        users.write_text(f'"{self._behind.username}" "{self._password}"\n')
        account = self._account()
        if account:
            shutil.chown(users, account.uid, account.gid)

    def _command(self, folder: Path, port: int) -> list[str | Path]:
        file = folder / "pgbouncer.ini"
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": port,
            "unix_socket_dir": "",
            "auth_type": "scram-sha-256",
            "auth_file": folder / "users.txt",
            "pool_mode": "transaction",
            "default_pool_size": 2,
            "max_client_conn": 500,
        }
        lines = [f"{name} = {value}" for name, value in settings.items()]
        there = f"* = host={self._behind.hostname} port={self._behind.port}"
        file.write_text("\n".join(["[databases]", there, "[pgbouncer]", *lines, ""]))
        return [self._engine.program or "", file]

    def _is_ready(self, pid: int, said: str) -> bool:
        return "process up" in said
