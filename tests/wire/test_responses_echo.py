"""What a response repeats of its request: a hit repeats the present caller's, and no one else's."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmcache import OpenAIProvider
from llmcache.providers.openai_responses_echo import members, readdressed
from llmcache.testing.upstream import Reply, UpstreamRequest
from llmcache.types import CompletionResult

from .responses import events_of, response, sse_of
from .support import EVENT_STREAM, as_json, collect, final, serving, stored

ALICE: dict[str, Any] = {
    "user": "alice",
    "metadata": {"ticket": "A-1"},
    "safety_identifier": "alice-7",
    "prompt_cache_key": "alice-cache",
}
BOB: dict[str, Any] = {"user": "bob", "metadata": {"ticket": "B-2"}}
NOBODY: dict[str, Any] = {
    "user": None, "metadata": {}, "safety_identifier": None, "prompt_cache_key": None,
}  # fmt: skip


def echoing(request: UpstreamRequest) -> Reply:
    """Answer as OpenAI does: with the request's own fields among the answer's."""
    body = request.json()
    told = {name: body.get(name, nothing) for name, nothing in NOBODY.items()}
    whole = response(**told, prompt_cache_retention=body.get("prompt_cache_retention", "24h"))
    if body.get("stream"):
        return Reply(body=sse_of(*events_of(whole)), headers=EVENT_STREAM)
    return Reply(body=json.dumps(whole, indent=2).encode())


DOORS = ("complete", "stream", "complete_with_stats", "stream_with_stats")


async def ask(provider: OpenAIProvider, how: str, **options: Any) -> CompletionResult:
    asked: Any = getattr(provider, how)("x", cache_response=True, **options)
    if how.startswith("stream"):
        return final(await collect(asked))
    found = await asked
    answer: CompletionResult = found[0] if how == "complete_with_stats" else found
    return answer


@pytest.mark.parametrize("how", DOORS)
@pytest.mark.parametrize("first", DOORS)
async def test_a_hit_repeats_what_its_own_caller_said(first: str, how: str) -> None:
    async with serving(echoing, use_responses_api=True) as (provider, upstream):
        live = await ask(provider, first, **ALICE)
        assert {name: live.raw[name] for name in ALICE} == ALICE
        for caller in (BOB, {}, ALICE):
            again = await ask(provider, how, **caller)
            assert again.cache is not None
            assert again.cache.status == "hit"
            assert {n: again.raw[n] for n in NOBODY} == {**NOBODY, **caller}
            if caller is not ALICE:
                assert again.raw_json is not None
                assert b"alice" not in again.raw_json
                assert b"A-1" not in again.raw_json
        assert await ask(provider, how, **ALICE) == live
        assert upstream.calls == 1
        assert len(await stored(provider)) == 1


async def test_the_rest_stays_byte_for_byte() -> None:
    async with serving(echoing, use_responses_api=True) as (provider, _):
        live = await provider.complete("x", cache_response=True, **ALICE)
        again = await provider.complete("x", cache_response=True)
    assert live.raw_json is not None
    expected = live.raw_json
    for theirs, ours in (
        (b'"alice"', b"null"),
        (b'"alice-7"', b"null"),
        (b'"alice-cache"', b"null"),
    ):
        expected = expected.replace(theirs, ours)
    start = expected.index(b"{", expected.index(b'"metadata"'))
    expected = expected[:start] + b"{}" + expected[expected.index(b"}", start) + 1 :]
    assert again.raw_json == expected
    assert (again.content, again.native, again.usage) == (live.content, live.native, live.usage)


async def test_callers_at_the_same_time_do_not_read_each_other() -> None:
    waiting = asyncio.Event()

    async def slow(request: UpstreamRequest) -> Reply:
        await waiting.wait()
        return echoing(request)

    async with serving(slow, use_responses_api=True) as (provider, upstream):
        calls = [
            asyncio.create_task(ask(provider, how, **caller))
            for caller in (ALICE, BOB)
            for how in DOORS
        ]
        await asyncio.sleep(0.05)
        waiting.set()
        answers = await asyncio.gather(*calls)
        assert upstream.calls == 1
    told = [answer.raw["user"] for answer in answers]
    assert told == ["alice"] * len(DOORS) + ["bob"] * len(DOORS)


async def test_every_sample_is_its_own_caller_s() -> None:
    async with serving(echoing, use_responses_api=True) as (provider, _):
        await provider.complete("x", cache_response=True, samples=2, **ALICE)
        for how in ("complete", "complete_with_stats"):
            again = await ask(provider, how, samples=3, **BOB)
            assert [sample.raw["user"] for sample in again.samples] == ["bob"] * 3
            assert again.raw["user"] == "bob"


async def test_a_setting_that_the_server_fills_in_stays() -> None:
    async with serving(echoing, use_responses_api=True) as (provider, _):
        live = await provider.complete("x", cache_response=True)
        assert live.raw["prompt_cache_retention"] == "24h"
        again = await provider.complete("x", cache_response=True)
        assert again.raw_json == live.raw_json
        other = await provider.complete(
            "x", cache_response=True, prompt_cache_retention="in_memory"
        )
        assert other.raw["prompt_cache_retention"] == "in_memory"


def test_what_the_server_does_not_repeat_is_not_added() -> None:
    raw = b'{"output": [], "metadata": null}'
    told = CompletionResult(raw_json=raw)
    assert readdressed(told, {"user": "bob"}) is told
    changed = readdressed(told, {"metadata": {"a": "\u00fc"}})
    assert changed.raw_json == '{"output": [], "metadata": {"a": "ü"}}'.encode()


def test_a_field_of_the_same_name_further_inside_is_no_echo() -> None:
    whole = {"tools": [{"user": "a", "metadata": {"x": 1}}], "user": "a", "text": '"user": "a"'}
    changed = readdressed(CompletionResult(raw_json=as_json(whole)), {"user": "b"})
    assert changed.raw == {**whole, "user": "b"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(
    st.dictionaries(st.text(max_size=4), json_values, max_size=5),
    st.sampled_from([None, 1]),
    st.booleans(),
)
def test_members_are_found_where_they_stand(value: Any, indent: int | None, plain: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=plain)
    found = {name: json.loads(text[start:end]) for name, start, end in members(text)}
    assert found == value


@pytest.mark.parametrize("text", ["", "[]", "7", '{"a"', '{"a": ', '{"a": 1, "b'])
def test_what_is_no_object_has_no_members(text: str) -> None:
    with pytest.raises(ValueError):
        list(members(text))
