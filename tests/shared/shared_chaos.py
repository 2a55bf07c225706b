"""A process that reads, writes and rewrites while its servers come and go, and keeps a record.

    python shared_chaos.py '{"name": …, "base_url": …, "dsn": …, "redis_url": …, "memory": …, "seed": …}'

The answer to a prompt is the prompt and its version, which only the one task that owns the
prompt raises. On the line `stop` it ends its tasks, waits until both servers are in use and
nothing is owed, and says `calm`; on the line `look` it reads every prompt once more, and
prints its record as JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
import time
from collections.abc import Sequence
from typing import Any

import httpx

from llmcache import OpenAIProvider, StreamEventType
from llmcache.backends import StoredEntry, _circuit
from llmcache.backends.hybrid import HybridRedisPostgreSQLCache
from llmcache.backends.postgres import PostgresBackend
from llmcache.backends.redis import RedisBackend
from llmcache.errors import BackendError

# As short as the outages are here.
_circuit._LONGEST_PAUSE = 2.0
_BACKGROUND = 2.0
# Answers of earlier versions that are under way when a version is raised arrive before the
# rewrite: whose late write counts then is a question of its own.
_LATE = 2 * _BACKGROUND + 1.0
_COHERENCE = 0.5


class Witness(HybridRedisPostgreSQLCache):
    """Knows what Postgres has acknowledged."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.acknowledged: dict[str, float] = {}

    async def put_unless_newer(
        self,
        collection: str,
        entries: Sequence[StoredEntry],
        /,
        *,
        fence: int | None,
        author: str = "",
    ) -> Sequence[str]:
        late = await super().put_unless_newer(collection, entries, fence=fence, author=author)
        stored = (entry.key for entry in entries if entry.key not in late)
        self.acknowledged |= dict.fromkeys(stored, time.monotonic())
        return late

    @property
    def calm(self) -> bool:
        """Whether both servers are in use, and Redis knows all that it should."""
        return not (self._near.is_open or self._far.is_open or self._owed)


class Load:
    """The tasks of this process, and what they saw."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self.name: str = asked["name"]
        self.base_url: str = asked["base_url"]
        self.prompts: list[str] = asked["prompts"]
        self.random = random.Random(asked["seed"])
        self.backend = Witness(
            postgres=PostgresBackend(asked["dsn"], max_connections=5),
            redis=RedisBackend(asked["redis_url"], max_connections=10, lease_seconds=2.0),
        )
        self.provider = OpenAIProvider(
            "demo",
            base_url=self.base_url,
            api_key="sk-test",
            cache_backend=self.backend,
            cache_options={
                "memory_bytes": asked["memory"],
                "coherence": _COHERENCE,
                "background_timeout": _BACKGROUND,
            },
        )
        self.reads: list[tuple[str, int, float]] = []
        self.rewrites: list[tuple[str, int, float]] = []
        self.wrong: list[str] = []
        self.failed: list[str] = []
        self.longest = 0.0
        self.news: list[str] = []

    async def ask(self, prompt: str, **options: Any) -> tuple[str | None, int]:
        """Return the key and the version of an answer; what goes wrong is recorded."""
        started = time.monotonic()
        try:
            if self.random.random() < 0.5:
                result = await self.provider.complete(prompt, cache_response=True, **options)
            else:
                stream = self.provider.stream(prompt, cache_response=True, **options)
                events = [event async for event in stream]
                assert events[-1].type is StreamEventType.DONE
                result = events[-1].data
        except Exception as error:  # noqa: BLE001 - whatever a caller would see
            self.failed.append(f"{type(error).__name__}: {error}")
            return None, -1
        self.longest = max(self.longest, time.monotonic() - started)
        about, _, version = (result.content or "").partition("#")
        if about != prompt or not version.isdecimal():
            self.wrong.append(f"{prompt}: {result.content!r}")
            return None, -1
        self.reads.append((prompt, int(version), started))
        return result.cache.key if result.cache else None, int(version)

    async def read(self) -> None:
        """Ask what is known, and now and then something new."""
        while True:
            if self.random.random() < 0.2:
                self.news.append(f"{self.name} {len(self.news)}")
                await self.ask(self.news[-1])
            elif self.news and self.random.random() < 0.3:
                await self.ask(self.random.choice(self.news))
            else:
                await self.ask(self.random.choice(self.prompts))
            await asyncio.sleep(self.random.uniform(0, 0.04))

    async def rewrite(self, prompt: str) -> None:
        """Raise the version, let what is older arrive, and replace what is stored."""
        async with httpx.AsyncClient() as client:
            while True:
                raised = await client.post(f"{self.base_url}/raise", json=prompt)
                await asyncio.sleep(_LATE + self.random.random())
                before = time.monotonic()
                key, version = await self.ask(prompt, rewrite_cache=True)
                if 0 <= version < raised.json():
                    self.wrong.append(f"{prompt}: rewritten as {version}, not {raised.json()}")
                if self.backend.acknowledged.get(key or "", 0.0) >= before:
                    self.rewrites.append((prompt, version, time.monotonic()))

    async def settle(self) -> None:
        """Wait until calls are let through to both servers, and Redis knows what it missed."""
        async with asyncio.timeout(60):
            while not self.backend.calm:
                with contextlib.suppress(BackendError):
                    await self.backend.get("default", ["v1:" + "0" * 64])
                await asyncio.sleep(0.1)

    async def look(self) -> dict[str, int]:
        """Return the versions of all prompts as this process has them in the end."""
        found = {}
        for _ in range(2):  # the first look at what is in memory asks whether it has changed
            for prompt in self.prompts:
                _, found[prompt] = await self.ask(prompt)
            await asyncio.sleep(4 * _COHERENCE)
        return found


async def main(asked: dict[str, Any]) -> None:
    """Work until told to stop."""
    load = Load(asked)
    async with load.provider:
        print("ready", flush=True)
        tasks = [asyncio.create_task(load.read()) for _ in range(3)]
        tasks += [asyncio.create_task(load.rewrite(prompt)) for prompt in asked["owns"]]
        assert await asyncio.to_thread(sys.stdin.readline) == "stop\n"
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        load.failed += [repr(end) for end in ended if not isinstance(end, asyncio.CancelledError)]
        await load.settle()
        print("calm", flush=True)
        assert await asyncio.to_thread(sys.stdin.readline) == "look\n"
        found = await load.look()
    told = {
        "reads": load.reads,
        "rewrites": load.rewrites,
        "acknowledged": sorted(load.backend.acknowledged),
        "wrong": load.wrong,
        "failed": load.failed,
        "longest": load.longest,
        "found": found,
        "hits": load.provider.cache.counters.hits,
    }
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
