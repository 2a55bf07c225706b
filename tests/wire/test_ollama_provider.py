"""`OllamaProvider` keeps a provider's promises; where it calls, its models, its tags, its keys."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import ollama
import pytest
from ollama._client import _parse_host

from llmcache import (
    InvalidRequestError,
    NotFoundError,
    OllamaProvider,
    ProviderError,
    ServerError,
)
from llmcache.errors import InvalidResponseError, StreamInterruptedError
from llmcache.providers.base import Provider
from llmcache.providers.ollama_models import PullProgress
from llmcache.testing import ProviderTests
from llmcache.testing.upstream import Reply, UpstreamRequest

from .ollama_support import OllamaUpstream, host_of, ndjson, ollama_of, serving
from .support import SECRET, as_json, collect, final, stored
from .test_secrets import check_clean


class TestOllamaProvider(ProviderTests):
    @pytest.fixture
    async def server(self) -> AsyncIterator[OllamaUpstream]:
        async with OllamaUpstream() as server:
            self.server = server
            yield server

    @pytest.fixture
    async def provider(self, server: OllamaUpstream) -> AsyncIterator[Provider]:
        async with ollama_of(server) as provider:
            yield provider

    def upstream_calls(self, provider: OllamaProvider) -> int:
        return len(self.server.asked)

    def fail_next(self, provider: OllamaProvider, status: int) -> bool:
        self.server.statuses.append(status)
        return True


class TestOllamaProviderPinnedOnFiles(TestOllamaProvider):
    @pytest.fixture
    async def provider(self, server: OllamaUpstream, tmp_path: Path) -> AsyncIterator[Provider]:
        server.digests["another:latest"] = "sha256:cc"
        options: dict[str, Any] = {"cache_backend": "fs", "cache_dir": tmp_path}
        async with ollama_of(server, pin_digest=True, **options) as provider:
            yield provider


# --- generate ---------------------------------------------------------------------------------


async def test_a_prompt_is_cached_as_a_chat_is() -> None:
    async with OllamaUpstream() as server, ollama_of(server) as provider:
        first = await provider.generate("Once", cache_response=True, suffix="end")
        again = await provider.generate("Once", cache_response=True, suffix="end")
        other = await provider.generate("Once", cache_response=True)
        assert [r.cache.status for r in (first, again, other) if r.cache] == ["miss", "hit", "miss"]
        assert again == first != other
        live = await collect(provider.generate_stream("Twice", cache_response=True))
        replayed = await collect(provider.generate_stream("Twice", cache_response=True))
        assert live == replayed
        assert await provider.generate("Twice", mode="offline") == final(live)
        assert len(server.asked) == 3
        with pytest.raises(InvalidRequestError, match=r"^tools: unknown option"):
            await provider.generate("x", tools=[])  # type: ignore[call-arg]


# --- where it calls ---------------------------------------------------------------------------

HOSTS = [
    None, "", "1.2.3.4", ":56789", "1.2.3.4:56789", "http://1.2.3.4", "https://1.2.3.4",
    "https://1.2.3.4:56789", "example.com", "example.com:56789", "http://example.com",
    "https://example.com:56789", "example.com/", "example.com:56789/", "example.com/path",
    "example.com:56789/path/", "https://example.com:56789/path/", "[0001:002:003:0004::1]",
    "[0001:002:003:0004::1]:56789", "http://[0001:002:003:0004::1]", "[0001:002:003:0004::1]/path",
]  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("by", ["base_url", "host", "environment"])
async def test_the_host_is_read_as_by_the_official_client(
    host: str | None, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"cache_backend": None}
    if by == "environment":
        monkeypatch.setenv("OLLAMA_HOST", host or "")
    else:
        options[by] = host
    provider = OllamaProvider(**options)
    theirs = _parse_host(host).replace(":80", "").replace(":443", "")
    assert provider._url("api/chat") == f"{theirs}/api/chat"


@pytest.mark.parametrize("host", ["1.2.3.4:port", "ftp://x", "http://", "a b"])
def test_an_address_that_is_none_is_refused(host: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"^base_url: "):
        OllamaProvider(base_url=host, cache_backend=None)


async def test_an_empty_key_is_no_key_and_none_is_the_environment_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OLLAMA_API_KEY", SECRET)
    async with OllamaUpstream() as server:
        for key in ("", None):
            async with ollama_of(server, api_key=key) as provider:
                await provider.complete("q")
        foreign, own = (request.headers.get("authorization") for request in server.requests)
    assert (foreign, own) == (None, f"Bearer {SECRET}")


def test_digest_seconds_are_seconds() -> None:
    with pytest.raises(InvalidRequestError):
        OllamaProvider(digest_seconds=0, cache_backend=None)


# --- models -----------------------------------------------------------------------------------


async def test_models_are_listed_by_name_and_never_cached() -> None:
    async with OllamaUpstream() as server, ollama_of(server) as provider:
        assert await provider.is_available()
        assert await provider.list_models() == ["demo:latest", "other:1b"]
        assert await provider.has_model("demo")
        assert await provider.has_model("demo:latest")
        assert await provider.has_model()
        assert not await provider.has_model("other")
        async with ollama.AsyncClient(host_of(server)) as client:
            listed = await client.list()
        assert [m.model for m in listed.models] == await provider.list_models()
        server.digests = {}
        assert await provider.list_models() == []
        assert await stored(provider) == []


async def test_a_server_that_is_not_there_is_not_available() -> None:
    async with OllamaUpstream() as server:
        gone = host_of(server)
    async with OllamaProvider(base_url=gone, cache_backend=None) as provider:
        assert not await provider.is_available()
    for reply in (Reply(500), Reply(404), Reply(body=b"<html>"), Reply(body=b'{"models": 5}')):
        async with serving(reply) as (provider, upstream):
            assert not await provider.is_available()
            assert upstream.calls == 1


@pytest.mark.parametrize(
    "body", [b"[]", b"{}", b'{"models":[5]}', b'{"models":[{}]}', b'{"models":[{"name":5}]}', b"x"]
)
async def test_a_list_of_a_wrong_shape_is_refused(body: bytes) -> None:
    async with serving(Reply(body=body)) as (provider, _):
        with pytest.raises(InvalidResponseError):
            await provider.list_models()


async def test_a_model_is_shown() -> None:
    shown = {"capabilities": ["completion", "tools"], "model_info": {"a": 1}}
    async with serving(Reply(body=as_json(shown))) as (provider, upstream):
        assert await provider.show() == shown
        assert await provider.show("other", verbose=True) == shown
        bodies = [(request.path, request.json()) for request in upstream.requests]
    assert bodies == [
        ("/api/show", {"model": "demo"}),
        ("/api/show", {"model": "other", "verbose": True}),
    ]
    async with serving(Reply(404, b'{"error":"model \'x\' not found"}')) as (provider, _):
        with pytest.raises(NotFoundError):
            await provider.show("x")


PULL = [
    {"status": "pulling manifest"},
    {"status": "pulling aa", "digest": "sha256:aa", "total": 10},
    {"status": "pulling aa", "digest": "sha256:aa", "total": 10, "completed": 5},
    {"status": "verifying sha256 digest"},
    {"status": "success"},
]


async def test_a_pull_says_how_far_it_is() -> None:
    async with serving(Reply(body=ndjson(*PULL))) as (provider, upstream):
        steps = [step async for step in provider.pull_model("x:1b", insecure=True)]
        assert await provider.pull_model()
        async with ollama.AsyncClient(host_of(upstream)) as client:
            theirs = [p async for p in await client.pull("x:1b", insecure=True, stream=True)]
        bodies = [request.json() for request in upstream.requests]
    assert steps[2] == PullProgress("pulling aa", "sha256:aa", 10, 5)
    assert [step.fraction for step in steps] == [None, 0.0, 0.5, None, None]
    assert [(s.status, s.digest, s.total, s.completed) for s in steps] == [
        (p.status, p.digest, p.total, p.completed) for p in theirs
    ]
    assert bodies[0] == bodies[2] == {"model": "x:1b", "insecure": True, "stream": True}
    assert bodies[1] == {"model": "demo", "stream": True}


PULLS_THAT_FAIL: dict[str, tuple[list[Any], type[Exception]]] = {
    "an error": ([*PULL[:2], {"error": "no space left on device"}], ServerError),
    "an early end": (PULL[:-1], StreamInterruptedError),
    "nothing": ([], StreamInterruptedError),
    "no status": ([{"total": 5}], InvalidResponseError),
    "a status of a number": ([{"status": 5}], InvalidResponseError),
    "no line": (["pulling"], InvalidResponseError),
}


@pytest.mark.parametrize("name", PULLS_THAT_FAIL)
async def test_a_pull_that_fails_says_so(name: str) -> None:
    lines, kind = PULLS_THAT_FAIL[name]
    async with serving(Reply(body=ndjson(*lines))) as (provider, _):
        with pytest.raises(kind):
            await provider.pull_model("x")


async def test_a_model_is_fetched_when_it_is_not_there() -> None:
    def reply(request: UpstreamRequest) -> Reply:
        tags = as_json({"models": [{"name": "here:latest"}]})
        return Reply(body=tags if request.path == "/api/tags" else ndjson(*PULL))

    async with serving(reply) as (provider, upstream):
        assert await provider.ensure_model("here")
        assert [request.path for request in upstream.requests] == ["/api/tags"]
        assert await provider.ensure_model("x")
        assert [request.path for request in upstream.requests[1:]] == ["/api/tags", "/api/pull"]


# --- secrets ----------------------------------------------------------------------------------


async def _pulled(provider: OllamaProvider) -> None:
    await provider.pull_model("x")


ASKING: dict[str, Callable[[OllamaProvider], Awaitable[Any]]] = {
    "complete": lambda provider: provider.complete("x", cache_response=True),
    "stream": lambda provider: collect(provider.stream("x", cache_response=True)),
    "generate": lambda provider: provider.generate("x", cache_response=True),
    "generate_stream": lambda provider: collect(provider.generate_stream("x")),
    "embed": lambda provider: provider.embed("x", cache_response=True),
    "list_models": lambda provider: provider.list_models(),
    "show": lambda provider: provider.show(),
    "pull_model": _pulled,
    "ensure_model": lambda provider: provider.ensure_model(),
}


@pytest.mark.parametrize("status", [401, 200])
@pytest.mark.parametrize("name", ASKING)
async def test_a_server_that_echoes_the_key_does_not_put_it_into_the_error(
    name: str, status: int
) -> None:
    echo = Reply(status, as_json({"error": f"unauthorized: {SECRET}"}))
    async with serving(echo, api_key=SECRET, attempts=1) as (provider, upstream):
        assert SECRET not in repr(provider)
        with pytest.raises(ProviderError) as raised:
            await ASKING[name](provider)
        check_clean(raised.value)
        assert "unauthorized: [redacted]" in str(raised.value)
        assert upstream.requests[0].headers["authorization"] == f"Bearer {SECRET}"


async def test_the_key_is_in_no_entry(tmp_path: Path) -> None:
    async with OllamaUpstream() as server:
        options: dict[str, Any] = {"cache_backend": "fs", "cache_dir": tmp_path}
        async with ollama_of(server, api_key=SECRET, pin_digest=True, **options) as provider:
            for asking in list(ASKING.values())[:5]:
                await asking(provider)
    kept = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert kept
    assert not any(SECRET.encode() in data for data in kept)
