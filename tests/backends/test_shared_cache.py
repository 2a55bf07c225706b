"""`cache_backend="pg_redis"` through the whole call, as its users have it."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from server_support import own_database

from llmcache import CompletionResult, OpenAIProvider, StreamEventType
from llmcache.testing import DemoUpstream
from llmcache.testing.servers import PostgresServer, RedisServer

Shared: TypeAlias = Callable[..., OpenAIProvider]


@pytest.fixture
async def shared(
    upstream: DemoUpstream, postgres_server: PostgresServer, redis_server: RedisServer
) -> Any:
    """A function that makes a provider as on another machine: with connections of its own."""
    async with own_database(postgres_server) as dsn:

        def make(**options: Any) -> OpenAIProvider:
            return OpenAIProvider(
                "demo",
                base_url=upstream.base_url,
                api_key="sk-test",
                cache_backend="pg_redis",
                pg_dsn=dsn,
                redis_url=redis_server.url,
                # The server is shared: no other test has this name.
                cache_collection=dsn.rpartition("/")[2],
                cache_options={"deadline": 5.0},
                **options,
            )

        yield make


def _status(result: CompletionResult) -> tuple[str, str | None]:
    assert result.cache is not None
    return result.cache.status, result.cache.tier


@pytest.mark.parametrize("compress_pg", [True, False])
async def test_one_machine_asks_and_the_others_know(
    shared: Shared, upstream: DemoUpstream, compress_pg: bool
) -> None:
    async with shared(compress_pg=compress_pg) as one, shared() as other:
        first = await one.complete("q", cache_response=True)
        again = await other.complete("q", cache_response=True)
        assert _status(first) == ("miss", None)
        assert _status(again) == ("hit", "backend")
        assert again == first
        assert _status(await other.complete("q", cache_response=True)) == ("hit", "memory")
        events = [event.type async for event in other.stream("q", cache_response=True)]
        assert events[-1] is StreamEventType.DONE
        vectors = await one.embed(["a", "b"], cache_response=True)
        assert await other.embed(["a", "b"], cache_response=True) == vectors
    assert upstream.calls == 2


async def test_many_on_two_machines_pay_once(shared: Shared, upstream: DemoUpstream) -> None:
    async with shared() as one, shared() as other:
        calls = [p.complete("q", cache_response=True) for p in (one, other) for _ in range(50)]
        results = await asyncio.gather(*calls)
    assert len({result.content for result in results}) == 1
    assert upstream.calls == 1


async def test_a_rewrite_reaches_the_memory_of_the_others(
    shared: Shared, upstream: DemoUpstream
) -> None:
    async with shared() as one, shared() as other:
        await one.complete("q", cache_response=True)
        await other.complete("q", cache_response=True)
        assert await one.cache.invalidate(collection=one.cache.collection) == 1
        async with asyncio.timeout(20):
            while _status(await other.complete("q", cache_response=True))[0] == "hit":
                await asyncio.sleep(0.1)
    assert upstream.calls == 2


async def test_a_new_process_is_warmed_with_what_was_used_most(
    shared: Shared, upstream: DemoUpstream
) -> None:
    async with shared() as one:
        for number in range(5):
            await one.complete(f"q{number}", cache_response=True)
        for _ in range(3):
            await one.complete("q3", cache_response=True)
    async with shared() as fresh:
        report = await fresh.warm_cache()
        assert report.loaded == 5
        assert _status(await fresh.complete("q3", cache_response=True)) == ("hit", "memory")
        infos = {info.key: info.uses async for info in fresh.cache.backend.scan()}
        assert max(infos.values()) == 3
    assert upstream.calls == 5


_LOOPS = """
import asyncio, sys
from llmcache import OpenAIProvider
base_url, dsn, redis_url, collection = sys.argv[1:]
provider = OpenAIProvider(
    "demo", base_url=base_url, api_key="sk-test", cache_backend="pg_redis", pg_dsn=dsn,
    redis_url=redis_url, cache_collection=collection,
    cache_options={"deadline": 5.0, "memory_bytes": 0},
)
for _ in range(3):
    print(asyncio.run(provider.complete("q", cache_response=True)).cache.status)
asyncio.run(provider.close())
"""


async def test_one_loop_after_another(
    upstream: DemoUpstream, dsn: str, redis_server: RedisServer
) -> None:
    """A script that calls `asyncio.run` for each question."""
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "ignore", "-c", _LOOPS, upstream.base_url),
        *(dsn, redis_server.url, dsn.rpartition("/")[2]),
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        out, _ = await program.communicate()
    assert out.decode().split() == ["miss", "hit", "hit"]
    assert upstream.calls == 1


_README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
_AS_ISSUED = """
provider = OpenAIProvider(model="gpt-5", cache_backend="pg_redis",
    pg_dsn="postgresql://user:pass@localhost/db", redis_url="redis://localhost:6379",
    redis_ttl_seconds=86400, compress_pg=True, cache_collection="support")
report = await provider.warm_cache()            # at startup: the most used entries, Postgres → Redis → memory
await provider.close()
"""


@pytest.mark.parametrize("program", ["the first promise", "the README"])
async def test_what_is_shown_runs(
    dsn: str,
    redis_server: RedisServer,
    upstream: DemoUpstream,
    monkeypatch: pytest.MonkeyPatch,
    program: str,
) -> None:
    code = _AS_ISSUED
    if program == "the README":
        [code] = re.findall(r"```python\n(async with OpenAIProvider\(.*?)```", _README, re.DOTALL)
    code = code.replace("postgresql://user:pass@localhost/db", dsn)
    code = code.replace("redis://localhost:6379", redis_server.url)
    monkeypatch.setenv("OPENAI_BASE_URL", upstream.base_url)
    names: dict[str, Any] = {"OpenAIProvider": OpenAIProvider}
    lines = "".join(f"    {line}\n" for line in code.splitlines())
    exec(f"async def main():\n{lines}    return report", names)
    report = await names["main"]()
    assert (report.complete, report.loaded, report.copied) == (True, 0, 0)
