"""`OllamaProvider`: models on one's own machine, by Ollama's own API."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, Unpack
from urllib.parse import urlsplit

from ..cache.control import Control
from ..errors import InvalidRequestError, ProviderError
from ..keys import Request, normalize_endpoint
from ..settings import environment
from ..timeouts import Timeouts
from ..types import CompletionResult, MessageInput, StreamEvent
from ..types._json import FrozenDict, Json
from .base import Call, CallT, EmbedCall
from .delivery import Delivery
from .embedding_call import EmbeddingCall
from .failures import identified
from .http_call import Framing, HTTPCall
from .http_provider import API, HTTPProvider, ProviderOptions, check_texts
from .ollama_answer import CHAT, GENERATE, OllamaDialect, ollama_vectors
from .ollama_models import Digests, ModelPull, installed, json_of
from .ollama_request import (
    CHAT_FIELDS,
    EMBED_FIELDS,
    GENERATE_FIELDS,
    GenerateOptions,
    chat_body,
    embed_body,
    embed_inputs,
    generate_body,
    tagged,
)
from .retry import Retry

__all__ = ["OllamaProvider"]

_NAME: Final = "ollama"
_HOST: Final = "127.0.0.1"
_PORT: Final = 11_434
# The server streams unless it is told not to.
_FRAMING: Final = Framing(FrozenDict({"stream": False}), FrozenDict({"stream": True}), lines=True)
_DIGEST: Final = "digest"
_DIGEST_SECONDS: Final = 60.0


class OllamaProvider(HTTPProvider):
    """A client of an Ollama server, with the cache in front.

    async with OllamaProvider(model="qwen2.5:3b") as provider:
        await provider.ensure_model("qwen2.5:3b")
        result = await provider.complete("Hello", cache_response=True)

    Sampling parameters are given by name (`temperature`, `max_tokens`, `num_ctx`, …)
    or in `options`, as Ollama's own clients do.
    """

    _fields = CHAT_FIELDS
    _embedding_fields = EMBED_FIELDS

    def __init__(
        self,
        model: str | Any = "qwen2.5:3b",
        *,
        base_url: str | None = None,
        host: str | None = None,
        api_key: str | None = None,
        pin_digest: bool = False,
        digest_seconds: float = _DIGEST_SECONDS,
        **options: Unpack[ProviderOptions],
    ) -> None:
        """Connect nothing yet: the first call that needs the server does.

        Args:
            model: the default model's name, or a model profile.
            base_url: where the server is; defaults to `OLLAMA_HOST`, then this machine.
                As there, `host`, `host:port` and `:port` will do.
            host: the same, by the name that Ollama's own clients have for it.
            api_key: for ollama.com; defaults to `OLLAMA_API_KEY`. `""` sends none.
            pin_digest: put what the model's tag stands for into the key: a tag can be
                moved, and answers of the model that it named before are then misses.
                Calls that use the cache look it up, at most once in `digest_seconds`;
                while the server does not say, they go past the cache. `mode="offline"`
                asks nobody: what was known last counts.
            digest_seconds: how long a tag is taken to stand for what it did.
            options: where answers are kept, and how requests travel: `ProviderOptions`.

        Raises:
            ConfigurationError, InvalidRequestError, TypeError: as `HTTPProvider`.
        """
        check_texts(api_key=api_key, base_url=base_url, host=host)
        if not digest_seconds > 0:
            reason = f"must be seconds above 0, not {digest_seconds!r}"
            raise InvalidRequestError("digest_seconds", reason)
        url = _address(base_url or host or environment("OLLAMA_HOST") or "")
        key = environment("OLLAMA_API_KEY") if api_key is None else api_key
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self._spoken = {kind: OllamaDialect(kind, _NAME) for kind in (CHAT, GENERATE)}
        # Not known until `_prepared` says so: what comes past it is not cached.
        versions = {_DIGEST: None} if pin_digest else {}
        api = API(_NAME, url, headers, versions)
        super().__init__(model, api, list(self._spoken.values()), options)
        self._chat = self._place("chat")
        self._generate = self._place("generate")
        self._embed = self._place("embed")
        self._endpoints = {
            kind: normalize_endpoint(place.url)
            for kind, place in {
                CHAT: self._chat,
                GENERATE: self._generate,
                "embedding": self._embed,
            }.items()
        }
        self._tags = self._place("tags")
        self._digests = Digests(self._tags, digest_seconds) if pin_digest else None

    # --- calls ------------------------------------------------------------------------------

    async def generate(self, prompt: str, **options: Unpack[GenerateOptions]) -> CompletionResult:
        """Return what the model writes after `prompt`, by `/api/generate`; cached as `complete` is.

        Raises:
            InvalidRequestError, CacheMissError, ProviderError: as `complete`.
        """
        control, call = self._generating(prompt, options)
        return await self._answer(call, control)

    def generate_stream(
        self, prompt: str, **options: Unpack[GenerateOptions]
    ) -> AsyncGenerator[StreamEvent, None]:
        """Yield what the model writes after `prompt` as it arrives; the last event is `DONE`.

        Raises:
            InvalidRequestError, CacheMissError, ProviderError: as `stream`.
        """
        return self._events(partial(self._generating, prompt, options))

    # --- models -----------------------------------------------------------------------------

    async def is_available(self, *, timeout: float = 5.0) -> bool:  # noqa: ASYNC109 - httpx's own
        """Return whether an Ollama server answers, within so many seconds; never raises for it."""
        place = replace(self._tags, retry=Retry(1), timeout=Timeouts.of(timeout))
        try:
            installed(await place.get(), self.name)
        except ProviderError:
            return False
        return True

    async def list_models(self) -> list[str]:
        """Return the names of the models that the server has, with their tags.

        Raises:
            ProviderError: it cannot be asked.
        """
        with self._tags.redaction({}):
            return list(installed(await self._tags.get(), self.name))

    async def has_model(self, model: str | None = None) -> bool:
        """Return whether the server has `model` (default: this provider's).

        Raises:
            ProviderError: it cannot be asked.
        """
        names = map(tagged, await self.list_models())
        return tagged(self._model({"model": model})) in names

    async def show(self, model: str | None = None, *, verbose: bool = False) -> dict[str, Json]:
        """Return what the server knows of a model: parameters, template, capabilities, licence.

        Raises:
            NotFoundError: the server does not have it.
            ProviderError: it cannot be asked.
        """
        place = self._place("show")
        body: dict[str, Json] = {"model": self._model({"model": model})}
        if verbose:
            body["verbose"] = True
        with place.redaction(body):
            reply = await place.post(body)
            with identified(reply):
                shown: dict[str, Json] = json_of(reply.body, self.name)
        return shown

    def pull_model(self, model: str | None = None, *, insecure: bool = False) -> ModelPull:
        """Fetch a model: `await` the result, or go through it for `PullProgress`.

        Raises:
            ProviderError: when awaited or gone through: it could not be fetched.
        """
        body: dict[str, Json] = {"model": self._model({"model": model})}
        if insecure:
            body["insecure"] = True
        return ModelPull(self._place("pull"), body, self._digests)

    async def ensure_model(self, model: str | None = None) -> bool:
        """Return True when the server has `model`, fetched if need be.

        Raises:
            ProviderError: it has not, and could not fetch it.
        """
        return await self.has_model(model) or await self.pull_model(model)

    # --- building ---------------------------------------------------------------------------

    def _place(self, path: str) -> Delivery:
        return Delivery(self._transport, self._url(f"api/{path}"), self._retry)

    async def _prepared(self, call: CallT, control: Control) -> CallT:
        """Return the call with what its model's tag stands for in its key, where that counts."""
        if self._digests is None or not (control.reads or control.writes):
            return call
        if control.calls and self._digests.are_due:
            # What has no key is refused before anybody is asked; and what the caller makes of
            # its messages while the server looks is another matter.
            for request in _requests(call):
                request.key(control.sample)
            call = call.snapshot()
            await self._digests.refresh()
        if isinstance(call, HTTPCall):
            return call._replace(request=_pinned(call.request, self._digests))
        if isinstance(call, EmbeddingCall):
            pinned = [_pinned(request, self._digests) for request in call.requests]
            return replace(call, requests=pinned)
        return call

    def _call(self, messages: MessageInput, options: Mapping[str, Any]) -> HTTPCall:
        body = chat_body(self._model(options), messages, options)
        request = self._request(CHAT, self._endpoints[CHAT], body, options)
        return HTTPCall(request, self._spoken[CHAT], self._travel(self._chat, options), _FRAMING)

    def _generating(self, prompt: str, options: Mapping[str, Any]) -> tuple[Control, HTTPCall]:
        """Return how a call is made, and the call, as `_asked` does for a chat."""
        control, rest = self._control(options, GENERATE_FIELDS)
        return control, self._generate_call(prompt, rest)

    def _generate_call(self, prompt: str, options: Mapping[str, Any]) -> HTTPCall:
        body = generate_body(self._model(options), prompt, options)
        request = self._request(GENERATE, self._endpoints[GENERATE], body, options)
        delivery = self._travel(self._generate, options)
        return HTTPCall(request, self._spoken[GENERATE], delivery, _FRAMING)

    def _embed_call(self, inputs: Any, options: Mapping[str, Any]) -> EmbeddingCall:
        body = embed_body(self._model(options), options)
        items, is_single = embed_inputs(inputs)
        # `keep_alive` is residency, and a name without a tag is its `:latest`: no other vector.
        asked = {**body, "model": tagged(str(body["model"]))}
        asked.pop("keep_alive", None)
        endpoint = self._endpoints["embedding"]
        requests = [
            self._request("embedding", endpoint, {**asked, "input": item}, options)
            for item in items
        ]
        delivery = self._travel(self._embed, options)
        return EmbeddingCall(requests, items, is_single, body, _NAME, delivery, ollama_vectors)


def _requests(call: Call | EmbedCall) -> Sequence[Request]:
    if isinstance(call, HTTPCall):
        return [call.request]
    return call.requests if isinstance(call, EmbeddingCall) else ()


def _pinned(request: Request, digests: Digests) -> Request:
    digest = digests.of(str(request.body["model"]))
    return request._replace(api={**request.api, _DIGEST: digest})


def _address(text: str) -> str:
    """Return the URL that `OLLAMA_HOST` or an argument stands for (ollama-python `_parse_host`)."""
    if "://" in text:
        return text.rstrip("/")
    url = f"http://{_HOST if text[:1] in {'', ':', '/'} else ''}{text}".rstrip("/")
    try:
        parts = urlsplit(url)
        has_port = parts.port is not None
    except ValueError:
        return url  # what is wrong with it is said by who reads it next
    if has_port:
        return url
    return parts._replace(netloc=f"{parts.netloc.rstrip(':')}:{_PORT}").geturl()
