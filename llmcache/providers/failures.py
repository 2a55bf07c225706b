"""From a provider's error answer to the typed error it means.

Servers that speak the same API disagree on error bodies; the order in which a
message is looked for covers all that were recorded: OpenAI and OpenRouter
(`error.message`), Ollama (`error` as text), Mistral and Cerebras (`message`),
FastAPI servers and Voyage (`detail`), plain text.
"""

from __future__ import annotations

import email.utils
import math
import re
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import orjson

from ..errors import (
    AuthenticationError,
    BadRequestError,
    ConflictError,
    ConnectionFailedError,
    ContentFilteredError,
    ContextLengthError,
    InvalidResponseError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    ProviderError,
    QuotaExceededError,
    RateLimitError,
    ResponseTimeoutError,
    ServerError,
)
from ..types._json import Json

__all__ = [
    "MALFORMED",
    "NAMING_HEADERS",
    "embedded_error",
    "error_from_json",
    "error_from_response",
    "identified",
    "request_id",
    "retry_after",
    "snippet",
]

MALFORMED: Final = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,  # orjson reads what is nested deeper than Python's stack
    TypeError,
    ValueError,
)
"""What reading JSON of a wrong shape raises."""

_BY_STATUS: Final[Mapping[int, type[ProviderError]]] = {
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    408: ResponseTimeoutError,
    409: ConflictError,
    429: RateLimitError,
    498: OverloadedError,  # Groq: the flex tier has no capacity
    503: OverloadedError,
    504: ResponseTimeoutError,
    529: OverloadedError,
}
_BY_CODE: Final[Mapping[str, type[ProviderError]]] = {
    "bio_policy": ContentFilteredError,
    "billing_error": QuotaExceededError,
    "content_filter": ContentFilteredError,
    "content_policy_violation": ContentFilteredError,
    "context_length_exceeded": ContextLengthError,
    "exceed_context_size_error": ContextLengthError,  # llama.cpp
    "image_content_policy_violation": ContentFilteredError,
    "insufficient_quota": QuotaExceededError,
    "invalid_api_key": AuthenticationError,
    "misalignment_policy_violation": ContentFilteredError,
    "model_not_found": NotFoundError,
    "overloaded_error": OverloadedError,
    "rate_limit_exceeded": RateLimitError,
    "server_error": ServerError,
}
# Said beside many a status, which then knows better; in a 200 it is all there is.
_BY_TYPE: Final[Mapping[str, type[ProviderError]]] = {
    # What a response of OpenAI's fails with (openai-python `response_error.py`).
    **dict.fromkeys(
        "data_residency_mismatch empty_image_file failed_to_download_image image_file_not_found "
        "image_file_too_large image_parse_error image_too_large image_too_small "
        "invalid_base64_image invalid_image invalid_image_format invalid_image_mode "
        "invalid_image_url invalid_prompt unsupported_image_media_type".split(),
        BadRequestError,
    ),
    "vector_store_timeout": ServerError,
    "authentication_error": AuthenticationError,
    "invalid_request_error": BadRequestError,
    "not_found_error": NotFoundError,
    "permission_error": PermissionDeniedError,
    "rate_limit_error": RateLimitError,
    "timeout_error": ResponseTimeoutError,
}
# Another attempt may find these gone.
_PASSING: Final = (RateLimitError, ServerError, ConflictError, ConnectionFailedError)
_LASTING: Final = (QuotaExceededError, InvalidResponseError)
# vLLM, Mistral, DeepSeek · Anthropic · OpenAI · xAI · Gemini · llama.cpp, Ollama · Groq
_TOO_LONG: Final = (
    "maximum context length",
    "prompt is too long",
    "context window",
    "maximum prompt length",
    "exceeds the context length",
    "exceeds the maximum number of tokens",
    "available context size",
    "reduce the length of the messages",
)
_SERVER_ERRORS: Final = 500
_CLIENT_ERRORS: Final = 400
_ERROR_STATUS: Final = re.compile(r"[45][0-9][0-9]")
_SNIPPET: Final = 300
NAMING_HEADERS: Final = ("x-request-id", "request-id", "apim-request-id", "cf-ray")
"""Where servers name a request; the first that is there counts."""


def error_from_response(
    provider: str, status: int, headers: Mapping[str, str], body: bytes
) -> ProviderError:
    """Return the error that an HTTP response with `status` ≥ 400 stands for."""
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        data = None
    message, code = _message(data) if data is not None else (None, None)
    text = message or snippet(body) or "no message"
    return _identified(_typed(provider, status, text, code, status, headers), data)


def error_from_json(
    provider: str, data: Json, status: int, headers: Mapping[str, str] | None = None
) -> ProviderError:
    """Return the error that a JSON answer with HTTP status 200 carries inside.

    Its class follows the code inside; `.status` stays what HTTP said.
    """
    message, code = _message(data)
    inner = _inner_status(data, code)
    text = message or snippet(_encoded(data))
    return _identified(_typed(provider, inner, text, code, status, headers or {}), data)


def _identified(error: ProviderError, data: Json) -> ProviderError:
    """Return `error` with the request id of its body, where no header has one (Anthropic)."""
    identifier = data.get("request_id") if isinstance(data, Mapping) else None
    if error.request_id is None and isinstance(identifier, str):
        error.request_id = identifier
    return error


def embedded_error(data: Json) -> bool:
    """Return whether a parsed answer is an error although HTTP said 200."""
    return isinstance(data, dict) and bool(data.get("error"))


def _typed(
    provider: str,
    inner: int | None,
    message: str,
    code: str | None,
    status: int,
    headers: Mapping[str, str],
) -> ProviderError:
    error_type = _class(inner, code, message)
    retryable = issubclass(error_type, _PASSING)
    asked = headers.get("x-should-retry", "").lower()
    if asked in {"true", "false"}:
        retryable = asked == "true"
    if issubclass(error_type, _LASTING):
        retryable = False
    return error_type(
        message,
        provider=provider,
        status=status,
        code=code,
        request_id=request_id(headers),
        retry_after=retry_after(headers),
        retryable=retryable,
    )


def _class(status: int | None, code: str | None, message: str) -> type[ProviderError]:
    if code is not None and code in _BY_CODE:
        return _BY_CODE[code]
    lowered = message.lower()
    if status in {400, 413} and any(phrase in lowered for phrase in _TOO_LONG):
        return ContextLengthError
    if status is None:
        return _BY_TYPE.get(code or "", ServerError)
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status >= _SERVER_ERRORS:
        return ServerError
    return BadRequestError if status >= _CLIENT_ERRORS else InvalidResponseError


def _message(data: Json) -> tuple[str | None, str | None]:
    """Return the message and the code that an error body has."""
    if not isinstance(data, Mapping):
        return None, None
    error = data.get("error")
    holder: Mapping[str, Any] = error if isinstance(error, Mapping) else data
    candidates = (holder.get("message"), error, data.get("message"), data.get("detail"))
    message = next((_text(item) for item in candidates if _text(item)), None)
    codes = (holder.get("code"), holder.get("error_code"), holder.get("type"))
    code = next((str(item) for item in codes if isinstance(item, str | int) and item), None)
    return message, code


def _text(value: Json) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value:
        return _encoded(value).decode()[:_SNIPPET]
    return None


def _encoded(data: Json) -> bytes:
    try:
        return orjson.dumps(data)
    except TypeError:  # it reads deeper nesting than it writes
        return b"nested too deeply"


def _inner_status(data: Json, code: str | None) -> int | None:
    error = data.get("error") if isinstance(data, Mapping) else None
    holder = error if isinstance(error, Mapping) else {}
    for value in (holder.get("status"), holder.get("status_code"), code):
        text = str(value)
        if _ERROR_STATUS.fullmatch(text):
            return int(text)
    return None


@contextmanager
def identified(answer: object) -> Generator[None, None, None]:
    """Let errors found in an answer leave with its request id, unless they bring one.

    `answer` is whatever may have the response's `headers`, if only when it fails: a
    response, a stream of events, a recording.
    """
    try:
        yield
    except ProviderError as error:
        if error.request_id is None:
            error.request_id = request_id(dict(getattr(answer, "headers", None) or ()))
        raise


def request_id(headers: Mapping[str, str]) -> str | None:
    """Return the server's name for a request."""
    return next((headers[name] for name in NAMING_HEADERS if name in headers), None)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds a response asks to wait: `retry-after-ms`, then `retry-after` (number or date).

    `None` when it does not say, or says nothing usable (zero, negative, in the past).
    """
    milliseconds = _number(headers.get("retry-after-ms")) / 1000
    seconds = headers.get("retry-after")
    waits = (milliseconds, _number(seconds), _seconds_until(seconds))
    # NaN compares false with everything, so it is not usable either.
    return next((wait for wait in waits if 0 < wait < math.inf), None)


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def _seconds_until(date: str | None) -> float:
    try:
        parsed = email.utils.parsedate_tz(date or "")
        return math.nan if parsed is None else email.utils.mktime_tz(parsed) - time.time()
    except (ValueError, OverflowError):  # a date that no calendar has
        return math.nan


def snippet(body: bytes) -> str:
    """Return the start of an unexpected body as one line of text."""
    text = " ".join(body[: 4 * _SNIPPET].decode("utf-8", "replace").split())
    return text if len(text) <= _SNIPPET else f"{text[:_SNIPPET]}…"
