"""The Redis backend on every Redis and Valkey of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from backend_support import entry, key, scan
from redis.exceptions import ConnectionError as LostError

from llmcache.backends import Backend, StoredEntry
from llmcache.backends.base import VersionedEntry
from llmcache.backends.redis import RedisBackend
from llmcache.errors import BackendUnavailableError, ConfigurationError
from llmcache.testing import BackendTests
from llmcache.testing.servers import RedisCluster, RedisServer


class TestRedis(BackendTests):
    @pytest.fixture
    async def backend(self, each_redis: RedisServer) -> AsyncIterator[Backend]:
        async with RedisBackend(each_redis.url, prefix=uuid.uuid4().hex) as backend:
            yield backend


@pytest.fixture(scope="module")
def cluster(redis_engines: list[Any]) -> Any:
    with RedisCluster(redis_engines[0]) as cluster:
        yield cluster


class TestRedisCluster(BackendTests):
    @pytest.fixture
    async def backend(self, cluster: RedisCluster) -> AsyncIterator[Backend]:
        url = cluster.url.replace("redis://", "redis+cluster://", 1)
        async with RedisBackend(url, prefix=uuid.uuid4().hex) as backend:
            yield backend


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"redis_url": "postgresql://localhost/db"},
        {"redis_url": 5},
        {"redis_url": "localhost:6379"},
        {"redis_url": "redis://localhost", "redis_ttl_seconds": 0},
        {"redis_url": "redis://localhost", "redis_ttl_seconds": -1},
        {"redis_url": "redis://localhost", "redis_ttl_seconds": "1 day"},
        {"redis_url": "redis://localhost", "lease_seconds": float("nan")},
    ],
    ids=str,
)
def test_an_argument_that_cannot_be_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        RedisBackend(**options)


def test_a_wrong_url_does_not_show_its_password() -> None:
    with pytest.raises(ConfigurationError) as caught:
        RedisBackend("http://user:hunter22@localhost")
    assert "hunter22" not in str(caught.value)


async def _time_left(redis: RedisBackend, number: int) -> int:
    left: int = await (await redis._client._opened()).pttl(redis._place("default", key(number)))
    return left


async def test_an_entry_stays_for_the_shorter_of_both_times(redis_server: RedisServer) -> None:
    prefix = uuid.uuid4().hex
    async with RedisBackend(redis_server.url, prefix=prefix, redis_ttl_seconds=100) as redis:
        now = time.time()
        await redis.put(
            "default",
            [
                entry(1),
                StoredEntry(key(2), b"short", keep_until=now + 10),
                StoredEntry(key(3), b"long", keep_until=now + 1_000),
                StoredEntry(key(4), b"gone", keep_until=now - 10),
            ],
        )
        assert 90_000 < await _time_left(redis, 1) <= 100_000
        assert 5_000 < await _time_left(redis, 2) <= 10_000
        assert 90_000 < await _time_left(redis, 3) <= 100_000
        await asyncio.sleep(0.05)
        assert key(4) not in await redis.get("default", [key(4)])
    async with RedisBackend(redis_server.url, prefix=prefix, redis_ttl_seconds=None) as redis:
        await redis.put("default", [entry(1)])
        assert await _time_left(redis, 1) == -1


@pytest.mark.parametrize("foreign", [b"", b"short", b"\xff" * 8, b"\xff" * 40], ids=len)
async def test_foreign_bytes_under_our_key_are_damage_and_mended(
    redis: RedisBackend, foreign: bytes
) -> None:
    place = redis._place("default", key(1))
    await (await redis._client._opened()).set(place, foreign)
    found = dict(await redis.get("default", [key(1)]))
    assert found == {key(1): foreign[8:]}
    await redis.quarantine("default", key(1), found[key(1)])
    assert dict(await redis.get("default", [key(1)])) == {}
    await redis.put("default", [entry(1)])
    assert (await redis.get("default", [key(1)]))[key(1)] == b"data"


async def test_what_is_no_string_is_a_miss_and_overwritten(redis: RedisBackend) -> None:
    await (await redis._client._opened()).rpush(redis._place("default", key(1)), b"a list")
    assert dict(await redis.get("default", [key(1)])) == {}
    await redis.put("default", [entry(1)])
    assert (await redis.get("default", [key(1)]))[key(1)] == b"data"


async def test_an_older_version_is_not_taken(redis: RedisBackend) -> None:
    """Nor does the newer one stay: of the two, who is behind Redis knows which is right."""
    new, old = (VersionedEntry(entry(1, data), n) for data, n in ((b"new", 2), (b"old", 1)))
    assert await redis.put_newer("default", [new]) == 1
    assert await redis.put_newer("default", [old]) == 0
    assert dict(await redis.get("default", [key(1)])) == {}
    newest = VersionedEntry(entry(1, b"newest"), 5)
    for _ in range(2):  # made twice, as after a lost connection
        assert await redis.put_newer("default", [newest]) == 1
    assert (await redis.get("default", [key(1)]))[key(1)] == b"newest"


async def test_versions_are_compared_as_numbers(redis: RedisBackend) -> None:
    for version in (0xFF, 0x100, 0xFFFF_FFFF, 0x1_0000_0000, 2**53 - 1):
        await redis.put_newer("default", [VersionedEntry(entry(1, b"%d" % version), version)])
        assert (await redis.get("default", [key(1)]))[key(1)] == b"%d" % version
        late = VersionedEntry(entry(1, b"old"), version - 1)
        assert await redis.put_newer("default", [late]) == 0


async def test_who_writes_late_leaves_nothing_older_behind(redis: RedisBackend) -> None:
    """Refused for another key's sake, a writer still takes away what it has replaced."""
    same_bucket = key(1)[:5] + "f" * 62
    await redis.put_newer("default", [VersionedEntry(entry(1, b"first"), 1)])
    await redis.put_newer("default", [VersionedEntry(StoredEntry(same_bucket, b"x"), 9)])
    assert await redis.put_newer("default", [VersionedEntry(entry(1, b"second"), 2)]) == 0
    assert dict(await redis.get("default", [key(1)])) == {}


@pytest.mark.parametrize("removed", [False, True])
async def test_who_is_late_leaves_no_room_for_who_is_later(
    redis: RedisBackend, *, removed: bool
) -> None:
    """A change that others have overtaken still keeps out a reader from before it."""
    same_bucket = key(1)[:5] + "f" * 62
    await redis.put_newer("default", [VersionedEntry(StoredEntry(same_bucket, b"x"), 9)])
    _, tickets = await redis.look("default", [key(1)])
    if removed:
        await redis.remove("default", [key(1)], 5)
    else:
        assert await redis.put_newer("default", [VersionedEntry(entry(1, b"new"), 5)]) == 0
    assert await redis.fill("default", [VersionedEntry(entry(1, b"old"), 4)], tickets) == 0
    assert await redis.put_newer("default", [VersionedEntry(entry(1, b"old"), 7)]) == 0
    assert dict(await redis.get("default", [key(1)])) == {}
    assert await redis.put_newer("default", [VersionedEntry(entry(1, b"new"), 11)]) == 1


async def test_a_lease_is_renewed_and_runs_out_without_its_holder(
    redis_server: RedisServer,
) -> None:
    prefix = uuid.uuid4().hex
    one = RedisBackend(redis_server.url, prefix=prefix, lease_seconds=0.6)
    async with one, RedisBackend(redis_server.url, prefix=prefix) as other:
        lease = await one.try_lease("default", key(1))
        assert lease is not None
        await asyncio.sleep(1.2)
        assert await other.try_lease("default", key(1)) is None, "it was renewed"
        for task in one._renewals:
            task.cancel()  # the holder died
        await asyncio.sleep(0.8)
        taken = await other.try_lease("default", key(1))
        assert taken is not None
        await lease.release()  # it wakes up again: not its lease any more
        assert await one.try_lease("default", key(1)) is None
        await taken.release()


async def test_a_lease_whose_reply_was_lost_is_had(
    redis: RedisBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """redis-py asks again, and is told that somebody has it: that is who asks."""
    client = await redis._client._opened()
    ask = client.set

    async def asked_twice(*arguments: Any, **named: Any) -> Any:
        await ask(*arguments, **named)
        return await ask(*arguments, **named)

    monkeypatch.setattr(client, "set", asked_twice)
    lease = await redis.try_lease("default", key(1))
    assert lease is not None
    assert await redis.try_lease("default", key(1)) is None, "another's is another's"
    await lease.release()
    again = await redis.try_lease("default", key(1))
    assert again is not None
    await again.release()


@pytest.mark.parametrize("lost", ["set", "no_lease"])
async def test_a_lease_that_nobody_heard_of_is_given_back(
    redis_server: RedisServer, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server gave it, and its reply was lost: nobody may be locked out until it ends."""
    async with RedisBackend(redis_server.url, prefix=uuid.uuid4().hex, lease_seconds=600) as redis:
        client = await redis._client._opened()
        give, run = client.set, redis._client.run

        async def given(*arguments: Any, **named: Any) -> Any:
            await give(*arguments, **named)
            if lost == "set":
                raise LostError("the reply was lost")
            return None  # as to one who asks again

        async def heard(operation: str, name: str, *more: Any) -> Any:
            if name == "no_lease":
                raise BackendUnavailableError("the reply was lost", backend="redis", operation=name)
            return await run(operation, name, *more)

        monkeypatch.setattr(client, "set", given)
        monkeypatch.setattr(redis._client, "run", heard)
        with pytest.raises(BackendUnavailableError, match="reply was lost"):
            await redis.try_lease("default", key(1))
        monkeypatch.undo()
        async with asyncio.timeout(30):
            while (lease := await redis.try_lease("default", key(1))) is None:
                await asyncio.sleep(0.005)
        await lease.release()


def test_closing_leaves_alone_what_another_loop_does() -> None:
    """Its tasks are not ours to end: where that loop is closed, it could not be done, either."""
    redis = RedisBackend("redis://127.0.0.1:9")
    with asyncio.Runner() as other:
        renewal = other.get_loop().create_task(asyncio.sleep(60))
        redis._renewals.add(renewal)
        asyncio.run(redis.aclose())
        assert not renewal.cancelling()


@pytest.mark.parametrize(
    "operation",
    [
        lambda redis: redis.get("default", [key(1)]),
        lambda redis: redis.put("default", [entry(1)]),
        lambda redis: redis.delete("default", [key(1)]),
        scan,
        lambda redis: redis.try_lease("default", key(1)),
        lambda redis: redis.stats(),
        lambda redis: redis.revision("default"),
        lambda redis: redis.dictionaries("default"),
        lambda redis: redis.put_dictionary("default", b"x"),
        lambda redis: redis.quarantine("default", key(1), b"x"),
    ],
)
async def test_a_failure_is_ours(operation: Callable[..., Any]) -> None:
    async with RedisBackend("redis://127.0.0.1:9", timeout=0.5) as redis:
        with pytest.raises(BackendUnavailableError) as caught:
            await operation(redis)
    assert caught.value.backend == "redis"


async def test_a_wrong_password_says_what_to_check(redis_server: RedisServer) -> None:
    place = redis_server.url.rpartition("@")[2]
    async with RedisBackend(f"redis://:hunter22@{place}") as redis:
        with pytest.raises(BackendUnavailableError, match="password in redis_url") as caught:
            await redis.get("default", [key(1)])
    assert "hunter22" not in str(caught.value)


async def test_behind_sentinel(sentinel: str) -> None:
    async with RedisBackend(sentinel, prefix=uuid.uuid4().hex) as redis:
        async with asyncio.timeout(20):
            while True:  # it looks at the server first
                with contextlib.suppress(BackendUnavailableError):
                    await redis.put("default", [entry(1)])
                    break
                await asyncio.sleep(0.1)
        assert (await redis.get("default", [key(1)]))[key(1)] == b"data"
        assert await redis.delete("default", [key(1)]) == 1


def test_a_sentinel_without_a_service_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match="service's name"):
        RedisBackend("redis+sentinel://127.0.0.1:26379")


async def test_a_full_server_says_what_to_do(redis_engines: list[Any], tmp_path: Path) -> None:
    with RedisServer(redis_engines[0]) as server:
        async with RedisBackend(server.url) as redis:
            await redis.put("default", [entry(1)])
            await (await redis._client._opened()).config_set("maxmemory-policy", "noeviction")
            await (await redis._client._opened()).config_set("maxmemory", "1mb")
            with pytest.raises(BackendUnavailableError, match="allkeys-lru"):
                await redis.put("default", [entry(2, bytes(4_000_000))])
            assert (await redis.get("default", [key(1)]))[key(1)] == b"data"
            assert await redis.delete("default", [key(1)]) == 1, "a full one can still forget"
            assert dict(await redis.get("default", [key(1)])) == {}


_DAY = 86_400_000_000
"""In microseconds, as versions are."""


@pytest.mark.parametrize("skew", [-_DAY, _DAY])
async def test_a_server_whose_clock_was_another_hinders_nothing(
    redis: RedisBackend, skew: int
) -> None:
    """As after another machine has taken over: what is there was written by its clock."""
    version = time.time_ns() // 1_000 + skew
    written = VersionedEntry(entry(1, b"by the other clock"), version)
    await redis.put_newer("default", [written])
    before = await redis.revision("default")
    await redis.put("default", [entry(1, b"rewritten")])
    assert (await redis.get("default", [key(1)]))[key(1)] == b"rewritten"
    assert await redis.revision("default") != before
    await redis.put_newer("default", [written])
    assert (await redis.get("default", [key(1)]))[key(1)] == b"rewritten", (
        "what is older stays away"
    )
    for number in range(3):
        fence = await redis.fence("default")
        batch = [entry(1, b"%d" % number)]
        assert not await redis.put_unless_newer("default", batch, fence=fence)
    assert await redis.delete("default", [key(1)]) == 1
    await redis.put_newer("default", [written])
    assert dict(await redis.get("default", [key(1)])) == {}


@pytest.mark.parametrize("foreign", ["list", "text", "eight letters", "eight bytes", "nothing"])
@pytest.mark.parametrize("where", ["_clock", "_revision"])
async def test_what_is_not_ours_where_versions_are_drawn_is_replaced(
    redis: RedisBackend, where: str, foreign: str
) -> None:
    client, place = await redis._client._opened(), getattr(redis, where)("default")
    values = {
        "text": b"x",
        "eight letters": b"somebody",
        "eight bytes": b"\xff" * 8,
        "nothing": b"",
    }

    async def spoil() -> None:
        await client.unlink(place)
        await (
            client.rpush(place, b"x") if foreign == "list" else client.set(place, values[foreign])
        )

    await spoil()
    await redis.put("default", [entry(1, b"old")])
    await spoil()
    fence = await redis.fence("default")
    await spoil()
    assert not await redis.put_unless_newer("default", [entry(1, b"new")], fence=fence)
    assert await redis.revision("default") > 0
    assert await redis.put_unless_newer("default", [entry(1, b"late")], fence=fence) == [key(1)]
    assert (await redis.get("default", [key(1)]))[key(1)] == b"new"
    await spoil()
    assert await redis.delete("default", [key(1)]) == 1
    assert await redis.revision("default") > 0
    assert fence < await redis.fence("default") < 2**53


async def test_a_fence_rises_above_what_it_was_too_low_for(redis: RedisBackend) -> None:
    """The server's clock was set back, and what remembers the last version was evicted."""
    version = time.time_ns() // 1_000 + _DAY
    await redis.put_newer("default", [VersionedEntry(entry(1, b"ahead"), version)])
    fences = []
    async with asyncio.timeout(30):
        while True:
            fences.append(await redis.fence("default"))
            if not await redis.put_unless_newer("default", [entry(1)], fence=fences[-1]):
                break
    assert len(fences) == 2
    assert fences[0] < version < fences[1]


async def test_a_revision_that_was_evicted_does_not_come_back_to_where_it_was(
    redis: RedisBackend,
) -> None:
    client = await redis._client._opened()
    seen = []
    for number in range(5):
        await redis.put("default", [entry(1, b"%d" % number)])
        seen.append(await redis.revision("default"))
        if number:
            await client.unlink(redis._revision("default"))
    assert len(set(seen)) == len(seen)
