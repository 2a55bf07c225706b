"""What is stored is damaged, or not ours at all: a miss with a warning, never a wrong answer."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import asyncpg
import pytest
from backend_support import entry, key
from server_support import emptied
from shared_support import status

from llmcache import OpenAIProvider
from llmcache.backends.hybrid import HybridRedisPostgreSQLCache
from llmcache.backends.postgres import PostgresBackend
from llmcache.backends.redis import RedisBackend
from llmcache.testing import DemoUpstream
from llmcache.testing.servers import PostgresServer, RedisServer

_VERSION = 8
_HEADER = 30


class Place:
    """One answer in both stores, and ways to spoil it."""

    def __init__(
        self, hybrid: HybridRedisPostgreSQLCache, dsn: str, provider: OpenAIProvider
    ) -> None:
        self.hybrid = hybrid
        self.provider = provider
        self.text: str | None = None
        self.key = ""
        self._dsn = dsn

    async def client(self) -> Any:
        return await self.hybrid.redis._client._opened()

    async def ask(self) -> str:
        """Return where the answer came from; it must be the right one."""
        result = await self.provider.complete("q", cache_response=True)
        assert result.content == self.text
        return status(result)

    async def store(self) -> None:
        """Put the answer into both stores."""
        result = await self.provider.complete("q", cache_response=True, rewrite_cache=True)
        assert result.cache is not None
        self.text, self.key = result.content, result.cache.key or ""
        if await (await self.client()).get(self.near) is None:  # refused, after a damaged version
            await self.ask()
            await self.settle()

    @property
    def near(self) -> str:
        return self.hybrid.redis._place("default", self.key)

    async def in_redis(self) -> bytes:
        data: bytes = await (await self.client()).get(self.near)
        return data

    async def spoil_redis(self, data: bytes) -> None:
        await (await self.client()).set(self.near, data)

    async def in_postgres(self) -> bytes:
        return (await self.hybrid.postgres.get("default", [self.key]))[self.key]

    async def spoil_postgres(self, data: bytes) -> None:
        connection = await asyncpg.connect(self._dsn)
        await connection.execute("UPDATE llmcache.entries SET data = $1", data)
        await connection.close()
        await (await self.client()).unlink(self.near)

    async def settle(self) -> None:
        """Let what goes on behind the calls come to its end."""
        await self.provider.cache.store.settle()


@pytest.fixture
async def place(
    upstream: DemoUpstream, postgres_server: PostgresServer, redis_server: RedisServer
) -> AsyncIterator[Place]:
    redis = RedisBackend(redis_server.url, prefix=uuid.uuid4().hex, lease_seconds=2.0)
    async with emptied(postgres_server.url):
        hybrid = HybridRedisPostgreSQLCache(
            postgres=PostgresBackend(postgres_server.url), redis=redis
        )
        async with OpenAIProvider(
            "demo",
            base_url=upstream.base_url,
            api_key="sk-test",
            cache_backend=hybrid,
            cache_options={"memory_bytes": 0, "deadline": 20.0},
        ) as provider:
            yield Place(hybrid, postgres_server.url, provider)


Spoil: TypeAlias = Callable[[Place, bytes], Awaitable[None]]
_STORES: dict[str, tuple[Callable[[Place], Awaitable[bytes]], Spoil, int]] = {
    "redis": (Place.in_redis, Place.spoil_redis, _VERSION),
    "postgres": (Place.in_postgres, Place.spoil_postgres, 0),
}


@pytest.mark.parametrize("store", _STORES)
async def test_no_flipped_byte_becomes_an_answer(
    place: Place, store: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Every byte of version and header, and some of what follows."""
    caplog.set_level(logging.CRITICAL, "llmcache")
    read, spoil, prefix = _STORES[store]
    await place.store()
    header = prefix + _HEADER
    for number in range(header + 21):
        await place.store()
        sound = await read(place)
        position = number
        if number >= header:
            position = header + (len(sound) - header - 1) * (number - header) // 20
        flipped = sound[position] ^ (1 << position % 8)
        await spoil(place, sound[:position] + bytes([flipped]) + sound[position + 1 :])
        await place.ask()
        await place.settle()
        assert await place.ask() == "hit"


def _foreign(sound: bytes) -> dict[str, bytes]:
    """Return what may stand where an entry should: pieces, other versions, other things."""
    return {
        "nothing": b"",
        "short": sound[:5],
        "a version": sound[:_VERSION],
        "half a header": sound[: _VERSION + 15],
        "a header": sound[: _VERSION + _HEADER],
        "less its end": sound[:-1],
        "more": sound + b"\0",
        "twice": sound + sound,
        "a later format": sound[: _VERSION + 4] + b"\x02" + sound[_VERSION + 5 :],
        "unknown flags": sound[: _VERSION + 5] + b"\xff" + sound[_VERSION + 6 :],
        "text": b"hello, this is somebody else's",
        "json": b'{"answer": 42, "of": "another program altogether"}',
        "pickle": b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x05hello\x94.",
        "ones": b"\xff" * len(sound),
    }


@pytest.mark.parametrize("store", _STORES)
@pytest.mark.parametrize("kind", _foreign(bytes(100)))
async def test_what_is_no_entry_is_no_answer(
    place: Place, store: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    read, spoil, prefix = _STORES[store]
    await place.store()
    spoiled = _foreign(bytes(_VERSION - prefix) + await read(place))[kind]
    await spoil(place, spoiled[_VERSION - prefix :])
    await place.ask()
    await place.settle()
    assert await place.ask() == "hit"
    said = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(said) == len(set(said)) <= 2


async def test_an_entry_that_was_moved_is_no_answer(place: Place) -> None:
    """The bytes are sound, and another question's."""
    await place.store()
    other = await place.provider.complete("another", cache_response=True)
    assert other.cache is not None
    assert other.content != place.text
    redis = place.hybrid.redis
    theirs = redis._place("default", other.cache.key or "")
    await place.spoil_redis(await (await place.client()).get(theirs))
    await place.ask()
    connection = await asyncpg.connect(place._dsn)
    moved = "SELECT data FROM llmcache.entries WHERE key = $1"
    await place.spoil_postgres(await connection.fetchval(moved, other.cache.key))
    await connection.close()
    await place.ask()


# --- Redis: foreign types, and the bytes that order changes -----------------------------------------

_TYPES: dict[str, Callable[[Any, str], Awaitable[Any]]] = {
    "list": lambda client, place: client.rpush(place, b"x"),
    "hash": lambda client, place: client.hset(place, b"x", b"y"),
    "set": lambda client, place: client.sadd(place, b"x"),
    "sorted set": lambda client, place: client.zadd(place, {b"x": 1}),
    "stream": lambda client, place: client.xadd(place, {b"x": b"y"}),
    "text": lambda client, place: client.set(place, b"somebody else's"),
    "eight letters": lambda client, place: client.set(place, b"somebody"),
    "nothing": lambda client, place: client.set(place, b""),
}
_PLACES: dict[str, Callable[[RedisBackend, str], str]] = {
    "entry": lambda redis, key: redis._place("default", key),
    "counter": lambda redis, key: redis._counter("default", key),
    "revision": lambda redis, _: redis._revision("default"),
    "lease": lambda redis, key: f"{redis._tag('default')}:l:{key}",
    "dictionaries": lambda redis, _: f"{redis._tag('default')}:d",
}


@pytest.mark.parametrize("kind", _TYPES)
@pytest.mark.parametrize("where", _PLACES)
async def test_a_foreign_value_at_one_of_our_places_is_replaced(
    place: Place, where: str, kind: str
) -> None:
    """It costs at most a look into Postgres: no call fails or waits, and Redis serves again."""
    await place.store()
    redis, client = place.hybrid.redis, await place.client()
    foreign = _PLACES[where](redis, place.key)
    await client.unlink(foreign, place.near)
    await _TYPES[kind](client, foreign)
    await place.ask()
    assert await place.provider.cache.invalidate(key=place.key) == 1
    assert await place.ask() == "miss"
    await place.store()
    await place.ask()
    await place.settle()
    assert place.key in await redis.get("default", [place.key])
    assert await redis.revision("default") >= 0


@pytest.mark.parametrize("bit", range(64))
async def test_a_damaged_version_does_not_keep_what_was_replaced(place: Place, bit: int) -> None:
    hybrid, place.key = place.hybrid, key(1)
    await hybrid.put("default", [entry(1, b"old")])
    sound = await place.in_redis()
    version = int.from_bytes(sound[:_VERSION], "big") ^ (1 << bit)
    await place.spoil_redis(version.to_bytes(_VERSION, "big") + sound[_VERSION:])
    await hybrid.put("default", [entry(1, b"new")])
    assert (await hybrid.get("default", [key(1)]))[key(1)] == b"new"


async def test_a_database_that_starts_anew_is_believed(place: Place) -> None:
    """Its versions begin at one; what Redis still has from the time before is not served for ever."""
    hybrid = place.hybrid
    for data in (b"first", b"second", b"third"):
        await hybrid.put("default", [entry(1, data)])
    connection = await asyncpg.connect(place._dsn)
    await connection.execute("TRUNCATE llmcache.entries")
    await connection.execute("ALTER SEQUENCE llmcache.versions RESTART")
    await connection.close()
    await hybrid.put("default", [entry(1, b"anew")])
    for _ in range(2):
        assert (await hybrid.get("default", [key(1)]))[key(1)] == b"anew"
        await place.settle()
    async with asyncio.timeout(20):  # and Redis serves it again
        while key(1) not in await hybrid.redis.get("default", [key(1)]):
            await asyncio.sleep(0.01)
