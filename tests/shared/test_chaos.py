"""Servers are killed, frozen and started again at random; callers notice nothing but time.

`LLMCACHE_CHAOS_SECONDS` says for how long (default 60), `LLMCACHE_CHAOS_SEED` repeats an
order of events.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import time
from collections import Counter, defaultdict
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest
from shared_support import Program, program

from llmcache import OpenAIProvider
from llmcache.backends.postgres import PostgresBackend
from llmcache.testing.servers import PostgresServer, RedisServer, ServerEngine
from llmcache.testing.upstream import Reply, Upstream, UpstreamRequest

pytestmark = pytest.mark.alone

_SECONDS = float(os.environ.get("LLMCACHE_CHAOS_SECONDS", "60"))
_PROCESSES = 3
_OWNED = 4
# A deadline for the store, and a lease of two seconds that outlives its holder; what the machine
# adds under such a load is more than that.
_LONGEST = 10.0
# How long a replaced answer may be seen: an outage, a pause of the circuit, the next attempt to
# tell Redis, a look at the revision. Each is two seconds at most.
_STALE = 15.0

_log = logging.getLogger("chaos")


class _Versions:
    """An upstream whose answer is the prompt and its version."""

    def __init__(self) -> None:
        self.versions: Counter[str] = Counter()

    def __call__(self, request: UpstreamRequest) -> Reply:
        asked = request.json()
        if request.path.endswith("/raise"):
            self.versions[asked] += 1
            return Reply(body=json.dumps(self.versions[asked]).encode())
        prompt = asked["messages"][0]["content"]
        text = f"{prompt}#{self.versions[prompt]}"
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
        top = {"id": "c-1", "model": "demo", "created": 1}
        if not asked.get("stream"):
            choice["message"] = {"role": "assistant", "content": text}
            return Reply(body=json.dumps({**top, "choices": [choice]}).encode())
        choice["delta"] = {"role": "assistant", "content": text}
        body = f"data: {json.dumps({**top, 'choices': [choice]})}\n\ndata: [DONE]\n\n"
        return Reply(body=body.encode(), headers={"content-type": "text/event-stream"})


async def _storm(servers: list[PostgresServer | RedisServer], source: random.Random) -> int:
    """Kill or freeze one server or both, for a while, again and again; return how often."""
    end, number = time.monotonic() + _SECONDS, 0
    while time.monotonic() < end:
        chosen = source.choice([servers[:1], servers[1:], servers])
        frozen = source.random() < 0.3
        _log.info("%s %s", "freeze" if frozen else "kill", [each.engine for each in chosen])
        for server in chosen:
            await asyncio.to_thread(server.pause if frozen else server.kill)
        await asyncio.sleep(source.uniform(0.1, 1.8))
        for server in chosen:
            await asyncio.to_thread(server.resume if frozen else server.start)
        number += 1
        await asyncio.sleep(source.uniform(0.2, 1.8))
    return number


@pytest.mark.timeout(_SECONDS + 240)
async def test_callers_notice_nothing_but_time(
    pg_engines: list[ServerEngine],
    redis_engines: list[ServerEngine],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "chaos")
    seed = int(os.environ.get("LLMCACHE_CHAOS_SEED") or random.SystemRandom().randrange(10**6))
    source = random.Random(seed)
    _log.info("LLMCACHE_CHAOS_SEED=%d", seed)
    with PostgresServer(_ours(pg_engines)) as postgres, RedisServer(_ours(redis_engines)) as redis:
        async with Upstream(upstream := _Versions()) as server:
            base_url = server.base_url
            async with AsyncExitStack() as stack:
                started = [
                    stack.enter_async_context(
                        program("shared_chaos.py", **_asked(number, server, postgres, redis))
                    )
                    for number in range(_PROCESSES)
                ]
                workers = await asyncio.gather(*started)
                events = await _storm([postgres, redis], source)
                told = await _ended(workers)
        stored = await _stored(postgres.url)
        kept = await _versions_kept(postgres.url, base_url)
    _log.info("%d events, %s", events, _figures(told))
    assert [wrong for each in told for wrong in each["wrong"]] == []
    assert [failed for each in told for failed in each["failed"]] == []
    assert {key for each in told for key in each["acknowledged"]} <= stored
    rewrites = _rewrites(told)
    for each in told:
        for prompt, version, started_at in each["reads"]:
            old = [v for v, done in rewrites.get(prompt, ()) if done + _STALE <= started_at]
            assert version >= max(old, default=0), (seed, prompt)
    newest = {prompt: max(v for v, _ in done) for prompt, done in rewrites.items()}
    assert newest, "nothing was rewritten"
    for seen in (kept, *(each["found"] for each in told)):
        for prompt, version in newest.items():
            assert version <= seen[prompt] <= upstream.versions[prompt], (seed, prompt)
    assert max(each["longest"] for each in told) < _LONGEST


def _ours(engines: list[ServerEngine]) -> ServerEngine:
    """Return one that may be killed."""
    for engine in engines:
        if engine.program is not None:
            return engine
    pytest.skip("the servers on this machine are not ours to kill")


def _prompts(number: int) -> list[str]:
    return [f"owned by {number}: {place}" for place in range(_OWNED)]


def _asked(
    number: int, server: Upstream, postgres: PostgresServer, redis: RedisServer
) -> dict[str, Any]:
    return {
        "name": f"news of {number}",
        "base_url": server.base_url,
        "dsn": postgres.url,
        "redis_url": redis.url,
        "prompts": [prompt for each in range(_PROCESSES) for prompt in _prompts(each)],
        "owns": _prompts(number),
        "memory": 0 if number == 0 else 2**20,
        "seed": number,
    }


async def _ended(workers: list[Program]) -> list[dict[str, Any]]:
    """Let the workers come to rest, and then look at everything once more."""
    for worker in workers:
        worker.tell("stop")
    assert [await worker.line() for worker in workers] == ["calm"] * len(workers)
    for worker in workers:
        worker.tell("look")
    return list(await asyncio.gather(*(worker.told() for worker in workers)))


async def _stored(dsn: str) -> set[str]:
    connection = await asyncpg.connect(dsn)
    rows = await connection.fetch("SELECT key FROM llmcache.entries")
    await connection.close()
    return {row[0] for row in rows}


async def _versions_kept(dsn: str, base_url: str) -> dict[str, int]:
    """Return the versions in Postgres."""
    async with OpenAIProvider(
        "demo", base_url=base_url, cache_backend=PostgresBackend(dsn)
    ) as provider:
        found = {}
        for prompt in (prompt for number in range(_PROCESSES) for prompt in _prompts(number)):
            result = await provider.complete(prompt, mode="offline")
            found[prompt] = int((result.content or "").rpartition("#")[2])
        return found


def _rewrites(told: list[dict[str, Any]]) -> dict[str, list[tuple[int, float]]]:
    """Return which versions of a prompt were acknowledged, and when."""
    found: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
    for each in told:
        for prompt, version, moment in each["rewrites"]:
            found[prompt].append((version, moment))
    return found


def _figures(told: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "reads": sum(len(each["reads"]) for each in told),
        "hits": sum(each["hits"] for each in told),
        "rewrites": sum(len(each["rewrites"]) for each in told),
        "acknowledged": sum(len(each["acknowledged"]) for each in told),
        "failed": sum(len(each["failed"]) for each in told),
        "wrong": sum(len(each["wrong"]) for each in told),
        "longest": max(each["longest"] for each in told),
    }
