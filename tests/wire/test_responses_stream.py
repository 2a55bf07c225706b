"""The events of streamed responses: what they mean, and what stands in where one is missing."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from llmcache import (
    InvalidResponseError,
    ProviderError,
    RateLimitError,
    ServerError,
    StreamEventType,
    StreamInterruptedError,
)
from llmcache.errors import BadRequestError, ContentFilteredError, QuotaExceededError
from llmcache.providers.openai_responses import ResponsesDialect
from llmcache.streaming.events import fold
from llmcache.testing.upstream import Reply
from llmcache.types import WireEvent

from .responses import (
    COUNTS,
    SAID,
    answering,
    call,
    event,
    events_of,
    feed,
    item_events,
    message,
    response,
    sse_of,
    thought,
)
from .support import EVENT_STREAM, as_json, collect, data_of, final, serving, stored, until_error

_Event = StreamEventType
CREATED = event("created", response={**response(), "status": "in_progress", "output": []})


def kinds(events: list[Any]) -> list[str]:
    return [e.type.value for e in events]


def test_text_reasoning_and_calls_come_as_events() -> None:
    whole = response(thought("think"), message(), call('{"a": 1}'))
    seen, result = feed(*events_of(whole))
    assert kinds(seen) == [
        "meta", "reasoning", "reasoning", "token", "token",
        "tool_call_start", "tool_call_delta", "tool_call_delta", "tool_call_end", "usage",
    ]  # fmt: skip
    assert seen[0].data == {"id": "resp_1", "model": "demo"}
    start, first, second = (e.data for e in seen[5:8])
    assert (start.index, start.id, start.name, start.arguments) == (0, "call_1", "f", "")
    assert first.arguments + second.arguments == '{"a": 1}'
    said = fold(seen)
    assert (said.content, said.reasoning, said.tool_calls) == ("hi", "think", result.tool_calls)
    assert said.usage == result.usage
    assert result.raw == whole
    assert result.finish_reason == "tool_calls"


def test_paragraphs_of_reasoning_are_apart_streamed_or_not() -> None:
    summary = [{"type": "summary_text", "text": text} for text in ("one", "two")]
    whole = response({**thought(), "summary": summary}, thought("three", id="rs_2"), message())
    seen, result = feed(*events_of(whole))
    assert result.reasoning == "one\n\ntwo\n\nthree"
    assert "".join(data_of(seen, _Event.REASONING)) == result.reasoning
    assert ResponsesDialect().parse(as_json(whole)).reasoning == result.reasoning


def test_a_refusal_is_no_text() -> None:
    whole = response(message({"type": "refusal", "refusal": "No."}))
    seen, result = feed(*events_of(whole))
    assert "".join(data_of(seen, _Event.REFUSAL)) == "No."
    assert (result.content, result.refusal) == (None, "No.")
    assert result.to_message().extra == {"refusal": "No."}


def test_a_free_form_call_has_its_input() -> None:
    item = {"id": "ct", "type": "custom_tool_call", "call_id": "c", "name": "sh", "input": "ls"}
    seen, result = feed(*events_of(response(item)))
    (done,) = data_of(seen, _Event.TOOL_CALL_END)
    assert (done.id, done.name, done.arguments, done.type) == ("c", "sh", "ls", "custom")
    assert result.tool_calls == (done,)


def test_what_nobody_knows_passes() -> None:
    unknown = event("telepathy.delta", delta="?", obfuscation="xyz")
    hosted = {"id": "ws_1", "type": "web_search_call", "status": "completed"}
    searching = event("web_search_call.searching", output_index=0, item_id="ws_1")
    image = event("image_generation_call.partial_image", partial_image_b64="AAAA")
    note = event("output_text.annotation.added", annotation={"url": "https://x.test"})
    added, done = item_events(0, hosted)
    seen, _ = feed(
        CREATED, added, searching, unknown, image, note, done,
        event("completed", response=response(hosted)),
    )  # fmt: skip
    passed = [told for told in data_of(seen, _Event.META) if "type" in told]
    assert [told["type"].removeprefix("response.") for told in passed] == [
        "web_search_call.searching", "telepathy.delta", "image_generation_call.partial_image",
        "output_text.annotation.added", "output_item.done",
    ]  # fmt: skip
    assert passed[1]["delta"] == "?"
    assert "obfuscation" not in passed[1]


# --- what servers leave out -------------------------------------------------------------------


@pytest.mark.parametrize("left_out", [{"output": []}, {"output": None}, {}], ids=str)
def test_items_stand_in_for_an_output_that_is_left_out(left_out: dict[str, Any]) -> None:
    whole = response(thought(), message(), call())
    *events, last = events_of(whole)
    ended = {k: v for k, v in last["response"].items() if k != "output"}
    seen, result = feed(*events, event("completed", response={**ended, **left_out}))
    assert result.raw == whole
    assert (result.content, result.reasoning) == ("hi", "so")
    assert kinds(seen).count("tool_call_end") == 1


def test_pieces_stand_in_for_items_that_were_not_finished() -> None:
    open_items = [thought("so"), message(SAID, {"type": "refusal", "refusal": "no"}), call("{}x")]
    events = [e for place, item in enumerate(open_items) for e in item_events(place, item)[:-1]]
    ended = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    seen, result = feed(CREATED, *events, event("incomplete", response={**ended, "usage": COUNTS}))
    assert (result.content, result.refusal, result.reasoning) == ("hi", "no", "so")
    assert result.finish_reason == "length"
    assert (result.id, result.model) == ("resp_1", "demo")
    assert result.tool_calls is not None
    assert data_of(seen, _Event.TOOL_CALL_END) == list(result.tool_calls)
    assert result.tool_calls[0].arguments == "{}x"


def test_a_call_whose_beginning_or_end_is_not_sent_still_has_both() -> None:
    whole = response(call(), call("[]", id="fc_2", call_id="call_2"))
    begun = item_events(0, call())[0]
    seen, _ = feed(CREATED, begun, event("completed", response=whole))
    assert kinds(seen)[1:] == [
        "tool_call_start", "tool_call_end", "tool_call_start", "tool_call_end", "usage",
    ]  # fmt: skip
    assert [c.id for c in data_of(seen, _Event.TOOL_CALL_END)] == ["call_1", "call_2"]
    seen, _ = feed(CREATED, item_events(0, call())[-1], event("completed", response=whole))
    assert [c.id for c in data_of(seen, _Event.TOOL_CALL_END)] == ["call_1", "call_2"]


def test_one_event_alone_says_everything() -> None:
    seen, _ = feed(CREATED, event("completed", response=response(message(), call())))
    assert "".join(data_of(seen, _Event.TOKEN)) == "hi"
    assert kinds(seen)[-1] == "usage"
    assert kinds(seen).count("tool_call_end") == 1


def test_an_event_without_a_type_has_it_in_its_name() -> None:
    decoder = ResponsesDialect().decoder()
    told = {k: v for k, v in event("completed", response=response()).items() if k != "type"}
    decoder.feed(WireEvent(as_json(told), "response.completed"))
    assert decoder.finish().content == "hi"


async def test_a_server_that_ignores_stream_is_understood() -> None:
    whole = response(message(), call())
    async with serving(Reply(body=as_json(whole)), use_responses_api=True) as (provider, _):
        live = await collect(provider.stream("x", cache_response=True))
        assert final(live).content == "hi"
        assert kinds(live)[-1] == "done"
        assert len(await stored(provider)) == 1
        assert final(await collect(provider.stream("x", cache_response=True))) == final(live)


def test_an_item_without_anything_is_passed_over() -> None:
    _, result = feed(
        CREATED,
        event("output_item.added", output_index=0, item=None),
        *item_events(1, message()),
        event("completed", response=response()),
    )
    assert result.content == "hi"


def test_the_response_s_own_bytes_are_kept() -> None:
    """Numbers, escapes and white space as the server wrote them."""
    body = as_json(response()).replace(b'"created_at": 1', b'"created_at":  1.50e0, "x": "\\u00e9"')
    stream = b'{"response": ' + body + b' , "type": "response.completed"}'
    decoder = ResponsesDialect().decoder()
    decoder.feed(WireEvent(as_json(CREATED)))
    for told in item_events(0, message()):
        decoder.feed(WireEvent(as_json(told)))
    decoder.feed(WireEvent(stream))
    assert decoder.finish().raw_json == body


# --- ends -------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", range(1, 9))
def test_a_stream_without_its_end_is_interrupted(count: int) -> None:
    decoder = ResponsesDialect().decoder()
    for told in events_of(response())[:-1][:count]:
        decoder.feed(WireEvent(as_json(told)))
    assert not decoder.terminal
    assert not decoder.is_whole
    with pytest.raises(StreamInterruptedError):
        decoder.finish()


@pytest.mark.parametrize("ended", [True, False])
async def test_done_ends_a_stream_and_makes_none_whole(ended: bool) -> None:
    """OpenRouter closes with it; a proxy that loses its server may, too."""
    events = events_of(response())
    body = sse_of(*(events if ended else events[:-1])) + b"data: [DONE]\n\n"
    async with serving(
        Reply(body=body, headers=EVENT_STREAM), use_responses_api=True, attempts=1
    ) as (provider, _):
        if ended:
            answer = final(await collect(provider.stream("x", cache_response=True)))
            assert answer.content == "hi"
        else:
            seen, error = await until_error(provider.stream("x", cache_response=True))
            assert type(error) is StreamInterruptedError
            assert seen[-1].type is _Event.ERROR
        assert len(await stored(provider)) == ended


def _failed(code: str, message: str = "boom") -> dict[str, Any]:
    error = {"code": code, "message": message}
    return event("failed", response={**response(), "status": "failed", "error": error})


FAILURES: dict[str, tuple[dict[str, Any], type[ProviderError], str | None, bool]] = {
    "server": (_failed("server_error"), ServerError, "server_error", True),
    "rate": (_failed("rate_limit_exceeded"), RateLimitError, "rate_limit_exceeded", True),
    "quota": (_failed("insufficient_quota"), QuotaExceededError, "insufficient_quota", False),
    "prompt": (_failed("invalid_prompt"), BadRequestError, "invalid_prompt", False),
    "image": (_failed("invalid_image_url"), BadRequestError, "invalid_image_url", False),
    "policy": (_failed("bio_policy"), ContentFilteredError, "bio_policy", False),
    "unknown": (_failed("gremlins"), ServerError, "gremlins", True),
    "no reason": (event("failed", response={"status": "failed"}), ServerError, None, True),
    "flat error": (
        {"type": "error", "code": "rate_limit_exceeded", "message": "boom", "param": None},
        RateLimitError, "rate_limit_exceeded", True,
    ),
    "flat error without code": ({"type": "error", "code": None, "message": "boom"}, ServerError, None, True),
    "nested error": (
        {"type": "error", "error": {"type": "invalid_request_error", "message": "boom"}},
        BadRequestError, "invalid_request_error", False,
    ),
    "an error without a type": ({"error": {"message": "boom", "code": 429}}, RateLimitError, "429", True),
    "failed in the end": (
        event("completed", response={**response(), "status": "failed"}), ServerError, None, True,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("told", "kind", "code", "retryable"), FAILURES.values(), ids=FAILURES)
async def test_a_failure_inside_a_stream_is_typed_and_stores_nothing(
    told: dict[str, Any], kind: type[ProviderError], code: str | None, retryable: bool
) -> None:
    body = sse_of(*events_of(response())[:4]) + b"data: " + json.dumps(told).encode() + b"\n\n"
    reply = Reply(body=body, headers=EVENT_STREAM)
    async with serving(reply, use_responses_api=True) as (provider, upstream):
        seen, error = await until_error(provider.stream("x", cache_response=True))
        assert type(error) is kind
        assert (error.code, error.status, error.retryable) == (code, 200, retryable)
        assert seen[-1].type is _Event.ERROR
        assert upstream.calls == 1  # something had arrived: nothing is tried again
        assert await stored(provider) == []


@pytest.mark.parametrize(
    "body",
    [
        {"status": "failed", "error": {"code": "server_error", "message": "boom"}},
        {"status": "failed", "error": None},
    ],
    ids=str,
)
async def test_a_failed_response_is_an_error(body: dict[str, Any]) -> None:
    reply = Reply(body=as_json({**response(), **body}))
    async with serving(reply, use_responses_api=True) as (provider, _):
        with pytest.raises(ServerError):
            await provider.complete("x", cache_response=True)
        assert await stored(provider) == []


@pytest.mark.parametrize("status", ["queued", "in_progress", "cancelled"])
async def test_what_is_not_finished_is_answered_and_not_stored(status: str) -> None:
    async with serving(answering(response(status=status)), use_responses_api=True) as (provider, _):
        answer = await provider.complete("x", cache_response=True)
        assert answer.finish_reason == status
        assert answer.cache is not None
        assert not answer.cache.stored
        assert await stored(provider) == []


async def test_a_response_in_the_background_is_bypassed() -> None:
    whole = {**response(), "status": "queued", "output": []}
    async with serving(answering(whole), use_responses_api=True) as (provider, upstream):
        for _ in range(2):
            answer = await provider.complete("x", background=True, cache_response=True)
            assert answer.cache is not None
            assert answer.cache.status == "bypass"
        assert upstream.calls == 2


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("max_output_tokens", "length"),
        ("content_filter", "content_filter"),
        ("steered", "incomplete:steered"),
        (None, "incomplete:None"),
    ],
)
@pytest.mark.parametrize("asked", [True, False])
async def test_an_incomplete_answer_is_stored_only_when_asked(
    reason: str | None, finish: str, asked: bool
) -> None:
    whole = response(status="incomplete", incomplete_details={"reason": reason})
    async with serving(answering(whole), use_responses_api=True) as (provider, _):
        answer = await provider.complete("x", cache_response=True, store_truncated=asked)
        assert answer.finish_reason == finish
        assert bool(await stored(provider)) == (asked and finish != "content_filter")


async def test_what_a_client_must_do_is_an_answer() -> None:
    """A patch to apply has no text and is no function call."""
    patch = {"id": "ap", "type": "apply_patch_call", "call_id": "c", "status": "completed"}
    async with serving(answering(response(patch)), use_responses_api=True) as (provider, _):
        answer = await provider.complete("x", cache_response=True)
        assert (answer.content, answer.tool_calls) == (None, None)
        assert answer.native is not None
        assert answer.native.for_api("responses") == [patch]
        assert len(await stored(provider)) == 1


@pytest.mark.parametrize("output", [[], [thought()], [message({**SAID, "text": ""})]], ids=str)
async def test_an_answer_that_says_nothing_is_not_stored(output: list[Any]) -> None:
    whole = {**response(), "output": output}
    async with serving(answering(whole), use_responses_api=True) as (provider, _):
        await provider.complete("x", cache_response=True)
        assert await stored(provider) == []


@pytest.mark.parametrize(
    "body",
    [
        b"", b"<html>", b"null", b"7", b'"text"', b"[]", b"{}", b'{"output": null}', b'{"output": {}}',
        b'{"output": [null]}', b'{"output": [7]}', b'{"output": ["text"]}',
        b'{"output": [{"type": "message", "content": [{"type": "output_text", "text": 7}]}]}',
        b'{"output": [{"type": "message", "content": 7}]}',
        b'{"output": [{"type": "function_call"}]}',
        b'{"output": [{"type": "function_call", "name": 7, "call_id": "c"}]}',
        b'{"output": [], "usage": 7}', b'{"output": [], "usage": {"input_tokens": "x"}}',
        b'{"output": [], "status": 7}', b'{"choices": [{"message": {"content": "hi"}}]}',
        b"[" * 100_000,
    ],
    ids=lambda body: repr(body[:70]),
)  # fmt: skip
async def test_what_is_no_response_is_an_error_and_not_stored(body: bytes) -> None:
    async with serving(Reply(body=body), use_responses_api=True) as (provider, upstream):
        with pytest.raises(InvalidResponseError):
            await provider.complete("x", cache_response=True)
        assert upstream.calls == 1
        assert await stored(provider) == []


def test_a_long_stream_keeps_little() -> None:
    """100 MB of an answer in many items: only the item that is open is kept in pieces."""
    text = "x" * 100_000
    delta = as_json(event("output_text.delta", output_index=0, content_index=0, delta=text))

    def events() -> Iterator[bytes]:
        for place in range(100):
            at = as_json(place)
            begun = {"id": f"m{place}", "type": "message", "content": []}
            yield as_json(event("output_item.added", output_index=place, item=begun))
            for _ in range(10):
                yield delta.replace(b'"output_index": 0', b'"output_index": ' + at)
            # What hosted tools print is not said by the model: it passes, and none of it stays.
            yield as_json(event("output_item.done", output_index=place, item=begun))

    decoder = ResponsesDialect().decoder()
    tracemalloc.start()
    total = 0
    for data in events():
        total += len(data)
        decoder.feed(WireEvent(data))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total > 100_000_000
    assert peak < 4_000_000
