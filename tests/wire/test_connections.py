"""Connections that clients of one server share, and nothing else of one another."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import ssl
import subprocess
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
import httpx
import pytest

from llmcache import ConfigurationError, InvalidRequestError, MissingExtraError, OpenAIProvider
from llmcache.errors import ResponseTimeoutError
from llmcache.providers.connections import Connections, close_all, loop_connections
from llmcache.testing.upstream import DemoUpstream, Reply, Upstream, UpstreamRequest
from llmcache.timeouts import Timeouts

from .support import EVENT_STREAM, as_json, collect, completion, pieces, provider_of

GOOD = Reply(body=as_json(completion("hi")))


def opened(provider: OpenAIProvider) -> list[Any]:
    """Return the connections that a provider's pool has open."""
    pool = provider._transport._pool
    assert pool is not None
    connections: list[Any] = pool.client._transport._pool.connections
    return connections


async def test_clients_of_one_server_share_their_connections() -> None:
    async with DemoUpstream() as upstream:
        one, two = provider_of(upstream), provider_of(upstream, api_key="sk-other-0123456789")
        await one.complete("a")
        await two.complete("b")
        assert one._transport._pool is two._transport._pool
        assert len(opened(one)) == 1
        assert upstream.requests[0].headers["authorization"].endswith("test-secret-0123456789")
        assert upstream.requests[1].headers["authorization"].endswith("sk-other-0123456789")
        await one.close()
        assert (await two.complete("c")).ok
        pool = two._transport._pool
        assert pool is not None
        await two.close()
        assert pool.client.is_closed


async def test_the_path_and_the_user_of_a_base_url_do_not_part_connections() -> None:
    async with DemoUpstream() as upstream:
        host = upstream.base_url.partition("://")[2].partition("/")[0]
        async with (
            provider_of(upstream) as one,
            provider_of(upstream, base_url=f"http://ann:pw@{host}/v1/other") as two,
        ):
            await one.complete("a")
            await collect(two.stream("b"))
            assert one._transport._pool is two._transport._pool
            assert "Basic" not in upstream.requests[0].headers["authorization"]


async def test_two_servers_have_two_pools() -> None:
    async with DemoUpstream() as here, DemoUpstream() as there:
        async with provider_of(here) as one, provider_of(there) as two:
            await one.complete("a")
            await two.complete("a")
            assert one._transport._pool is not two._transport._pool


async def test_a_cookie_of_one_client_is_not_sent_by_another() -> None:
    def with_cookie(_: UpstreamRequest) -> Reply:
        return Reply(body=GOOD.body, headers={"set-cookie": "session=ann; Path=/"})

    async with Upstream(with_cookie) as upstream:
        async with provider_of(upstream) as one, provider_of(upstream) as two:
            await one.complete("a")
            await two.complete("b")
            await one.complete("c")
        assert all("cookie" not in request.headers for request in upstream.requests)


async def test_connections_of_one_s_own_are_shared_by_those_who_are_given_them() -> None:
    async with DemoUpstream() as upstream, Connections(max_connections=3) as connections:
        ours = [provider_of(upstream, connections=connections) for _ in range(3)]
        async with provider_of(upstream) as stranger:
            for provider in (*ours, stranger):
                await provider.complete("a")
            (pool,) = {provider._transport._pool for provider in ours}
            assert pool is not None
            assert stranger._transport._pool is not pool
        await asyncio.gather(*(p.complete(f"{n}") for n in range(5) for p in ours))
        assert len(opened(ours[0])) <= 3
    assert pool.client.is_closed
    for provider in ours:
        await provider.close()


async def test_all_connections_of_a_loop_close_at_once_and_open_again() -> None:
    async with DemoUpstream() as upstream:
        one, two = provider_of(upstream), provider_of(upstream)
        await one.complete("a")
        await two.complete("b")
        pool = one._transport._pool
        assert pool is not None
        await close_all()
        await close_all()
        assert pool.client.is_closed
        assert (await one.complete("c")).ok
        assert (await two.complete("d")).ok
        assert one._transport._pool is two._transport._pool is not pool
        await one.close()
        await two.close()


async def test_a_provider_that_is_dropped_does_not_keep_the_rest_open() -> None:
    async with DemoUpstream() as upstream:
        one, two = provider_of(upstream), provider_of(upstream)
        await one.complete("a")
        await two.complete("b")
        pool = two._transport._pool
        assert pool is not None
        await one.cache.aclose()
        del one
        gc.collect()
        await two.close()
        assert pool.client.is_closed


def test_loops_share_nothing() -> None:
    seen = []

    async def main() -> None:
        async with DemoUpstream() as upstream, provider_of(upstream) as provider:
            await provider.complete("a")
            seen.append(loop_connections())

    asyncio.run(main())
    asyncio.run(main())
    first, second = seen
    assert first is not second


@pytest.mark.parametrize("options", [{"max_connections": 0}, {"max_keepalive": 0}], ids=str)
def test_a_number_of_connections_that_cannot_be_is_refused(options: Any) -> None:
    with pytest.raises(ConfigurationError):
        Connections(**options)


def test_http_2_without_its_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'llmcache\[http2\]'"):
        Connections(http2=True)


# --- HTTP/2 -----------------------------------------------------------------------------------


class _Http2Server(asyncio.Protocol):
    """Answers every request on a connection with the same JSON."""

    connections = 0
    streams = 0

    def __init__(self) -> None:
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        self._h2 = h2.connection.H2Connection(config)

    def connection_made(self, transport: Any) -> None:
        type(self).connections += 1
        self._transport = transport
        self._h2.initiate_connection()
        transport.write(self._h2.data_to_send())

    def data_received(self, data: bytes) -> None:
        for event in self._h2.receive_data(data):
            if isinstance(event, h2.events.StreamEnded):
                type(self).streams += 1
                head = [(":status", "200"), ("content-type", "application/json")]
                self._h2.send_headers(event.stream_id, head)
                self._h2.send_data(event.stream_id, as_json(completion("two")), end_stream=True)
        self._transport.write(self._h2.data_to_send())


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    key, chain = tmp_path / "key.pem", tmp_path / "cert.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    made = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    try:
        subprocess.run(
            ["openssl", "req", "-x509", *made, "-keyout", key, "-out", chain, *subject],
            check=True, capture_output=True,
        )  # fmt: skip
    except FileNotFoundError:
        pytest.skip("no openssl to make a certificate with")
    return key, chain


async def test_http_2_carries_many_requests_on_one_connection(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    key, chain = certificate
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(chain, key)
    context.set_alpn_protocols(["h2"])
    trusting = ssl.create_default_context(cafile=str(chain))
    module = importlib.import_module("httpx._transports.default")
    monkeypatch.setattr(module, "create_ssl_context", lambda *_, **__: trusting)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Http2Server, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    async with (
        server,
        Connections(http2=True) as connections,
        OpenAIProvider(
            model="m", base_url=f"https://127.0.0.1:{port}/v1", api_key="sk-test-secret",
            cache_backend="memory", connections=connections, attempts=1,
        ) as provider,
    ):  # fmt: skip
        await provider.complete("first")
        answers = await asyncio.gather(*(provider.complete(str(n)) for n in range(10)))
        assert {answer.content for answer in answers} == {"two"}
        assert (_Http2Server.connections, _Http2Server.streams) == (1, 11)


# --- time-outs --------------------------------------------------------------------------------


async def test_every_phase_has_its_time_out() -> None:
    seen: list[Any] = []

    def answer(request: Any) -> Any:
        seen.append(request.extensions["timeout"])
        return httpx.Response(200, content=GOOD.body)

    phases = Timeouts(connect=1, read=2, write=3, pool=4)
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        options: Any = {"base_url": "http://x.test", "cache_backend": None, "http_client": client}
        await OpenAIProvider(model="m", timeout=phases, **options).complete("x")
        await OpenAIProvider(model="m", **options).complete("x", timeout=phases)
        await OpenAIProvider(model="m", **options).complete("x", timeout=Timeouts(read=None))
    assert seen[0] == seen[1] == {"connect": 1, "read": 2, "write": 3, "pool": 4}
    assert seen[2] == {"connect": 5.0, "read": None, "write": 600.0, "pool": None}


async def test_waiting_for_a_connection_has_a_limit_when_it_is_given_one() -> None:
    stalled = asyncio.Event()

    async def stall(_: UpstreamRequest) -> Reply:
        async def body() -> Any:
            yield b": wait\n\n"
            await stalled.wait()

        return Reply(body=body(), headers=EVENT_STREAM)

    async with (
        Upstream(stall) as upstream,
        Connections(max_connections=1) as connections,
        provider_of(upstream, connections=connections, attempts=1) as provider,
    ):
        held = asyncio.create_task(collect(provider.stream("x")))
        while not upstream.calls:
            await asyncio.sleep(0.01)
        with pytest.raises(ResponseTimeoutError, match="no connection became free") as raised:
            await provider.complete("y", timeout=Timeouts(pool=0.05))
        assert raised.value.retryable
        held.cancel()
        await asyncio.wait([held])
        stalled.set()


@pytest.mark.parametrize("wrong", [0, -1, "5", True, float("nan"), [5]], ids=repr)
async def test_a_time_out_that_cannot_be_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidRequestError, match=r"^timeout"):
        Timeouts.of(wrong)
    with pytest.raises(InvalidRequestError, match=r"^timeout\.read"):
        Timeouts(read=wrong)
    with pytest.raises(InvalidRequestError, match=r"^timeout"):
        OpenAIProvider(model="m", timeout=wrong, cache_backend=None)


async def test_a_body_in_pieces_does_not_hold_the_place_longer_than_it_takes() -> None:
    def in_pieces(_: UpstreamRequest) -> Reply:
        return Reply(body=pieces([GOOD.body[:5], GOOD.body[5:]]))  # type: ignore[index]

    async with Upstream(in_pieces) as upstream, Connections(max_connections=1) as connections:
        async with provider_of(upstream, connections=connections) as provider:
            for number in range(3):
                await provider.complete(str(number))
            pool = provider._transport._pool
            assert pool is not None
            assert not pool.places.locked()
