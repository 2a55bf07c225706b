"""Leaders that lose their lease, or are overtaken; and followers that wait for one."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import textwrap
import time
from contextlib import AsyncExitStack
from typing import Any

import pytest
from machine_support import Machine, Numbered, asked, listens, number, origin, until

from llmcache import OpenAIProvider
from llmcache.backends._redis_leases import RedisLease
from llmcache.cache import turn as module
from llmcache.testing.servers import RedisServer
from llmcache.testing.upstream import DemoUpstream

KINDS = pytest.mark.parametrize("kind", ["pg", "redis", "pg_redis"])
EVERYWHERE = pytest.mark.parametrize("kind", ["fs", "pg", "redis", "pg_redis"])
_LEASE = 0.6


async def _lose_lease(provider: OpenAIProvider) -> None:
    """Let a leader's lease go, as if its process had hung for longer than that lasts."""
    backend: Any = provider.cache.backend
    near = backend if backend.name == "redis" else getattr(backend, "redis", None)
    if near is not None:
        for task in near._renewals:
            task.cancel()
    else:
        backend._leases._bound.get().connection.terminate()


def _stored(result: Any) -> bool:
    return bool(result.cache.stored)


@KINDS
async def test_the_late_answer_of_a_lost_lease_replaces_nothing(
    machine: Machine, numbered: Numbered, kind: str
) -> None:
    go_on = numbered.hold(0)
    options = {"kind": kind, "lease_seconds": _LEASE}
    async with machine(**options) as leader, machine(**options) as follower:
        leading = asyncio.create_task(asked(leader))
        await until(lambda: numbered.calls == 1)
        following = asyncio.create_task(asked(follower))
        await asyncio.sleep(0.05)
        assert numbered.calls == 1
        await _lose_lease(leader)
        taken_over = await following
        assert (taken_over.content, _stored(taken_over)) == ("1", True)
        go_on.set()
        late = await leading
        assert late.content == "0", "its caller has its answer"
        assert not _stored(late)
        assert late.cache is not None
        assert late.cache.reason == "another answer was stored meanwhile"
        assert await number(leader) == await number(follower) == 1
        async with machine(kind=kind) as third:
            assert await number(third) == 1
    assert numbered.calls == 2


@KINDS
async def test_a_rewrite_while_a_leader_is_at_work_wins(
    machine: Machine, numbered: Numbered, kind: str
) -> None:
    go_on = numbered.hold(0)
    async with machine(kind=kind) as leader, machine(kind=kind) as other:
        leading = asyncio.create_task(number(leader))
        await until(lambda: numbered.calls == 1)
        assert await number(other, rewrite_cache=True) == 1
        go_on.set()
        assert await leading == 0
        assert await number(leader) == await number(other) == 1


@KINDS
async def test_an_answer_past_its_time_is_replaced(
    machine: Machine, numbered: Numbered, kind: str
) -> None:
    """The fence keeps out what is late, and not what renews."""
    async with machine(kind=kind) as one, machine(kind=kind) as other:
        assert await number(one) == 0
        for expected in range(1, 5):
            answer = await asked(one, max_age=0)
            assert (answer.content, _stored(answer)) == (str(expected), True)
            assert await number(one) == expected
        assert await number(other) == 4


async def test_embeddings_that_come_late_replace_nothing(
    machine: Machine, upstream: DemoUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a list, what others stored meanwhile stays, and the rest is stored."""
    url = {"base_url": upstream.base_url}
    async with machine(**url) as one, machine(**url) as other, machine(**url) as third:
        store, sent, go_on = one.cache.store, asyncio.Event(), asyncio.Event()
        write = store.write

        async def slow(*arguments: Any) -> Any:
            sent.set()
            await go_on.wait()
            return await write(*arguments)

        monkeypatch.setattr(store, "write", slow)
        embedding = asyncio.create_task(one.embed(["a", "b"], cache_response=True))
        async with asyncio.timeout(30):
            await sent.wait()
        await other.embed(["a"], cache_response=True)
        go_on.set()
        result = await embedding
        assert result.cache is not None
        assert result.cache.reason == "another answer was stored meanwhile"
        again = await third.embed(["a", "b"], cache_response=True)
        assert again.embeddings == result.embeddings
        assert again.cache is not None
        assert again.cache.items_hit == 2


_LEADER = textwrap.dedent(
    """
    import asyncio, sys
    from llmcache import HybridRedisPostgreSQLCache, OpenAIProvider, RedisBackend

    async def main(base_url, dsn, redis_url, prefix, lease):
        redis = RedisBackend(redis_url, prefix=prefix, lease_seconds=lease)
        backend = HybridRedisPostgreSQLCache(dsn, redis=redis)
        async with OpenAIProvider("demo", base_url=base_url, api_key="sk-test",
                                  cache_backend=backend) as provider:
            answer = await provider.complete("q", cache_response=True)
            print(answer.content, answer.cache.stored, flush=True)

    *names, lease = sys.argv[1:]
    asyncio.run(main(*names, float(lease)))
    """
)


async def test_a_process_that_was_stopped_for_long_wakes_too_late(
    machine: Machine, numbered: Numbered, dsn: str, redis_server: RedisServer
) -> None:
    go_on = numbered.hold(0)
    async with machine(lease_seconds=_LEASE) as follower:
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "ignore", "-c", _LEADER),
            *(follower._base_url, dsn, redis_server.url, dsn.rpartition("/")[2], str(_LEASE)),
            stdout=asyncio.subprocess.PIPE,
        )
        await until(lambda: numbered.calls == 1)
        os.kill(program.pid, signal.SIGSTOP)
        try:
            assert await number(follower) == 1
            go_on.set()
            await asyncio.sleep(0.1)
        finally:
            os.kill(program.pid, signal.SIGCONT)
        async with asyncio.timeout(30):
            out, _ = await program.communicate()
        assert out.decode().split()[0] == "0", "its caller has its answer"
        async with machine() as third:
            assert await number(third) == 1


# --- followers ----------------------------------------------------------------------------------


@pytest.fixture
def no_polling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let only news wake a follower."""
    monkeypatch.setattr(module, "_FIRST_PAUSE", 3_600.0)
    monkeypatch.setattr(module, "_LONGEST_PAUSE", 3_600.0)


async def _follow(
    leader: OpenAIProvider, follower: OpenAIProvider, numbered: Numbered
) -> tuple[asyncio.Task[Any], asyncio.Task[Any]]:
    """Return the task of a leader at work, and of one that waits for it and hears the news."""
    leading = asyncio.create_task(asked(leader))
    await until(lambda: numbered.calls == 1)
    following = asyncio.create_task(asked(follower))
    known = follower.cache.store.coherence._known
    await until(lambda: bool("default" in known and known["default"].bells))
    await listens(follower, None)
    return leading, following


@pytest.mark.parametrize("kind", ["redis", "pg_redis"])
@pytest.mark.usefixtures("no_polling")
async def test_a_follower_wakes_when_the_answer_is_stored(
    machine: Machine, numbered: Numbered, kind: str
) -> None:
    go_on = numbered.hold(0)
    async with machine(kind=kind) as leader, machine(kind=kind) as follower:
        leading, following = await _follow(leader, follower, numbered)
        go_on.set()
        async with asyncio.timeout(30):
            assert (await leading).content == (await following).content == "0"
        assert origin(following.result()) == ("hit", "backend")


@pytest.mark.parametrize("kind", ["redis", "pg_redis"])
@pytest.mark.usefixtures("no_polling")
async def test_a_follower_takes_over_when_the_leader_gives_up(
    machine: Machine, numbered: Numbered, kind: str
) -> None:
    numbered.hold(0)
    async with machine(kind=kind) as leader, machine(kind=kind) as follower:
        leading, following = await _follow(leader, follower, numbered)
        before = numbered.calls
        leading.cancel()
        async with asyncio.timeout(30):
            assert int((await following).content) == before
        await asyncio.gather(leading, return_exceptions=True)


async def test_nobody_waits_much_longer_than_a_dead_leaders_lease(
    machine: Machine, numbered: Numbered
) -> None:
    numbered.hold(0)
    options = {"lease_seconds": 2.0}
    followers = [machine(**options) for _ in range(3)]
    async with machine(**options) as leader:
        leading = asyncio.create_task(asked(leader))
        await until(lambda: numbered.calls == 1)
        following = [asyncio.create_task(asked(each)) for each in followers]
        await asyncio.sleep(0.2)
        await _lose_lease(leader)
        lost = time.monotonic()
        answers = await asyncio.gather(*following)
        assert time.monotonic() - lost < 2.0 + 1.0
        assert {answer.content for answer in answers} == {"1"}
        leading.cancel()
        await asyncio.gather(leading, return_exceptions=True)
    for each in followers:
        await each.close()
    assert numbered.calls == 2, "one took over"


@EVERYWHERE
async def test_of_those_who_wait_for_a_leader_that_hangs_one_takes_over(
    machine: Machine, numbered: Numbered, kind: str
) -> None:
    leaders_go_on, go_on = numbered.hold(0), numbered.hold(1)
    async with AsyncExitStack() as stack:
        leader, *followers = [
            await stack.enter_async_context(machine(kind=kind, flight_timeout=2.5))
            for _ in range(5)
        ]
        leading = asyncio.create_task(asked(leader))
        await until(lambda: numbered.calls == 1)
        following = [asyncio.create_task(asked(each)) for each in followers]
        await until(lambda: numbered.calls == 2)
        await asyncio.sleep(0.4)  # longer than anybody lets pass between two looks
        go_on.set()
        answers = await asyncio.gather(*following)
        assert {answer.content for answer in answers} == {"1"}
        assert numbered.calls == 2
        leaders_go_on.set()
        late = await leading
        assert late.content == "0", "its caller has its answer"
        if kind != "fs":  # where nothing orders writes
            assert not _stored(late)
            assert await number(followers[0]) == 1


@EVERYWHERE
async def test_of_those_who_wait_for_a_process_that_is_stopped_one_takes_over(
    machine: Machine, numbered: Numbered, kind: str
) -> None:
    """It keeps its lease, and says nothing."""
    go_on = numbered.hold(1)
    async with AsyncExitStack() as stack:
        stopped, *followers = [
            await stack.enter_async_context(machine(kind=kind, flight_timeout=2.0))
            for _ in range(4)
        ]
        for each in (stopped, *followers):  # all is open
            await number(each, "another question")
        key = (await stopped.explain("q")).key
        backend: Any = stopped.cache.backend
        lease = await backend.try_lease("default", key)
        assert lease is not None
        following = [asyncio.create_task(asked(each)) for each in followers]
        await until(lambda: numbered.calls == 2)
        await asyncio.sleep(0.4)  # longer than anybody lets pass between two looks
        go_on.set()
        answers = await asyncio.gather(*following)
        assert {answer.content for answer in answers} == {"1"}
        assert numbered.calls == 2
        await lease.release()


async def test_who_gives_a_lease_up_does_not_wait_for_a_store_that_hangs(
    machine: Machine, numbered: Numbered, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is given up behind the call all the same."""
    go_on, released = asyncio.Event(), asyncio.Event()
    release = RedisLease.release

    async def slow(self: RedisLease) -> None:
        await go_on.wait()
        await release(self)
        released.set()

    monkeypatch.setattr(RedisLease, "release", slow)
    async with machine(kind="redis", deadline=0.3) as one, machine(kind="redis") as other:
        started = time.monotonic()
        assert await number(one) == 0
        assert time.monotonic() - started < 0.3 + 3.0
        assert not released.is_set()
        go_on.set()
        async with asyncio.timeout(30):
            await released.wait()
        assert await number(other, max_age=0) == 1


async def test_a_long_wait_uses_nothing_up(
    machine: Machine, numbered: Numbered, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many looks while the leader is at work, each a part of the deadline: still one call."""
    monkeypatch.setattr(module, "_LONGEST_PAUSE", 0.005)
    go_on = numbered.hold(0)
    async with machine() as leader, machine(deadline=0.5) as follower:
        looks = 0
        look = follower.cache.backend.get

        async def slow(*arguments: Any) -> Any:
            nonlocal looks
            looks += 1
            await asyncio.sleep(0.05)
            return await look(*arguments)

        monkeypatch.setattr(follower.cache.backend, "get", slow)
        leading = asyncio.create_task(asked(leader))
        await until(lambda: numbered.calls == 1)
        following = asyncio.create_task(asked(follower))
        await until(lambda: looks > 25)
        assert numbered.calls == 1
        go_on.set()
        assert (await leading).content == (await following).content == "0"
    assert numbered.calls == 1
