"""Refusals and paused turns are stored when asked for, on all three APIs, whole and streamed."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import Any, Final

import pytest

from llmcache import CachePolicy
from llmcache.testing.upstream import Reply, UpstreamRequest

from . import claude, responses
from .support import EVENT_STREAM, as_json, chunk, collect, completion, final, serving, sse, stored

NO: Final = "I will not."


def _chat(finish: str, **said: Any) -> tuple[dict[str, Any], bytes]:
    """Return an answer of chat completions, whole and as a stream."""
    whole = completion(None, finish=finish)
    whole["choices"][0]["message"].update(said)
    deltas = [chunk({"role": "assistant"}), *(chunk({k: v}) for k, v in said.items())]
    return whole, sse(*deltas, chunk(finish=finish), "[DONE]")


def _responses(whole: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    return whole, responses.sse_of(*responses.events_of(whole))


def _messages(stop: str, *words: str) -> tuple[dict[str, Any], bytes]:
    text = "".join(words)
    whole = claude.message(claude.text(text), stop=stop) if text else claude.message(stop=stop)
    if not text:
        whole["content"] = []
    blocks = claude.text_block(0, *words) if text else []
    return whole, claude.sse(claude.starts(), *blocks, *claude.ends(stop))


_SAYS_NO: Final = responses.message({"type": "refusal", "refusal": NO})
_FILTERED: Final = {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}
# What comes, by API; the option that lets it in; a part of the reason why it stays out.
ANSWERS: Final[dict[str, tuple[str, tuple[dict[str, Any], bytes], str, str]]] = {
    "chat, refusal": ("chat", _chat("stop", refusal=NO), "store_refusals", "refused"),
    "chat, filter": ("chat", _chat("content_filter", content="I"), "store_refusals", "filter"),
    "chat, silent filter": ("chat", _chat("content_filter"), "store_refusals", "filter"),
    "chat, other filter": ("chat", _chat("SAFETY", content="I"), "store_refusals", "filter"),
    "responses, refusal": (
        "responses",
        _responses(responses.response(_SAYS_NO)),
        "store_refusals",
        "refused",
    ),
    "responses, filter": (
        "responses",
        _responses(responses.response(**_FILTERED)),
        "store_refusals",
        "filter",
    ),
    "messages, refusal": ("messages", _messages("refusal", "I"), "store_refusals", "filter"),
    "messages, silent refusal": ("messages", _messages("refusal"), "store_refusals", "filter"),
    "messages, pause": ("messages", _messages("pause_turn", "So"), "store_paused", "pause_turn"),
    "messages, silent pause": ("messages", _messages("pause_turn"), "store_paused", "pause_turn"),
    "messages, compaction": (
        "messages",
        _messages("compaction", "So"),
        "store_paused",
        "compaction",
    ),
}
_OTHER: Final = {"store_refusals": "store_paused", "store_paused": "store_refusals"}


@contextlib.asynccontextmanager
async def _open(
    api: str, answer: tuple[dict[str, Any], bytes], **options: Any
) -> AsyncGenerator[tuple[Any, Any], None]:
    def reply(request: UpstreamRequest) -> Reply:
        if request.json().get("stream"):
            return Reply(body=answer[1], headers=EVENT_STREAM)
        return Reply(body=as_json(answer[0]))

    if api == "messages":
        async with claude.serving(reply, **options) as opened:
            yield opened
    else:
        use = api == "responses"
        async with serving(reply, use_responses_api=use, **options) as served:
            yield served


async def _ask(provider: Any, how: str, **options: Any) -> Any:
    if how == "complete":
        return await provider.complete("q", cache_response=True, **options)
    return final(await collect(provider.stream("q", cache_response=True, **options)))


@pytest.mark.parametrize("how", ["complete", "stream"])
@pytest.mark.parametrize(("api", "answer", "option", "why"), ANSWERS.values(), ids=ANSWERS)
async def test_it_is_not_stored_by_default_and_the_reason_names_the_option(
    api: str, answer: tuple[dict[str, Any], bytes], option: str, why: str, how: str
) -> None:
    others = {_OTHER[option]: True, "store_truncated": True}
    async with _open(api, answer) as (provider, upstream):
        for options in ({}, others, {option: None}, {option: False}):
            result = await _ask(provider, how, **options)
            assert (result.cache.status, result.cache.stored) == ("miss", False)
            assert why in result.cache.reason
            assert f"{option}=True" in result.cache.reason
        assert upstream.calls == 4
        assert await stored(provider) == []


@pytest.mark.parametrize("by", ["call", "policy"])
@pytest.mark.parametrize("how", ["complete", "stream"])
@pytest.mark.parametrize(("api", "answer", "option", "why"), ANSWERS.values(), ids=ANSWERS)
async def test_it_is_stored_when_asked_for_and_comes_back_as_it_was(
    api: str, answer: tuple[dict[str, Any], bytes], option: str, why: str, how: str, by: str
) -> None:
    policy = CachePolicy(**{option: by == "policy"})  # type: ignore[arg-type]
    options = {option: True} if by == "call" else {}
    async with _open(api, answer, cache_policy=policy) as (provider, upstream):
        live = await _ask(provider, how, **options)
        assert (live.cache.status, live.cache.stored) == ("miss", True)
        for again in ("complete", "stream"):
            hit = await _ask(provider, again, **options)
            assert hit.cache.status == "hit"
            assert hit == live
            assert (hit.refusal, hit.finish_reason) == (live.refusal, live.finish_reason)
        assert upstream.calls == 1
        (entry,) = await stored(provider)
        kept = entry.recording.body or b"".join(e.data for e in entry.recording.events or ())
        assert kept


@pytest.mark.parametrize("finish", ["error", "abort", "in_progress"])
async def test_trouble_is_stored_by_no_option(finish: str) -> None:
    everything = {"store_refusals": True, "store_paused": True, "store_truncated": True}
    async with _open("chat", _chat(finish, content="half")) as (provider, _):
        result = await _ask(provider, "complete", **everything)
        assert not result.cache.stored


async def test_an_answer_among_others_that_says_nothing_is_not_stored() -> None:
    turn = {"role": "assistant", "content": ""}
    choices = [
        {"index": 0, "message": turn, "finish_reason": "content_filter"},
        {"index": 1, "message": turn, "finish_reason": "stop"},
    ]
    async with _open("chat", (completion(choices=choices), b"")) as (provider, _):
        result = await _ask(provider, "complete", store_refusals=True)
        assert result.cache.reason == "the answer is empty"


async def test_one_refusal_among_several_answers_counts() -> None:
    choices = [
        {"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"},
        {
            "index": 1,
            "message": {"role": "assistant", "content": None, "refusal": NO},
            "finish_reason": "stop",
        },
    ]
    async with _open("chat", (completion(choices=choices), b"")) as (provider, _):
        assert "refused" in (await _ask(provider, "complete")).cache.reason
        assert (await _ask(provider, "complete", store_refusals=True)).cache.stored
