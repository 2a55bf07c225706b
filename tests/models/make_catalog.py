"""Write `llmcache/models/catalog.json` anew: `python tests/models/make_catalog.py LITELLM_PRICES.json`.

Context windows come from genai-prices, what it lacks (limits, modalities, efforts) from the
`model_prices_and_context_window.json` of LiteLLM (MIT), tokenizers from tiktoken. What
neither knows is left out. Names that only add a date are left out, too: a look-up does
without the date.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import tiktoken
from genai_prices.data_snapshot import get_snapshot

CATALOG = Path(__file__).resolve().parents[2] / "llmcache" / "models" / "catalog.json"
DATED = re.compile(r"(-\d{4}-\d{2}-\d{2}|-\d{8}|-v2|-latest)$")
MODES = {"chat": "completions", "responses": "completions", "embedding": "embeddings"}
CLASSES = {
    "gpt-5": "GPT5",
    "gpt-5-mini": "GPT5Mini",
    "gpt-5-nano": "GPT5Nano",
    "gpt-5.1": "GPT5Point1",
    "gpt-5.2": "GPT5Point2",
    "text-embedding-3-large": "TextEmbedding3Large",
    "text-embedding-3-small": "TextEmbedding3Small",
}
# Our provider, LiteLLM's, genai-prices', and the models that are taken ("": all).
SOURCES = (
    ("openai", "openai", "openai", ""),
    ("anthropic", "anthropic", "anthropic", ""),
    ("groq", "groq", "groq", "openai/gpt-oss-120b openai/gpt-oss-20b qwen/qwen3.8-27b"),
    ("deepseek", "deepseek", "deepseek", "deepseek-flash deepseek-v4-flash deepseek-v4-pro"),
    (
        "mistral",
        "mistral",
        "mistral",
        (
            "mistral-large-4 mistral-large-2512 mistral-medium-3-5 mistral-small-2603 "
            "ministral-3b-2512 ministral-8b-2512 ministral-14b-2512 codestral-2508 mistral-embed"
        ),
    ),
    ("x-ai", "xai", "x-ai", "grok-4.7 grok-4.6 grok-4.5 grok-4.3 grok-build-0.1"),
    ("cerebras", "cerebras", "cerebras", "gpt-oss-120b qwen-3.8-27b"),
    (
        "perplexity",
        "perplexity",
        "perplexity",
        "sonar sonar-pro sonar-reasoning-pro sonar-deep-research",
    ),
    (
        "moonshotai",
        "moonshot",
        "moonshotai",
        "kimi-k2.6 kimi-k2.7-code kimi-k3 kimi-k3.1-pro",
    ),
    ("zai", "zai", "zai", "glm-5.2 glm-5.3 glm-5.3-flash"),
    (
        "google",
        "gemini",
        "google",
        (
            "gemini-2.5-flash gemini-2.5-pro gemini-3.1-pro-preview gemini-3.8-flash "
            "gemini-4-argon gemini-embedding-2"
        ),
    ),
    ("voyageai", "voyage", "voyageai", "voyage-4 voyage-4-large voyage-4-lite voyage-3.5"),
    (
        "together",
        "together_ai",
        "together",
        "moonshotai/Kimi-K3 openai/gpt-oss-120b deepseek-ai/DeepSeek-V4.1-Flash",
    ),
    (
        "ollama",
        "ollama",
        "ollama",
        (
            "codellama gpt-oss:120b-cloud gpt-oss:20b-cloud qwen3-coder:480b-cloud "
            "deepseek-v3.1:671b-cloud"
        ),
    ),
)
# A server's own models: what it says of them (`/api/show`) is more than any list can know.
OLLAMA: Mapping[str, dict[str, Any]] = {
    **{
        name: {}
        for name in "deepseek-r1 gemma3 llama3.1 llama3.3 mistral phi4 qwen2.5 qwen2.5-coder qwen3".split()
    },
    **{
        name: {"category": "embeddings"}
        for name in "all-minilm bge-m3 mxbai-embed-large nomic-embed-text".split()
    },
    "llama3.2": {"context_window": 131_072},
    "qwen2.5:3b": {"context_window": 32_768},
}
# https://developers.openai.com/api/docs/guides/reasoning: what models that always reason refuse.
ALWAYS_REASONING = re.compile(r"(o\d|gpt-5(-mini|-nano|-pro|-codex)?$)")
REJECTED_BY_REASONING = (
    "frequency_penalty logit_bias logprobs max_tokens presence_penalty temperature "
    "top_logprobs top_p"
).split()
WANTS_COMPLETION_LIMIT = re.compile(r"gpt-5")
LOW_TO_HIGH = re.compile(r"o\d(-mini)?$")
# As langchain-anthropic's profiles of October 2026 have it; those before answer 400.
LATER_SYSTEM = frozenset(
    "claude-fable-5 claude-fable-5-1 claude-haiku-5-5 claude-mythos-5 claude-mythos-5-1 "
    "claude-opus-4-8 claude-opus-5 claude-opus-5-5 claude-sonnet-5 claude-sonnet-5-5".split()
)
SAMPLING = ["temperature", "top_k", "top_p"]


def main(source: str) -> None:
    """Write the catalog from a copy of LiteLLM's list."""
    listed = json.loads(Path(source).read_text())
    priced = {provider.id: provider for provider in get_snapshot().providers}
    models: dict[str, dict[str, Any]] = {}
    for provider, lists, prices, wanted in SOURCES:
        known = priced.get(prices)
        found = models.setdefault(provider, {})
        for name, facts in _chosen(listed, lists, wanted.split()):
            model = known.find_model(name) if known else None
            window = model.context_window if model and _agree(model, name, facts) else None
            found[name] = _profile(provider, name, facts, window)
        for model in known.models if known and provider == "anthropic" else ():
            name = DATED.sub("", model.id)
            if name not in found and model.context_window:
                found[name] = {"context_window": model.context_window}
    models["ollama"] |= OLLAMA
    lines = [
        f"  {json.dumps(provider)}: {{\n"
        + ",\n".join(f"    {json.dumps(n)}: {json.dumps(m)}" for n, m in sorted(all_.items()))
        + "\n  }"
        for provider, all_ in models.items()
    ]
    CATALOG.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def _agree(model: Any, name: str, facts: Mapping[str, Any]) -> bool:
    """Return whether a model that was found by a likeness of names is the one that was meant."""
    read, written = facts.get("max_input_tokens"), facts.get("max_output_tokens")
    return model.id == name or model.context_window in {read, (read or 0) + (written or 0)}


def _chosen(
    listed: Mapping[str, Any], provider: str, wanted: list[str]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for key, facts in listed.items():
        name = key.removeprefix(f"{provider}/")
        if facts.get("litellm_provider") != provider or facts.get("mode") not in MODES:
            continue
        again = DATED.sub("", name) in listed and DATED.search(name)
        own = not wanted and facts.get("max_input_tokens") and not again
        if name in wanted or (own and "/" not in name and ":" not in name):
            yield name, facts


def _profile(
    provider: str, name: str, facts: Mapping[str, Any], window: int | None
) -> dict[str, Any]:
    category = MODES[facts["mode"]]
    reasons = bool(facts.get("supports_reasoning"))
    limit = facts.get("max_input_tokens")
    profile: dict[str, Any] = {
        "class": CLASSES.get(name),
        "category": None if category == "completions" else category,
        "context_window": window,
        "max_input_tokens": None if window and limit and limit >= window else limit,
        "max_output_tokens": facts.get("max_output_tokens") if category == "completions" else None,
        "dimensions": facts.get("output_vector_size"),
        "reads": _reads(facts),
        "reasoning_model": reasons or None,
        "reasoning_efforts": _efforts(provider, name, facts) if reasons else None,
        "later_system": (provider == "anthropic" and name in LATER_SYSTEM) or None,
        "rejects": _rejects(provider, name, facts),
        "tokenizer": _tokenizer(name) if provider == "openai" else None,
        "retires": facts.get("deprecation_date"),
    }
    return {field: value for field, value in profile.items() if value}


def _reads(facts: Mapping[str, Any]) -> list[str]:
    given = set(facts.get("supported_modalities") or ())
    for field, kind in (("vision", "image"), ("pdf_input", "pdf"), ("audio_input", "audio")):
        if facts.get(f"supports_{field}"):
            given.add(kind)
    return sorted(given - {"text"})


def _efforts(provider: str, name: str, facts: Mapping[str, Any]) -> list[str]:
    """Return the efforts that are said to work; nothing where nobody says."""
    if name == "gpt-5-pro":  # says the API's reference of `reasoning_effort`
        return ["high"]
    if facts.get("reasoning_effort_levels"):
        return list(facts["reasoning_effort_levels"])
    told = any(field.endswith("_reasoning_effort") for field in facts)
    says = {
        "anthropic": facts.get("supports_output_config"),
        "openai": told or LOW_TO_HIGH.match(name),
    }
    if not says.get(provider):
        return []
    order = "none minimal low medium high xhigh max".split()
    usual = {"low", "medium", "high"}
    return [
        effort
        for effort in order
        if facts.get(f"supports_{effort}_reasoning_effort", effort in usual)
    ]


def _rejects(provider: str, name: str, facts: Mapping[str, Any]) -> list[str]:
    if provider == "openai" and ALWAYS_REASONING.match(name):
        return REJECTED_BY_REASONING
    if provider == "openai" and WANTS_COMPLETION_LIMIT.match(name) and facts["mode"] == "chat":
        return ["max_tokens"] if facts.get("supports_reasoning") else []
    return SAMPLING if facts.get("supports_sampling_params") is False else []


def _tokenizer(name: str) -> str | None:
    try:
        return tiktoken.encoding_name_for_model(name)
    except KeyError:
        return None


if __name__ == "__main__":
    main(sys.argv[1])
