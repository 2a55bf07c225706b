"""Real Postgres and Redis servers on this machine, for tests and development.

    with PostgresServer() as postgres, RedisServer() as redis:
        ... postgres.url, redis.url

They take half a second, need no rights and no configuration, answer to a made-up
password on the loopback interface alone, and are gone when this process is, however it
ends. `stop`, `kill`, `pause` and `start` do to them what happens to servers.
`find_postgres` and `find_redis` list what there is; `RedisCluster` is three Redis servers
that share the slots. Never for production.

Windows has none of these servers: there, name running ones with LLMCACHE_TEST_PG_URL and
LLMCACHE_TEST_REDIS_URL.
"""

from __future__ import annotations

from ._local_server import LocalServer
from ._postgres_server import PostgresServer
from ._redis_server import RedisCluster, RedisServer
from ._server_engines import ServerEngine, find_postgres, find_redis, first_engine

__all__ = [
    "LocalServer",
    "PostgresServer",
    "RedisCluster",
    "RedisServer",
    "ServerEngine",
    "find_postgres",
    "find_redis",
    "first_engine",
]
