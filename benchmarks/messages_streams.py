"""Decoding streams of the Messages API: the time per event, and the memory of a very long one."""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable
from functools import partial
from importlib import util
from pathlib import Path
from typing import Any, Final

import httpx
import orjson

from llmcache import AnthropicProvider, StreamEventType
from llmcache.providers.anthropic_messages import MessagesDialect
from llmcache.providers.sse import SSEDecoder
from llmcache.types import WireEvent

from .runner import Bar, Options, Row, Turn, interleave, row_of
from .size import recordings

__all__ = ["rows"]

_GROUP: Final = "streams of the Messages API"
_LONGEST: Final = 5
_CHUNK: Final = 4_096
_MIB: Final = 2**20

Pass = Callable[[list[bytes]], int]


async def rows(options: Options) -> list[Row]:
    """Return the time per event of our decoder and the official SDK's, and the memory row."""
    sources = {"made up, 2,000 words": [b"".join(_stream(2_000))]}
    folder = recordings()
    if folder is not None:
        sources[f"{_LONGEST} longest recorded"] = _longest(folder)
    lines: list[Row] = []
    for title, streams in sources.items():
        lines += await _decoding(title, streams, rounds=5 if options.quick else 30)
    lines.append(await _memory((10 if options.quick else 100) * 10**6))
    return lines


def _longest(folder: Path) -> list[bytes]:
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    files = [row["file"] for row in manifest if row["endpoint"] == "messages" and row["stream"]]
    exchanges = [json.loads((folder / name).read_text(encoding="utf-8")) for name in files]
    bodies = {exchange["response"]["body"].encode() for exchange in exchanges}
    return sorted(bodies, key=len, reverse=True)[:_LONGEST]


def _event(kind: str, **fields: Any) -> bytes:
    data = orjson.dumps({"type": kind, **fields})
    return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"


def _word(text: str) -> bytes:
    return _event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})


def _stream(words: int) -> list[bytes]:
    """Return the events of an answer of so many words."""
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}
    usage = {"input_tokens": 10, "output_tokens": 1}
    ends = {"stop_reason": "end_turn", "stop_sequence": None}
    return [
        _event("message_start", message={**message, "stop_reason": None, "usage": usage}),
        _event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        *[_word(f"word{number % 100} ") for number in range(words)],
        _event("content_block_stop", index=0),
        _event("message_delta", delta=ends, usage={"output_tokens": words}),
        _event("message_stop"),
    ]


# --- time -----------------------------------------------------------------------------------------


async def _decoding(title: str, bodies: list[bytes], rounds: int) -> list[Row]:
    passes: dict[str, Pass] = {"ours": _ours}
    if util.find_spec("anthropic") is not None:
        passes["anthropic"] = _official()
    times = max(1, 2_000 // _ours(bodies))

    def turn(work: Pass) -> Turn:
        async def run(calls: int) -> list[float]:
            samples = []
            for _ in range(calls):
                started = time.perf_counter_ns()
                events = sum(work(bodies) for _ in range(times))
                samples.append((time.perf_counter_ns() - started) / 1e3 / events)
            return samples

        return run

    samples = await interleave(
        {name: turn(work) for name, work in passes.items()}, rounds=rounds, calls=2
    )
    row = partial(row_of, samples, group=_GROUP)
    found = [row("ours", title=f"llmcache: SSE + message decoder ({title})")]
    if "anthropic" in passes:
        # Their events per second over ours: 0.8 x theirs is the least that we may reach.
        found[0] = row(
            "ours",
            title=f"llmcache: SSE + message decoder ({title})",
            against="anthropic",
            against_title="anthropic SDK",
            bar=Bar("ratio", "<=", 1.25),
        )
        found.append(
            row("anthropic", title=f"anthropic SDK: Stream[RawMessageStreamEvent] ({title})")
        )
    for each in found:
        each.details["events_per_second"] = round(1e6 / (each.median or 1))
        each.note = f"{each.details['events_per_second']:,} events/s"
    return found


def _ours(bodies: list[bytes]) -> int:
    """Return the number of wire events; each stream is decoded to its whole answer."""
    events = 0
    for body in bodies:
        lines, decoder = SSEDecoder(), MessagesDialect().decoder()
        for start in range(0, len(body), _CHUNK):
            for event in lines.feed(body[start : start + _CHUNK]):
                decoder.feed(WireEvent(event.data, event.event))
                events += 1
        decoder.finish()
    return events


def _official() -> Pass:
    """Return a pass through the official SDK: its SSE decoder and its event models."""
    import httpx2  # noqa: PLC0415 - comes with the SDK, which is optional
    from anthropic import Anthropic, Stream  # noqa: PLC0415
    from anthropic.types import RawMessageStreamEvent  # noqa: PLC0415

    client = Anthropic(api_key="sk-benchmark", base_url="http://127.0.0.1:9")
    request = httpx2.Request("POST", "http://127.0.0.1:9/v1/messages")
    kind: Any = RawMessageStreamEvent

    def go(bodies: list[bytes]) -> int:
        events = 0
        for body in bodies:
            pieces = [body[start : start + _CHUNK] for start in range(0, len(body), _CHUNK)]
            response = httpx2.Response(200, content=iter(pieces), request=request)
            raw: Any = Stream(cast_to=kind, response=response, client=client)
            # Without its accumulation, which ours has: the harder neighbour.
            events += sum(1 for _ in raw) + body.count(b"event: ping")
        return events

    return go


# --- memory ---------------------------------------------------------------------------------------


async def _memory(size: int) -> Row:
    """Return the peak of a stream of `size` bytes above its own text, until its last event."""

    async def body() -> AsyncIterator[bytes]:
        start, begins, *words, stops, delta, stop = _stream(100)
        yield start + begins
        some = b"".join(words)
        for _ in range(size // len(some)):
            yield some
        yield stops + delta + stop

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=body(), headers={"content-type": "text/event-stream"})

    client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    provider = AnthropicProvider(
        "m", api_key="sk-benchmark", cache_backend=None, http_client=client
    )
    text = peak = 0
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        async for event in provider.stream("q"):
            if event.type is StreamEventType.TOKEN:
                text += len(event.data)
            elif event.type is StreamEventType.USAGE:
                peak = tracemalloc.get_traced_memory()[1] - before
        whole = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
        await client.aclose()
        await provider.close()
    title = f"memory above its text, a stream of {size // 10**6} MB (tracemalloc)"
    note = f"text {text / _MIB:.1f} MiB; peak {peak / _MIB:.1f} MiB, {whole / _MIB:.1f} with the answer"
    above = (peak - text) / _MIB
    return Row(_GROUP, title, "MiB", above, bar=Bar("median", "<=", 4), note=note)
