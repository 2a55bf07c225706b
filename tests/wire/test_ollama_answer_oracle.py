"""What Ollama's own client reads from answers, recorded ones and made up ones, held against what we read."""

from __future__ import annotations

import json
from typing import Any

import ollama
import pytest

from llmcache.providers.ollama_answer import GENERATE
from llmcache.testing.upstream import Reply, Upstream
from llmcache.types import CompletionResult

from .ollama_support import answer, call, host_of, last, line, ollama_of, serving, streamed
from .recorded import Exchange, each
from .support import as_json, collect, final
from .test_ollama_oracle import QUESTION
from .test_ollama_recorded import exchanges, whole
from .test_ollama_recorded import streamed as streamed_of

__all__ = ["exchanges"]  # a fixture

ANSWERS: dict[str, dict[str, Any]] = {
    "text": answer("Hello"),
    "empty": answer(""),
    "thinking": answer("42", thinking="hm, so"),
    "tools": answer("", tool_calls=[call("f", {"a": 1, "b": {"c": [None, "é"]}}), call("g")]),
    "cut": answer("He", reason="length"),
    "without counts": {k: v for k, v in answer("x").items() if "eval" not in k},
    "logprobs": {
        **answer("x"),
        "logprobs": [
            {"token": "x", "logprob": -0.5, "top_logprobs": [{"token": "y", "logprob": -1}]}
        ],
    },
}


def agree(ours: CompletionResult, theirs: Any) -> None:
    """Check every field that both have; of `/api/generate` the answer is no message."""
    said = getattr(theirs, "message", theirs)
    assert ours.content == (said.response if said is theirs else said.content)
    assert ours.reasoning == said.thinking
    calls = [(c.function.name, dict(c.function.arguments)) for c in _calls(said)]
    assert [(c.name, c.parse_arguments()) for c in ours.tool_calls or ()] == calls
    assert ours.finish_reason == theirs.done_reason
    assert ours.model == theirs.model
    read, written = theirs.prompt_eval_count, theirs.eval_count
    if read is None and written is None:
        assert ours.usage is None
    else:
        assert ours.usage is not None
        assert (ours.usage.input_tokens, ours.usage.output_tokens) == (read or 0, written or 0)
    odds = [item.model_dump(exclude_none=True) for item in theirs.logprobs or ()]
    assert [
        json.loads(json.dumps(dict(item), default=dict)) for item in ours.logprobs or ()
    ] == odds


def _calls(said: Any) -> Any:
    return getattr(said, "tool_calls", None) or ()


@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_is_read_as_by_the_official_client(name: str) -> None:
    async with serving(Reply(body=as_json(ANSWERS[name]))) as (provider, upstream):
        ours = await provider.complete("q")
        async with ollama.AsyncClient(host_of(upstream)) as client:
            agree(ours, await client.chat("demo", QUESTION))


async def test_a_stream_is_read_as_by_the_official_client() -> None:
    lines = [
        line(thinking="hm "),
        line(thinking="so"),
        line("It "),
        line("is"),
        line(tool_calls=[call("f", {"a": 1})]),
        line(tool_calls=[call("g")]),
        last(),
    ]
    async with serving(streamed(*lines)) as (provider, upstream):
        ours = final(await collect(provider.stream("q")))
        async with ollama.AsyncClient(host_of(upstream)) as client:
            parts = [part async for part in await client.chat("demo", QUESTION, stream=True)]
    assert ours.content == "".join(part.message.content or "" for part in parts)
    assert ours.reasoning == "".join(part.message.thinking or "" for part in parts)
    calls = [c for part in parts for c in part.message.tool_calls or ()]
    assert [c.name for c in ours.tool_calls or ()] == [c.function.name for c in calls] == ["f", "g"]
    assert ours.finish_reason == parts[-1].done_reason
    assert ours.usage is not None
    assert ours.usage.output_tokens == parts[-1].eval_count


# --- recorded answers -------------------------------------------------------------------------


async def ask_client(exchange: Exchange, client: ollama.AsyncClient) -> list[Any]:
    """Return what the official client makes of an exchange: the parts, one where it is whole."""
    told: dict[str, Any] = dict(exchange.asked)
    method: Any = client.generate if exchange.endpoint == GENERATE else client.chat
    found = await method(**told)
    return [part async for part in found] if exchange.is_stream else [found]


def joined(parts: list[Any], endpoint: str) -> Any:
    """Return the last part with the text of them all, as a reader of the client joins them."""
    end = parts[-1]
    if endpoint == GENERATE:
        texts = [part.response or "" for part in parts]
        return end.model_copy(update={"response": "".join(texts)})
    texts = [part.message.content or "" for part in parts]
    calls = [one for part in parts for one in part.message.tool_calls or ()]
    said = {"content": "".join(texts), "tool_calls": calls or None}
    return end.model_copy(update={"message": end.message.model_copy(update=said)})


async def check_recorded(exchange: Exchange) -> None:
    async with Upstream(lambda _: exchange.reply()) as upstream:
        async with ollama_of(upstream) as provider:
            if exchange.is_stream:
                ours = final(await streamed_of(provider, exchange))
            else:
                ours = await whole(provider, exchange)
        async with ollama.AsyncClient(host_of(upstream)) as client:
            theirs = joined(await ask_client(exchange, client), exchange.endpoint)
    agree(ours, theirs)
    if not exchange.is_stream:
        again = theirs.model_dump(mode="json", exclude_none=True)
        assert {name: ours.raw.get(name) for name in again} == again


async def test_recorded_answers_are_read_as_by_the_official_client(
    exchanges: list[Exchange],
) -> None:
    rows = [one for one in exchanges if one.endpoint != "ollama.embed"]
    assert await each(rows, check_recorded) == 5


async def test_the_recorded_vector_is_read_as_by_the_official_client(
    exchanges: list[Exchange],
) -> None:
    (exchange,) = [one for one in exchanges if one.endpoint == "ollama.embed"]
    async with Upstream(lambda _: exchange.reply()) as upstream:
        async with ollama_of(upstream) as provider:
            ours = await provider.embed(exchange.asked["prompt"])
        async with ollama.AsyncClient(host_of(upstream)) as client:
            theirs = await client.embeddings(**dict(exchange.asked))
    assert ours.embeddings == (tuple(theirs.embedding),)
