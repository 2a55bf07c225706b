"""The memory of a very long stream of each API, above the text that it says."""

from __future__ import annotations

import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import httpx
import orjson

from llmcache import AnthropicProvider, OllamaProvider, OpenAIProvider, StreamEventType

from . import exchange
from .runner import Bar, Options, Row

__all__ = ["Long", "message_stream", "rows"]

_GROUP: Final = "long streams"
_URL: Final = "http://127.0.0.1:9"
_MIB: Final = 2**20
_WORDS: Final = 100
_EVENTS: Final = "text/event-stream"


@dataclass(frozen=True)
class Long:
    """A stream that is as long as one likes: its events before, during and after the words."""

    title: str
    provider: Callable[..., Any]
    method: str
    begin: bytes
    words: bytes
    end: bytes
    kind: str = _EVENTS


async def rows(options: Options) -> list[Row]:
    """Return, by API, the peak of a stream above its own text, until its last word."""
    size = (10 if options.quick else 100) * 10**6
    found = []
    for each in _streams():
        await _read(each, 1, lambda: None)  # what the first call of a process loads is no stream
        found.append(await _memory(each, size))
    return found


async def _memory(long: Long, size: int) -> Row:
    peaks: list[int] = []
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        text = await _read(
            long,
            size // len(long.words),
            lambda: peaks.append(tracemalloc.get_traced_memory()[1] - before),
        )
        whole = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    peak = peaks[0]
    title = f"{long.title}: memory above its text, {size // 10**6} MB (tracemalloc)"
    note = f"text {text / _MIB:.1f} MiB; peak {peak / _MIB:.1f} MiB, {whole / _MIB:.1f} with the answer"
    above = (peak - text) / _MIB
    return Row(_GROUP, title, "MiB", above, bar=Bar("median", "<=", 4), note=note)


async def _read(long: Long, times: int, at_last_word: Callable[[], None]) -> int:
    """Return how much text a stream with its words so many times over says."""

    async def body() -> AsyncIterator[bytes]:
        yield long.begin
        for _ in range(times):
            yield long.words
        at_last_word()
        yield long.end

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=body(), headers={"content-type": long.kind})

    text = 0
    async with (
        httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client,
        long.provider(cache_backend=None, http_client=client) as provider,
    ):
        async for event in getattr(provider, long.method)("q"):
            if event.type is StreamEventType.TOKEN:
                text += len(event.data)
    return text


# --- what is streamed -----------------------------------------------------------------------------


def _streams() -> Iterator[Long]:
    first, *words, stop, usage, done = exchange.stream_chunks(_WORDS)
    yield Long("chat", _openai, "stream", first, b"".join(words), stop + usage + done)
    yield _responses()
    start, begins, *words, stops, delta, stop = message_stream(_WORDS)
    ends = stops + delta + stop
    yield Long("messages", _anthropic, "stream", start + begins, b"".join(words), ends)
    yield _ollama("ollama chat", "stream", exchange.ollama_stream(_WORDS))
    generated = b"".join(map(_as_generated, exchange.ollama_stream(_WORDS).splitlines()))
    yield _ollama("ollama generate", "generate_stream", generated)


def _openai(**options: Any) -> OpenAIProvider:
    return OpenAIProvider("m", api_key="sk-benchmark", base_url=_URL, **options)


def _by_responses(**options: Any) -> OpenAIProvider:
    return _openai(use_responses_api=True, **options)


def _anthropic(**options: Any) -> AnthropicProvider:
    return AnthropicProvider("m", api_key="sk-benchmark", **options)


def _of_ollama(**options: Any) -> OllamaProvider:
    return OllamaProvider("m", base_url=_URL, **options)


def _event(kind: str, **fields: Any) -> bytes:
    data = orjson.dumps({"type": kind, **fields})
    return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"


def message_stream(words: int) -> list[bytes]:
    """Return the events of an answer of the Messages API, of so many words."""
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}
    usage = {"input_tokens": 10, "output_tokens": 1}
    ends = {"stop_reason": "end_turn", "stop_sequence": None}
    said = [{"type": "text_delta", "text": f"word{number % 100} "} for number in range(words)]
    return [
        _event("message_start", message={**message, "stop_reason": None, "usage": usage}),
        _event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        *[_event("content_block_delta", index=0, delta=delta) for delta in said],
        _event("content_block_stop", index=0),
        _event("message_delta", delta=ends, usage={"output_tokens": words}),
        _event("message_stop"),
    ]


def _responses() -> Long:
    at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    item = {"id": "msg_1", "type": "message", "role": "assistant", "content": []}
    response = {"id": "resp_1", "object": "response", "model": "m", "output": []}
    begin = _event("response.created", response={**response, "status": "in_progress"})
    begin += _event("response.output_item.added", output_index=0, item=item)
    words = [
        _event("response.output_text.delta", **at, delta=f"word{number} ", sequence_number=number)
        for number in range(_WORDS)
    ]
    # The real last events repeat the text, which is another matter than the words on their way.
    said = {**item, "content": [{"type": "output_text", "text": "…", "annotations": []}]}
    usage = {"input_tokens": 10, "output_tokens": 1, "total_tokens": 11}
    whole = {**response, "status": "completed", "output": [said], "usage": usage}
    end = _event("response.output_item.done", output_index=0, item=said)
    end += _event("response.completed", response=whole)
    return Long("responses", _by_responses, "stream", begin, b"".join(words), end)


def _ollama(title: str, method: str, stream: bytes) -> Long:
    *words, last = stream.splitlines(keepends=True)
    return Long(
        title, _of_ollama, method, b"", b"".join(words), last, kind="application/x-ndjson"
    )  # fmt: skip


def _as_generated(line: bytes) -> bytes:
    data = orjson.loads(line)
    return orjson.dumps({**data, "response": data.pop("message")["content"]}) + b"\n"
