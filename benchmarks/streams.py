"""Decoding an event stream and playing a stored one, a microsecond figure per event."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from importlib import util
from pathlib import Path
from typing import Any, Final

import orjson

from llmcache import OpenAIProvider, StreamEventType
from llmcache.providers.openai_chat import ChatDialect
from llmcache.providers.sse import SSEDecoder
from llmcache.testing.upstream import Reply, Upstream
from llmcache.types import WireEvent

from . import exchange, messages_streams
from .runner import Bar, Options, Row, Turn, interleave, row_of
from .size import recorded, recordings

__all__ = ["rows"]

_GROUP: Final = "streams, per event"
_LONGEST: Final = 5
_MADE_UP: Final = "made up, 2,000 words"
_RECORDED: Final = f"{_LONGEST} longest recorded"
# What a network delivers at a time, more or less.
_CHUNK: Final = 4_096

Pass = Callable[[list[bytes]], int]
"""Goes through some streams and returns the number of their events."""


async def rows(options: Options) -> list[Row]:
    """Return the time per event of our decoder, the official SDK's, and a replay."""
    sources = {_MADE_UP: [b"".join(exchange.stream_chunks(2_000))]}
    folder = recordings()
    if folder is not None:
        sources[_RECORDED] = _longest(folder)
    found: list[Row] = []
    for title, bodies in sources.items():
        found += await _decoding(title, bodies, rounds=5 if options.quick else 30)
    found += await _replay(options, sources[_MADE_UP][0])
    return found + await messages_streams.rows(options)


def _longest(folder: Path) -> list[bytes]:
    chats = [e for e in recorded(folder) if e["endpoint"] == "chat.completions" and e["stream"]]
    bodies = sorted((e["response"]["body"].encode() for e in chats), key=len, reverse=True)
    return list(dict.fromkeys(bodies))[:_LONGEST]


# --- decoding -------------------------------------------------------------------------------------


async def _decoding(title: str, bodies: list[bytes], rounds: int) -> list[Row]:
    passes: dict[str, Pass] = {"ours": _ours, "floor": _floor}
    if util.find_spec("openai") is not None:
        passes["openai"] = _official()
    # Streams of a few dozen events are too short for the clock: several passes a sample.
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

    turns = {name: turn(work) for name, work in passes.items()}
    samples = await interleave(turns, rounds=rounds, calls=2)
    row = partial(row_of, samples, group=_GROUP)
    against: dict[str, Any] = {"against": "ours", "against_title": "llmcache"}
    found = [
        row("ours", title=f"llmcache: SSE + chat decoder ({title})", against="floor"),
        row("floor", title="floor: split at blank lines + orjson.loads"),
    ]
    if "openai" in turns:
        found.append(row("openai", title="openai SDK: Stream[ChatCompletionChunk]", **against))
    for each in found:
        each.details["events_per_second"] = round(1e6 / (each.median or 1))
        each.note = f"{each.details['events_per_second']:,} events/s"
    return found


def _ours(bodies: list[bytes]) -> int:
    """Return the number of wire events; each stream is decoded to its whole answer."""
    events = 0
    for body in bodies:
        lines, decoder = SSEDecoder(), ChatDialect("openai").decoder()
        for start in range(0, len(body), _CHUNK):
            for event in lines.feed(body[start : start + _CHUNK]):
                decoder.feed(WireEvent(event.data, event.event))
                events += 1
        for event in lines.flush():
            decoder.feed(WireEvent(event.data, event.event))
            events += 1
        decoder.finish()
    return events


def _floor(bodies: list[bytes]) -> int:
    events = 0
    for body in bodies:
        for block in body.replace(b"\r\n", b"\n").split(b"\n\n"):
            data = block.partition(b"data:")[2].strip()
            if data:
                events += 1
                if data != b"[DONE]":
                    orjson.loads(data)
    return events


def _official() -> Pass:
    """Return a pass through the official SDK: its SSE decoder and its chunk models."""
    import httpx2  # noqa: PLC0415 - comes with the SDK, which is optional
    from openai import OpenAI, Stream  # noqa: PLC0415
    from openai.types.chat import ChatCompletionChunk  # noqa: PLC0415

    client = OpenAI(api_key="sk-benchmark", base_url="http://127.0.0.1:9/v1")
    request = httpx2.Request("POST", "http://127.0.0.1:9/v1/chat/completions")

    def go(bodies: list[bytes]) -> int:
        events = 0
        for body in bodies:
            pieces = [body[start : start + _CHUNK] for start in range(0, len(body), _CHUNK)]
            response = httpx2.Response(200, content=iter(pieces), request=request)
            stream = Stream(cast_to=ChatCompletionChunk, response=response, client=client)
            events += sum(1 for _ in stream) + 1  # `[DONE]` is an event of ours too
        return events

    return go


# --- replay ---------------------------------------------------------------------------------------


async def _replay(options: Options, body: bytes) -> list[Row]:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), _CHUNK):
            yield body[start : start + _CHUNK]

    def answer(_: Any) -> Reply:
        return Reply(body=pieces(), headers={"content-type": "text/event-stream"})

    async with Upstream(answer) as upstream:
        turns: dict[str, Turn] = {"decode": _timed_decode(body)}
        opened = []
        for name, memory in (("memory", 64 * 2**20), ("filesystem", 0)):
            provider = OpenAIProvider(
                model=exchange.MODEL,
                base_url=upstream.base_url,
                api_key="sk-benchmark",
                cache_dir=options.folder / "streams" / name,
                cache_options={"memory_bytes": memory},
            )
            opened.append(provider)
            await _read(provider)
            turns[name] = partial(_timed_replay, provider)
        samples = await interleave(turns, rounds=5 if options.quick else 20, calls=2)
        for provider in opened:
            await provider.close()
        calls = upstream.calls
    row = partial(row_of, samples, group=_GROUP, against="decode", against_title="decoding it")
    found = [
        row("memory", title=f"replay, memory tier ({_MADE_UP})"),
        row("filesystem", title=f"replay, filesystem ({_MADE_UP})"),
    ]
    for each in found:
        each.details["events_per_second"] = round(1e6 / (each.median or 1))
        each.note = f"{each.details['events_per_second']:,} events/s"
    bar = Bar("median", "==", len(found))
    return [*found, Row(_GROUP, "calls upstream for all replays", "calls", calls, bar=bar)]


def _timed_decode(body: bytes) -> Turn:
    async def run(calls: int) -> list[float]:
        samples = []
        for _ in range(calls):
            started = time.perf_counter_ns()
            events = _ours([body])
            samples.append((time.perf_counter_ns() - started) / 1e3 / events)
        return samples

    return run


async def _timed_replay(provider: OpenAIProvider, calls: int) -> list[float]:
    samples = []
    for _ in range(calls):
        started = time.perf_counter_ns()
        events = await _read(provider)
        samples.append((time.perf_counter_ns() - started) / 1e3 / events)
        await asyncio.sleep(0)
    return samples


async def _read(provider: OpenAIProvider) -> int:
    """Return the number of events that a caller sees."""
    events, last = 0, None
    async for event in provider.stream(exchange.PROMPT, cache_response=True):
        events += 1
        last = event
    if last is None or last.type is not StreamEventType.DONE:
        msg = "the stream did not end"
        raise ValueError(msg)
    return events
