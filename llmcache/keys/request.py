"""What a provider is asked, and the names made from it: key, scope, components."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from ..errors import InvalidRequestError
from ..types._json import FrozenDict, Json, thaw
from .canonical import canonical_bytes, digest, locate
from .merges import apply_merges
from .normalize import normalize_body
from .rules import DEFAULT_RULES, KeyRules
from .state import no_answer, server_state

__all__ = ["KEY_VERSION", "Request", "key_of_identity", "normalize_endpoint"]

KEY_VERSION: Final = "v1"

_NATIVE_ORIGINS: Final[Mapping[str, str]] = {
    "chat": "https://api.openai.com/",
    "responses": "https://api.openai.com/",
    "completions": "https://api.openai.com/",
    "embedding": "https://api.openai.com/",
    "messages": "https://api.anthropic.com/",
}
# The version for which Anthropic documents that temperature 1.0 is the default.
_DEFAULTS_VERSION: Final = "2023-06-01"
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
# https://url.spec.whatwg.org/#forbidden-host-code-points, as far as urlsplit lets them through.
_NOT_IN_HOST: Final = re.compile(r"[\s\x00-\x1f\x7f<>\\^|]")
_PROMPT_KINDS: Final = frozenset({"completions", "ollama.generate"})
# What stands in a scope for the turn that may be any; no turn is a null.
_ANY_TURN: Final = None
_CREDENTIALS: Final = frozenset(
    {"key", "api_key", "api-key", "apikey", "code", "sig", "subscription-key", "token"}
)


def normalize_endpoint(url: str) -> str:
    """Return the endpoint's identity: scheme, host, port if unusual, path, and the query.

    User info, the fragment and parameters that are credentials are left out: they do
    not choose the model that answers.

    Raises:
        InvalidRequestError: not an http(s) URL.
    """
    try:
        url.encode()  # a lone surrogate is no text
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        # Neither the URL nor the parser's words are repeated: both may hold a password.
        raise InvalidRequestError("base_url", "is not a URL") from None
    scheme = parts.scheme.lower()
    if scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise InvalidRequestError("base_url", "must be an http or https URL with a host")
    if _NOT_IN_HOST.search(parts.hostname):
        raise InvalidRequestError("base_url", "has a character in its host that no host has")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    if port is not None and port != _DEFAULT_PORTS[scheme]:
        host = f"{host}:{port}"
    path = "/" + "/".join(piece for piece in parts.path.split("/") if piece)
    query = _query_identity(parts.query)
    return f"{scheme}://{host}{path}" + (f"?{query}" if query else "")


def _query_identity(query: str) -> str:
    """Return what a base URL's query says about the answer, without what is secret in it.

    Azure's `api-version` is kept in the open. Whatever else there is may choose a
    model as well as hold a credential: it counts, as a digest.
    """
    rest, version = [], ""
    for name, value in sorted(parse_qsl(query, keep_blank_values=True)):
        if name.lower() == "api-version":
            version = f"api-version={value}"
        elif name.lower() not in _CREDENTIALS:
            rest.append([name, value])
    if not rest:
        return version
    counted = f"query={digest(canonical_bytes(rest))[:16]}"
    return f"{version}&{counted}" if version else counted


def key_of_identity(identity: bytes) -> str:
    """Return the key that canonical `identity` bytes hash to."""
    return f"{KEY_VERSION}:{digest(identity)}"


class Request(NamedTuple):
    """One request to one endpoint; what two processes compare when they compare keys.

    - `kind`: the wire API (a name in `rules.TABLES`).
    - `endpoint`: from `normalize_endpoint`; `base_url` spelled differently is the same.
    - `body`: the wire body as it will be sent, without delivery fields.
    - `api`: headers that change behaviour (`anthropic-version`, sorted `anthropic-beta`),
      versions of what answers. One that is `None` is not known: the request is not cached.
    - `tenant`, `salt`: separate namespaces that the caller chooses; text.

    A named tuple: every call makes one, and a frozen dataclass costs four times as much.
    """

    kind: str
    endpoint: str
    body: Mapping[str, Json]
    api: Mapping[str, Json] = FrozenDict()
    tenant: str | None = None
    salt: str | None = None
    rules: KeyRules = DEFAULT_RULES

    def identity(self, sample: int = 0) -> bytes:
        """Return the canonical bytes whose SHA-256 is the key.

        Raises:
            InvalidRequestError: naming the place of a value without a JSON form, or
                `tenant` or `salt` when it is not text.
        """
        return self._encoded(self._identity(self.body, sample))

    def key(self, sample: int = 0) -> str:
        """Return `v1:` and 64 hex digits.

        Raises:
            InvalidRequestError: as `identity`.
        """
        return key_of_identity(self._encoded(self._identity(self.body, sample)))

    def scope(self) -> str:
        """Return the hash of everything but the last user turn: matching by meaning stays inside."""
        body = dict(self.body)
        field_name = "input" if self.kind == "responses" else "messages"
        turns = body.get(field_name)
        if isinstance(turns, str):
            body[field_name] = [_ANY_TURN]
        elif isinstance(turns, list | tuple):
            body[field_name] = _without_last_user_turn(list(turns))
        elif self.kind in _PROMPT_KINDS and "prompt" in body:
            body["prompt"] = [_ANY_TURN]
        identity = self._identity(body, 0)
        identity["scope"] = True
        return f"{KEY_VERSION}:{digest(self._encoded(identity))}"

    def snapshot(self) -> Request:
        """Return the same request with a body that nobody else can change."""
        return self._replace(body=thaw(self.body))

    def bypass(self) -> str | None:
        """Return why this request must not be cached, `None` when it may."""
        if self.api and None in self.api.values():
            unknown = next(name for name, value in self.api.items() if value is None)
            return f"the {unknown} of what answers is not known"
        reason = no_answer(self.kind, self.body)
        if reason is None and self.rules.stateful_ttl is None:
            reason = server_state(self.kind, self.body)
        return reason

    @property
    def is_stateful(self) -> bool:
        """Whether the answer depends on server state (cached only by `stateful_ttl`)."""
        return server_state(self.kind, self.body) is not None

    def normalized(self) -> dict[str, Json]:
        """Return the body after the rules; what is hashed."""
        body = normalize_body(self.kind, self.body, native=self._is_native())
        if self.rules.merge:
            apply_merges(self.kind, body, self.rules.merge)
        return body

    def _is_native(self) -> bool:
        origin = _NATIVE_ORIGINS.get(self.kind)
        if origin is None or not self.endpoint.startswith(origin):
            return False
        return self.kind != "messages" or self.api.get("anthropic-version") == _DEFAULTS_VERSION

    def _identity(self, body: Mapping[str, Json], sample: int) -> dict[str, Any]:
        request = self if body is self.body else self._replace(body=body)
        try:
            normal = request.normalized()
        except (TypeError, ValueError, RecursionError) as error:
            raise _explained(body, error) from error
        identity: dict[str, Any] = {
            "v": 1,
            "kind": self.kind,
            "endpoint": self.endpoint,
            "api": dict(self.api),
            "body": normal,
            "sample": sample,
        }
        if self.rules.merge:
            # Who asked for no merges has vouched for nothing: the two do not share answers.
            identity["merge"] = sorted(self.rules.merge)
        if self.tenant is not None:
            identity["tenant"] = _text("tenant", self.tenant)
        if self.salt is not None:
            identity["salt"] = _text("salt", self.salt)
        return identity

    def _encoded(self, identity: dict[str, Any]) -> bytes:
        try:
            return canonical_bytes(identity)
        except (TypeError, ValueError, RecursionError) as error:
            raise _explained(self.body, error, identity) from error


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidRequestError(name, f"must be text, not {type(value).__name__}")
    return value


def _explained(
    body: Mapping[str, Json], error: Exception, identity: Mapping[str, Json] | None = None
) -> InvalidRequestError:
    """Return the error that names the place in the caller's own body, if it is there."""
    located = locate(body) or (None if identity is None else locate(identity))
    if located is None and isinstance(error, RecursionError):
        return InvalidRequestError("body", "nested too deeply")
    return located or InvalidRequestError("body", str(error))


def _without_last_user_turn(turns: list[Json]) -> list[Json]:
    for i in range(len(turns) - 1, -1, -1):
        turn = turns[i]
        if isinstance(turn, Mapping) and turn.get("role") == "user":
            return [*turns[:i], _ANY_TURN, *turns[i + 1 :]]
    return turns
