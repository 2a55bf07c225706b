"""A result is a value: it can be pickled, copied and taken apart, wherever it came from."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import pytest

from llmcache import CacheInfo, CompletionResult, EmbeddingResult, OpenAIProvider, StreamEvent

Result = CompletionResult | EmbeddingResult


async def asked(provider: OpenAIProvider, how: str) -> list[Result]:
    """Return a miss, a hit from memory, and an answer that the cache took no part in."""
    if how == "complete":
        return [await provider.complete("x", cache_response=c) for c in (True, True, False)]
    return [await provider.embed(["a", "b"], cache_response=c) for c in (True, True, False)]


def as_pickled(result: Any) -> Any:
    return pickle.loads(pickle.dumps(result))


@pytest.mark.parametrize("twin_of", [as_pickled, copy.deepcopy, copy.copy])
@pytest.mark.parametrize("how", ["complete", "embed"])
async def test_a_twin_is_equal(provider: OpenAIProvider, how: str, twin_of: Any) -> None:
    for result in await asked(provider, how):
        twin = twin_of(result)
        assert type(twin) is type(result)
        assert twin == result
        assert twin.cache == result.cache
        assert twin.to_dict() == result.to_dict()


@pytest.mark.parametrize("how", ["complete", "embed"])
async def test_a_result_becomes_a_dict(provider: OpenAIProvider, how: str) -> None:
    for result in await asked(provider, how):
        assert result.cache is not None
        data = dataclasses.asdict(result)
        assert CacheInfo(**data["cache"]) == result.cache
        assert data["cache"].keys() == result.cache.to_dict().keys()
        assert data["usage"]["total_tokens"] == getattr(result.usage, "total_tokens", None)


@pytest.mark.parametrize("twin_of", [as_pickled, copy.deepcopy])
async def test_only_the_original_can_be_rejected(provider: OpenAIProvider, twin_of: Any) -> None:
    miss, hit, _ = await asked(provider, "complete")
    assert miss.cache is not None
    assert hit.cache is not None
    assert not await twin_of(hit).cache.reject()
    assert await dataclasses.replace(hit.cache, reason="changed").reject()
    assert not await miss.cache.reject()


async def test_the_events_of_a_stream_can_be_pickled(provider: OpenAIProvider) -> None:
    events: list[StreamEvent] = [e async for e in provider.stream("x", cache_response=True)]
    assert as_pickled(events) == events


async def test_samples_go_along(provider: OpenAIProvider) -> None:
    result = await provider.complete("x", cache_response=True, samples=2)
    assert as_pickled(result).samples == result.samples
    assert len(dataclasses.asdict(result)["samples"]) == 2
