"""Damaged streams: an error or the right answer, never a crash, a hang or a wrong answer."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from llmcache import CacheMissError, ProviderError
from llmcache.providers.openai_chat import ChatDialect
from llmcache.testing.upstream import Reply, Upstream, UpstreamRequest
from llmcache.types import CompletionResult

from .fuzzing import EACH, RUNS, Trials
from .specification import UnclearError, matches, said
from .streams import GENERATED, outcome
from .support import (
    EVENT_STREAM,
    USAGE,
    as_json,
    collect,
    completion,
    final,
    pieces,
    provider_of,
)

# --- mutations --------------------------------------------------------------------------------

Mutation = Callable[[random.Random, bytes], bytes]


def _flip(rng: random.Random, stream: bytes) -> bytes:
    at = rng.randrange(len(stream))
    return stream[:at] + bytes([stream[at] ^ (1 << rng.randrange(8))]) + stream[at + 1 :]


def _delete(rng: random.Random, stream: bytes) -> bytes:
    at = rng.randrange(len(stream))
    return stream[:at] + stream[at + rng.choice([1, 1, 2, 7, 40]) :]


def _insert(rng: random.Random, stream: bytes) -> bytes:
    at = rng.randrange(len(stream) + 1)
    junk = [
        b"\n",
        b"\r",
        b"\0",
        b"\xff",
        b'"',
        b"}",
        b"{",
        b"[",
        b"0",
        b"9",
        b": \n",
        b"data: \n\n",
    ]
    return stream[:at] + rng.choice([*junk, rng.randbytes(4)]) + stream[at:]


def _duplicate(rng: random.Random, stream: bytes) -> bytes:
    at = rng.randrange(len(stream))
    end = at + rng.choice([1, 2, 7, 40])
    return stream[:end] + stream[at:]


def _cut(rng: random.Random, stream: bytes) -> bytes:
    return stream[: rng.randrange(len(stream))]


def _events(change: Callable[[random.Random, list[bytes]], None]) -> Mutation:
    def mutate(rng: random.Random, stream: bytes) -> bytes:
        end = b"\r\n\r\n" if b"\r\n\r\n" in stream else b"\n\n"
        events = stream.split(end)
        change(rng, events)
        return end.join(events)

    return mutate


def _swap(rng: random.Random, events: list[bytes]) -> None:
    a, b = rng.randrange(len(events)), rng.randrange(len(events))
    events[a], events[b] = events[b], events[a]


def _drop(rng: random.Random, events: list[bytes]) -> None:
    del events[rng.randrange(len(events))]


def _repeat(rng: random.Random, events: list[bytes]) -> None:
    events.insert(rng.randrange(len(events)), rng.choice(events))


MUTATIONS = [
    _flip,
    _delete,
    _insert,
    _duplicate,
    _cut,
    _events(_swap),
    _events(_drop),
    _events(_repeat),
]


def mutated(rng: random.Random, stream: bytes) -> bytes:
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        stream = rng.choice(MUTATIONS)(rng, stream or b"\n")
    return stream


def check(result: CompletionResult, stream: bytes, *, may_store: bool) -> bool:
    """Check an answer against the second opinion; return whether that had one."""
    try:
        answer = said(stream)
    except UnclearError:
        return False
    assert matches(result, answer), stream
    assert answer.complete or not may_store, stream
    return True


@pytest.mark.parametrize("seed", range(RUNS))
def test_a_mutated_stream_is_an_error_or_means_what_it_says(seed: int) -> None:
    rng, trials = random.Random(seed), Trials()
    for _ in range(EACH):
        stream = mutated(rng, rng.choice(list(GENERATED.values())))
        try:
            result, may_store = outcome(stream)
        except ProviderError:
            trials.failed()
        else:
            trials.answered(checked=check(result, stream, may_store=may_store))
    trials.finish()


BODIES = [
    as_json(completion("naïve 日本 🙈 \u2028")),
    as_json(completion("hi", usage={**USAGE, "prompt_tokens_details": {"cached_tokens": 1}})),
    as_json(
        {
            **completion(None, finish="tool_calls"),
            "choices": [
                {
                    "index": index,
                    "finish_reason": "tool_calls",
                    "message": {
                        "role": "assistant",
                        "content": None,
                        "tool_calls": [
                            {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"x": [1]}'}}
                        ],
                    },
                }
                for index in (0, 1)
            ],
        }
    ),
]  # fmt: skip


@pytest.mark.parametrize("seed", range(RUNS))
def test_a_mutated_body_is_an_error_or_means_what_it_says(seed: int) -> None:
    rng, trials = random.Random(seed), Trials()
    parse = ChatDialect("test").parse
    for _ in range(EACH):
        body = mutated(rng, rng.choice(BODIES))
        try:
            result = parse(body)
        except ProviderError:
            trials.failed()
            continue
        message = json.loads(body)["choices"][0]["message"]
        calls = [c["function"] for c in message.get("tool_calls") or ()]
        assert result.raw_json == body
        assert result.content == message.get("content")
        assert [c.arguments for c in result.tool_calls or ()] == [
            c.get("arguments") or "" for c in calls
        ]
        assert CompletionResult.from_dict(result.to_dict()) == result
        trials.answered(checked=True)
    trials.finish()


def test_a_mutated_recorded_stream_is_an_error_or_means_what_it_says(
    recorded_streams: list[bytes],
) -> None:
    rng = random.Random(0)
    agreed = 0
    for stream in recorded_streams:
        for _ in range(15):
            damaged = mutated(rng, stream)
            try:
                result, may_store = outcome(damaged)
            except ProviderError:
                continue
            agreed += check(result, damaged, may_store=may_store)
    assert agreed > 80


def _in_pieces(rng: random.Random, body: bytes) -> Iterator[bytes]:
    while body:
        size = rng.choice([1, 10, 100, 1_000])
        yield body[:size]
        body = body[size:]


@pytest.mark.parametrize("seed", range(4))
async def test_mutated_streams_over_http_store_the_right_answer_or_nothing(seed: int) -> None:
    rng = random.Random(1_000 + seed)
    bodies = [mutated(rng, rng.choice(list(GENERATED.values()))) for _ in range(40)]

    def answer(request: UpstreamRequest) -> Reply:
        body = bodies[int(request.json()["messages"][0]["content"])]
        return Reply(
            body=pieces(_in_pieces(rng, body)), headers=EVENT_STREAM, cut=rng.random() < 0.2
        )

    kept = lost = 0
    async with Upstream(answer) as upstream, provider_of(upstream) as provider:
        for number, body in enumerate(bodies):
            with_answer = False
            async with asyncio.timeout(20):
                try:
                    events = await collect(provider.stream(str(number), cache_response=True))
                    with_answer = True
                except ProviderError:
                    lost += 1
            try:
                again = await provider.complete(str(number), mode="offline")
            except CacheMissError:
                continue
            kept += 1
            assert with_answer, "an answer that raised is stored"
            assert again == final(events)
            check(again, body, may_store=True)
    assert kept > 5
    assert lost > 5


# --- what does not matter ---------------------------------------------------------------------


def _harmless(rng: random.Random, stream: bytes) -> bytes:
    """Change the framing and the padding, and nothing that is said."""
    end = rng.choice(["\n", "\r\n", "\r"])
    lines = [rng.choice(["", "\ufeff"])]
    for event in stream.decode().replace("\r\n", "\n").split("\n\n"):
        payload = event.removeprefix("data: ")
        if rng.random() < 0.3:
            lines += [rng.choice([": ping", "retry: 10", "id: 4", "unknown: x"]), end]
        if payload.startswith("{"):
            padded: Mapping[str, Any] = {
                **json.loads(payload),
                rng.choice(["p", "obfuscation"]): "xyz",
            }
            payload = json.dumps(
                padded, indent=rng.choice([None, 1]), ensure_ascii=rng.random() < 0.5
            )
        if payload and not payload.startswith(":"):
            colon = rng.choice(["data:", "data: "])
            lines += [f"{colon}{line}{end}" for line in payload.split("\n")]
        lines += [end]
    return "".join(lines).encode()


@pytest.mark.parametrize("name", GENERATED)
def test_framing_and_padding_do_not_change_the_answer(name: str) -> None:
    stream = GENERATED[name]
    result, _ = outcome(stream)
    rng = random.Random(name)
    for _ in range(30):
        other, whole = outcome(_harmless(rng, stream))
        assert whole
        assert other == result
