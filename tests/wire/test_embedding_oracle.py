"""The official SDK as a second opinion on embeddings: what is sent, and what is read."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest
from openai import AsyncOpenAI
from openai.resources.embeddings import AsyncEmbeddings
from openai.types import CreateEmbeddingResponse

from llmcache.testing.upstream import Reply, Upstream, UpstreamRequest
from llmcache.types import EmbeddingResult

from .recorded import VECTORS, Exchange, each
from .sdk_parameters import asked, parameters
from .support import SECRET, as_json, provider_of, serving

REQUESTS: dict[str, tuple[Any, dict[str, Any]]] = {
    "text": ("a", {}),
    "no text": ("", {}),
    "unicode": ('naïve 日本 🙈\u2028\u0085\x00 \\ " é', {}),
    "list": (["a", "b"], {}),
    "list of one": (["a"], {}),
    "tokens": ([1, 2, 3], {}),
    "lists of tokens": ([[1, 2], [3]], {}),
    "model": ("a", {"model": "other/model"}),
    "dimensions": ("a", {"dimensions": 64}),
    "as decimals": ("a", {"encoding_format": "float"}),
    "as base64": ("a", {"encoding_format": "base64"}),
    "user": ("a", {"user": "u"}),
    "all": (["a", "b"], {"dimensions": 8, "encoding_format": "float", "user": "u"}),
}
NUMBERS = (0.5, -0.25, 1e-7, 3.0)
PACKED = base64.b64encode(struct.pack("<4f", *NUMBERS)).decode()

_KNOWN = parameters(AsyncEmbeddings.create)


def reply(request: UpstreamRequest) -> Reply:
    """Answer a vector per input, in the encoding that is asked for."""
    body = request.json()
    inputs = body["input"]
    count = len(inputs) if isinstance(inputs, list) and not isinstance(inputs[0], int) else 1
    vector = PACKED if body.get("encoding_format") == "base64" else list(NUMBERS)
    rows = [{"object": "embedding", "index": i, "embedding": vector} for i in range(count)]
    usage = {"prompt_tokens": 3, "total_tokens": 3}
    return Reply(body=as_json({"object": "list", "data": rows, "model": "m", "usage": usage}))


def check_fields(ours: EmbeddingResult, theirs: CreateEmbeddingResponse) -> None:
    """Check every field that both have."""
    vectors = [item.embedding for item in sorted(theirs.data, key=lambda item: item.index)]
    # Asked for base64 in so many words, the SDK hands out the text that came.
    read = [_numbers(vector) if isinstance(vector, str) else tuple(vector) for vector in vectors]
    assert list(ours.embeddings) == read
    assert ours.model == theirs.model
    assert ours.usage is not None
    assert ours.usage.total_tokens == theirs.usage.total_tokens
    assert ours.usage.output_tokens == 0


def _numbers(text: str) -> tuple[float, ...]:
    packed = base64.b64decode(text)
    return struct.unpack(f"<{len(packed) // 4}f", packed)


def test_every_parameter_of_the_official_sdk_has_a_case() -> None:
    named = asked(options for _, options in REQUESTS.values())
    assert named | {"input"} == _KNOWN


@pytest.mark.parametrize(("inputs", "options"), REQUESTS.values(), ids=REQUESTS)
async def test_a_request_is_sent_and_its_answer_read_as_by_the_official_sdk(
    inputs: Any, options: dict[str, Any]
) -> None:
    async with serving(reply) as (provider, upstream):
        ours = await provider.embed(inputs, **options)
        async with AsyncOpenAI(base_url=upstream.base_url, api_key=SECRET, max_retries=0) as client:
            told = {"model": "demo", "input": inputs, **options}
            theirs = await client.embeddings.create(**told)
        first, second = upstream.requests
        assert first.path == second.path == "/v1/embeddings"
        assert first.headers["authorization"] == second.headers["authorization"]
        assert first.headers["content-type"] == second.headers["content-type"]
        assert first.json() == second.json()
        check_fields(ours, theirs)


@pytest.mark.parametrize(("asked_for", "sent"), [("float", PACKED), ("base64", list(NUMBERS))])
async def test_a_server_that_answers_another_encoding_is_understood(
    asked_for: Any, sent: Any
) -> None:
    """The SDK decodes base64 only where it asked for it by itself."""
    rows = [{"object": "embedding", "index": 0, "embedding": sent}]
    body = {"object": "list", "data": rows, "model": "m", "usage": {"total_tokens": 1}}
    async with serving(Reply(body=as_json(body))) as (provider, _):
        result = await provider.embed("a", encoding_format=asked_for, cache_response=True)
        # base64 holds numbers of four bytes.
        assert result.embedding == pytest.approx(NUMBERS, rel=1e-6)
        assert (await provider.embed("a", mode="offline")) == result


async def check_recorded(exchange: Exchange) -> None:
    inputs, options = exchange.embedding()
    async with Upstream(lambda _: exchange.reply()) as upstream, provider_of(upstream) as provider:
        ours = await provider.embed(inputs, **options)
        async with AsyncOpenAI(base_url=upstream.base_url, api_key=SECRET, max_retries=0) as client:
            told: dict[str, Any] = dict(exchange.asked)
            more = {name: told.pop(name) for name in exchange.asked if name not in _KNOWN}
            theirs = await client.embeddings.create(**told, extra_body=more)
        check_fields(ours, theirs)


async def test_recorded_vectors_are_read_as_by_the_official_sdk(
    embeddings: list[Exchange],
) -> None:
    rows = [e for e in embeddings if not e.is_error]
    assert await each(rows, check_recorded) == VECTORS
