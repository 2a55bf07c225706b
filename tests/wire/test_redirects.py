"""Where a redirect leads, and what goes along: to another server, nothing that names the caller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import httpx2
import pytest

from llmcache.errors import ConnectionFailedError, InvalidResponseError
from llmcache.testing.upstream import Reply, UpstreamRequest

from .support import SECRET, as_json, completion, serving, sleeps
from .test_clients import provider_with

GOOD = Reply(body=as_json(completion("hi")))
HOME = "http://x.test/v1/chat/completions"


async def hops(
    moves: Mapping[str, str], module: Any = httpx, status: int = 307, **options: Any
) -> list[Any]:
    """Call through a client that follows redirects; return the requests that it made."""
    seen: list[Any] = []

    def answer(request: Any) -> Any:
        seen.append(request)
        location = moves.get(str(request.url))
        if location is None:
            return module.Response(200, content=GOOD.body)
        return module.Response(status, headers={"location": location})

    transport = module.MockTransport(answer)
    async with module.AsyncClient(transport=transport, follow_redirects=True, **options) as client:
        provider = provider_with(client, headers={"api-key": SECRET, "x-team": "blue"})
        result = await provider.complete(
            "x", extra_headers={"cookie": f"s={SECRET}"}, extra_body={"a": 1}, attempts=1
        )
    assert result.content == "hi"
    return seen


@pytest.mark.parametrize("module", [httpx, httpx2])
@pytest.mark.parametrize(
    "location",
    ["/v2/chat", "http://x.test/v2", "http://x.test:80/v2", "https://x.test/v2"],
)
async def test_the_same_server_gets_everything_again(location: str, module: Any) -> None:
    first, second = await hops({HOME: location}, module)
    assert second.method == "POST"
    assert second.content == first.content
    for name in ("authorization", "api-key", "x-team"):
        assert second.headers[name] == first.headers[name]


@pytest.mark.parametrize("module", [httpx, httpx2])
@pytest.mark.parametrize(
    "location",
    [
        "http://y.test/v1",
        "http://x.test:81/v1",
        "https://x.test:8443/v1",
        "http://x.test.y.test/",
        "//y.test/v1",
    ],
)
async def test_another_server_gets_the_body_and_no_header_that_names_the_caller(
    location: str, module: Any
) -> None:
    first, second = await hops({HOME: location}, module)
    assert second.content == first.content
    assert second.headers["content-type"] == "application/json"
    assert second.headers["host"] != "x.test"
    assert SECRET not in repr(list(second.headers.items()))
    assert not second.headers.keys() & {"authorization", "api-key", "cookie", "x-team"}


async def test_what_was_left_behind_does_not_come_back() -> None:
    *_, last = await hops({HOME: "http://y.test/a", "http://y.test/a": "http://x.test/b"})
    assert last.url.host == "x.test"
    assert "api-key" not in last.headers


@pytest.mark.parametrize("module", [httpx, httpx2])
async def test_the_clients_own_authentication_stays_behind(module: Any) -> None:
    first, second = await hops({HOME: "http://y.test/a"}, module, auth=("user", SECRET))
    assert first.headers["authorization"].startswith("Basic ")
    assert "authorization" not in second.headers


async def test_a_client_that_follows_none_is_a_typed_error() -> None:
    moved = Reply(307, b"", {"location": "http://y.test/"})
    async with (
        httpx.AsyncClient() as client,
        serving(moved, http_client=client) as (
            provider,
            upstream,
        ),
    ):
        with pytest.raises(InvalidResponseError) as raised:
            await provider.complete("x", cache_response=True)
        assert raised.value.status == 307
        assert upstream.calls == 1


async def test_redirects_without_end_are_a_typed_error() -> None:
    def again(request: UpstreamRequest) -> Reply:
        return Reply(307, b"", {"location": request.path})

    async with serving(again, attempts=2) as (provider, upstream):
        with pytest.raises(ConnectionFailedError, match="TooManyRedirects"):
            await provider.complete("x")
        assert upstream.calls == 2 * 21
        assert len(sleeps(provider)) == 1
