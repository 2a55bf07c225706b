"""Every place of an answer holding every wrong thing: an answer or a typed error, never a crash."""

from __future__ import annotations

import base64
import copy
import json
import struct
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from llmcache import CompletionResult, OpenAIProvider, ProviderError
from llmcache.types import EmbeddingResult

from .support import USAGE, call_piece, chunk, collect, completion, final

DEEP: list[Any] = []
for _ in range(600):
    DEEP = [DEEP]

WRONG: dict[str, Any] = {
    "null": None,
    "true": True,
    "false": False,
    "0": 0,
    "-1": -1,
    "1.5": 1.5,
    "huge": 10**30,
    "1e300": 1e300,
    "empty text": "",
    "text": "text",
    "surrogate pair": "\U0001f648",
    "[]": [],
    "[null]": [None],
    "[text]": ["text"],
    "[[]]": [[]],
    "{}": {},
    "{x: null}": {"x": None},
    "{text: 7}": {"text": 7, "type": "text"},
}
Path = tuple[str | int, ...]


def places(value: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the path of every value inside `value`, itself included."""
    yield path
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, item in items:
        yield from places(item, (*path, key))


def replaced(value: Any, path: Path, wrong: Any) -> Any:
    """Return a copy of `value` with `wrong` at `path`."""
    if not path:
        return wrong
    twin = copy.deepcopy(value)
    holder = twin
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = wrong
    return twin


@asynccontextmanager
async def answering(body: list[bytes]) -> AsyncGenerator[OpenAIProvider, None]:
    """Open a provider whose server answers what is in `body` now, without a network."""
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=body[0]))
    async with (
        httpx.AsyncClient(transport=transport) as client,
        OpenAIProvider(
            model="m",
            base_url="http://x.test",
            cache_backend="memory",
            http_client=client,
            attempts=1,
        ) as provider,
    ):
        yield provider


async def tried(
    place: Path, template: Any, ask: Any, things: Mapping[str, Any] = WRONG
) -> dict[str, str]:
    """Put every wrong thing at a place, and return which of them crash and how."""
    crashes: dict[str, str] = {}
    body = [b""]
    async with answering(body) as provider:
        for name, wrong in things.items():
            body[0] = _encoded(replaced(template, place, wrong))
            try:
                await ask(provider, name)
            except ProviderError:
                continue
            except Exception as error:  # noqa: BLE001 - the whole point
                crashes[name] = repr(error)[:200]
    return crashes


def _encoded(value: Any) -> bytes:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return (
            b"".join(b"data: " + json.dumps(item).encode() + b"\n\n" for item in value)
            + b"data: [DONE]\n\n"
        )
    return json.dumps(value).encode()


WHOLE = completion("hi")
WHOLE["choices"][0]["message"] |= {
    "refusal": None,
    "reasoning": "so",
    "reasoning_details": [{"type": "reasoning.text", "text": "so", "index": 0}],
    "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    "audio": {"id": "a", "data": "AAAA", "transcript": "hi"},
}
WHOLE["choices"][0]["logprobs"] = {"content": [{"token": "hi", "logprob": -0.5, "bytes": [1]}]}
WHOLE["usage"] = {
    **USAGE,
    "prompt_tokens_details": {"cached_tokens": 1},
    "completion_tokens_details": {"reasoning_tokens": 1},
    "cost": 0.5,
}
WHOLE["x_groq"] = {"id": "r", "usage": USAGE}
TWO = {**WHOLE, "choices": [WHOLE["choices"][0], {**WHOLE["choices"][0], "index": 1}]}
STREAM = [
    chunk({"role": "assistant", "content": "hi", "reasoning": "so"}, index=0),
    chunk({"refusal": "no"}, choice={"logprobs": {"content": [{"token": "hi"}]}}),
    chunk({"reasoning_details": [{"index": 0, "text": "so"}]}),
    chunk({"reasoning_details": [{"index": 0, "text": "so"}]}),
    chunk(call_piece(0, "{", id="c", type="function", name="f")),
    chunk(call_piece(0, "}", id="c", type="function", name="f")),
    chunk({"content": "b"}, index=1),
    chunk(finish="stop"),
    chunk(finish="stop", index=1),
    chunk(
        usage={**USAGE, "cost": 0.5, "prompt_tokens_details": {"cached_tokens": 1}},
        x_groq={"usage": USAGE},
    ),
]
VECTOR = base64.b64encode(struct.pack("<3f", 1, 2, 3)).decode()
VECTORS = {
    "data": [{"index": 0, "embedding": VECTOR}, {"index": 1, "embedding": [1.0, 2.0, 3.0]}],
    "model": "m",
    "usage": {"prompt_tokens": 2, "total_tokens": 2, "cost": 0.5},
}


async def ask_whole(provider: OpenAIProvider, name: str) -> None:
    await again(provider, name, await provider.complete(name, cache_response=True))


async def again(provider: OpenAIProvider, name: str, live: CompletionResult) -> None:
    """Check that a strange answer that was stored comes back as it was."""
    assert live.to_message().to_dict()
    assert CompletionResult.from_dict(json.loads(json.dumps(live.to_dict())))
    assert live.cache is not None
    if live.cache.stored:
        assert await provider.complete(name, mode="offline") == live
        assert final(await collect(provider.stream(name, mode="offline"))) == live


async def ask_stream(provider: OpenAIProvider, name: str) -> None:
    await again(provider, name, final(await collect(provider.stream(name, cache_response=True))))


async def ask_vectors(provider: OpenAIProvider, name: str) -> None:
    inputs = [f"{name} x", f"{name} y"]
    live = await provider.embed(inputs, cache_response=True)
    assert EmbeddingResult.from_dict(json.loads(json.dumps(live.to_dict()))) == live
    assert await provider.embed(inputs, mode="offline") == live
    assert all(vector and all(type(n) is float for n in vector) for vector in live.embeddings)
    assert len(live.embeddings) == 2


def at(template: Any) -> list[Any]:
    """Return the places of a template, but of its second choice only the first level."""
    found = [p for p in places(template) if p[:2] != ("choices", 1) or len(p) < 4]
    found = [p for p in found if p or not isinstance(template, list)]
    return [pytest.param(place, id=str(place)) for place in found]


@pytest.mark.parametrize("place", at(TWO))
async def test_a_whole_answer_with_anything_anywhere(place: Path) -> None:
    assert await tried(place, TWO, ask_whole) == {}


@pytest.mark.parametrize("place", at(STREAM))
async def test_a_stream_with_anything_anywhere(place: Path) -> None:
    assert await tried(place, STREAM, ask_stream) == {}


@pytest.mark.parametrize("place", at(VECTORS))
async def test_vectors_with_anything_anywhere(place: Path) -> None:
    assert await tried(place, VECTORS, ask_vectors) == {}


@pytest.mark.parametrize(
    ("template", "ask"),
    [
        pytest.param(TWO, ask_whole, id="whole"),
        pytest.param(STREAM, ask_stream, id="stream"),
        pytest.param(VECTORS, ask_vectors, id="vectors"),
    ],
)
async def test_nesting_is_no_crash(template: Any, ask: Any) -> None:
    crashes = {p: await tried(p, template, ask, {"deep": DEEP}) for p in places(template) if p}
    assert {place: crash for place, crash in crashes.items() if crash} == {}
