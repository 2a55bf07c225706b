"""What each compatible server does differently, as recorded: nothing of it is lost or misread."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from llmcache.providers.openai_chat import ChatDialect
from llmcache.testing.upstream import Reply
from llmcache.types import WireEvent

from .recorded import Exchange
from .specification import reference
from .streams import outcome, run
from .support import as_json, chunk, collect, completion, final, serving, stored

# Fields that only some servers send, anywhere in an answer, and where they were recorded.
BESIDE = {
    "annotations", "channel", "citations", "content_filter_results", "executed_tools",
    "extra_content", "is_byok", "kv_transfer_params", "native_finish_reason",
    "num_search_queries", "num_sources_used", "prompt_cache_hit_tokens", "prompt_logprobs",
    "provider", "queue_time", "reasoning", "reasoning_content", "reasoning_details",
    "search_results", "time_info", "token_ids", "usage_breakdown", "x_groq",
}  # fmt: skip


def named(value: Any) -> Iterator[tuple[str, str]]:
    """Yield name and value of every such field that says something."""
    if isinstance(value, list):
        for item in value:
            yield from named(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            if name in BESIDE and item not in (None, "", [], {}):
                yield name, json.dumps(item, sort_keys=True)
            yield from named(item)


def test_what_servers_say_beside_a_whole_answer_is_kept(chats: list[Exchange]) -> None:
    seen: dict[str, int] = {}
    for exchange in chats:
        if not exchange.is_stream and not exchange.is_error:
            told = json.loads(exchange.body)
            raw = ChatDialect("test").parse(exchange.body).raw
            assert sorted(named(raw)) == sorted(named(told)), exchange.name
            for name, _ in named(told):
                seen[name] = seen.get(name, 0) + 1
    assert len(seen) >= 12, seen


def test_what_servers_say_beside_a_streamed_answer_is_kept(chats: list[Exchange]) -> None:
    """Text is put together from its pieces; of anything else, the last that was said holds."""
    seen: set[str] = set()
    for exchange in chats:
        if not exchange.is_stream or exchange.is_error:
            continue
        events = [json.loads(e.data) for e in reference(exchange.body) if e.data != b"[DONE]"]
        said = {name for event in events for name, _ in named(event)}
        raw = outcome(exchange.body)[0].raw
        kept = {name for name, _ in named(raw)}
        assert said == kept, exchange.name
        seen |= said
    assert len(seen) >= 5, seen


@pytest.mark.parametrize("padding", ["p", "obfuscation"])
def test_padding_is_not_kept(padding: str) -> None:
    _, plain = run(chunk({"content": "a"}), chunk({"content": "b"}, "stop"))
    _, padded = run(
        {**chunk({"content": "a"}), padding: "xyz"},
        {**chunk({"content": "b"}, "stop"), padding: "y"},
    )
    assert plain == padded


@pytest.mark.parametrize("finish", ["eos", "stop_sequence", "end_turn", "tool_calls"])
async def test_a_finish_of_a_server_s_own_is_an_end(finish: str) -> None:
    """Together says `eos` where others say `stop`."""
    async with serving(Reply(body=as_json(completion("hi", finish=finish)))) as (provider, _):
        result = await provider.complete("x", cache_response=True)
        assert result.finish_reason == finish
        assert len(await stored(provider)) == 1


async def test_an_event_stream_that_calls_itself_json_is_read_as_what_was_asked_for(
    chats: list[Exchange],
) -> None:
    """Some servers and proxies name the wrong type, or none."""
    (row, *_) = [e for e in chats if e.is_stream and not e.is_error and "openai/" in e.name]
    for kind in ("application/json", "text/plain", ""):
        reply = row.reply()
        reply.headers = {"content-type": kind}
        async with serving(lambda _, r=reply: r) as (provider, _):  # type: ignore[misc]
            live = final(await collect(provider.stream("x", cache_response=True)))
            assert live.raw == outcome(row.body)[0].raw
            assert len(await stored(provider)) == 1


def test_an_event_named_error_is_one_whatever_it_looks_like() -> None:
    """Groq, in the middle of a stream that began well."""
    decoder = ChatDialect("groq").decoder()
    decoder.feed(WireEvent(as_json(chunk({"content": "a"}))))
    told = {"error": {"message": "over capacity", "type": "server_error", "status_code": 503}}
    with pytest.raises(Exception, match="over capacity") as raised:
        decoder.feed(WireEvent(as_json(told), "error"))
    assert type(raised.value).__name__ in {"OverloadedError", "ServerError"}
    assert getattr(raised.value, "retryable", False)
