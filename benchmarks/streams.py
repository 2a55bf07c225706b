"""Decoding an event stream and playing a stored one, a microsecond figure per event."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from importlib import util
from pathlib import Path
from typing import Any, Final

import orjson

from llmcache import OpenAIProvider, StreamEventType
from llmcache.providers.base import Dialect
from llmcache.providers.ollama_answer import OllamaDialect
from llmcache.providers.openai_chat import ChatDialect
from llmcache.providers.openai_responses import ResponsesDialect
from llmcache.providers.sse import NDJSONDecoder, SSEDecoder
from llmcache.testing.upstream import Reply, Upstream
from llmcache.types import WireEvent

from . import exchange, long_streams, messages_streams
from .runner import Bar, Options, Rounds, Row, Turn, interleave, row_of
from .size import recorded, recordings

__all__ = ["rows"]

_GROUP: Final = "streams, per event"
_LONGEST: Final = 5
_MADE_UP: Final = "made up, 2,000 words"
_RECORDED: Final = f"{_LONGEST} longest recorded"
_RECORDED_OLLAMA: Final = "recorded"
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
    rounds = 5 if options.quick else 30
    for title, bodies in sources.items():
        found += await _decoding(_CHAT, title, bodies, rounds=rounds)
    if folder is not None:
        found += await _decoding(
            _RESPONSES, _RECORDED, _longest(folder, "responses"), rounds=rounds
        )
    lines = {_MADE_UP: [exchange.ollama_stream(2_000)]}
    if folder is not None:
        lines[_RECORDED_OLLAMA] = _recorded_lines(folder)
    for title, bodies in lines.items():
        found += await _lines(title, bodies, rounds=rounds)
    found += await _replay(options, sources[_MADE_UP][0])
    found += await messages_streams.rows(options)
    return found + await long_streams.rows(options)


def _recorded_lines(folder: Path) -> list[bytes]:
    found = recorded(folder, {"ollama.chat"})
    return [e["response"]["body"].encode() for e in found if e["stream"]]


def _longest(folder: Path, endpoint: str = "chat.completions") -> list[bytes]:
    rows = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    files = [r["file"] for r in rows if r["endpoint"] == endpoint and r["stream"]]
    exchanges = [json.loads((folder / file).read_text(encoding="utf-8")) for file in files]
    found = [e["response"]["body"].encode() for e in exchanges if not _fails(e)]
    return list(dict.fromkeys(sorted(found, key=len, reverse=True)))[:_LONGEST]


def _fails(exchange: dict[str, Any]) -> bool:
    return any(tag.startswith("error") for tag in exchange["tags"])


# --- decoding -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _API:
    """A wire API with streams: our words for it, and the official SDK's."""

    name: str
    dialect: Dialect
    path: str
    model: str


_CHAT: Final = _API("chat", ChatDialect("openai"), "chat/completions", "ChatCompletionChunk")
_RESPONSES: Final = _API(
    "responses", ResponsesDialect("openai"), "responses", "ResponseStreamEvent"
)


async def _decoding(api: _API, title: str, bodies: list[bytes], rounds: int) -> list[Row]:
    ours = partial(_ours, api.dialect)
    passes: dict[str, Pass] = {"ours": ours, "floor": _floor}
    if util.find_spec("openai") is not None:
        passes["openai"] = _official(api)
    samples = await _timed(passes, bodies, rounds)
    row = partial(row_of, samples, group=_GROUP)
    against: dict[str, Any] = {"against": "ours", "against_title": "llmcache"}
    found = [
        row("ours", title=f"llmcache: SSE + {api.name} decoder ({title})", against="floor"),
        row("floor", title="floor: split at blank lines + orjson.loads"),
    ]
    if "openai" in passes:
        found.append(row("openai", title=f"openai SDK: Stream[{api.model}]", **against))
    return _with_rates(found)


async def _lines(title: str, bodies: list[bytes], rounds: int) -> list[Row]:
    """Return the time per line of an Ollama stream, ours and the official client's."""
    passes: dict[str, Pass] = {"ours": _ours_ollama}
    if util.find_spec("ollama") is not None:
        passes["ollama"] = _official_ollama()
    samples = await _timed(passes, bodies, rounds)
    row = partial(row_of, samples, group=_GROUP)
    found = [row("ours", title=f"llmcache: NDJSON + Ollama decoder ({title})")]
    if "ollama" in passes:
        against: dict[str, Any] = {"against": "ours", "against_title": "llmcache"}
        against["bar"] = Bar("ratio", ">=", 0.8)
        found.append(row("ollama", title="ollama client: Client.chat(stream=True)", **against))
    return _with_rates(found)


async def _timed(passes: dict[str, Pass], bodies: list[bytes], rounds: int) -> Rounds:
    """Return the microseconds per event of each pass, taken in turns."""
    # Streams of a few dozen events are too short for the clock: several passes a sample.
    times = max(1, 2_000 // passes["ours"](bodies))

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
    return await interleave(turns, rounds=rounds, calls=2)


def _with_rates(found: list[Row]) -> list[Row]:
    for each in found:
        each.details["events_per_second"] = round(1e6 / (each.median or 1))
        each.note = f"{each.details['events_per_second']:,} events/s"
    return found


def _ours(dialect: Dialect, bodies: list[bytes]) -> int:
    """Return the number of wire events; each stream is decoded to its whole answer."""
    events = 0
    for body in bodies:
        lines, decoder = SSEDecoder(), dialect.decoder()
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


def _ours_ollama(bodies: list[bytes]) -> int:
    events = 0
    for body in bodies:
        lines, decoder = NDJSONDecoder(), OllamaDialect().decoder()
        for start in range(0, len(body), _CHUNK):
            for line in lines.feed(body[start : start + _CHUNK]):
                decoder.feed(WireEvent(line))
                events += 1
        decoder.finish()
    return events


def _official_ollama() -> Pass:
    """Return a pass through the official client, over a transport that has the bytes at hand."""
    import httpx  # noqa: PLC0415 - comes with the client, which is optional
    import ollama  # noqa: PLC0415

    def go(bodies: list[bytes]) -> int:
        waiting = iter(bodies)

        def answer(_: httpx.Request) -> httpx.Response:
            body = next(waiting)
            pieces = (body[start : start + _CHUNK] for start in range(0, len(body), _CHUNK))
            return httpx.Response(200, content=pieces)

        with ollama.Client(transport=httpx.MockTransport(answer)) as client:
            return sum(sum(1 for _ in client.chat("m", stream=True)) for _ in bodies)

    return go


def _official(api: _API) -> Pass:
    """Return a pass through the official SDK: its SSE decoder and its chunk models."""
    import httpx2  # noqa: PLC0415 - comes with the SDK, which is optional
    from openai import OpenAI, Stream  # noqa: PLC0415
    from openai.types import chat, responses  # noqa: PLC0415

    model = getattr(chat if api is _CHAT else responses, api.model)
    client = OpenAI(api_key="sk-benchmark", base_url="http://127.0.0.1:9/v1")
    request = httpx2.Request("POST", f"http://127.0.0.1:9/v1/{api.path}")

    def go(bodies: list[bytes]) -> int:
        events = 0
        for body in bodies:
            pieces = [body[start : start + _CHUNK] for start in range(0, len(body), _CHUNK)]
            response = httpx2.Response(200, content=iter(pieces), request=request)
            stream = Stream(cast_to=model, response=response, client=client)
            events += sum(1 for _ in stream) + (api is _CHAT)  # `[DONE]` is an event of ours too
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
    _with_rates(found)
    bar = Bar("median", "==", len(found))
    return [*found, Row(_GROUP, "calls upstream for all replays", "calls", calls, bar=bar)]


def _timed_decode(body: bytes) -> Turn:
    async def run(calls: int) -> list[float]:
        samples = []
        for _ in range(calls):
            started = time.perf_counter_ns()
            events = _ours(_CHAT.dialect, [body])
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
