"""Stand-ins for stores that fail, and small helpers. None of this is a real store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from llmcache import OpenAIProvider, StreamEvent, StreamEventType
from llmcache.backends import EntryInfo, MemoryBackend, StoredEntry
from llmcache.testing.upstream import Reply, Upstream, UpstreamRequest
from llmcache.types import CompletionResult


class BrokenBackend(MemoryBackend):
    """A stand-in that raises, hangs or returns garbage in the operations it is told to."""

    name = "broken"

    def __init__(self, fault: str, operations: set[str]) -> None:
        super().__init__()
        self.fault = fault
        self.operations = operations
        self.asked: list[str] = []

    async def _fail(self, operation: str) -> Any:
        self.asked.append(operation)
        if operation not in self.operations:
            return None
        if self.fault == "raises":
            raise RuntimeError("the disk is on fire")
        if self.fault == "os error":
            raise OSError(28, "No space left on device")
        if self.fault == "hangs":
            await asyncio.Event().wait()
        return _GARBAGE.get(operation)

    async def get(self, collection: str, keys: Sequence[str], /) -> Mapping[str, bytes]:
        garbage = await self._fail("get")
        if garbage is not None:
            return garbage(keys) if callable(garbage) else garbage
        return await super().get(collection, keys)

    async def put(self, collection: str, entries: Sequence[StoredEntry], /) -> None:
        await self._fail("put")
        await super().put(collection, entries)

    async def try_lease(self, collection: str, key: str, /) -> Any:
        await self._fail("lease")
        return await super().try_lease(collection, key)

    async def revision(self, collection: str, /) -> int:
        await self._fail("revision")
        return await super().revision(collection)

    async def dictionaries(self, collection: str, /) -> Sequence[bytes]:
        await self._fail("dictionaries")
        return await super().dictionaries(collection)

    async def scan(self, collection: str | None = None, /) -> AsyncIterator[EntryInfo]:
        await self._fail("scan")
        async for info in super().scan(collection):
            yield info

    async def aclose(self) -> None:
        await self._fail("close")


_GARBAGE: dict[str, Any] = {
    "get": lambda keys: dict.fromkeys(keys, "not bytes"),
}


def completion(content: str | None = "fine", finish: str = "stop", **message: Any) -> bytes:
    """Return a chat completion as a server would send it."""
    turn = {"role": "assistant", "content": content, **message}
    choice = {"index": 0, "message": turn, "finish_reason": finish}
    usage = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
    data = {"id": "c-1", "model": "demo", "choices": [choice], "usage": usage}
    return json.dumps(data).encode()


def chunks(
    *words: str, finish: str | None = "stop", done: bool = True, usage: bool = True
) -> bytes:
    """Return an event stream as a server would send it."""
    deltas: list[dict[str, Any]] = [{"delta": {"content": word}} for word in words]
    if finish is not None:
        deltas.append({"delta": {}, "finish_reason": finish})
    lines = [
        {"id": "c-1", "model": "demo", "choices": [{"index": 0, "finish_reason": None, **delta}]}
        for delta in deltas
    ]
    if usage:
        counts = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
        lines.append({"id": "c-1", "model": "demo", "choices": [], "usage": counts})
    text = "".join(f"data: {json.dumps(line)}\n\n" for line in lines)
    return (text + ("data: [DONE]\n\n" if done else "")).encode()


def answering(*replies: bytes | Reply) -> Upstream:
    """Return an upstream that gives the replies in turn, and the last one for ever."""
    given = list(replies)

    def handler(request: UpstreamRequest) -> Reply:
        reply = given.pop(0) if len(given) > 1 else given[0]
        if isinstance(reply, Reply):
            return reply
        streamed = reply.startswith(b"data:")
        headers = {"content-type": "text/event-stream"} if streamed else {}
        return Reply(body=reply, headers=headers)

    return Upstream(handler)


async def events_of(provider: OpenAIProvider, *args: Any, **options: Any) -> list[StreamEvent]:
    """Return all events of a stream."""
    return [event async for event in provider.stream(*args, **options)]


async def streamed(provider: OpenAIProvider, *args: Any, **options: Any) -> CompletionResult:
    """Return the whole answer of a stream."""
    events = await events_of(provider, *args, **options)
    assert events[-1].type is StreamEventType.DONE
    result: CompletionResult = events[-1].data
    return result


async def ask(provider: OpenAIProvider, how: str, *args: Any, **options: Any) -> CompletionResult:
    """Ask whole or streamed."""
    if how == "complete":
        return await provider.complete(*args, **options)
    return await streamed(provider, *args, **options)


async def until(condition: Any, seconds: float = 10.0) -> None:
    """Wait until `condition()` holds; fail when it does not."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


class Gate:
    """An upstream handler that answers when it is told to."""

    def __init__(self, body: bytes) -> None:
        self.open = asyncio.Event()
        self.arrived = asyncio.Event()
        self.gone = 0
        self._body = body

    async def __call__(self, request: UpstreamRequest) -> Reply:
        self.arrived.set()
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.gone += 1
            raise
        return Reply(body=self._body)


class Clock:
    """The wall clock, set by hand. Intervals are measured by another clock and go on."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds
