"""The commands that look over and tend a cache, on shared servers: `--cache PLACE`."""

from __future__ import annotations

import time

import pytest
from command_support import Shared, run_command
from copy_support import fill, made

from llmcache.backends import StoredEntry
from llmcache.backends.hybrid import HybridRedisPostgreSQLCache
from llmcache.backends.postgres import PostgresBackend

pytestmark = pytest.mark.usefixtures("own_folder")


async def _fill(shared: Shared) -> None:
    async with HybridRedisPostgreSQLCache(shared.pg_dsn, shared.redis_url) as hybrid:
        await fill(hybrid, [made(n) for n in range(30)], "one")
        await fill(hybrid, [made(n) for n in range(10)], "two")


@pytest.mark.parametrize("kind", ["pg", "pg_redis"])
async def test_a_shared_cache_is_looked_over(shared: Shared, kind: str) -> None:
    await _fill(shared)
    place = shared.place if kind == "pg_redis" else f"pg:{shared.pg_dsn}"
    code, found, said = await run_command("stats", "--cache", place)
    assert (code, said, found["entries"], found["cache"]) == (0, "", 40, kind)
    assert {name: each["entries"] for name, each in found["collections"].items()} == {
        "one": 30,
        "two": 10,
    }
    code, found, _ = await run_command("ls", "--cache", place, "--tag", "t1", "--limit", "3")
    assert (code, found["matched"], len(found["entries"])) == (0, 8, 3)
    code, shown, _ = await run_command("show", made(7).key, "--cache", place, "--collection", "two")
    assert (code, shown["key"], shown["collection"]) == (0, made(7).key, "two")
    code, report, _ = await run_command("verify", "--cache", place)
    assert (code, report["checked"], report["corrupt"]) == (0, 40, 0)


async def test_what_is_removed_from_a_shared_cache_is_gone_from_both(shared: Shared) -> None:
    await _fill(shared)
    place = shared.place
    code, found, said = await run_command("invalidate", "--tag", "t1", "--yes", "--cache", place)
    assert (code, found, said) == (0, {"removed": 8}, "")
    async with HybridRedisPostgreSQLCache(shared.pg_dsn, shared.redis_url) as hybrid:
        gone, left = made(1).key, made(2).key
        assert set(await hybrid.get("one", [gone, left])) == {left}
        assert set(await hybrid.redis.get("one", [gone, left])) == {left}


async def test_a_shared_cache_is_pruned(shared: Shared) -> None:
    await _fill(shared)
    async with PostgresBackend(shared.pg_dsn) as postgres:
        past = [StoredEntry(made(n).key, b"x", keep_until=time.time() - 60) for n in range(90, 95)]
        await postgres.put("one", past)
    code, report, said = await run_command("prune", "--cache", f"pg:{shared.pg_dsn}")
    assert (code, said) == (0, "")
    assert (report["expired"], report["evicted"], report["entries_left"]) == (5, 0, 40)


async def test_the_place_comes_from_the_environment_too(shared: Shared) -> None:
    await _fill(shared)
    code, found, _ = await run_command(
        "stats", "--cache", "pg_redis", PG_DSN=shared.pg_dsn, REDIS_URL=shared.redis_url
    )
    assert (code, found["entries"]) == (0, 40)


async def test_no_password_is_printed(shared: Shared) -> None:
    wrong = "pg:postgresql://user:s3cret@127.0.0.1:1/db"
    for command in (["stats"], ["prune"], ["invalidate", "--tag", "t", "--yes"], ["verify"]):
        code, _, said = await run_command(*command, "--cache", wrong)
        assert code != 0
        assert "s3cret" not in said
        assert "Traceback" not in said


async def test_of_two_places_one_must_be_meant(shared: Shared) -> None:
    code, _, said = await run_command("prune", "--cache", shared.place, "--cache-dir", "x")
    assert code == 2
    assert "one of --cache and --cache-dir" in said
