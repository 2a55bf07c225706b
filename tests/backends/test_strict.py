"""What is wrong with the servers: an error at start for who is strict, a warning for others."""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeAlias

import asyncpg
import pytest
import redis as driver
from server_support import own_database

from llmcache import OpenAIProvider
from llmcache.backends import _pg_database as database
from llmcache.backends._pg_sql import Migration, migrations
from llmcache.backends.hybrid import HybridRedisPostgreSQLCache
from llmcache.errors import BackendUnavailableError, ConfigurationError, LLMCacheError
from llmcache.testing import DemoUpstream
from llmcache.testing.servers import PostgresServer, RedisServer

_SECRET = "hunter22"

Make: TypeAlias = Callable[..., OpenAIProvider]


def _as(url: str, login: str) -> str:
    """Return `url` with another user and password."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{login}@{rest.rpartition('@')[2]}"


@pytest.fixture
async def wrong(
    postgres_server: PostgresServer, redis_server: RedisServer
) -> AsyncIterator[Callable[[str], dict[str, Any]]]:
    """A function from the name of a fault to the settings that have it."""
    role = f"r{uuid.uuid4().hex}"
    async with own_database(postgres_server) as dsn:
        admin = await asyncpg.connect(dsn)
        async with HybridRedisPostgreSQLCache(dsn, redis_server.url) as made:
            await made.open()
        await admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{_SECRET}'")
        await admin.execute(f"GRANT USAGE ON SCHEMA llmcache TO {role}")
        await admin.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA llmcache TO {role}")
        with driver.Redis.from_url(redis_server.url) as client:
            client.execute_command(
                *("ACL", "SETUSER", role, "on", f">{_SECRET}", "~*", "+get", "+mget", "+set")
            )
            base, _, _ = dsn.rpartition("/")
            login = f"{role}:{_SECRET}"
            faults = {
                "postgres: wrong password": {"pg_dsn": _as(dsn, f"postgres:{_SECRET}")},
                "postgres: missing database": {"pg_dsn": f"{base}/nowhere"},
                "postgres: missing privilege": {"pg_dsn": _as(dsn, login)},
                "postgres: unreachable": {"pg_dsn": f"postgresql://u:{_SECRET}@127.0.0.1:9/x"},
                "postgres: wrong setting": {"pg_dsn": f"{dsn}?sslmode=maybe"},
                "redis: wrong password": {"redis_url": _as(redis_server.url, f":{_SECRET}")},
                "redis: missing database": {
                    "redis_url": f"{redis_server.url.rpartition('/')[0]}/999"
                },
                "redis: missing privilege": {"redis_url": _as(redis_server.url, login)},
                "redis: unreachable": {"redis_url": f"redis://:{_SECRET}@127.0.0.1:9"},
                "redis: wrong setting": {"redis_url": f"{redis_server.url}?db=none"},
            }
            good = {"pg_dsn": dsn, "redis_url": redis_server.url}
            yield lambda name: {**good, **faults.get(name, {})}
            client.execute_command("ACL", "DELUSER", role)
        await admin.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
        await admin.close()


@pytest.fixture
def make(upstream: DemoUpstream) -> Make:
    def made(**options: Any) -> OpenAIProvider:
        return OpenAIProvider(
            "demo",
            base_url=upstream.base_url,
            api_key="sk-test",
            **{"cache_backend": "pg_redis", "cache_options": {"deadline": 5.0}, **options},
        )

    return made


FAULTS = {
    "postgres: wrong password": (ConfigurationError, "check the user and password in pg_dsn"),
    "postgres: missing database": (ConfigurationError, "create the database"),
    "postgres: missing privilege": (ConfigurationError, "insert on llmcache.entries"),
    "postgres: unreachable": (BackendUnavailableError, "pg open"),
    "postgres: wrong setting": (ConfigurationError, "correct pg_dsn"),
    "redis: wrong password": (ConfigurationError, "check the user and password in redis_url"),
    "redis: missing database": (ConfigurationError, "name a database"),
    "redis: missing privilege": (ConfigurationError, "the user needs this right"),
    "redis: unreachable": (BackendUnavailableError, "redis open"),
    "redis: wrong setting": (ConfigurationError, "redis_url"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_who_is_strict_is_told_at_start(
    make: Make, wrong: Any, upstream: DemoUpstream, fault: str
) -> None:
    kind, said = FAULTS[fault]
    provider = make(strict=True, **wrong(fault))
    try:
        for start in (provider.__aenter__, provider.open, provider.warm_cache):
            with pytest.raises(LLMCacheError, match=said) as raised:
                await start()
            assert type(raised.value) is kind
            assert _SECRET not in f"{raised.value}{raised.value.__cause__}"
        with pytest.raises(kind, match=said):
            await provider.warm_cache(["q"])
        assert not upstream.calls
    finally:
        await provider.close()


@pytest.mark.parametrize("fault", FAULTS)
async def test_others_are_warned_and_answered(
    make: Make,
    wrong: Any,
    upstream: DemoUpstream,
    caplog: pytest.LogCaptureFixture,
    fault: str,
) -> None:
    caplog.set_level(logging.WARNING, "llmcache")
    async with make(**wrong(fault)) as provider:
        assert not caplog.records, "nothing is connected before it is needed"
        await provider.open()
        await provider.warm_cache()
        result = await provider.complete("q", cache_response=True)
        assert result.content
    assert upstream.calls == 1
    assert any("failed, the call goes on without it" in r.message for r in caplog.records)
    assert _SECRET not in caplog.text


async def test_who_is_strict_and_has_it_right_starts(
    make: Make, wrong: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with make(strict=True, **wrong("nothing")) as provider:
        assert (await provider.warm_cache()).complete
    assert not caplog.records


@pytest.mark.parametrize(
    ("number", "said"), [(9_000, "upgrade llmcache"), (None, "llmcache db upgrade")]
)
async def test_a_schema_of_another_version_is_said(
    make: Make, wrong: Any, monkeypatch: pytest.MonkeyPatch, number: int | None, said: str
) -> None:
    settings = wrong("nothing")
    backend = HybridRedisPostgreSQLCache(**settings)
    if number is None:
        later = [*migrations(), Migration(9_000, "later", "SELECT 1")]
        monkeypatch.setattr(database, "migrations", lambda: later)
        backend.postgres._database._migrate = False
    else:
        connection = await asyncpg.connect(settings["pg_dsn"])
        await connection.execute("INSERT INTO llmcache.migrations VALUES ($1, 'later')", number)
        await connection.close()
    with pytest.raises(ConfigurationError, match=said):
        async with make(strict=True, cache_backend=backend):
            pytest.fail("it started")


async def test_both_that_are_wrong_are_said_at_once(make: Make, wrong: Any) -> None:
    settings = {
        "pg_dsn": wrong("postgres: wrong password")["pg_dsn"],
        "redis_url": wrong("redis: wrong password")["redis_url"],
    }
    with pytest.raises(ConfigurationError, match="pg_dsn") as raised:
        await make(strict=True, **settings).__aenter__()
    assert any("redis_url" in note for note in raised.value.__notes__)


@pytest.mark.parametrize("backend", ["fs", "memory", None])
async def test_a_cache_without_a_server_has_nothing_to_say(
    make: Make, tmp_path: Any, backend: str | None
) -> None:
    async with make(strict=True, cache_backend=backend, cache_dir=tmp_path) as provider:
        await provider.open()


def test_strict_is_the_provider_s_and_not_the_cache_s(make: Make) -> None:
    with pytest.raises(ConfigurationError, match="strict=…"):
        make(cache_backend="memory", cache_options={"strict": True})


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{_SECRET[:4]}/{_SECRET[4:]}@localhost",
        f"redis://:{_SECRET}[@localhost",
        f"redis+sentinel://:{_SECRET[:4]}#{_SECRET[4:]}@localhost:1,other:2/main",
    ],
)
def test_a_password_that_needs_quoting_is_not_taken_for_a_port(make: Make, url: str) -> None:
    """Drivers repeat what they take for the port."""
    with pytest.raises(ConfigurationError, match="needs quoting") as raised:
        make(cache_backend="redis", redis_url=url)
    assert _SECRET[:4] not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://u:{_SECRET[:4]}/{_SECRET[4:]}@localhost/db",
        f"postgresql://u:{_SECRET[:4]}@{_SECRET[4:]}:x@localhost/db",
        f"postgresql://u:{_SECRET[:4]}?{_SECRET[4:]}@localhost/db",
        f"postgresql://u:[{_SECRET}@localhost/db",
    ],
)
def test_so_it_is_in_a_dsn(make: Make, url: str) -> None:
    with pytest.raises(ConfigurationError, match="needs quoting") as raised:
        make(cache_backend="pg", pg_dsn=url)
    assert _SECRET[:4] not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p%40%2F@localhost/db",
        "postgresql://h1:5432,h2:5433/db",
        "postgresql://[::1]:5432/db",
        "postgresql:///db?host=/tmp",
        "postgres://localhost",
    ],
)
async def test_a_good_dsn_is_taken(make: Make, url: str) -> None:
    async with make(cache_backend="pg", pg_dsn=url) as provider:
        assert provider.cache.backend.name == "pg"
