"""A stream is asked for its usage: where that must not be, and what becomes of one without it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from llmcache import provider_for
from llmcache.testing.upstream import Reply, UpstreamRequest

from .support import (
    EVENT_STREAM,
    answer_stream,
    as_json,
    collect,
    completion,
    final,
    serving,
    sse,
    stored,
)

ASKED = {"include_usage": True}
QUIET = {"include_obfuscation": False}


async def sent(identifier: str, options: Any, **more: Any) -> Any:
    """Return the `stream_options` that go out to a server; `None` for none."""
    bodies: list[Mapping[str, Any]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        return httpx.Response(200, content=sse(*answer_stream()), headers=EVENT_STREAM)

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        more = {"api_key": "k", "cache_backend": None, "http_client": client, **more}
        async with provider_for(identifier, **more) as provider:
            await collect(provider.stream("x", stream_options=options))
    (body,) = bodies
    assert body["stream"] is True
    return body.get("stream_options")


@pytest.mark.parametrize(
    "identifier", ["openai/m", "groq/m", "deepseek/m", "fireworks/m", "vllm/m", "gemini/m"]
)
@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        (None, ASKED),
        ({}, ASKED),
        (ASKED, ASKED),
        (QUIET, {**ASKED, **QUIET}),
        ({"include_usage": False}, None),
        ({"include_usage": False, **QUIET}, QUIET),
    ],
    ids=str,
)
async def test_usage_is_asked_for_unless_the_call_says_no(
    identifier: str, stated: Any, expected: Any
) -> None:
    assert await sent(identifier, stated) == expected


@pytest.mark.parametrize("identifier", ["mistral/m", "openrouter/a/m"])
@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        (None, None),
        ({}, None),
        ({"include_usage": False}, None),
        (QUIET, QUIET),
        (ASKED, ASKED),  # who says so knows better
    ],
    ids=str,
)
async def test_a_server_that_gives_usage_unasked_is_not_asked(
    identifier: str, stated: Any, expected: Any
) -> None:
    """Mistral: 422, `extra_forbidden` at `stream_options.include_usage`."""
    assert await sent(identifier, stated) == expected


async def test_the_address_tells_and_not_the_name() -> None:
    assert await sent("openai/m", None, base_url="https://api.mistral.ai/v1") is None
    assert await sent("mistral/m", None, base_url="https://proxy.test/v1") == ASKED


# --- with a cache -----------------------------------------------------------------------------


def answering(*, usage: bool) -> Any:
    def reply(request: UpstreamRequest) -> Reply:
        if request.json().get("stream"):
            return Reply(body=sse(*answer_stream("hi", usage=usage)), headers=EVENT_STREAM)
        return Reply(body=as_json(completion("hi ")))

    return reply


@pytest.mark.parametrize("stated", [{"include_usage": False}, ASKED, QUIET, None], ids=str)
async def test_what_is_said_of_the_usage_is_not_in_the_key(stated: Any) -> None:
    async with serving(answering(usage=True)) as (provider, upstream):
        said = {} if stated is None else {"stream_options": stated}
        live = final(await collect(provider.stream("x", cache_response=True, **said)))
        assert live.cache is not None
        assert live.cache.stored  # without being asked, too: the server gave the usage
        for more in ({}, said):
            again = final(await collect(provider.stream("x", cache_response=True, **more)))
            assert again.cache is not None
            assert (again.cache.hit, again.usage) == (True, live.usage)
        whole = await provider.complete("x", cache_response=True)
        assert whole.usage == live.usage is not None
        assert upstream.calls == 1


@pytest.mark.parametrize("count", [None, 1])
async def test_a_stream_whose_usage_was_not_wanted_does_not_answer_those_who_want_it(
    count: int | None,
) -> None:
    options = {"stream_options": {"include_usage": False}, **({"n": count} if count else {})}
    async with serving(answering(usage=False)) as (provider, upstream):
        live = final(await collect(provider.stream("x", cache_response=True, **options)))
        assert (live.content, live.usage) == ("hi ", None)
        assert live.cache is not None
        assert not live.cache.stored
        assert live.cache.reason is not None
        assert "no usage" in live.cache.reason
        assert await stored(provider) == []
        whole = await provider.complete("x", cache_response=True)
        assert whole.usage is not None
        assert upstream.calls == 2


async def test_a_server_that_never_gives_usage_is_cached_all_the_same() -> None:
    async with serving(answering(usage=False)) as (provider, upstream):
        for _ in range(2):
            live = final(await collect(provider.stream("x", cache_response=True)))
            assert (live.content, live.usage) == ("hi ", None)
        assert upstream.calls == 1
