"""Damaged answers to whole calls of every API: a typed error and nothing stored, or the answer that is stored."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from llmcache import (
    AnthropicProvider,
    CacheMissError,
    OllamaProvider,
    OpenAIProvider,
    ProviderError,
    collect_stream,
)

from . import (
    claude,
    test_claude_mutations,
    test_embedding_mutations,
    test_mutations,
    test_ollama_mutations,
    test_responses_mutations,
)
from .streams import GENERATED
from .test_mutations import mutated

CALLS = 400  # of each API, after ten thousand that its decoder alone has had
URL = "http://x.test/v1"


async def complete(provider: Any, prompt: str, **options: Any) -> Any:
    return await provider.complete(prompt, **options)


async def stream(provider: Any, prompt: str, **options: Any) -> Any:
    return await collect_stream(provider.stream(prompt, **options))


async def generate(provider: Any, prompt: str, **options: Any) -> Any:
    return await provider.generate(prompt, **options)


async def generate_stream(provider: Any, prompt: str, **options: Any) -> Any:
    return await collect_stream(provider.generate_stream(prompt, **options))


async def embed(provider: Any, prompt: str, **options: Any) -> Any:
    return await provider.embed([f"{prompt} a", f"{prompt} b"], **options)


def openai(**options: Any) -> OpenAIProvider:
    return OpenAIProvider("m", base_url=URL, **options)


def responses(**options: Any) -> OpenAIProvider:
    return OpenAIProvider("m", base_url=URL, use_responses_api=True, **options)


def anthropic(**options: Any) -> AnthropicProvider:
    return AnthropicProvider("m", base_url=URL, **options)


def ollama(**options: Any) -> OllamaProvider:
    return OllamaProvider("m", base_url="http://x.test", **options)


@dataclass(frozen=True)
class API:
    """How one kind of call is made, and sound answers to it."""

    open: Callable[..., Any]
    ask: Callable[..., Any]
    bodies: Sequence[bytes]


def ollama_of(where: dict[str, tuple[str, bytes]], kind: str) -> list[bytes]:
    return [body for one, body in where.values() if one == kind]


lines, bodies = test_ollama_mutations.STREAMS, test_ollama_mutations.BODIES
APIS = {
    "chat": API(openai, complete, test_mutations.BODIES),
    "chat streamed": API(openai, stream, list(GENERATED.values())),
    "responses": API(responses, complete, test_responses_mutations.BODIES),
    "responses streamed": API(responses, stream, test_responses_mutations.STREAMS),
    "messages": API(anthropic, complete, test_claude_mutations.BODIES),
    "messages streamed": API(anthropic, stream, list(claude.GENERATED.values())),
    "ollama chat": API(ollama, complete, ollama_of(bodies, "ollama.chat")),
    "ollama chat streamed": API(ollama, stream, ollama_of(lines, "ollama.chat")),
    "ollama generate": API(ollama, generate, ollama_of(bodies, "ollama.generate")),
    "ollama generate streamed": API(
        ollama, generate_stream, ollama_of(lines, "ollama.generate")
    ),
    "openai vectors": API(openai, embed, test_embedding_mutations.OPENAI),
    "ollama vectors": API(ollama, embed, test_embedding_mutations.OLLAMA),
}  # fmt: skip


@pytest.mark.parametrize("name", APIS)
async def test_a_damaged_answer_is_an_error_or_what_is_stored(name: str) -> None:
    api, rng, body = APIS[name], random.Random(name), [b""]
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=body[0]))
    kept = lost = 0
    async with (
        httpx.AsyncClient(transport=transport) as client,
        api.open(
            api_key="k", cache_backend="memory", http_client=client, attempts=1
        ) as provider,
    ):  # fmt: skip
        for number in range(CALLS):
            body[0] = mutated(rng, rng.choice(api.bodies))
            live = None
            async with asyncio.timeout(20):
                try:
                    live = await api.ask(provider, str(number), cache_response=True)
                except ProviderError:
                    lost += 1
            try:
                stored = await api.ask(provider, str(number), mode="offline")
            except CacheMissError:
                continue
            kept += 1
            assert live is not None, f"an answer that raised is stored: {body[0]!r}"
            assert stored == live
    assert min(kept, lost) >= 10
    assert kept + lost <= CALLS
