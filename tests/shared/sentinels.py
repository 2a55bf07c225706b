"""A server, its replica, and a Sentinel that promotes it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from llmcache.testing._redis_server import ask_redis
from llmcache.testing.servers import RedisServer, ServerEngine


def ask(server: RedisServer, *words: str) -> Any:
    """Return what a server answers to one command."""
    return ask_redis(server.port, urlsplit(server.url).password or "", words)


class Sentinel(RedisServer):
    """It watches one server under the name `main`, and decides alone."""

    _kind: ClassVar[str] = "sentinel"

    def __init__(self, engine: ServerEngine, watched: RedisServer) -> None:
        super().__init__(engine, password=urlsplit(watched.url).password)
        self._watched = watched.port

    def _make_url(self, port: int, password: str) -> str:
        return f"redis+sentinel://:{password}@127.0.0.1:{port}/main/0?sentinel_password={password}"

    def _settings(self, port: int) -> list[str]:
        return [
            "bind 127.0.0.1",
            f"port {port}",
            f"requirepass {self._password}",
            f"sentinel monitor main 127.0.0.1 {self._watched} 1",
            f"sentinel auth-pass main {self._password}",
            "sentinel down-after-milliseconds main 500",
            "sentinel failover-timeout main 3000",
        ]

    def _command(self, folder: Path, port: int) -> list[str | Path]:
        return [*super()._command(folder, port), "--sentinel"]

    def _is_ready(self, pid: int, said: str) -> bool:
        return "+monitor master main" in said


@contextmanager
def replicated(engine: ServerEngine) -> Iterator[tuple[RedisServer, RedisServer, Sentinel]]:
    """Yield a server, its replica, which has what the server has, and their Sentinel."""
    with ExitStack() as stack:
        first = stack.enter_context(RedisServer(engine))
        password = urlsplit(first.url).password
        second = stack.enter_context(RedisServer(engine, password=password))
        for server in (first, second):
            ask(server, "CONFIG", "SET", "masterauth", password or "")
        ask(first, "CONFIG", "SET", "repl-diskless-sync-delay", "0")
        ask(second, "REPLICAOF", "127.0.0.1", str(first.port))
        until = time.monotonic() + 30
        while b"master_link_status:up" not in ask(second, "INFO", "replication"):
            assert time.monotonic() < until, "the replica has not caught up"
            time.sleep(0.05)
        # The Sentinel asks the server for its replicas at once, and then every ten seconds.
        yield first, second, stack.enter_context(Sentinel(engine, first))
