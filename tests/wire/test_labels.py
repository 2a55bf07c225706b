"""What was asked for decides how a body is read: its label may be wrong or missing, and its form another."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import pytest

from llmcache import ProviderError
from llmcache.testing.upstream import Reply

from . import claude, ollama_support, responses, support
from .support import as_json, collect, final, stored


@dataclass(frozen=True)
class API:
    """How a provider of one API is opened, and one answer in its two forms."""

    serving: Callable[..., AbstractAsyncContextManager[Any]]
    stream: bytes
    whole: bytes
    options: dict[str, Any]


APIS = {
    "chat": API(support.serving, support.sse(*support.answer_stream("hi")), as_json(support.completion("hi ")), {}),
    "responses": API(
        support.serving,
        responses.sse_of(*responses.events_of(responses.response())),
        as_json(responses.response()),
        {"use_responses_api": True},
    ),
    "messages": API(
        claude.serving,
        claude.sse(claude.starts(), *claude.text_block(0, "hi"), *claude.ends()),
        as_json(claude.message()),
        {},
    ),
    "ollama": API(
        ollama_support.serving,
        ollama_support.ndjson(ollama_support.line("hi"), ollama_support.last()),
        as_json(ollama_support.answer("hi")),
        {},
    ),
}  # fmt: skip
LABELS = [None, "application/json", "text/plain", "text/event-stream", "application/x-ndjson"]


def reply(body: bytes, label: str | None) -> Reply:
    return Reply(body=body, headers={} if label is None else {"content-type": label})


@pytest.mark.parametrize("name", APIS)
@pytest.mark.parametrize("label", LABELS)
async def test_a_stream_and_an_answer_are_known_by_their_bytes(
    name: str, label: str | None
) -> None:
    """Six recorded streams of the Responses API have no label, three of chat say that they are JSON."""
    api = APIS[name]
    async with api.serving(reply(api.stream, label), **api.options) as (provider, _):
        live = final(await collect(provider.stream("x", cache_response=True)))
        assert live.content is not None
        assert live.content.strip() == "hi"
        assert len(await stored(provider)) == 1
    async with api.serving(reply(api.whole, label), **api.options) as (provider, _):
        answer = await provider.complete("x", cache_response=True)
        assert answer.content.strip() == "hi"
        assert len(await stored(provider)) == 1


@pytest.mark.parametrize("name", APIS)
@pytest.mark.parametrize("label", LABELS)
async def test_a_stream_where_an_answer_was_asked_for_is_an_error(
    name: str, label: str | None
) -> None:
    """The official SDKs hand such a body out as text; nothing of it may be stored as an answer."""
    api = APIS[name]
    async with api.serving(reply(api.stream, label), attempts=1, **api.options) as (provider, _):
        with pytest.raises(ProviderError):
            await provider.complete("x", cache_response=True)
        assert await stored(provider) == []


@pytest.mark.parametrize("name", APIS)
@pytest.mark.parametrize("label", LABELS)
async def test_an_answer_where_a_stream_was_asked_for_is_that_answer(
    name: str, label: str | None
) -> None:
    """The official SDKs make an empty stream of it."""
    api = APIS[name]
    async with api.serving(reply(api.whole, label), **api.options) as (provider, upstream):
        live = final(await collect(provider.stream("x", cache_response=True)))
        assert live.content is not None
        assert live.content.strip() == "hi"
        assert await provider.complete("x", cache_response=True) == live
        assert upstream.calls == 1


ALIASED = """
import httpx2
httpx2.alias_httpx()
import asyncio, json, httpx
from llmcache import OpenAIProvider

assert httpx is httpx2
message = {"role": "assistant", "content": "hi"}
body = {"id": "1", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}

async def main():
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=body))
    async with (
        httpx.AsyncClient(transport=transport) as client,
        OpenAIProvider("m", api_key="k", cache_backend="memory", http_client=client) as provider,
    ):
        seen = [await provider.complete("q", cache_response=True) for _ in range(2)]
    print([one.cache.status for one in seen])

asyncio.run(main())
"""


def test_a_process_in_which_httpx_is_httpx2_is_served_as_well() -> None:
    """`alias_httpx()` makes one name of the two libraries before anything is imported."""
    done = subprocess.run(
        [sys.executable, "-c", ALIASED], capture_output=True, text=True, check=False, timeout=50
    )
    assert done.stdout.strip() == "['miss', 'hit']", done.stderr
