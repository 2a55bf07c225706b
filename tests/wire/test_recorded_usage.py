"""Every usage object that was ever recorded: read as others read it, in whole answers and streams."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from genai_prices.data_snapshot import get_snapshot

from llmcache.errors import ProviderError
from llmcache.providers.anthropic_messages import MessagesDialect
from llmcache.providers.base import Dialect
from llmcache.providers.ollama_answer import OllamaDialect
from llmcache.providers.openai_chat import ChatDialect
from llmcache.providers.openai_responses import ResponsesDialect
from llmcache.providers.sse import NDJSONDecoder, SSEDecoder
from llmcache.providers.usage import api_of_usage, parse_usage
from llmcache.types import StreamEventType, Usage, WireEvent

from .recorded import Exchange, load

KINDS = {
    "chat.completions": "chat",
    "responses": "responses",
    "messages": "messages",
    "embeddings": "embedding",
    "ollama.chat": "ollama.chat",
    "ollama.generate": "ollama.generate",
}
DIALECTS: Mapping[str, Dialect] = {
    "chat": ChatDialect(),
    "responses": ResponsesDialect(),
    "messages": MessagesDialect(),
    "ollama.chat": OllamaDialect("ollama.chat"),
    "ollama.generate": OllamaDialect("ollama.generate"),
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


def test_the_recorded_usage_of_every_api_is_read_as_others_read_it(recordings: Path) -> None:
    """genai-prices has a reader for every provider, written by others; and the parts always add up."""
    compared: Counter[str] = Counter()
    problems = []
    for name, provider, kind, answer in _answers(recordings):
        stated = answer if kind.startswith("ollama") else answer["usage"]
        usage = parse_usage(stated, kind)
        compared[kind] += 1
        if api_of_usage(stated) != kind and kind != "embedding":
            assert parse_usage(stated, api_of_usage(stated)) == usage, name
        problems += _problems(name, provider, kind, usage, answer)
    assert not problems, "\n".join(problems)
    assert compared == {
        "chat": 88,
        "responses": 61,
        "messages": 68,
        "embedding": 10,
        "ollama.chat": 2,
        "ollama.generate": 3,
    }


def test_answers_and_streams_have_the_usage_that_others_read(recordings: Path) -> None:
    """What a caller gets, and what was said of it underway, is no other reading of the same words."""
    compared: Counter[tuple[str, bool]] = Counter()
    problems = []
    for exchange, provider in _exchanges(recordings):
        kind = KINDS[exchange.endpoint]
        try:
            usage, told = _understood(kind, exchange)
        except ProviderError:
            continue
        stated = _stated(kind, exchange.body.decode())
        assert (usage is None) == (not stated), exchange.name
        if usage is not None:
            assert told[-1:] == ([usage] if exchange.is_stream else []), exchange.name
            compared[kind, exchange.is_stream] += 1
            answer = stated if kind.startswith("ollama") else {"usage": stated}
            assert usage == parse_usage(stated, kind), exchange.name
            problems += _problems(exchange.name, provider, kind, usage, answer)
    assert not problems, "\n".join(problems)
    assert compared == {
        ("chat", False): 71,
        ("chat", True): 11,
        ("responses", False): 38,
        ("responses", True): 23,
        ("messages", False): 24,
        ("messages", True): 22,
        ("ollama.chat", False): 1,
        ("ollama.chat", True): 1,
        ("ollama.generate", False): 1,
        ("ollama.generate", True): 2,
    }


def _understood(kind: str, exchange: Exchange) -> tuple[Usage | None, list[Usage]]:
    """Return the usage of an answer, and what its stream said of it.

    Raises:
        ProviderError: the exchange is an error, or was cut.
    """
    dialect = DIALECTS[kind]
    if exchange.status >= 400:
        raise ProviderError("recorded as such", status=exchange.status)
    if not exchange.is_stream:
        return dialect.parse(exchange.body).usage, []
    decoder, events = dialect.decoder(), []
    framing = NDJSONDecoder() if kind.startswith("ollama") else SSEDecoder()
    for one in [*framing.feed(exchange.body), *framing.flush()]:
        event = WireEvent(one) if isinstance(one, bytes) else WireEvent(one.data, one.event)
        events += decoder.feed(event)
    return decoder.finish().usage, [e.data for e in events if e.type is StreamEventType.USAGE]


def _stated(kind: str, body: str) -> dict[str, Any]:
    """Return the usage of a body: of a stream's events, the last that each field was said to be."""
    stated: dict[str, Any] = {}
    for answer in _objects(body):
        inner = answer.get("message") if kind == "messages" else answer.get("response")
        whole = inner if isinstance(inner, dict) and "usage" in inner else answer
        if kind.startswith("ollama"):
            stated = answer if "eval_count" in answer else stated
        else:
            said = whole.get("usage") or (whole.get("x_groq") or {}).get("usage") or {}
            stated |= {name: value for name, value in said.items() if value is not None}
    return stated


def _exchanges(recordings: Path) -> Iterator[tuple[Exchange, str]]:
    providers = {
        row["file"]: row["provider"]
        for row in json.loads((recordings / "manifest.json").read_text())
    }
    for endpoint, kind in KINDS.items():
        if kind in DIALECTS:
            for exchange in load(recordings, endpoint):
                yield exchange, providers[exchange.name]


def _problems(
    name: str, provider: str, kind: str, usage: Usage, answer: Mapping[str, Any]
) -> list[str]:
    """Return where `usage`, ours of `answer`, does not add up or is not what others read."""
    problems = []
    if usage.total_tokens != usage.input_tokens + usage.output_tokens:
        problems.append(f"{name}: {usage} does not add up")
    if kind.startswith("ollama"):
        return problems
    theirs = _read_by_others(answer, provider, kind)
    for ours, other in NAMES.items():
        value = getattr(usage, ours)
        allowed = UNREAD.get(name) == (other, value, theirs.get(other, 0))
        if name in HIDDEN_OUTPUT and other == "output_tokens":
            stated = answer["usage"]
            allowed = value == stated["total_tokens"] - stated["prompt_tokens"]
        if theirs and value != theirs.get(other, 0) and not allowed:
            problems.append(f"{name}: {ours} is {value}, they read {theirs.get(other, 0)}")
    return problems


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
