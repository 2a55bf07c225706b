"""Damaged streams and bodies of the Messages API: an error or the right answer, and nothing else."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import pytest

from llmcache import CacheMissError, ProviderError
from llmcache.providers.anthropic_messages import MessagesDialect
from llmcache.testing.upstream import Reply, Upstream, UpstreamRequest
from llmcache.types import CompletionResult

from .claude import GENERATED, message, outcome, provider_of, recorded_messages, text, tool_use
from .claude_specification import matches, said
from .fuzzing import EACH, RUNS, Trials
from .recorded import Exchange
from .specification import UnclearError
from .support import EVENT_STREAM, as_json, collect, final, pieces
from .test_mutations import _in_pieces, mutated

BODIES = [
    as_json(message()),
    as_json(message({"type": "thinking", "thinking": "hm", "signature": "s"}, text("é 🙈"))),
    as_json(
        message(text("a", citations=[{"x": 1}]), tool_use("toolu_1", "f", {"a": [1, {"b": None}]}))
    ),
]


@pytest.fixture
def exchanges(recordings: Path) -> list[Exchange]:
    return [e for e in recorded_messages(recordings) if not e.is_error]


def check(result: CompletionResult, stream: bytes, *, may_store: bool) -> bool:
    """Check an answer against the second opinion; return whether that had one."""
    try:
        answer = said(stream)
    except UnclearError:
        return False
    assert matches(result, answer), stream
    assert answer.complete or not may_store, stream
    return True


@pytest.mark.parametrize("stream", GENERATED.values(), ids=GENERATED)
def test_the_second_opinion_agrees_on_sound_streams(stream: bytes) -> None:
    result, whole = outcome(stream)
    assert whole
    assert check(result, stream, may_store=True)


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


@pytest.mark.parametrize("seed", range(10))
def test_a_mutated_body_is_an_error_or_an_answer(seed: int) -> None:
    rng = random.Random(seed)
    parse = MessagesDialect("test").parse
    read = failed = 0
    for _ in range(300):
        body = mutated(rng, rng.choice(BODIES))
        try:
            result = parse(body)
        except ProviderError:
            failed += 1
        else:
            read += 1
            blocks = json.loads(body)["content"]
            texts = [block["text"] for block in blocks if block["type"] == "text"]
            assert result.content == ("".join(texts) if texts else None)
            assert result.raw_json == body
            assert CompletionResult.from_dict(result.to_dict()) == result
    assert read > 10
    assert failed > 100


def test_a_mutated_recorded_exchange_is_an_error_or_means_what_it_says(
    exchanges: list[Exchange],
) -> None:
    rng = random.Random(0)
    agreed = read = 0
    for exchange in exchanges:
        for _ in range(25):
            damaged = mutated(rng, exchange.body)
            try:
                if exchange.is_stream:
                    result, may_store = outcome(damaged)
                    agreed += check(result, damaged, may_store=may_store)
                else:
                    read += MessagesDialect("test").parse(damaged).raw_json == damaged
            except ProviderError:
                continue
    assert agreed > 100
    assert read > 100


@pytest.mark.parametrize("stream", GENERATED.values(), ids=GENERATED)
def test_a_stream_cut_at_any_byte_is_an_error_or_complete(stream: bytes) -> None:
    whole, _ = outcome(stream)
    for cut in range(len(stream)):
        try:
            result, may_store = outcome(stream[:cut])
        except ProviderError:
            continue
        assert result == whole, f"cut at {cut}: a part passes for the whole"
        assert may_store


@pytest.mark.parametrize("seed", range(6))
async def test_mutated_answers_over_http_store_the_right_answer_or_nothing(seed: int) -> None:
    rng = random.Random(1_000 + seed)
    streams: list[bytes] = [mutated(rng, rng.choice(list(GENERATED.values()))) for _ in range(90)]
    bodies = [*streams, *(mutated(rng, rng.choice(BODIES)) for _ in range(90))]

    def answer(request: UpstreamRequest) -> Reply:
        body = bodies[int(request.json()["messages"][0]["content"])]
        headers = EVENT_STREAM if request.json().get("stream") else {}
        cut = rng.random() < 0.2
        return Reply(body=pieces(_in_pieces(rng, body)), headers=headers, cut=cut)

    kept = lost = 0
    async with Upstream(answer) as upstream, provider_of(upstream, attempts=1) as provider:
        for number, body in enumerate(bodies):
            live = await _asked(provider, str(number), stream=number < len(streams))
            lost += live is None
            try:
                again = await provider.complete(str(number), mode="offline")
            except CacheMissError:
                continue
            kept += 1
            assert live is not None, "an answer that raised is stored"
            assert again == live
            if number < len(streams):
                check(again, body, may_store=True)
    assert kept > 10
    assert lost > 10


async def _asked(provider: Any, prompt: str, *, stream: bool) -> CompletionResult | None:
    """Return the live answer, `None` where it is an error."""
    async with asyncio.timeout(20):
        try:
            if stream:
                return final(await collect(provider.stream(prompt, cache_response=True)))
            result: CompletionResult = await provider.complete(prompt, cache_response=True)
        except ProviderError:
            return None
        return result


def _harmless(rng: random.Random, stream: bytes) -> bytes:
    """Change the framing, add pings and events of later APIs, and nothing that is said."""
    end = rng.choice(["\n", "\r\n", "\r"])
    lines = [rng.choice(["", "\ufeff"])]
    for event in stream.decode().replace("\r\n", "\n").split("\n\n"):
        if rng.random() < 0.3:
            lines += [rng.choice([": ping", "retry: 10", "id: 4", "unknown: x"]), end]
        if rng.random() < 0.3:
            lines += [f'event: ping{end}data: {{"type": "ping"}}{end}{end}']
        if rng.random() < 0.3:
            lines += [f'event: later{end}data: {{"type": "later", "index": 0}}{end}{end}']
        lines += [f"{line}{end}" for line in event.split("\n") if line] + [end]
    return "".join(lines).encode()


@pytest.mark.parametrize("name", GENERATED)
def test_framing_pings_and_later_events_do_not_change_the_answer(name: str) -> None:
    result, _ = outcome(GENERATED[name])
    rng = random.Random(name)
    for _ in range(30):
        other, whole = outcome(_harmless(rng, GENERATED[name]))
        assert whole
        assert other == result
