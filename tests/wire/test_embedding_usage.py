"""What embeddings cost, split over their inputs; and responses that are none."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcache.errors import InvalidResponseError
from llmcache.providers.http import HTTPReply
from llmcache.providers.openai_embeddings import parse_vector, vector_recordings
from llmcache.testing.upstream import Reply
from llmcache.types import Usage

from .support import as_json, serving, stored
from .test_embeddings import packed, vectors_reply


def shares(usage: Any, inputs: list[Any]) -> list[Usage]:
    """Return the usage that each input's stored vector carries."""
    data = [{"index": i, "embedding": [1.0]} for i in range(len(inputs))]
    reply = HTTPReply(200, {}, as_json({"data": data, "usage": usage}))
    parsed = [parse_vector(r.body or b"", "p") for r in vector_recordings(reply, inputs, "p")]
    return [share for _, share, _ in parsed if share is not None]


inputs = st.lists(
    st.text(max_size=30) | st.lists(st.integers(0, 9), min_size=1), min_size=1, max_size=12
)


@given(inputs, st.integers(0, 10_000))
@settings(max_examples=100, deadline=None)
def test_the_shares_of_the_tokens_add_up(texts: list[Any], tokens: int) -> None:
    parts = shares({"prompt_tokens": tokens, "total_tokens": tokens}, texts)
    assert len(parts) == len(texts)
    assert Usage.sum(parts).total_tokens == tokens
    assert Usage.sum(parts).input_tokens == tokens
    assert all(part.total_tokens >= 0 for part in parts)


def test_longer_inputs_carry_more() -> None:
    short, long = shares({"total_tokens": 100}, ["a" * 10, "a" * 90])
    assert (short.total_tokens, long.total_tokens) == (10, 90)


@pytest.mark.parametrize(
    ("cost", "count"),
    [
        ("0.5", 2),
        ("0.001", 3),
    ],
)  # fmt: skip
def test_the_shares_of_the_cost_add_up(cost: str, count: int) -> None:
    parts = shares({"total_tokens": count, "cost": float(cost)}, ["a"] * count)
    assert Usage.sum(parts).total_cost == Decimal(cost)


async def test_the_usage_of_found_and_fresh_vectors_adds_up() -> None:
    usage = {"prompt_tokens": 7, "total_tokens": 7}
    first, second = vectors_reply([1.0], [2.0], usage=usage), vectors_reply([3.0], usage=usage)
    async with serving([first, second]) as (provider, _):
        live = await provider.embed(["a", "b"], cache_response=True)
        both = await provider.embed(["a", "b", "c"], cache_response=True)
        assert live.usage is not None
        assert both.usage is not None
        assert (live.usage.total_tokens, both.usage.total_tokens) == (7, 14)


@pytest.mark.parametrize("usage", [None, {}, {"total_tokens": 0}])
async def test_usage_may_be_missing(usage: Any) -> None:
    reply = Reply(body=as_json({"data": [{"index": 0, "embedding": [1.0]}], "usage": usage}))
    async with serving(reply) as (provider, _):
        assert (await provider.embed("a", cache_response=True)).embedding == (1.0,)


# --- what is no embedding ---------------------------------------------------------------------


def item(value: Any, index: Any = 0) -> dict[str, Any]:
    return {"index": index, "embedding": value}


GARBAGE: list[Any] = [
    b"",
    b"<html>",
    b"null",
    b"[]",
    b"{}",
    {"data": None},
    {"data": []},
    {"data": [item([1.0])]},
    {"data": [item([1.0]), item([1.0], 1), item([1.0], 2)]},
    {"data": [item([1.0]), item([2.0])]},
    {"data": [item([1.0], 1), item([2.0], 2)]},
    {"data": [item([1.0]), {"embedding": [1.0]}]},
    {"data": [item([1.0]), {"index": 1}]},
    {"data": [item([1.0]), item(None, 1)]},
    {"data": [item([1.0]), item(7, 1)]},
    {"data": [item([1.0]), item("not base64!", 1)]},
    {"data": [item([1.0]), item("AAAA", 1)]},
    {"data": [item([1.0]), item("AAAAAA", 1)]},
    {"data": [item([1.0]), item(packed([1.0]) + "\n", 1)]},
    {"data": [item([1.0]), item([1.0], "1")]},
    {"data": [item([1.0]), None]},
    b'{"data": [{"index": 0, "embedding": [NaN]}, {"index": 1, "embedding": [1.0]}]}',
    b'{"data": [{"index": 0, "embedding": [1e999]}, {"index": 1, "embedding": [1.0]}]}',
    {"data": [item([1.0]), item(["1.0"], 1)]},
    {"data": [item([1.0]), item([None], 1)]},
    {"data": [item([1.0]), item([[1.0]], 1)]},
    {"data": [item([1.0]), item([], 1)]},
    {"data": [item([1.0]), item("", 1)]},
    {"data": [item([1.0]), item({}, 1)]},
    {"data": [item([1.0]), item([True], 1)]},
    {"data": [item([1.0]), item("AADAfw==", 1)]},
]  # fmt: skip


@pytest.mark.parametrize("body", GARBAGE, ids=str)
@pytest.mark.parametrize("cached", [True, False])
async def test_what_is_no_embedding_is_an_error_and_not_stored(body: Any, *, cached: bool) -> None:
    raw = body if isinstance(body, bytes) else as_json(body)
    async with serving(Reply(body=raw)) as (provider, upstream):
        with pytest.raises(InvalidResponseError) as raised:
            await provider.embed(["a", "b"], cache_response=cached)
        assert raised.value.status == 200
        assert upstream.calls == 1
        assert await stored(provider) == []
