"""One place that speaks HTTP: pooling, retries, error translation, byte streams.

httpx is imported by the first live call, so a process that only reads its cache
never pays for it. A client that was passed in (httpx or httpx2: the two share
everything used here) is never closed; otherwise connections come from a pool that
belongs to the event loop and is shared with other clients of the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import orjson

from ..errors import (
    ConnectionFailedError,
    InvalidRequestError,
    InvalidResponseError,
    LLMCacheError,
    ProviderError,
    ResponseTimeoutError,
    StreamInterruptedError,
)
from ..timeouts import Timeouts
from ..types._json import Json
from .connections import Connections, Pool, loop_connections
from .failures import embedded_error, error_from_json, error_from_response, request_id, snippet
from .outgoing import check_headers, encode_body
from .redirects import send
from .retry import Retry

__all__ = ["HTTPReply", "HTTPStream", "HTTPTransport"]

T = TypeVar("T")

# The time-out of an httpx client whose maker said nothing: far too short for a model.
_HTTPX_TIMEOUT: Final = 5.0
# Where an error begins that is the whole of a body.
_START: Final = 4096
_MAX_ERROR_BODY: Final = 2**20
# Headers that say something about the answer, and nothing about the account.
_KEPT_HEADERS: Final = ("x-request-id", "request-id", "apim-request-id", "openai-processing-ms")


@dataclass(frozen=True, slots=True)
class HTTPReply:
    """A complete successful response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def kept_headers(self) -> tuple[tuple[str, str], ...]:
        """The few headers that go into a recording."""
        return kept_headers(self.headers)


def kept_headers(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return the headers worth storing with an answer."""
    return tuple((name, headers[name]) for name in _KEPT_HEADERS if name in headers)


class HTTPStream:
    """A successful response whose body is still arriving; iterate once, then `aclose`."""

    def __init__(
        self, transport: HTTPTransport, response: Any, opened: contextlib.AsyncExitStack
    ) -> None:
        """`opened` is what `aclose` closes: the response, and its place among the connections."""
        self._transport = transport
        self._response = response
        self._opened = opened
        self.headers: Mapping[str, str] = response.headers

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the decoded body as it arrives.

        Raises:
            StreamInterruptedError: the connection broke before the body's end.
        """
        with self._transport.translated(StreamInterruptedError):
            async for chunk in self._response.aiter_bytes():
                yield chunk

    async def aclose(self) -> None:
        """Close the response; its connection is reused only if the body was read to the end."""
        await self._opened.aclose()


class HTTPTransport:
    """Posts JSON to one provider."""

    def __init__(  # noqa: PLR0913 - settings of a constructor, keyword-only with defaults
        self,
        provider: str,
        headers: Mapping[str, str],
        *,
        timeout: float | Timeouts | None = 600.0,
        http_client: Any = None,
        connections: Connections | None = None,
        max_body_bytes: int = 256 * 2**20,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`headers` have lower-case names; `timeout` is seconds without a byte, `None` for no limit.

        A time-out that `http_client` was made with holds in its place. Without it,
        connections come from `connections`, or from those that the event loop shares.

        Raises:
            InvalidRequestError: `timeout` is not above 0.
        """
        self.provider = provider
        self.headers: Mapping[str, str] = dict(headers)
        self.timeouts = Timeouts.of(timeout)
        self._max_body_bytes = max_body_bytes
        self._sleep = sleep
        self._given = http_client
        self._connections = connections
        self._pool: Pool | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._library: Any = None
        self._closings = 0

    @property
    def given_client(self) -> int | None:
        """What tells the client that was passed in from others, `None` without one."""
        return None if self._given is None else id(self._given)

    @property
    def way(self) -> tuple[object, ...]:
        """What tells the connections apart that requests take, among transports that are in use.

        Equal for those that share connections, until one is closed and breaks off its own.
        """
        shared = None if self._connections is None else id(self._connections)
        closed = (id(self), self._closings) if self._closings else None
        return self.given_client, shared, closed

    async def post(
        self,
        url: str,
        body: Mapping[str, Json],
        *,
        retry: Retry,
        headers: Mapping[str, str] | None = None,
        timeout: Timeouts | None = None,  # noqa: ASYNC109 - httpx's own, per phase
    ) -> HTTPReply:
        """Return the response to `body`, after as many attempts as `retry` allows.

        Raises:
            InvalidRequestError: `body` has no JSON form, or a header cannot be sent.
            ProviderError: the last attempt's failure, typed; also for an error
                inside a response whose status is 200.
        """
        content, sent = encode_body(body), self._sent_headers(headers)

        async def attempt() -> HTTPReply:
            async with self._opened(url, content, sent, timeout) as response:
                reply = await self._read(response)
            self._raise_embedded(reply)
            return reply

        return await self._attempts(attempt, retry)

    async def get(
        self,
        url: str,
        *,
        retry: Retry,
        timeout: Timeouts | None = None,  # noqa: ASYNC109 - httpx's own, per phase
    ) -> HTTPReply:
        """Return what is at `url`.

        Raises:
            ProviderError: as `post`.
        """
        sent = self._sent_headers(None)

        async def attempt() -> HTTPReply:
            async with self._opened(url, None, sent, timeout) as response:
                return await self._read(response)

        return await self._attempts(attempt, retry)

    async def stream(
        self,
        url: str,
        body: Mapping[str, Json],
        *,
        retry: Retry,
        headers: Mapping[str, str] | None = None,
        timeout: Timeouts | None = None,  # noqa: ASYNC109 - httpx's own, per phase
    ) -> HTTPStream:
        """Return the open response; attempts end when its status and headers are there.

        Raises:
            InvalidRequestError, ProviderError: as `post`.
        """
        content, sent = encode_body(body), self._sent_headers(headers)

        async def attempt() -> HTTPStream:
            opened = contextlib.AsyncExitStack()
            response = await opened.enter_async_context(self._opened(url, content, sent, timeout))
            return HTTPStream(self, response, opened)

        return await self._attempts(attempt, retry)

    async def aclose(self) -> None:
        """Give the connections back, which closes them if nobody else uses them.

        A client that was passed in stays open.
        """
        self._closings += 1
        pool, self._pool = self._pool, None
        if pool is not None and self._given is None and self._loop is asyncio.get_running_loop():
            await pool.release(self)

    @contextlib.contextmanager
    def translated(self, broken: type[ConnectionFailedError]) -> Generator[None, None, None]:
        """Turn the HTTP library's exceptions into ours; a broken connection becomes `broken`."""
        library = self._library
        try:
            yield
        except LLMCacheError:
            raise
        except library.TimeoutException as error:
            message = f"no answer in time ({type(error).__name__})"
            raise self._failure(ResponseTimeoutError, message) from error
        except (library.HTTPError, library.StreamError, OSError) as error:
            message = f"{type(error).__name__}: {str(error) or 'connection broken'}"
            raise self._failure(broken, message) from error
        except (library.InvalidURL, UnicodeError) as error:  # the latter from names like `xn--`
            raise InvalidRequestError("base_url", str(error)) from error

    def _failure(self, kind: type[ProviderError], message: str) -> ProviderError:
        return kind(message, provider=self.provider, retryable=True)

    async def _attempts(self, attempt: Callable[[], Awaitable[T]], retry: Retry) -> T:
        number = 1
        while True:
            try:
                return await attempt()
            except ProviderError as error:
                wait = retry.wait(number, error)
                if wait is None:
                    raise
            number += 1
            await self._sleep(wait)

    def _sent_headers(self, extra: Mapping[str, str] | None) -> dict[str, str]:
        check_headers(self.headers, "headers")
        check_headers(extra or {}, "extra_headers")
        return {**self.headers, **(extra or {})}

    @contextlib.asynccontextmanager
    async def _opened(
        self,
        url: str,
        content: bytes | None,
        headers: Mapping[str, str],
        timeout: Timeouts | None,  # noqa: ASYNC109 - httpx's own, per phase
    ) -> AsyncGenerator[Any, None]:
        """Hold a connection; yield the open response to a request, once it is a success.

        Without `content` the request is a GET.
        """
        pool = self._pool_for(url)
        client, options = pool.client, self._time_out(pool, timeout)
        async with self._place(pool, timeout or self.timeouts):
            if client.is_closed or self._pool is not pool:  # while this call waited
                message = "the provider was closed during the call"
                raise ConnectionFailedError(message, provider=self.provider)
            with self.translated(ConnectionFailedError):
                method = "GET" if content is None else "POST"
                request = client.build_request(
                    method, url, content=content, headers=headers, **options
                )
                response = await send(client, request, self._library)
            try:
                if not response.is_success:
                    status, body = response.status_code, await self._read_start(response)
                    raise error_from_response(self.provider, status, response.headers, body)
                yield response
            finally:
                await response.aclose()

    @contextlib.asynccontextmanager
    async def _place(self, pool: Pool, timeouts: Timeouts) -> AsyncGenerator[None, None]:
        """Hold a place among the requests that have a connection; a client that was passed in has its own limits."""
        if self._given is not None:
            yield
            return
        try:
            async with asyncio.timeout(timeouts.pool):
                await pool.places.acquire()
        except TimeoutError as error:
            message = "no connection became free in time"
            raise self._failure(ResponseTimeoutError, message) from error
        try:
            yield
        finally:
            pool.places.release()

    def _time_out(self, pool: Pool, asked: Timeouts | None) -> dict[str, Any]:
        """Return the time-out as an option: the call's, else the client's own, else the provider's."""
        if asked is None and pool.client.timeout != pool.library.Timeout(_HTTPX_TIMEOUT):
            return {}
        chosen = asked or self.timeouts
        phases = {name: getattr(chosen, name) for name in ("connect", "read", "write", "pool")}
        return {"timeout": pool.library.Timeout(**phases)}

    async def _read(self, response: Any) -> HTTPReply:
        pieces, size = [], 0
        with self.translated(ConnectionFailedError):
            async for chunk in response.aiter_bytes():
                pieces.append(chunk)
                size += len(chunk)
                if size > self._max_body_bytes:
                    message = f"response exceeds {self._max_body_bytes} bytes"
                    raise InvalidResponseError(message, provider=self.provider)
        return HTTPReply(response.status_code, response.headers, b"".join(pieces))

    async def _read_start(self, response: Any) -> bytes:
        """Read an error body as far as it is useful; one that breaks off still has a status."""
        body = b""
        with contextlib.suppress(ProviderError), self.translated(ConnectionFailedError):
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > _MAX_ERROR_BODY:
                    break
        return body

    def _raise_embedded(self, reply: HTTPReply) -> None:
        if reply.body[:_START].lstrip()[:1] == b"<":  # a proxy's page
            message, name = f"not JSON: {snippet(reply.body)}", request_id(reply.headers)
            raise InvalidResponseError(
                message, provider=self.provider, status=reply.status, request_id=name
            )
        if b'"error"' not in reply.body[:_START]:
            return
        try:
            data = orjson.loads(reply.body)
        except orjson.JSONDecodeError:
            return  # the caller says what is wrong with it
        if embedded_error(data):
            raise error_from_json(self.provider, data, reply.status, reply.headers)

    def _pool_for(self, url: str) -> Pool:
        """Return the connections of the running loop, or the client that was passed in."""
        if self._given is not None:
            if self._pool is None:
                self._library = _library_of(self._given)
                self._pool = Pool(self._given, self._library)
            if self._given.is_closed:
                raise InvalidRequestError("http_client", "is closed")
            return self._pool
        loop, pool = asyncio.get_running_loop(), self._pool
        if pool is None or self._loop is not loop or pool.client.is_closed:
            # Connections of another loop cannot be closed from this one; they go with their loop.
            pool = self._pool = (self._connections or loop_connections()).pool(url, self)
            self._library, self._loop = pool.library, loop
        return pool


def _library_of(client: Any) -> Any:
    """Return the module that an asynchronous client comes from: httpx, or httpx2."""
    for kind in type(client).__mro__:
        root = kind.__module__.partition(".")[0]
        if root.startswith("httpx"):
            library = importlib.import_module(root)
            if isinstance(client, library.AsyncClient):
                return library
    msg = f"must be an httpx.AsyncClient, not {type(client).__name__}"
    raise InvalidRequestError("http_client", msg)
