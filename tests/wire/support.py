"""Shared by the tests of what goes over the wire: servers that answer as told, and the shapes they send."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import pytest

from llmcache import OpenAIProvider, ProviderError, StreamEvent, StreamEventType
from llmcache.testing.upstream import Handler, Reply, Upstream, UpstreamRequest
from llmcache.types import CacheEntry, CompletionResult, WireEvent

SECRET = "sk-test-secret-0123456789"
DONE = WireEvent(b"[DONE]")
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
EVENT_STREAM = {"content-type": "text/event-stream"}

Open: TypeAlias = Callable[[Upstream], OpenAIProvider]
Answer: TypeAlias = Reply | Sequence[Reply] | Handler


# --- servers and providers --------------------------------------------------------------------


class Sleeps(list[float]):
    """Stands in for `asyncio.sleep` between two attempts: notes the seconds, does not wait."""

    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


def handler(answer: Answer) -> Handler:
    """Return a handler: one reply for ever, or a list of them in turn (the last for ever)."""
    if callable(answer):
        return answer
    replies = [answer] if isinstance(answer, Reply) else list(answer)
    turns = iter(range(1_000_000))

    def reply(_: UpstreamRequest) -> Reply:
        return replies[min(next(turns), len(replies) - 1)]

    return reply


def provider_of(upstream: Upstream, **options: Any) -> OpenAIProvider:
    """Return a provider of `upstream` that keeps its cache in memory and never really sleeps."""
    options = {
        "model": "demo",
        "base_url": upstream.base_url,
        "api_key": SECRET,
        "cache_backend": "memory",
        "sleep": Sleeps(),
        **options,
    }
    return OpenAIProvider(**options)


def sleeps(provider: OpenAIProvider) -> Sleeps:
    """Return the waits between attempts so far."""
    noted: Any = provider._transport._sleep
    assert isinstance(noted, Sleeps)
    return noted


@contextlib.asynccontextmanager
async def serving(
    answer: Answer, **options: Any
) -> AsyncGenerator[tuple[OpenAIProvider, Upstream], None]:
    """Open a server that answers `answer`, and a provider of it."""
    async with Upstream(handler(answer)) as upstream, provider_of(upstream, **options) as provider:
        yield provider, upstream


@contextlib.asynccontextmanager
async def raw_server(*writes: bytes, hang: bool = False) -> AsyncGenerator[str, None]:
    """Open a server below HTTP: it reads a request, writes these bytes, and closes (or hangs)."""
    released = asyncio.Event()
    served: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        served.add(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                (
                    int(line[15:])
                    for line in head.lower().split(b"\r\n")
                    if line[:15] == b"content-length:"
                ),
                0,
            )
            await reader.readexactly(length)
            for piece in writes:
                writer.write(piece)
                await writer.drain()
            if hang:
                await released.wait()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        released.set()
        server.close()
        if served:
            await asyncio.wait(served)


# --- what is stored ---------------------------------------------------------------------------


async def stored(provider: OpenAIProvider) -> list[CacheEntry]:
    """Return every entry that the provider's cache holds."""
    store = provider.cache.store
    await store.settle()
    keys = [info.key async for info in store.backend.scan()]
    return list((await store.fetch(provider.cache.collection, keys)).values())


async def collect(events: AsyncIterator[StreamEvent]) -> list[StreamEvent]:
    """Return all events of a stream."""
    return [event async for event in events]


async def until_error(
    events: AsyncIterator[StreamEvent],
) -> tuple[list[StreamEvent], ProviderError]:
    """Return the events of a stream that fails, and its error."""
    seen: list[StreamEvent] = []
    try:
        async for event in events:
            seen.append(event)  # noqa: PERF401 - what came before the error counts
    except ProviderError as error:
        return seen, error
    pytest.fail("the stream did not fail")


def final(events: Sequence[StreamEvent]) -> CompletionResult:
    """Return the whole answer that a complete stream ends with."""
    assert events[-1].type is StreamEventType.DONE
    assert sum(event.type is StreamEventType.DONE for event in events) == 1
    answer = events[-1].data
    assert isinstance(answer, CompletionResult)
    return answer


def data_of(events: Iterable[StreamEvent], kind: StreamEventType) -> list[Any]:
    """Return what the events of one kind carry."""
    return [event.data for event in events if event.type is kind]


def without_cache(result: Any) -> dict[str, Any]:
    """Return a result as JSON, without where it came from."""
    return {name: value for name, value in result.to_dict().items() if name != "cache"}


# --- shapes -----------------------------------------------------------------------------------


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


def completion(content: str | None = "hi", *, finish: Any = "stop", **top: Any) -> dict[str, Any]:
    """Return a whole chat completion."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": content},
        "finish_reason": finish,
    }
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "demo",
        "choices": [choice],
        "usage": USAGE,
        **top,
    }


def chunk(
    delta: Mapping[str, Any] | None = None,
    finish: str | None = None,
    *,
    index: int = 0,
    choice: Mapping[str, Any] | None = None,
    **top: Any,
) -> dict[str, Any]:
    """Return one chunk; no `delta` and no `finish` is a chunk without choices."""
    choices = []
    if delta is not None or finish is not None or choice is not None:
        given = {"index": index, "delta": dict(delta or {}), "finish_reason": finish}
        choices.append({**given, **(choice or {})})
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "demo",
        "choices": choices,
        **top,
    }


def call_piece(index: int | None, arguments: str = "", **fields: Any) -> dict[str, Any]:
    """Return a delta with one piece of a tool call."""
    function: dict[str, Any] = {"arguments": arguments}
    if "name" in fields:
        function["name"] = fields.pop("name")
    piece: dict[str, Any] = {"function": function, **fields}
    if index is not None:
        piece["index"] = index
    return {"tool_calls": [piece]}


def wire(*chunks: Mapping[str, Any] | str) -> list[WireEvent]:
    """Return chunks as the events that a decoder is fed; text goes as it is."""
    return [WireEvent(c.encode() if isinstance(c, str) else as_json(c)) for c in chunks]


def sse(*chunks: Mapping[str, Any] | str, end: str = "\n") -> bytes:
    """Return chunks as an event stream; text goes as it is."""
    payloads = [c if isinstance(c, str) else json.dumps(c, ensure_ascii=False) for c in chunks]
    return "".join(f"data: {payload}{end}{end}" for payload in payloads).encode()


def answer_stream(text: str = "one two three", *, usage: bool = True) -> list[dict[str, Any] | str]:
    """Return the chunks of a plain answer, closed as OpenAI closes it."""
    words = [chunk({"content": f"{word} "}) for word in text.split()]
    closing = [chunk(usage=USAGE)] if usage else []
    return [
        chunk({"role": "assistant", "content": ""}),
        *words,
        chunk(finish="stop"),
        *closing,
        "[DONE]",
    ]


async def pieces(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Send a body in these pieces."""
    for part in parts:
        yield part


def streamed(body: bytes, *, cut: bool = False, **headers: str) -> Callable[[Any], Reply]:
    """Return a handler that answers `body` as an event stream."""
    return lambda _: Reply(body=body, headers={**EVENT_STREAM, **headers}, cut=cut)
