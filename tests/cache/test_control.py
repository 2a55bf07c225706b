"""The table of what a call may do, row by row, whole and streamed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from cache_support import ask

from llmcache import CacheMissError, CachePolicy, InvalidRequestError, OpenAIProvider
from llmcache.cache.control import Control
from llmcache.errors import ConfigurationError
from llmcache.testing.upstream import DemoUpstream

pytestmark = pytest.mark.parametrize("how", ["complete", "stream"])

# Arguments; then, with an answer stored before: status, upstream calls, sample it is stored as.
STORED = [
    ({}, "bypass", 1, None),
    ({"cache_response": False, "regen_cache": True}, "bypass", 1, None),
    ({"cache_response": True}, "hit", 0, 0),
    ({"cache_response": True, "regen_cache": True}, "miss", 1, 1),
    ({"cache_response": True, "rewrite_cache": True}, "miss", 1, 0),
    ({"mode": "offline"}, "hit", 0, 0),
    ({"cache_response": True, "mode": "offline"}, "hit", 0, 0),
    ({"cache_response": True, "max_age": 0}, "miss", 1, 0),
]


@pytest.mark.parametrize(("options", "status", "calls", "sample"), STORED)
async def test_with_an_answer_stored(
    provider: OpenAIProvider,
    upstream: DemoUpstream,
    how: str,
    options: dict[str, Any],
    status: str,
    calls: int,
    sample: int | None,
) -> None:
    stored = await provider.complete("q", cache_response=True)
    before = upstream.calls
    result = await ask(provider, how, "q", **options)
    assert result.cache is not None
    assert result.cache.status == status
    assert upstream.calls - before == calls
    assert result.content == stored.content
    if sample is None:
        assert not result.cache.stored
        assert result.cache.reason == "cache_response=False"
    else:
        assert result.cache.stored
        assert result.cache.sample == sample


@pytest.mark.parametrize(
    ("options", "status", "stored"),
    [
        ({}, "bypass", 0),
        ({"cache_response": True}, "miss", 1),
        ({"cache_response": True, "regen_cache": True}, "miss", 1),
        ({"cache_response": True, "rewrite_cache": True}, "miss", 1),
    ],
)
async def test_with_nothing_stored(
    provider: OpenAIProvider, how: str, options: dict[str, Any], status: str, stored: int
) -> None:
    result = await ask(provider, how, "q", **options)
    assert result.cache is not None
    assert result.cache.status == status
    assert (await provider.cache.stats()).entries == stored


async def test_offline_never_calls(
    provider: OpenAIProvider, upstream: DemoUpstream, how: str
) -> None:
    await provider.complete("What is a log?", cache_response=True, temperature=0.2)
    before = upstream.calls
    with pytest.raises(CacheMissError, match=r"temperature: 0\.2 → 0\.3") as caught:
        await ask(provider, how, "What is a log?", temperature=0.3, mode="offline")
    assert upstream.calls == before
    assert caught.value.nearest is not None
    assert caught.value.differences == ("temperature: 0.2 → 0.3",)


async def test_rewriting_replaces_what_plain_hits_return(
    make_provider: Callable[..., OpenAIProvider], how: str
) -> None:
    from cache_support import answering, completion  # noqa: PLC0415 - beside its use

    async with answering(completion("old"), completion("new")) as changing:
        async with make_provider(base_url=changing.base_url) as provider:
            assert (await provider.complete("q", cache_response=True)).content == "old"
            rewritten = await ask(provider, how, "q", cache_response=True, rewrite_cache=True)
            assert rewritten.content == "new"
            assert (await ask(provider, how, "q", cache_response=True)).content == "new"
        async with make_provider(base_url=changing.base_url) as fresh:
            assert (await ask(fresh, how, "q", cache_response=True)).content == "new"


async def test_a_cache_that_was_not_made_says_so(
    make_provider: Callable[..., OpenAIProvider], how: str
) -> None:
    async with make_provider(cache_backend=None) as provider:
        assert (await ask(provider, how, "q")).content
        for options in ({"cache_response": True}, {"mode": "offline"}):
            with pytest.raises(ConfigurationError, match="cache_backend='fs'"):
                await ask(provider, how, "q", **options)


WRONG = [
    ({"mode": "sometimes"}, "mode"),
    ({"mode": ["offline"]}, "mode"),
    ({"regen_cache": True, "rewrite_cache": True}, "regen_cache"),
    ({"rewrite_cache": True, "mode": "offline"}, "rewrite_cache"),
    ({"sample": -1}, "sample"),
    ({"sample": 1.5}, "sample"),
    ({"sample": True}, "sample"),
    ({"samples": 0}, "samples"),
    ({"samples": 5_000}, "samples"),
    ({"samples": 2, "regen_cache": True}, "samples"),
    ({"ttl": -1}, "ttl"),
    ({"ttl": "1h"}, "ttl"),
    ({"ttl": float("nan")}, "ttl"),
    ({"ttl": 10**400}, "ttl"),
    ({"max_age": True}, "max_age"),
    ({"stale_if_error": -0.1}, "stale_if_error"),
    ({"tags": "one"}, "tags"),
    ({"tags": [""]}, "tags"),
    ({"tags": [5]}, "tags"),
    ({"tags": 5}, "tags"),
    ({"tags": ["\ud800"]}, "tags[0]"),
    ({"replay": "slowly"}, "replay"),
    ({"replay": 0}, "replay"),
    ({"replay": ["instant"]}, "replay"),
    ({"temprature": 1}, "temprature"),
]


@pytest.mark.parametrize(("options", "path"), WRONG)
async def test_an_option_out_of_range_is_named(
    provider: OpenAIProvider, upstream: DemoUpstream, how: str, options: dict[str, Any], path: str
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        await ask(provider, how, "q", cache_response=True, **options)
    assert caught.value.path == path
    assert upstream.calls == 0


async def test_a_misspelled_option_names_the_right_one(provider: OpenAIProvider, how: str) -> None:
    with pytest.raises(InvalidRequestError, match="did you mean 'temperature'"):
        await ask(provider, how, "q", temprature=1)


@pytest.mark.parametrize("name", ["../x", "", ".", "a/b", "a\0b", "x" * 200, "-x", "é"])
async def test_a_collection_that_could_leave_its_folder_is_refused(
    provider: OpenAIProvider, upstream: DemoUpstream, how: str, name: str
) -> None:
    with pytest.raises(ConfigurationError, match="collection"):
        await ask(provider, how, "q", cache_response=True, cache_collection=name)
    assert upstream.calls == 0


def test_call_options_override_the_policy(how: str) -> None:
    policy = CachePolicy(ttl=10, max_age=20, stale_if_error=30, store_truncated=True)
    plain = Control.of({"cache_response": True}, policy, "c")
    assert (plain.ttl, plain.max_age, plain.stale_if_error) == (10, 20, 30)
    assert plain.store_truncated
    chosen = Control.of(
        {"cache_response": True, "ttl": 1, "max_age": 2, "store_truncated": False}, policy, "c"
    )
    assert (chosen.ttl, chosen.max_age, chosen.store_truncated) == (1, 2, False)
