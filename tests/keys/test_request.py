"""Where a request goes and for whom is part of its key; its scope leaves the last question out."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keying import ask, chat, key

from llmcache import AnthropicProvider, OllamaProvider, OpenAIProvider
from llmcache.errors import InvalidRequestError
from llmcache.keys import KEY_VERSION, OPT_IN, KeyRules, key_of_identity, normalize_endpoint
from llmcache.testing.upstream import DemoUpstream

_BASE: Final = "https://llm.example/v1/chat/completions"


# --- endpoints --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_url", "normal"),
    [
        ("HTTPS://LLM.Example/v1/chat/completions", _BASE),
        ("https://llm.example:443/v1/chat/completions", _BASE),
        ("https://llm.example/v1/chat/completions/", _BASE),
        ("https://llm.example//v1///chat/completions", _BASE),
        ("https://user:secret@llm.example/v1/chat/completions", _BASE),
        ("https://llm.example/v1/chat/completions?key=secret#part", _BASE),
        ("http://llm.example:80/v1", "http://llm.example/v1"),
        ("http://llm.example:443/v1", "http://llm.example:443/v1"),
        ("https://llm.example:80/v1", "https://llm.example:80/v1"),
        ("http://127.0.0.1:11434/api/chat", "http://127.0.0.1:11434/api/chat"),
        ("http://[::1]:8080/v1", "http://[::1]:8080/v1"),
        ("http://[2001:DB8::1]:80/v1", "http://[2001:db8::1]/v1"),
        ("https://llm.example", "https://llm.example/"),
        ("https://llm.example/V1/Chat", "https://llm.example/V1/Chat"),
        (
            "https://x.openai.azure.com/openai/deployments/d/?api-version=2024-10-21&key=s",
            "https://x.openai.azure.com/openai/deployments/d?api-version=2024-10-21",
        ),
    ],
)
def test_an_endpoint_is_known_however_it_is_spelled(given_url: str, normal: str) -> None:
    assert normalize_endpoint(given_url) == normal
    assert normalize_endpoint(normal) == normal
    assert "secret" not in normalize_endpoint(given_url)


@pytest.mark.parametrize(
    "url",
    [
        "https://other.example/v1/chat/completions",
        "http://llm.example/v1/chat/completions",
        "https://llm.example:8443/v1/chat/completions",
        "https://llm.example/v2/chat/completions",
        "https://llm.example/V1/chat/completions",
        "https://llm.example/v1/chat/completion",
        "https://llm.example/v1/chat%2Fcompletions",
        f"{_BASE}?api-version=1",
        f"{_BASE}?api-version=2",
        "https://[::1]/v1/chat/completions",
        pytest.param(f"{_BASE}?API-Version=3"),
    ],
)
def test_another_endpoint_is_another_key(url: str) -> None:
    assert key("chat", chat(), url=url) != key("chat", chat(), url=_BASE)


@pytest.mark.parametrize(
    "url",
    [
        *("", "llm.example/v1", "ftp://llm.example", "https://", "https:///v1", "https://x:y/v1"),
        *("https://[::1/v1", "https://x:99999/", "file:///etc/passwd", "https://:80/", "//x/y"),
    ],
)
def test_what_is_no_http_url_is_an_error_that_names_the_argument(url: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        normalize_endpoint(url)
    assert caught.value.path == "base_url"


@pytest.mark.parametrize(
    "url", ["ftp://user:hunter2@llm.example/v1", "https://u:hunter2/x@llm.example"]
)
def test_the_error_of_a_bad_url_has_no_credential(url: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        normalize_endpoint(url)
    assert "hunter2" not in str(caught.value)


# --- namespaces -------------------------------------------------------------------------------


def test_whom_it_is_for_is_part_of_the_key() -> None:
    betas = [{"openai-beta": "a"}, {"openai-beta": "b"}, {"anthropic-beta": "a"}]
    asked: list[dict[str, Any]] = [
        *({}, {"tenant": "a"}, {"tenant": "b"}, {"salt": "a"}, {"salt": "b"}, {"salt": ""}),
        *({"tenant": ""}, {"tenant": "a", "salt": "b"}, {"tenant": "b", "salt": "a"}),
        *({"api": beta} for beta in betas),
        {"api": {"anthropic-beta": ["a"]}},
    ]
    assert len({key("chat", chat(), **more) for more in asked}) == len(asked)


def test_each_sample_has_a_key() -> None:
    request = ask("chat", chat())
    keys = [request.key(sample) for sample in range(5)]
    assert len(set(keys)) == 5
    assert keys[0] == request.key()


def test_a_field_of_the_body_is_no_namespace() -> None:
    bodies = [{"tenant": "a"}, {"salt": "a"}, {"sample": 1}, {"api": {}}, {"v": 2}, {"scope": True}]
    keys = {key("chat", body) for body in bodies} | {
        ask("chat", {}).key(1),
        ask("chat", {}).scope(),
    }
    keys |= {key("chat", {}, tenant="a"), key("chat", {}, salt="a")}
    assert len(keys) == len(bodies) + 4


@given(sample=st.integers(0, 1_000), salt=st.none() | st.text(max_size=5))
@settings(deadline=None)
def test_a_key_is_the_hash_of_its_identity(sample: int, salt: str | None) -> None:
    request = ask("chat", chat(), salt=salt)
    assert key_of_identity(request.identity(sample)) == request.key(sample)
    assert re.fullmatch(rf"{KEY_VERSION}:[0-9a-f]{{64}}", request.key(sample))


def test_a_key_says_its_version() -> None:
    assert KEY_VERSION == "v1"
    assert key("chat", chat()).startswith("v1:")


_IN_A_PROCESS: Final = """
import sys
from llmcache.keys import KeyRules, OPT_IN, Request
body = {"messages": [{"role": "tool", "tool_call_id": "B", "content": "x"},
                     {"tool_call_id": "C", "call_id": "A", "tool_use_id": "D"}][:int(sys.argv[1])],
        "tools": [], "stop": ["c", "b", "a"], "tenant": {"b": 1, "a": 2}}
print(Request("chat", "https://llm.example/v1", body, rules=KeyRules(OPT_IN)).key())
"""


@pytest.mark.parametrize(
    "turns",
    [1, 2],
)
def test_a_key_is_the_same_in_every_process(turns: int) -> None:
    command = [sys.executable, "-c", _IN_A_PROCESS, str(turns)]
    keys = {
        subprocess.run(
            command, env={"PYTHONHASHSEED": str(seed)}, capture_output=True, check=True, text=True
        ).stdout
        for seed in range(1, 7)
    }
    assert len(keys) == 1


# --- providers --------------------------------------------------------------------------------


async def test_a_provider_s_account_and_tenant_are_namespaces() -> None:
    asked = [
        {},
        {"organization": "a"},
        {"organization": "b"},
        {"project": "a"},
        {"organization": "a", "project": "b"},
        {"organization": "a\nb"},
        {"tenant": "a"},
        {"base_url": "https://llm.example/v1"},
        {"base_url": "https://llm.example/v1?api-version=1"},
        {"key_rules": KeyRules(OPT_IN)},
    ]
    keys, identities = [], b""
    for options in asked:
        async with OpenAIProvider("m", cache_backend="memory", api_key="sk-secret", **options) as p:
            request = p._call("q", {"temperature": 1, "salt": "x"}).request
            keys.append(request.key())
            identities += request.identity()
    assert len(set(keys)) == len(asked)
    assert b"sk-secret" not in identities


@pytest.mark.parametrize(
    "where",
    ["a call's", "a provider's"],
)
async def test_a_header_that_chooses_what_the_api_does_is_in_the_key(where: str) -> None:
    keys = []
    for beta in ("assistants=v1", "assistants=v2"):
        header = {"OpenAI-Beta": beta}
        options = {"headers": header} if where == "a provider's" else {}
        extra = {} if options else {"extra_headers": header}
        async with OpenAIProvider("m", cache_backend="memory", **options) as provider:
            keys.append(provider._call("q", extra).request.key())
    assert keys[0] != keys[1]


ORGANIZATION, PROJECT = "OpenAI-Organization", "openai-project"


async def test_an_account_is_a_namespace_wherever_it_is_named() -> None:
    asked: list[tuple[dict[str, Any], dict[str, str]]] = [
        ({}, {}),
        ({"organization": "a"}, {}),
        ({"organization": "a", "project": "b"}, {}),
        ({"organization": "a", "headers": {PROJECT: "c"}}, {}),
        ({"organization": "a", "project": "b"}, {ORGANIZATION: "c"}),
        ({"organization": "a"}, {ORGANIZATION: ""}),
    ]
    same: list[tuple[dict[str, Any], dict[str, str]]] = [
        ({"headers": {ORGANIZATION: "a"}}, {}),
        ({}, {ORGANIZATION: "a"}),
        ({"organization": "b"}, {ORGANIZATION: "a"}),
        ({"headers": {ORGANIZATION: "b"}}, {ORGANIZATION: "a"}),
    ]

    async def key_of(options: dict[str, Any], extra: dict[str, str]) -> str:
        async with OpenAIProvider("m", cache_backend="memory", **options) as provider:
            request = provider._call("q", {"extra_headers": extra}).request
            assert b"organization" not in request.identity()
            return request.key()

    keys = [await key_of(*one) for one in asked]
    assert len(set(keys)) == len(asked)
    assert {await key_of(*one) for one in same} == {keys[1]}
    assert await key_of({"organization": "a"}, {PROJECT: "b"}) == keys[2]
    assert await key_of({"project": "c"}, {ORGANIZATION: "a"}) == keys[3]


TRAVEL = {
    "user-agent": "u",
    "accept-encoding": "identity",
    "idempotency-key": "i",
    "traceparent": "00-1-1-01",
    "x-stainless-retry-count": "2",
    "x-stainless-read-timeout": "30",
    "x-client-request-id": "r",
    "anthropic-user-profile-id": "p",
    "authorization": "Bearer other",
}


@pytest.mark.parametrize("kind", [OpenAIProvider, AnthropicProvider, OllamaProvider])
@pytest.mark.parametrize("header", TRAVEL)
async def test_a_header_of_the_journey_is_not_in_the_key(kind: Any, header: str) -> None:
    async with kind("m", cache_backend="memory") as provider:
        plain = provider._call("q", {}).request.key()
        extra = {"extra_headers": {header: TRAVEL[header]}, "timeout": 5, "attempts": 1}
        assert provider._call("q", extra).request.key() == plain


async def test_a_call_s_salt_is_in_its_key(upstream: DemoUpstream) -> None:
    async with OpenAIProvider("m", base_url=upstream.base_url, cache_backend="memory") as provider:
        asked = [
            await provider.complete("q", cache_response=True, salt=salt)
            for salt in ("a", "b", None)
        ]
        vectors = [
            await provider.embed("q", cache_response=True, salt=salt) for salt in ("a", "b", None)
        ]
    assert [answer.cache and answer.cache.status for answer in (*asked, *vectors)] == ["miss"] * 6


def test_every_pair_of_samples_and_salts_is_apart() -> None:
    made = [
        ask("chat", chat(), salt=salt).key(sample)
        for salt, sample in itertools.product([None, "0", "1", "sample"], range(3))
    ]
    assert len(set(made)) == len(made)


def test_who_asked_for_no_merges_gets_no_answer_of_one_who_did() -> None:
    """A merge is a caller's word for its own requests, and nobody else's."""
    body = chat("q")
    plain, merged = ask("chat", body), ask("chat", {**body, "store": True}, merge=["store"])
    assert plain.normalized() == merged.normalized()
    assert plain.key() != merged.key()
    assert ask("chat", body, merge=["store"]).key() == merged.key()
    assert ask("chat", body, merge=["store", "unicode"]).key() != merged.key()


@pytest.mark.parametrize("name", ["key", "api_key", "Token", "sig"])
def test_a_credential_in_a_query_does_not_count(name: str) -> None:
    one, other = (
        normalize_endpoint(f"https://llm.example/v1?{name}={value}&api-version=1") for value in "ab"
    )
    assert one == other == "https://llm.example/v1?api-version=1"


def test_any_other_parameter_of_the_query_counts_and_is_not_shown() -> None:
    one, other = (
        normalize_endpoint(f"https://llm.example/v1?deployment={value}") for value in ("mine", "x")
    )
    assert one != other
    assert "mine" not in one
