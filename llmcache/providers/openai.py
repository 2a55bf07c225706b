"""`OpenAIProvider`: OpenAI and every server that speaks its API."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from .. import __version__
from ..backends.base import Backend
from ..cache.control import CachePolicy
from ..cache.manager import CacheManager
from ..cache.opening import checked_options, open_cache
from ..errors import ConfigurationError
from ..keys import DEFAULT_RULES, KeyRules, Request, normalize_endpoint
from ..settings import environment
from ..types import MessageInput
from ..types._json import Json
from .cached import CachedProvider
from .http import HTTPTransport
from .openai_call import ChatCall, Delivery, EmbeddingCall
from .openai_chat import ChatDialect, chat_body
from .openai_embeddings import embedding_body, embedding_inputs
from .outgoing import lowered
from .retry import Retry, check_time_out

__all__ = ["OpenAIProvider"]

_BASE_URL: Final = "https://api.openai.com/v1"
_NATIVE_HOST: Final = "api.openai.com"
_AZURE_SUFFIX: Final = ".openai.azure.com"
_PROVIDERS: Final[Mapping[str, str]] = {
    _NATIVE_HOST: "openai",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral",
    "api.deepseek.com": "deepseek",
    "api.together.xyz": "together",
    "api.x.ai": "x-ai",
    "api.perplexity.ai": "perplexity",
    "api.cerebras.ai": "cerebras",
    "openrouter.ai": "openrouter",
}
# Headers that choose what the API does, and so belong to the key.
_API_HEADERS: Final = frozenset({"openai-beta"})
_TRAVEL: Final = frozenset({"attempts", "backoff", "timeout", "extra_headers"})


class OpenAIProvider(CachedProvider):
    """A client of the OpenAI API, with the cache in front.

    async with OpenAIProvider(model="gpt-5-nano", cache_dir="./cache") as provider:
        result = await provider.complete("Hello", cache_response=True)
    """

    def __init__(  # noqa: PLR0913 - the field's own signature; all but `model` have defaults
        self,
        model: str | Any = "gpt-5-nano",
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        organization: str | None = None,
        project: str | None = None,
        cache_backend: str | Backend | None = "fs",
        cache_dir: str | os.PathLike[str] = "./cache",
        pg_dsn: str | None = None,
        redis_url: str | None = None,
        redis_ttl_seconds: float | None = 86_400.0,
        compress_pg: bool = True,
        cache_collection: str | None = None,
        cache: CacheManager | None = None,
        cache_policy: CachePolicy | None = None,
        cache_options: Mapping[str, Any] | None = None,
        strict: bool = False,
        key_rules: KeyRules = DEFAULT_RULES,
        tenant: str | None = None,
        timeout: float | None = 600.0,
        attempts: int = 3,
        backoff: float = 1.0,
        headers: Mapping[str, str] | None = None,
        http_client: Any = None,
    ) -> None:
        """Connect nothing yet: the first call that needs the provider does.

        Args:
            model: the default model's name, or a model profile.
            api_key: defaults to `OPENAI_API_KEY`; servers that want none get none.
            base_url: defaults to `OPENAI_BASE_URL`, then OpenAI. A query is kept
                (Azure: `…/openai/deployments/<name>?api-version=…`).
            organization: OpenAI's; a namespace of keys.
            project: OpenAI's; a namespace of keys.
            cache_backend: `"fs"`, `"pg_redis"`, `"pg"`, `"redis"`, `"memory"`, a
                `Backend`, or `None` for no cache.
            cache_dir: folder of the `"fs"` backend; made by the first write.
            pg_dsn: the Postgres database; defaults to `PG_DSN`.
            redis_url: the Redis server; defaults to `REDIS_URL`.
            redis_ttl_seconds: how long Redis keeps an answer at most.
            compress_pg: `False` stores answers in Postgres and Redis as they are.
            cache_collection: where calls that name none keep their answers.
            cache: a cache to share; it is not closed with the provider.
            cache_policy: time to live and other defaults of every call.
            cache_options: more arguments of `CacheManager`, such as `memory_bytes`.
            strict: `async with`, `open` and `warm_cache` raise when the cache's servers
                do not work, instead of a warning from the first call. Calls never do.
            key_rules: which requests count as equal beyond the safe rules.
            tenant: a namespace of keys that others do not share.
            timeout: seconds without a byte, `None` for no limit. An `http_client`
                that was made with a time-out keeps it.
            attempts: tries in all.
            backoff: seconds before the second try; doubles.
            headers: more HTTP headers for every request.
            http_client: an `httpx.AsyncClient` (or httpx2's) to use; never closed.

        Raises:
            ConfigurationError: an unknown backend, a bad folder or collection name, a
                value of a type that cannot be.
            InvalidRequestError: `base_url` is not an http(s) URL; headers, attempts,
                backoff or time-out of the wrong shape.
        """
        self.model = _model_name(model)
        _check_texts(
            api_key=api_key,
            base_url=base_url,
            organization=organization,
            project=project,
            tenant=tenant,
        )
        self._base_url = (base_url or environment("OPENAI_BASE_URL") or _BASE_URL).rstrip("/")
        host = urlsplit(normalize_endpoint(self._base_url)).hostname or ""
        self._native = host == _NATIVE_HOST
        self.name = _PROVIDERS.get(host, "azure" if host.endswith(_AZURE_SUFFIX) else host)
        self._chat_url = _join(self._base_url, "chat/completions")
        self._chat_endpoint = normalize_endpoint(self._chat_url)
        self._embeddings_url = _join(self._base_url, "embeddings")
        self._embeddings_endpoint = normalize_endpoint(self._embeddings_url)
        self._api_key = api_key or environment("OPENAI_API_KEY")
        own_headers = lowered(headers or {}, "headers")
        self._api = {**_scope(organization, project), **_api_headers(own_headers)}
        self._rules = key_rules
        self._tenant = tenant
        self._retry = Retry(attempts, backoff)
        self._dialect = ChatDialect(self.name)
        wire_headers = self._wire_headers(host, organization, project)
        self._transport = HTTPTransport(
            self.name, {**wire_headers, **own_headers}, timeout=timeout, http_client=http_client
        )
        self._chat_delivery = Delivery(self._transport, self._chat_url, self._retry)
        self._embed_delivery = Delivery(self._transport, self._embeddings_url, self._retry)
        shared = cache is not None
        manager = cache or open_cache(
            cache_backend,
            store={
                "cache_dir": cache_dir,
                "pg_dsn": pg_dsn,
                "redis_url": redis_url,
                "redis_ttl_seconds": redis_ttl_seconds,
            },
            compress=compress_pg or cache_backend in ("fs", "memory"),
            collection=cache_collection,
            policy=cache_policy,
            **checked_options(cache_options),
        )
        manager.register(self._dialect)
        super().__init__(
            manager,
            owns_cache=not shared,
            enabled=shared or cache_backend is not None,
            strict=strict,
        )

    def __repr__(self) -> str:
        """Return what tells providers apart, and no credential."""
        where = normalize_endpoint(self._base_url)
        name = self._cache.backend.name if self._enabled else None
        return f"{type(self).__name__}(model={self.model!r}, base_url={where!r}, cache={name!r})"

    def _wire_headers(
        self, host: str, organization: str | None, project: str | None
    ) -> dict[str, str]:
        wire = {
            "accept": "application/json",
            "content-type": "application/json",
            "user-agent": f"llmcache/{__version__}",
        }
        if self._api_key:
            if host.endswith(_AZURE_SUFFIX):
                wire["api-key"] = self._api_key
            else:
                wire["authorization"] = f"Bearer {self._api_key}"
        if organization:
            wire["openai-organization"] = organization
        if project:
            wire["openai-project"] = project
        return wire

    def _call(self, messages: MessageInput, options: Mapping[str, Any]) -> ChatCall:
        model = self._model(options)
        body = chat_body(model, messages, options, native=self._native)
        request = self._request("chat", self._chat_endpoint, body, options)
        dialect, count = self._dialect, body.get("n")
        if count is not None and isinstance(count, int) and count > 1:
            dialect = ChatDialect(self.name, count)
        return ChatCall(request, dialect, self._delivery(self._chat_delivery, options))

    def _model(self, options: Mapping[str, Any]) -> str:
        model = options.get("model") or self.model
        return model if type(model) is str else _model_name(model)

    def _embed_call(self, inputs: Any, options: Mapping[str, Any]) -> EmbeddingCall:
        body = embedding_body(self._model(options), options)
        items, is_single = embedding_inputs(inputs)
        requests = [
            self._request("embedding", self._embeddings_endpoint, {**body, "input": item}, options)
            for item in items
        ]
        delivery = self._delivery(self._embed_delivery, options)
        return EmbeddingCall(requests, items, is_single, body, self.name, delivery)

    def _request(
        self, kind: str, endpoint: str, body: dict[str, Json], options: Mapping[str, Any]
    ) -> Request:
        extra = options.get("extra_headers")
        api = self._api
        if extra is not None:
            api = {**api, **_api_headers(lowered(extra, "extra_headers"))}
        return Request(kind, endpoint, body, api, self._tenant, options.get("salt"), self._rules)

    def _delivery(self, usual: Delivery, options: Mapping[str, Any]) -> Delivery:
        """Return how a call travels; nothing is made anew for a call that says nothing of it."""
        if _TRAVEL.isdisjoint(options):
            return usual
        extra, timeout = options.get("extra_headers"), options.get("timeout")
        check_time_out(timeout)
        retry = Retry(
            _given(options, "attempts", self._retry.attempts),
            _given(options, "backoff", self._retry.backoff),
        )
        headers = None if extra is None else lowered(extra, "extra_headers")
        return Delivery(usual.transport, usual.url, retry, headers, timeout)

    async def close(self) -> None:
        """Close the cache and the connections that this provider opened itself."""
        try:
            await super().close()
        finally:
            await self._transport.aclose()


def _model_name(model: Any) -> str:
    name = getattr(model, "model_name", model)
    if not isinstance(name, str) or not name:
        msg = f"model must be a name or a model profile, not {model!r}"
        raise ConfigurationError(msg)
    return name


def _check_texts(**values: object) -> None:
    for name, value in values.items():
        if value is not None and not isinstance(value, str):
            msg = f"{name} must be text, not {type(value).__name__}"
            raise ConfigurationError(msg)


def _join(base_url: str, path: str) -> str:
    parts = urlsplit(base_url)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{path}"))


def _scope(organization: str | None, project: str | None) -> dict[str, Json]:
    """Name an account's scope without naming the account: entries hold what is in the key."""
    if not organization and not project:
        return {}
    text = f"{organization or ''}\n{project or ''}"
    return {"scope": hashlib.sha256(text.encode()).hexdigest()}


def _api_headers(headers: Mapping[str, str]) -> dict[str, Json]:
    return {name: value for name, value in headers.items() if name in _API_HEADERS}


def _given(options: Mapping[str, Any], name: str, usual: Any) -> Any:
    value = options.get(name)
    return usual if value is None else value
