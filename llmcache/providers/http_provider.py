"""What clients of HTTP APIs share: where they call, with which cache in front, how calls travel."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypedDict
from urllib.parse import urlsplit, urlunsplit

from .._version import __version__
from ..backends.base import Backend
from ..cache.control import CachePolicy
from ..cache.manager import CacheManager
from ..cache.opening import checked_options, open_cache
from ..errors import ConfigurationError, InvalidRequestError
from ..keys import DEFAULT_RULES, KeyRules, Request, normalize_endpoint
from ..timeouts import Timeouts
from ..types._json import Json
from .base import Dialect
from .cached import CachedProvider
from .connections import Connections
from .delivery import Delivery
from .http import HTTPTransport
from .outgoing import lowered
from .retry import Retry

__all__ = ["API", "HTTPProvider", "ProviderOptions", "check_texts", "model_name"]

_TTL: Final = 86_400.0
_TIMEOUT: Final = 600.0
_ATTEMPTS: Final = 3
_BACKOFF: Final = 1.0
_TRAVEL: Final = frozenset(
    {"attempts", "backoff", "timeout", "extra_headers", "request_id", "stats"}
)
_CLIENT_REQUEST_ID: Final = "x-client-request-id"
# https://developers.openai.com/api/reference/overview: longer ones are refused.
_LONGEST_ID: Final = 512
_REQUEST_ID: Final = re.compile(rf"[!-~]{{1,{_LONGEST_ID}}}")


class ProviderOptions(TypedDict, total=False):
    """Arguments that every provider's constructor takes by name."""

    cache_backend: str | Backend | None
    """`"fs"`, `"pg_redis"`, `"pg"`, `"redis"`, `"memory"`, a `Backend`, or `None` for no cache.
    Default: `"fs"`."""
    cache_dir: str | os.PathLike[str]
    """Folder of the `"fs"` backend; made by the first write. Default: `./cache`."""
    pg_dsn: str | None
    """The Postgres database. Default: `PG_DSN`."""
    redis_url: str | None
    """The Redis server. Default: `REDIS_URL`."""
    redis_ttl_seconds: float | None
    """How long Redis keeps an answer at most. Default: a day."""
    compress_pg: bool
    """`False` stores answers in Postgres and Redis as they are. Default: `True`."""
    cache_collection: str | None
    """Where calls that name none keep their answers. Default: `default`."""
    cache: CacheManager | None
    """A cache to share; it is not closed with the provider."""
    cache_policy: CachePolicy | None
    """Time to live and other defaults of every call."""
    cache_options: Mapping[str, Any] | None
    """More arguments of `CacheManager`, such as `memory_bytes`."""
    strict: bool
    """`async with`, `open` and `warm_cache` raise when the cache's servers do not work, instead
    of a warning from the first call. Calls never do. Default: `False`."""
    key_rules: KeyRules
    """Which requests count as equal beyond the safe rules."""
    tenant: str | None
    """A namespace of keys that others do not share."""
    timeout: float | Timeouts | None
    """Seconds without a byte, `Timeouts(…)` for each phase, `None` for no limit. An
    `http_client` that was made with a time-out keeps it. Default: 600."""
    attempts: int
    """Tries in all. Default: 3."""
    backoff: float
    """Seconds before the second try; doubles. Default: 1."""
    headers: Mapping[str, str] | None
    """More HTTP headers for every request."""
    http_client: Any
    """An `httpx.AsyncClient` (or httpx2's) to use; never closed."""
    connections: Connections | None
    """Pools of connections to share. Default: those that clients on the event loop share."""
    sleep: Callable[[float], Awaitable[None]]
    """Waits between two attempts; a test gives one that does not. Default: `asyncio.sleep`."""


@dataclass(frozen=True, slots=True)
class API:
    """The wire API of one server."""

    provider: str
    """Names the server in errors, statistics and price look-ups."""
    base_url: str
    headers: Mapping[str, str]
    """Lower-case names, credentials included; the caller's own headers go over them."""
    versions: Mapping[str, Json] = field(default_factory=dict)
    """What counts in the key beside the body: versions of the API, namespaces of an account."""
    version_headers: frozenset[str] = frozenset()
    """The headers that a caller may give and that count in the key: they choose what the API does."""


class HTTPProvider(CachedProvider):
    """A client of one server: an `API`, a cache, and connections that are made when needed."""

    def __init__(
        self, model: Any, api: API, dialects: Sequence[Dialect], options: ProviderOptions
    ) -> None:
        """Connect nothing yet. `dialects` are those in which answers may be stored.

        Raises:
            ConfigurationError: an unknown backend, a bad folder or collection name, a
                value of a type that cannot be.
            InvalidRequestError: the base URL is not an http(s) URL; headers, attempts,
                backoff or time-out of the wrong shape.
            TypeError: an option that no provider has.
        """
        _check_known(type(self).__name__, options)
        check_texts(tenant=options.get("tenant"))
        self.name = api.provider
        self.model = model_name(model)
        self._api_description = api
        self._base_url = api.base_url
        own_headers = lowered(options.get("headers") or {}, "headers")
        self._versions = {**api.versions, **self._version_headers(own_headers)}
        self._rules = options.get("key_rules", DEFAULT_RULES)
        self._tenant = options.get("tenant")
        self._retry = Retry(options.get("attempts", _ATTEMPTS), options.get("backoff", _BACKOFF))
        self._transport = HTTPTransport(
            self.name,
            {**_PLAIN_HEADERS, **api.headers, **own_headers},
            timeout=options.get("timeout", _TIMEOUT),
            http_client=options.get("http_client"),
            connections=options.get("connections"),
            sleep=options.get("sleep", asyncio.sleep),
        )
        manager = options.get("cache") or _cache_of(options)
        for dialect in dialects:
            manager.register(dialect)
        shared = options.get("cache") is not None
        enabled = shared or options.get("cache_backend", "fs") is not None
        super().__init__(
            manager,
            owns_cache=not shared,
            enabled=enabled,
            strict=options.get("strict", False),
        )

    def __repr__(self) -> str:
        """Return what tells providers apart, and no credential."""
        where = normalize_endpoint(self._base_url)
        name = self._cache.backend.name if self._enabled else None
        return f"{type(self).__name__}(model={self.model!r}, base_url={where!r}, cache={name!r})"

    def _url(self, path: str) -> str:
        """Return where `path` is; the base URL's query stays."""
        parts = urlsplit(self._base_url)
        return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{path}"))

    def _model(self, options: Mapping[str, Any]) -> str:
        model = options.get("model") or self.model
        return model if type(model) is str else model_name(model)

    def _request(
        self, kind: str, endpoint: str, body: dict[str, Json], options: Mapping[str, Any]
    ) -> Request:
        salt = options.get("salt")
        versions = self._versions
        if options.get("extra_headers") is not None:
            versions = self._all_versions(options)
        return Request(kind, endpoint, body, versions, self._tenant, salt, self._rules)

    def _all_versions(self, options: Mapping[str, Any]) -> dict[str, Json]:
        """Return the versions of what answers a call, with those that its own headers choose."""
        extra = options.get("extra_headers")
        if extra is None:
            return self._versions
        own = self._version_headers(lowered(extra, "extra_headers"))
        return {**self._versions, **own}

    def _version_headers(self, headers: Mapping[str, str]) -> dict[str, Json]:
        known = self._api_description.version_headers
        return {name: value for name, value in headers.items() if name in known}

    def _travel(self, usual: Delivery, options: Mapping[str, Any]) -> Delivery:
        """Return how a call travels; nothing is made anew for a call that says nothing of it."""
        if _TRAVEL.isdisjoint(options):
            return usual
        extra, timeout = options.get("extra_headers"), options.get("timeout")
        name, stats = options.get("request_id"), options.get("stats")
        retry = Retry(
            _given(options, "attempts", self._retry.attempts),
            _given(options, "backoff", self._retry.backoff),
        )
        headers = None if extra is None else lowered(extra, "extra_headers")
        if name is not None:
            headers = {**(headers or {}), _CLIENT_REQUEST_ID: _checked_id(name)}
        phases = None if timeout is None else Timeouts.of(timeout)
        return Delivery(usual.transport, usual.url, retry, headers, phases, stats)

    async def close(self) -> None:
        """Close the cache and the connections that this provider opened itself."""
        try:
            await super().close()
        finally:
            await self._transport.aclose()


_PLAIN_HEADERS: Final = {
    "accept": "application/json",
    "content-type": "application/json",
    "user-agent": f"llmcache/{__version__}",
}


def _cache_of(options: ProviderOptions) -> CacheManager:
    backend = options.get("cache_backend", "fs")
    return open_cache(
        backend,
        store={
            "cache_dir": options.get("cache_dir", "./cache"),
            "pg_dsn": options.get("pg_dsn"),
            "redis_url": options.get("redis_url"),
            "redis_ttl_seconds": options.get("redis_ttl_seconds", _TTL),
        },
        compress=options.get("compress_pg", True) or backend in ("fs", "memory"),
        collection=options.get("cache_collection"),
        policy=options.get("cache_policy"),
        **checked_options(options.get("cache_options")),
    )


def _check_known(name: str, options: Mapping[str, Any]) -> None:
    unknown = options.keys() - ProviderOptions.__optional_keys__
    if unknown:
        names = ", ".join(repr(one) for one in sorted(unknown))
        msg = f"{name}() got an unexpected keyword argument {names}"
        raise TypeError(msg)


def model_name(model: Any) -> str:
    """Return a model's name from itself or from its profile.

    Raises:
        ConfigurationError: it is neither.
    """
    name = getattr(model, "model_name", model)
    if not isinstance(name, str) or not name:
        msg = f"model must be a name or a model profile, not {model!r}"
        raise ConfigurationError(msg)
    return name


def check_texts(**values: object) -> None:
    """Do nothing when all `values` are text or `None`.

    Raises:
        ConfigurationError: one is not; it is named.
    """
    for name, value in values.items():
        if value is not None and not isinstance(value, str):
            msg = f"{name} must be text, not {type(value).__name__}"
            raise ConfigurationError(msg)


def _checked_id(name: Any) -> str:
    if not isinstance(name, str) or not _REQUEST_ID.fullmatch(name):
        reason = f"must be 1 to {_LONGEST_ID} visible ASCII characters, not {name!r:.80}"
        raise InvalidRequestError("request_id", reason)
    return name


def _given(options: Mapping[str, Any], name: str, usual: Any) -> Any:
    value = options.get(name)
    return usual if value is None else value
