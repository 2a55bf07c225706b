"""What a call used: each API's words, and every usage object that was ever recorded."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from genai_prices.data_snapshot import get_snapshot

from llmcache.providers.usage import api_of_usage, parse_usage
from llmcache.types import Usage

KINDS = {
    "chat.completions": "chat",
    "responses": "responses",
    "messages": "messages",
    "embeddings": "embedding",
    "ollama.chat": "ollama.chat",
    "ollama.generate": "ollama.generate",
}
# What genai-prices calls those whose words it reads in a way of their own.
READERS = {
    "anthropic": "anthropic",
    "azure-openai": "azure",
    "cerebras": "cerebras",
    "deepseek": "deepseek",
    "groq": "groq",
    "mistral": "mistral",
    "moonshotai": "moonshotai",
    "openrouter": "openrouter",
    "perplexity": "perplexity",
    "xai": "x-ai",
}
FLAVORS = {"chat": "chat", "responses": "responses", "embedding": "embeddings"}
NAMES = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "input_tokens_cached": "cache_read_tokens",
    "input_tokens_cache_write": "cache_write_tokens",
    "input_tokens_cache_write_1h": "cache_write_1h_tokens",
    "input_tokens_audio": "input_audio_tokens",
    "output_tokens_audio": "output_audio_tokens",
    "reasoning_tokens": "output_reasoning_tokens",
}
# Where we read what the other reader does not, by what each says.
UNREAD = {
    "azure-openai/chat/azure_deepseek_reasoning_1.0.9af1003d.json": ("cache_read_tokens", 2, 0),
    "mistral/chat/test_multimodal_tool_return_matrix_tool_return_content_url_i.1.8f27d4f3.json": (
        "cache_read_tokens",
        48,
        0,
    ),
    "mistral/chat/test_non_pdf_document_url_error.1.61a3dc01.json": ("cache_read_tokens", 32, 0),
}
# Servers whose total is above the sum of what they list: they leave reasoning out.
HIDDEN_OUTPUT = {
    "compat-generativelanguage-googleapis-com/chat/test_compatible_api_with_tool_calls_without_id.0.81032cda.json",
    "compat-generativelanguage-googleapis-com/chat/test_compatible_api_with_tool_calls_without_id.0.9039fb7c.json",
    "compat-generativelanguage-googleapis-com/chat/test_compatible_api_with_tool_calls_without_id.1.c5763c07.json",
    "compat-unknown/chat/xai_tool_call.0.2cbacd1c.json",
}
# What only these objects are: a stream's second half, and a total without its parts.
PARTIAL = {"Missing value at `usage.input_tokens`", "Missing value at `usage.prompt_tokens`"}


def test_a_chat_completion_counts_cached_tokens_as_input() -> None:
    usage = parse_usage(
        {
            "prompt_tokens": 100,
            "completion_tokens": 20,
            "total_tokens": 120,
            "prompt_tokens_details": {
                "cached_tokens": 60,
                "cache_write_tokens": 7,
                "audio_tokens": 5,
            },
            "completion_tokens_details": {"reasoning_tokens": 8, "audio_tokens": 3},
        }
    )
    assert usage == Usage(
        input_tokens=100,
        output_tokens=20,
        total_tokens=120,
        input_tokens_cached=60,
        input_tokens_cache_write=7,
        input_tokens_audio=5,
        output_tokens_audio=3,
        reasoning_tokens=8,
    )


@pytest.mark.parametrize(
    "place",
    [
        {"prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 6},
        {"num_cached_tokens": 4},
        {"cached_tokens": 4},
        {"prompt_tokens_details": {"cached_tokens": 4}},
        {"prompt_tokens_details": None, "num_cached_tokens": 4},
    ],
)
def test_cached_tokens_stand_where_the_server_puts_them(place: dict[str, Any]) -> None:
    usage = parse_usage({"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11, **place})
    assert (usage.input_tokens, usage.input_tokens_cached) == (10, 4)


def test_an_anthropic_message_leaves_cached_tokens_out_of_its_input() -> None:
    usage = parse_usage(
        {
            "input_tokens": 10,
            "cache_read_input_tokens": 200,
            "cache_creation_input_tokens": 30,
            "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 10},
            "output_tokens": 50,
            "output_tokens_details": {"thinking_tokens": 40},
        },
        "messages",
    )
    assert usage == Usage(
        input_tokens=240,
        output_tokens=50,
        total_tokens=290,
        input_tokens_cached=200,
        input_tokens_cache_write=30,
        input_tokens_cache_write_1h=10,
        reasoning_tokens=40,
    )


def test_a_response_counts_as_a_chat_completion_does() -> None:
    usage = parse_usage(
        {
            "input_tokens": 8253,
            "input_tokens_details": {"cache_write_tokens": 9, "cached_tokens": 4224},
            "output_tokens": 84,
            "output_tokens_details": {"reasoning_tokens": 37},
            "total_tokens": 8337,
        },
        "responses",
    )
    assert usage == Usage(
        input_tokens=8253,
        output_tokens=84,
        total_tokens=8337,
        input_tokens_cached=4224,
        input_tokens_cache_write=9,
        reasoning_tokens=37,
    )


@pytest.mark.parametrize("api", ["ollama.chat", "ollama.generate"])
def test_an_ollama_answer_without_a_prompt_count_had_its_prompt_in_memory(api: str) -> None:
    assert parse_usage({"prompt_eval_count": 26, "eval_count": 298}, api).total_tokens == 324
    assert parse_usage({"eval_count": 3}, api) == Usage(output_tokens=3, total_tokens=3)


def test_an_embedding_reads_and_writes_nothing() -> None:
    assert parse_usage({"total_tokens": 12}, "embedding").input_tokens == 12
    assert parse_usage({"prompt_tokens": 4, "total_tokens": 4}, "embedding").total_tokens == 4


@pytest.mark.parametrize(
    ("place", "cost"),
    [
        ({"cost": 0.00444105}, "0.00444105"),
        ({"cost": 0}, "0"),
        ({"cost": {"total_cost": 0.006}}, "0.006"),
        ({"cost_in_usd_ticks": 1777000}, "0.0001777"),
        ({"cost": True}, None),
        ({"cost": None}, None),
        ({"cost_details": {"upstream_inference_cost": 1}}, None),
    ],
)
@pytest.mark.parametrize("api", ["chat", "responses"])
def test_a_stated_cost_is_taken_exactly(place: dict[str, Any], cost: str | None, api: str) -> None:
    assert parse_usage(place, api).total_cost == (None if cost is None else Decimal(cost))


def test_reasoning_beside_the_completion_is_output() -> None:
    """xAI: 307 read, 26 written, 255 thought, 588 in all; the cost agrees with 281 written."""
    details = {"completion_tokens_details": {"reasoning_tokens": 255}}
    usage = parse_usage(
        {"prompt_tokens": 307, "completion_tokens": 26, "total_tokens": 588, **details}
    )
    assert (usage.output_tokens, usage.reasoning_tokens) == (281, 255)


def test_an_unknown_api_is_an_error() -> None:
    with pytest.raises(KeyError):
        parse_usage({}, "ollama.embed")


def test_the_recorded_usage_of_every_api_is_read_as_others_read_it(recordings: Path) -> None:
    """genai-prices has a reader for every provider, written by others; and the parts always add up."""
    compared: Counter[str] = Counter()
    problems = []
    for name, provider, kind, answer in _answers(recordings):
        stated = answer if kind.startswith("ollama") else answer["usage"]
        usage = parse_usage(stated, kind)
        compared[kind] += 1
        if usage.total_tokens != usage.input_tokens + usage.output_tokens:
            problems.append(f"{name}: {usage} does not add up")
        if api_of_usage(stated) != kind and kind != "embedding":
            assert parse_usage(stated, api_of_usage(stated)) == usage, name
        if kind.startswith("ollama"):
            continue
        theirs = _read_by_others(answer, provider, kind)
        for ours, other in NAMES.items():
            value = getattr(usage, ours)
            allowed = UNREAD.get(name) == (other, value, theirs.get(other, 0))
            if name in HIDDEN_OUTPUT and other == "output_tokens":
                allowed = value == stated["total_tokens"] - stated["prompt_tokens"]
            if theirs and value != theirs.get(other, 0) and not allowed:
                problems.append(f"{name}: {ours} is {value}, they read {theirs.get(other, 0)}")
    assert not problems, "\n".join(problems)
    assert compared == {
        "chat": 88,
        "responses": 61,
        "messages": 68,
        "embedding": 10,
        "ollama.chat": 2,
        "ollama.generate": 3,
    }


def _read_by_others(answer: Mapping[str, Any], provider: str, kind: str) -> Mapping[str, Any]:
    """Return what genai-prices reads; nothing where the object is only a part."""
    snapshot = get_snapshot()
    reader = snapshot.find_provider(None, READERS.get(provider, "openai"), None)
    flavors = {extractor.api_flavor for extractor in reader.extractors or ()}
    flavor = FLAVORS.get(kind, "default")
    if flavor not in flavors and kind in {"responses", "embedding"}:
        reader = snapshot.find_provider(None, "openai", None)
    elif flavor not in flavors:
        flavor = "default"
    try:
        _, usage = reader.extract_usage({"model": "any", **answer}, api_flavor=flavor)
    except ValueError as error:
        if str(error) not in PARTIAL:
            raise
        return {}
    return vars(usage)


def _answers(recordings: Path) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Yield every recorded object that states a usage: name, provider, kind, the object."""
    for row in json.loads((recordings / "manifest.json").read_text()):
        kind = KINDS.get(row["endpoint"])
        if kind is None:
            continue
        body = json.loads((recordings / row["file"]).read_text())["response"]["body"]
        for answer in _objects(body):
            inner = answer.get("message") if kind == "messages" else answer.get("response")
            whole = inner if isinstance(inner, dict) and "usage" in inner else answer
            counted = "eval_count" in whole if kind.startswith("ollama") else whole.get("usage")
            if counted:
                yield row["file"], row["provider"], kind, whole


def _objects(body: str) -> list[dict[str, Any]]:
    """Return the JSON objects of a body: the whole, an event stream's, or one a line."""
    found = []
    for text in [body] if _is_json(body) else body.splitlines():
        line = text.removeprefix("data:").strip()
        value = json.loads(line) if _is_json(line) else None
        if isinstance(value, dict):
            found.append(value)
    return found


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
