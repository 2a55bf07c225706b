"""`OpenAIProvider`: OpenAI and every server that speaks its API."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final, Unpack
from urllib.parse import urlsplit

from ..errors import InvalidRequestError
from ..keys import normalize_endpoint
from ..options import check_switch
from ..settings import environment
from ..types import CompletionResult, MessageInput
from ..types._json import Json
from .base import Call
from .delivery import Delivery
from .embedding_call import EmbeddingCall
from .http_call import HTTPCall
from .http_provider import API, HTTPProvider, ProviderOptions, check_texts
from .openai_call import CHAT_FRAMING, UNASKED_FRAMING
from .openai_chat import CHAT_OPTIONS, ChatDialect, chat_body
from .openai_chat_messages import ChatServer
from .openai_embeddings import EMBEDDING_OPTIONS, embedding_body, embedding_inputs
from .openai_responses import RESPONSES_OPTIONS, ResponsesDialect, responses_body
from .openai_responses_echo import readdressed
from .outgoing import lowered
from .servers import AZURE_SUFFIX, gives_usage, server_name, server_origin

__all__ = ["OpenAIProvider"]

_BASE_URL: Final = "https://api.openai.com/v1"
_NATIVE_HOST: Final = "api.openai.com"
_ORGANIZATION: Final = "openai-organization"
_PROJECT: Final = "openai-project"
# Headers that choose what the API does, or for whom, and so belong to the key.
_API_HEADERS: Final = frozenset({"openai-beta", _ORGANIZATION, _PROJECT})
_DEPLOYMENT: Final = re.compile(r"/deployments/([^/?#]+)")
_RESPONSES_ONLY: Final = RESPONSES_OPTIONS - CHAT_OPTIONS


class OpenAIProvider(HTTPProvider):
    """A client of the OpenAI API, with the cache in front.

    async with OpenAIProvider(model="gpt-5-nano", cache_dir="./cache") as provider:
        result = await provider.complete("Hello", cache_response=True)
    """

    _fields = CHAT_OPTIONS | RESPONSES_OPTIONS | {"use_responses_api"}
    _embedding_fields = EMBEDDING_OPTIONS

    def __init__(
        self,
        model: str | Any = "gpt-5-nano",
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        organization: str | None = None,
        project: str | None = None,
        use_responses_api: bool = False,
        **options: Unpack[ProviderOptions],
    ) -> None:
        """Connect nothing yet: the first call that needs the provider does.

        Args:
            model: the default model's name, or a model profile.
            api_key: defaults to `OPENAI_API_KEY`; `""` for servers that want none.
            base_url: defaults to `OPENAI_BASE_URL`, then OpenAI. A query is kept
                (Azure: `…/openai/deployments/<name>?api-version=…`).
            organization: OpenAI's; a namespace of keys.
            project: OpenAI's; a namespace of keys.
            use_responses_api: ask the Responses API instead of chat completions; a call
                can say otherwise.
            options: where answers are kept, and how requests travel: `ProviderOptions`.

        Raises:
            ConfigurationError, InvalidRequestError, TypeError: as `HTTPProvider`.
        """
        check_switch("use_responses_api", use_responses_api)
        check_texts(api_key=api_key, base_url=base_url, organization=organization, project=project)
        url = (base_url or environment("OPENAI_BASE_URL") or _BASE_URL).rstrip("/")
        host = urlsplit(normalize_endpoint(url)).hostname or ""
        self._native = host == _NATIVE_HOST or host.endswith(AZURE_SUFFIX)
        deployment = _DEPLOYMENT.search(url) if host.endswith(AZURE_SUFFIX) else None
        self._deployment = deployment and deployment[1]
        self._framing = UNASKED_FRAMING if gives_usage(host) else CHAT_FRAMING
        name = server_name(host)
        origin = server_origin(url)
        self._dialect = ChatDialect(name, origin=origin)
        self._responses_dialect = ResponsesDialect(name, origin)
        self._chat_server = ChatServer.of(name, origin)
        self._responses_server = ChatServer.of(name, origin, responses=True)
        key = environment("OPENAI_API_KEY") if api_key is None else api_key
        headers = _wire_headers(host, key)
        if organization:
            headers[_ORGANIZATION] = organization
        if project:
            headers[_PROJECT] = project
        given = {**headers, **lowered(options.get("headers") or {}, "headers")}
        self._account = {name: given[name] for name in (_ORGANIZATION, _PROJECT) if name in given}
        api = API(name, url, headers, _scope(organization, project), _API_HEADERS)
        super().__init__(model, api, [self._dialect, self._responses_dialect], options)
        self._use_responses = use_responses_api
        self._chat = Delivery(self._transport, self._url("chat/completions"), self._retry)
        self._chat_endpoint = normalize_endpoint(self._chat.url)
        self._responses = Delivery(self._transport, self._url("responses"), self._retry)
        self._responses_endpoint = normalize_endpoint(self._responses.url)
        self._embeddings = Delivery(self._transport, self._url("embeddings"), self._retry)
        self._embeddings_endpoint = normalize_endpoint(self._embeddings.url)

    def _version_headers(self, headers: Mapping[str, str]) -> dict[str, Json]:
        found = super()._version_headers(headers)
        named = {name: found.pop(name) for name in (_ORGANIZATION, _PROJECT) if name in found}
        if named:
            account = {**self._account, **named}
            scope = _scope(account.get(_ORGANIZATION), account.get(_PROJECT))
            found |= scope or {"scope": ""}  # an empty header undoes what the provider has
        return found

    def _call(self, messages: MessageInput, options: Mapping[str, Any]) -> HTTPCall:
        chosen = options.get("use_responses_api")
        if chosen is not None:
            check_switch("use_responses_api", chosen)
        if self._use_responses if chosen is None else chosen:
            return self._responses_call(messages, options)
        if not _RESPONSES_ONLY.isdisjoint(options):
            _refuse(options)
        model = self._model(options)
        body = chat_body(
            model,
            messages,
            options,
            native=self._native,
            deployment=self._deployment,
            server=self._chat_server,
        )
        request = self._request("chat", self._chat_endpoint, body, options)
        dialect, travel = self._dialect, self._travel(self._chat, options)
        if "n" in body or "stream_options" in body:
            dialect = _expecting(body, dialect)
        return HTTPCall(request, dialect, travel, self._framing)

    def _responses_call(self, messages: MessageInput, options: Mapping[str, Any]) -> HTTPCall:
        model = self._model(options)
        body = responses_body(model, messages, options, self._responses_server)
        request = self._request("responses", self._responses_endpoint, body, options)
        return HTTPCall(request, self._responses_dialect, self._travel(self._responses, options))

    def _delivered(self, call: Call, result: CompletionResult) -> CompletionResult:
        if call.request.kind != "responses":
            return result
        if result.samples:
            own = [self._delivered(call, sample) for sample in result.samples]
            return own[0].with_samples(own)
        is_hit = result.cache is not None and result.cache.hit
        return readdressed(result, call.request.body) if is_hit else result

    def _embed_call(self, inputs: Any, options: Mapping[str, Any]) -> EmbeddingCall:
        body = embedding_body(self._model(options), options)
        items, is_single = embedding_inputs(inputs)
        requests = [
            self._request("embedding", self._embeddings_endpoint, {**body, "input": item}, options)
            for item in items
        ]
        delivery = self._travel(self._embeddings, options)
        return EmbeddingCall(requests, items, is_single, body, self.name, delivery)


def _expecting(body: Mapping[str, Any], usual: ChatDialect) -> ChatDialect:
    """Return who knows how many choices a stream has, and whether its usage may be missing.

    A stream of which no usage was wanted is stored where the server gave it nevertheless:
    others, who ask the same, want it.
    """
    count, stated = body.get("n"), body.get("stream_options")
    choices = count if isinstance(count, int) and count > 1 else 1
    unasked = isinstance(stated, Mapping) and stated.get("include_usage") is False
    if choices == 1 and not unasked:
        return usual
    return ChatDialect(usual.provider, choices, usual.origin, needs_usage=unasked)


def _refuse(options: Mapping[str, Any]) -> None:
    for name in sorted(_RESPONSES_ONLY & options.keys()):
        if options[name] is not None:
            reason = "is an option of the Responses API: ask it with use_responses_api=True"
            raise InvalidRequestError(name, reason)


def _wire_headers(host: str, api_key: str | None) -> dict[str, str]:
    if not api_key:
        return {}
    if host.endswith(AZURE_SUFFIX):
        return {"api-key": api_key}
    return {"authorization": f"Bearer {api_key}"}


def _scope(organization: str | None, project: str | None) -> dict[str, Json]:
    """Name an account's scope without naming the account: entries hold what is in the key."""
    if not organization and not project:
        return {}
    text = f"{organization or ''}\n{project or ''}"
    return {"scope": hashlib.sha256(text.encode()).hexdigest()}
