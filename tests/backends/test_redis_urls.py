"""What a Redis is named by: its URL, a client, a prefix. What cannot work is refused at once."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from typing import Any
from urllib.parse import quote

import pytest
import redis.asyncio as driver
from backend_support import entry, key

from llmcache.backends._redis_url import behind_sentinel
from llmcache.backends.postgres import PostgresBackend
from llmcache.backends.redis import RedisBackend
from llmcache.errors import BackendUnavailableError, ConfigurationError
from llmcache.testing.servers import RedisServer

_SECRET = "hunter22"


@pytest.mark.parametrize(
    "url",
    [
        "hunter22@localhost",
        "hunter22:hunter22@localhost",
        "user:hunter22@localhost:6379/0",
        "host=localhost password=hunter22 dbname=x",
        "http://user:hunter22@localhost",
        "pass hunter22://x",
        "redis://user:hunter22/4@localhost",
        "redis+sentinel://:hunter22@localhost:26379",
        "redis+sentinel://:hunter22/4@localhost:26379/main",
        "redis+sentinel://user:12/hunter22@localhost:26379/main",
        "redis+sentinel://:4#hunter22@localhost:26379/main",
        "redis+sentinel://:hunter22?4@localhost:26379/main",
        "redis+sentinel://localhost:26379/main/0?password=hunter22",
        "redis+sentinel://localhost:26379/main/0?hunter22",
    ],
)
@pytest.mark.parametrize("make", [RedisBackend, PostgresBackend])
def test_what_is_refused_shows_no_password(make: Any, url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make(url)
    assert _SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_scheme_that_is_none_of_ours_is_named() -> None:
    with pytest.raises(ConfigurationError, match="not memcached"):
        RedisBackend("memcached://localhost")
    with pytest.raises(ConfigurationError, match="not mysql"):
        PostgresBackend("mysql://localhost")


def test_a_sentinels_url_is_read() -> None:
    url = "redis+sentinel://us%40er:p%40ss%2Fword@[::1]:26380,h2,10.0.0.3:1/my.master/1"
    behind = behind_sentinel(url)
    assert behind.sentinels == (("::1", 26380), ("h2", 26379), ("10.0.0.3", 1))
    assert (behind.service, behind.db) == ("my.master", 1)
    assert behind.to_server == {"username": "us@er", "password": "p@ss/word"}
    assert behind.to_sentinels == {}
    behind = behind_sentinel(
        "rediss+sentinel://:pw@h/m?sentinel_username=s%20u&sentinel_password=s%3Fp"
        "&ssl_ca_certs=/ca.pem&ssl_check_hostname=false"
    )
    tls = {"ssl": True, "ssl_ca_certs": "/ca.pem", "ssl_check_hostname": False}
    assert behind.to_server == {"username": None, "password": "pw", **tls}
    assert behind.to_sentinels == {"username": "s u", "password": "s?p", **tls}


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://127.0.0.1:26379",
        "redis+sentinel://127.0.0.1:26379/",
        "redis+sentinel:///main",
        "redis+sentinel://:pw@/main",
        "redis+sentinel://h1,,h2/main",
        "redis+sentinel://h1:port/main",
        "redis+sentinel://h1:70000/main",
        "redis+sentinel://[::1/main",
        "redis+sentinel://::1/main",
        "redis+sentinel://h1/main/first",
        "redis+sentinel://h1/main/0/1",
        "redis+sentinel://h1/ma in",
        "redis+sentinel://h1/main#0",
        "redis+sentinel://h1/main?db=1",
        "redis+sentinel://h1/main?socket_timeout=1",
        "redis+sentinel://h1/main?ssl_ca_certs=/ca.pem",
        "rediss+sentinel://h1/main?ssl_check_hostname=perhaps",
        "redis://localhost?decode_responses=true",
        "redis+cluster://localhost?decode_responses=1",
    ],
)
def test_a_url_that_cannot_work_is_refused_at_once(url: str) -> None:
    with pytest.raises(ConfigurationError, match="redis_url"):
        RedisBackend(url)


async def test_a_login_behind_sentinel_may_need_quoting(
    redis_server: RedisServer, sentinel: str
) -> None:
    user, password = f"us@er:{uuid.uuid4().hex}", "p@ss/wo:rd?#%2F"
    async with driver.Redis.from_url(redis_server.url) as admin:
        await admin.acl_setuser(
            user,
            enabled=True,
            passwords=[f"+{password}"],
            keys="*",
            channels="*",
            commands=["+@all"],
        )
        place = sentinel.rpartition("@")[2]
        login = f"{quote(user, safe='')}:{quote(password, safe='')}"
        async with RedisBackend(
            f"redis+sentinel://{login}@{place}", prefix=uuid.uuid4().hex
        ) as redis:
            async with asyncio.timeout(20):
                while True:  # it looks at the server first
                    with contextlib.suppress(BackendUnavailableError):
                        await redis.put("default", [entry(1)])
                        break
                    await asyncio.sleep(0.1)
            assert (await redis.get("default", [key(1)]))[key(1)] == b"data"
        await admin.acl_deluser(user)


async def test_with_tls_the_sentinels_are_asked_over_tls_too() -> None:
    first: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = await reader.read(1)
        if not first.done():
            first.set_result(said)
        writer.close()

    async with await asyncio.start_server(hear, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with RedisBackend(f"rediss+sentinel://127.0.0.1:{port}/main", timeout=5.0) as redis:
            with pytest.raises(BackendUnavailableError):
                await redis.get("default", [key(1)])
        assert await first == b"\x16", "a TLS handshake, and no command"


async def test_a_sentinel_that_hangs_does_not_hold_up_for_ever() -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with RedisBackend(f"redis+sentinel://127.0.0.1:{port}/main", timeout=0.2) as redis:
            with pytest.raises(BackendUnavailableError):
                async with asyncio.timeout(20):
                    await redis.put("default", [entry(1)])


@pytest.mark.parametrize("kind", [driver.Redis, driver.RedisCluster])
async def test_a_client_that_decodes_is_refused(kind: Any) -> None:
    client = kind(host="127.0.0.1", port=9, decode_responses=True)
    with pytest.raises(ConfigurationError, match="decode_responses"):
        RedisBackend(client=client)
    await client.aclose()
    bytes_alone = kind(host="127.0.0.1", port=9)
    RedisBackend(client=bytes_alone)
    await bytes_alone.aclose()


@pytest.mark.parametrize("prefix", ["", "{}", "{app}", "a}b", "a b", "a\n", "ä", "\ud800", None, 5])
def test_a_prefix_that_is_no_name_is_refused(prefix: Any) -> None:
    with pytest.raises(ConfigurationError, match="prefix"):
        RedisBackend("redis://localhost", prefix=prefix)


async def test_any_other_prefix_keeps_apart(redis_server: RedisServer) -> None:
    place = uuid.uuid4().hex
    names = [f"{place}:app*?[]\\^", f"{place}:app*?[]\\^2", f"{place}:app"]
    for number, name in enumerate(names):
        async with RedisBackend(redis_server.url, prefix=name) as redis:
            assert dict(await redis.get("default", [key(1)])) == {}
            await redis.put("default", [entry(1, b"%d" % number)])
    for number, name in enumerate(names):
        async with RedisBackend(redis_server.url, prefix=name) as redis:
            assert (await redis.get("default", [key(1)]))[key(1)] == b"%d" % number
            assert [info.key async for info in redis.scan()] == [key(1)]
