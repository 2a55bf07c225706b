"""Decoding streams of the Messages API: the time per event."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from importlib import util
from pathlib import Path
from typing import Any, Final

from llmcache.providers.anthropic_messages import MessagesDialect
from llmcache.providers.sse import SSEDecoder
from llmcache.types import WireEvent

from .long_streams import message_stream
from .runner import Bar, Options, Row, Turn, interleave, row_of
from .size import recordings

__all__ = ["rows"]

_GROUP: Final = "streams of the Messages API"
_LONGEST: Final = 5
_CHUNK: Final = 4_096

Pass = Callable[[list[bytes]], int]


async def rows(options: Options) -> list[Row]:
    """Return the time per event of our decoder and the official SDK's."""
    sources = {"made up, 2,000 words": [b"".join(message_stream(2_000))]}
    folder = recordings()
    if folder is not None:
        sources[f"{_LONGEST} longest recorded"] = _longest(folder)
    lines: list[Row] = []
    for title, streams in sources.items():
        lines += await _decoding(title, streams, rounds=5 if options.quick else 30)
    return lines


def _longest(folder: Path) -> list[bytes]:
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    files = [row["file"] for row in manifest if row["endpoint"] == "messages" and row["stream"]]
    exchanges = [json.loads((folder / name).read_text(encoding="utf-8")) for name in files]
    bodies = {exchange["response"]["body"].encode() for exchange in exchanges}
    return sorted(bodies, key=len, reverse=True)[:_LONGEST]


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
