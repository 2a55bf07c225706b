"""What a stream of chunks means: the pieces as they come, and the answer that they add up to."""

from __future__ import annotations

import tracemalloc
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest

from llmcache import StreamEventType
from llmcache.testing.upstream import Reply

from .streams import run
from .support import (
    EVENT_STREAM,
    USAGE,
    answer_stream,
    chunk,
    data_of,
    serving,
    sse,
)

T = StreamEventType
Chunks = Sequence[Mapping[str, Any] | str]


def test_text_comes_in_pieces_and_adds_up() -> None:
    events, result = run(*answer_stream()[:-1])
    assert data_of(events, T.META) == [{"id": "chatcmpl-1", "model": "demo"}]
    assert data_of(events, T.TOKEN) == ["one ", "two ", "three "]
    assert [u.total_tokens for u in data_of(events, T.USAGE)] == [5]
    assert (result.content, result.finish_reason) == ("one two three ", "stop")
    assert (result.id, result.model) == ("chatcmpl-1", "demo")
    assert result.raw["object"] == "chat.completion"
    assert result.raw["choices"][0]["message"] == {"role": "assistant", "content": "one two three "}


def test_several_choices_may_interleave() -> None:
    events, result = run(
        *(chunk({"content": word}, index=index) for word in ("a", "b") for index in (1, 0, 2)),
        chunk(finish="stop", index=2),
        chunk(finish="length", index=0),
        chunk(finish="stop", index=1),
    )
    assert [(e.index, e.data) for e in events if e.type is T.TOKEN] == [
        *((i, word) for word in ("a", "b") for i in (1, 0, 2))
    ]
    assert [(c.index, c.message.content, c.finish_reason) for c in result.choices] == [
        (0, "ab", "length"),
        (1, "ab", "stop"),
        (2, "ab", "stop"),
    ]
    assert result.content == "ab"


def test_one_chunk_may_carry_several_choices() -> None:
    both = chunk({"content": "a"})
    both["choices"].append({"index": 1, "delta": {"content": "b"}, "finish_reason": None})
    _, result = run(both, chunk(finish="stop"), chunk(finish="stop", index=1))
    assert [choice.message.content for choice in result.choices] == ["a", "b"]


# --- other text -------------------------------------------------------------------------------


def test_a_refusal_is_no_content() -> None:
    events, result = run(
        chunk({"refusal": "I "}), chunk({"refusal": "won't"}), chunk(finish="stop")
    )
    assert data_of(events, T.REFUSAL) == ["I ", "won't"]
    assert data_of(events, T.TOKEN) == []
    assert (result.refusal, result.content) == ("I won't", None)


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_is_apart_from_the_text(field: str) -> None:
    events, result = run(
        chunk({field: "so ", "content": None}),
        chunk({field: "…", "content": ""}),
        chunk({"content": "42"}),
        chunk(finish="stop"),
    )
    assert data_of(events, T.REASONING) == ["so ", "…"]
    assert (result.reasoning, result.content) == ("so …", "42")
    assert result.to_message().to_dict()[field] == "so …"


def test_reasoning_details_meet_by_index() -> None:
    def details(index: int, **fields: Any) -> dict[str, Any]:
        return chunk({"reasoning_details": [{"index": index, **fields}]})

    _, result = run(
        details(0, type="reasoning.text", text="so ", format="x"),
        details(0, type="reasoning.text", text="…", format="x"),
        details(0, type="reasoning.text", signature="sig", format="x"),
        details(1, type="reasoning.encrypted", data="abc"),
        chunk({"content": "42"}, "stop"),
    )
    assert result.reasoning == "so …"
    assert result.raw["choices"][0]["message"]["reasoning_details"] == [
        {"index": 0, "type": "reasoning.text", "text": "so …", "format": "x", "signature": "sig"},
        {"index": 1, "type": "reasoning.encrypted", "data": "abc"},
    ]


def test_content_may_be_parts_between_text() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "so "}]}
    events, result = run(
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": [thinking]}),
        chunk({"content": [{"type": "thinking", "thinking": "…"}]}),
        chunk({"content": [{"type": "text", "text": "4"}]}),
        chunk({"content": "2"}),
        chunk({"content": "!"}, "stop"),
    )
    assert data_of(events, T.REASONING) == ["so ", "…"]
    assert data_of(events, T.TOKEN) == ["4", "2", "!"]
    assert (result.content, result.reasoning) == ("42!", "so …")


def test_logprobs_are_joined() -> None:
    def one(token: str) -> dict[str, Any]:
        return {"token": token, "logprob": -0.5, "bytes": [1], "top_logprobs": []}

    _, result = run(
        chunk({"content": "a"}, choice={"logprobs": {"content": [one("a")], "refusal": None}}),
        chunk({"content": "b"}, choice={"logprobs": None}),
        chunk({"content": "cd"}, choice={"logprobs": {"content": [one("c"), one("d")]}}),
        chunk(finish="stop"),
    )
    assert result.raw["choices"][0]["logprobs"] == {
        "content": [one("a"), one("c"), one("d")],
        "refusal": None,
    }
    assert [entry["token"] for entry in result.logprobs["content"]] == ["a", "c", "d"]


# --- usage and what else servers say ----------------------------------------------------------


@pytest.mark.parametrize(
    "closing",
    [
        [chunk(finish="stop"), chunk(usage=USAGE)],
        [chunk(finish="stop", usage=USAGE)],
        [chunk(finish="stop", usage=None), chunk(usage=USAGE)],
        [chunk(finish="stop", x_groq={"id": "req", "usage": USAGE})],
        [chunk({"content": ""}, usage={"prompt_tokens": 3}), chunk(finish="stop", usage=USAGE)],
    ],
    ids=["own chunk", "on the last choice", "null before", "x_groq", "growing"],
)
def test_usage_is_found_wherever_it_stands(closing: list[dict[str, Any]]) -> None:
    _, result = run(chunk({"content": "hi"}), *closing)
    assert result.usage is not None
    assert (result.usage.input_tokens, result.usage.output_tokens) == (3, 2)


def test_azure_begins_with_a_chunk_about_the_prompt() -> None:
    safety = [{"prompt_index": 0, "content_filter_results": {}}]
    first = {**chunk(), "id": "", "model": "", "prompt_filter_results": safety}
    events, result = run(first, *answer_stream(usage=False)[:-1])
    assert {"prompt_filter_results": safety} in data_of(events, T.META)
    assert result.usage is None
    assert (result.id, result.model) == ("chatcmpl-1", "demo")


def test_the_id_is_reported_when_it_is_first_known() -> None:
    events, _ = run({**chunk(), "id": "", "model": ""}, *answer_stream()[:-1])
    assert data_of(events, T.META)[0] == {"id": "chatcmpl-1", "model": "demo"}


def test_an_empty_id_does_not_replace_the_real_one() -> None:
    last = {**chunk(usage=USAGE), "id": "", "model": ""}
    _, result = run(chunk({"content": "hi"}), chunk(finish="stop"), last)
    assert (result.id, result.model) == ("chatcmpl-1", "demo")


def test_padding_is_no_part_of_the_answer() -> None:
    plain = [chunk({"content": "hi"}), chunk(finish="stop")]
    padded = [{**plain[0], "obfuscation": "x7"}, {**plain[1], "p": "abcdef"}]
    assert run(*padded)[1] == run(*plain)[1]


def test_a_null_does_not_undo_what_an_earlier_chunk_said() -> None:
    first = chunk({"content": "hi"}, system_fingerprint="fp", service_tier="flex", id="one")
    last = chunk(finish="stop", system_fingerprint=None, service_tier=None, id=None)
    _, result = run(first, last)
    assert (result.raw["system_fingerprint"], result.raw["service_tier"]) == ("fp", "flex")
    assert result.id == "one"


def test_citations_are_reported_and_kept() -> None:
    urls = ["https://example.org/a"]
    events, result = run(
        *(chunk({"content": "x"}, citations=urls) for _ in "ab"), chunk(finish="stop")
    )
    assert data_of(events, T.META)[1:] == [{"citations": urls}]
    assert result.raw["citations"] == urls


async def test_a_hundred_megabytes_take_no_more_memory_than_one() -> None:
    padded = sse(chunk({"content": "a"}, obfuscation="x" * 100_000))
    count = 100_000_000 // len(padded) + 1

    async def body() -> AsyncIterator[bytes]:
        for _ in range(count):
            yield padded
        yield sse(chunk(finish="stop"), "[DONE]")

    seen = 0
    async with serving(lambda _: Reply(body=body(), headers=EVENT_STREAM)) as (provider, _):
        tracemalloc.start()
        try:
            async for event in provider.stream("q"):
                seen += event.type is T.TOKEN
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert seen == count
    assert peak < 10_000_000
