"""A Redis of one's own on this machine, and a cluster of three."""

from __future__ import annotations

import json
import secrets
import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Final, Self

from ..errors import BackendUnavailableError, ConfigurationError
from ._local_server import LocalServer
from ._server_engines import ServerEngine, find_redis, first_engine

__all__ = ["RedisCluster", "RedisServer", "ask_redis"]

_SLOTS: Final = 16_384
_NODES: Final = 3
_AGREE: Final = 20.0
_BUS: Final = 10_000


class RedisServer(LocalServer):
    """A Redis (or Valkey) server for development and tests.

    with RedisServer() as server:
        ... server.url  # redis://:…@127.0.0.1:16379/0

    Every write is in its append-only file before it is answered, so that it survives a
    kill; with `durable` the file is flushed to disk every second, as Redis servers
    usually do it.
    """

    _kind: ClassVar[str] = "redis"

    def __init__(
        self,
        engine: ServerEngine | None = None,
        *,
        port: int | None = None,
        data_dir: Path | None = None,
        durable: bool = False,
        password: str | None = None,
    ) -> None:
        """Start nothing yet; `engine` is the first of `find_redis()` unless given.

        Raises:
            ConfigurationError: there is none.
        """
        engine = engine or first_engine("Redis", find_redis())
        super().__init__(engine, port=port, data_dir=data_dir, durable=durable, password=password)

    def _make_url(self, port: int, password: str) -> str:
        return f"redis://:{password}@127.0.0.1:{port}/0"

    def _prepare(self, folder: Path) -> None:
        (folder / "data").mkdir(0o700, exist_ok=True)

    def _settings(self, port: int) -> list[str]:
        return [
            "bind 127.0.0.1",
            f"port {port}",
            f"requirepass {self._password}",
            'save ""',
            "appendonly yes",
            f"appendfsync {'everysec' if self._durable else 'no'}",
        ]

    def _command(self, folder: Path, port: int) -> list[str | Path]:
        # A file and not arguments: those everybody on the machine can read.
        file = folder / "redis.conf"
        file.touch(0o600)
        where = json.dumps(str(folder / "data"), ensure_ascii=False)
        file.write_text("\n".join([*self._settings(port), f"dir {where}", ""]))
        return [self._engine.program or "", file]

    def _is_ready(self, pid: int, said: str) -> bool:  # noqa: ARG002 - Postgres needs it
        return "Ready to accept connections" in said


class _Node(RedisServer):
    """One of a cluster."""

    _with_bus: ClassVar[bool] = True

    def _settings(self, port: int) -> list[str]:
        more = [
            "cluster-enabled yes",
            "cluster-node-timeout 2000",
            "cluster-config-file nodes.conf",
        ]
        return [*super()._settings(port), *more]


class RedisCluster:
    """Three Redis servers that share the slots of a cluster, without replicas.

    with RedisCluster() as cluster:
        ... cluster.url, cluster.urls, cluster.nodes[0].kill()
    """

    def __init__(self, engine: ServerEngine | None = None) -> None:
        """Start nothing yet; `engine` is the first program that `find_redis()` finds.

        Raises:
            ConfigurationError: there is none, or it is a URL's.
        """
        engine = engine or first_engine("Redis", find_redis(programs_only=True))
        if engine.program is None:
            msg = f"{engine.name} is not ours to make a cluster of"
            raise ConfigurationError(msg)
        self.engine = engine.name
        # One for all: a client of a cluster knows one.
        password = secrets.token_urlsafe(18)
        self.nodes = tuple(_Node(engine, password=password) for _ in range(_NODES))
        self._password = password
        self._stack = ExitStack()

    @property
    def url(self) -> str:
        """Where its first node answers; a client learns the others from it."""
        return self.nodes[0].url

    @property
    def urls(self) -> tuple[str, ...]:
        """Where its nodes answer."""
        return tuple(node.url for node in self.nodes)

    def __enter__(self) -> Self:
        """Start all nodes, and wait until they agree that the cluster is whole."""
        with ExitStack() as stack:
            for node in self.nodes:
                stack.enter_context(node)
            self._join()
            self.wait_until_whole()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close all nodes."""
        self._stack.close()

    def wait_until_whole(self) -> None:
        """Wait until every node says that all slots are served: after a node's restart, say.

        Raises:
            BackendUnavailableError: they do not agree in 20 seconds.
        """
        until = time.monotonic() + _AGREE
        while not all(self._is_whole(node) for node in self.nodes):
            if time.monotonic() > until:
                msg = f"the nodes of {self.engine} do not agree"
                raise BackendUnavailableError(msg, backend="redis", operation="start")
            time.sleep(0.05)

    def _join(self) -> None:
        """Share the slots out and make the nodes known to each other: `redis-cli --cluster create`."""
        for number, node in enumerate(self.nodes):
            first, end = (_SLOTS * n // _NODES for n in (number, number + 1))
            # Not ADDSLOTSRANGE: Redis 6 has none.
            self._ask(node, "CLUSTER", "ADDSLOTS", *map(str, range(first, end)))
            self._ask(node, "CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
        for node in self.nodes[1:]:
            # Redis 6 has its bus there and nowhere else.
            bus = str(node.port + _BUS)
            self._ask(self.nodes[0], "CLUSTER", "MEET", "127.0.0.1", str(node.port), bus)

    def _is_whole(self, node: RedisServer) -> bool:
        told = self._ask(node, "CLUSTER", "INFO").decode()
        return "cluster_state:ok" in told and f"cluster_known_nodes:{_NODES}" in told

    def _ask(self, node: RedisServer, *words: str) -> Any:
        return ask_redis(node.port, self._password, words)


def ask_redis(port: int, password: str, words: Sequence[str]) -> Any:
    """Return what the Redis on a port of this machine answers to one command.

    Text is bytes, a number an int, nothing `None`. For starting and checking servers,
    which must work without a client library.

    Raises:
        BackendUnavailableError: it answered with an error.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(_encoded(["AUTH", password]) + _encoded(words))
        with connection.makefile("rb") as answers:
            _answer(answers)
            return _answer(answers)


def _encoded(words: Sequence[str]) -> bytes:
    """Return a command in RESP: https://redis.io/docs/latest/develop/reference/protocol-spec/."""
    parts = [f"*{len(words)}\r\n".encode()]
    for word in words:
        data = word.encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


def _answer(stream: Any) -> Any:
    line = stream.readline().rstrip(b"\r\n")
    kind, rest = line[:1], line[1:]
    if kind == b"+":
        return rest
    if kind == b":":
        return int(rest)
    if kind == b"$":
        return stream.read(int(rest) + 2)[:-2] if int(rest) >= 0 else None
    if kind == b"*":
        return [_answer(stream) for _ in range(int(rest))]
    msg = rest.decode(errors="replace") or "no answer"
    raise BackendUnavailableError(msg, backend="redis", operation="command")
