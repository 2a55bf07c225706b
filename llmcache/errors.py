"""Every error that llmcache raises, in one tree.

    LLMCacheError
    ├── InvalidRequestError (ValueError)         path, reason: the request cannot be sent or keyed
    ├── ConfigurationError (ValueError)          a constructor argument, a name or a folder is wrong
    │   └── MissingExtraError (ImportError)      names the `pip install` line
    ├── CacheMissError (LookupError)             key, nearest, differences: `mode="offline"` found nothing
    ├── BackendError                             backend, operation: a store failed
    │   ├── BackendUnavailableError (ConnectionError)
    │   ├── CorruptEntryError (ValueError)       stored bytes are damaged, or not an entry
    │   └── UnreadableEntryError                 sound bytes that need a newer version, a dictionary or a key
    └── ProviderError                            provider, status, code, request_id, retry_after, retryable
        ├── BadRequestError                      400, 413, 422 and other 4xx
        │   ├── ContextLengthError
        │   └── ContentFilteredError
        ├── AuthenticationError                  401
        ├── PermissionDeniedError                403
        ├── NotFoundError                        404
        ├── ConflictError                        409
        ├── RateLimitError                       429
        │   └── QuotaExceededError               402, and 429 that no waiting will cure
        ├── ServerError                          5xx
        │   └── OverloadedError                  503, 529
        ├── ConnectionFailedError (ConnectionError)
        │   ├── ResponseTimeoutError (TimeoutError)
        │   └── StreamInterruptedError           the stream ended before its terminal marker
        └── InvalidResponseError                 not the API's answer: HTML, broken JSON, no choices

The cache swallows every `BackendError` with one warning (see the failure
contract in `llmcache.cache.manager`); callers meet them only when they use a
backend directly. Messages never carry a credential.
"""

from __future__ import annotations

__all__ = [
    "AuthenticationError",
    "BackendError",
    "BackendUnavailableError",
    "BadRequestError",
    "CacheMissError",
    "ConfigurationError",
    "ConflictError",
    "ConnectionFailedError",
    "ContentFilteredError",
    "ContextLengthError",
    "CorruptEntryError",
    "InvalidRequestError",
    "InvalidResponseError",
    "LLMCacheError",
    "MissingExtraError",
    "NotFoundError",
    "OverloadedError",
    "PermissionDeniedError",
    "ProviderError",
    "QuotaExceededError",
    "RateLimitError",
    "ResponseTimeoutError",
    "ServerError",
    "StreamInterruptedError",
    "UnreadableEntryError",
]


class LLMCacheError(Exception):
    """Base of every error in this package."""


class InvalidRequestError(LLMCacheError, ValueError):
    """The request has a value that cannot be sent or keyed.

    `path` names the place (`messages[3].content[0].image_url`), `reason` what is
    wrong there and what would be right.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}" if path else reason)
        self.path = path
        self.reason = reason

    def __reduce__(self) -> tuple[type[InvalidRequestError], tuple[str, str]]:
        """Rebuild from both arguments: `args` holds only the joined message."""
        return type(self), (self.path, self.reason)


class ConfigurationError(LLMCacheError, ValueError):
    """A constructor argument, a name or a folder cannot work; the message says what to change."""


class MissingExtraError(ConfigurationError, ImportError):
    """An optional dependency is not installed; the message is the `pip install` line."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an extra: pip install 'llmcache[{extra}]'")
        self.feature = feature
        self.extra = extra

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str]]:
        """Rebuild from both arguments."""
        return type(self), (self.feature, self.extra)


class CacheMissError(LLMCacheError, LookupError):
    """Nothing stored answers, and `mode="offline"` forbids asking the provider.

    `nearest` is the key of the stored entry that differs least (`None` when the
    collection holds nothing comparable), `differences` the lines that tell it
    apart, such as `temperature: 0.2 → 0.3`. `reason` says why an answer that may be
    there does not serve, or why there can be none.
    """

    def __init__(
        self,
        key: str,
        *,
        collection: str = "",
        reason: str | None = None,
        nearest: str | None = None,
        differences: tuple[str, ...] = (),
    ) -> None:
        where = f" in collection {collection!r}" if collection else ""
        text = f"no stored answer for {key}{where}"
        if reason is not None:
            text += f": {reason}"
        if nearest is not None:
            text += f"; nearest is {nearest}, which differs in: " + "; ".join(differences)
        super().__init__(text)
        self.key = key
        self.collection = collection
        self.reason = reason
        self.nearest = nearest
        self.differences = differences


class BackendError(LLMCacheError):
    """A store failed. `backend` names it, `operation` what it was asked to do."""

    def __init__(self, message: str, *, backend: str = "", operation: str = "") -> None:
        place = " ".join(part for part in (backend, operation) if part)
        super().__init__(f"{place}: {message}" if place else message)
        self.backend = backend
        self.operation = operation


class BackendUnavailableError(BackendError, ConnectionError):
    """The store cannot be reached, or refused to work (full, read-only, no permission)."""


class CorruptEntryError(BackendError, ValueError):
    """Stored bytes are damaged, truncated, no entry at all, or under a key they do not belong to."""


class UnreadableEntryError(BackendError):
    """A sound entry that this process cannot read: a later format, a missing dictionary, a sealed one.

    It counts as a miss and stays where it is; another process may read it.
    """


class ProviderError(LLMCacheError):
    """The provider failed, after the configured attempts.

    `status` is the HTTP status (`None` when no response arrived; also `status_code`),
    `code` the provider's own error code, `retry_after` the seconds it asked to wait, and
    `retryable` whether another attempt may succeed without a change.
    """

    def __init__(  # noqa: PLR0913 - an error report; every field is optional and named
        self,
        message: str,
        *,
        provider: str = "",
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        retryable: bool = False,
    ) -> None:
        place = " ".join(str(part) for part in (provider, status) if part)
        super().__init__(f"{place}: {message}" if place else message)
        self.message = message
        self.provider = provider
        self.status = status
        self.code = code
        self.request_id = request_id
        self.retry_after = retry_after
        self.retryable = retryable

    @property
    def status_code(self) -> int | None:
        """`status`, by the name that it has in the vendors' SDKs."""
        return self.status


class BadRequestError(ProviderError):
    """The provider rejected the request; sending it again unchanged cannot help."""


class ContextLengthError(BadRequestError):
    """The request is longer than the model's context window."""


class ContentFilteredError(BadRequestError):
    """The provider's content filter rejected the request or the answer."""


class AuthenticationError(ProviderError):
    """The credential is missing or wrong."""


class PermissionDeniedError(ProviderError):
    """The credential may not do this."""


class NotFoundError(ProviderError):
    """The model, deployment or path does not exist."""


class ConflictError(ProviderError):
    """The provider reports a conflicting request."""


class RateLimitError(ProviderError):
    """Too many requests or tokens; `retry_after` says how long to wait, when known."""


class QuotaExceededError(RateLimitError):
    """The account's quota is spent: waiting does not help, so it is not retried."""


class ServerError(ProviderError):
    """The provider failed on its side."""


class OverloadedError(ServerError):
    """The provider is over capacity."""


class ConnectionFailedError(ProviderError, ConnectionError):
    """No response arrived: DNS, connect, TLS or a broken connection."""


class ResponseTimeoutError(ConnectionFailedError, TimeoutError):
    """The response did not arrive in time."""


class StreamInterruptedError(ConnectionFailedError):
    """The stream ended before its terminal marker; what had arrived is not stored."""


class InvalidResponseError(ProviderError):
    """The server answered something that is not the API's answer."""
