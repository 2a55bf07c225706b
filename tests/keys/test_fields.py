"""Every field of a request is classified, and counts as its table says."""

from __future__ import annotations

import itertools
from typing import Any, Final, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from json_values import json_values, typed
from keying import ask, key, tool
from sdk_types import FIELDS, ROOTS, samples

from llmcache.keys import TABLES, Verdict

_FUNCTION: Final = {"name": "f", "parameters": {"type": "object", "properties": {}}}
_CLAUDE_TOOL: Final = {"name": "f", "input_schema": {"type": "object", "properties": {}}}
_WEB: Final = {"type": "web_search"}
_PROMPT_CACHE: Final[dict[str, list[Any]]] = {
    "prompt_cache_key": ["a", "b"],
    "prompt_cache_options": [{"mode": "explicit"}, {"mode": "implicit", "ttl": "30m"}],
    "prompt_cache_retention": ["in_memory", "24h"],
}
_SHARED: Final[dict[str, list[Any]]] = {
    **_PROMPT_CACHE,
    "metadata": [{"a": "b"}, {"a": "c"}],
    "model": ["m", "m-2026-01-01", "M"],
    "moderation": [{"model": "omni"}, {"model": "omni", "policy": {"input": {"mode": "block"}}}],
    "parallel_tool_calls": [True, False],
    "safety_identifier": ["a", "b"],
    "service_tier": ["auto", "flex"],
    "store": [True, False],
    "stream": [True, False],
    "temperature": [0, 0.2, 1],
    "top_logprobs": [0, 5],
    "top_p": [0.5, 1],
    "user": ["a", "b"],
}
VALUES: Final[dict[str, dict[str, list[Any]]]] = {
    "chat": {
        **_SHARED,
        "audio": [{"voice": "ash", "format": "wav"}, {"voice": "ash", "format": "mp3"}],
        "frequency_penalty": [0.5, -0.5],
        "function_call": ["auto", "none", {"name": "f"}],
        "functions": [[_FUNCTION], [{**_FUNCTION, "name": "g"}]],
        "logit_bias": [{"50256": -100}, {"50256": 100}],
        "logprobs": [True],  # false is the native default; elsewhere it is another value
        "max_completion_tokens": [16, 17],
        "max_tokens": [16, 17],
        "messages": [[{"role": "user", "content": "a"}], [{"role": "user", "content": "b"}]],
        "modalities": [["text"], ["text", "audio"]],
        "n": [2, 3],
        "prediction": [{"type": "content", "content": "a"}, {"type": "content", "content": "b"}],
        "presence_penalty": [0.5, -0.5],
        "reasoning_effort": ["none", "low", "high"],
        "response_format": [{"type": "text"}, {"type": "json_object"}],
        "seed": [0, 1],
        "stop": ["a", ["a", "b"]],
        "stream_options": [{"include_usage": True}, {"include_obfuscation": False}],
        "tool_choice": ["required", "none"],
        "tools": [[tool()], [tool(description="d")], [tool(), tool(name="g")]],
        "verbosity": ["low", "high"],
        "web_search_options": [{}, {"search_context_size": "low"}],
    },
    "responses": {
        **_SHARED,
        "access_programs": [{"cyber": "standard"}, {"cyber": "trusted"}],
        "background": [True],
        "background_options": [{"completion_window": "2h"}, {"completion_window": "8h"}],
        "context_management": [[{"type": "compaction"}], [{"type": "other"}]],
        "conversation": ["conv_1", {"id": "conv_2"}],
        "image": [{"size": 1}, {"size": 2}],
        "include": [["reasoning.encrypted_content"], ["message.output_text.logprobs"]],
        "input": ["a", "b", [{"role": "system", "content": "a"}]],
        "instructions": ["a", "b"],
        "max_output_tokens": [16, 17],
        "max_tool_calls": [1, 2],
        "previous_response_id": ["resp_1", "resp_2"],
        "prompt": [{"id": "pmpt_1"}, {"id": "pmpt_1", "version": "2"}],
        "prompt_cache_options": [{"mode": "explicit"}, {"mode": "implicit", "ttl": "12h"}],
        "reasoning": [{"effort": "low"}, {"effort": "high"}],
        "stream_options": [{"include_obfuscation": True}, {"include_obfuscation": False}],
        "text": [{"format": {"type": "text"}}, {"verbosity": "low"}],
        "tool_choice": ["required", "none"],
        "tools": [[{"type": "function", **_FUNCTION}], [{"type": "custom", "name": "f"}], [_WEB]],
        "truncation": ["auto", "disabled"],
    },
    "messages": {
        "billing_policy": [{"a": 1}, {"a": 2}],
        "cache_control": [{"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}],
        "compaction": [{"type": "auto"}, {"type": "off"}],
        "container": ["container_1", {"skills": [{"skill_id": "pptx"}]}],
        "context_management": [{"edits": []}, {"edits": [{"type": "clear_tool_uses_20250919"}]}],
        "diagnostics": [{"previous_message_id": "a"}, {"previous_message_id": "b"}],
        "fallback_credit_token": ["a", "b"],
        "fallbacks": [[{"model": "a"}], [{"model": "b"}]],
        "inference_geo": ["us", "eu"],
        "max_tokens": [16, 17],
        "mcp_servers": [
            [{"type": "url", "url": "https://a"}],
            [{"type": "url", "url": "https://b"}],
        ],
        "messages": [[{"role": "user", "content": "a"}], [{"role": "user", "content": "b"}]],
        "metadata": [{"user_id": "a"}, {"user_id": "b"}],
        "model": ["m", "m-2026-01-01", "M"],
        "output_config": [{"effort": "low"}, {"effort": "high"}],
        "output_format": [{"type": "json_schema", "schema": {}}, {"type": "text"}],
        "service_tier": ["auto", "standard_only"],
        "speed": ["standard", "fast"],
        "stop_sequences": [["a"], ["a", "b"]],
        "stream": [True, False],
        "system": ["a", "b", [{"type": "text", "text": "c"}]],
        "temperature": [0, 0.2],
        "thinking": [{"type": "disabled"}, {"type": "enabled", "budget_tokens": 1024}],
        "thread": [{"id": "a"}, {"id": "b"}],
        "tool_choice": [{"type": "any"}, {"type": "none"}],
        "tools": [
            [_CLAUDE_TOOL],
            [{**_CLAUDE_TOOL, "name": "g"}],
            [{**_CLAUDE_TOOL, "strict": True}],
        ],
        "top_k": [1, 2],
        "top_p": [0.5, 1],
    },
    "completions": {
        "best_of": [1, 2],
        "echo": [True, False],
        "frequency_penalty": [0.5, -0.5],
        "logit_bias": [{"50256": -100}, {"50256": 100}],
        "logprobs": [0, 5],
        "max_tokens": [16, 17],
        "model": ["m", "M"],
        "n": [2, 3],
        "presence_penalty": [0.5, -0.5],
        "prompt": ["a", ["a", "b"], [1, 2], [[1, 2]]],
        "seed": [0, 1],
        "stop": ["a", ["a", "b"]],
        "stream": [True, False],
        "stream_options": [{"include_usage": True}, {"include_obfuscation": False}],
        "suffix": ["a", "b"],
        "temperature": [0, 1],
        "top_p": [0.5, 1],
        "user": ["a", "b"],
    },
    "embedding": {
        "dimensions": [256, 512],
        "encoding_format": ["float", "base64"],
        "input": ["a", ["a"], [1, 2], [[1, 2]]],
        "model": ["m", "M"],
        "user": ["a", "b"],
    },
}
"""Values of every field that no rule makes equal, whatever the endpoint."""

_BASE: Final[dict[str, dict[str, Any]]] = {
    "chat": {"model": "base", "messages": [{"role": "user", "content": "q"}], "tools": [tool()]},
    "responses": {"model": "base", "input": "q", "tools": [{"type": "function", **_FUNCTION}]},
    "messages": {"model": "base", "messages": [{"role": "user", "content": "q"}], "max_tokens": 9},
    "completions": {"model": "base", "prompt": "q"},
    "embedding": {"model": "base", "input": "q"},
}
_EVERY_FIELD: Final = [(kind, name) for kind, table in VALUES.items() for name in sorted(table)]


@pytest.mark.parametrize("kind", FIELDS)
def test_the_table_is_the_sdk_s_list_of_fields(kind: str) -> None:
    assert sorted(TABLES[kind]) == FIELDS[kind], "a field is left unclassified, or is none"
    assert sorted(VALUES[kind]) == FIELDS[kind], "a field has no values to be tested with"


def test_every_table_is_held_against_the_types_of_an_sdk() -> None:
    # Ollama's: `tests/wire/test_ollama_keys.py`, where its embeddings are, too.
    assert {*FIELDS, "ollama.chat", "ollama.generate"} == set(TABLES)


def test_a_field_of_tomorrow_is_noticed() -> None:
    class Tomorrow(ROOTS["embedding"], total=False):  # type: ignore[misc]
        colour: str

    fields = set(get_type_hints(Tomorrow))
    assert fields - set(TABLES["embedding"]) == {"colour"}
    paths = [path for path, _ in samples(Tomorrow)]
    assert "<Tomorrow>.colour=absent" in paths


@pytest.mark.parametrize("native", [True, False], ids=["native", "foreign"])
@pytest.mark.parametrize(("kind", "name"), _EVERY_FIELD)
def test_a_change_of_the_field_counts_as_the_table_says(kind: str, name: str, native: bool) -> None:
    bodies = [{**_BASE[kind], name: value} for value in VALUES[kind][name]]
    bodies.append({k: v for k, v in _BASE[kind].items() if k != name})
    assert len(bodies) >= 2
    keys = {key(kind, body, native=native) for body in bodies}
    if TABLES[kind][name].verdict is Verdict.NEUTRAL:
        assert len(keys) == 1
    else:
        # A value may be that of the base; no two of them are equal.
        assert len(keys) == len(bodies)


@pytest.mark.parametrize(("kind", "name"), _EVERY_FIELD)
def test_a_null_is_an_absent_field(kind: str, name: str) -> None:
    body = {k: v for k, v in _BASE[kind].items() if k != name}
    assert key(kind, {**body, name: None}) == key(kind, body)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (k, n)
        for k, table in TABLES.items()
        for n, f in table.items()
        if f.verdict is Verdict.BYPASS
    ],
)
def test_a_stateful_field_bypasses_the_cache_and_says_so(kind: str, name: str) -> None:
    values = VALUES.get(kind, {}).get(name) or [{"id": "a"}, {"id": "b"}]
    for value in values:
        reason = ask(kind, {"model": "m", name: value}).bypass()
        assert reason is not None
        assert name in reason
    assert ask(kind, {"model": "m", name: None}).bypass() is None
    assert ask(kind, {"model": "m"}).bypass() is None


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("verdict", [v for v in Verdict if v is not Verdict.NEUTRAL])
def test_in_the_other_tables_too_only_neutral_fields_do_not_count(
    kind: str, verdict: Verdict
) -> None:
    for name, field in TABLES[kind].items():
        a, b, absent = (key(kind, body) for body in ({name: "a"}, {name: "b"}, {}))
        if (kind, name) == ("embedding", "encoding_format"):
            assert len({a, b, absent}) == 3, name  # neither of them spells the usual vector
        elif field.verdict is Verdict.NEUTRAL:
            assert a == b == absent, name
        elif field.verdict is verdict:
            assert len({a, b, absent}) == 3, name


_UNKNOWN: Final = st.text(min_size=1).filter(
    lambda name: not any(name in table for table in TABLES.values())
)


@settings(deadline=None)
@given(
    kind=st.sampled_from(sorted(TABLES)), name=_UNKNOWN, values=st.lists(json_values, max_size=3)
)
def test_an_unknown_field_is_in_the_key_with_every_value_it_has(
    kind: str, name: str, values: list[Any]
) -> None:
    bodies = [{}, *({name: value} for value in [None, *values])]
    for a, b in itertools.combinations(bodies, 2):
        assert typed(a) == typed(b) or key(kind, a) != key(kind, b)


@pytest.mark.parametrize("kind", [*TABLES, "an API of tomorrow"])
def test_a_null_in_an_unknown_field_is_a_value(kind: str) -> None:
    url = "https://llm.example/x"
    bodies = [{}, {"new": None}, {"new": {}}, {"new": {"a": None}}, {"new": [None]}, {"new": []}]
    assert len({key(kind, body, url=url) for body in bodies}) == len(bodies)


def test_an_api_without_a_table_has_no_rules() -> None:
    bodies = [{}, {"user": "a"}, {"stream": True}, {"tools": []}, {"stop": "a"}, {"stop": ["a"]}]
    assert len({key("tomorrow", body, url="https://llm.example/x") for body in bodies}) == 6


# --- what the walk found ----------------------------------------------------------------------


def test_a_request_that_only_prewarms_is_not_one_that_answers() -> None:
    # "Prepares the prompt cache without generating output" (the SDK's PromptCacheOptions).
    body = {"model": "m", "input": "q"}
    prewarm = {**body, "prompt_cache_options": {"prewarm": True}}
    assert key("responses", prewarm) != key("responses", body)


@pytest.mark.parametrize("other", ["binary", "ubinary", "int8"])
def test_an_encoding_that_is_another_vector_counts(other: str) -> None:
    # Compatible servers (Mixedbread's) quantize by `encoding_format`.
    body = {"model": "m", "input": "q"}
    assert key("embedding", {**body, "encoding_format": other}) != key("embedding", body)
