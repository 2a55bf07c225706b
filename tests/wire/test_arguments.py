"""What a provider is told wrong: said at once, by the argument's name, and with what helps."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmcache import (
    CacheManager,
    CachePolicy,
    ConfigurationError,
    InvalidRequestError,
    MemoryBackend,
    OpenAIProvider,
)
from llmcache.testing.upstream import DemoUpstream

from .support import SECRET, provider_of


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"api_key": 5}, "api_key must be text, not int"),
        ({"api_key": b"sk"}, "api_key must be text, not bytes"),
        ({"base_url": Path("x")}, "base_url must be text"),
        ({"organization": 5}, "organization must be text"),
        ({"tenant": ["a"]}, "tenant must be text"),
        ({"cache_dir": "", "cache_backend": "fs"}, "cache_dir is empty"),
        ({"cache_policy": {"ttl": 5}}, "must be a CachePolicy.*not dict"),
        ({"cache_policy": {}}, "must be a CachePolicy"),
        ({"cache_options": {"max_bytes": 5}}, r"'max_bytes'; .*FSCache\(cache_dir, max_bytes=…\)"),
        ({"cache_options": {"fsync": True}}, r"FSCache\(cache_dir, fsync=…\)"),
        ({"cache_options": {"collection": "x"}}, "cache_collection=…"),
        ({"cache_options": {"policy": None}}, "cache_policy=…"),
        ({"cache_options": {"compress": False}}, "compress_pg=…"),
        ({"cache_options": {"cache_dir": "x"}}, "give the provider cache_dir=…"),
        ({"cache_options": {"memory": 5}}, "has no 'memory'; known: .*memory_bytes"),
        ({"cache_options": ["memory_bytes"]}, "cache_options must be a mapping, not list"),
    ],
)
def test_an_argument_that_cannot_be_is_named(options: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        OpenAIProvider(**{"cache_backend": "memory", **options})


def test_a_policy_is_checked_by_the_cache_itself() -> None:
    with pytest.raises(ConfigurationError, match="CachePolicy"):
        CacheManager(MemoryBackend(), policy={"ttl": 5})  # type: ignore[arg-type]


async def test_options_of_the_cache_are_taken(tmp_path: Path) -> None:
    async with OpenAIProvider(
        cache_dir=tmp_path,
        cache_policy=CachePolicy(ttl=5),
        cache_options={"memory_bytes": 7, "deadline": 2.0},
    ) as provider:
        assert provider.cache.store.tier.max_bytes == 7
        assert provider.cache.policy.ttl == 5


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("cache", "did you mean 'cache_response'?"),
        ("stream", r"provider.stream\(…\)"),
        ("temprature", "did you mean 'temperature'?"),
        ("zzz", r"unknown option \(a provider's own fields"),
    ],
)
async def test_an_unknown_option_says_what_is_meant(name: str, hint: str) -> None:
    async with DemoUpstream() as upstream, provider_of(upstream) as provider:
        with pytest.raises(InvalidRequestError, match=hint) as raised:
            await provider.complete("x", **{name: True})  # type: ignore[arg-type]
        assert raised.value.path == name
        assert not upstream.calls


SWITCHES = [
    *("cache_response", "rewrite_cache", "regen_cache"),
    *("store_truncated", "store_refusals", "store_paused"),
]


@pytest.mark.parametrize("name", SWITCHES)
@pytest.mark.parametrize("value", ["no", "", "False", 2, [], 0.5])
async def test_a_switch_is_on_or_off(name: str, value: Any) -> None:
    options: Any = {name: value}
    async with DemoUpstream() as upstream, provider_of(upstream) as provider:
        for ask in (provider.complete, provider.explain, provider.embed):
            with pytest.raises(InvalidRequestError, match=r"must be True or False") as raised:
                await ask("x", **options)
            assert raised.value.path == name
        assert not upstream.calls


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ({"ttl": 1}, {"ttl": True}),
        ({"ttl": 1.0}, {"ttl": True}),
        ({"max_age": 0}, {"max_age": False}),
        ({"sample": 1}, {"sample": True}),
        ({"sample": 2}, {"sample": 2.0}),
        ({"samples": 1}, {"samples": True}),
        ({"replay": 1}, {"replay": True}),
    ],
)
async def test_what_was_right_once_makes_its_equal_no_less_wrong(right: Any, wrong: Any) -> None:
    """The controls of a call are remembered by their options, and True equals 1."""
    async with DemoUpstream() as upstream, provider_of(upstream) as provider:
        for options in (right, {"temperature": 0.5, **right}):
            await provider.complete("x", cache_response=True, **options)
        for options in (wrong, {"temperature": 0.5, **wrong}):
            with pytest.raises(InvalidRequestError) as raised:
                await provider.complete("x", cache_response=True, **options)
            assert raised.value.path == next(iter(wrong))


# --- what is asked ------------------------------------------------------------------------------


def weather(city: str) -> str:
    """A function as other packages take it."""
    return city


@pytest.mark.parametrize("tool", [weather, functools.partial(weather, "x"), print, 5, "weather"])
async def test_a_function_is_no_tool(tool: Any) -> None:
    async with DemoUpstream() as upstream, provider_of(upstream) as provider:
        with pytest.raises(InvalidRequestError, match="a tool is a dict with `name`") as raised:
            await provider.complete("x", tools=[tool])
        assert raised.value.path == "tools[0]"
        assert not upstream.calls


async def test_what_can_be_read_only_once_is_refused() -> None:
    """A second attempt, or the key, would find it empty."""

    def texts() -> Iterator[str]:
        yield "x"

    async with DemoUpstream() as upstream, provider_of(upstream) as provider:
        once: Any = texts()
        with pytest.raises(InvalidRequestError, match="a list of messages, not generator"):
            await provider.complete(once)
        with pytest.raises(InvalidRequestError, match=r"a list of texts, .* not generator"):
            await provider.embed(once)
        assert next(once) == "x"
        assert not upstream.calls


# --- what is shown ------------------------------------------------------------------------------


def test_a_provider_shows_what_it_is_and_no_credential() -> None:
    provider = OpenAIProvider(
        "m",
        api_key=SECRET,
        base_url=f"https://user:{SECRET}@host.test/v1?api-version=1&key={SECRET}",
        cache_backend="memory",
    )
    shown = repr(provider)
    assert shown == (
        "OpenAIProvider(model='m', base_url='https://host.test/v1?api-version=1', cache='memory')"
    )
    assert repr(provider.cache) == "CacheManager('memory', collection='default')"
    assert repr(OpenAIProvider("m", cache_backend=None)).endswith("cache=None)")


def test_a_cache_folder_may_be_the_current_one() -> None:
    assert repr(OpenAIProvider("m", cache_dir=os.curdir)).endswith("cache='fs')")
