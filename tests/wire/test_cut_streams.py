"""Streams that stop early: an error or the whole answer, and never a part in the cache."""

from __future__ import annotations

import contextlib

import pytest

from llmcache import CacheMissError, ProviderError
from llmcache.errors import StreamInterruptedError

from .specification import matches, said
from .streams import GENERATED, outcome
from .support import (
    USAGE,
    answer_stream,
    chunk,
    collect,
    final,
    serving,
    sse,
    stored,
    streamed,
)


@pytest.mark.parametrize("stream", GENERATED.values(), ids=GENERATED)
def test_the_second_opinion_agrees_on_sound_streams(stream: bytes) -> None:
    result, whole = outcome(stream)
    assert whole
    assert matches(result, said(stream))


# --- cut streams ------------------------------------------------------------------------------


def check_every_cut(stream: bytes) -> None:
    """Cut at every byte: an error, or nothing missing; only what is complete may be stored."""
    whole_result, _ = outcome(stream)
    whole = said(stream)
    for cut in range(len(stream)):
        try:
            result, may_store = outcome(stream[:cut])
        except ProviderError:
            continue
        now = said(stream[:cut])
        assert now.choices == whole.choices, f"cut at {cut}: a part passes for the whole"
        assert result.content == whole_result.content
        assert result.tool_calls == whole_result.tool_calls
        if may_store:
            assert now.complete, f"cut at {cut}: a part may be stored"
            assert result.usage == whole_result.usage


@pytest.mark.parametrize("stream", GENERATED.values(), ids=GENERATED)
def test_a_stream_cut_at_any_byte_is_an_error_or_complete(stream: bytes) -> None:
    check_every_cut(stream)


def test_a_recorded_stream_cut_anywhere_is_an_error_or_complete(
    recorded_streams: list[bytes],
) -> None:
    small = [stream for stream in recorded_streams if len(stream) < 3_000]
    assert len(small) >= 5
    for stream in small:
        check_every_cut(stream)


_ONE_AFTER_ANOTHER = [
    chunk({"content": "a"}, index=0, usage=USAGE),
    chunk(finish="stop", index=0, usage=USAGE),
    chunk({"content": "b"}, index=1, usage=USAGE),
    chunk(finish="stop", index=1, usage=USAGE),
    "[DONE]",
]


async def test_a_stream_that_ends_before_its_second_choice_is_interrupted() -> None:
    body = sse(*_ONE_AFTER_ANOTHER[:2])
    async with serving(streamed(body)) as (provider, _):
        with pytest.raises(StreamInterruptedError):
            await collect(provider.stream("x", n=2, cache_response=True))


async def test_one_choice_of_two_is_never_stored() -> None:
    body = sse(*_ONE_AFTER_ANOTHER[:2])
    async with serving(streamed(body)) as (provider, _):
        with contextlib.suppress(ProviderError):
            await collect(provider.stream("x", n=2, cache_response=True))
        assert await stored(provider) == []


@pytest.mark.parametrize("cut", [True, False], ids=["connection breaks", "body ends properly"])
@pytest.mark.parametrize("keep", [0, 1, 3, 4])
async def test_a_stream_that_stops_early_raises_and_stores_nothing(*, cut: bool, keep: int) -> None:
    body = sse(*answer_stream()[:keep])
    assert keep <= answer_stream().index(chunk(finish="stop"))
    async with serving(streamed(body, cut=cut)) as (provider, upstream):
        with pytest.raises(StreamInterruptedError):
            await collect(provider.stream("x", cache_response=True))
        assert await stored(provider) == []
        with pytest.raises(CacheMissError):
            await provider.complete("x", mode="offline")
        assert upstream.calls == 1


@pytest.mark.parametrize("cut", [True, False])
async def test_what_breaks_after_the_terminal_marker_is_no_matter(*, cut: bool) -> None:
    async with serving(streamed(sse(*answer_stream()), cut=cut)) as (provider, upstream):
        answer = final(await collect(provider.stream("x", cache_response=True)))
        assert answer.content == "one two three "
        assert (await provider.complete("x", cache_response=True)) == answer
        assert upstream.calls == 1


async def test_done_without_any_finish_reason_is_not_stored() -> None:
    body = sse(chunk({"content": "half of"}), "[DONE]")
    async with serving(streamed(body)) as (provider, _):
        with contextlib.suppress(ProviderError):
            await collect(provider.stream("x", cache_response=True))
        assert await stored(provider) == []
