"""Profiles: those of the guide by their names, current models from data, models of one's own."""

from __future__ import annotations

import gc
import json
import re
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from openai.types import CompletionUsage

from llmcache import ConfigurationError, ModelProfile, OpenAIProvider, models
from llmcache.models import BUILT_IN, GPT5, GPT5Mini, ModelRegistry
from llmcache.types import Usage

# Retired, but for the first three: too new for the lists, and a name that was never a model's.
UNKNOWN = set(
    """
    gpt-6.2-astra gpt-6.2-sol gpt-5.1-mini
    gpt-3.5-turbo-0301 gpt-3.5-turbo-0613 gpt-3.5-turbo-16k-0613 gpt-4-0125-preview gpt-4-0314
    gpt-4-32k gpt-4-32k-0314 gpt-4-32k-0613 gpt-4-turbo-preview gpt-4-vision-preview
    gpt-4o-audio-preview gpt-4o-audio-preview-2024-10-01 gpt-4o-mini-audio-preview
    o1-mini o1-mini-2024-09-12 o1-preview o1-preview-2024-09-12
    """.split()
)
GUIDE = {  # key, class, category, reasoning: the guide's table
    "gpt-5": ("GPT5", "completions", True),
    "gpt-5-mini": ("GPT5Mini", "completions", True),
    "gpt-5-nano": ("GPT5Nano", "completions", True),
    "gpt-5.1": ("GPT5Point1", "completions", True),
    "gpt-5.2": ("GPT5Point2", "completions", True),
    "text-embedding-3-large": ("TextEmbedding3Large", "embeddings", False),
    "text-embedding-3-small": ("TextEmbedding3Small", "embeddings", False),
}


@pytest.mark.parametrize("key", GUIDE)
def test_the_models_of_the_guide(key: str) -> None:
    name, category, reasoning = GUIDE[key]
    profile = ModelProfile.get(key)
    assert profile is getattr(models, name)
    assert (profile.__name__, profile.model_name) == (name, key)
    assert (profile.category, profile.reasoning_model) == (category, reasoning)
    assert {"low", "medium", "high"} <= set(profile.reasoning_efforts) or not reasoning
    assert profile.provider == "openai"


def test_the_lines_of_the_guide(make_provider: Callable[..., OpenAIProvider]) -> None:
    assert make_provider(model=GPT5).model == "gpt-5"
    assert GPT5.context_window == 400_000
    assert GPT5.count_tokens("Hello, world!") == 4
    stated = CompletionUsage(prompt_tokens=10, completion_tokens=5, total_tokens=15)
    assert GPT5.parse_usage(stated) == Usage(input_tokens=10, output_tokens=5, total_tokens=15)


@pytest.mark.parametrize(
    ("usage", "api", "tokens"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 2}, None, (3, 2)),
        ({"input_tokens": 3, "output_tokens": 2}, None, (3, 2)),
        (
            {"input_tokens": 3, "output_tokens": 2, "cache_read_input_tokens": 10},
            None,
            (13, 2),
        ),
        ({"prompt_eval_count": 3, "eval_count": 2}, None, (3, 2)),
        ({"input_tokens": 3, "output_tokens": 2}, "messages", (3, 2)),
    ],
)
def test_usage_is_read_in_any_apis_words(
    usage: dict[str, Any], api: str | None, tokens: tuple[int, int]
) -> None:
    parsed = GPT5.parse_usage(usage, api)
    assert (parsed.input_tokens, parsed.output_tokens) == tokens


def test_what_is_no_usage_is_refused() -> None:
    with pytest.raises(TypeError, match="usage must be an object, not int"):
        GPT5.parse_usage(7)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("gpt-5-2025-08-07", "openai/gpt-5"),
        ("openai/gpt-5-mini", "openai/gpt-5-mini"),
        ("claude-3-5-sonnet-20241022", "anthropic/claude-3-5-sonnet"),
        ("claude-haiku-4-5@20251001", "anthropic/claude-haiku-4-5"),
        ("anthropic/claude-opus-5-5", "anthropic/claude-opus-5-5"),
        ("gpt-3.5-turbo-0125", "openai/gpt-3.5-turbo-0125"),
        ("openai/gpt-oss-120b", "groq/openai/gpt-oss-120b"),
        ("together_ai/openai/gpt-oss-120b", "together/openai/gpt-oss-120b"),
        ("xai/grok-4.7", "x-ai/grok-4.7"),
        ("qwen2.5:3b", "ollama/qwen2.5:3b"),
        ("qwen2.5:72b", "ollama/qwen2.5"),
        ("llama3.2", "ollama/llama3.2"),
    ],
)
def test_a_name_may_have_its_provider_before_and_a_date_behind(name: str, found: str) -> None:
    profile = ModelProfile.get(name)
    assert f"{profile.provider}/{profile.model_name}" == found


@pytest.mark.parametrize("name", ["", "gpt", "gpt-5-2025", "openai/", "nobody/gpt-5"])
def test_an_unknown_name_is_not_guessed(name: str) -> None:
    assert ModelProfile.find(name) is None


def test_an_unknown_name_is_an_error_with_its_neighbours() -> None:
    with pytest.raises(ConfigurationError, match="'gpt5'; did you mean 'gpt-5'"):
        ModelProfile.get("gpt5")


def test_a_model_of_ones_own_is_found_as_long_as_it_lives() -> None:
    def define() -> None:
        class Mine(GPT5):  # type: ignore[misc, valid-type]
            model_name = "ft:gpt-5:acme"
            context_window = 1_000

        assert ModelProfile.get("ft:gpt-5:acme") is Mine
        assert Mine.rejects == GPT5.rejects
        assert ModelProfile.get("gpt-5") is GPT5

    define()
    gc.collect()
    assert ModelProfile.find("ft:gpt-5:acme") is None


def test_ones_own_profile_stands_before_the_built_in_one() -> None:
    class Wider(ModelProfile):
        model_name = "llama3.2"
        context_window = 8_192

    assert ModelProfile.get("llama3.2") is Wider
    assert BUILT_IN.find("llama3.2") is not Wider


def test_a_registry_is_a_value() -> None:
    class Mine(ModelProfile):
        model_name = "gpt-5"
        provider = "openai"

    registry = ModelRegistry([GPT5, GPT5Mini])
    wider = registry.extended(Mine)
    assert (registry.find("gpt-5"), wider.find("gpt-5")) == (GPT5, Mine)
    assert (len(registry), len(wider)) == (2, 2)
    assert Mine in wider
    assert GPT5 not in wider
    assert registry.names() == ["gpt-5", "gpt-5-mini", "openai/gpt-5", "openai/gpt-5-mini"]
    assert repr(wider) == "<ModelRegistry of 2 models>"


def test_the_catalog_is_sound() -> None:
    """Figures are possible and no field is misspelled; every profile is found by its full name."""
    known = {name for name in vars(ModelProfile) if not name.startswith("_")} - {"model_name"}
    catalog = json.loads((Path(models.__file__).parent / "catalog.json").read_text())
    for provider, all_ in catalog.items():
        for name, facts in all_.items():
            assert facts.keys() - {"class"} <= known, name
            profile = ModelProfile.get(f"{provider}/{name}")
            assert (profile.provider, profile.model_name) == (provider, name)
    for profile in BUILT_IN:
        window = profile.context_window or 2**40
        assert 0 < (profile.max_input_tokens or 1) <= window
        assert 0 < (profile.max_output_tokens or 1) <= 2**21
        assert profile.retires is None or date.fromisoformat(profile.retires)
        assert isinstance(profile.rejects, frozenset)
        assert set(profile.reads) <= {"audio", "image", "pdf", "video"}
        assert profile.category == "completions" or not profile.reasoning_model
        assert set(profile.reasoning_efforts) <= set(
            "none minimal low medium high xhigh max".split()
        )
    assert len(BUILT_IN) == 168


def test_current_models_of_the_official_sdks_are_known() -> None:
    """Their lists of models, without dates and what is retired."""
    from anthropic.types import model as anthropic_models  # noqa: PLC0415 - it takes a second
    from openai.types.shared import chat_model  # noqa: PLC0415

    theirs: set[str] = set()
    for module in (anthropic_models, chat_model):
        text = Path(module.__file__).read_text().partition("Deprecated")[0]
        theirs |= set(re.findall(r'"((?:gpt|o\d|claude)[a-z0-9.-]*)"', text))
    unknown = {name for name in theirs if BUILT_IN.find(name) is None}
    assert unknown == UNKNOWN
    assert len(theirs) - len(unknown) >= 70
