"""Rewrites raced by readers, in several processes: nothing stale after an acknowledgement."""

from __future__ import annotations

import asyncio
import json
import mmap
import struct
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
from backend_support import key
from machine_support import Machine, asked, listens, number, origin

from llmcache.backends import StoredEntry
from llmcache.backends.hybrid import HybridRedisPostgreSQLCache
from llmcache.backends.redis import RedisBackend
from llmcache.testing.servers import RedisServer

_KEYS = 4
_REWRITES = 2_500
"""For each of the keys."""
_DELETE_EVERY = 50
_TTL = 0.02
"""Seconds that Redis keeps an entry: many reads find it gone."""

# A page that the processes share has, for each key, the last number whose write began, and the
# last that was acknowledged. A number divisible by `_DELETE_EVERY` was a removal.
_READER = textwrap.dedent(
    """
    import asyncio, json, mmap, random, struct, sys
    from llmcache import HybridRedisPostgreSQLCache, RedisBackend

    async def main(dsn, url, prefix, path, ttl, every, *keys):
        redis = RedisBackend(url, prefix=prefix, redis_ttl_seconds=float(ttl))
        every, reads, near, stale = int(every), 0, 0, []
        with open(path, "r+b") as file:
            page = mmap.mmap(file.fileno(), 0)
        async with HybridRedisPostgreSQLCache(dsn, redis=redis) as cache:
            await cache.get("default", list(keys))
            print("ready", flush=True)

            async def read(which):
                nonlocal reads, near
                while True:
                    number = random.randrange(len(keys))
                    acknowledged = struct.unpack_from("q", page, 16 * number + 8)[0]
                    if page[-1]:
                        return
                    key = keys[number]
                    if which == 0 and random.random() < 0.1:
                        place = cache.redis._place("default", key)
                        await (await cache.redis._client._opened()).unlink(place)
                    near += key in await cache.redis.get("default", [key])
                    value = (await cache.get("default", [key])).get(key)
                    begun = struct.unpack_from("q", page, 16 * number)[0]
                    reads += 1
                    if value is None:
                        removed = begun // every * every
                        fine = acknowledged == 0 or removed >= acknowledged
                    else:
                        fine = acknowledged <= int(value) <= begun
                    if not fine:
                        stale.append((key, acknowledged, str(value), begun))

            await asyncio.gather(*(read(which) for which in range(3)))
        print(json.dumps([reads, near, stale[:10]]), flush=True)

    asyncio.run(main(*sys.argv[1:]))
    """
)


class _Page:
    """What the processes know of the writes."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(16 * _KEYS + 8))
        with path.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), 0)

    def begin(self, number: int, value: int) -> None:
        self._write(16 * number, value)

    def acknowledge(self, number: int, value: int) -> None:
        self._write(16 * number + 8, value)

    def _write(self, place: int, value: int) -> None:
        # At once: `struct.pack_into` writes zeros first, which another process may read.
        self._page[place : place + 8] = struct.pack("q", value)

    def end(self) -> None:
        self._page[-1] = 1


@pytest.mark.timeout(180)
async def test_ten_thousand_rewrites_are_never_undone(
    dsn: str, redis_server: RedisServer, tmp_path: Path
) -> None:
    """Two processes read and fill Redis, which forgets all the time, while a third rewrites."""
    prefix = dsn.rpartition("/")[2]
    page = _Page(tmp_path / "page")
    # Two of the keys have a counter in common.
    keys = [key(1), key(1)[:5] + "f" * 62, key(2), key(3)]
    redis = RedisBackend(redis_server.url, prefix=prefix, redis_ttl_seconds=_TTL)
    async with HybridRedisPostgreSQLCache(dsn, redis=redis) as cache:
        await cache.open()
        readers = [
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-W", "ignore", "-c", _READER),
                *(dsn, redis_server.url, prefix, str(tmp_path / "page")),
                *(str(_TTL), str(_DELETE_EVERY), *keys),
                stdout=asyncio.subprocess.PIPE,
            )
            for _ in range(2)
        ]

        async def rewrite(number: int) -> None:
            for value in range(1, _REWRITES + 1):
                page.begin(number, value)
                if value % _DELETE_EVERY:
                    await cache.put("default", [StoredEntry(keys[number], b"%d" % value)])
                else:
                    await cache.delete("default", [keys[number]])
                page.acknowledge(number, value)

        try:
            for reader in readers:
                assert reader.stdout is not None
                assert (await reader.stdout.readline()).strip() == b"ready"
            await asyncio.gather(*(rewrite(number) for number in range(_KEYS)))
        finally:
            page.end()
            outs = [(await reader.communicate())[0] for reader in readers]
        found = [json.loads(out) for out in outs]
    assert [stale for _, _, stale in found] == [[], []]
    reads, near = (sum(each[i] for each in found) for i in (0, 1))
    assert reads > 1_000
    assert reads / 20 < near < reads * 0.99, "Redis took part, and forgot"


@pytest.mark.timeout(180)
async def test_rewrites_through_two_caches_with_memories(machine: Machine) -> None:
    """Who rewrites reads nothing stale; the other, nothing stale for longer than `coherence`."""
    coherence, rewrites = 0.5, 1_000
    async with machine() as one, machine(coherence=coherence) as other:
        acknowledged = [(time.monotonic(), await number(one))]
        await listens(other)
        done, stale = False, []
        reads = near = 0

        async def read(provider: Any, bound: float) -> None:
            nonlocal reads, near
            oldest = 0
            while not done:
                begun = time.monotonic()
                while (
                    oldest + 1 < len(acknowledged) and acknowledged[oldest + 1][0] + bound < begun
                ):
                    oldest += 1
                answer = await asked(provider)
                reads += 1
                near += origin(answer) == ("hit", "memory")
                seen = int(answer.content or "")
                if seen < acknowledged[oldest][1]:
                    stale.append((provider is one, seen, acknowledged[oldest][1]))
                await asyncio.sleep(0)

        async def write() -> None:
            nonlocal done
            for _ in range(rewrites):
                made = await number(one, rewrite_cache=True)
                acknowledged.append((time.monotonic(), made))
            await asyncio.sleep(coherence)
            done = True

        await asyncio.gather(
            write(), read(one, 0.0), read(other, coherence), read(other, coherence)
        )
        assert stale == []
        assert near > reads / 4, "memory took no part"
        assert await number(other) == acknowledged[-1][1] == rewrites
