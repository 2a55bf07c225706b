"""A Redis, a Redis behind Sentinel, or a Redis Cluster: one client, one translation of errors."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import AsyncGenerator, Generator, Sequence
from importlib import resources
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from ..errors import BackendUnavailableError, ConfigurationError, MissingExtraError
from ._loop_bound import LoopBound
from ._redis_readers import Readers
from ._urls import has_numbered_ports

__all__ = ["RedisClient", "check_url"]

_SINGLE: Final = ("redis", "rediss", "unix")
_SENTINEL: Final = ("redis+sentinel", "rediss+sentinel")
_CLUSTER: Final = ("redis+cluster", "rediss+cluster")
_SENTINEL_PORT: Final = 26379


def check_url(url: object) -> None:
    """Do nothing when `url` is one of Redis.

    Raises:
        ConfigurationError: it is not. The URL is not repeated: it may hold a password.
    """
    scheme = url.partition(":")[0] if isinstance(url, str) else type(url).__name__
    known = (*_SINGLE, *_SENTINEL, *_CLUSTER)
    if scheme not in known:
        msg = f"redis_url must start with {', '.join(known)}, not {scheme!r}"
        raise ConfigurationError(msg)
    if not has_numbered_ports(str(url)):
        msg = "redis_url cannot be read: a port is no number, or the password needs quoting"
        raise ConfigurationError(msg)


class _Opened:
    """The client of a loop, and what was made for it."""

    def __init__(self, client: Any, turns: int | None) -> None:
        self.client = client
        # `None`: what is read goes through the client.
        self.readers: Readers | None = None
        self.scripts: dict[str, Any] = {}
        self.opening = asyncio.Lock()
        self.turns = None if turns is None else asyncio.Semaphore(turns)


class RedisClient:
    """A client that connects when it is first used.

    - `redis://`, `rediss://`, `unix://`: one server.
    - `redis+sentinel://[user:password@]host:port,host:port/<service>[/<db>]`.
    - `redis+cluster://host:port`: any node of a cluster; `rediss+…` with TLS.
    """

    def __init__(self, url: str, *, given: Any, timeout: float, max_connections: int) -> None:
        """`given` is a client that was passed in: it is used as it is, and never closed."""
        self._url = url
        self._given = given
        self._timeout = timeout
        self._most = max_connections
        # A cluster's client has no connections to wait for: it fails when all are in use.
        turns = max_connections if _is_cluster(url) else None
        self._bound = LoopBound(lambda: _Opened(given, turns))

    @contextlib.asynccontextmanager
    async def use(self, operation: str) -> AsyncGenerator[Any, None]:
        """Yield the client; what it raises becomes ours.

        Raises:
            BackendUnavailableError: the server cannot be reached, or refused.
        """
        with translated(operation):
            opened = self._bound.get()
            client = opened.client or await self._opened()
            if opened.turns is None:
                yield client
            else:
                async with opened.turns:
                    yield client

    async def mget(self, operation: str, places: Sequence[str]) -> Sequence[bytes | None]:
        """Return the values at `places`, of which a cluster must have all on one node.

        Raises:
            BackendUnavailableError: as `use`.
        """
        opened = self._bound.get()
        readers = opened.readers
        if readers is None:
            async with self.use(operation) as client:
                if opened.readers is None:
                    values: Sequence[bytes | None] = await client.mget(places)
                    return values
                readers = opened.readers
        try:
            return await readers.mget(places)
        except Exception as error:
            ours = _ours(operation, error)
            if ours is None:
                raise
            raise ours from error

    async def run(
        self, operation: str, name: str, places: Sequence[str], arguments: Sequence[Any]
    ) -> Any:
        """Return what the script `lua/<name>.lua` returns; a server that lacks it is given it."""
        async with self.use(operation) as client:
            scripts = self._bound.get().scripts
            script = scripts.get(name)
            if script is None:
                script = scripts[name] = client.register_script(_source(name))
            return await script(keys=places, args=arguments)

    async def aclose(self) -> None:
        """Close the client if it is ours."""
        opened = self._bound.get()
        client, opened.client = opened.client, self._given
        readers, opened.readers = opened.readers, None
        opened.scripts.clear()
        await self.close(client)
        if readers is not None:
            with contextlib.suppress(BackendUnavailableError), translated("close"):
                await readers.aclose()

    async def separate(self) -> Any:
        """Return a client with connections of its own, for who listens long; to be closed by `close`."""
        if self._given is not None:
            return self._given
        client = self._connected()
        if _is_cluster(self._url):
            await client.initialize()
        return client

    async def close(self, client: Any) -> None:
        """Close `client`, if it is one and was not passed in."""
        if client is not None and client is not self._given:
            with contextlib.suppress(BackendUnavailableError), translated("close"):
                for each in (client, *_sentinels(client)):
                    await each.aclose()

    async def _opened(self) -> Any:
        opened = self._bound.get()
        async with opened.opening:
            if opened.client is None:
                client = self._connected()
                if opened.turns is not None:
                    # Many that come at once to one that is not ready break its connections.
                    await client.initialize()
                else:
                    lost = _driver().ConnectionError
                    opened.readers = Readers(client.connection_pool, lost, self._timeout)
                opened.client = client
        return opened.client

    def _connected(self) -> Any:
        scheme = urlsplit(self._url).scheme
        driver = _driver()
        options: dict[str, Any] = {
            "socket_timeout": self._timeout,
            "socket_connect_timeout": self._timeout,
            "max_connections": self._most,
        }
        if scheme in _SENTINEL:
            return _behind_sentinel(driver, self._url, options)
        if scheme in _CLUSTER:
            plain = self._url.replace("+cluster", "", 1)
            return driver.asyncio.RedisCluster.from_url(plain, **options)
        # Who finds every connection in use waits for one.
        pool = driver.asyncio.BlockingConnectionPool.from_url(
            self._url, timeout=self._timeout, **options
        )
        return driver.asyncio.Redis.from_pool(pool)


def _sentinels(client: Any) -> Sequence[Any]:
    """Return the clients of the Sentinels that `client` asks; its `aclose` leaves them open."""
    pool = getattr(client, "connection_pool", None)
    manager = getattr(pool, "sentinel_manager", None)
    return manager.sentinels if manager is not None else ()


def _is_cluster(url: str) -> bool:
    return urlsplit(url).scheme in _CLUSTER


def _source(name: str) -> str:
    return resources.files("llmcache.backends").joinpath("lua", f"{name}.lua").read_text("utf-8")


def _behind_sentinel(driver: Any, url: str, options: dict[str, Any]) -> Any:
    parts = urlsplit(url)
    service, _, db = parts.path.strip("/").partition("/")
    if not service:
        msg = "redis_url: a Sentinel's URL ends in the service's name, as in …:26379/mymaster"
        raise ConfigurationError(msg)
    login, _, hosts = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    sentinels = [_host_and_port(place) for place in hosts.split(",")]
    if password:
        options |= {"username": user or None, "password": password}
    if parts.scheme.startswith("rediss"):
        options["ssl"] = True
    asked = dict(parse_qsl(parts.query))
    sentinel = driver.asyncio.Sentinel(
        sentinels, sentinel_kwargs={"password": asked.get("sentinel_password")}, **options
    )
    return sentinel.master_for(service, db=int(db or 0))


def _host_and_port(place: str) -> tuple[str, int]:
    host, _, port = place.rpartition(":")
    return (host, int(port)) if host else (port, _SENTINEL_PORT)


@contextlib.contextmanager
def translated(operation: str) -> Generator[None, None, None]:
    """Turn what redis-py raises into ours."""
    try:
        yield
    except Exception as error:
        ours = _ours(operation, error)
        if ours is None:
            raise
        raise ours from error


def _ours(operation: str, error: Exception) -> BackendUnavailableError | ConfigurationError | None:
    """Return our error for one that redis-py raised; `None` for any other."""
    driver = _driver()
    if not isinstance(error, (driver.RedisError, OSError, TimeoutError)):
        return None
    text = str(error) or type(error).__name__
    kinds = driver.exceptions
    for kind, said, hint in (
        (kinds.AuthenticationError, "", "check the user and password in redis_url"),
        (kinds.NoPermissionError, "", "the user needs this right, for keys and for scripts"),
        (kinds.ReadOnlyError, "", "redis_url must name the primary, not a replica of it"),
        (kinds.ResponseError, "DB index", "name a database in redis_url that the server has"),
    ):
        if isinstance(error, kind) and said in text:
            if operation == "open":
                return ConfigurationError(f"Redis: {text}; {hint}")
            text += f" ({hint})"
            break
    if isinstance(error, kinds.OutOfMemoryError):
        text += " (Redis is full and may evict nothing: set maxmemory-policy allkeys-lru)"
    return BackendUnavailableError(text, backend="redis", operation=operation)


def _driver() -> Any:
    try:
        importlib.import_module("redis.asyncio")
        return importlib.import_module("redis")
    except ImportError as error:
        raise MissingExtraError("cache_backend='redis'", "redis") from error
