"""Whether a stream of eight times the chunks costs eight times the time, whatever it brings."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any, Final

import orjson

from llmcache.providers.openai_chat import ChatDialect
from llmcache.types import WireEvent

from .runner import Bar, Options, Row, Turn, interleave, row_of

__all__ = ["LONG_STREAMS", "LongStream", "rows"]

_GROUP: Final = "streams of eight times the length, per chunk"

LongStream = Callable[[int], list[bytes]]
"""Returns the data of a stream's events, of as many chunks as asked for."""


async def rows(options: Options) -> list[Row]:
    """Return the time per chunk of long streams beside that of short ones, by what they bring."""
    found = []
    for title, stream in LONG_STREAMS.items():
        turns = {"short": _turn(stream, 500), "long": _turn(stream, 4_000)}
        samples = await interleave(turns, rounds=3 if options.quick else 15, calls=1)
        row = row_of(
            samples,
            "long",
            group=_GROUP,
            title=title,
            against="short",
            against_title="500 chunks",
            bar=Bar("ratio", "<=", 1.5),
        )
        found.append(row)
    return found


def _turn(stream: LongStream, count: int) -> Turn:
    events = [WireEvent(data) for data in stream(count)]

    async def run(calls: int) -> list[float]:
        return [_seconds(events) * 1e6 / count for _ in range(calls)]

    return run


def _seconds(events: list[WireEvent]) -> float:
    decoder = ChatDialect("test").decoder()
    gc.collect()
    gc.disable()  # a collection in the middle costs more than most streams
    try:
        started = time.process_time()
        for event in events:
            decoder.feed(event)
        decoder.finish()
        return time.process_time() - started
    finally:
        gc.enable()


# --- what streams bring ---------------------------------------------------------------------------


def _stream(chunk_of: Callable[[int], dict[str, Any]]) -> LongStream:
    def build(count: int) -> list[bytes]:
        chunks = [*map(chunk_of, range(count)), _chunk({}, finish_reason="stop")]
        return [*map(orjson.dumps, chunks), b"[DONE]"]

    return build


def _chunk(delta: dict[str, Any], index: int = 0, **choice: Any) -> dict[str, Any]:
    fields = {"index": index, "delta": delta, "finish_reason": None, **choice}
    return {"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [fields]}


def _call(index: int, arguments: str, **fields: Any) -> dict[str, Any]:
    call = {"index": index, "function": {"name": "f", "arguments": arguments}, **fields}
    return {"tool_calls": [call]}


def _logprob(token: str) -> dict[str, Any]:
    return {"content": [{"token": token, "logprob": -0.1, "bytes": [97]}]}


_THOUGHT: Final = [{"type": "thinking", "thinking": "a"}]

LONG_STREAMS: Final[dict[str, LongStream]] = {
    "text": _stream(lambda _: _chunk({"content": "a"})),
    "reasoning": _stream(lambda _: _chunk({"reasoning_content": "a"})),
    "arguments of one call": _stream(
        lambda n: _chunk(_call(0, "a") if n else _call(0, "", id="a", type="function"))
    ),
    "legacy arguments": _stream(
        lambda _: _chunk({"function_call": {"name": "f", "arguments": "a"}})
    ),
    "reasoning details": _stream(
        lambda _: _chunk({"reasoning_details": [{"index": 0, "text": "a"}]})
    ),
    "details without index": _stream(lambda _: _chunk({"reasoning_details": [{"text": "a"}]})),
    "choices": _stream(lambda n: _chunk({"content": "a"}, n, finish_reason="stop")),
    "logprobs": _stream(lambda _: _chunk({"content": "a"}, logprobs=_logprob("a"))),
    "parts": _stream(lambda _: _chunk({"content": _THOUGHT})),
    "text after a part": _stream(lambda n: _chunk({"content": "a" if n else _THOUGHT})),
    "calls": _stream(lambda n: _chunk(_call(n, "{}", id=f"c{n}", type="function"))),
    "images": _stream(lambda n: _chunk({"images": [{"index": n, "url": "a"}]})),
}
