"""HTTP connections that clients of one server share.

Providers of one server use one pool: opening a connection costs a TLS handshake, and a
pool per client would multiply the limit of connections. Credentials travel with each
request, and the pool keeps no cookie, so it has nothing of one client that another
could send.

A pool belongs to an event loop: its connections cannot be used, or closed, on another.
It is counted who uses it, and it is closed when the last one has closed.

Who names no `Connections` shares those of the running loop. They are found in one map
with weak keys, the only state of this package that belongs to no object of a caller's:
nothing else can join clients that know nothing of each other. It holds no pool alive
and dies with its loop, so loops, and tests, share nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.util
import weakref
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final, Self
from urllib.parse import urlsplit

from ..errors import ConfigurationError, MissingExtraError

__all__ = ["Connections", "Pool", "close_all", "loop_connections"]

# Half of the Stainless SDKs' number: the usual limit of open files is 1,024, and httpcore looks
# at every connection before and after each request. 3,000 calls of a second, all at once, take
# 17.7 s with 200 connections, 10.4 s with 500 and 7.8 s with 1,000; the loop stands still for at
# most 0.14 s, 0.4 s and 0.85 s.
_MAX_CONNECTIONS: Final = 500
_MAX_KEEPALIVE: Final = 100


class Pool:
    """Connections to one server on one event loop, and those who use them."""

    def __init__(self, client: Any, library: Any, max_connections: int = 1) -> None:
        """`library` is the module that `client` comes from."""
        self.client = client
        self.library = library
        # Held by every request: the client never makes one wait, since each that waits is looked
        # at for every other.
        self.places = asyncio.Semaphore(max_connections)
        # Who is dropped without having closed counts no more.
        self.users: weakref.WeakSet[Any] = weakref.WeakSet()

    async def release(self, user: object) -> None:
        """Close the connections, unless somebody else uses them."""
        self.users.discard(user)
        if not self.users:
            await self.client.aclose()


class Connections:
    """Pools of connections, one per server and event loop, opened when they are first needed.

    async with Connections(http2=True) as connections:
        ours = OpenAIProvider(connections=connections)
        theirs = OpenAIProvider(api_key=their_key, connections=connections)
    """

    def __init__(
        self,
        *,
        max_connections: int = _MAX_CONNECTIONS,
        max_keepalive: int = _MAX_KEEPALIVE,
        http2: bool = False,
    ) -> None:
        """Open nothing yet.

        Args:
            max_connections: to one server; further requests wait.
            max_keepalive: how many stay open while nobody uses them.
            http2: speak HTTP/2 with servers that do; needs the `http2` extra.

        Raises:
            ConfigurationError: a number that is not above 0.
            MissingExtraError: `http2` without its extra.
        """
        if max_connections < 1 or max_keepalive < 1:
            msg = "max_connections and max_keepalive must be above 0"
            raise ConfigurationError(msg)
        if http2 and importlib.util.find_spec("h2") is None:
            raise MissingExtraError("HTTP/2", "http2")
        self._max_connections = max_connections
        self._max_keepalive = max_keepalive
        self._http2 = http2
        self._pools: weakref.WeakKeyDictionary[
            asyncio.AbstractEventLoop, weakref.WeakValueDictionary[str, Pool]
        ] = weakref.WeakKeyDictionary()

    def pool(self, base_url: str, user: object) -> Pool:
        """Return the running loop's pool for the server of `base_url`, and count `user` among its own."""
        loop = asyncio.get_running_loop()
        pools = self._pools.setdefault(loop, weakref.WeakValueDictionary())
        parts = urlsplit(base_url)
        # Without user info: whose connections these are is no part of where they lead.
        server = f"{parts.scheme.lower()}://{(parts.netloc.rpartition('@')[2]).lower()}"
        pool = pools.get(server)
        if pool is None or pool.client.is_closed:
            pool = pools[server] = self._opened()
        pool.users.add(user)
        return pool

    async def close_all(self) -> None:
        """Close every pool of the running loop, whoever uses it; a later request opens another."""
        pools = self._pools.get(asyncio.get_running_loop())
        for pool in [] if pools is None else list(pools.values()):
            await pool.client.aclose()

    async def __aenter__(self) -> Self:
        """Return self."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every pool."""
        await self.close_all()

    def _opened(self) -> Pool:
        library: Any = importlib.import_module("httpx")
        limits = library.Limits(
            max_connections=self._max_connections, max_keepalive_connections=self._max_keepalive
        )
        client = library.AsyncClient(
            limits=limits,
            follow_redirects=True,
            http2=self._http2,
            # A cookie is for the client that it was given to, and these are shared.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        )
        return Pool(client, library, self._max_connections)


_OF_LOOPS: Final[weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Connections]] = (
    weakref.WeakKeyDictionary()
)


def loop_connections() -> Connections:
    """Return the connections that clients on the running loop share when they name none."""
    return _OF_LOOPS.setdefault(asyncio.get_running_loop(), Connections())


async def close_all() -> None:
    """Close the connections that clients on the running loop share: for the end of a service.

    A request that comes later opens new ones.
    """
    with contextlib.suppress(KeyError):
        await _OF_LOOPS.pop(asyncio.get_running_loop()).close_all()
