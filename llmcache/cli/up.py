"""`llmcache up`: a Postgres and a Redis of one's own, for as long as the command runs."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ..errors import BackendUnavailableError
from . import output
from .opening import AsJson

if TYPE_CHECKING:
    from ..testing.servers import LocalServer

__all__ = ["up"]

_DEFAULT: Final = Path(".llmcache/servers")
_LOOK: Final = 0.5
_LAST_PORT: Final = 65_535
# What says "enough": Ctrl-C, a process manager, a terminal that was closed.
_ENDING: Final = (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM))


def up(
    *,
    data_dir: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where the servers keep their data.")
    ] = _DEFAULT,
    pg_port: Annotated[
        int | None,
        typer.Option(
            metavar="PORT",
            min=1,
            max=_LAST_PORT,
            help="Postgres listens here. [default: the last one, else a free one]",
        ),
    ] = None,
    redis_port: Annotated[
        int | None,
        typer.Option(
            metavar="PORT",
            min=1,
            max=_LAST_PORT,
            help="Redis listens here. [default: the last one, else a free one]",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a Postgres and a Redis on this machine until Ctrl-C.

    For development. Prints their URLs, each with a password that was made up for the
    data folder, and stops both at the end. Data, passwords and ports are the same the
    next time. Nothing else can reach them: they listen on the loopback interface.
    """
    # Only here: no other command needs them, and Windows has none.
    from ..testing.servers import (  # noqa: PLC0415
        PostgresServer,
        RedisServer,
        find_postgres,
        find_redis,
        first_engine,
    )

    engines = (
        first_engine("Postgres", find_postgres(programs_only=True)),
        first_engine("Redis", find_redis(programs_only=True)),
    )
    folder = _own_folder(data_dir)
    postgres = PostgresServer(engines[0], port=pg_port, data_dir=folder / "postgres", durable=True)
    redis = RedisServer(engines[1], port=redis_port, data_dir=folder / "redis", durable=True)
    with _ending() as ended, postgres, redis:
        _show(postgres, redis, folder, as_json=as_json)
        while not ended.wait(_LOOK):
            for server in (postgres, redis):
                if not server.running:
                    msg = f"{server.engine} has ended by itself; its log is in {folder}"
                    raise BackendUnavailableError(msg)


@contextmanager
def _ending() -> Generator[threading.Event]:
    """Make what ends a command set an event instead: servers that start are not left half-way."""
    asked = threading.Event()
    before = {number: signal.signal(number, lambda *_: asked.set()) for number in set(_ENDING)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _own_folder(folder: Path) -> Path:
    """Return the folder, made if need be; a new one is not for a repository: it holds passwords."""
    folder = folder.expanduser()
    if not folder.exists():
        folder.mkdir(parents=True)
        (folder / ".gitignore").write_text("*\n")
    return folder


def _show(postgres: LocalServer, redis: LocalServer, folder: Path, *, as_json: bool) -> None:
    if as_json:
        document = {
            name: {"url": server.url, "port": server.port, "engine": server.engine}
            for name, server in (("postgres", postgres), ("redis", redis))
        }
        output.put_json({**document, "data_dir": str(folder)})
        return
    output.fields({s.engine: s.url for s in (postgres, redis)} | {"data": str(folder)})
    output.put("Ctrl-C stops both.")
