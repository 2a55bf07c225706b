"""`explain`: the command's key is the provider's, and its lines tell what differs."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmcache import AnthropicProvider, OllamaProvider, OpenAIProvider
from llmcache.testing.upstream import DemoUpstream

QUESTION = [{"role": "user", "content": "Explain WAL in one paragraph."}]
SCHEMA = {"type": "object", "properties": {"b": {"type": "string"}, "a": {"type": "integer"}}}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}


def _written(body: Any) -> str:
    Path("request.json").write_text(json.dumps(body))
    return "request.json"


def test_a_stored_request_is_found(run: Callable[..., Any], filled: Any) -> None:
    body = {"model": "other", "messages": QUESTION, "temperature": 0.2}
    ran = run("explain", _written(body), "--base-url", filled.base_url, "--json")
    assert ran.code == 0
    assert ran.json["stored"] is True
    assert ran.json["expired"] is False
    assert ran.json["key"] == filled.key("other")
    text = run("explain", "request.json", "--base-url", filled.base_url).out
    assert re.search(r"(?m)^stored +yes$", text)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"temperature": 0.3}, "temperature: 0.2 → 0.3"),
        ({"temperature": 0.2, "top_p": 0.5}, "top_p: absent → 0.5"),
        ({"temperature": 0.2, "unheard_of": 1}, "unheard_of: absent → 1"),
        ({}, "temperature: 0.2 → absent"),
    ],
)
def test_the_differing_line_is_named(
    run: Callable[..., Any], filled: Any, change: dict[str, Any], line: str
) -> None:
    body = {"model": "other", "messages": QUESTION, **change}
    args = ["explain", _written(body), "--base-url", filled.base_url]
    ran = run(*args, "--json")
    assert ran.code == 1
    assert ran.json["differences"] == [line]
    assert ran.json["nearest"] == filled.key("other")
    assert (ran.json["compared"], ran.json["complete"]) == (5, True)
    assert line in run(*args).out


def test_a_sample_has_a_key_of_its_own(run: Callable[..., Any], filled: Any) -> None:
    body = _written({"model": "demo", "messages": QUESTION})
    args = ["explain", body, "--base-url", filled.base_url, "--json"]
    assert run(*args).json["key"] == filled.key("plain")
    assert run(*args, "--sample", "1").json["key"] == filled.key("sample")
    missing = run(*args, "--sample", "2")
    assert missing.code == 1
    assert missing.json["differences"] in (["sample: 0 → 2"], ["sample: 1 → 2"])


def test_an_expired_answer_is_told(run: Callable[..., Any], filled: Any) -> None:
    messages = [{"role": "user", "content": "Of yesterday?"}]
    body = _written({"model": "demo", "messages": messages})
    ran = run("explain", body, "--base-url", filled.base_url, "--json")
    assert (ran.json["stored"], ran.json["expired"]) == (True, True)
    assert "past its time" in run("explain", body, "--base-url", filled.base_url).out


def test_a_request_that_is_never_cached_is_told(run: Callable[..., Any], filled: Any) -> None:
    body = {"model": "demo", "messages": QUESTION, "tools": [{"type": "web_search"}]}
    ran = run("explain", _written(body), "--json")
    assert ran.code == 1
    assert "web_search" in ran.json["bypass"]


def test_the_server_comes_from_the_environment_too(
    run: Callable[..., Any], filled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = _written({"model": "demo", "messages": QUESTION})
    assert run("explain", body, "--json").json["differences"] == [
        f'endpoint: "{filled.base_url}/chat/completions" → "https://api.openai.com/v1/chat/completions"'
    ]
    monkeypatch.setenv("OPENAI_BASE_URL", filled.base_url)
    assert run("explain", body, "--json").json["key"] == filled.key("plain")


def test_a_request_comes_from_standard_input(run: Callable[..., Any], filled: Any) -> None:
    body = json.dumps({"model": "demo", "messages": QUESTION})
    ran = run("explain", "-", "--base-url", filled.base_url, "--json", stdin=body)
    assert ran.json["stored"] is True


def test_where_requests_are_not_stored_only_places_are_named(
    run: Callable[..., Any], filled: Any
) -> None:
    body = _written({"model": "demo", "messages": QUESTION})
    args = ["explain", body, "--base-url", filled.base_url, "--collection", "discreet"]
    assert run(*args, "--json").json["differences"] == ["messages[0]: differs"]


@pytest.mark.parametrize(
    "body",
    [
        {"model": "m", "messages": QUESTION},
        {"model": "m", "messages": QUESTION, "max_tokens": 7, "stop": ["x"], "seed": 1},
        {"model": "m", "messages": QUESTION, "tools": [TOOL], "tool_choice": "required"},
        {
            "model": "m",
            "messages": QUESTION,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "a", "schema": SCHEMA},
            },
        },
        {"model": "m", "messages": QUESTION, "stream": True, "user": "u"},
        {"model": "m", "messages": QUESTION, "x_vendor": {"deep": [1, 2.5, None]}},
        {"model": "m", "messages": [{"role": "system", "content": "Be brief."}, *QUESTION]},
        {
            "model": "m",
            "messages": [{"role": "user", "content": [{"type": "text", "text": "parts"}]}],
        },
    ],
    ids=lambda body: "+".join(sorted(body)),
)
def test_a_body_has_the_key_that_the_provider_gives_it(
    run: Callable[..., Any], tmp_path: Path, body: dict[str, Any]
) -> None:
    async def ask() -> tuple[str, str, Any]:
        async with (
            DemoUpstream() as upstream,
            OpenAIProvider(base_url=upstream.base_url, cache_dir=tmp_path / "cache") as provider,
        ):
            rest = dict(body)
            messages = rest.pop("messages")
            streamed = rest.pop("stream", False)
            known = {"model", "max_tokens", "stop", "seed", "tools", "tool_choice", "user"}
            options = {name: rest.pop(name) for name in list(rest) if name in known}
            if "response_format" in rest:
                options["response_format"] = rest.pop("response_format")
            options |= {"extra_body": rest or None, "cache_response": True}
            if streamed:
                async for event in provider.stream(messages, **options):
                    result = event.data
            else:
                result = await provider.complete(messages, **options)
            sent = upstream.requests[0].json()
            return upstream.base_url, result.cache.key, sent

    base_url, key, sent = asyncio.run(ask())
    ran = run("explain", _written(body), "--base-url", base_url, "--json")
    assert (ran.code, ran.json["key"]) == (0, key)
    # What went over the wire is a request that explain understands as well.
    ran = run("explain", _written(sent), "--base-url", base_url, "--json")
    assert (ran.code, ran.json["key"]) == (0, key)


KINDS: dict[str, dict[str, Any]] = {
    "chat": {"messages": QUESTION, "temperature": 0.5},
    "responses": {"input": "Explain WAL.", "instructions": "Be brief.", "max_output_tokens": 9},
    "messages": {"messages": QUESTION, "max_tokens": 9, "system": "Be brief."},
    "embedding": {"input": "Explain WAL.", "dimensions": 4},
    "ollama.chat": {"messages": QUESTION, "options": {"num_ctx": 9}, "keep_alive": "5m"},
    "ollama.generate": {"prompt": "Explain WAL.", "raw": True},
    "ollama.embed": {"input": "Explain WAL."},
}


async def _asked(kind: str, body: dict[str, Any], server: DemoUpstream, folder: Path) -> Any:
    """Ask what `body` says with the provider's own methods; return what the cache says of it."""
    rest = dict(body)
    said = rest.pop(kind_field(kind))
    options: dict[str, Any] = {"extra_body": rest, "cache_response": True}
    settings: dict[str, Any] = {"model": "demo", "cache_dir": folder}
    if kind == "messages":
        async with AnthropicProvider(base_url=server.base_url, **settings) as claude:
            return (await claude.complete(said, **options)).cache
    if kind.startswith("ollama"):
        async with OllamaProvider(base_url=server.host, **settings) as ollama:
            methods = {
                "ollama.chat": ollama.complete,
                "ollama.generate": ollama.generate,
                "ollama.embed": ollama.embed,
            }
            ask: Any = methods[kind]
            return (await ask(said, **options)).cache
    async with OpenAIProvider(base_url=server.base_url, **settings) as openai:
        if kind == "embedding":
            return (await openai.embed(said, **options)).cache
        options["use_responses_api"] = kind == "responses"
        return (await openai.complete(said, **options)).cache


def kind_field(kind: str) -> str:
    return next(name for name in ("messages", "input", "prompt") if name in KINDS[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_request_has_the_key_that_its_provider_gives_it(
    run: Callable[..., Any], tmp_path: Path, kind: str
) -> None:
    async def ask() -> tuple[str, str | None, Any]:
        async with DemoUpstream() as server:
            info = await _asked(kind, KINDS[kind], server, tmp_path / "cache")
            place = server.host if kind.startswith("ollama") else server.base_url
            return place, info.key, server.requests[0].json()

    place, key, sent = asyncio.run(ask())
    args = ["--base-url", place, "--json"]
    body = {"model": "demo", **KINDS[kind]}
    # What it looks like tells, except where the vectors come from.
    named = ["--kind", kind] if kind == "ollama.embed" else []
    ran = run("explain", _written(body), *args, *named)
    assert (ran.code, ran.json["kind"], ran.json["stored"]) == (0, kind, True)
    assert key in {None, ran.json["key"]}  # a list of vectors has no one key
    # What went over the wire is a request that explain understands as well.
    ran = run("explain", _written(sent), *args, "--kind", kind)
    assert (ran.code, ran.json["stored"]) == (0, True)
    changed = run("explain", _written({**body, "unheard_of": 1}), *args, "--kind", kind)
    assert changed.code == 1
    assert changed.json["differences"] == ["unheard_of: absent → 1"]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"model": "claude-sonnet-4-5", "messages": QUESTION, "max_tokens": 9}, "messages"),
        ({"model": "anthropic/claude", "messages": QUESTION, "max_tokens": 9}, "chat"),
        ({"model": "m", "messages": QUESTION, "tools": [{"input_schema": {}}]}, "messages"),
        ({"model": "m", "messages": QUESTION, "tools": [TOOL]}, "chat"),
        ({"model": "m", "messages": QUESTION, "think": False}, "ollama.chat"),
        ({"model": "text-embedding-3-small", "input": "x"}, "embedding"),
        ({"model": "m", "input": "x", "encoding_format": "float"}, "embedding"),
        ({"model": "m", "input": "x"}, "responses"),
        ({"model": "m", "prompt": "x"}, "ollama.generate"),
    ],
)
def test_the_kind_is_what_a_request_looks_like(
    run: Callable[..., Any], filled: Any, body: dict[str, Any], kind: str
) -> None:
    args = ["explain", _written(body), "--json"]
    assert run(*args).json["kind"] == kind


def test_a_request_of_another_kind_is_one_line(run: Callable[..., Any], filled: Any) -> None:
    body = _written({"model": "m", "input": ["a", "b"]})
    ran = run("explain", body, "--kind", "chat")
    assert (ran.code, ran.out) == (2, "")
    assert 'a request of chat has "messages"' in ran.err
    ran = run("explain", body, "--kind", "embedding")
    assert (ran.code, ran.out) == (2, "")
    assert "each input has a key of its own" in ran.err


@pytest.mark.parametrize("kind", ["responses", "messages", "ollama.generate", "embedding"])
def test_a_prompt_is_asked_of_any_kind(run: Callable[..., Any], filled: Any, kind: str) -> None:
    ran = run("explain", "--prompt", "x", "--model", "m", "--kind", kind, "--json")
    assert (ran.code, ran.json["kind"], ran.json["stored"]) == (1, kind, False)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            "salt",
        ),
        "tenant",
    ],
)
def test_salt_and_tenant_are_part_of_the_key(
    run: Callable[..., Any], filled: Any, name: str
) -> None:
    body = _written({"model": "demo", "messages": QUESTION})
    args = ["explain", body, "--base-url", filled.base_url, "--json", f"--{name}", "x"]
    ran = run(*args)
    assert ran.code == 1
    assert ran.json["differences"] == [f'{name}: absent → "x"']


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("\xff\xfe", "not JSON"),
        ("[" * 100_000, "nested"),
        ("9" * 5_000, "not JSON"),
        ("[]", "a chat request is an object"),
        ('"text"', "a chat request is an object"),
        ('{"model": "m"}', "a chat request is an object"),
        ('{"messages": []}', '"model" must be'),
        ('{"model": 5, "messages": ["x"]}', '"model" must be'),
        ('{"model": "m", "messages": []}', "messages: must not be empty"),
        ('{"model": "m", "messages": null}', "messages: must be"),
        ('{"model": "m", "messages": [{"role": 7}]}', "messages[0].role"),
        ('{"model": "m", "messages": ["x"], "temperature": NaN}', "temperature"),
        ('{"model": "m", "messages": ["\\ud800"]}', "messages[0]"),
        ('{"model": "m", "messages": ["x"], "x": ' + "[" * 950 + "]" * 950 + "}", "nested"),
    ],
    ids=lambda value: value[:30].strip(),
)
def test_a_request_that_is_none_is_one_line(
    run: Callable[..., Any], filled: Any, text: str, reason: str
) -> None:
    Path("request.json").write_bytes(text.encode("latin-1"))
    ran = run("explain", "request.json")
    assert (ran.code, ran.out) == (2, "")
    assert reason in ran.err
    assert ran.err.count("\n") == 1


def test_a_request_file_that_is_missing_is_one_line(run: Callable[..., Any], filled: Any) -> None:
    ran = run("explain", "nothing.json")
    assert (ran.code, ran.err) == (2, "llmcache: nothing.json: No such file or directory\n")
    ran = run("explain", str(filled.folder))
    assert (ran.code, ran.err.count("\n")) == (2, 1)


def test_a_prompt_needs_no_file(run: Callable[..., Any], filled: Any) -> None:
    args = ["explain", "--prompt", QUESTION[0]["content"], "--base-url", filled.base_url, "--json"]
    found = run(*args, "--model", "demo")
    assert (found.code, found.json["stored"]) == (0, True)
    assert found.json["key"] == filled.key("plain")
    missing = run(*args, "--model", "another")
    assert (missing.code, missing.json["stored"]) == (1, False)
    assert "model: 'demo' → 'another'" in str(missing.json["differences"]).replace('"', "'")


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["--prompt", "x"],
        ["--model", "m"],
        ["--prompt", "", "--model", "m"],
        ["request.json", "--prompt", "x"],
        ["request.json", "--model", "m"],
        ["request.json", "--prompt", "x", "--model", "m"],
    ],
)
def test_a_request_is_a_file_or_a_prompt_for_a_model(
    run: Callable[..., Any], filled: Any, args: list[str]
) -> None:
    _written({"model": "m", "messages": QUESTION})
    ran = run("explain", *args)
    assert ran.code == 2
    assert "--prompt and --model" in ran.err
