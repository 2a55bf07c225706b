"""From a provider's error answer to the typed error it means.

Servers that speak the same API disagree on error bodies; the order in which a
message is looked for covers all that were recorded: OpenAI and OpenRouter
(`error.message`), Ollama (`error` as text), Mistral and Cerebras (`message`),
FastAPI servers and Voyage (`detail`), plain text. Gemini puts it all into a list of one.
"""

from __future__ import annotations

import email.utils
import math
import re
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

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
    402: QuotaExceededError,  # DeepSeek, OpenRouter: no credit is left
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
    "content_filter": ContentFilteredError,
    "content_policy_violation": ContentFilteredError,
    "context_length_exceeded": ContextLengthError,
    "exceed_context_size_error": ContextLengthError,  # llama.cpp
    "image_content_policy_violation": ContentFilteredError,
    "invalid_api_key": AuthenticationError,
    "misalignment_policy_violation": ContentFilteredError,
    "model_not_found": NotFoundError,
    "overloaded_error": OverloadedError,
    "rate_limit_exceeded": RateLimitError,
    "server_error": ServerError,
}
# The account has nothing to spend: beside whatever else an answer says, in its code or its
# type. Anthropic · OpenAI, twice · Moonshot
_SPENT: Final = frozenset(
    {"billing_error", "billing_not_active", "insufficient_quota", "exceeded_current_quota_error"}
)
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
    "conflict_error": ConflictError,
    "invalid_request_error": BadRequestError,
    "not_found_error": NotFoundError,
    "permission_error": PermissionDeniedError,
    "rate_limit_error": RateLimitError,
    "request_too_large": BadRequestError,
    "timeout_error": ResponseTimeoutError,
}
_IN_200: Final = {**_BY_CODE, **_BY_TYPE}
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
# One request of more tokens than a minute has, in OpenAI's words; Groq's status says it (413).
_TOO_MUCH: Final = "input or output tokens must be reduced"
_TOO_LARGE: Final = 413
_SERVER_ERRORS: Final = 500
_CLIENT_ERRORS: Final = 400
_RETRY_INFO: Final = "type.googleapis.com/google.rpc.RetryInfo"
_ERROR_STATUS: Final = re.compile(r"[45][0-9][0-9]")
_SNIPPET: Final = 300
NAMING_HEADERS: Final = ("x-request-id", "request-id", "apim-request-id", "cf-ray")
"""Where servers name a request; the first that is there counts."""


def error_from_response(
    provider: str, status: int, headers: Mapping[str, str], body: bytes
) -> ProviderError:
    """Return the error that an HTTP response with `status` ≥ 400 stands for."""
    try:
        data = _unwrapped(orjson.loads(body))
    except orjson.JSONDecodeError:
        data = None
    said = _said(data, status)
    text = said.message or snippet(body) or "no message"
    return _identified(_typed(provider, said._replace(message=text), status, headers), data)


def error_from_json(
    provider: str, data: Json, status: int, headers: Mapping[str, str] | None = None
) -> ProviderError:
    """Return the error that a JSON answer with HTTP status 200 carries inside.

    Its class follows the code inside; `.status` stays what HTTP said.
    """
    data = _unwrapped(data)
    said = _said(data, None)
    text = said.message or snippet(_encoded(data))
    return _identified(_typed(provider, said._replace(message=text), status, headers or {}), data)


def _identified(error: ProviderError, data: Json) -> ProviderError:
    """Return `error` with the request id of its body, where no header has one (Anthropic)."""
    identifier = data.get("request_id") if isinstance(data, Mapping) else None
    if error.request_id is None and isinstance(identifier, str):
        error.request_id = identifier
    return error


def embedded_error(data: Json) -> bool:
    """Return whether a parsed answer is an error although HTTP said 200."""
    return bool(data.get("error")) if isinstance(data, dict) else _unwrapped(data) is not data


class _Said(NamedTuple):
    """What an error body says.

    `status` is what HTTP said or, where that was 200, what the body does. `codes` are its
    code and its type, as far as it has them; the first is the error's `.code`.
    """

    status: int | None
    message: str
    codes: tuple[str, ...]
    wait: float | None


def _unwrapped(data: Json) -> Json:
    """Return the error in a list of one; anything else as it is."""
    is_one = type(data) is list and len(data) == 1 and isinstance(data[0], dict)
    return data[0] if is_one and data[0].get("error") else data


def _typed(provider: str, said: _Said, status: int, headers: Mapping[str, str]) -> ProviderError:
    error_type = _class(said.status, said.codes, said.message.lower())
    retryable = issubclass(error_type, _PASSING)
    asked = headers.get("x-should-retry", "").lower()
    if asked in {"true", "false"}:
        retryable = asked == "true"
    if issubclass(error_type, _LASTING):
        retryable = False
    return error_type(
        said.message,
        provider=provider,
        status=status,
        code=said.codes[0] if said.codes else None,
        request_id=request_id(headers),
        retry_after=retry_after(headers) or said.wait,
        retryable=retryable,
    )


def _class(status: int | None, codes: tuple[str, ...], lowered: str) -> type[ProviderError]:
    """Return what an error is: the code knows better than the status, but for two cases."""
    if not _SPENT.isdisjoint(codes):
        return QuotaExceededError
    if "rate_limit_exceeded" in codes and (status == _TOO_LARGE or _TOO_MUCH in lowered):
        # The request alone is above the limit of a minute, so no wait makes it fit: not a
        # RateLimitError. Nor is it the model's context that it is too long for.
        return BadRequestError
    if codes and codes[0] in _BY_CODE:
        return _BY_CODE[codes[0]]
    if status is None:
        found = next((_IN_200[code] for code in codes if code in _IN_200), ServerError)
    else:
        found = _of_status(status)
    too_long = found is BadRequestError and any(phrase in lowered for phrase in _TOO_LONG)
    return ContextLengthError if too_long else found


def _of_status(status: int) -> type[ProviderError]:
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status >= _SERVER_ERRORS:
        return ServerError
    return BadRequestError if status >= _CLIENT_ERRORS else InvalidResponseError


def _said(data: Json, status: int | None) -> _Said:
    """Return what an error body says; `status` is `None` where HTTP said 200."""
    if not isinstance(data, Mapping):
        return _Said(status, "", (), None)
    error = data.get("error")
    holder: Mapping[str, Any] = error if isinstance(error, Mapping) else data
    candidates = (holder.get("message"), error, data.get("message"), data.get("detail"))
    message = next((_text(item) for item in candidates if _text(item)), None)
    stated = (holder.get("code"), holder.get("error_code"), holder.get("type"))
    codes = tuple(str(item) for item in stated if isinstance(item, str | int) and item)
    if status is None:
        status = _inner_status(holder, codes)
    return _Said(status, message or "", codes, _stated_wait(holder))


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


def _inner_status(error: Mapping[str, Any], codes: tuple[str, ...]) -> int | None:
    for value in (error.get("status"), error.get("status_code"), *codes[:1]):
        text = str(value)
        if _ERROR_STATUS.fullmatch(text):
            return int(text)
    return None


def _stated_wait(error: Mapping[str, Any]) -> float | None:
    """Return the seconds that Google's `RetryInfo` (`"retryDelay": "34.07s"`) asks to wait."""
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, Mapping) and detail.get("@type") == _RETRY_INFO:
            wait = _number(str(detail.get("retryDelay")).removesuffix("s"))
            return wait if 0 < wait < math.inf else None
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
