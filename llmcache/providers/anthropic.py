"""`AnthropicProvider`: Claude, and every server that speaks its Messages API."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Final, Unpack
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import orjson

from ..errors import ConfigurationError, InvalidRequestError, InvalidResponseError
from ..keys import normalize_endpoint
from ..options import CALL_FIELDS, CONTROL_FIELDS, CompletionOptions, reject_unknown
from ..settings import environment
from ..types import MessageInput
from ..types._json import Json
from .anthropic_body import (
    DEFAULT_MAX_TOKENS,
    MESSAGES_FIELDS,
    count_body,
    messages_body,
)
from .anthropic_messages import MessagesDialect
from .anthropic_version import check_sampling, check_turns
from .delivery import Delivery
from .failures import identified, snippet
from .http_call import HTTPCall
from .http_provider import API, HTTPProvider, ProviderOptions, check_texts
from .outgoing import lowered
from .servers import server_origin

__all__ = ["ANTHROPIC_AVAILABLE", "AnthropicProvider"]

ANTHROPIC_AVAILABLE: Final = True
"""Always: no vendor's package is needed. For programs that ask before they use the provider."""

_NAME: Final = "anthropic"
_BASE_URL: Final = "https://api.anthropic.com"
_NATIVE_HOST: Final = "api.anthropic.com"
_VERSION: Final = "anthropic-version"
_BETA: Final = "anthropic-beta"
_WORKSPACE: Final = "anthropic-workspace-id"
_USUAL_VERSION: Final = "2023-06-01"
# The first version whose key is a bearer token.
_WITH_BEARER: Final = "2026-10-21"
_VERSION_SHAPE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")


class AnthropicProvider(HTTPProvider):
    """A client of the Messages API, with the cache in front.

    async with AnthropicProvider("claude-sonnet-4-5", cache_dir="./cache") as provider:
        result = await provider.complete("Hello", cache_response=True)

    A system message after the first turn stays there for models that take one
    (`ModelProfile.later_system`); for others it becomes a part of the system prompt.
    """

    _fields: ClassVar[frozenset[str]] = CALL_FIELDS | MESSAGES_FIELDS

    def __init__(  # noqa: PLR0913 - what a client of this API is told, all by name
        self,
        model: str | Any,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        api_version: str = _USUAL_VERSION,
        betas: Sequence[str] | None = None,
        max_tokens: int = DEFAULT_MAX_TOKENS,
        default_temperature: float | None = None,
        **options: Unpack[ProviderOptions],
    ) -> None:
        """Connect nothing yet: the first call that needs the provider does.

        Args:
            model: the default model's name, or a model profile.
            api_key: defaults to `ANTHROPIC_API_KEY`; `""` for servers that want none.
            base_url: defaults to `ANTHROPIC_BASE_URL`, then Anthropic; with or without
                the `/v1` at its end.
            api_version: `2023-06-01`, or `2026-10-21`, which has no `temperature`, `top_p`
                and `top_k`, no documents in an assistant's turn and no citations on a
                user's text, and takes the key as a bearer token. In the key.
            betas: features to switch on (`anthropic-beta`). In the key, as a set.
            max_tokens: the limit of calls that name none; the API demands one. A thinking
                budget comes on top.
            default_temperature: of calls that name none.
            options: where answers are kept, and how requests travel: `ProviderOptions`.

        Raises:
            ConfigurationError, InvalidRequestError, TypeError: as `HTTPProvider`, and for
                a version that is no date, or a default that cannot be sent.
        """
        check_texts(api_key=api_key, base_url=base_url)
        _check_version(api_version, default_temperature)
        if type(max_tokens) is not int or max_tokens < 1:
            msg = f"max_tokens must be a whole number above 0, not {max_tokens!r}"
            raise ConfigurationError(msg)
        self._betas = _checked_betas(betas)
        self._max_tokens = max_tokens
        self._temperature = default_temperature
        url = (base_url or environment("ANTHROPIC_BASE_URL") or _BASE_URL).rstrip("/")
        host = urlsplit(normalize_endpoint(url)).hostname or ""
        name = _NAME if host == _NATIVE_HOST else host
        self._dialect = MessagesDialect(name, server_origin(url))
        key = environment("ANTHROPIC_API_KEY") if api_key is None else api_key
        headers = _credential(key, api_version)
        headers[_VERSION] = api_version
        versions: dict[str, Json] = {_VERSION: api_version}
        if self._betas:
            headers[_BETA] = ",".join(self._betas)
            versions[_BETA] = _beta_set(headers[_BETA])
        api = API(name, url, headers, versions, frozenset({_VERSION, _BETA, _WORKSPACE}))
        super().__init__(model, api, [self._dialect], options)
        root = "" if urlsplit(url).path.rstrip("/").endswith("/v1") else "v1/"
        self._messages = Delivery(self._transport, self._url(f"{root}messages"), self._retry)
        self._endpoint = normalize_endpoint(_without_beta(self._messages.url))
        counting = self._url(f"{root}messages/count_tokens")
        self._counting = Delivery(self._transport, counting, self._retry)

    async def count_tokens(
        self, messages: MessageInput, **options: Unpack[CompletionOptions]
    ) -> int:
        """Return how many input tokens a call with these arguments would have, as the API counts.

        Takes the options of `complete` that say what is asked and how it travels. Asks
        the API every time: it is free, and nothing is kept.

        Raises:
            InvalidRequestError: a message or an option is wrong; nothing was sent.
            ProviderError: the provider failed; a subclass says how.
        """
        reject_unknown(options, self._fields - CONTROL_FIELDS)
        given = self._with_betas(options)
        body = count_body(self._body(messages, given))
        check_turns(body, self._all_versions(given).get(_VERSION), messages)
        delivery = self._travel(self._counting, given)
        with delivery.redaction(body):
            reply = await delivery.post(body)
            with identified(reply):
                try:
                    count = orjson.loads(reply.body)["input_tokens"]
                except (ValueError, LookupError, TypeError):
                    count = None
                if type(count) is not int:
                    message = f"not a number of tokens: {snippet(reply.body)}"
                    raise InvalidResponseError(message, provider=self.name, status=reply.status)
        return count

    def _call(self, messages: MessageInput, options: Mapping[str, Any]) -> HTTPCall:
        options = self._with_betas(options)
        body = self._body(messages, options)
        request = self._request("messages", self._endpoint, body, options)
        version = request.api.get(_VERSION)
        check_sampling(body, version)
        check_turns(body, version, messages)
        return HTTPCall(request, self._dialect, self._travel(self._messages, options))

    def _body(self, messages: MessageInput, options: Mapping[str, Any]) -> dict[str, Json]:
        model = self._model(options)
        body = messages_body(
            model,
            messages,
            options,
            max_tokens=self._max_tokens,
            origin=self._dialect.origin,
            later_system=partial(self._takes_later_system, model),
        )
        if self._temperature is not None:
            body.setdefault("temperature", self._temperature)
        return body

    def _takes_later_system(self, model: str) -> bool:
        """Return whether a model is known to take system messages among the turns.

        Other hosts of the same models refuse them: there a profile of one's own must say so.
        """
        from ..models import BUILT_IN, ModelProfile  # noqa: PLC0415 - a list that few calls need

        profile = ModelProfile.find(model)
        if profile is None or (profile in BUILT_IN and self.name != _NAME):
            return False
        return bool(profile.later_system)

    def _with_betas(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the options with the call's own features as a header, beside the provider's."""
        betas = _checked_betas(options.get("betas"))
        if not betas:
            return options
        extra = lowered(options.get("extra_headers") or {}, "extra_headers")
        usual = _betas_of(extra[_BETA]) if _BETA in extra else self._betas
        extra[_BETA] = ",".join(dict.fromkeys((*usual, *betas)))
        return {**options, "extra_headers": extra}

    def _version_headers(self, headers: Mapping[str, str]) -> dict[str, Json]:
        found = super()._version_headers(headers)
        if _BETA in found:
            found[_BETA] = _beta_set(headers[_BETA])
        if _WORKSPACE in found:  # a namespace, not its name: entries hold what is in the key
            found[_WORKSPACE] = hashlib.sha256(headers[_WORKSPACE].encode()).hexdigest()
        return found


def _check_version(version: object, temperature: float | None) -> None:
    if not isinstance(version, str) or not _VERSION_SHAPE.fullmatch(version):
        msg = f"api_version must be a date such as {_USUAL_VERSION}, not {version!r}"
        raise ConfigurationError(msg)
    if temperature is not None:
        try:
            check_sampling({"temperature": temperature}, version)
        except InvalidRequestError as error:
            msg = f"default_temperature: {error.reason}"
            raise ConfigurationError(msg) from None


def _credential(api_key: str | None, version: str) -> dict[str, str]:
    if not api_key:
        return {}
    if version < _WITH_BEARER:
        return {"x-api-key": api_key}
    return {"authorization": f"Bearer {api_key}"}


def _checked_betas(betas: object) -> tuple[str, ...]:
    if betas is None:
        return ()
    if isinstance(betas, Iterable) and not isinstance(betas, str | bytes | Mapping):
        names = tuple(betas)
        if all(isinstance(name, str) and name.strip() for name in names):
            return tuple(name.strip() for name in names)
    raise InvalidRequestError("betas", "must be a list of names")


def _betas_of(header: str) -> list[str]:
    return [name for name in (piece.strip() for piece in header.split(",")) if name]


def _beta_set(header: str) -> str:
    """Return the features of a header as the key has them: neither order nor repetition counts."""
    return ",".join(sorted(set(_betas_of(header))))


def _without_beta(url: str) -> str:
    """Return `url` without the `beta=true` of older SDKs, which names the same endpoint."""
    parts = urlsplit(url)
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    kept = [pair for pair in pairs if pair != ("beta", "true")]
    return url if kept == pairs else urlunsplit(parts._replace(query=urlencode(kept)))
