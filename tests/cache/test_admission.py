"""Which answers are stored, and which pass by with the reason said."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from cache_support import answering, ask, chunks, completion

from llmcache import CachePolicy, CompletionResult, OpenAIProvider
from llmcache.cache.admission import refusal
from llmcache.errors import ProviderError
from llmcache.testing.upstream import Reply

MakeProvider = Callable[..., OpenAIProvider]


def several(*finishes: str) -> bytes:
    choices = [
        {"index": i, "message": {"role": "assistant", "content": "x"}, "finish_reason": finish}
        for i, finish in enumerate(finishes)
    ]
    return json.dumps({"id": "1", "model": "m", "choices": choices}).encode()


CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}

# Body, part of the reason (None: stored).
ANSWERS: list[tuple[bytes, str | None]] = [
    (completion("fine"), None),
    (completion(None, "tool_calls", tool_calls=[CALL]), None),
    (completion(None, refusal="I will not."), "refused"),
    (completion(None, audio={"id": "a", "data": "AAAA", "transcript": "hi"}), None),
    (completion(None, images=[{"image_url": {"url": "data:image/png;base64,AAAA"}}]), None),
    (completion("cut", "length"), "length limit"),
    (completion("cut", "content_filter"), "content filter"),
    (completion("cut", "model_length"), "length limit"),
    (completion("cut", "SAFETY"), "content filter"),
    (completion("cut", "content_filter: RECITATION"), "content filter"),
    (completion("half", "error"), "in trouble: error"),
    (completion("odd", ["stop"]), "no text"),
    (completion("fine", "eos"), None),
    (completion(""), "empty"),
    (completion(None), "empty"),
    (completion(None, reasoning_content="Thinking…"), "empty"),
    (several("stop", "stop"), None),
    (several("stop", "length"), "length limit"),
    (several("stop", "content_filter"), "content filter"),
    (several("stop", "abort"), "in trouble: abort"),
    (chunks("fine"), None),
    (chunks("cut", finish="length"), "length limit"),
    (chunks("cut", finish="content_filter"), "content filter"),
    (chunks(), "empty"),
]


@pytest.mark.parametrize(("body", "reason"), ANSWERS)
async def test_what_is_stored(make_provider: MakeProvider, body: bytes, reason: str | None) -> None:
    how = "stream" if body.startswith(b"data:") else "complete"
    async with answering(body) as server, make_provider(base_url=server.base_url) as provider:
        result = await ask(provider, how, "q", cache_response=True)
        assert result.cache is not None
        assert result.cache.status == "miss"
        assert result.cache.stored is (reason is None)
        assert (reason or "") in (result.cache.reason or "")
        assert (await provider.cache.stats()).entries == (reason is None)
        await ask(provider, how, "q", cache_response=True)
        assert server.calls == (1 if reason is None else 2)
        assert provider.cache.counters.refused == (0 if reason is None else 2)


@pytest.mark.parametrize("how", ["policy", "call"])
async def test_truncated_answers_are_stored_when_asked_for(
    make_provider: MakeProvider, how: str
) -> None:
    policy = CachePolicy(store_truncated=how == "policy")
    options: dict[str, Any] = {} if how == "policy" else {"store_truncated": True}
    async with (
        answering(completion("cut", "length")) as server,
        make_provider(base_url=server.base_url, cache_policy=policy) as provider,
    ):
        await provider.complete("q", cache_response=True, **options)
        hit = await provider.complete("q", cache_response=True, **options)
        assert hit.finish_reason == "length"
        assert server.calls == 1


FAILURES = [
    Reply(200, b'{"error": {"message": "no", "code": 429}}'),
    Reply(200, b'{"choices": []}'),
    Reply(200, b'{"choices": null}'),
    Reply(200, b"{}"),
    Reply(200, b"[]"),
    Reply(200, b""),
    Reply(200, b"<html>Bad gateway</html>", {"content-type": "text/html"}),
    Reply(200, completion("fine")[:-20]),
    Reply(200, completion("fine")[:-20], cut=True),
    Reply(400, b'{"error": {"message": "bad"}}'),
    Reply(500, b"oops"),
    Reply(302, b"", {"location": "http://127.0.0.1:9/"}),
]


@pytest.mark.parametrize("reply", FAILURES, ids=range(len(FAILURES)))
async def test_failures_are_errors_and_never_stored(
    make_provider: MakeProvider, reply: Reply
) -> None:
    async with answering(reply) as server, make_provider(base_url=server.base_url) as provider:
        for _ in range(2):
            with pytest.raises(ProviderError) as caught:
                await provider.complete("q", cache_response=True, attempts=1)
            assert caught.value.provider == "127.0.0.1"
        assert (await provider.cache.stats()).entries == 0
        assert server.calls == 2


def test_an_error_result_of_a_provider_of_ones_own_is_refused() -> None:
    assert "500" in (refusal(CompletionResult("x", status=500), store_truncated=True) or "")
    assert "no" in (refusal(CompletionResult("x", error="no"), store_truncated=True) or "")
