"""Invalidating in Postgres and in the hybrid: by index, from both tiers, and nothing that stays."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest
from backend_support import key

from llmcache.backends import Backend, StoredEntry
from llmcache.backends import _pg_finding as finding
from llmcache.backends.hybrid import HybridRedisPostgreSQLCache
from llmcache.backends.postgres import PostgresBackend
from llmcache.cache import CacheManager
from llmcache.cache.tier import Held
from llmcache.codec import Codec
from llmcache.errors import BackendUnavailableError
from llmcache.types import CacheEntry, Recording


def _entry(number: int, **said: Any) -> CacheEntry:
    return CacheEntry(key(number), Recording(body=b"{}"), "chat", **{"created_at": 1.0, **said})


async def _put(backend: Backend, entries: Sequence[CacheEntry], name: str = "default") -> None:
    codec = Codec()
    await backend.put(
        name,
        [
            StoredEntry(
                each.key,
                codec.encode(each),
                each.model,
                each.tags,
                each.created_at,
                answered_by=each.answered_by or "",
            )
            for each in entries
        ],
    )


def _hundred() -> list[CacheEntry]:
    now = time.time()
    return [
        _entry(
            n,
            model=f"m{n % 5}",
            answered_by="m1" if n % 5 == 2 else None,
            tags=(f"t{n % 10}",),
            created_at=now - n * 100,
        )
        for n in range(100)
    ]


@pytest.fixture(params=["by the index", "through the table"])
def how(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "through the table":
        for name, value in {"_PAGE": 7, "_FEW": 2, "_SEARCHED_PAGES": 1}.items():
            monkeypatch.setattr(finding, name, value)


@pytest.mark.parametrize(
    ("criteria", "gone"),
    [
        ({"tag": "t3"}, set(range(3, 100, 10))),
        ({"tag": "nobody's"}, set()),
        ({"model": "m1"}, {n for n in range(100) if n % 5 in {1, 2}}),
        ({"model": "m2"}, set(range(2, 100, 5))),
        ({"older_than": 5_050}, set(range(51, 100))),
        ({"older_than": 0}, set(range(100))),
        ({"tag": "t2", "model": "m1"}, set(range(2, 100, 10))),
        ({"tag": "t2", "older_than": 5_050}, {52, 62, 72, 82, 92}),
        ({"model": "m1", "older_than": 9_550}, {96, 97}),
        ({"key": key(5), "tag": "t5"}, {5}),
        ({"key": key(5), "tag": "t6"}, set()),
    ],
    ids=str,
)
async def test_what_matches_all_criteria_goes_from_both(
    hybrid: HybridRedisPostgreSQLCache, how: None, criteria: dict[str, Any], gone: set[int]
) -> None:
    names = [key(n) for n in range(100)]
    for name in ("default", "other"):
        await _put(hybrid, _hundred(), name)
    cache = CacheManager(hybrid)
    assert await cache.invalidate(collection="default", **criteria) == len(gone)
    left = {key(n) for n in range(100) if n not in gone}
    assert set(await hybrid.redis.get("default", names)) == left
    assert set(await hybrid.postgres.get("default", names)) == left
    assert set(await hybrid.get("other", names)) == set(names)
    assert await cache.invalidate(**criteria) == len(gone), "the same from the other"


async def test_a_collection_is_emptied_of_more_than_one_batch(
    hybrid: HybridRedisPostgreSQLCache,
) -> None:
    for start in range(0, 2_500, 500):
        await _put(hybrid, [_entry(n) for n in range(start, start + 500)])
    await _put(hybrid, [_entry(1)], "other")
    cache = CacheManager(hybrid)
    assert await cache.invalidate(collection="default") == 2_500
    assert (await hybrid.count()).collections == {"other": (1, (await hybrid.count()).bytes)}
    assert [info.collection async for info in hybrid.redis.scan()] == ["other"]


async def test_only_what_is_in_doubt_is_read(
    hybrid: HybridRedisPostgreSQLCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _put(hybrid, _hundred())
    unsaid = [StoredEntry(key(n), Codec().encode(_entry(n, answered_by="m1"))) for n in (200, 201)]
    await hybrid.put("default", unsaid)
    read: list[str] = []
    real = hybrid.read

    async def noted(collection: str, keys: Sequence[str], /) -> Any:
        read.extend(keys)
        return await real(collection, keys)

    monkeypatch.setattr(hybrid, "read", noted)
    cache = CacheManager(hybrid)
    assert await cache.invalidate(tag="t3") == 10
    assert await cache.invalidate(older_than=5_050) == 2 + 49 - 5
    assert read == []
    await hybrid.put("default", unsaid)
    assert await cache.invalidate(model="nobody's") == 0
    assert sorted(read) == sorted([key(200), key(201)])
    assert await cache.invalidate(model="m1") == 2 + 20


@pytest.mark.parametrize("tag", ["a\0", "\0", "a\\0", "?", "größe", "'; --", "{}", "NULL", "\\"])
async def test_a_hostile_tag_is_neither_missed_nor_mistaken(
    hybrid: HybridRedisPostgreSQLCache, tag: str
) -> None:
    others = [other for other in ("a", "a\0", "a\\0", "?", "\ufffd", "") if other not in {tag, ""}]
    await _put(
        hybrid, [_entry(0, tags=(tag,)), *(_entry(n, tags=(t,)) for n, t in enumerate(others, 1))]
    )
    cache = CacheManager(hybrid)
    assert await cache.invalidate(tag=tag) == 1
    left = {key(n) for n in range(1, len(others) + 1)}
    assert set(await hybrid.get("default", [key(n) for n in range(10)])) == left


async def test_damage_does_not_keep_an_entry_from_going(postgres: PostgresBackend) -> None:
    await postgres.put("default", [StoredEntry(key(1), b"damaged", tags=("t",), answered_by="")])
    assert await CacheManager(postgres).invalidate(tag="t") == 1


async def test_memory_forgets_too(hybrid: HybridRedisPostgreSQLCache) -> None:
    entries = _hundred()
    await _put(hybrid, entries)
    cache = CacheManager(hybrid)
    for each in entries:
        cache.store.tier.put(("default", each.key), Held.of(each, None, "default"))
    await cache.invalidate(tag="t3")
    held = {name for _, name in cache.store.tier.places()}
    assert held == {key(n) for n in range(100) if n % 10 != 3}


async def test_a_store_that_is_down_is_an_error_of_an_invalidation(
    redis_server: Any,
) -> None:
    """Removing is asked for: nobody may believe that it was done."""
    nobody = "postgresql://postgres@127.0.0.1:9/x"
    async with HybridRedisPostgreSQLCache(nobody, redis_server.url) as hybrid:
        for criteria in ({"tag": "t"}, {"model": "m"}, {"older_than": 1}, {"collection": "c"}):
            with pytest.raises(BackendUnavailableError):
                await CacheManager(hybrid).invalidate(**criteria)  # type: ignore[arg-type]


async def test_totals_are_exact_on_request(
    hybrid: HybridRedisPostgreSQLCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _put(hybrid, _hundred())
    cache = CacheManager(hybrid)
    monkeypatch.setattr(finding, "_SAMPLED_PAGES", 1)
    assert (await cache.stats()).estimated
    exact = await cache.stats(exact=True)
    assert (exact.entries, exact.estimated) == (100, False)


async def test_who_served_is_counted(hybrid: HybridRedisPostgreSQLCache) -> None:
    await _put(hybrid.postgres, [_entry(n) for n in range(3)])
    await hybrid.redis.put("default", [StoredEntry(key(3), b"x")])
    await hybrid.get("default", [key(n) for n in range(6)])
    assert (hybrid.near_hits, hybrid.far_hits) == (1, 3)


async def test_what_an_operator_reads_stays_out_of_redis(
    hybrid: HybridRedisPostgreSQLCache,
) -> None:
    await _put(hybrid.postgres, [_entry(n) for n in range(3)])
    cache = CacheManager(hybrid)
    assert (await cache.verify()).checked == 3
    assert await cache.invalidate(model="m", tag="t") == 0
    assert [info async for info in hybrid.redis.scan()] == []
