"""For your own tests: conformance suites, fakes, a local upstream, real Postgres and Redis.

The suites need pytest and pytest-asyncio, the state machine needs hypothesis; the servers
need their programs (`llmcache.testing.servers`); `FakeProvider` and the upstreams need
nothing. Names are loaded when they are first used.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from .._lazy import lazy_names

if TYPE_CHECKING:
    from .backends import BackendTests as BackendTests
    from .fake import FakeProvider as FakeProvider
    from .fake import FakeRequest as FakeRequest
    from .machine import BackendMachine as BackendMachine
    from .providers import ProviderTests as ProviderTests
    from .servers import PostgresServer as PostgresServer
    from .servers import RedisCluster as RedisCluster
    from .servers import RedisServer as RedisServer
    from .servers import ServerEngine as ServerEngine
    from .servers import find_postgres as find_postgres
    from .servers import find_redis as find_redis
    from .upstream import DemoUpstream as DemoUpstream
    from .upstream import Reply as Reply
    from .upstream import Upstream as Upstream
    from .upstream import UpstreamRequest as UpstreamRequest

_HOMES = {
    "BackendMachine": "machine",
    "BackendTests": "backends",
    "DemoUpstream": "upstream",
    "FakeProvider": "fake",
    "FakeRequest": "fake",
    "PostgresServer": "servers",
    "ProviderTests": "providers",
    "RedisCluster": "servers",
    "RedisServer": "servers",
    "Reply": "upstream",
    "ServerEngine": "servers",
    "Upstream": "upstream",
    "UpstreamRequest": "upstream",
    "find_postgres": "servers",
    "find_redis": "servers",
}

__all__ = [
    "BackendMachine",
    "BackendTests",
    "DemoUpstream",
    "FakeProvider",
    "FakeRequest",
    "PostgresServer",
    "ProviderTests",
    "RedisCluster",
    "RedisServer",
    "Reply",
    "ServerEngine",
    "Upstream",
    "UpstreamRequest",
    "find_postgres",
    "find_redis",
]

# Inside a test run, a failing assertion of a suite shows its values, as one of the test's own.
_pytest = sys.modules.get("pytest")
if _pytest is not None:
    for _name in ("_backend_powers", "backends", "machine", "providers"):
        _pytest.register_assert_rewrite(f"{__name__}.{_name}")

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
