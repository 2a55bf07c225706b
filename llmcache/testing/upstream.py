"""A small HTTP server on this machine, to stand in for a provider. Never for production.

`Upstream` serves whatever a function answers and remembers what it was asked;
`DemoUpstream` answers like a chat-completions and embeddings server, always the
same for the same request, with made-up text, after a pause.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import inspect
import json
import re
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

import h11

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


_SENTENCES: Final = (
    "A write-ahead log records every change before it is applied.",
    "After a crash the log is replayed, so nothing that was acknowledged is lost.",
    "Readers see a consistent state while writers append.",
    "A checkpoint folds the log into the main file from time to time.",
    "The log is written in order, which disks like.",
    "Two systems that replay the same log end in the same state.",
)
# The demo's own price list, in US dollars per token; it is reported as OpenRouter reports cost.
_INPUT_PRICE: Final = 2.5e-6
_OUTPUT_PRICE: Final = 1e-5
_VECTOR_PRICE: Final = 2e-8
_DEFAULT_DIMENSIONS: Final = 256


class DemoUpstream(Upstream):
    """Answers chat completions, streamed and whole, and embeddings.

    `latency` is the seconds before the first byte, `token_delay` those between
    two words of a stream.
    """

    def __init__(self, *, latency: float = 0.0, token_delay: float = 0.0) -> None:
        """Answer at once, unless told otherwise."""
        super().__init__(self._answer)
        self.latency = latency
        self.token_delay = token_delay

    async def _answer(self, request: UpstreamRequest) -> Reply:
        await asyncio.sleep(self.latency)
        try:
            body = request.json()
        except ValueError:
            return _error(400, "the body is not JSON", "invalid_request_error")
        if request.path.endswith("/chat/completions"):
            return self._chat(body)
        if request.path.endswith("/embeddings"):
            return Reply(body=json.dumps(_embeddings(body)).encode())
        return _error(404, f"no such path: {request.path}", "not_found")

    def _chat(self, body: Mapping[str, Any]) -> Reply:
        completion = _completion(body)
        if not body.get("stream"):
            return Reply(body=json.dumps(completion).encode(), headers=_request_id(body))
        wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        chunks = _chunks(completion, wants_usage=wants_usage)
        headers = {"content-type": "text/event-stream", **_request_id(body)}
        return Reply(body=self._paced(chunks), headers=headers)

    async def _paced(self, chunks: list[bytes]) -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk
            if self.token_delay:
                await asyncio.sleep(self.token_delay)


def _request_id(body: Mapping[str, Any]) -> dict[str, str]:
    return {"x-request-id": f"req_{_digest(body)[:32]}"}


def _digest(body: Mapping[str, Any]) -> str:
    asked = {k: v for k, v in body.items() if k not in {"stream", "stream_options"}}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _completion(body: Mapping[str, Any]) -> dict[str, Any]:
    number = int(_digest(body), 16)
    picked = [_SENTENCES[(number >> shift) % len(_SENTENCES)] for shift in (0, 8, 16)]
    text = " ".join(dict.fromkeys(picked))
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
    finish = "stop"
    tools = body.get("tools")
    if tools and body.get("tool_choice") == "required":
        function = {"name": tools[0]["function"]["name"], "arguments": '{"city":"Paris"}'}
        call = {"id": f"call_{_digest(body)[:24]}", "type": "function", "function": function}
        message |= {"content": None, "tool_calls": [call]}
        finish = "tool_calls"
    prompt = max(1, len(json.dumps(body.get("messages", []))) // 4)
    answer = max(1, len(text) // 4)
    choices = [
        {"index": index, "message": message, "logprobs": None, "finish_reason": finish}
        for index in range(body.get("n") or 1)
    ]
    return {
        "id": f"chatcmpl-{_digest(body)[:29]}",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": body.get("model", "demo"),
        "choices": choices,
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": answer,
            "total_tokens": prompt + answer,
            "cost": round(prompt * _INPUT_PRICE + answer * _OUTPUT_PRICE, 9),
        },
    }


def _chunks(completion: Mapping[str, Any], *, wants_usage: bool) -> list[bytes]:
    top = {k: completion[k] for k in ("id", "created", "model")}
    top["object"] = "chat.completion.chunk"
    chunks: list[dict[str, Any]] = []

    def add(index: int, delta: Mapping[str, Any], finish: str | None = None) -> None:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        chunks.append({**top, "choices": [choice]})

    for choice in completion["choices"]:
        index, message = choice["index"], choice["message"]
        add(index, {"role": "assistant", "content": None if message["content"] is None else ""})
        for word in re.findall(r"\s*\S+", message["content"] or ""):
            add(index, {"content": word})
        for number, call in enumerate(message.get("tool_calls") or ()):
            add(index, {"tool_calls": [{"index": number, **call}]})
        add(index, {}, choice["finish_reason"])
    if wants_usage:
        chunks.append({**top, "choices": [], "usage": completion["usage"]})
    lines = [f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks]
    return [*lines, b"data: [DONE]\n\n"]


def _embeddings(body: Mapping[str, Any]) -> dict[str, Any]:
    inputs = body["input"]
    items = inputs if isinstance(inputs, list) and not _is_tokens(inputs) else [inputs]
    dimensions = body.get("dimensions") or _DEFAULT_DIMENSIONS
    data = []
    for index, item in enumerate(items):
        vector = _vector(json.dumps(item), dimensions)
        coded: Any = vector
        if body.get("encoding_format") == "base64":
            coded = base64.b64encode(struct.pack(f"<{dimensions}f", *vector)).decode()
        data.append({"object": "embedding", "index": index, "embedding": coded})
    tokens = max(1, len(json.dumps(items)) // 4)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens, "cost": tokens * _VECTOR_PRICE}
    return {"object": "list", "data": data, "model": body.get("model", "demo"), "usage": usage}


def _is_tokens(value: list[Any]) -> bool:
    return bool(value) and all(isinstance(item, int) for item in value)


def _vector(text: str, dimensions: int) -> list[float]:
    """Return made-up numbers of unit length, exact in float32, the same for the same text."""
    stream = hashlib.shake_256(text.encode()).digest(dimensions * 2)
    numbers = [n / 32_768 - 1 for n in struct.unpack(f"<{dimensions}H", stream)]
    norm = sum(n * n for n in numbers) ** 0.5 or 1.0
    packed = struct.pack(f"<{dimensions}f", *(n / norm for n in numbers))
    return list(struct.unpack(f"<{dimensions}f", packed))


def _error(status: int, message: str, kind: str) -> Reply:
    error = {"message": message, "type": kind, "param": None, "code": None}
    return Reply(status, json.dumps({"error": error}).encode())
