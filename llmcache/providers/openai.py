"""`OpenAIProvider`: OpenAI and every server that speaks its API."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, ClassVar, Final, Unpack
from urllib.parse import urlsplit

from ..keys import normalize_endpoint
from ..options import CALL_FIELDS
from ..settings import environment
from ..types import MessageInput
from ..types._json import Json
from .delivery import Delivery
from .http_provider import API, HTTPProvider, ProviderOptions, check_texts
from .openai_call import ChatCall, EmbeddingCall
from .openai_chat import CHAT_FIELDS, ChatDialect, chat_body
from .openai_embeddings import embedding_body, embedding_inputs

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


class OpenAIProvider(HTTPProvider):
    """A client of the OpenAI API, with the cache in front.

    async with OpenAIProvider(model="gpt-5-nano", cache_dir="./cache") as provider:
        result = await provider.complete("Hello", cache_response=True)
    """

    _fields: ClassVar[frozenset[str]] = (
        CALL_FIELDS | CHAT_FIELDS | {"max_tokens", "response_format", "tool_choice", "tools"}
    )

    def __init__(
        self,
        model: str | Any = "gpt-5-nano",
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        organization: str | None = None,
        project: str | None = None,
        **options: Unpack[ProviderOptions],
    ) -> None:
        """Connect nothing yet: the first call that needs the provider does.

        Args:
            model: the default model's name, or a model profile.
            api_key: defaults to `OPENAI_API_KEY`; servers that want none get none.
            base_url: defaults to `OPENAI_BASE_URL`, then OpenAI. A query is kept
                (Azure: `…/openai/deployments/<name>?api-version=…`).
            organization: OpenAI's; a namespace of keys.
            project: OpenAI's; a namespace of keys.
            options: where answers are kept, and how requests travel: `ProviderOptions`.

        Raises:
            ConfigurationError, InvalidRequestError, TypeError: as `HTTPProvider`.
        """
        check_texts(api_key=api_key, base_url=base_url, organization=organization, project=project)
        url = (base_url or environment("OPENAI_BASE_URL") or _BASE_URL).rstrip("/")
        host = urlsplit(normalize_endpoint(url)).hostname or ""
        self._native = host == _NATIVE_HOST
        name = _PROVIDERS.get(host, "azure" if host.endswith(_AZURE_SUFFIX) else host)
        self._dialect = ChatDialect(name)
        headers = _wire_headers(host, api_key or environment("OPENAI_API_KEY"))
        if organization:
            headers["openai-organization"] = organization
        if project:
            headers["openai-project"] = project
        api = API(name, url, headers, _scope(organization, project), _API_HEADERS)
        super().__init__(model, api, [self._dialect], options)
        self._chat = Delivery(self._transport, self._url("chat/completions"), self._retry)
        self._chat_endpoint = normalize_endpoint(self._chat.url)
        self._embeddings = Delivery(self._transport, self._url("embeddings"), self._retry)
        self._embeddings_endpoint = normalize_endpoint(self._embeddings.url)

    def _call(self, messages: MessageInput, options: Mapping[str, Any]) -> ChatCall:
        model = self._model(options)
        body = chat_body(model, messages, options, native=self._native)
        request = self._request("chat", self._chat_endpoint, body, options)
        dialect, count = self._dialect, body.get("n")
        if count is not None and isinstance(count, int) and count > 1:
            dialect = ChatDialect(self.name, count)
        return ChatCall(request, dialect, self._travel(self._chat, options))

    def _embed_call(self, inputs: Any, options: Mapping[str, Any]) -> EmbeddingCall:
        body = embedding_body(self._model(options), options)
        items, is_single = embedding_inputs(inputs)
        requests = [
            self._request("embedding", self._embeddings_endpoint, {**body, "input": item}, options)
            for item in items
        ]
        delivery = self._travel(self._embeddings, options)
        return EmbeddingCall(requests, items, is_single, body, self.name, delivery)


def _wire_headers(host: str, api_key: str | None) -> dict[str, str]:
    if not api_key:
        return {}
    if host.endswith(_AZURE_SUFFIX):
        return {"api-key": api_key}
    return {"authorization": f"Bearer {api_key}"}


def _scope(organization: str | None, project: str | None) -> dict[str, Json]:
    """Name an account's scope without naming the account: entries hold what is in the key."""
    if not organization and not project:
        return {}
    text = f"{organization or ''}\n{project or ''}"
    return {"scope": hashlib.sha256(text.encode()).hexdigest()}
