"""A Redis, a Redis behind Sentinel, or a Redis Cluster: one client, one translation of errors."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import AsyncGenerator, Generator, Sequence
from importlib import resources
from typing import Any

from ..errors import BackendUnavailableError, ConfigurationError, MissingExtraError
from ._circuit import StoreFullError
from ._loop_bound import LoopBound
from ._redis_readers import Readers
from ._redis_url import behind_sentinel, is_cluster, is_sentinel

__all__ = ["RedisClient", "check_client", "check_positive"]


def check_client(client: Any) -> None:
    """Do nothing when a client returns bytes.

    Raises:
        ConfigurationError: it decodes them. Entries are no text.
    """
    get_encoder = getattr(client, "get_encoder", None)
    if get_encoder is not None and get_encoder().decode_responses:
        msg = "client: make it without decode_responses=True: entries are bytes, and no text"
        raise ConfigurationError(msg)


def check_positive(name: str, value: Any) -> None:
    """Do nothing when a setting is a number of seconds above 0.

    Raises:
        ConfigurationError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        msg = f"{name} must be a number of seconds above 0, not {value!r}"
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
    - `redis+sentinel://[user:password@]host:port,host:port/<service>[/<db>]`, with the login of
      the Sentinels as `?sentinel_username=…&sentinel_password=…`.
    - `redis+cluster://host:port`: any node of a cluster.
    - `rediss+…`: with TLS, to the Sentinels as well.
    """

    def __init__(self, url: str, *, given: Any, timeout: float, max_connections: int) -> None:
        """`given` is a client that was passed in: it is used as it is, and never closed."""
        self._url = url
        self._given = given
        self._timeout = timeout
        self._most = max_connections
        # A cluster's client has no connections to wait for: it fails when all are in use.
        turns = max_connections if is_cluster(url) else None
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
        if is_cluster(self._url):
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
        driver = _driver()
        options: dict[str, Any] = {
            "socket_timeout": self._timeout,
            "socket_connect_timeout": self._timeout,
            "max_connections": self._most,
        }
        if is_sentinel(self._url):
            return _behind_sentinel(driver, self._url, options)
        if is_cluster(self._url):
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


def _source(name: str) -> str:
    return resources.files("llmcache.backends").joinpath("lua", f"{name}.lua").read_text("utf-8")


def _behind_sentinel(driver: Any, url: str, options: dict[str, Any]) -> Any:
    behind = behind_sentinel(url)
    # Who gives the Sentinels' connections anything gives them everything.
    patience = {name: options[name] for name in ("socket_timeout", "socket_connect_timeout")}
    sentinel = driver.asyncio.Sentinel(
        behind.sentinels,
        sentinel_kwargs={**patience, **behind.to_sentinels},
        **options,
        **behind.to_server,
    )
    return sentinel.master_for(behind.service, db=behind.db)


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
    # Before version 7, what a script is refused comes as an error of the script.
    if isinstance(error, kinds.OutOfMemoryError) or "OOM command not allowed" in text:
        text += " (Redis is full and may evict nothing: set maxmemory-policy allkeys-lru)"
        return StoreFullError(text, backend="redis", operation=operation)
    return BackendUnavailableError(text, backend="redis", operation=operation)


def _driver() -> Any:
    try:
        importlib.import_module("redis.asyncio")
        return importlib.import_module("redis")
    except ImportError as error:
        raise MissingExtraError("cache_backend='redis'", "redis") from error
