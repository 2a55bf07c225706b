"""Damaged streams and bodies of Ollama: an error or the right answer, never a crash or a half answer."""

from __future__ import annotations

import asyncio
import json
import random
import tracemalloc
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import pytest

from llmcache import CacheMissError, ProviderError, StreamEventType
from llmcache.providers.http import HTTPReply
from llmcache.providers.ollama_answer import CHAT, GENERATE, OllamaDialect, ollama_vectors
from llmcache.providers.sse import NDJSONDecoder
from llmcache.testing.upstream import Reply, Upstream, UpstreamRequest
from llmcache.types import CompletionResult

from .fuzzing import EACH, LEAST, RUNS, Trials
from .ollama_support import (
    NDJSON,
    answer,
    call,
    generated,
    last,
    line,
    ndjson,
    ollama_of,
    outcome,
    serving,
)
from .specification import UnclearError
from .support import as_json, collect, final, pieces
from .test_mutations import mutated

STREAMS: dict[str, tuple[str, bytes]] = {
    "text": (CHAT, ndjson(*(line(f"{word} ") for word in "one two three".split()), last())),
    "thinking": (CHAT, ndjson(line(thinking="hm "), line(thinking="so"), line("42"), last())),
    "tools": (
        CHAT,
        ndjson(line(tool_calls=[call("f", {"x": 1}), call("g")]), line("näïve 🙈\u2028"), last()),
    ),
    "generated": (
        GENERATE,
        ndjson(*({**generated(t), "done": False} for t in ("a", "b")), generated("")),
    ),
}
BODIES: dict[str, tuple[str, bytes]] = {
    "text": (CHAT, as_json(answer("Hello", thinking="hm"))),
    "tools": (CHAT, as_json(answer("", tool_calls=[call("f", {"x": [1, None]})]))),
    "generated": (GENERATE, as_json(generated("Hello"))),
}


def said(lines: list[bytes], kind: str) -> dict[str, Any]:
    """Return what lines say up to the one that is done: slow, simple, from the documentation.

    Raises:
        UnclearError: a line is not what the API sends, or none is the last.
    """
    found: dict[str, Any] = {"content": "", "thinking": "", "calls": []}
    for text in lines:
        if not text.strip():
            continue
        try:
            data = json.loads(text)
            if data.get("error"):
                raise UnclearError
            message = (data.get("message") or {}) if kind == CHAT else data
            text_name = "content" if kind == CHAT else "response"
            found["content"] += message.get(text_name) or ""
            found["thinking"] += message.get("thinking") or ""
            for each in (message.get("tool_calls") or ()) if kind == CHAT else ():
                found["calls"].append((each["function"]["name"], each["function"].get("arguments")))
            if data.get("done") is True:
                return {**found, "reason": data.get("done_reason")}
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise UnclearError from error
    raise UnclearError


def agrees(result: CompletionResult, meant: Mapping[str, Any]) -> bool:
    calls = [(c.name, c.arguments) for c in result.tool_calls or ()]
    expected = [(name, _text(arguments)) for name, arguments in meant["calls"]]
    return (
        (result.content or "") == meant["content"]
        and (result.reasoning or "") == meant["thinking"]
        and calls == expected
        and result.finish_reason == (meant["reason"] or None)
    )


def _text(arguments: Any) -> str:
    if isinstance(arguments, str):
        return arguments
    return "" if arguments is None else json.dumps(arguments, ensure_ascii=False)


def opinion(stream: bytes, kind: str) -> dict[str, Any] | None:
    try:
        return said(stream.removeprefix(b"\xef\xbb\xbf").split(b"\n"), kind)
    except UnclearError:
        return None


@pytest.mark.parametrize("kind", [CHAT, GENERATE])
@pytest.mark.parametrize("seed", range(RUNS))
def test_a_mutated_stream_is_an_error_or_means_what_it_says(seed: int, kind: str) -> None:
    rng, trials = random.Random(seed), Trials()
    streams = [stream for one, stream in STREAMS.values() if one == kind]
    for _ in range(EACH):
        damaged = mutated(rng, rng.choice(streams))
        try:
            result, may_store = outcome(damaged, kind)
        except ProviderError:
            trials.failed()
            continue
        assert may_store
        meant = opinion(damaged, kind)
        assert meant is None or agrees(result, meant), damaged
        trials.answered(checked=meant is not None)
    trials.finish()


@pytest.mark.parametrize("seed", range(RUNS))
def test_mutated_lines_are_those_between_line_feeds(seed: int) -> None:
    rng, trials = random.Random(seed), Trials()
    for _ in range(EACH):
        stream = mutated(rng, rng.choice([stream for _, stream in STREAMS.values()]))
        expected = [
            line.removesuffix(b"\r")
            for line in stream.removeprefix(b"\xef\xbb\xbf").split(b"\n")
            if line.strip()
        ]
        decoder = NDJSONDecoder()
        lines = [line for piece in _in_pieces(rng, stream) for line in decoder.feed(piece)]
        assert lines + decoder.flush() == expected, stream
        trials.answered(checked=True)
    assert trials.ends.total() * RUNS >= LEAST


@pytest.mark.parametrize(("kind", "stream"), STREAMS.values(), ids=STREAMS)
def test_a_stream_cut_at_any_byte_is_an_error_or_complete(kind: str, stream: bytes) -> None:
    whole, _ = outcome(stream, kind)
    for cut in range(len(stream)):
        try:
            result, may_store = outcome(stream[:cut], kind)
        except ProviderError:
            continue
        assert result == whole, f"cut at {cut}: a part passes for the whole"
        assert may_store


@pytest.mark.parametrize("seed", range(5))
def test_a_mutated_body_is_an_error_or_means_what_it_says(seed: int) -> None:
    rng = random.Random(seed)
    agreed = failed = 0
    for _ in range(1_000):
        kind, body = rng.choice(list(BODIES.values()))
        damaged = mutated(rng, body)
        try:
            result = OllamaDialect(kind).parse(damaged)
        except ProviderError:
            failed += 1
            continue
        meant = opinion(damaged.replace(b"\n", b" "), kind)
        assert meant is None or agrees(result, meant), damaged
        agreed += meant is not None
    assert agreed > 100
    assert failed > 100


def test_mutated_vectors_are_an_error_or_one_for_each_input() -> None:
    rng = random.Random(0)
    body = as_json({"model": "m", "embeddings": [[0.5, 0.25], [1, 2]], "prompt_eval_count": 3})
    read = failed = 0
    for _ in range(2_000):
        reply = HTTPReply(200, {}, mutated(rng, body))
        try:
            assert len(ollama_vectors(reply, ["a", "b"], "ollama")) == 2
            read += 1
        except ProviderError:
            failed += 1
    assert read > 100
    assert failed > 100


def _in_pieces(rng: random.Random, body: bytes) -> Iterator[bytes]:
    while body:
        size = rng.choice([1, 10, 100, 1_000])
        yield body[:size]
        body = body[size:]


@pytest.mark.parametrize("seed", range(3))
async def test_mutated_streams_over_http_store_the_right_answer_or_nothing(seed: int) -> None:
    rng = random.Random(2_000 + seed)
    chats = [stream for kind, stream in STREAMS.values() if kind == CHAT]
    bodies = [mutated(rng, rng.choice(chats)) for _ in range(60)]

    def reply(request: UpstreamRequest) -> Reply:
        body = bodies[int(request.json()["messages"][0]["content"])]
        return Reply(body=pieces(_in_pieces(rng, body)), headers=NDJSON, cut=rng.random() < 0.2)

    kept = lost = 0
    async with Upstream(reply) as upstream, ollama_of(upstream, attempts=1) as provider:
        for number, body in enumerate(bodies):
            events: list[Any] = []
            try:
                async with asyncio.timeout(20):
                    events = await collect(provider.stream(str(number), cache_response=True))
            except ProviderError:
                lost += 1
            try:
                again = await provider.complete(str(number), mode="offline")
            except CacheMissError:
                continue
            kept += 1
            assert events, "an answer that raised is stored"
            assert again == final(events)
            meant = opinion(body, CHAT)
            assert meant is None or agrees(again, meant)
    assert kept > 5
    assert lost > 5


async def test_a_hundred_megabytes_take_no_more_memory_than_one() -> None:
    padded = ndjson({**line("a"), "padding": "x" * 100_000})
    count = 100_000_000 // len(padded) + 1

    async def body() -> AsyncIterator[bytes]:
        for _ in range(count):
            yield padded
        yield ndjson(last())

    seen = 0
    async with serving(lambda _: Reply(body=body(), headers=NDJSON)) as (provider, _):
        tracemalloc.start()
        try:
            async for event in provider.stream("q"):
                seen += event.type is StreamEventType.TOKEN
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert seen == count
    assert peak < 10_000_000
