"""Every recorded exchange of the Messages API again: parsed, stored, replayed equal."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmcache import AnthropicProvider, KeyRules, Message, ProviderError
from llmcache.errors import (
    AuthenticationError,
    BadRequestError,
    NotFoundError,
    OverloadedError,
    RateLimitError,
    ServerError,
)
from llmcache.streaming.events import fold
from llmcache.testing.upstream import Upstream
from llmcache.types import CompletionResult

from .claude import (
    COUNT_ERRORS,
    ERRORS,
    REFUSED,
    STATEFUL_TAGS,
    STREAMED,
    TRUNCATED,
    UNRECORDED_REQUESTS,
    WHOLE,
    messages_of,
    provider_of,
    recorded_messages,
)
from .recorded import Exchange, each, kept_headers, load
from .specification import reference
from .support import collect, final, sleeps, stored, without_cache

Opener = Callable[[Upstream], AnthropicProvider]
# Statuses of the recorded errors, and what they are to us.
CLASSES: dict[int, type[ProviderError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    404: NotFoundError,
    429: RateLimitError,
    500: ServerError,
    529: OverloadedError,
}


@pytest.fixture
def exchanges(recordings: Path) -> list[Exchange]:
    return recorded_messages(recordings)


@pytest.fixture
def folders(tmp_path: Path) -> Callable[[Exchange], Opener]:
    """Each call names a new cache folder, and returns what opens a provider on it."""
    numbers = itertools.count()

    def opener(exchange: Exchange) -> Opener:
        options: dict[str, Any] = {
            "cache_backend": "fs",
            "cache_dir": tmp_path / str(next(numbers)),
        }
        if is_stateful(exchange):
            options["key_rules"] = KeyRules(stateful_ttl=60)
        return lambda upstream: provider_of(upstream, **options)

    return opener


def is_stateful(exchange: Exchange) -> bool:
    return not exchange.tags.isdisjoint(STATEFUL_TAGS)


def test_every_recorded_row_is_in_one_of_these_tests(
    exchanges: list[Exchange], recordings: Path
) -> None:
    assert sum(not e.is_stream and not e.is_error for e in exchanges) == WHOLE
    assert sum(e.is_stream and not e.is_error for e in exchanges) == STREAMED
    assert sum(e.is_error for e in exchanges) == ERRORS
    assert len(exchanges) == WHOLE + STREAMED + ERRORS
    assert sum(e.request is None for e in exchanges) == UNRECORDED_REQUESTS
    assert sum(bool(kept_headers(e)) for e in exchanges if e.is_stream) == 15
    assert {e.name for e in exchanges} >= TRUNCATED | REFUSED
    assert len(load(recordings, "messages.count_tokens")) == COUNT_ERRORS


def check_said(result: CompletionResult, blocks: list[dict[str, Any]]) -> None:
    """Check an answer against the blocks of its message."""
    texts = [block["text"] for block in blocks if block["type"] == "text"]
    assert result.content == ("".join(texts) if texts else None)
    thoughts = [block["thinking"] for block in blocks if block["type"] == "thinking"]
    assert (result.reasoning or "") == "".join(thoughts)
    calls = [(b["id"], b["name"], b["input"]) for b in blocks if b["type"] == "tool_use"]
    ours = [(c.id, c.name, c.parse_arguments()) for c in result.tool_calls or ()]
    assert ours == calls
    assert result.native is not None
    turn = {"role": "assistant", "content": blocks}
    assert json.dumps(result.native.for_api("messages")) == json.dumps(turn)


def check_round_trip(result: CompletionResult) -> None:
    """Check that the neutral form and the native one survive being written and read."""
    turn = result.to_message()
    again = Message.from_dict(json.loads(json.dumps(turn.to_dict())))
    assert again == turn
    assert again.native is not None
    assert result.native is not None
    assert json.dumps(again.native.to_dict()) == json.dumps(result.native.to_dict())
    assert CompletionResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result


def check_answer(exchange: Exchange, result: CompletionResult) -> None:
    """Check a parsed answer against the JSON it came from."""
    data = json.loads(exchange.body)
    assert result.raw_json == exchange.body
    check_said(result, data["content"])
    assert (result.id, result.model) == (data["id"], data["model"])
    assert result.finish_reason == data["stop_reason"]
    usage = data["usage"]
    assert result.usage is not None
    cached = usage.get("cache_read_input_tokens") or 0
    written = usage.get("cache_creation_input_tokens") or 0
    assert result.usage.input_tokens == usage["input_tokens"] + cached + written
    assert result.usage.input_tokens_cached == cached
    assert result.usage.input_tokens_cache_write == written
    assert result.usage.output_tokens == usage["output_tokens"]


def same(one: CompletionResult, other: CompletionResult) -> None:
    assert one == other
    assert without_cache(one) == without_cache(other)


def check_sent(exchange: Exchange, sent: dict[str, Any]) -> None:
    """Check that what we sent is what was recorded, apart from `stream` and the limit of a stand-in."""
    asked = {name: value for name, value in exchange.asked.items() if name != "stream"}
    if exchange.request is None:
        asked["max_tokens"] = 4096
    assert {name: value for name, value in sent.items() if name != "stream"} == asked
    assert sent.get("stream", False) == (exchange.is_stream and not exchange.is_error)


# --- answers ------------------------------------------------------------------------------------


async def ask(provider: Any, exchange: Exchange, *, stream: bool, **more: Any) -> Any:
    """Return the live events or the answer; refusals and cut answers as they are stored."""
    messages, options = messages_of(exchange)
    if exchange.name in TRUNCATED:
        options["store_truncated"] = True
    if stream:
        return await collect(provider.stream(messages, cache_response=True, **options, **more))
    return await provider.complete(messages, cache_response=True, **options, **more)


async def check_hits(provider: Any, exchange: Exchange, live: CompletionResult) -> None:
    """Check that what is stored answers `complete` and `stream` with the live answer."""
    again = await ask(provider, exchange, stream=False)
    assert again.cache is not None
    assert again.cache.status == "hit"
    same(again, live)
    check_round_trip(again)
    events = await ask(provider, exchange, stream=True)
    same(final(events), live)
    pieces = fold(events[:-1])
    assert (pieces.content or None) == (live.content or None)
    assert pieces.tool_calls == live.tool_calls
    assert pieces.reasoning == live.reasoning
    assert pieces.usage == live.usage


async def check_whole(exchange: Exchange, open_provider: Opener) -> None:
    async with Upstream(lambda _: exchange.reply()) as upstream:
        async with open_provider(upstream) as provider:
            live = await ask(provider, exchange, stream=False)
            check_sent(exchange, upstream.requests[0].json())
            check_answer(exchange, live)
            check_round_trip(live)
            assert live.cache is not None
            if exchange.name in REFUSED:
                assert (live.cache.stored, live.finish_reason) == (False, "refusal")
                assert "filter" in (live.cache.reason or "")
                assert await stored(provider) == []
                return
            assert (live.cache.status, live.cache.stored) == ("miss", True)
            (entry,) = await stored(provider)
            assert entry.recording.body == exchange.body
            assert dict(entry.recording.headers) == kept_headers(exchange)
            await check_hits(provider, exchange, live)
        async with open_provider(upstream) as restarted:
            await check_hits(restarted, exchange, live)
        assert upstream.calls == 1


async def test_recorded_answers_are_stored_and_replayed_equal(
    exchanges: list[Exchange], folders: Callable[[Exchange], Opener]
) -> None:
    rows = [e for e in exchanges if not e.is_stream and not e.is_error]
    assert await each(rows, lambda exchange: check_whole(exchange, folders(exchange))) == WHOLE


async def check_stream(exchange: Exchange, open_provider: Opener) -> None:
    async with Upstream(lambda _: exchange.reply()) as upstream:
        async with open_provider(upstream) as provider:
            live = await ask(provider, exchange, stream=True)
            answer = final(live)
            check_sent(exchange, upstream.requests[0].json())
            check_round_trip(answer)
            check_said(answer, answer.raw["content"])
            assert answer.cache is not None
            if exchange.name in REFUSED:
                assert (answer.cache.stored, answer.finish_reason) == (False, "refusal")
                assert answer.refusal == answer.raw["stop_details"]["explanation"]
                assert await stored(provider) == []
                return
            assert (answer.cache.status, answer.cache.stored) == ("miss", True)
            (entry,) = await stored(provider)
            payloads = [(event.event, event.data) for event in reference(exchange.body)]
            assert dict(entry.recording.headers) == kept_headers(exchange)
            kept = [(event.event, event.data) for event in entry.recording.events or ()]
            assert kept == payloads
            await check_replay(provider, exchange, live)
        async with open_provider(upstream) as restarted:
            await check_replay(restarted, exchange, live)
        assert upstream.calls == 1


async def check_replay(provider: Any, exchange: Exchange, live: list[Any]) -> None:
    assert await ask(provider, exchange, stream=True) == live
    whole = await ask(provider, exchange, stream=False)
    assert whole.cache.status == "hit"
    same(whole, final(live))


async def test_recorded_streams_are_stored_and_replayed_equal(
    exchanges: list[Exchange], folders: Callable[[Exchange], Opener]
) -> None:
    rows = [e for e in exchanges if e.is_stream and not e.is_error]
    assert await each(rows, lambda exchange: check_stream(exchange, folders(exchange))) == STREAMED


async def test_recorded_calls_with_server_state_take_no_part_in_the_cache(
    exchanges: list[Exchange],
) -> None:
    async def check(exchange: Exchange) -> None:
        async with (
            Upstream(lambda _: exchange.reply()) as upstream,
            provider_of(upstream) as provider,
        ):
            answer = await ask(provider, exchange, stream=exchange.is_stream)
            result = final(answer) if exchange.is_stream else answer
            assert result.cache.status == "bypass"
            assert await stored(provider) == []

    assert await each([e for e in exchanges if is_stateful(e)], check) == 2


# --- errors -------------------------------------------------------------------------------------


async def check_error(exchange: Exchange, *, count: bool = False) -> None:
    data = json.loads(exchange.body)
    headers = {name.lower(): value for name, value in exchange.headers.items()}
    async with Upstream(lambda _: exchange.reply()) as upstream, provider_of(upstream) as provider:
        messages, options = messages_of(exchange)
        if count:
            asking = provider.count_tokens(messages, **options)
        else:
            asking = ask(provider, exchange, stream=bool(exchange.asked.get("stream")))
        with pytest.raises(ProviderError) as raised:
            await asking
        error = raised.value
        assert type(error) is CLASSES[exchange.status]
        assert (error.provider, error.status) == ("127.0.0.1", exchange.status)
        assert (error.code, error.message) == (data["error"]["type"], data["error"]["message"])
        assert error.request_id == headers.get("request-id", data.get("request_id"))
        wait = float(headers["retry-after"]) if "retry-after" in headers else None
        assert error.retry_after == wait
        # The header wins over the status: this 500 is not to be tried again.
        should = headers.get("x-should-retry", str(exchange.status in {429, 529}).lower())
        assert error.retryable == (should == "true")
        assert upstream.calls == (3 if error.retryable else 1)
        if wait is not None:
            assert sleeps(provider) == [wait, wait]  # type: ignore[arg-type]
        if not count:
            sent = upstream.requests[0].json()
            asked = {k: v for k, v in exchange.asked.items() if k != "stream"}
            assert {k: v for k, v in sent.items() if k != "stream"} == asked
        assert await stored(provider) == []


async def test_recorded_errors_are_typed_and_never_stored(exchanges: list[Exchange]) -> None:
    assert await each([e for e in exchanges if e.is_error], check_error) == ERRORS


async def test_the_recorded_error_of_count_tokens_is_typed(recordings: Path) -> None:
    rows = load(recordings, "messages.count_tokens")
    assert await each(rows, lambda exchange: check_error(exchange, count=True)) == COUNT_ERRORS
