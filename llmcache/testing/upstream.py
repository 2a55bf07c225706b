"""A small HTTP server on this machine, to stand in for a provider. Never for production.

`Upstream` serves whatever a function answers and remembers what it was asked;
`DemoUpstream` answers like OpenAI's, Anthropic's and Ollama's servers, always the same for
the same request, with made-up text, after a pause.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

import h11

from . import _demo_answers as made_up

__all__ = ["DemoUpstream", "Reply", "Upstream", "UpstreamRequest"]

_READ_SIZE: Final = 65_536


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """One request that arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body, parsed."""
        return json.loads(self.body)


@dataclass(slots=True)
class Reply:
    """What to answer. A `body` of many pieces is sent chunked, one piece at a time.

    `cut`: break the connection off after the body, instead of ending it properly.
    """

    status: int = 200
    body: bytes | AsyncIterator[bytes] = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False


Handler: TypeAlias = Callable[[UpstreamRequest], Reply | Awaitable[Reply]]


class Upstream:
    """Serves `handler` on a free port of the loopback interface, while it is open.

    async with Upstream(lambda request: Reply(body=b"{}")) as upstream:
        ... upstream.base_url ... upstream.requests ...
    """

    def __init__(self, handler: Handler) -> None:
        """Listen to nothing yet."""
        self.requests: list[UpstreamRequest] = []
        self._handler = handler
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def calls(self) -> int:
        """How many requests have arrived."""
        return len(self.requests)

    @property
    def base_url(self) -> str:
        """Where the server listens, with the `/v1` that clients expect."""
        if self._server is None:
            msg = "the upstream is not open"
            raise RuntimeError(msg)
        port = self._server.sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}/v1"

    async def __aenter__(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, backlog=2048)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop listening and break off what is under way."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._server = None

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            with contextlib.suppress(
                ConnectionError, asyncio.CancelledError, h11.RemoteProtocolError
            ):
                await self._serve(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=2**20)
        while True:
            request = await _next_request(connection, reader)
            if request is None:
                return
            self.requests.append(request)
            answer = self._handler(request)
            reply = await answer if inspect.isawaitable(answer) else answer
            if not await _send(connection, writer, reply):
                return
            connection.start_next_cycle()


async def _next_request(
    connection: h11.Connection, reader: asyncio.StreamReader
) -> UpstreamRequest | None:
    head: h11.Request | None = None
    body: list[bytes] = []
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            if connection.they_are_waiting_for_100_continue:
                return None
            connection.receive_data(await reader.read(_READ_SIZE))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body.append(bytes(event.data))
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            headers = {name.decode(): value.decode("latin-1") for name, value in head.headers}
            method, path = head.method.decode(), head.target.decode()
            return UpstreamRequest(method, path, headers, b"".join(body))
        else:
            return None


async def _send(connection: h11.Connection, writer: asyncio.StreamWriter, reply: Reply) -> bool:
    """Send a reply; return whether the connection can be used again."""
    headers = {"content-type": "application/json", **reply.headers}
    if isinstance(reply.body, bytes):
        pieces = _once(reply.body)
        if not reply.cut:
            headers["content-length"] = str(len(reply.body))
    else:
        pieces = reply.body
    if "content-length" not in headers:
        headers["transfer-encoding"] = "chunked"
    event = h11.Response(status_code=reply.status, headers=list(headers.items()))
    writer.write(connection.send(event) or b"")
    async for piece in pieces:
        if piece:
            writer.write(connection.send(h11.Data(data=piece)) or b"")
            await writer.drain()
    if reply.cut:
        await writer.drain()
        return False
    writer.write(connection.send(h11.EndOfMessage()) or b"")
    await writer.drain()
    return connection.our_state is h11.DONE and connection.their_state is h11.DONE


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body


class DemoUpstream(Upstream):
    """Answers the APIs of this package's providers, streamed and whole.

    Chat completions, responses, messages and their count of tokens, Ollama's chat and
    generate, embeddings of OpenAI's and Ollama's. `base_url` is for OpenAI's and
    Anthropic's clients, `host` for Ollama's.

    `latency` is the seconds before the first byte, `token_delay` those between
    two words of a stream.
    """

    def __init__(self, *, latency: float = 0.0, token_delay: float = 0.0) -> None:
        """Answer at once, unless told otherwise."""
        super().__init__(self._answer)
        self.latency = latency
        self.token_delay = token_delay

    @property
    def host(self) -> str:
        """Where the server listens, without a path."""
        return self.base_url.removesuffix("/v1")

    async def _answer(self, request: UpstreamRequest) -> Reply:
        await asyncio.sleep(self.latency)
        if request.path.endswith("/api/tags"):
            return Reply(body=json.dumps(made_up.TAGS).encode())
        try:
            body = request.json()
        except ValueError:
            return _error(400, "the body is not JSON", "invalid_request_error")
        api = made_up.api_of(request.path)
        if api is None:
            return _error(404, f"no such path: {request.path}", "not_found")
        headers = {"x-request-id": f"req_{made_up.digest(body)[:32]}"}
        whole = api.whole(body)
        if api.stream is None or not body.get("stream", api.streams_unasked):
            return Reply(body=json.dumps(whole).encode(), headers=headers)
        headers["content-type"] = api.content_type
        return Reply(body=self._paced(api.stream(whole, body)), headers=headers)

    async def _paced(self, pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece
            if self.token_delay:
                await asyncio.sleep(self.token_delay)


def _error(status: int, message: str, kind: str) -> Reply:
    error = {"message": message, "type": kind, "param": None, "code": None}
    return Reply(status, json.dumps({"error": error}).encode())
