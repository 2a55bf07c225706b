"""How a stream ends: well, early, in an error, or in nonsense."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from llmcache import ProviderError, StreamEventType
from llmcache.errors import (
    BadRequestError,
    ContentFilteredError,
    InvalidResponseError,
    NotFoundError,
    RateLimitError,
    ServerError,
    StreamInterruptedError,
)
from llmcache.providers.openai_chat import ChatDialect
from llmcache.testing.upstream import Reply
from llmcache.types import ToolCall

from .streams import run
from .support import (
    USAGE,
    answer_stream,
    as_json,
    call_piece,
    chunk,
    collect,
    completion,
    data_of,
    final,
    pieces,
    serving,
    sse,
    stored,
    streamed,
    until_error,
    wire,
)

T = StreamEventType


async def test_without_done_but_with_usage_it_is_stored() -> None:
    async with serving(streamed(sse(*answer_stream()[:-1]))) as (provider, upstream):
        live = final(await collect(provider.stream("x", cache_response=True)))
        assert live.cache is not None
        assert live.cache.stored
        assert await provider.complete("x", cache_response=True) == live
        assert upstream.calls == 1


async def test_without_done_and_usage_it_is_delivered_and_not_stored() -> None:
    body = sse(*answer_stream(usage=False)[:-1])
    async with serving(streamed(body)) as (provider, _):
        live = final(await collect(provider.stream("x", cache_response=True)))
        assert live.content == "one two three "
        assert live.cache is not None
        assert not live.cache.stored
        assert "terminal marker" in (live.cache.reason or "")
        assert await stored(provider) == []


async def test_an_empty_finish_reason_is_none() -> None:
    body = sse(chunk({"content": "half of"}, "", usage=USAGE))
    async with serving(streamed(body)) as (provider, _):
        with pytest.raises(StreamInterruptedError):
            await collect(provider.stream("x", cache_response=True))


def test_an_empty_finish_reason_does_not_end_a_tool_call() -> None:
    events, _ = run(
        chunk(call_piece(0, '{"x":', id="a", name="f"), ""),
        chunk(call_piece(0, "1}"), ""),
        chunk(finish="tool_calls"),
    )
    assert data_of(events, T.TOOL_CALL_END) == [ToolCall("a", "f", '{"x":1}')]


@pytest.mark.parametrize("marker", ["[DONE]", " [DONE]", "[DONE] "])
def test_the_terminal_marker(marker: str) -> None:
    decoder = ChatDialect("test").decoder()
    for event in wire(chunk({"content": "hi"}), chunk(finish="stop"), marker):
        decoder.feed(event)
    assert decoder.terminal


@pytest.mark.parametrize("chunks", [[], [chunk()], [chunk(usage=USAGE)]], ids=len)
def test_done_without_an_answer_is_no_answer(chunks: list[dict[str, Any]]) -> None:
    with pytest.raises(InvalidResponseError, match="no choices"):
        run(*chunks)


# --- errors on the way ------------------------------------------------------------------------

_HALF = [chunk({"role": "assistant", "content": "half "}), chunk({"content": "of"})]
_ERRORS: dict[str, tuple[bytes, type[ProviderError], str | None]] = {
    "OpenAI": (
        sse({"error": {"message": "boom", "type": "server_error", "code": None}}),
        ServerError,
        "server_error",
    ),
    "OpenRouter, with choices": (
        sse(chunk({"content": ""}, "error", error={"code": 502, "message": "boom"})),
        ServerError,
        "502",
    ),
    "OpenRouter, busy": (
        sse(chunk({"content": ""}, "error", error={"code": 429, "message": "boom"})),
        RateLimitError,
        "429",
    ),
    "Groq": (
        b"event: error\n"
        + sse({"error": {"message": "boom", "type": "x", "code": "y", "status_code": 400}}),
        BadRequestError,
        "y",
    ),
    "flat, by its event name": (
        b"event: error\n" + sse({"message": "boom", "code": "rate_limit_exceeded"}),
        RateLimitError,
        "rate_limit_exceeded",
    ),
    "text": (sse({"error": "boom"}), ServerError, None),
    "content filter": (
        sse({"error": {"message": "boom", "code": "content_filter", "status": 400}}),
        ContentFilteredError,
        "content_filter",
    ),
}


@pytest.mark.parametrize(("error", "kind", "code"), _ERRORS.values(), ids=_ERRORS)
@pytest.mark.parametrize("rest", [b"", sse(chunk(finish="stop"), chunk(usage=USAGE), "[DONE]")])
async def test_an_error_on_the_way_is_raised_typed_once_and_nothing_is_stored(
    error: bytes, kind: type[ProviderError], code: str | None, rest: bytes
) -> None:
    async with serving(streamed(sse(*_HALF) + error + rest)) as (provider, upstream):
        events, raised = await until_error(provider.stream("x", cache_response=True))
        assert type(raised) is kind
        assert raised.message == "boom"
        assert (raised.status, raised.code) == (200, code)
        assert data_of(events, T.TOKEN) == ["half ", "of"]
        assert events[-1].type is T.ERROR
        assert "boom" in events[-1].data["error"]
        assert upstream.calls == 1
        assert await stored(provider) == []


@pytest.mark.parametrize("cached", [True, False])
async def test_a_stream_that_breaks_after_its_first_event_is_not_tried_again(
    *, cached: bool
) -> None:
    body = sse(*_HALF)
    async with serving(streamed(body, cut=True), attempts=5) as (provider, upstream):
        events, raised = await until_error(provider.stream("x", cache_response=cached))
        assert type(raised) is StreamInterruptedError
        assert data_of(events, T.TOKEN) == ["half ", "of"]
        assert events[-1].type is T.ERROR
        assert upstream.calls == 1


_CHOICE_ERROR = {"error": {"code": 502, "message": "boom"}}


@pytest.mark.parametrize(
    "last",
    [
        chunk(finish="error", choice=_CHOICE_ERROR),
        chunk(finish="stop", x_groq={"id": "req", "error": {"code": 502, "message": "boom"}}),
    ],
    ids=["OpenRouter", "Groq"],
)
def test_an_error_beside_a_choice_is_typed(last: dict[str, Any]) -> None:
    with pytest.raises(ServerError) as raised:
        run(*_HALF, last)
    assert (raised.value.message, raised.value.code) == ("boom", "502")


async def test_an_error_inside_a_choice_of_a_whole_answer_is_typed() -> None:
    data = completion("half of", finish="error")
    data["choices"].append({**data["choices"][0], "index": 1, **_CHOICE_ERROR})
    async with serving(Reply(body=as_json(data))) as (provider, _):
        with pytest.raises(ServerError, match="boom"):
            await provider.complete("x", n=2, cache_response=True)
        assert await stored(provider) == []


async def test_an_error_inside_a_choice_is_never_stored() -> None:
    body = sse(*_HALF, chunk(finish="error", choice=_CHOICE_ERROR), chunk(usage=USAGE), "[DONE]")
    async with serving(streamed(body)) as (provider, _):
        with contextlib.suppress(ProviderError):
            await collect(provider.stream("x", cache_response=True))
        assert await stored(provider) == []


async def test_groqs_note_that_it_stopped_early_is_an_error() -> None:
    body = sse(
        *_HALF, chunk(finish="stop", x_groq={"id": "req", "error": "over capacity"}), "[DONE]"
    )
    async with serving(streamed(body)) as (provider, _):
        with contextlib.suppress(ProviderError):
            await collect(provider.stream("x", cache_response=True))
        assert await stored(provider) == []


# Mistral: error, model_length · DeepSeek: insufficient_system_resource · vLLM: abort · OpenRouter: error
@pytest.mark.parametrize(
    "finish", ["error", "abort", "insufficient_system_resource", "model_length"]
)
@pytest.mark.parametrize("as_stream", [True, False])
async def test_an_answer_that_ended_in_trouble_is_not_stored(
    finish: str, *, as_stream: bool
) -> None:
    whole = Reply(body=as_json(completion("half of", finish=finish)))
    parts = sse(chunk({"content": "half of"}), chunk(finish=finish), chunk(usage=USAGE), "[DONE]")
    async with serving(streamed(parts) if as_stream else whole) as (provider, _):
        with contextlib.suppress(ProviderError):
            if as_stream:
                await collect(provider.stream("x", cache_response=True))
            else:
                await provider.complete("x", cache_response=True)
        assert await stored(provider) == []


# --- other bodies where a stream was asked for ------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": kind}
        for kind in ("application/json", "text/plain", "TEXT/EVENT-STREAM;x=y")
    ],
    ids=str,
)
async def test_a_stream_is_known_by_its_bytes_not_by_its_label(headers: dict[str, str]) -> None:
    reply = Reply(body=sse(*answer_stream()), headers=headers)
    async with serving(reply) as (provider, _):
        events = await collect(provider.stream("x", cache_response=True))
        assert data_of(events, T.TOKEN) == ["one ", "two ", "three "]
        assert len(await stored(provider)) == 1


@pytest.mark.parametrize("start", [b"", b"\n\n", b" \r\n"])
async def test_a_whole_completion_is_accepted_where_a_stream_was_asked_for(start: bytes) -> None:
    body = start + as_json(completion("hi"))
    async with serving(Reply(body=pieces([body[:9], body[9:]]))) as (provider, upstream):
        events = await collect(provider.stream("x", cache_response=True))
        assert data_of(events, T.TOKEN) == ["hi"]
        assert final(events).raw == completion("hi")
        again = await provider.complete("x", cache_response=True)
        assert again == final(events)
        assert await collect(provider.stream("x", cache_response=True)) == events
        assert upstream.calls == 1


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", StreamInterruptedError),
        (b"\n\n: nothing\n\n", StreamInterruptedError),
        (b"Bad gateway", StreamInterruptedError),
        (b"<!doctype html><title>Sign in</title>", InvalidResponseError),
        (b"\n  <html>", InvalidResponseError),
        (b'{"choices":[]}', ProviderError),
        (b'{"choices":[{"mess', InvalidResponseError),
        (b'{"error":{"message":"m","code":"model_not_found"}}', NotFoundError),
        (b"[1,2]", InvalidResponseError),
        (b'data: "text"\n\n', InvalidResponseError),
        (b"data: null\n\n", InvalidResponseError),
        (b"data: 7\n\n", InvalidResponseError),
        (b"data: [1]\n\n", InvalidResponseError),
        (b"data: \n\n", InvalidResponseError),
        (b'data: {"choices":[{"delta":\n\n', InvalidResponseError),
        (b"data: \xff\xfe\n\n", InvalidResponseError),
    ],
    ids=repr,
)
async def test_what_is_no_stream_is_a_typed_error(body: bytes, kind: type[ProviderError]) -> None:
    async with serving(streamed(body)) as (provider, _):
        with pytest.raises(kind):
            await collect(provider.stream("x", cache_response=True))
        assert await stored(provider) == []
