"""Whose failure it is: a call that several callers share fails for those who are its leader's like."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from cache_support import until
from tenants import BAD, GOOD, HOWS, SAID, Bank, ask, house

from llmcache import (
    AnthropicProvider,
    CachePolicy,
    MemoryBackend,
    OpenAIProvider,
    StreamEventType,
)
from llmcache.errors import (
    AuthenticationError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    ProviderError,
    QuotaExceededError,
    RateLimitError,
    ServerError,
)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (401, "invalid_api_key", AuthenticationError),
        (402, "no_credits", ProviderError),
        (403, "no", PermissionDeniedError),
        (404, "model_not_found", NotFoundError),
        (429, "rate_limit_exceeded", RateLimitError),
        (429, "insufficient_quota", QuotaExceededError),
    ],
)
async def test_a_follower_with_another_credential_asks_for_itself(
    how: str, status: int, code: str, error: type[Exception]
) -> None:
    bank = Bank(status, code)
    async with house(bank) as h:
        bad, good = await h.tenant(BAD), await h.tenant(GOOD)
        leader = asyncio.ensure_future(ask(bad, how))
        await until(lambda: bank.asked[BAD] == 1)
        followers = [asyncio.ensure_future(ask(good, how)) for _ in range(5)]
        await until(lambda: h.waiting() == 6)
        bank.open.set()
        with pytest.raises(error):
            await leader
        assert await asyncio.gather(*followers) == [SAID[how]] * 5
        assert bank.asked == {BAD: 1, GOOD: 1}


@pytest.mark.parametrize("how", HOWS)
async def test_a_thousand_with_the_same_bad_credential_are_one_call(how: str) -> None:
    bank = Bank()
    async with house(bank) as h:
        # Each has a provider of its own: it is the credential that is alike.
        one, other = await h.tenant(BAD), await h.tenant(BAD)
        calls = [
            asyncio.ensure_future(ask((one, other)[i % 2], how, request_id=f"call-{i}"))
            for i in range(1_000)
        ]
        await until(lambda: h.waiting() == 1_000)
        bank.open.set()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(result, AuthenticationError) for result in results)
        assert bank.asked == {BAD: 1}


@pytest.mark.parametrize("how", HOWS)
async def test_of_many_credentials_each_is_tried_once_at_most(how: str) -> None:
    bank = Bank()
    keys = [f"{BAD}-{i}" for i in range(40)]
    async with house(bank) as h:
        tenants = [await h.tenant(key) for key in [*keys, GOOD]]
        calls = {
            tenant: [asyncio.ensure_future(ask(tenant, how)) for _ in range(5)]
            for tenant in tenants
        }
        everybody = sum(len(each) for each in calls.values())
        await until(lambda: h.waiting() == everybody)
        bank.open.set()
        *refused, served = [
            await asyncio.gather(*each, return_exceptions=True) for each in calls.values()
        ]
        assert served == [SAID[how]] * 5
        # Who came after the good answer had it from the cache, without a call.
        assert bank.asked[GOOD] == 1
        assert max(bank.asked.values()) == 1
        for results in refused:
            assert all(r == SAID[how] or isinstance(r, AuthenticationError) for r in results)


async def test_a_failure_that_is_everybodys_stays_shared() -> None:
    bank = Bank(500)
    async with house(bank) as h:
        bad, good = await h.tenant(BAD), await h.tenant(GOOD)
        leader = asyncio.ensure_future(ask(bad, "complete"))
        await until(lambda: bank.asked[BAD] == 1)
        follower = asyncio.ensure_future(ask(good, "complete"))
        await until(lambda: h.waiting() == 2)
        bank.open.set()
        for call in (leader, follower):
            with pytest.raises(ServerError):
                await call
        assert bank.asked == {BAD: 1}


@pytest.mark.parametrize("how", HOWS)
async def test_equal_calls_with_different_good_credentials_are_one_call(how: str) -> None:
    bank = Bank(good=(GOOD, BAD))
    async with house(bank) as h:
        tenants = [await h.tenant(GOOD), await h.tenant(BAD)]
        calls = [asyncio.ensure_future(ask(tenants[i % 2], how)) for i in range(100)]
        await until(lambda: h.waiting() == 100)
        bank.open.set()
        assert await asyncio.gather(*calls) == [SAID[how]] * 100
        assert bank.asked.total() == 1


@pytest.mark.parametrize("first", ["complete", "stream"])
@pytest.mark.parametrize("second", ["complete", "stream"])
async def test_whole_and_streamed_calls_part_where_one_of_them_is_refused(
    first: str, second: str
) -> None:
    bank = Bank()
    async with house(bank) as h:
        bad, good = await h.tenant(BAD), await h.tenant(GOOD)
        leader = asyncio.ensure_future(ask(bad, first))
        await until(lambda: bank.asked[BAD] == 1)
        follower = asyncio.ensure_future(ask(good, second))
        await until(lambda: h.waiting() == 2)
        bank.open.set()
        with pytest.raises(AuthenticationError):
            await leader
        assert await follower == "fine"


async def test_a_stream_that_is_refused_still_says_so_in_an_event() -> None:
    bank = Bank()
    bank.open.set()
    async with house(bank) as h:
        stream = (await h.tenant(BAD)).stream("q", cache_response=True)
        assert (await anext(stream)).type is StreamEventType.ERROR
        with pytest.raises(AuthenticationError):
            await anext(stream)


class _Hesitant(MemoryBackend):
    """A store whose leases come when they are told to."""

    def __init__(self) -> None:
        super().__init__()
        self.open = asyncio.Event()

    async def try_lease(self, collection: str, key: str, /) -> Any:
        await self.open.wait()
        return await super().try_lease(collection, key)


@pytest.mark.parametrize("how", HOWS)
async def test_a_credential_that_cannot_be_sent_is_its_owners_trouble(how: str) -> None:
    bank, backend = Bank(), _Hesitant()
    bank.open.set()
    async with house(bank, backend, deadline=30) as h:
        bad, good = await h.tenant(f"{BAD}\n"), await h.tenant(GOOD)
        leader = asyncio.ensure_future(ask(bad, how))
        await until(lambda: h.waiting() == 1)
        followers = [asyncio.ensure_future(ask(good, how)) for _ in range(2)]
        await until(lambda: h.waiting() == 3)
        backend.open.set()
        with pytest.raises(InvalidRequestError):
            await leader
        assert await asyncio.gather(*followers) == [SAID[how]] * 2
        assert bank.asked == {GOOD: 1}


async def test_a_header_of_one_call_is_a_credential_too() -> None:
    bank = Bank()
    async with house(bank) as h:
        tenant = await h.tenant(BAD)
        leader = asyncio.ensure_future(ask(tenant, "complete"))
        await until(lambda: bank.asked[BAD] == 1)
        own = {"Authorization": f"Bearer {GOOD}"}
        follower = asyncio.ensure_future(ask(tenant, "complete", extra_headers=own))
        await until(lambda: h.waiting() == 2)
        bank.open.set()
        with pytest.raises(AuthenticationError):
            await leader
        assert await follower == "fine"


async def test_an_answer_past_its_time_comes_after_the_followers_own_call() -> None:
    bank = Bank(429, good=(GOOD,))
    bank.open.set()
    policy = CachePolicy(ttl=0, stale_if_error=600)
    async with house(bank, policy=policy) as h:
        bad, good = await h.tenant(BAD), await h.tenant(GOOD)
        assert await ask(good, "complete") == "fine"
        bank.open.clear()
        leader = asyncio.ensure_future(bad.complete("q", cache_response=True))
        await until(lambda: bank.asked[BAD] == 1)
        follower = asyncio.ensure_future(good.complete("q", cache_response=True))
        await until(lambda: h.waiting() == 2)
        bank.open.set()
        stale, fresh = await leader, await follower
        assert stale.cache is not None
        assert fresh.cache is not None
        assert (stale.cache.status, stale.cache.stale) == ("hit", True)
        assert (fresh.cache.status, fresh.cache.stale) == ("miss", False)


# --- the digest ---------------------------------------------------------------------------------


def credential(**options: Any) -> bytes:
    provider = OpenAIProvider("m", **{"api_key": GOOD, "cache_backend": None, **options})
    return provider._call("q", {}).terms().caller


def test_what_a_server_knows_the_caller_by_tells_credentials_apart() -> None:
    import httpx  # noqa: PLC0415 - beside its use

    own = httpx.AsyncClient(headers={"authorization": "Bearer x"})
    url = "https://x.example/v1"
    made = [
        credential(base_url=url),
        credential(base_url=url, api_key=BAD),
        credential(base_url=url, headers={"X-API-Key": BAD}),
        credential(base_url=url, headers={"cookie": "session=1"}),
        credential(base_url="https://user:pass@x.example/v1"),
        credential(base_url=f"{url}?key=1"),
        credential(base_url=url, http_client=own),
    ]
    assert len(set(made)) == len(made)
    assert credential(base_url=url) == made[0]
    assert credential(base_url=url, headers={"traceparent": "00-1"}) == made[0]


@pytest.mark.parametrize("version", ["2023-06-01", "2026-10-21"])
def test_either_header_of_the_messages_api_counts(version: str) -> None:
    def made(key: str) -> bytes:
        provider = AnthropicProvider("m", api_key=key, api_version=version, cache_backend=None)
        return provider._call("q", {}).terms().caller

    assert made(GOOD) == made(GOOD) != made(BAD)


def test_the_digest_is_no_part_of_the_key_and_shows_nothing() -> None:
    one, other = (
        OpenAIProvider("m", api_key=key, cache_backend=None)._call("q", {}) for key in (GOOD, BAD)
    )
    assert one.request.key() == other.request.key()
    assert one.terms().caller != other.terms().caller
    assert GOOD not in repr(one.terms())
    assert one.terms().caller not in one.request.identity()
