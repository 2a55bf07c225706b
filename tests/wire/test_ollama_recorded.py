"""Every recorded exchange with Ollama's own API again, onto real files: parsed, stored, replayed equal.

One differs on purpose: the recorded embedding is of the older `/api/embeddings`, whose
input is a `prompt`; we ask `/api/embed`, and read the older answer.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmcache import OllamaProvider
from llmcache.providers.ollama_answer import GENERATE, OllamaDialect
from llmcache.providers.ollama_request import CHAT_FIELDS, GENERATE_FIELDS
from llmcache.streaming.events import fold
from llmcache.testing.upstream import Upstream
from llmcache.types import CompletionResult

from .ollama_support import ollama_of, outcome
from .recorded import Exchange, each, load
from .support import collect, final, stored

KINDS = {"ollama.chat": 2, "ollama.generate": 3, "ollama.embed": 1}


@pytest.fixture
def exchanges(recordings: Path) -> list[Exchange]:
    return [one for endpoint in KINDS for one in load(recordings, endpoint)]


def test_every_recorded_row_is_in_one_of_these_tests(exchanges: list[Exchange]) -> None:
    found = [one.endpoint for one in exchanges]
    assert {kind: found.count(kind) for kind in KINDS} == KINDS
    assert all(one.status == 200 and one.request for one in exchanges)


def asked(exchange: Exchange) -> tuple[Any, dict[str, Any]]:
    """Return the prompt and the options that make our provider send the same request."""
    prompt = "messages" if exchange.endpoint == "ollama.chat" else "prompt"
    known = CHAT_FIELDS if exchange.endpoint == "ollama.chat" else GENERATE_FIELDS
    rest = {k: v for k, v in exchange.asked.items() if k not in {prompt, "stream"}}
    options: dict[str, Any] = {k: v for k, v in rest.items() if k in known and v is not None}
    extra = {k: v for k, v in rest.items() if k not in options}
    return exchange.asked[prompt], {**options, "extra_body": extra, "cache_response": True}


async def whole(provider: OllamaProvider, exchange: Exchange) -> CompletionResult:
    prompt, options = asked(exchange)
    if exchange.endpoint == GENERATE:
        return await provider.generate(prompt, **options)
    return await provider.complete(prompt, **options)


async def streamed(provider: OllamaProvider, exchange: Exchange) -> list[Any]:
    prompt, options = asked(exchange)
    if exchange.endpoint == GENERATE:
        return await collect(provider.generate_stream(prompt, **options))
    return await collect(provider.stream(prompt, **options))


def check_answer(exchange: Exchange, result: CompletionResult) -> None:
    """Check an answer against the JSON it came from, read the slow way."""
    lines = [json.loads(text) for text in exchange.body.decode().split("\n") if text.strip()]
    chat = exchange.endpoint != GENERATE
    texts = [one["message"]["content"] if chat else one["response"] for one in lines]
    assert result.content == "".join(texts)
    last = lines[-1]
    assert (result.model, result.finish_reason) == (last["model"], last.get("done_reason"))
    assert result.usage is not None
    assert result.usage.input_tokens == last.get("prompt_eval_count", 0)
    assert result.usage.output_tokens == last["eval_count"]
    if not exchange.is_stream:
        assert result.raw_json == exchange.body


async def check(exchange: Exchange, folder: Path) -> None:
    options: dict[str, Any] = {"cache_backend": "fs", "cache_dir": folder}
    async with Upstream(lambda _: exchange.reply()) as upstream:
        async with ollama_of(upstream, **options) as provider:
            if exchange.is_stream:
                live = await streamed(provider, exchange)
                answer = final(live)
            else:
                live = []
                answer = await whole(provider, exchange)
            assert answer.cache is not None
            assert (answer.cache.status, answer.cache.stored) == ("miss", True)
            assert upstream.requests[0].json() == exchange.asked
            check_answer(exchange, answer)
            (entry,) = await stored(provider)
            if exchange.is_stream:
                lines = [line for line in exchange.body.split(b"\n") if line]
                assert [event.data for event in entry.recording.events or ()] == lines
            else:
                assert entry.recording.body == exchange.body
        async with ollama_of(upstream, **options) as restarted:
            again = await whole(restarted, exchange)
            replayed = await streamed(restarted, exchange)
            assert again == final(replayed) == answer
            assert replayed == live or not exchange.is_stream
            pieces = fold(replayed[:-1])
            assert (pieces.content, pieces.usage) == (answer.content, answer.usage)
        assert upstream.calls == 1


async def test_recorded_answers_are_stored_and_replayed_equal(
    exchanges: list[Exchange], tmp_path: Path
) -> None:
    rows = [one for one in exchanges if one.endpoint != "ollama.embed"]
    folders = {one.name: tmp_path / str(i) for i, one in enumerate(rows)}
    assert await each(rows, lambda one: check(one, folders[one.name])) == 5


async def test_a_recorded_embedding_is_stored_and_replayed_equal(
    exchanges: list[Exchange], tmp_path: Path
) -> None:
    (exchange,) = [one for one in exchanges if one.endpoint == "ollama.embed"]
    options: dict[str, Any] = {"cache_backend": "fs", "cache_dir": tmp_path}
    async with Upstream(lambda _: exchange.reply()) as upstream:
        async with ollama_of(upstream, **options) as provider:
            live = await provider.embed(exchange.asked["prompt"], cache_response=True)
            assert live.embeddings == (tuple(json.loads(exchange.body)["embedding"]),)
        async with ollama_of(upstream, **options) as restarted:
            assert await restarted.embed(exchange.asked["prompt"], mode="offline") == live
        assert upstream.calls == 1


def test_recorded_streams_add_up_to_an_answer_that_reads_the_same(
    exchanges: list[Exchange],
) -> None:
    streams = [one for one in exchanges if one.is_stream]
    for exchange in streams:
        result, is_whole = outcome(exchange.body, exchange.endpoint)
        assert is_whole
        again = OllamaDialect(exchange.endpoint).parse(result.raw_json or b"")
        assert again == result
    assert len(streams) == 3
