"""What Ollama answers: text, thoughts, tool calls, counts; what is no answer, and what is not kept."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from llmcache import (
    BadRequestError,
    Message,
    NotFoundError,
    ProviderError,
    ServerError,
    StreamEventType,
    StreamInterruptedError,
)
from llmcache.errors import ContextLengthError, InvalidResponseError
from llmcache.providers.ollama_answer import CHAT, GENERATE, OllamaDialect
from llmcache.streaming.events import fold
from llmcache.testing.upstream import Reply
from llmcache.types import CompletionResult, WireEvent

from .ollama_support import (
    MOMENT,
    answer,
    call,
    generated,
    last,
    line,
    run,
    sent,
    serving,
    streamed,
)
from .support import as_json, collect, data_of, final, stored, until_error

_Event = StreamEventType


def parse(data: Any, kind: str = CHAT) -> Any:
    return OllamaDialect(kind).parse(as_json(data))


def says(result: CompletionResult, data: Any, kind: str = CHAT) -> None:
    """Check that a result is the one of a whole answer, up to the order of its fields."""
    whole = dataclasses.replace(parse(data, kind), raw_json=result.raw_json)
    assert dataclasses.replace(result, cache=None) == whole
    assert result.raw == data


# --- whole answers ----------------------------------------------------------------------------


def test_a_whole_answer() -> None:
    result = parse(answer("Hello", thinking="hm"))
    assert (result.content, result.reasoning, result.model) == ("Hello", "hm", "demo")
    assert result.finish_reason == "stop"
    assert (result.usage.input_tokens, result.usage.output_tokens) == (7, 3)
    assert result.usage.total_tokens == 10
    assert result.raw == answer("Hello", thinking="hm")
    assert result.raw_json == as_json(answer("Hello", thinking="hm"))


def test_a_generated_answer_and_a_picture() -> None:
    result = parse(generated("Hello", thinking="hm"), GENERATE)
    assert (result.content, result.reasoning, result.native) == ("Hello", "hm", None)
    assert result.raw["context"] == [1, 2]
    picture = parse(generated("", image="aGk="), GENERATE)
    assert picture.extra["images"] == ("aGk=",)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"prompt_eval_count": None}, (0, 3)),
        ({"eval_count": None}, (7, 0)),
        ({"prompt_eval_count": None, "eval_count": None}, None),
    ],
)
def test_counts_may_be_absent(counts: dict[str, Any], expected: Any) -> None:
    given = {k: v for k, v in {**answer("x"), **counts}.items() if v is not None}
    usage = parse(given).usage
    assert (usage and (usage.input_tokens, usage.output_tokens)) == expected


def test_arguments_are_an_object_and_ids_are_made_up_the_same_every_time() -> None:
    data = answer("", tool_calls=[call("f", {"a": "é"}), call("f", {"a": "é"}), call("g")])
    calls = parse(data).tool_calls
    assert [c.arguments for c in calls] == ['{"a": "é"}', '{"a": "é"}', "{}"]
    assert len({c.id for c in calls}) == 3
    assert [c.id for c in calls] == [c.id for c in parse(data).tool_calls]
    assert all(c.id.startswith("call_") for c in calls)
    later = parse({**data, "created_at": "2026-11-21T12:00:01Z"}).tool_calls
    assert not {c.id for c in calls} & {c.id for c in later}, "two turns share an id"


def test_an_id_of_the_servers_own_stays() -> None:
    (only,) = parse(answer("", tool_calls=[call("f", id="call_7")])).tool_calls
    assert only.id == "call_7"


NO_ANSWERS: dict[str, Any] = {
    "not done": {**answer("x"), "done": False},
    "done of a text": {**answer("x"), "done": "true"},
    "done missing": {k: v for k, v in answer("x").items() if k != "done"},
    "no message": {k: v for k, v in answer("x").items() if k != "message"},
    "a message of a text": {**answer("x"), "message": "x"},
    "content of a number": answer("x", content=5),
    "thinking of a list": answer("x", thinking=["a"]),
    "a call of a text": answer("", tool_calls=["f"]),
    "a call without a name": answer("", tool_calls=[{"function": {"arguments": {}}}]),
    "a count of a text": {**answer("x"), "eval_count": "many"},
    "a list": [answer("x")],
    "null": None,
}


@pytest.mark.parametrize("name", NO_ANSWERS)
def test_what_is_no_answer_is_refused(name: str) -> None:
    with pytest.raises(InvalidResponseError, match=r"^ollama 200: not an answer of ollama\.chat"):
        parse(NO_ANSWERS[name])


@pytest.mark.parametrize("body", [b"", b"Ollama is running", b"<html>", b'{"done": tru'])
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidResponseError, match="not JSON"):
        OllamaDialect().parse(body)


# --- streams ----------------------------------------------------------------------------------


def test_lines_add_up_to_the_answer() -> None:
    events, result = run(
        line(thinking="hm "), line(thinking="so"), line("It "), line("is."), last()
    )
    assert data_of(events, _Event.META) == [{"model": "demo"}]
    assert data_of(events, _Event.REASONING) == ["hm ", "so"]
    assert data_of(events, _Event.TOKEN) == ["It ", "is."]
    assert data_of(events, _Event.USAGE) == [result.usage]
    says(result, answer("It is.", thinking="hm so"))


def test_tool_calls_come_whole_and_keep_their_ids() -> None:
    events, result = run(
        line(tool_calls=[call("f", {"a": 1}), call("g")]),
        {**line(tool_calls=[call("f", {"a": 1})]), "created_at": "2026-11-21T12:00:09Z"},
        {**last(), "created_at": "2026-11-21T12:00:10Z"},
    )
    ends = data_of(events, _Event.TOOL_CALL_END)
    assert tuple(ends) == result.tool_calls
    starts = data_of(events, _Event.TOOL_CALL_START)
    assert [(s.index, s.id, s.name) for s in starts] == [
        (i, c.id, c.name) for i, c in enumerate(ends)
    ]
    assert len({c.id for c in ends}) == 3
    assert result.raw["created_at"] == MOMENT


def test_pieces_of_the_odds_are_joined() -> None:
    odds = [{"token": t, "logprob": -1} for t in "ab"]
    _, result = run(
        {**line("a"), "logprobs": odds[:1]}, {**line("b"), "logprobs": odds[1:]}, last()
    )
    assert result.raw["logprobs"] == odds
    assert len(result.logprobs) == 2


def test_generated_lines_add_up() -> None:
    lines = [{**generated(t), "done": False} for t in ("a", "b")]
    events, result = run(*lines, generated("", thinking="c"), kind=GENERATE)
    assert data_of(events, _Event.TOKEN) == ["a", "b"]
    says(result, generated("ab", thinking="c"), GENERATE)


def test_a_picture_says_how_far_it_is() -> None:
    steps = [{"model": "demo", "completed": n, "total": 2, "done": False} for n in (1, 2)]
    events, result = run(*steps, generated("", image="aGk="), kind=GENERATE)
    assert {"completed": 2, "total": 2} in data_of(events, _Event.META)
    assert result.extra["images"] == ("aGk=",)


@pytest.mark.parametrize("text", ["a\u2028b", "a\u0085b", "a\u2029b\x0bc\x0cd\x1ce"])
async def test_lines_end_at_line_feeds_only(text: str) -> None:
    """The official client splits as `str.splitlines` does, and fails here."""
    raw = f'{{"model":"demo","message":{{"role":"assistant","content":"{text[:3]}"}},"done":false}}'
    async with serving(streamed(raw, last())) as (provider, _):
        assert final(await collect(provider.stream("q"))).content == text[:3]


def test_a_carriage_return_is_white_space() -> None:
    spaced = '{"model":"demo",\r"message":{"content":"a"},\r"done":false}\r'
    _, result = run(spaced, last())
    assert result.content == "a"


@pytest.mark.parametrize("cut", [False, True])
async def test_a_stream_without_its_end_is_no_answer(cut: bool) -> None:
    async with serving(Reply(body=streamed(line("a"), line("b")).body, cut=cut)) as (provider, _):
        events, error = await until_error(provider.stream("q", cache_response=True))
        assert data_of(events, _Event.TOKEN) == ["a", "b"]
        assert isinstance(error, StreamInterruptedError)
        assert error.retryable
        assert await stored(provider) == []


async def test_an_error_in_the_middle_is_one_although_the_status_is_200() -> None:
    lines = streamed(line("a"), {"error": "the model runner has unexpectedly stopped"}, last())
    async with serving(lines) as (provider, upstream):
        events, error = await until_error(provider.stream("q", cache_response=True))
        assert [event.type for event in events][-1] is _Event.ERROR
        assert type(error) is ServerError
        assert (error.status, error.provider) == (200, "ollama")
        assert error.message == "the model runner has unexpectedly stopped"
        assert upstream.calls == 1
        assert await stored(provider) == []


async def test_what_follows_the_end_is_not_part_of_the_answer() -> None:
    async with serving(streamed(line("a"), last(), line("b"), {"error": "x"})) as (provider, _):
        result = final(await collect(provider.stream("q", cache_response=True)))
        assert result.content == "a"
        (entry,) = await stored(provider)
        assert len(entry.recording.events or ()) == 2


async def test_a_server_that_does_not_stream_is_read_all_the_same() -> None:
    async with serving(Reply(body=as_json(answer("whole")))) as (provider, _):
        result = final(await collect(provider.stream("q", cache_response=True)))
        says(result, answer("whole"))
        assert (await provider.complete("q", mode="offline")) == result


async def test_html_is_no_stream() -> None:
    async with serving(Reply(body=b"<html>\n<body>")) as (provider, _):
        _, error = await until_error(provider.stream("q"))
        assert isinstance(error, InvalidResponseError)


@pytest.mark.parametrize("bad", ["[1]", "null", "5", '{"message": 5}', '{"done": 1}', "{", "nul"])
def test_a_line_of_a_wrong_shape_is_refused(bad: str) -> None:
    with pytest.raises(InvalidResponseError, match=r"not a piece of ollama\.chat"):
        run(line("a"), bad, last())


# --- what is kept -----------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["load", "unload"])
async def test_loading_a_model_is_no_answer_to_keep(reason: str) -> None:
    body = Reply(body=as_json(generated("", reason=reason)))
    async with serving(body) as (provider, _):
        result = await provider.generate("", cache_response=True)
        assert result.cache is not None
        assert not result.cache.stored
        assert result.cache.reason == "nothing was asked: the model was only loaded or unloaded"
        assert await stored(provider) == []


async def test_an_empty_answer_is_not_kept_and_a_cut_one_when_asked() -> None:
    async with serving(Reply(body=as_json(answer("")))) as (provider, _):
        assert not (await provider.complete("q", cache_response=True)).cache.stored  # type: ignore[union-attr]
    async with serving(Reply(body=as_json(answer("He", reason="length")))) as (provider, _):
        await provider.complete("q", cache_response=True)
        assert await stored(provider) == []
        await provider.complete("q", cache_response=True, store_truncated=True)
        assert len(await stored(provider)) == 1


async def test_a_picture_and_thoughts_with_a_call_are_kept() -> None:
    async with serving(Reply(body=as_json(generated("", image="aGk=")))) as (provider, _):
        first = await provider.generate("a cat", cache_response=True)
        assert await provider.generate("a cat", mode="offline") == first
    whole = Reply(body=as_json(answer(None, thinking="hm", tool_calls=[call("f", {"a": 1})])))
    async with serving(whole) as (provider, _):
        first = await provider.complete("q", cache_response=True)
        assert await provider.complete("q", mode="offline") == first
        replayed = await collect(provider.stream("q", mode="offline"))
        assert final(replayed) == first
        pieces = fold(replayed[:-1])
        assert (pieces.tool_calls, pieces.reasoning) == (first.tool_calls, "hm")


# --- errors -----------------------------------------------------------------------------------

ERRORS: dict[str, tuple[int, bytes, type[ProviderError]]] = {
    "no model": (404, b'{"error":"model \'x\' not found"}', NotFoundError),
    "no tools": (400, b'{"error":"x does not support tools"}', BadRequestError),
    "too long": (400, b'{"error":"the input length exceeds the context length"}', ContextLengthError),
    "crash": (500, b'{"error":"llama runner process has terminated"}', ServerError),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize("streaming", [False, True])
async def test_errors_are_typed_and_say_what_the_server_said(name: str, streaming: bool) -> None:
    status, body, kind = ERRORS[name]
    async with serving(Reply(status, body)) as (provider, upstream):
        asking: Any = (
            collect(provider.stream("q", cache_response=True))
            if streaming
            else provider.complete("q", cache_response=True)
        )
        with pytest.raises(ProviderError) as raised:
            await asking
        assert type(raised.value) is kind
        assert raised.value.status == status
        assert raised.value.message == body.decode().split('"')[3]
        assert upstream.calls == (3 if status == 500 else 1)


async def test_an_error_with_status_200_is_one() -> None:
    async with serving(Reply(body=b'{"error": "gone"}')) as (provider, _):
        with pytest.raises(ServerError, match="gone"):
            await provider.complete("q", attempts=1)


# --- its own words ----------------------------------------------------------------------------


async def test_a_turn_goes_back_in_its_own_words() -> None:
    said = answer("", thinking="hm", tool_calls=[call("f", {"b": 1, "a": 2}, id="call_x")])
    async with serving([Reply(body=as_json(said)), Reply(body=as_json(answer()))]) as (
        provider,
        up,
    ):
        first = await provider.complete("q")
        assert first.native is not None
        assert first.native.api == "ollama.chat"
        (asked,) = first.tool_calls or ()
        turns = ["q", first.to_message(), Message.tool_result(asked.id, "3")]
        await provider.complete(turns)
        as_dicts = ["q", first.to_message().to_dict(), Message.tool_result(asked.id, "3").to_dict()]
        await provider.complete(as_dicts)
        _, typed, plain = (body["messages"] for body in sent(up))
    assert typed == plain
    assert typed[1] == said["message"]
    result = {"role": "tool", "content": "3", "tool_name": "f", "tool_call_id": "call_x"}
    assert typed[2] == result


async def test_ids_that_we_made_up_are_not_sent() -> None:
    said = answer("", tool_calls=[call("f"), call("g")])
    async with serving([Reply(body=as_json(said)), Reply(body=as_json(answer()))]) as (
        provider,
        up,
    ):
        first = await provider.complete("q")
        results = [Message.tool_result(c.id, c.name) for c in first.tool_calls or ()]
        await provider.complete(["q", first.to_message(), *results])
        messages = sent(up)[1]["messages"]
    assert messages[1] == said["message"]
    assert messages[2:] == [{"role": "tool", "content": n, "tool_name": n} for n in "fg"]


async def test_another_apis_words_are_compiled() -> None:
    foreign = {
        "role": "assistant",
        "content": "text",
        "tool_calls": [
            {"id": "call_1", "type": "custom", "custom": {"name": "sql", "input": "select 1"}}
        ],
        "native": {
            "api": "messages",
            "body": {"content": [{"type": "thinking", "signature": "s"}]},
        },
    }
    legacy = {
        "role": "assistant",
        "content": None,
        "function_call": {"name": "f", "arguments": "{}"},
    }
    refused = {"role": "assistant", "content": None, "refusal": "No."}
    async with serving(Reply(body=as_json(answer()))) as (provider, upstream):
        await provider.complete(
            [
                {"role": "developer", "content": "s"},
                foreign,
                Message.tool_result("call_1", "1"),
                legacy,
                refused,
            ]
        )
        (body,) = sent(upstream)
    sql = {"function": {"name": "sql", "arguments": {"input": "select 1"}}}
    assert body["messages"] == [
        {"role": "system", "content": "s"},
        {"role": "assistant", "content": "text", "tool_calls": [sql]},
        {"role": "tool", "content": "1", "tool_name": "sql"},
        {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]},
        {"role": "assistant", "content": "No."},
    ]


def test_a_piece_says_nothing_when_it_has_nothing_to_say() -> None:
    decoder = OllamaDialect().decoder()
    assert decoder.feed(WireEvent(as_json({"message": {"content": ""}, "done": False}))) == []
    assert not decoder.is_whole
