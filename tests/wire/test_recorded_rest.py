"""Recorded embeddings, and recorded errors of both endpoints."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable
from typing import Any

import pytest

from llmcache import ProviderError
from llmcache.errors import AuthenticationError, BadRequestError, NotFoundError, RateLimitError
from llmcache.testing.upstream import Upstream
from llmcache.types import EmbeddingResult

from .recorded import ERRORS, VECTOR_ERRORS, VECTORS, Exchange, check_request, each
from .support import Open, collect, provider_of, sleeps, stored, without_cache

CLASSES: dict[int, type[ProviderError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    404: NotFoundError,
    429: RateLimitError,
}


def vectors(body: bytes) -> list[tuple[float, ...]]:
    """Return the vectors of a response, read the slow way."""
    items = sorted(json.loads(body)["data"], key=lambda item: item["index"])
    return [_vector(item["embedding"]) for item in items]


def _vector(value: Any) -> tuple[float, ...]:
    if isinstance(value, str):
        packed = base64.b64decode(value)
        return struct.unpack(f"<{len(packed) // 4}f", packed)
    return tuple(float(number) for number in value)


async def check_embedding(exchange: Exchange, open_provider: Open) -> None:
    inputs, options = exchange.embedding()
    async with Upstream(lambda _: exchange.reply()) as upstream:
        async with open_provider(upstream) as provider:
            live = await provider.embed(inputs, cache_response=True, **options)
            assert live.cache is not None
            assert (live.cache.status, live.cache.stored) == ("miss", True)
            check_request(exchange, upstream.requests[0].json())
            data = json.loads(exchange.body)
            assert list(live.embeddings) == vectors(exchange.body)
            assert live.model == data["model"]
            assert live.usage is not None
            assert live.usage.total_tokens == data["usage"]["total_tokens"]
            assert len(await stored(provider)) == len(live.embeddings)
            check_hit(await provider.embed(inputs, cache_response=True, **options), live)
        async with open_provider(upstream) as restarted:
            check_hit(await restarted.embed(inputs, cache_response=True, **options), live)
        assert upstream.calls == 1


def check_hit(again: EmbeddingResult, live: EmbeddingResult) -> None:
    assert again.cache is not None
    assert again.cache.status == "hit"
    assert again.cache.items_hit == len(live.embeddings)
    assert again == live
    assert without_cache(again) == without_cache(live)


async def test_recorded_embeddings_are_stored_and_replayed_equal(
    embeddings: list[Exchange], fresh: Callable[[], Open]
) -> None:
    rows = [e for e in embeddings if not e.is_error]
    assert await each(rows, lambda exchange: check_embedding(exchange, fresh())) == VECTORS


# --- errors -----------------------------------------------------------------------------------


async def ask(exchange: Exchange, provider: Any) -> None:
    if exchange.endpoint == "embeddings":
        inputs, options = exchange.embedding()
        await provider.embed(inputs, cache_response=True, **options)
        return
    messages, options = exchange.chat()
    if exchange.asked.get("stream"):
        await collect(provider.stream(messages, cache_response=True, **options))
    else:
        await provider.complete(messages, cache_response=True, **options)


async def check_error(exchange: Exchange) -> None:
    data = json.loads(exchange.body)
    inside = data.get("error", data)
    code = str(inside.get("code") or inside.get("type"))
    status = exchange.status if exchange.status >= 400 else int(code)
    headers = {name.lower(): value for name, value in exchange.headers.items()}
    async with Upstream(lambda _: exchange.reply()) as upstream, provider_of(upstream) as provider:
        with pytest.raises(ProviderError) as raised:
            await ask(exchange, provider)
        error = raised.value
        assert type(error) is CLASSES[status]
        assert error.status == exchange.status
        assert error.code == code
        assert error.message == inside["message"]
        ids = ("x-request-id", "apim-request-id", "cf-ray")
        known = next((headers[name] for name in ids if name in headers), data.get("request_id"))
        assert error.request_id == known
        wait = float(headers["retry-after"]) if "retry-after" in headers else None
        assert error.retry_after == wait
        assert error.retryable == (status == 429)
        assert upstream.calls == (3 if status == 429 else 1)
        assert len(sleeps(provider)) == upstream.calls - 1
        if wait is not None:
            assert sleeps(provider) == [wait, wait]
        check_request(exchange, upstream.requests[0].json())
        assert await stored(provider) == []


async def test_recorded_errors_are_typed_and_never_stored(
    chats: list[Exchange], embeddings: list[Exchange]
) -> None:
    rows = [e for e in [*chats, *embeddings] if e.is_error]
    assert await each(rows, check_error) == ERRORS + VECTOR_ERRORS
