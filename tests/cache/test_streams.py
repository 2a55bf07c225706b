"""Streams are stored losslessly, and played back as they were or as fast as can be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from cache_support import answering, chunks, completion, events_of, streamed

from llmcache import OpenAIProvider, StreamEventType
from llmcache.errors import InvalidResponseError, StreamInterruptedError
from llmcache.testing.upstream import DemoUpstream, Reply
from llmcache.types import Recording

MakeProvider = Callable[..., OpenAIProvider]


async def stored_recording(provider: OpenAIProvider) -> Recording:
    [info] = [info async for info in provider.cache.backend.scan()]
    entry = (await provider.cache.store.fetch(info.collection, [info.key]))[info.key]
    return entry.recording


async def test_every_event_is_kept_byte_for_byte(make_provider: MakeProvider) -> None:
    body = chunks("Grüße", " an\u2028alle", ' "quoted"\\')
    async with answering(body) as server, make_provider(base_url=server.base_url) as provider:
        result = await streamed(provider, "q", cache_response=True)
        assert result.content == 'Grüße an\u2028alle "quoted"\\'
        recording = await stored_recording(provider)
    payloads = [line[6:] for line in body.split(b"\n\n") if line]
    assert recording.events is not None
    assert [event.data for event in recording.events] == payloads
    offsets = [event.offset for event in recording.events]
    assert offsets == sorted(offsets)
    assert offsets[0] > 0


async def test_stopping_at_the_last_word_is_enough_when_the_end_has_arrived(
    make_provider: MakeProvider,
) -> None:
    """A reader that breaks off at `DONE` has stored the answer: it is committed before."""
    async with (
        answering(chunks("a", "b")) as server,
        make_provider(base_url=server.base_url) as provider,
    ):
        async for event in provider.stream("q", cache_response=True):
            if event.type is StreamEventType.DONE:
                break
        assert (await provider.complete("q", mode="offline")).content == "ab"


@pytest.mark.parametrize(
    ("replay", "expected"), [("instant", 0.0), ("recorded", 0.6), (4, 0.15), (0.5, 1.2)]
)
async def test_replay_speeds(
    provider: OpenAIProvider,
    upstream: DemoUpstream,
    monkeypatch: pytest.MonkeyPatch,
    replay: Any,
    expected: float,
) -> None:
    live = await events_of(provider, "q", cache_response=True)
    [info] = [info async for info in provider.cache.backend.scan()]
    held = provider.cache.store.held(info.collection, info.key)
    assert held is not None
    events = held.entry.recording.events
    assert events is not None
    step = 0.6 / len(events)
    paced = tuple(event._replace(offset=step * (i + 1)) for i, event in enumerate(events))
    entry = held.entry._replace(recording=held.entry.recording._replace(events=paced))
    provider.cache.store.tier.put((info.collection, info.key), held._replace(entry=entry))

    slept = 0.0
    now = 1_000.0

    async def sleep(seconds: float) -> None:
        nonlocal slept, now
        slept += seconds
        now += seconds

    from llmcache.cache import recording  # noqa: PLC0415 - patched here only

    class Time:
        @staticmethod
        def monotonic() -> float:
            return now

    monkeypatch.setattr(recording, "time", Time)
    monkeypatch.setattr(recording.asyncio, "sleep", sleep)
    replayed = await events_of(provider, "q", cache_response=True, replay=replay)
    assert replayed == live
    assert slept == pytest.approx(expected)
    assert upstream.calls == 1


async def test_a_whole_answer_streams_in_one_piece(make_provider: MakeProvider) -> None:
    body = completion("all at once", reasoning_content="Hm.")
    async with answering(body) as server, make_provider(base_url=server.base_url) as provider:
        whole = await provider.complete("q", cache_response=True)
        events = await events_of(provider, "q", cache_response=True, replay="recorded")
    kinds = [event.type.value for event in events]
    assert kinds == ["meta", "reasoning", "token", "usage", "done"]
    assert events[2].data == "all at once"
    assert events[-1].data == whole


INTERRUPTED = [
    (chunks("a", finish=None, done=False, usage=False), StreamInterruptedError),
    (chunks("a", finish=None, done=False), StreamInterruptedError),
    (b"", StreamInterruptedError),
    (b"data: [DONE]\n\n", InvalidResponseError),
    (b'data: {"choices": [{"index": 0, "delta": {"con', InvalidResponseError),
    (b"<html><body>Bad gateway</body></html>", InvalidResponseError),
    (b"data: <html>\n\n", InvalidResponseError),
]


@pytest.mark.parametrize(("body", "error"), INTERRUPTED)
async def test_half_a_stream_is_an_error_and_leaves_nothing(
    make_provider: MakeProvider, body: bytes, error: type[Exception]
) -> None:
    reply = Reply(body=body, headers={"content-type": "text/event-stream"})
    async with answering(reply) as server, make_provider(base_url=server.base_url) as provider:
        with pytest.raises(error):
            await events_of(provider, "q", cache_response=True)
        assert (await provider.cache.stats()).entries == 0


@pytest.mark.parametrize(
    ("body", "stored"),
    [
        # Databricks sends no [DONE]: with the usage there, everything is there.
        (chunks("a", done=False), True),
        # The answer is whole, its usage may still have been on the way.
        (chunks("a", done=False, usage=False), False),
        (chunks("a", usage=False), True),
        # Proxies that lose their server close with [DONE], too.
        (chunks("a", finish=None), False),
    ],
)
async def test_what_counts_as_the_end(
    make_provider: MakeProvider, body: bytes, *, stored: bool
) -> None:
    reply = Reply(body=body, headers={"content-type": "text/event-stream"})
    async with answering(reply) as server, make_provider(base_url=server.base_url) as provider:
        result = await streamed(provider, "q", cache_response=True)
        assert result.content == "a"
        assert result.cache is not None
        assert result.cache.stored is stored
        if not stored:
            assert result.cache.reason == "no terminal marker of the stream or of a choice"
        assert (await provider.cache.stats()).entries == stored


async def test_a_stream_above_the_ceiling_passes_by_unstored(make_provider: MakeProvider) -> None:
    body = chunks(*["x" * 1_000] * 100)
    async with (
        answering(body) as server,
        make_provider(
            base_url=server.base_url, cache_options={"max_entry_bytes": 50_000}
        ) as provider,
    ):
        result = await streamed(provider, "q", cache_response=True)
        assert len(result.content or "") == 100_000
        assert result.cache is not None
        assert result.cache.reason == "the stream is larger than max_entry_bytes"
        assert (await provider.cache.stats()).entries == 0


async def test_an_uncached_stream_is_not_recorded(
    provider: OpenAIProvider, upstream: DemoUpstream
) -> None:
    first = await events_of(provider, "q")
    assert first[-1].data.cache.status == "bypass"
    await events_of(provider, "q")
    assert upstream.calls == 2
    assert (await provider.cache.stats()).entries == 0


async def test_other_tasks_run_while_a_long_stream_is_replayed(
    make_provider: MakeProvider,
) -> None:
    body = chunks(*["x"] * 5_000)
    async with answering(body) as server, make_provider(base_url=server.base_url) as provider:
        await streamed(provider, "q", cache_response=True)
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counter = asyncio.ensure_future(count())
        await streamed(provider, "q", cache_response=True)
        counter.cancel()
        assert turns > 10
