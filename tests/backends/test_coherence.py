"""What one machine rewrites, the memories of the others forget: how soon, and whatever gets lost."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import textwrap
import time
from typing import Any

import pytest
from machine_support import Machine, Numbered, asked, listens, number, origin, until

from llmcache import OpenAIProvider
from llmcache.testing.servers import RedisServer

_NOBODY = "redis://127.0.0.1:9"
_NEVER = 3_600.0
"""A coherence so long that only the news can be what is noticed."""


async def test_what_is_rewritten_or_removed_is_news(machine: Machine) -> None:
    async with machine() as one, machine(coherence=_NEVER) as other:
        await number(one)
        await listens(other)
        assert origin(await asked(other)) == ("hit", "memory")
        for _ in range(50):
            made = await number(one, rewrite_cache=True)
            async with asyncio.timeout(30):
                while await number(other) != made:
                    await asyncio.sleep(0)
        calls = one.cache.counters.misses
        await one.cache.invalidate(collection=one.cache.collection)
        async with asyncio.timeout(30):
            while await number(other) != calls:
                await asyncio.sleep(0)
        assert origin(await asked(other)) == ("hit", "memory")


async def test_only_what_changed_is_forgotten(machine: Machine) -> None:
    async with machine() as one, machine(coherence=_NEVER) as other:
        await listens(other)
        kept = await number(other, "kept")
        made = await number(one, rewrite_cache=True)
        async with asyncio.timeout(30):
            while await number(other) != made:
                await asyncio.sleep(0)
        assert origin(await asked(other, "kept")) == ("hit", "memory")
        assert await number(other, "kept") == kept


async def test_who_rewrites_keeps_its_own_memory(machine: Machine) -> None:
    """Neither its own news nor the new revision take away what it knows to be right."""
    async with machine(coherence=0.1) as one, machine() as other:
        await listens(one)
        await number(one, "another")
        for _ in range(5):
            made = await number(one, rewrite_cache=True)
            stop = time.monotonic() + 0.3
            while time.monotonic() < stop:
                answer = await asked(one)
                assert (origin(answer), answer.content) == (("hit", "memory"), str(made))
                assert origin(await asked(one, "another")) == ("hit", "memory")
                await asyncio.sleep(0.01)
        known = one.cache.store.coherence._known[one.cache.collection]
        assert known.revision == await other.cache.backend.revision("default") > 0  # type: ignore[attr-defined]


async def _never_stale(one: OpenAIProvider, other: OpenAIProvider, bound: float) -> None:
    """Check that no call of `other` that begins `bound` seconds after a rewrite is stale."""
    first = await number(one)
    acknowledged = [(time.monotonic(), first)]
    stale, reads, near = [], 0, 0
    done = False

    async def read() -> None:
        nonlocal reads, near
        while not done:
            begun = time.monotonic()
            due = max((made for at, made in acknowledged if at + bound < begun), default=first)
            answer = await asked(other)
            reads += 1
            near += origin(answer) == ("hit", "memory")
            if int(answer.content or "") < due:
                stale.append((due, answer.content))
            await asyncio.sleep(0.0005)

    async def write() -> None:
        nonlocal done
        for _ in range(8):
            await asyncio.sleep(bound * 0.7)
            made = await number(one, rewrite_cache=True)
            acknowledged.append((time.monotonic(), made))
        await asyncio.sleep(bound * 2)
        done = True

    await asyncio.gather(write(), read(), read())
    assert stale == []
    assert near > reads / 2, "memory took no part"
    assert await number(other) == acknowledged[-1][1]


async def test_without_news_the_revision_bounds_what_is_stale(machine: Machine) -> None:
    """The one that rewrites cannot reach Redis: nothing is published."""
    async with machine(_NOBODY) as one, machine(_NOBODY, coherence=0.3) as other:
        await _never_stale(one, other, 0.3)


async def test_news_that_get_lost_change_nothing_in_the_bound(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with machine() as one, machine(coherence=0.3) as other:
        await listens(other)
        coherence = other.cache.store.coherence
        take, heard = coherence._take, 0

        def every_third(collection: str, known: Any, change: Any) -> None:
            nonlocal heard
            heard += 1
            if heard % 3 == 0:
                take(collection, known, change)

        monkeypatch.setattr(coherence, "_take", every_third)
        await _never_stale(one, other, 0.3)
        assert heard


async def test_after_a_rest_the_first_answer_is_not_stale(machine: Machine) -> None:
    """What memory held before nobody asked for a while is not believed unseen."""
    async with machine(_NOBODY) as one, machine(coherence=0.2) as other:
        assert await number(one) == await number(other) == 0
        assert origin(await asked(other)) == ("hit", "memory")
        assert await number(one, rewrite_cache=True) == 1
        # What Redis still has is another matter: it is told when the writer reaches it again.
        await other.cache.backend.redis.delete("default", [other_key(other)])  # type: ignore[attr-defined]
        await asyncio.sleep(0.3)
        assert await number(other) == 1


def other_key(provider: OpenAIProvider) -> str:
    """Return the key of the one entry in a provider's memory."""
    ((_, key),) = provider.cache.store.tier.places()
    return key


async def test_a_slow_reader_holds_nothing_that_was_replaced_meanwhile(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with machine() as one, machine(coherence=_NEVER) as other:
        await listens(other)
        key = other_key(other)
        get, read, go_on = other.cache.backend.get, asyncio.Event(), asyncio.Event()

        async def slow(*arguments: Any) -> Any:
            found = await get(*arguments)
            read.set()
            await go_on.wait()
            return found

        other.cache.store.tier.discard(("default", key))
        monkeypatch.setattr(other.cache.backend, "get", slow)
        reading = asyncio.create_task(number(other))
        await read.wait()
        moment = other.cache.store.coherence.moment
        assert await number(one, rewrite_cache=True) == 1
        await until(lambda: other.cache.store.coherence.moment > moment)
        go_on.set()
        assert await reading == 0, "it began before"
        assert await number(other) == 1


async def test_a_redis_that_goes_and_comes_back_is_listened_to_again(
    machine: Machine, redis_engines: list[Any]
) -> None:
    with RedisServer(redis_engines[0]) as server:
        url = server.url
        async with machine(url) as one, machine(url, coherence=0.3) as other:
            await listens(other)
            server.kill()
            made = await number(one, rewrite_cache=True)
            async with asyncio.timeout(30):
                while await number(other) != made:
                    await asyncio.sleep(0.01)
            server.start()
            await listens(other)
            moment = other.cache.store.coherence.moment
            made = await number(one, rewrite_cache=True)
            await until(lambda: other.cache.store.coherence.moment > moment)
            async with asyncio.timeout(30):
                while await number(other) != made:
                    await asyncio.sleep(0.01)


async def test_nobody_listens_after_the_end(machine: Machine) -> None:
    async with machine() as one:
        other = machine()
        await listens(other)
        redis = one.cache.backend.redis  # type: ignore[attr-defined]
        await other.close()
        client = await redis._client._opened()
        async with asyncio.timeout(30):
            while await client.pubsub_channels(redis._channel("*")):
                await asyncio.sleep(0.01)
        assert not other.cache.store.coherence._following


_READER = textwrap.dedent(
    """
    import asyncio, json, sys, time
    from llmcache import HybridRedisPostgreSQLCache, OpenAIProvider, RedisBackend

    async def main(base_url, dsn, redis_url, prefix, coherence, last):
        backend = HybridRedisPostgreSQLCache(dsn, redis=RedisBackend(redis_url, prefix=prefix))
        seen = {}
        async with OpenAIProvider("demo", base_url=base_url, api_key="sk-test",
                                  cache_backend=backend,
                                  cache_options={"coherence": coherence}) as provider:
            memory = 0
            while last not in seen:
                answer = await provider.complete("q", cache_response=True)
                seen.setdefault(int(answer.content), time.monotonic())
                memory += answer.cache.tier == "memory"
                if len(seen) == 1 and memory == 50:
                    print("ready", flush=True)
                await asyncio.sleep(0.0005)
        print(json.dumps([seen, memory]), flush=True)

    url, dsn, redis_url, prefix, coherence, last = sys.argv[1:]
    asyncio.run(main(url, dsn, redis_url, prefix, float(coherence), int(last)))
    """
)


async def test_another_process_is_stale_for_milliseconds(
    machine: Machine,
    numbered: Numbered,
    dsn: str,
    redis_server: RedisServer,
) -> None:
    """Measured with one clock: from the acknowledgement of a rewrite to the first new answer."""
    rewrites = 30
    async with machine() as one:
        await number(one)
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "ignore", "-c", _READER),
            *(one._base_url, dsn, redis_server.url, dsn.rpartition("/")[2], "5.0", str(rewrites)),
            stdout=asyncio.subprocess.PIPE,
        )
        assert program.stdout is not None
        async with asyncio.timeout(50):
            assert (await program.stdout.readline()).strip() == b"ready"
            acknowledged = {}
            for _ in range(rewrites):
                made = await number(one, rewrite_cache=True)
                acknowledged[made] = time.monotonic()
                await asyncio.sleep(0.05)
            seen, memory = json.loads(await program.stdout.readline())
            await program.wait()
    late = [max(0.0, seen[str(n)] - acknowledged[n]) for n in acknowledged if str(n) in seen]
    assert memory > 100
    assert len(late) > rewrites / 2, "most were seen before the next came"
    assert max(late) <= 5.0, "the bound"
    assert statistics.median(late) < 1.0, "the revision alone is asked every 2.5 s"
    assert numbered.calls == rewrites + 1
