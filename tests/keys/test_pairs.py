"""Pairs of real requests, mined from recorded traffic: each shares a key as it is classed."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from typing import Any, Final

import pytest
from keying import ANTHROPIC

from llmcache.keys import OPT_IN, KeyRules, Request, normalize_endpoint

_KINDS: Final = {
    "chat.completions": ("chat", "https://api.openai.com/v1/chat/completions"),
    "responses": ("responses", "https://api.openai.com/v1/responses"),
    "responses.compact": ("responses", "https://api.openai.com/v1/responses/compact"),
    "embeddings": ("embedding", "https://api.openai.com/v1/embeddings"),
    "completions": ("completions", "https://api.openai.com/v1/completions"),
    "messages": ("messages", "https://api.anthropic.com/v1/messages"),
    "messages.count_tokens": ("messages", "https://api.anthropic.com/v1/messages/count_tokens"),
    "ollama.chat": ("ollama.chat", "http://127.0.0.1:11434/api/chat"),
}
_HOSTS: Final = ("api.openai.com", "api.anthropic.com", "127.0.0.1:11434")
_EVERY_MERGE: Final = KeyRules(OPT_IN)
_EACH_MERGE: Final = [KeyRules(name) for name in OPT_IN]


@functools.cache
def _read(path: Path) -> list[dict[str, Any]]:
    pairs: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return pairs


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One case per pair; one that skips (or fails) by its fixture where the data is absent."""
    if "number" not in metafunc.fixturenames:
        return
    shared = os.environ.get("LLMCACHE_SHARED")
    folder = Path(shared) if shared else Path(__file__).resolve().parents[3] / "shared"
    path = folder / "keys" / "key_pairs.json"
    if not path.is_file():
        metafunc.parametrize("number", [0], ids=["absent"])
        return
    names = [f"{p['class']}-{p['endpoint']}-{'+'.join(p['differing_fields'])}" for p in _read(path)]
    metafunc.parametrize("number", range(len(names)), ids=names)


def _same(pair: dict[str, Any], rules: KeyRules, *, native: bool) -> bool:
    kind, url = _KINDS[pair["endpoint"]]
    if not native:
        for host in _HOSTS:
            url = url.replace(host, "llm.example")
    api = ANTHROPIC if kind == "messages" else {}
    endpoint = normalize_endpoint(url)
    a, b = (Request(kind, endpoint, pair[x]["body"], api, rules=rules).key() for x in "ab")
    return a == b


def test_a_pair_shares_a_key_as_it_is_classed(key_pairs: Path, number: int) -> None:
    pair = _read(key_pairs)[number]
    default = KeyRules()
    plain = (_same(pair, default, native=True), _same(pair, default, native=False))
    match pair["class"]:
        case "safe":
            assert plain == (True, True)
        case "default-elision":
            assert plain == (True, False), "OpenAI's defaults are not everybody's"
        case "opt-in":
            assert plain == (False, False), "nobody asked for this merge"
            assert _same(pair, _EVERY_MERGE, native=True)
            assert _same(pair, _EVERY_MERGE, native=False)
        case "never":
            assert plain == (False, False)
            for rules in (_EVERY_MERGE, *_EACH_MERGE):
                assert not _same(pair, rules, native=True), rules
                assert not _same(pair, rules, native=False), rules
        case other:
            pytest.fail(f"no such class: {other}")


def test_the_pairs_cover_every_class_and_endpoint(key_pairs: Path) -> None:
    pairs = _read(key_pairs)
    assert len(pairs) >= 100
    assert {pair["class"] for pair in pairs} == {"safe", "default-elision", "opt-in", "never"}
    assert {pair["endpoint"] for pair in pairs} == set(_KINDS)
