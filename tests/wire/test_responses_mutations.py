"""Damaged responses, streamed and whole: an error or the right answer, and nothing half is stored."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import httpx
import pytest

from llmcache import CacheMissError, OpenAIProvider, ProviderError
from llmcache.providers.openai_responses import ResponsesDialect
from llmcache.testing.upstream import Reply, Upstream, UpstreamRequest
from llmcache.types import CompletionResult

from .fuzzing import EACH, RUNS, Trials
from .recorded import load
from .responses import call, events_of, folded, message, response, sse_of, thought
from .specification import reference
from .support import (
    EVENT_STREAM,
    SECRET,
    as_json,
    collect,
    final,
    pieces,
    provider_of,
    serving,
    until_error,
)
from .test_hostile import WRONG, again, places, replaced
from .test_hostile import Path as Place
from .test_mutations import _in_pieces, mutated
from .test_secrets import check_clean

CALL = {"id": "ct", "type": "custom_tool_call", "call_id": "c", "name": "sh", "input": "ls -l"}
WHOLES: dict[str, dict[str, Any]] = {
    "text": response(),
    "much": response(thought("one two"), message(), call('{"a": [1, 2]}'), CALL),
    "unicode": response(
        message({"type": "output_text", "text": "naïve 日本 🙈 \u2028", "annotations": []})
    ),
    "refusal": response(message({"type": "refusal", "refusal": "I will not."})),
    "incomplete": response(status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
}
STREAMS = [sse_of(*events_of(whole)) for whole in WHOLES.values()]
BODIES = [as_json(whole) for whole in WHOLES.values()]


def said(output: list[Any]) -> tuple[str, str, list[tuple[str, str]]]:
    """Return text, refusal and calls of output items, read the slow way."""
    parts = [p for item in output if item["type"] == "message" for p in item["content"]]
    text = "".join(p["text"] for p in parts if p["type"] == "output_text")
    refusal = "".join(p["refusal"] for p in parts if p["type"] == "refusal")
    calls = [
        (item["name"], item.get("arguments") or item.get("input") or "")
        for item in output
        if item["type"] in {"function_call", "custom_tool_call"}
    ]
    return text, refusal, calls


def ours(result: CompletionResult) -> tuple[str, str, list[tuple[str, str]]]:
    calls = [(each.name, each.arguments) for each in result.tool_calls or ()]
    return result.content or "", result.refusal or "", calls


def final_output(stream: bytes) -> list[Any] | None:
    """Return the output that a stream ends with, `None` where that is not clear."""
    for one in reference(stream):
        try:
            told = json.loads(one.data)
            kind = told.get("type") or one.event
            if kind in {"response.completed", "response.incomplete"}:
                output: list[Any] = told["response"]["output"]
                return output or None
        except (AttributeError, KeyError, TypeError, ValueError):
            return None
    return None


@pytest.mark.parametrize("seed", range(RUNS))
def test_a_mutated_stream_is_an_error_or_means_what_it_says(seed: int) -> None:
    rng, trials = random.Random(seed), Trials()
    for _ in range(EACH):
        stream = mutated(rng, rng.choice(STREAMS))
        try:
            result = folded(stream)
        except ProviderError:
            trials.failed()
            continue
        output = final_output(stream)
        assert output is None or ours(result) == said(output), stream
        trials.answered(checked=output is not None)
    trials.finish()


@pytest.mark.parametrize("stream", STREAMS, ids=WHOLES)
def test_a_stream_cut_at_any_byte_is_an_error_or_complete(stream: bytes) -> None:
    whole = folded(stream)
    for cut in range(len(stream)):
        try:
            result = folded(stream[:cut])
        except ProviderError:
            continue
        assert result == whole, f"cut at {cut}: a part passes for the whole"


@pytest.mark.parametrize("seed", range(10))
def test_a_mutated_body_is_an_error_or_means_what_it_says(seed: int) -> None:
    rng = random.Random(seed)
    dialect = ResponsesDialect("test")
    agreed = failed = 0
    for _ in range(200):
        body = mutated(rng, rng.choice(BODIES))
        try:
            result = dialect.parse(body)
        except ProviderError:
            failed += 1
            continue
        assert result.raw_json == body
        assert ours(result) == said(json.loads(body)["output"]), body
        agreed += 1
    assert agreed > 30
    assert failed > 30


def test_a_mutated_recorded_stream_is_an_error_or_means_what_it_says(recordings: Path) -> None:
    rng = random.Random(0)
    agreed = 0
    streams = [e.body for e in load(recordings, "responses") if e.is_stream]
    for stream in streams:
        for _ in range(5):
            damaged = mutated(rng, stream)
            try:
                result = folded(damaged)
            except ProviderError:
                continue
            output = final_output(damaged)
            if output is not None:
                assert ours(result) == said(output)
                agreed += 1
    assert agreed > 30


@pytest.mark.parametrize("seed", range(4))
async def test_mutated_streams_over_http_store_the_right_answer_or_nothing(seed: int) -> None:
    rng = random.Random(1_000 + seed)
    bodies = [mutated(rng, rng.choice(STREAMS)) for _ in range(40)]

    def answer(request: UpstreamRequest) -> Reply:
        parts = pieces(_in_pieces(rng, bodies[int(request.json()["input"])]))
        return Reply(body=parts, headers=EVENT_STREAM, cut=rng.random() < 0.2)

    kept = lost = 0
    async with (
        Upstream(answer) as upstream,
        provider_of(upstream, use_responses_api=True) as provider,
    ):
        for number in range(len(bodies)):
            live = None
            async with asyncio.timeout(20):
                try:
                    live = final(await collect(provider.stream(str(number), cache_response=True)))
                except ProviderError:
                    lost += 1
            try:
                stored = await provider.complete(str(number), mode="offline")
            except CacheMissError:
                continue
            kept += 1
            assert stored == live, "an answer that raised is stored, or another one"
    assert kept > 5
    assert lost > 5


# --- every place of an answer holding every wrong thing ----------------------------------------

MUCH = response(
    {**thought(), "content": [{"type": "reasoning_text", "text": "so"}]},
    message({"type": "output_text", "text": "hi", "logprobs": [{"token": "hi", "logprob": -1}]}),
    call(),
    usage={"input_tokens": 1, "input_tokens_details": {"cached_tokens": 1}, "cost": 0.5},
)
# What names the caller is the caller's own on a hit: `test_responses_echo.py`.
PLACES = [place for place in places(MUCH) if place and place[0] not in {"user", "metadata"}]
EVENTS = events_of(response(thought(), message(), call()))
EVENT_PLACES = [place for place in places(EVENTS) if place and place[1:2] != ("response",)]


async def crashes(template: Any, spots: list[Place], *, streamed: bool) -> dict[str, str]:
    """Return which wrong things crash a call, and how."""
    found: dict[str, str] = {}
    body = [b""]
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=body[0]))
    async with (
        httpx.AsyncClient(transport=transport) as client,
        OpenAIProvider(
            model="m", base_url="http://x.test", cache_backend="memory", http_client=client,
            attempts=1, use_responses_api=True,
        ) as provider,
    ):  # fmt: skip
        for place in spots:
            for name, wrong in WRONG.items():
                value = replaced(template, place, wrong)
                body[0] = as_json(value) if not streamed else _sse(value)
                prompt = f"{place} {name}"
                try:
                    if streamed:
                        events = await collect(provider.stream(prompt, cache_response=True))
                        live = final(events)
                    else:
                        live = await provider.complete(prompt, cache_response=True)
                    await again(provider, prompt, live)
                except ProviderError:
                    continue
                except Exception as error:  # noqa: BLE001 - the whole point
                    found[prompt] = repr(error)[:200]
    return found


def _sse(events: list[Any]) -> bytes:
    return b"".join(b"data: " + as_json(event) + b"\n\n" for event in events)


@pytest.mark.parametrize("part", range(4))
async def test_a_whole_answer_with_anything_anywhere(part: int) -> None:
    assert await crashes(MUCH, PLACES[part::4], streamed=False) == {}


@pytest.mark.parametrize("part", range(6))
async def test_a_stream_with_anything_anywhere(part: int) -> None:
    assert await crashes(EVENTS, EVENT_PLACES[part::6], streamed=True) == {}


# --- credentials ------------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_credential_that_the_server_repeats_does_not_show(streamed: bool) -> None:
    failed = response(status="failed", error={"code": "server_error", "message": f"key {SECRET}"})
    body = sse_of(*events_of(failed)) if streamed else as_json(failed)
    async with serving(Reply(body=body), use_responses_api=True, attempts=1) as (provider, _):
        if streamed:
            seen, error = await until_error(provider.stream("x", cache_response=True))
            assert SECRET not in str(seen[-1].data)
        else:
            with pytest.raises(ProviderError) as raised:
                await provider.complete("x", cache_response=True)
            error = raised.value
        check_clean(error)
