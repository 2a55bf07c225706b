"""A process that is forked while its parent uses the servers: neither disturbs the other."""

from __future__ import annotations

import subprocess
import sys

from backend_support import ROOT

from llmcache.testing.servers import PostgresServer, RedisServer

_SCRIPT = """
import asyncio, gc, os, sys, warnings
from llmcache.backends import StoredEntry
from llmcache.backends.hybrid import HybridRedisPostgreSQLCache
warnings.simplefilter("ignore")  # that connections are left behind is the point
key = "v1:" + "0" * 64

async def main():
    shared = HybridRedisPostgreSQLCache(*sys.argv[1:])
    parts = (shared, shared.redis, shared.postgres)
    await shared.put("forked", [StoredEntry(key, b"data")])
    for part in parts:
        await part.get("forked", [key])
    child = os.fork()
    if not child:
        try:
            assert dict(asyncio.run(shared.get("forked", [key]))) == {key: b"data"}
            gc.collect()
        finally:
            os._exit(sys.exc_info()[0] is not None)
    while not os.waitpid(child, os.WNOHANG)[0]:
        await asyncio.sleep(0.01)
    for part in parts:
        async with asyncio.timeout(4):  # below the time-outs that would mend it
            assert dict(await part.get("forked", [key])) == {key: b"data"}
    await shared.aclose()

asyncio.run(main())
"""


def test_the_parents_connections_go_on(
    postgres_server: PostgresServer, redis_server: RedisServer
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, postgres_server.url, redis_server.url],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
