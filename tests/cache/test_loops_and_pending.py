"""What outlives a call: flights of loops that are gone, writes that go on behind."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from llmcache import InvalidRequestError, MemoryBackend, OpenAIProvider, StreamEventType
from llmcache.backends import Lease, StoredEntry
from llmcache.errors import CacheMissError, ConfigurationError
from llmcache.testing.upstream import DemoUpstream, Reply, Upstream

MakeProvider: TypeAlias = Callable[..., OpenAIProvider]


class _SlowPuts(MemoryBackend):
    """A store that takes its time to write."""

    async def put(self, collection: str, entries: Sequence[StoredEntry], /) -> None:
        await asyncio.sleep(0.3)
        await super().put(collection, entries)


@pytest.mark.parametrize("how", ["reject", "tag", "collection", "key"])
async def test_what_is_removed_while_it_is_written_stays_removed(
    make_provider: MakeProvider, upstream: DemoUpstream, how: str
) -> None:
    options = {"deadline": 0.05}
    async with make_provider(cache_backend=_SlowPuts(), cache_options=options) as provider:
        result = await provider.complete("q", cache_response=True, tags=["bad"])
        assert result.cache is not None
        if how == "reject":
            assert await result.cache.reject()
        else:
            chosen = {"tag": "bad", "collection": "default", "key": result.cache.key}[how]
            assert await provider.cache.invalidate(**{how: chosen}) == 1
        await provider.cache.store.settle()
        await provider.complete("q", cache_response=True)
        assert upstream.calls == 2


class _LateLease(MemoryBackend):
    """A store whose lease comes when somebody else has made the answer meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.made = asyncio.Event()
        self.waits = False

    async def try_lease(self, collection: str, key: str, /) -> Lease | None:
        if self.waits:
            self.waits = False
            await asyncio.wait_for(self.made.wait(), 10)
        lease = await super().try_lease(collection, key)
        return None if lease is None else _SlowLease(lease)


class _SlowLease:
    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    async def release(self) -> None:
        await asyncio.sleep(0.05)
        await self._lease.release()


async def test_a_stream_that_another_process_made_meanwhile_ends_well(
    make_provider: MakeProvider, upstream: DemoUpstream
) -> None:
    backend = _LateLease()
    options = {"memory_bytes": 0, "deadline": 20.0}
    async with (
        make_provider(cache_backend=backend, cache_options=options) as one,
        make_provider(cache_backend=backend, cache_options=options) as other,
    ):
        backend.waits = True

        async def late() -> list[StreamEventType]:
            return [event.type async for event in one.stream("q", cache_response=True)]

        waiting = asyncio.create_task(late())
        while backend.waits:
            await asyncio.sleep(0.001)
        await other.complete("q", cache_response=True)
        backend.made.set()
        assert (await waiting)[-1] is StreamEventType.DONE
    assert upstream.calls == 1


class _KeepsCancellations(MemoryBackend):
    """A store whose driver takes a cancellation for itself, and gives the lease all the same."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()

    async def try_lease(self, collection: str, key: str, /) -> Lease | None:
        self.asked.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        return await super().try_lease(collection, key)


async def test_a_lease_that_comes_with_a_cancellation_is_given_back(
    make_provider: MakeProvider, upstream: DemoUpstream
) -> None:
    backend = _KeepsCancellations()
    async with make_provider(cache_backend=backend, cache_options={"deadline": 50.0}) as provider:
        call = asyncio.create_task(provider.complete("q", cache_response=True))
        await backend.asked.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        key = (await provider.explain("q")).key
        async with asyncio.timeout(20):
            while (lease := await MemoryBackend.try_lease(backend, "default", key)) is None:
                await asyncio.sleep(0.01)
        await lease.release()
    assert upstream.calls == 0


_LOOPS = """
import asyncio, sys, warnings
from llmcache import OpenAIProvider
warnings.simplefilter("ignore")  # connections of loops that are gone
base_url, backend, folder = sys.argv[1:]
provider = OpenAIProvider(
    "demo", base_url=base_url, api_key="sk-test", cache_backend=backend, cache_dir=folder
)
def run(work):
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()
options = {"cache_response": True, "ttl": 0.0, "stale_while_revalidate": 60.0}
print(run(provider.complete("q", **options)).cache.status)
for _ in range(3):
    print(run(provider.complete("q", **options)).cache.stale)
print(run(provider.complete("q", cache_response=True, max_age=0.0)).cache.status)
run(provider.close())
"""


@pytest.mark.parametrize("backend", ["memory", "fs"])
async def test_a_refresh_that_its_loop_left_behind_poisons_nothing(
    upstream: DemoUpstream, backend: str, tmp_path: Path
) -> None:
    """The classic wrapper: a loop for each call, closed after it."""
    done = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _LOOPS,
        upstream.base_url,
        backend,
        str(tmp_path),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    async with asyncio.timeout(30):
        out, _ = await done.communicate()
    assert out.decode().split() == ["miss", "True", "True", "True", "miss"]
    assert done.returncode == 0


@pytest.mark.parametrize("option", ["stale_if_error", "stale_while_revalidate"])
async def test_every_caller_at_once_has_the_grace(make_provider: MakeProvider, option: str) -> None:
    message = {"role": "assistant", "content": "yes"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = json.dumps({"id": "c1", "object": "chat.completion", "choices": [choice]}).encode()
    fails = False

    def answer(_: Any) -> Reply:
        return Reply(status=500, body=b"{}") if fails else Reply(body=body)

    async with Upstream(answer) as server:
        provider = make_provider(
            base_url=server.base_url, cache_options={"memory_bytes": 0}, attempts=1
        )
        async with provider:
            options: dict[str, Any] = {"cache_response": True, "ttl": 0.0, option: 60.0}
            await provider.complete("q", **options)
            fails = True
            calls = (provider.complete("q", **options) for _ in range(3))
            results = await asyncio.gather(*calls)
    assert [result.cache.stale for result in results if result.cache] == [True] * 3


async def test_followers_of_a_stream_cannot_change_each_others_events(
    make_provider: MakeProvider, upstream: DemoUpstream
) -> None:
    async with make_provider() as provider:

        async def follow() -> list[Any]:
            seen = []
            async for event in provider.stream("q", cache_response=True):
                if event.type is StreamEventType.META:
                    seen.append(copy.deepcopy(event.data))
                    event.data["id"] = "changed"
            return seen

        one, other = await asyncio.gather(follow(), follow())
    assert one == other
    assert one[0]["id"] != "changed"
    assert upstream.calls == 1


async def test_a_miss_names_its_key_and_its_reason_apart(make_provider: MakeProvider) -> None:
    async with make_provider() as provider:
        stored = await provider.complete("q", cache_response=True, ttl=0.0)
        assert stored.cache is not None
        with pytest.raises(CacheMissError, match="past its time") as caught:
            await provider.complete("q", mode="offline")
        assert caught.value.key == stored.cache.key
        tools = [{"type": "web_search"}]
        with pytest.raises(CacheMissError, match="runs on the server") as caught:
            await provider.complete("q", mode="offline", tools=tools)
        assert caught.value.key.startswith("v1:")
        assert " " not in caught.value.key


async def test_samples_that_cannot_be_given_are_refused(make_provider: MakeProvider) -> None:
    async with make_provider() as provider:
        with pytest.raises(InvalidRequestError, match="samples"):
            await provider.complete("q", samples=3)
        with pytest.raises(InvalidRequestError, match="samples"):
            _ = [event async for event in provider.stream("q", samples=3, cache_response=True)]


@pytest.mark.parametrize("older_than", [-5, "7d", True, float("nan")])
async def test_an_age_that_is_none_removes_nothing(
    make_provider: MakeProvider, older_than: Any
) -> None:
    async with make_provider() as provider:
        await provider.complete("q", cache_response=True)
        with pytest.raises(ConfigurationError, match="older_than"):
            await provider.cache.invalidate(older_than=older_than)
        assert (await provider.cache.stats()).entries == 1


async def test_an_explanation_says_why_and_reads_well(make_provider: MakeProvider) -> None:
    async with make_provider() as provider:
        await provider.complete("What is a WAL?", cache_response=True)
        found = await provider.explain("What is a WAL?")
        assert found.usable
        assert str(found) == f"{found.key}: stored"
        missed = await provider.explain("What is a WAL?", temperature=0.5)
        assert not missed.stored
        assert "temperature" in str(missed)
        assert len(str(missed).splitlines()) >= 3
        never = await provider.explain("q", tools=[{"type": "file_search"}])
        assert never.reason == "never cached: tool 'file_search' runs on the server"
        await provider.complete("old", cache_response=True, ttl=0.0)
        old = await provider.explain("old")
        assert old.stored
        assert not old.usable
        assert "past its time" in str(old)
