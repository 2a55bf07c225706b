"""Which fields are in the key: a table per wire API, as data.

Every documented field has a verdict and a reason. A field that no table names
is in the key (`UNKNOWN`): providers add fields faster than anyone reads their
changelogs, and a needless miss costs a call where a false hit is a wrong answer.

The facts behind the verdicts are the providers' API references as of 2026-11
and recorded traffic; where two sources disagreed, the stricter one won.
`documentation()` prints these tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from ..errors import ConfigurationError

__all__ = [
    "DEFAULT_RULES",
    "OPT_IN",
    "REFUSED",
    "TABLES",
    "Field",
    "KeyRules",
    "Verdict",
    "documentation",
]


class Verdict(Enum):
    """What a field means for the key."""

    KEY = "in the key"
    """It shapes the answer."""
    EQUIVALENT = "in the key, with equal forms merged"
    """It shapes the answer, and some spellings of it are documented to mean the same."""
    OPT_IN = "in the key, unless merged by name"
    """It very likely does not shape the answer; `KeyRules(merge={…})` takes it out."""
    NEUTRAL = "not in the key"
    """It changes delivery, price or bookkeeping, never the answer."""
    BYPASS = "not cached"
    """It points at state on the server: the same request may get another answer tomorrow."""


@dataclass(frozen=True, slots=True)
class Field:
    """A verdict on one field, with the reason."""

    verdict: Verdict
    reason: str


def _key(reason: str) -> Field:
    return Field(Verdict.KEY, reason)


def _same(reason: str) -> Field:
    return Field(Verdict.EQUIVALENT, reason)


def _opt(reason: str) -> Field:
    return Field(Verdict.OPT_IN, reason)


def _free(reason: str) -> Field:
    return Field(Verdict.NEUTRAL, reason)


def _state(reason: str) -> Field:
    return Field(Verdict.BYPASS, reason)


_DELIVERY: Final = "delivery only; the sampler is the same"
_ACCOUNT: Final = "bookkeeping of the account; the model does not see it"
_PROMPT_CACHE: Final = "price and latency only; documented not to change the output"
_SHAPES: Final = "shapes the answer"
_SAMPLING: Final = "sampling parameter; servers differ in the default, so absent is not a number"
_DEFAULT: Final = "shapes the answer; the documented default equals absent on OpenAI's own API"
_TIER: Final = "the same model by contract, yet deployments can differ; merge: service_tier"
_STORE: Final = "stores the answer on the server; a hit would not; merge: store"
_SERVER_STATE: Final = "refers to state on the server"

_CHAT: Final[Mapping[str, Field]] = {
    "audio": _key(_SHAPES),
    "frequency_penalty": _same(_DEFAULT),
    "function_call": _key(_SHAPES),
    "functions": _same("as tools, in the legacy spelling; order inside schemas is kept"),
    "logit_bias": _same("shapes the answer; an empty object equals absent"),
    "logprobs": _same(_DEFAULT),
    "max_completion_tokens": _key("cuts the answer"),
    "max_tokens": _opt("cuts the answer; merge: max_tokens makes it max_completion_tokens"),
    "messages": _same("the prompt; nulls, prompt-cache marks and media encodings are normalized"),
    "metadata": _free(_ACCOUNT),
    "modalities": _key(_SHAPES),
    "model": _key("an alias is not its snapshot: aliases move"),
    "moderation": _key("adds an output field and may block"),
    "n": _same(_DEFAULT),
    "parallel_tool_calls": _key(_SHAPES),
    "prediction": _opt("claimed to change latency only; merge: prediction"),
    "presence_penalty": _same(_DEFAULT),
    "prompt_cache_key": _free(_PROMPT_CACHE),
    "prompt_cache_options": _free(_PROMPT_CACHE + "; `prewarm`, which asks for no answer, counts"),
    "prompt_cache_retention": _free(_PROMPT_CACHE),
    "reasoning_effort": _key(_SHAPES),
    "response_format": _same("shapes the answer; order inside its schema is kept"),
    "safety_identifier": _free(_ACCOUNT),
    "seed": _key("another seed is another sample"),
    "service_tier": _opt(_TIER),
    "stop": _same("a set of sequences: one string equals a list of it, order does not matter"),
    "store": _opt(_STORE),
    "stream": _free(_DELIVERY),
    "stream_options": _free(_DELIVERY),
    "temperature": _key(_SAMPLING + "; merge: sampling_defaults"),
    "tool_choice": _same(_DEFAULT + " when there are tools"),
    "tools": _same("an empty list equals absent, `strict: false` equals absent"),
    "top_logprobs": _key("adds output fields"),
    "top_p": _key(_SAMPLING + "; merge: sampling_defaults"),
    "user": _free(_ACCOUNT),
    "verbosity": _key(_SHAPES),
    "web_search_options": _key("turns on web search; give such calls a `ttl`"),
}

_RESPONSES: Final[Mapping[str, Field]] = {
    "access_programs": _key("may change what the model does"),
    "background": _state("answers `queued` at first"),
    "background_options": _key("goes with `background`, which is not cached"),
    "context_management": _key(_SHAPES),
    "conversation": _state(_SERVER_STATE),
    "image": _key(_SHAPES),
    "include": _key("adds output fields"),
    "input": _same("a string equals one user message; `type: message` is the default"),
    "instructions": _key("another place in the prompt than a system item; merge: instructions"),
    "max_output_tokens": _key("cuts the answer"),
    "max_tool_calls": _key(_SHAPES),
    "metadata": _free(_ACCOUNT),
    "model": _key("an alias is not its snapshot: aliases move"),
    "moderation": _key("adds an output field and may block"),
    "parallel_tool_calls": _key(_SHAPES),
    "previous_response_id": _state(_SERVER_STATE),
    "prompt": _state("a template on the server, which can be edited there"),
    "prompt_cache_key": _free(_PROMPT_CACHE),
    "prompt_cache_options": _free(_PROMPT_CACHE + "; `prewarm`, which asks for no answer, counts"),
    "prompt_cache_retention": _free(_PROMPT_CACHE),
    "reasoning": _key(_SHAPES),
    "safety_identifier": _free(_ACCOUNT),
    "service_tier": _opt(_TIER),
    "store": _opt(_STORE),
    "stream": _free(_DELIVERY),
    "stream_options": _free(_DELIVERY),
    "temperature": _key(_SAMPLING + "; merge: sampling_defaults"),
    "text": _same("shapes the answer; order inside its schema is kept"),
    "tool_choice": _same(_DEFAULT + " when there are tools"),
    "tools": _same("an empty list equals absent; hosted tools are not cached"),
    "top_logprobs": _key("adds output fields"),
    "top_p": _key(_SAMPLING + "; merge: sampling_defaults"),
    "truncation": _key("may cut the prompt"),
    "user": _free(_ACCOUNT),
}

_MESSAGES: Final[Mapping[str, Field]] = {
    "billing_policy": _opt(_TIER),
    "cache_control": _free(_PROMPT_CACHE),
    "compaction": _key("rewrites the prompt"),
    "container": _state(_SERVER_STATE),
    "context_management": _key("rewrites the prompt"),
    "diagnostics": _free("adds a report, not an answer"),
    "fallback_credit_token": _state(_SERVER_STATE),
    "fallbacks": _key("another model may answer"),
    "inference_geo": _opt(_TIER),
    "max_tokens": _key("cuts the answer"),
    "mcp_servers": _state("tools that run elsewhere"),
    "messages": _same("the prompt; nulls, prompt-cache marks and media encodings are normalized"),
    "metadata": _free(_ACCOUNT),
    "model": _key("an alias is not its snapshot: aliases move"),
    "output_config": _same("shapes the answer; order inside its schema is kept"),
    "output_format": _same("shapes the answer; order inside its schema is kept"),
    "service_tier": _opt(_TIER),
    "speed": _opt(_TIER),
    "stop_sequences": _same("a set of sequences"),
    "stream": _free(_DELIVERY),
    "system": _same("the prompt; prompt-cache marks are dropped; merge: text_parts"),
    "temperature": _same("1.0 equals absent, as documented for version 2023-06-01"),
    "thinking": _key(_SHAPES),
    "thread": _state(_SERVER_STATE),
    "tool_choice": _key(_SHAPES),
    "tools": _same("an empty list equals absent; prompt-cache marks are dropped"),
    "top_k": _key(_SAMPLING),
    "top_p": _key(_SAMPLING),
}

_OLLAMA_CHAT: Final[Mapping[str, Field]] = {
    "format": _same("shapes the answer; order inside a schema is kept"),
    "keep_alive": _free("how long the model stays loaded"),
    "logprobs": _key("adds output fields"),
    "messages": _same("the prompt; images are compared by their bytes"),
    "model": _same("a name without a tag means its `:latest`"),
    "options": _key("sampling parameters, context size among them"),
    "stream": _free(_DELIVERY),
    "think": _key(_SHAPES),
    "tools": _same("an empty list equals absent"),
    "top_logprobs": _key("adds output fields"),
}

_OLLAMA_GENERATE: Final[Mapping[str, Field]] = {
    **{name: rule for name, rule in _OLLAMA_CHAT.items() if name not in {"messages", "tools"}},
    "context": _key("the prompt"),
    "height": _key(_SHAPES),
    "images": _same("compared by their bytes"),
    "prompt": _key("the prompt"),
    "raw": _key("turns the template off"),
    "steps": _key(_SHAPES),
    "suffix": _key("the prompt"),
    "system": _key("the prompt"),
    "template": _key("the prompt"),
    "width": _key(_SHAPES),
}

_COMPLETIONS: Final[Mapping[str, Field]] = {
    **dict.fromkeys(
        "best_of echo frequency_penalty logit_bias logprobs max_tokens model n "
        "presence_penalty prompt seed stop suffix temperature top_p".split(),
        _key(_SHAPES),
    ),
    "stream": _free(_DELIVERY),
    "stream_options": _free(_DELIVERY),
    "user": _free(_ACCOUNT),
}

_EMBEDDING: Final[Mapping[str, Field]] = {
    "dimensions": _key("another vector"),
    "encoding_format": _free("float and base64 spell the same vector; other encodings count"),
    "input": _key("what is embedded; a list is cached item by item"),
    "model": _key("an alias is not its snapshot: aliases move"),
    "user": _free(_ACCOUNT),
}

TABLES: Final[Mapping[str, Mapping[str, Field]]] = {
    "chat": _CHAT,
    "responses": _RESPONSES,
    "messages": _MESSAGES,
    "ollama.chat": _OLLAMA_CHAT,
    "ollama.generate": _OLLAMA_GENERATE,
    "completions": _COMPLETIONS,
    "embedding": _EMBEDDING,
}
"""Field tables by request kind."""

UNKNOWN: Final = Field(Verdict.KEY, "not classified: in the key as it is")

OPT_IN: Final[Mapping[str, str]] = {
    "defaults": "apply OpenAI's documented defaults to a compatible server too",
    "empty_content": 'an assistant\'s "" beside tool calls equals no content, on any server',
    "instructions": "Responses: `instructions` equals a leading system item",
    "item_ids": "Responses: ids and status of re-sent output items do not count",
    "joined_text_parts": "several text parts equal their concatenation",
    "max_tokens": "`max_tokens` equals `max_completion_tokens`",
    "prediction": "`prediction` does not count",
    "sampling_defaults": "temperature 1 and top_p 1 equal absent",
    "service_tier": "`service_tier`, `speed`, `inference_geo`, `billing_policy` do not count",
    "signed_urls": "signature parameters of image URLs (S3, Azure, GCS) do not count",
    "store": "`store` does not count",
    "system_developer": "role `developer` equals role `system`",
    "text_parts": "a string equals a list of one text part",
    "thinking_signatures": "signatures and encrypted reasoning do not count, their text does",
    "tool_arguments": "arguments of past tool calls are compared as JSON, not as text",
    "tool_call_ids": "tool-call ids are renamed by position, consistently in call and result",
    "tool_order": "the order of tool definitions does not count",
    "unicode": "text is compared in NFC, with line ends as LF, without surrounding white space",
}
"""Merges a caller may ask for, by name. Each can make a false hit; that is why it is asked for."""

REFUSED: Final[Mapping[str, str]] = {
    "model": "an alias is not its snapshot",
    "schema_order": "property order steers constrained decoding",
    "seed": "another seed is another sample",
    "name": "the participant's name is part of the prompt",
    "image_url": "a URL's content can change, and keys never fetch",
    "case": "upper and lower case are different prompts",
}
"""Merges that are never offered, with the reason."""


@dataclass(frozen=True, slots=True)
class KeyRules:
    """How keys are made beyond the safe rules.

    - `merge`: names from `OPT_IN`.
    - `stateful_ttl`: `None` bypasses the cache for requests that refer to server
      state; a number of seconds caches them for at most so long. What has no answer
      of its own (`background: true`) is never cached.
    """

    merge: frozenset[str] = frozenset()
    stateful_ttl: float | None = None

    def __init__(self, merge: Iterable[str] = (), *, stateful_ttl: float | None = None) -> None:
        """Check the names.

        Raises:
            ConfigurationError: a name that is unknown, or refused and why.
        """
        names = frozenset((merge,) if isinstance(merge, str) else merge)
        for name in sorted(names - OPT_IN.keys()):
            if name in REFUSED:
                msg = f"keys never merge {name!r}: {REFUSED[name]}"
                raise ConfigurationError(msg)
            known = ", ".join(sorted(OPT_IN))
            msg = f"unknown key rule {name!r}; known: {known}"
            raise ConfigurationError(msg)
        wrong = isinstance(stateful_ttl, bool) or not isinstance(stateful_ttl, int | float)
        if stateful_ttl is not None and (wrong or not stateful_ttl > 0):
            msg = f"stateful_ttl must be a positive number of seconds, not {stateful_ttl!r}"
            raise ConfigurationError(msg)
        object.__setattr__(self, "merge", names)
        object.__setattr__(self, "stateful_ttl", stateful_ttl)


DEFAULT_RULES: Final = KeyRules()


def documentation() -> str:
    """Return the tables as Markdown."""
    lines: list[str] = []
    for kind, table in TABLES.items():
        lines += [f"### `{kind}`", "", "| field | verdict | reason |", "|---|---|---|"]
        lines += [f"| `{n}` | {f.verdict.value} | {f.reason} |" for n, f in sorted(table.items())]
        lines += [f"| any other | {UNKNOWN.verdict.value} | {UNKNOWN.reason} |", ""]
    lines += ["### Opt-in merges", "", "| name | effect |", "|---|---|"]
    lines += [f"| `{name}` | {effect} |" for name, effect in OPT_IN.items()]
    return "\n".join(lines) + "\n"
