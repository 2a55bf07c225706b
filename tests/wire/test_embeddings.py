"""Embeddings on the wire: what is sent, what comes back, and that it comes back exactly."""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcache import CacheMissError, InvalidRequestError
from llmcache.errors import LLMCacheError
from llmcache.providers.http import HTTPReply
from llmcache.providers.openai_embeddings import parse_vector, vector_recordings
from llmcache.testing.upstream import DemoUpstream, Reply, Upstream, UpstreamRequest

from .support import as_json, handler, provider_of, serving, stored, without_cache

Vector = Sequence[float]


def packed(vector: Vector) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def vectors_reply(*vectors: Any, usage: Any = None, order: Sequence[int] | None = None) -> Reply:
    items = [{"object": "embedding", "index": i, "embedding": v} for i, v in enumerate(vectors)]
    items = items if order is None else [items[i] for i in order]
    usage = {"prompt_tokens": 6, "total_tokens": 6} if usage is None else usage
    return Reply(body=as_json({"object": "list", "data": items, "model": "big", "usage": usage}))


def by_input(request: UpstreamRequest) -> Reply:
    """Answer each input with a vector that names it: its length and its first character."""
    asked = request.json()["input"]
    inputs = asked if isinstance(asked, list) and not isinstance(asked[0], int) else [asked]
    return vectors_reply(
        *([float(len(i)), float(i[0] if isinstance(i, list) else ord(i[0]))] for i in inputs),
        usage={"prompt_tokens": 3 * len(inputs), "total_tokens": 3 * len(inputs)},
    )


def sent_inputs(upstream: Upstream) -> list[Any]:
    return [request.json()["input"] for request in upstream.requests]


# --- inputs -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "sent", "count"),
    [
        ("abc", "abc", 1),
        (["abc", "de"], ["abc", "de"], 2),
        (("abc", "de"), ["abc", "de"], 2),
        ([1, 2, 3], [1, 2, 3], 1),
        ([[1, 2], [3]], [[1, 2], [3]], 2),
        (["abc", [1, 2]], ["abc", [1, 2]], 2),
        (((1, 2), (3,)), [[1, 2], [3]], 2),
    ],
    ids=str,
)
async def test_inputs_in_every_accepted_shape(inputs: Any, sent: Any, count: int) -> None:
    async with serving(by_input) as (provider, upstream):
        live = await provider.embed(inputs, cache_response=True)
        assert sent_inputs(upstream) == [sent]
        assert len(live.embeddings) == count
        again = await provider.embed(inputs, cache_response=True)
        assert again == live
        assert upstream.calls == 1


async def test_a_list_of_one_is_sent_as_a_list() -> None:
    async with serving(by_input) as (provider, upstream):
        await provider.embed(["abc"])
        assert sent_inputs(upstream) == [["abc"]]


@pytest.mark.parametrize(
    ("inputs", "path"),
    [
        ([], "input"),
        (None, "input"),
        (7, "input"),
        (b"x", "input"),
        ({"a": 1}, "input"),
        ((c for c in "ab"), "input"),
        (["a", 7], "input[1]"),
        (["a", None], "input[1]"),
        ([["a"]], "input[0]"),
        ([[]], "input[0]"),
        ([[1, True]], "input[0]"),
        ([1, 2.0], "input[0]"),
        (["a", b"b"], "input[1]"),
        ("a\ud800", "input"),
        (["b", "a\ud800"], "input[1]"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, list | str) else repr(value),
)
@pytest.mark.parametrize("cached", [True, False])
async def test_inputs_of_a_wrong_shape_are_refused(inputs: Any, path: str, *, cached: bool) -> None:
    async with serving(by_input) as (provider, upstream):
        with pytest.raises(InvalidRequestError) as raised:
            await provider.embed(inputs, cache_response=cached)
        # A stored list is keyed one by one: there the item alone is the input.
        assert raised.value.path in {path, "input"}
        assert upstream.calls == 0


async def test_options_and_extra_body_go_onto_the_wire() -> None:
    async with serving(by_input) as (provider, upstream):
        await provider.embed("a", dimensions=2, user="u", model="other")
        await provider.embed("a", encoding_format="float", extra_body={"input_type": "query"})
        first, second = (request.json() for request in upstream.requests)
    assert first == {
        "model": "other", "dimensions": 2, "user": "u", "encoding_format": "base64", "input": "a",
    }  # fmt: skip
    assert second == {
        "model": "demo", "encoding_format": "float", "input_type": "query", "input": "a",
    }  # fmt: skip


async def test_an_unknown_option_is_refused() -> None:
    async with serving(by_input) as (provider, upstream):
        with pytest.raises(InvalidRequestError, match="did you mean 'dimensions'"):
            await provider.embed("a", dimension=2)  # type: ignore[call-arg]
        assert upstream.calls == 0


async def test_an_extra_body_of_a_wrong_shape_is_refused() -> None:
    async with serving(by_input) as (provider, _):
        with pytest.raises(InvalidRequestError, match=r"^extra_body"):
            await provider.embed("a", extra_body="x")  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
async def test_elements_that_are_no_floats_are_not_read_as_floats(dtype: str) -> None:
    def voyage(request: UpstreamRequest) -> Reply:
        numbers = [1, 2, 3, 4, 5, 6, 7, 8]
        coded = base64.b64encode(bytes(numbers)).decode()
        return vectors_reply(
            coded if request.json().get("encoding_format") == "base64" else numbers
        )

    async with serving(voyage) as (provider, _):
        try:
            result = await provider.embed("a", extra_body={"output_dtype": dtype})
        except LLMCacheError:
            return
        assert list(result.embedding) == [1, 2, 3, 4, 5, 6, 7, 8]


async def test_base64_of_elements_that_are_no_floats_is_refused() -> None:
    async with serving(by_input) as (provider, upstream):
        with pytest.raises(InvalidRequestError, match=r"^encoding_format"):
            await provider.embed("a", encoding_format="base64", extra_body={"output_dtype": "int8"})
        assert upstream.calls == 0
        options = {"output_dtype": "float", "input_type": "query"}
        await provider.embed("a", encoding_format="base64", extra_body=options)
        await provider.embed("a", extra_body={"input_type": "query"})
        await provider.embed("a", extra_body={})
        sent = [request.json().get("encoding_format") for request in upstream.requests]
        assert sent == ["base64", None, "base64"]


# --- half-known lists -------------------------------------------------------------------------


async def test_a_half_known_list_sends_only_the_other_half_in_its_order() -> None:
    async with serving(by_input) as (provider, upstream):
        known = await provider.embed(["bb", "dddd"], cache_response=True)
        mixed = await provider.embed(["a", "bb", "ccc", "dddd", "eeeee"], cache_response=True)
        assert sent_inputs(upstream) == [["bb", "dddd"], ["a", "ccc", "eeeee"]]
        assert [vector[0] for vector in mixed.embeddings] == [1.0, 2.0, 3.0, 4.0, 5.0]
        assert mixed.embeddings[1] == known.embeddings[0]
        assert mixed.cache is not None
        assert (mixed.cache.status, mixed.cache.items, mixed.cache.items_hit) == ("miss", 5, 2)
        again = await provider.embed(["eeeee", "a"], cache_response=True)
        assert [vector[0] for vector in again.embeddings] == [5.0, 1.0]
        assert upstream.calls == 2


async def test_what_is_in_a_list_twice_is_sent_once() -> None:
    async with serving(by_input) as (provider, upstream):
        result = await provider.embed(["a", "bb", "a", "bb", "a"], cache_response=True)
        assert sent_inputs(upstream) == [["a", "bb"]]
        assert [vector[0] for vector in result.embeddings] == [1.0, 2.0, 1.0, 2.0, 1.0]
        assert len(await stored(provider)) == 2


async def test_what_is_in_a_list_twice_is_paid_once() -> None:
    async with serving(by_input) as (provider, _):
        result = await provider.embed(["a", "bb", "a"], cache_response=True)
        assert result.usage is not None
        assert result.usage.total_tokens == 6


async def test_text_and_its_token_ids_are_two_inputs() -> None:
    async with serving(by_input) as (provider, upstream):
        await provider.embed([97], cache_response=True)
        await provider.embed("[97]", cache_response=True)
        await provider.embed(["[97]", [97]], cache_response=True)
        assert upstream.calls == 2


async def test_other_dimensions_are_another_vector_and_other_encodings_are_not() -> None:
    async with DemoUpstream() as upstream, provider_of(upstream) as provider:
        base = await provider.embed("a", dimensions=8, cache_response=True)
        other = await provider.embed("a", dimensions=4, cache_response=True)
        assert (len(base.embedding), len(other.embedding)) == (8, 4)
        assert upstream.calls == 2
        floats = await provider.embed(
            "a", dimensions=8, encoding_format="float", cache_response=True
        )
        assert floats == base
        assert upstream.calls == 2


async def test_offline_answers_what_is_known_and_nothing_else() -> None:
    async with serving(by_input) as (provider, upstream):
        live = await provider.embed(["a", "bb"], cache_response=True)
        assert await provider.embed(["bb", "a"], mode="offline") != live
        assert (await provider.embed(["a"], mode="offline")).embedding == live.embeddings[0]
        with pytest.raises(CacheMissError):
            await provider.embed(["a", "ccc"], mode="offline")
        assert upstream.calls == 1


# --- exactness --------------------------------------------------------------------------------

float32s = st.floats(width=32, allow_nan=False, allow_infinity=False)
float64s = st.floats(allow_nan=False, allow_infinity=False)


def through_the_wire(value: Any) -> tuple[float, ...]:
    (recording,) = vector_recordings(
        HTTPReply(200, {}, as_json({"data": [{"index": 0, "embedding": value}]})), ["x"], "p"
    )
    vector, _, _ = parse_vector(recording.body or b"", "p")
    return vector


@given(st.lists(float64s, min_size=1, max_size=20))
@settings(max_examples=100, deadline=None)
def test_decimals_come_back_to_the_last_bit(vector: list[float]) -> None:
    again = through_the_wire(vector)
    assert list(again) == vector
    assert [math.copysign(1, n) for n in again] == [math.copysign(1, n) for n in vector]


@given(st.lists(float32s, min_size=1, max_size=20))
@settings(max_examples=100, deadline=None)
def test_base64_and_decimals_of_the_same_vector_are_the_same(vector: list[float]) -> None:
    assert through_the_wire(packed(vector)) == through_the_wire(vector) == tuple(vector)


def test_float32_numbers_take_four_bytes_each_and_others_eight() -> None:
    def size(value: Any) -> int:
        reply = HTTPReply(200, {}, as_json({"data": [{"index": 0, "embedding": value}]}))
        (recording,) = vector_recordings(reply, ["x"], "p")
        return len((recording.body or b"").partition(b"\n")[2])

    assert size([0.5] * 100) == 400
    assert size(packed([0.1] * 100)) == 400
    assert size([0.1] * 100) == 800
    assert size([1e300]) == 8


@pytest.mark.parametrize(
    "value", [[0.1, -0.0, 5e-324, 1e300], [0.5, -2.25], packed([0.1, 3e38])], ids=str
)
async def test_live_and_replayed_vectors_are_equal_after_a_restart(
    value: Any, tmp_path: Path
) -> None:
    async with Upstream(handler(vectors_reply(value))) as upstream:
        options: dict[str, Any] = {"cache_backend": "fs", "cache_dir": tmp_path}
        async with provider_of(upstream, **options) as provider:
            live = await provider.embed("x", cache_response=True)
        async with provider_of(upstream, **options) as provider:
            again = await provider.embed("x", cache_response=True)
        assert again == live
        assert without_cache(again) == without_cache(live)
        assert upstream.calls == 1
    if isinstance(value, list):
        assert list(live.embedding) == value


async def test_vectors_are_matched_by_their_index() -> None:
    reply = vectors_reply([1.0], [2.0], [3.0], order=[2, 0, 1])
    async with serving(reply) as (provider, _):
        live = await provider.embed(["a", "b", "c"], cache_response=True)
        assert live.embeddings == ((1.0,), (2.0,), (3.0,))
        assert (await provider.embed("c", cache_response=True)).embedding == (3.0,)
        assert live.model == "big"
