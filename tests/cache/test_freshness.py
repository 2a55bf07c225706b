"""Time to live, max_age, and the two ways in which a stale answer may still serve."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cache_support import Clock, answering, ask, completion, until

from llmcache import OpenAIProvider
from llmcache.cache.admission import Freshness, freshness
from llmcache.cache.control import CachePolicy, Control
from llmcache.errors import ServerError
from llmcache.testing.upstream import DemoUpstream, Reply
from llmcache.types import CacheEntry, Recording

MakeProvider = Callable[..., OpenAIProvider]
HOWS = pytest.mark.parametrize("how", ["complete", "stream"])


def entry(created: float, expires: float | None) -> CacheEntry:
    return CacheEntry("k", Recording(b""), "chat", created_at=created, expires_at=expires)


def control(**options: object) -> Control:
    return Control.of({"cache_response": True, **options}, CachePolicy(), "c")


@pytest.mark.parametrize(
    ("now", "expires", "options", "expected"),
    [
        (10**9, None, {}, Freshness.FRESH),
        (104, 105, {}, Freshness.FRESH),
        (105, 105, {}, Freshness.EXPIRED),
        (104, 105, {"max_age": 4}, Freshness.EXPIRED),
        (103, 105, {"max_age": 4}, Freshness.FRESH),
        (100, None, {"max_age": 0}, Freshness.EXPIRED),
        (105, 105, {"stale_while_revalidate": 1}, Freshness.REVALIDATE),
        (106, 105, {"stale_while_revalidate": 1}, Freshness.EXPIRED),
        (106, 105, {"stale_while_revalidate": 1, "stale_if_error": 2}, Freshness.IF_ERROR),
        (105, 105, {"stale_if_error": 2}, Freshness.IF_ERROR),
        # The entry's clock is ahead of ours: it counts as new, not as older than old.
        (50, None, {"max_age": 4}, Freshness.FRESH),
        (50, 105, {}, Freshness.FRESH),
    ],
)
def test_what_an_entry_made_at_100_may_be_used_for(
    now: float, expires: float | None, options: dict[str, float], expected: Freshness
) -> None:
    assert freshness(entry(100, expires), control(**options), now) is expected


@HOWS
async def test_an_answer_lives_as_long_as_its_ttl(
    provider: OpenAIProvider, upstream: DemoUpstream, clock: Clock, how: str
) -> None:
    await ask(provider, how, "q", cache_response=True, ttl=60)
    clock.advance(59)
    hit = await ask(provider, how, "q", cache_response=True)
    assert hit.cache is not None
    assert hit.cache.status == "hit"
    assert hit.cache.age == pytest.approx(59, abs=0.01)
    clock.advance(1)
    late = await ask(provider, how, "q", cache_response=True)
    assert late.cache is not None
    assert late.cache.status == "miss"
    assert upstream.calls == 2


async def test_the_policy_gives_the_ttl(
    make_provider: MakeProvider, upstream: DemoUpstream, clock: Clock
) -> None:
    async with make_provider(cache_policy=CachePolicy(ttl=5)) as provider:
        await provider.complete("q", cache_response=True)
        clock.advance(6)
        await provider.complete("q", cache_response=True)
        assert upstream.calls == 2


@HOWS
async def test_a_stale_answer_serves_while_it_is_refreshed_behind(
    make_provider: MakeProvider, clock: Clock, how: str
) -> None:
    async with answering(completion("old"), completion("new")) as server:
        async with make_provider(base_url=server.base_url) as provider:
            options = {"cache_response": True, "ttl": 10, "stale_while_revalidate": 10}
            await provider.complete("q", **options)
            clock.advance(15)
            stale = await ask(provider, how, "q", **options)
            assert stale.content == "old"
            assert stale.cache is not None
            assert (stale.cache.status, stale.cache.stale) == ("hit", True)
            await until(lambda: provider.cache.counters.stored == 2)
            fresh = await ask(provider, how, "q", **options)
            assert fresh.content == "new"
            assert fresh.cache is not None
            assert (fresh.cache.status, fresh.cache.stale) == ("hit", False)
            assert server.calls == 2


async def test_many_stale_hits_refresh_once(make_provider: MakeProvider, clock: Clock) -> None:
    async with answering(completion("old"), completion("new")) as server:
        async with make_provider(base_url=server.base_url) as provider:
            options = {"cache_response": True, "ttl": 10, "stale_while_revalidate": 10}
            await provider.complete("q", **options)
            clock.advance(15)
            for _ in range(20):
                assert (await provider.complete("q", **options)).content in {"old", "new"}
            await until(lambda: provider.cache.counters.stored == 2)
            assert server.calls == 2


@HOWS
async def test_a_stale_answer_serves_when_the_provider_fails(
    make_provider: MakeProvider, clock: Clock, how: str
) -> None:
    down = Reply(500, b'{"error": {"message": "down"}}')
    async with answering(completion("old"), down) as server:
        async with make_provider(base_url=server.base_url) as provider:
            options = {"cache_response": True, "ttl": 10, "stale_if_error": 100, "attempts": 1}
            await provider.complete("q", **options)
            clock.advance(50)
            stale = await ask(provider, how, "q", **options)
            assert stale.content == "old"
            assert stale.cache is not None
            assert stale.cache.stale
            assert stale.cache.reason is not None
            assert "down" in stale.cache.reason
            clock.advance(100)
            with pytest.raises(ServerError):
                await ask(provider, how, "q", **options)


async def test_stateful_requests_are_bypassed_unless_they_get_a_ttl(
    make_provider: MakeProvider, upstream: DemoUpstream, clock: Clock
) -> None:
    from llmcache import KeyRules  # noqa: PLC0415 - beside its use

    question = [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}]
    async with make_provider() as provider:
        for _ in range(2):
            result = await provider.complete(question, cache_response=True)
            assert result.cache is not None
            assert result.cache.status == "bypass"
            assert "server state" in (result.cache.reason or "")
    assert upstream.calls == 2
    async with make_provider(key_rules=KeyRules(stateful_ttl=30)) as provider:
        await provider.complete(question, cache_response=True, ttl=3_600)
        clock.advance(29)
        hit = await provider.complete(question, cache_response=True)
        assert hit.cache is not None
        assert hit.cache.status == "hit"
        clock.advance(2)
        await provider.complete(question, cache_response=True)
    assert upstream.calls == 4
