"""What stores tell of changes, on real servers: what is said, and what may get lost."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
from backend_support import entry, key

from llmcache.backends import Change
from llmcache.backends import _redis_news as module
from llmcache.backends.hybrid import HybridRedisPostgreSQLCache
from llmcache.backends.redis import RedisBackend
from llmcache.errors import BackendUnavailableError
from llmcache.testing.servers import RedisCluster, RedisServer

_LISTENING = Change()


@asynccontextmanager
async def listening(
    backend: RedisBackend | HybridRedisPostgreSQLCache, collection: str = "default"
) -> AsyncIterator[AsyncGenerator[Change, None]]:
    """Yield the news of a collection, once they are listened to."""
    async with aclosing(backend.news(collection)) as news:
        assert await heard(news) == _LISTENING
        yield news


async def heard(news: AsyncGenerator[Change, None]) -> Change:
    async with asyncio.timeout(30):
        return await anext(news)


async def _tells_all(backend: RedisBackend) -> None:
    """Check that each kind of change is told once, in order, to who listens to its collection."""
    async with listening(backend) as news, listening(backend, "other") as other:
        await backend.put("default", [entry(1), entry(2)])
        assert await heard(news) == Change((key(1), key(2)), "-")
        await backend.put_unless_newer("default", [entry(1)], fence=None, author="me")
        told = await heard(news)
        assert told == Change((key(1),), "me", await backend.revision("default"))
        await backend.delete("default", [key(1)])
        assert await heard(news) == Change((key(1),), "-", await backend.revision("default"))
        await backend.quarantine("default", key(2), b"data")
        assert await heard(news) == Change((key(2),), "-")
        lease = await backend.try_lease("default", key(3))
        assert lease is not None
        await lease.release()
        assert await heard(news) == Change((key(3),), is_lease=True)
        await backend.put("other", [entry(4)])
        assert await heard(other) == Change((key(4),), "-")


async def test_every_change_is_told(each_redis: RedisServer) -> None:
    async with RedisBackend(each_redis.url, prefix=uuid.uuid4().hex) as backend:
        await _tells_all(backend)


async def test_a_cluster_tells_every_change(redis_engines: list[Any]) -> None:
    with RedisCluster(redis_engines[0]) as cluster:
        url = cluster.url.replace("redis://", "redis+cluster://", 1)
        async with RedisBackend(url, prefix=uuid.uuid4().hex) as backend:
            await _tells_all(backend)


async def test_two_backends_hear_each_other_and_a_client_that_was_given(
    redis_server: RedisServer,
) -> None:
    import redis.asyncio as driver  # noqa: PLC0415 - beside its use

    prefix = uuid.uuid4().hex
    client = driver.Redis.from_url(redis_server.url)
    given = RedisBackend(client=client, prefix=prefix)
    async with given, RedisBackend(redis_server.url, prefix=prefix) as named:
        async with listening(given) as to_given, listening(named) as to_named:
            await named.put("default", [entry(1)])
            assert await heard(to_given) == await heard(to_named) == Change((key(1),), "-")
    assert await client.ping()
    await client.aclose()


async def test_the_revision_that_is_told_is_the_one_of_postgres(
    hybrid: HybridRedisPostgreSQLCache,
) -> None:
    async with listening(hybrid) as news:
        await hybrid.put("default", [entry(n) for n in range(150)])
        assert {(await heard(news)).revision for _ in range(2)} == {None}, "nothing was replaced"
        await hybrid.put("default", [entry(n) for n in range(150)])
        told = [await heard(news) for _ in range(2)]
        revision = await hybrid.revision("default")
        assert [each.revision for each in told] == [None, revision], "told when all was"
        await hybrid.delete("default", [key(n) for n in range(150)])
        assert await heard(news) == Change(None, "-", revision + 1), "too many to name"


async def test_a_load_is_told_with_the_revision_of_postgres(
    hybrid: HybridRedisPostgreSQLCache,
) -> None:
    async with listening(hybrid) as news:
        await hybrid.load("default", [entry(1), entry(2)])
        assert await heard(news) == Change((key(1), key(2)), "-"), "nothing was replaced"
        await hybrid.load("default", [entry(2), entry(3)])
        revision = await hybrid.revision("default")
        assert await heard(news) == Change((key(2), key(3)), "-", revision)
        await hybrid.load("default", [entry(n) for n in range(200)])
        assert await heard(news) == Change(None, "-", revision + 1), "too many to name"


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"c",
        b"c a",
        b"c a 1 v1:x y",
        b"c a minus " + key(1).encode(),
        b"f",
        b"\xff\xfe",
        b"x" * 10_000,
    ],
    ids=lambda message: repr(message[:12]),
)
async def test_what_is_not_ours_may_mean_anything(redis: RedisBackend, message: bytes) -> None:
    async with listening(redis) as news:
        client = await redis._client._opened()
        await client.publish(redis._channel("default"), message)
        assert (await heard(news)).keys is None


async def test_who_is_too_slow_hears_that_anything_may_have_changed(
    redis: RedisBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_UNREAD", 5)
    async with listening(redis) as news, listening(redis) as quick:
        for number in range(12):
            await redis.put("default", [entry(number)])
            assert (await heard(quick)).keys == (key(number),)
        told = [await heard(news)]
        while told[-1].keys != (key(11),):
            told.append(await heard(news))
        assert told[0].keys is None
        assert len(told) <= 6


async def test_a_connection_that_is_lost_ends_the_news_and_others_may_begin(
    redis: RedisBackend,
) -> None:
    client = await redis._client._opened()
    for number in range(3):
        async with listening(redis) as news, listening(redis, "other") as other:
            await client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            for each in (news, other):
                with pytest.raises(BackendUnavailableError):
                    await heard(each)
        async with listening(redis) as news:
            await redis.put("default", [entry(number)])
            assert (await heard(news)).keys == (key(number),)


async def test_a_server_that_goes_ends_the_news(redis_engines: list[Any]) -> None:
    with RedisServer(redis_engines[0]) as server:
        async with RedisBackend(server.url, timeout=0.5) as backend:
            async with listening(backend) as news:
                server.kill()
                with pytest.raises(BackendUnavailableError):
                    await heard(news)
            with pytest.raises(BackendUnavailableError):
                await heard(backend.news("default"))


async def test_a_server_that_hangs_ends_the_news(
    redis_engines: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SILENCE", 0.2)
    with RedisServer(redis_engines[0]) as server:
        async with RedisBackend(server.url, timeout=0.5) as backend, listening(backend) as news:
            await asyncio.sleep(0.5)  # it is asked whether it is there, and answers
            await backend.put("default", [entry(1)])
            assert (await heard(news)).keys == (key(1),)
            server.pause()
            try:
                with pytest.raises(BackendUnavailableError):
                    await heard(news)
            finally:
                server.resume()


async def test_who_may_not_publish_may_still_store(redis_engines: list[Any]) -> None:
    with RedisServer(redis_engines[0]) as server:
        async with RedisBackend(server.url) as owner:
            admin = await owner._client._opened()
            await admin.execute_command(
                "ACL", "SETUSER", "mute", "on", ">word", "~*", "+@all", "resetchannels"
            )
            url = server.url.replace(server.url.split("//")[1].split("@")[0], "mute:word")
            async with RedisBackend(url) as mute:
                await mute.put("default", [entry(1)])
                assert await mute.delete("default", [key(1)]) == 1
                lease = await mute.try_lease("default", key(1))
                assert lease is not None
                await lease.release()
            assert dict(await owner.get("default", [key(1)])) == {}
            assert await owner.try_lease("default", key(1)) is not None


async def test_the_connection_goes_with_the_last_listener(redis: RedisBackend) -> None:
    client = await redis._client._opened()

    async def channels() -> set[bytes]:
        return set(await client.pubsub_channels(redis._channel("*")))

    async def until(names: set[str]) -> None:
        async with asyncio.timeout(30):
            while await channels() != {redis._channel(name).encode() for name in names}:
                await asyncio.sleep(0.01)

    async with listening(redis):
        async with listening(redis, "other"), listening(redis, "other"):
            await until({"default", "other"})
        await until({"default"})
    await until(set())
    assert redis._news._bound.get().reading is None


def test_one_loop_after_another_listens(redis_server: RedisServer) -> None:
    backend = RedisBackend(redis_server.url, prefix=uuid.uuid4().hex)

    async def once(number: int) -> None:
        async with listening(backend) as news:
            await backend.put("default", [entry(number)])
            assert (await heard(news)).keys == (key(number),)
        await backend.aclose()

    for number in range(3):
        asyncio.run(once(number))


async def test_who_leaves_while_the_connection_is_made_leaves_at_once(
    redis: RedisBackend,
) -> None:
    """At any of its steps; the driver swallows a cancellation at some."""
    for step in range(40):
        listener = asyncio.create_task(heard(redis.news("default")))
        for _ in range(step):
            await asyncio.sleep(0)
        await asyncio.sleep(0.0002 * step)
        listener.cancel()
        done, _ = await asyncio.wait({listener}, timeout=20)
        assert done
        assert listener.cancelled() or listener.result() == _LISTENING
    assert not redis._news._bound.get().listeners
