"""What Redis may still have and must not keep: it is told, whatever comes between."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeAlias

import pytest
from backend_support import entry, key, scan

from llmcache.backends import _owed as owed_module
from llmcache.backends import hybrid as hybrid_module
from llmcache.backends._warner import Warner
from llmcache.backends.hybrid import HybridRedisPostgreSQLCache
from llmcache.backends.postgres import PostgresBackend
from llmcache.backends.redis import RedisBackend
from llmcache.errors import BackendUnavailableError
from llmcache.testing.servers import RedisServer, ServerEngine

Change: TypeAlias = Callable[[HybridRedisPostgreSQLCache], Awaitable[object]]

_NOBODY = "redis://127.0.0.1:9"
# Who waits so long waits for something that does not come.
_PATIENCE = 20.0


class _Held(RedisBackend):
    """A Redis that is told nothing while it is held up, and that notes how much it is told."""

    def __init__(self, url: str, *, prefix: str) -> None:
        super().__init__(url, prefix=prefix)
        self.go = asyncio.Event()
        self.go.set()
        self.reached = asyncio.Event()
        self.told: list[int] = []

    async def put_newer(self, *arguments: Any, **named: Any) -> int:
        self.reached.set()
        await self.go.wait()
        return await super().put_newer(*arguments, **named)

    async def remove(self, collection: str, keys: Sequence[str], *more: Any, **named: Any) -> int:
        self.reached.set()
        await self.go.wait()
        self.told.append(len(keys))
        return await super().remove(collection, keys, *more, **named)


@pytest.fixture
async def held(redis_server: RedisServer) -> AsyncIterator[_Held]:
    async with _Held(redis_server.url, prefix=uuid.uuid4().hex) as redis:
        yield redis


async def _until(found: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(_PATIENCE):
        while not await found():
            await asyncio.sleep(0.01)


async def _give_up(work: Awaitable[object], reached: asyncio.Event) -> None:
    """Cancel `work` when it has come to where it waits."""
    task = asyncio.ensure_future(work)
    await reached.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()


@pytest.mark.parametrize(
    ("change", "after"),
    [
        (lambda hybrid: hybrid.put("default", [entry(1, b"new")]), {key(1): b"new"}),
        (lambda hybrid: hybrid.load("default", [entry(1, b"new")]), {key(1): b"new"}),
        (lambda hybrid: hybrid.delete("default", [key(1)]), {}),
    ],
    ids=["put", "load", "delete"],
)
async def test_who_gives_up_between_the_two_still_owes(
    postgres: PostgresBackend, held: _Held, change: Change, after: dict[str, bytes]
) -> None:
    """Postgres has the change, and Redis was never told of it: others must not read the old for long."""
    async with HybridRedisPostgreSQLCache(postgres=postgres, redis=held) as hybrid:
        await hybrid.put("default", [entry(1, b"old")])
        held.go.clear()
        held.reached.clear()
        await _give_up(change(hybrid), held.reached)
        assert dict(await postgres.get("default", [key(1)])) == after
        assert dict(await held.get("default", [key(1)])) == {key(1): b"old"}
        assert dict(await hybrid.get("default", [key(1)])) == after, "its own change"
        held.go.set()
        await _until(lambda: _is(held, {}))


async def _is(redis: RedisBackend, wanted: dict[str, bytes]) -> bool:
    return dict(await redis.get("default", [key(1)])) == wanted


async def test_a_removal_that_may_have_happened_is_one_for_redis(
    postgres: PostgresBackend, redis: RedisBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Postgres has done it, and its answer is lost."""
    done, remove = asyncio.Event(), postgres.remove

    async def never_answered(*arguments: Any) -> Any:
        await remove(*arguments)
        done.set()
        await asyncio.Event().wait()

    async with HybridRedisPostgreSQLCache(postgres=postgres, redis=redis) as hybrid:
        await hybrid.put("default", [entry(1)])
        monkeypatch.setattr(postgres, "remove", never_answered)
        await _give_up(hybrid.delete("default", [key(1)]), done)
        await _until(lambda: _is(redis, {}))
        monkeypatch.undo()
        await hybrid.put("default", [entry(1, b"anew")])
        assert dict(await redis.get("default", [key(1)])) == {key(1): b"anew"}


async def test_what_cannot_be_remembered_is_not_removed(
    postgres: PostgresBackend, redis: RedisBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A removal that was acknowledged does not come back out of Redis: it is refused before."""
    monkeypatch.setattr(hybrid_module, "_MOST_OWED", 15)
    other = HybridRedisPostgreSQLCache(postgres=postgres, redis=redis)
    keys = [key(n) for n in range(20)]
    await other.put("default", [entry(n) for n in range(20)])
    cut_off = RedisBackend(_NOBODY, timeout=0.5)
    async with HybridRedisPostgreSQLCache(postgres=postgres, redis=cut_off) as hybrid:
        assert await hybrid.delete("default", keys[:10]) == 10
        with pytest.raises(BackendUnavailableError, match="go on when it is back"):
            await hybrid.delete("default", keys[10:])
        assert len(await scan(postgres)) == 10, "nothing of it was removed"
        await hybrid.put("default", [entry(n) for n in range(30, 60)])
        assert len(await scan(postgres)) == 40, "an answer is never lost for it"
        hybrid.redis = redis  # reached again
        await _until(lambda: _paid(hybrid))
        assert sorted(await redis.get("default", keys)) == sorted(keys[10:])
        assert await hybrid.delete("default", keys[10:]) == 10
        assert dict(await other.get("default", keys)) == {}


async def _paid(hybrid: HybridRedisPostgreSQLCache) -> bool:
    return not hybrid._owed


async def test_what_was_replaced_and_is_forgotten_is_warned_of(
    postgres: PostgresBackend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "llmcache")
    monkeypatch.setattr(hybrid_module, "_MOST_OWED", 15)
    redis = RedisBackend(_NOBODY, timeout=0.5)
    async with HybridRedisPostgreSQLCache(postgres=postgres, redis=redis) as hybrid:
        await hybrid.delete("default", [key(99)])
        await hybrid.put("default", [entry(n) for n in range(15)])
        assert "replaced" not in caplog.text
        await hybrid.put("default", [entry(15)])
        assert "more was replaced than can be remembered" in caplog.text
        assert ("default", key(99)) in hybrid._owed, "a removal is not forgotten for it"


async def test_what_is_owed_is_paid_before_any_waiting(
    postgres: PostgresBackend, redis: RedisBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process leaves alone a Redis that is fine: others read the new answer all the same."""
    monkeypatch.setattr(owed_module, "_PAY_EVERY", 3_600.0)
    other = HybridRedisPostgreSQLCache(postgres=postgres, redis=redis)
    async with HybridRedisPostgreSQLCache(postgres=postgres, redis=redis) as hybrid:
        await hybrid.put("default", [entry(1, b"old")])
        hybrid._near._pause, hybrid._near._open_until = 30.0, time.monotonic() + 3_600.0
        await hybrid.put("default", [entry(1, b"new")])
        await _until(lambda: _is(redis, {}))
        assert (await other.get("default", [key(1)]))[key(1)] == b"new"
        await _until(lambda: _paid(hybrid))
        assert not hybrid._near.is_open, "it was seen to work"
        await asyncio.gather(*other._tasks)


async def test_much_that_is_owed_is_paid_a_little_at_a_time(
    postgres: PostgresBackend, held: _Held
) -> None:
    async with HybridRedisPostgreSQLCache(postgres=postgres, redis=held) as hybrid:
        await held.put("default", [entry(1), entry(2_499)])
        await held.put("other", [entry(1)])
        hybrid._owed.removals("default", {key(n): n for n in range(2_500)})
        hybrid._owed.removals("other", {key(1): 1})
        await _until(lambda: _paid(hybrid))
        assert sum(held.told) == 2_501
        assert max(held.told) <= 1_000
        assert dict(await held.get("default", [key(1), key(2_499)])) == {}
        assert dict(await held.get("other", [key(1)])) == {}


@pytest.fixture(params=[0, 1], ids=["one engine", "another"])
def full_server(request: pytest.FixtureRequest, redis_engines: list[ServerEngine]) -> Any:
    """A server of its own, on every engine there is."""
    if request.param >= len(redis_engines):
        pytest.skip("no other Redis on this machine")
    with RedisServer(redis_engines[request.param]) as server:
        yield server


async def _fill_up(redis: RedisBackend) -> None:
    """Let a server take nothing more."""
    client = await redis._client._opened()
    await client.config_set("maxmemory-policy", "noeviction")
    await client.config_set("maxmemory", "1kb")


async def test_a_full_redis_serves_nothing_old(
    postgres: PostgresBackend, full_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is replaced or removed is gone from there when the change is acknowledged."""
    monkeypatch.setattr(owed_module.Owed, "keep_paying", lambda _: None)  # nothing later
    other = HybridRedisPostgreSQLCache(postgres=postgres, redis=RedisBackend(full_server.url))
    redis = RedisBackend(full_server.url)
    async with HybridRedisPostgreSQLCache(postgres=postgres, redis=redis) as hybrid:
        keys = [key(n) for n in range(4)]
        await hybrid.put("default", [entry(n, b"old") for n in range(4)])
        await _fill_up(redis)
        await hybrid.put("default", [entry(0, b"new")])
        assert (await other.get("default", [key(0)]))[key(0)] == b"new"
        assert await hybrid.delete("default", [key(1)]) == 1
        assert (await hybrid.load("default", [entry(2, b"new")])).replaced == 1
        found = dict(await other.get("default", keys))
        assert found == {key(0): b"new", key(2): b"new", key(3): b"old"}
        assert not hybrid._owed
        await asyncio.gather(*other._tasks)
        await other.redis.aclose()


async def test_a_full_redis_is_still_read(
    postgres: PostgresBackend, full_server: RedisServer
) -> None:
    """It answers: that it takes nothing more is no reason to leave it alone."""
    redis = RedisBackend(full_server.url)
    async with HybridRedisPostgreSQLCache(postgres=postgres, redis=redis) as hybrid:
        await hybrid.put("default", [entry(1)])
        await _fill_up(redis)
        await postgres.put("default", [entry(n) for n in range(10, 15)])
        assert len(await hybrid.get("default", [key(n) for n in range(10, 15)])) == 5
        await asyncio.gather(*hybrid._tasks)  # what was found is not taken
        for n in range(10, 15):
            lease = await hybrid.try_lease("default", key(n))
            assert lease is not None, "from Postgres"
            await lease.release()
        assert hybrid.near_hits == 0
        assert (await hybrid.get("default", [key(1)]))[key(1)] == b"data"
        assert hybrid.near_hits == 1


async def test_what_redis_did_not_do_is_counted(postgres: PostgresBackend) -> None:
    redis = RedisBackend(_NOBODY, timeout=0.5)
    async with HybridRedisPostgreSQLCache(postgres=postgres, redis=redis) as hybrid:
        assert hybrid.hidden_failures == 0
        await hybrid.get("default", [key(1)])
        await hybrid.get("default", [key(1)])
        assert hybrid.hidden_failures == 2


# --- debts ----------------------------------------------------------------------------------------


class _Ledger:
    """Debts to a store that is told nothing of the collections in `away`."""

    def __init__(self) -> None:
        self.away: set[str] = set()
        self.told: list[tuple[str, list[str], int]] = []
        self.while_told: Callable[[], None] = lambda: None
        self.owed = owed_module.Owed(self._tell, Warner("near"), store="near", most=100)

    async def _tell(self, collection: str, keys: Sequence[str], version: int) -> None:
        if collection in self.away:
            raise BackendUnavailableError("away", backend="near", operation="pay")
        self.told.append((collection, list(keys), version))
        self.while_told()


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> _Ledger:
    made = _Ledger()
    monkeypatch.setattr(made.owed, "keep_paying", lambda: None)  # when the test says so
    return made


async def test_a_debt_is_never_lowered(ledger: _Ledger) -> None:
    """What has a version between the two would be let in."""
    ledger.owed.removals("c", {key(1): 8})
    ledger.owed.removals("c", {key(1): 0})
    ledger.owed.replacements("c", {key(2): 9})
    ledger.owed.removals("c", {key(2): 0})
    assert await ledger.owed.pay()
    assert ledger.told == [("c", [key(1), key(2)], 9)]


async def test_what_is_owed_again_while_it_is_told_is_told_again(ledger: _Ledger) -> None:
    def again() -> None:
        ledger.while_told = lambda: None
        ledger.owed.removals("c", {key(1): 8})

    ledger.owed.removals("c", {key(1): 8})
    ledger.while_told = again
    assert await ledger.owed.pay()
    assert ledger.told == [("c", [key(1)], 8)] * 2
    assert len(ledger.owed) == 0


@pytest.mark.parametrize("dead", [1, 2, 5])
async def test_a_node_that_is_away_keeps_nobody_else_from_being_told(
    ledger: _Ledger, dead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owed_module, "_AT_ONCE", 4)
    ledger.away = {f"dead{n}" for n in range(dead)}
    for name in (*sorted(ledger.away), "alive"):
        ledger.owed.removals(name, {key(n): n for n in range(10)})
    for _ in range(dead):
        assert not await ledger.owed.pay()
    assert {each for _, keys, _ in ledger.told for each in keys} == {key(n) for n in range(10)}
    assert len(ledger.owed) == 10 * dead
    ledger.away = set()
    assert await ledger.owed.pay()
    assert len(ledger.owed) == 0


async def test_a_write_of_which_nobody_knows_whether_it_was_made_leaves_nothing_near(
    postgres: PostgresBackend, held: _Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Postgres has made it, and its word is lost on the way."""
    async with HybridRedisPostgreSQLCache(postgres=postgres, redis=held) as hybrid:
        for change in (
            lambda: hybrid.put("default", [entry(1, b"new")]),
            lambda: hybrid.load("default", [entry(1, b"new")]),
        ):
            await hybrid.put("default", [entry(1, b"old")])
            for name in ("put_versions", "load_versions"):
                whole = getattr(postgres, name)

                async def lost(*arguments: Any, whole: Any = whole) -> Any:
                    await whole(*arguments)
                    raise BackendUnavailableError("lost", backend="pg", operation="put")

                monkeypatch.setattr(postgres, name, lost)
            with pytest.raises(BackendUnavailableError, match="lost"):
                await change()
            monkeypatch.undo()
            await _until(lambda: _paid(hybrid))
            assert await held.get("default", [key(1)]) == {}
            assert await hybrid.get("default", [key(1)]) == {key(1): b"new"}
