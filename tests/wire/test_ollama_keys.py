"""Every field of Ollama's requests, as its own client types them, counts in the key as its table says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ollama
import pytest

from llmcache import OllamaProvider
from llmcache.keys import TABLES, Request, Verdict

REQUESTS = {
    "ollama.chat": ollama._types.ChatRequest,
    "ollama.generate": ollama._types.GenerateRequest,
}


@pytest.mark.parametrize("kind", REQUESTS)
def test_every_field_of_a_request_is_classified(kind: str) -> None:
    assert sorted(TABLES[kind]) == sorted(REQUESTS[kind].model_fields)


VALUES: dict[str, list[Any]] = {
    "think": [True, False, "low"],
    "format": ["json", {"type": "object", "properties": {"a": {}, "b": {}}}, {"type": "object", "properties": {"b": {}, "a": {}}}],
    "options": [{"seed": 1}, {"seed": 2}, {"num_ctx": 1}, {"seed": True}],
    "logprobs": [True, False],
    "top_logprobs": [1, 2],
    "tools": [[{"name": "f"}], [{"name": "g"}]],
    "suffix": ["a", "b"],
    "system": ["a", "b"],
    "template": ["a", "b"],
    "context": [[1], [2]],
    "raw": [True, False],
    "images": [["aGk="], ["aG8="]],
    "width": [1, 2],
    "height": [1, 2],
    "steps": [1, 2],
    "model": ["a", "b", "b:1"],
    "keep_alive": [0, 5, "5m"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "name"),
    [(k, n) for k in REQUESTS for n in TABLES[k] if n not in {"messages", "prompt", "stream"}],
)
async def test_a_field_counts_as_the_table_says(kind: str, name: str) -> None:
    provider: Any = OllamaProvider("base", cache_backend=None)
    make = provider._call if kind == "ollama.chat" else provider._generate_call
    keys = {make("q", {name: value}).request.key() for value in [None, *VALUES[name]]}
    neutral = TABLES[kind][name].verdict is Verdict.NEUTRAL
    assert len(keys) == (1 if neutral else 1 + len(VALUES[name]))


@pytest.mark.parametrize("name", ["truncate", "dimensions", "options", "keep_alive", "model"])
async def test_a_field_of_an_embedding_counts_unless_it_is_residency(name: str) -> None:
    values = {**VALUES, "truncate": [True, False], "dimensions": [1, 2]}[name]
    fields = set(ollama._types.EmbedRequest.model_fields)
    assert fields == {"model", "input", "truncate", "options", "keep_alive", "dimensions"}
    provider: Any = OllamaProvider("base", cache_backend=None)
    keys = {provider._embed_call("q", {name: value}).requests[0].key() for value in [None, *values]}
    assert len(keys) == (1 if name == "keep_alive" else 1 + len(values))


async def test_pictures_are_compared_by_their_bytes() -> None:
    provider: Any = OllamaProvider("base", cache_backend=None)
    one = provider._call([{"role": "user", "content": "q", "images": [b"png"]}], {})
    two = provider._call([{"role": "user", "content": "q", "images": ["cG5n\n"]}], {})
    assert one.request.key() == two.request.key()


# --- at every depth ---------------------------------------------------------------------------

_TYPES = ollama._types
_PROPERTY = {"type": "string", "items": {"type": "string"}, "description": "d", "enum": ["a", "b"]}
_PARAMETERS = {
    "type": "object",
    "defs": {"x": {"type": "string"}},
    "items": {"type": "string"},
    "required": ["p"],
    "properties": {"p": _PROPERTY},
}
_TOOL = {
    "type": "function",
    "function": {"name": "f", "description": "d", "parameters": _PARAMETERS},
}
_MESSAGE = {
    "role": "assistant",
    "content": "c",
    "thinking": "t",
    "images": ["aGk="],
    "tool_name": "n",
    "tool_calls": [{"function": {"name": "f", "arguments": {"a": {"b": [1, None]}}}}],
}
_FLOATS = "tfs_z typical_p repeat_penalty mirostat_tau mirostat_eta".split()
_OPTIONS: dict[str, Any] = {
    name: ["a", "b"] if name == "stop" else 0.5 if name in _FLOATS else 3
    for name in _TYPES.Options.model_fields
}
FULL: dict[str, dict[str, Any]] = {
    "ollama.chat": {
        "model": "m:1",
        "messages": [_MESSAGE],
        "tools": [_TOOL],
        "format": {"type": "object", "properties": {"a": {"type": "string"}}},
        "options": _OPTIONS,
        "think": "low",
        "logprobs": True,
        "top_logprobs": 2,
        "keep_alive": "5m",
        "stream": True,
    },
    "ollama.generate": {
        **{
            name: [1] if name == "context" else 4
            for name in ("context", "width", "height", "steps")
        },
        **dict.fromkeys(("prompt", "suffix", "system", "template", "format", "think"), "x"),
        "model": "m:1",
        "raw": True,
        "images": ["aGk="],
        "options": _OPTIONS,
        "logprobs": True,
        "top_logprobs": 2,
        "keep_alive": "5m",
        "stream": True,
    },
}


def test_the_full_requests_have_every_field_of_the_types() -> None:
    for kind, body in FULL.items():
        assert set(body) == set(REQUESTS[kind].model_fields)
    assert set(_MESSAGE) == set(_TYPES.Message.model_fields)
    assert set(_TOOL) == set(_TYPES.Tool.model_fields)
    assert set(_TOOL["function"]) == set(_TYPES.Tool.Function.model_fields)
    assert set(_PARAMETERS) == set(_TYPES.Tool.Function.Parameters.model_fields)
    assert set(_PROPERTY) == set(_TYPES.Tool.Function.Parameters.Property.model_fields)
    assert set(_TYPES.Message.ToolCall.model_fields) == {"function"}
    assert set(_TYPES.Message.ToolCall.Function.model_fields) == {"name", "arguments"}


def changed(value: Any) -> Iterator[Any]:
    """Yield `value` with each of its leaves changed, and with each of its parts left out."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield {k: v for k, v in value.items() if k != name}
            yield from ({**value, name: other} for other in changed(item))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield [*value[:i], *value[i + 1 :]]
            yield from ([*value[:i], other, *value[i + 1 :]] for other in changed(item))
    elif isinstance(value, bool):
        yield not value
    elif value is None:
        yield 0
    else:
        yield value + ("aGk=" if isinstance(value, str) else 1)


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k, body in FULL.items() for n in body])
def test_a_change_at_any_depth_counts(kind: str, name: str) -> None:
    body = FULL[kind]
    others = [{**body, name: other} for other in changed(body[name])]
    keys = {Request(kind, "http://127.0.0.1:11434/x", one).key() for one in [body, *others]}
    if TABLES[kind][name].verdict is Verdict.NEUTRAL:
        assert len(keys) == 1
    else:
        assert len(keys) == 1 + len(others)
