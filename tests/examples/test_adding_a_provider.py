"""The provider of the example keeps a provider's promises, against a stand-in for its server."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from llmcache import (
    CacheManager,
    InvalidRequestError,
    MemoryBackend,
    StreamInterruptedError,
    stream_to_string,
)
from llmcache.errors import InvalidResponseError
from llmcache.providers.base import Provider
from llmcache.testing import ProviderTests
from llmcache.testing.upstream import Reply, Upstream, UpstreamRequest

_PATH = Path(__file__).resolve().parents[2] / "examples" / "adding_a_provider.py"


def _example() -> Any:
    spec = importlib.util.spec_from_file_location("adding_a_provider", _PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


example = _example()


class CohereStandIn(Upstream):
    """Answers as Cohere's server would, and fails when it is told to."""

    def __init__(self) -> None:
        super().__init__(self._reply)
        self.statuses: list[int] = []

    def _reply(self, request: UpstreamRequest) -> Reply:
        assert request.path == "/v2/chat"
        if self.statuses:
            return Reply(self.statuses.pop(), b'{"id": "1", "message": "made to fail"}')
        reply: Reply = example.stand_in(request)
        return reply


def open_provider(upstream: Upstream) -> Any:
    url = upstream.base_url.removesuffix("/v1")
    cache = CacheManager(MemoryBackend())
    return example.CohereProvider("command", base_url=url, api_key="a-secret", cache=cache)


class TestCohereProvider(ProviderTests):
    embeds = False

    @pytest.fixture
    async def server(self) -> AsyncIterator[CohereStandIn]:
        async with CohereStandIn() as server:
            self.server = server
            yield server

    @pytest.fixture
    async def provider(self, server: CohereStandIn) -> AsyncIterator[Provider]:
        async with open_provider(server) as provider:
            yield provider

    def upstream_calls(self, provider: Any) -> int:
        return self.server.calls

    def fail_next(self, provider: Any, status: int) -> bool:
        self.server.statuses.append(status)
        return True


async def test_its_options_are_sent_by_their_names_there() -> None:
    async with CohereStandIn() as server, open_provider(server) as provider:
        await provider.complete("Hi", temperature=0, top_p=0.5, stop=["a"], max_tokens=None)
        await provider.complete("Hi", extra_body={"documents": ["d"]})
        bodies = [request.json() for request in server.requests]
        with pytest.raises(InvalidRequestError, match=r"^think: unknown option"):
            await provider.complete("Hi", think=True)
    asked = {"model": "command", "messages": [{"role": "user", "content": "Hi"}]}
    assert bodies == [
        {**asked, "temperature": 0, "p": 0.5, "stop_sequences": ["a"]},
        {**asked, "documents": ["d"]},
    ]


async def test_a_whole_answer_is_asked_for_whatever_the_body_says_of_streams() -> None:
    said = {"stream": True, "stream_options": {"x": 1}, "documents": ["d"]}
    async with CohereStandIn() as server, open_provider(server) as provider:
        result = await provider.complete("Hi", extra_body=said)
        assert result.content == "You said: Hi"
        assert await stream_to_string(provider.stream("Hi", extra_body={"stream": False}))
        whole, streamed = [request.json() for request in server.requests]
    assert whole.keys() == {"model", "messages", "documents"}
    assert streamed["stream"] is True


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{}", InvalidResponseError),
        (b"[]", InvalidResponseError),
        (b"", InvalidResponseError),
    ],
)
async def test_what_it_cannot_read_is_said(body: bytes, kind: type[Exception]) -> None:
    async with Upstream(lambda _: Reply(body=body)) as server, open_provider(server) as provider:
        with pytest.raises(kind, match="cohere"):
            await provider.complete("Hi", attempts=1)


async def test_a_stream_without_its_end_is_no_answer() -> None:
    body = b'data: {"type":"message-start","id":"1"}\n\n'
    async with Upstream(lambda _: Reply(body=body)) as server, open_provider(server) as provider:
        with pytest.raises(StreamInterruptedError):
            await stream_to_string(provider.stream("Hi", cache_response=True))
