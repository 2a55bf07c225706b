"""However the process ends that started a server, the server ends, too."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from local_support import eventually, exists, start_python

from llmcache.testing import RedisServer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

_STARTER = """
import os, signal, sys, time
from contextlib import ExitStack
from llmcache.testing import PostgresServer, RedisServer
with ExitStack() as stack:
    kinds = [RedisServer] if sys.argv[1] == "fork" else [PostgresServer, RedisServer]
    servers = [stack.enter_context(kind()) for kind in kinds]
    if sys.argv[1] == "fork":
        sibling = os.fork()
        if sibling == 0:
            time.sleep(60)
            os._exit(0)
        print(sibling, flush=True)
    for server in servers:
        print(server.pid, server._folder, flush=True)
    if sys.argv[1] == "exit":
        os._exit(1)
    time.sleep(60)
"""


@pytest.mark.parametrize("how", ["kill", "exit"])
def test_servers_and_folders_go_with_a_process_that_cannot_tidy_up(how: str) -> None:
    with start_python(_STARTER, how) as parent:
        assert parent.stdout is not None
        told = [parent.stdout.readline().split() for _ in range(2)]
        if how == "kill":
            assert all(exists(int(pid)) for pid, _ in told)
            parent.kill()
    for pid, folder in told:
        assert eventually(lambda pid=pid: not exists(int(pid)))
        assert eventually(lambda folder=folder: not Path(folder).exists())


def test_a_forked_sibling_does_not_keep_them() -> None:
    """It has a copy of the pipe whose end would tell."""
    with start_python(_STARTER, "fork") as parent:
        assert parent.stdout is not None
        sibling = int(parent.stdout.readline())
        try:
            pid, folder = parent.stdout.readline().split()
            parent.kill()
            assert eventually(lambda: not exists(int(pid)))
            assert eventually(lambda: not Path(folder).exists())
            assert exists(sibling)
        finally:
            os.kill(sibling, signal.SIGKILL)


def test_a_server_goes_with_its_guard() -> None:
    with RedisServer() as server:
        pid = server.pid
        assert pid is not None
        assert server._process is not None
        server._process._guard.kill()
        assert eventually(lambda: not exists(pid))
        assert not server.running
