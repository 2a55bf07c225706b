"""`stats`, `ls`, `show`: what a cache holds."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmcache import AnthropicProvider, CompletionResult, OllamaProvider, OpenAIProvider
from llmcache.cache import open_cache
from llmcache.cli.output import clean
from llmcache.providers.openai_chat import ChatDialect
from llmcache.providers.sse import SSEDecoder
from llmcache.testing.upstream import Reply, Upstream
from llmcache.types import WireEvent


def test_stats_count_by_collection(run: Callable[..., Any], filled: Any) -> None:
    found = run("stats", "--json").json
    sizes = [path.stat().st_size for path in filled.folder.rglob("*.llmc")]
    assert found["entries"] == len(sizes) == 9
    assert found["bytes"] == sum(sizes)
    counts = {name: each["entries"] for name, each in found["collections"].items()}
    assert counts == {"default": 5, "discreet": 1, "elsewhere": 1, "vectors": 2}
    assert sum(each["bytes"] for each in found["collections"].values()) == sum(sizes)
    assert found["oldest_use"] <= found["newest_use"] <= time.time()
    text = run("stats").out
    assert "vectors" in text
    assert [line.split()[:2] for line in text.splitlines() if line.startswith("all")] == [
        ["all", "9"]
    ]


def test_a_list_is_newest_first(run: Callable[..., Any], filled: Any) -> None:
    found = run("ls", "--json").json
    moments = [each["created_at"] for each in found["entries"]]
    assert moments == sorted(moments, reverse=True)
    assert (len(moments), found["matched"], found["unreadable"]) == (9, 9, 0)
    assert found["entries"][0]["key"] == filled.key("discreet")


@pytest.mark.parametrize("limit", [1, 2, 8, 9, 100])
def test_a_list_ends_at_its_limit_with_the_newest(
    run: Callable[..., Any], filled: Any, limit: int
) -> None:
    everything = run("ls", "--json").json["entries"]
    found = run("ls", "--json", "--limit", str(limit)).json
    assert [each["key"] for each in found["entries"]] == [
        each["key"] for each in everything[:limit]
    ]
    assert found["matched"] == 9


@pytest.mark.parametrize("limit", ["0", "-1", "many"])
def test_a_limit_that_is_none_is_refused(run: Callable[..., Any], filled: Any, limit: str) -> None:
    ran = run("ls", "--limit", limit)
    assert (ran.code, ran.out) == (2, "")
    assert "limit" in ran.err


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        (["--tag", "a"], {"plain", "streamed"}),
        (["--tag", "b"], {"streamed"}),
        (["--tag", "none"], set()),
        (["--model", "other"], {"other"}),
        (["--model", "other", "--tag", "a"], set()),
        (["--collection", "elsewhere"], {"elsewhere"}),
        (["--collection", "discreet", "--model", "demo"], {"discreet"}),
    ],
)
def test_a_list_is_filtered(
    run: Callable[..., Any], filled: Any, filters: list[str], names: set[str]
) -> None:
    found = run("ls", "--json", *filters).json
    assert {each["key"] for each in found["entries"]} == {filled.key(name) for name in names}
    assert found["matched"] == len(names)


def test_a_list_says_what_is_known_of_each_entry(run: Callable[..., Any], filled: Any) -> None:
    entries = {each["key"]: each for each in run("ls", "--json").json["entries"]}
    streamed = entries[filled.key("streamed")]
    usage = filled.results["streamed"].usage
    assert streamed["tokens"] == usage.total_tokens
    assert streamed["cost"] == format(usage.total_cost, "f")
    assert streamed["tags"] == ["a", "b"]
    assert streamed["streamed"] is True
    assert streamed["expires_at"] is None
    assert 0 <= streamed["age_seconds"] < 3600
    other = entries[filled.key("other")]
    assert other["expires_at"] == pytest.approx(other["created_at"] + 3600)
    text = run("ls").out
    (line,) = [line for line in text.splitlines() if line.startswith(filled.key("other")[:15])]
    assert " other " in line
    assert re.search(r" in (59|60) min ", line)
    (line,) = [line for line in text.splitlines() if line.startswith(filled.key("expired")[:15])]
    assert " ago " in line


def test_an_entry_that_cannot_be_read_is_counted_and_told(
    run: Callable[..., Any], filled: Any, damage: Callable[..., Path]
) -> None:
    damage(filled.folder, filled.key("other"))
    ran = run("ls", "--json")
    assert (ran.code, ran.json["matched"], ran.json["unreadable"]) == (0, 8, 1)
    assert "1 entries cannot be read" in ran.err


# --- show -------------------------------------------------------------------------------------


@pytest.mark.parametrize("digits", [None, 20, 64])
@pytest.mark.parametrize("scheme", ["v1:", ""])
def test_the_beginning_of_a_key_is_enough(
    run: Callable[..., Any], filled: Any, digits: int | None, scheme: str
) -> None:
    key = filled.key("streamed")
    start = scheme + key.partition(":")[2][:digits]
    assert run("show", start, "--json").json["key"] == key


def test_show_gives_request_and_answer_back(run: Callable[..., Any], filled: Any) -> None:
    found = run("show", filled.key("other"), "--json").json
    assert found["request"]["body"] == {
        "model": "other",
        "messages": [{"role": "user", "content": "Explain WAL in one paragraph."}],
        "temperature": 0.2,
    }
    assert found["request"]["endpoint"] == f"{filled.base_url}/chat/completions"
    expected = filled.results["other"]
    kept = {name: value for name, value in found["answer"].items() if value is not None}
    assert CompletionResult.from_dict({**kept, "raw_json": expected.raw_json.decode()}) == expected
    text = run("show", filled.key("other")).out
    assert expected.content in text
    assert '"temperature": 0.2' in text
    assert "[finish reason] stop" in text


def test_raw_is_the_body_to_the_byte(run: Callable[..., Any], filled: Any) -> None:
    ran = run("show", filled.key("other"), "--raw")
    assert ran.out.encode() == filled.results["other"].raw_json
    assert run("show", filled.key("other"), "--raw", "--json").json["raw"] == ran.out


def test_the_raw_stream_replays_to_the_same_answer(run: Callable[..., Any], filled: Any) -> None:
    ran = run("show", filled.key("streamed"), "--raw")
    sse, decoder = SSEDecoder(), ChatDialect().decoder()
    for event in sse.feed(ran.out.encode()):
        decoder.feed(WireEvent(event.data, event.event))
    assert decoder.terminal
    assert decoder.finish() == filled.results["streamed"]
    found = run("show", filled.key("streamed"), "--json").json
    assert found["events"] == ran.out.count("data: ")


async def test_ollamas_answers_are_shown_and_its_streams_are_lines(
    run: Callable[..., Any], filled: Any
) -> None:
    top = {"model": "m", "created_at": "now"}
    pieces = [{**top, "message": {"content": text}, "done": False} for text in ("Hel", "lo")]
    ends = {"done": True, "done_reason": "stop"}
    lines = [json.dumps(each) for each in [*pieces, {**top, **ends, "message": {"content": ""}}]]
    body = "".join(f"{line}\n" for line in lines)
    generated = json.dumps({**top, **ends, "response": "Once"})

    def answer(request: Any) -> Reply:
        return Reply(body=(body if request.path == "/api/chat" else generated).encode())

    async with Upstream(answer) as upstream:
        url = upstream.base_url.removesuffix("/v1")
        async with OllamaProvider("m", base_url=url, cache_dir=filled.folder) as provider:
            events = [event async for event in provider.stream("q", cache_response=True)]
            whole = await provider.generate("p", cache_response=True)

    def look() -> list[Any]:
        shown = [
            run("show", info.key, "--json").json for info in (events[-1].data.cache, whole.cache)
        ]
        return [*shown, run("show", events[-1].data.cache.key, "--raw").out]

    chat, prompt, raw = await asyncio.to_thread(look)
    assert (chat["kind"], chat["answer"]["content"]) == ("ollama.chat", "Hello")
    assert (prompt["kind"], prompt["answer"]["content"]) == ("ollama.generate", "Once")
    assert raw == body


async def test_every_kind_of_answer_is_shown(run: Callable[..., Any], filled: Any) -> None:
    """As its provider parses it; the kinds beside these are shown above."""
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": [{"type": "text", "text": "Hello"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    part = {"type": "output_text", "text": "Hi", "annotations": []}
    item = {"type": "message", "id": "m", "role": "assistant", "status": "completed"}
    response = {
        "id": "resp_1",
        "object": "response",
        "status": "completed",
        "model": "gpt-5",
        "output": [{**item, "content": [part]}],
    }

    def answer(request: Any) -> Reply:
        found = message if request.path.endswith("/messages") else response
        return Reply(body=json.dumps(found).encode())

    async with Upstream(answer) as upstream:
        url = upstream.base_url
        options: dict[str, Any] = {"api_key": "sk", "cache_dir": filled.folder}
        claude = AnthropicProvider("claude-sonnet-4-5", base_url=url.removesuffix("/v1"), **options)
        gpt = OpenAIProvider("gpt-5", base_url=url, use_responses_api=True, **options)
        results = []
        for provider in (claude, gpt):
            async with provider:
                results.append(await provider.complete("q", cache_response=True))

    def look() -> list[Any]:
        return [run("show", result.cache.key, "--json").json for result in results]

    shown = await asyncio.to_thread(look)
    assert [(each["kind"], each["answer"]["content"]) for each in shown] == [
        ("messages", "Hello"),
        ("responses", "Hi"),
    ]


def test_a_vector_is_shown_by_its_size(
    run: Callable[..., Any], filled: Any, process: Callable[..., Any]
) -> None:
    key = run("ls", "--collection", "vectors", "--json").json["entries"][0]["key"]
    found = run("show", key, "--json", "--raw").json
    assert (found["kind"], found["dimensions"], found["answer"]) == ("embedding", 256, None)
    assert "a vector of 256 numbers" in run("show", key).out
    assert process("show", key, "--raw").stdout == base64.b64decode(found["raw_base64"])


def test_a_request_that_is_not_stored_is_not_shown(run: Callable[..., Any], filled: Any) -> None:
    found = run("show", filled.key("discreet"), "--json").json
    assert found["request"] is None
    assert "messages[0]" in found["components"]
    text = run("show", filled.key("discreet")).out
    assert "not stored" in text
    assert "Between us" not in text


def test_an_ambiguous_beginning_names_the_candidates(run: Callable[..., Any], filled: Any) -> None:
    ran = run("show", "v1:")
    assert (ran.code, ran.out) == (2, "")
    assert "9 entries" in ran.err
    ran = run("show", filled.key("plain"))
    assert ran.code == 2
    assert f"{filled.key('plain')} in default" in ran.err
    assert f"{filled.key('plain')} in elsewhere" in ran.err
    found = run("show", filled.key("plain"), "--collection", "elsewhere", "--json").json
    assert found["collection"] == "elsewhere"


@pytest.mark.parametrize("key", ["v1:0000", "zz", "../../etc/passwd", "v1:" + "0" * 64, "é"])
def test_an_unknown_key_is_code_1(run: Callable[..., Any], filled: Any, key: str) -> None:
    ran = run("show", key)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == f"llmcache: no entry whose key begins with {key!r}\n"


def test_a_damaged_entry_is_told_and_stays(
    run: Callable[..., Any], filled: Any, damage: Callable[..., Path]
) -> None:
    path = damage(filled.folder, filled.key("other"))
    ran = run("show", filled.key("other"))
    assert (ran.code, ran.out) == (2, "")
    assert "checksum mismatch" in ran.err
    assert path.exists()


def test_looking_is_no_use(run: Callable[..., Any], filled: Any) -> None:
    before = {each["key"]: each["uses"] for each in run("ls", "--json").json["entries"]}
    run("show", filled.key("streamed"))
    run("ls")
    after = {each["key"]: each["uses"] for each in run("ls", "--json").json["entries"]}
    assert after == before


# --- what others wrote ------------------------------------------------------------------------

_HOSTILE = "\x1b[31mred\x1b[0m\x07 [bold]no[/bold] \x9b2J \u202eabc\r\n"


def _hostile(request: Any) -> Reply:
    body = request.json()
    message = {"role": "assistant", "content": _HOSTILE}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    answer = {"id": "x", "model": f"{_HOSTILE}!", "choices": [choice], "object": "chat.completion"}
    assert body["messages"]
    return Reply(body=json.dumps(answer).encode())


async def _fill_hostile(folder: Path) -> str:
    async with (
        Upstream(_hostile) as upstream,
        OpenAIProvider("demo", base_url=upstream.base_url, cache_dir=folder) as provider,
    ):
        result = await provider.complete(_HOSTILE, cache_response=True, tags=[_HOSTILE])
    assert result.cache is not None
    assert result.cache.key is not None
    return result.cache.key


def test_an_answer_cannot_steer_the_terminal(run: Callable[..., Any], tmp_path: Path) -> None:
    key = asyncio.run(_fill_hostile(tmp_path / "cache"))
    for args in (
        ["ls"],
        ["show", key],
        ["ls", "--json"],
        ["invalidate", "--model", _HOSTILE, "-y"],
    ):
        ran = run(*args)
        assert ran.code == 0
        for character in "\x1b\x07\x9b\u202e\r":
            assert character not in ran.out + ran.err
    assert r"\x1b[31mred" in clean(_HOSTILE)
    assert clean("naïve 日本語 👩‍👩‍👧 \t\n ok") == "naïve 日本語 👩‍👩‍👧 \t\n ok"


async def test_an_entry_of_an_unknown_kind_is_listed_and_shown(
    run: Callable[..., Any], filled: Any
) -> None:
    manager = open_cache("fs", store={"cache_dir": filled.folder})
    entry = (await manager.store.fetch("default", [filled.key("other")]))[filled.key("other")]
    from llmcache.backends import StoredEntry  # noqa: PLC0415 - only here

    strange = entry._replace(kind="telepathy", key=f"v9:{'a' * 64}")
    data = manager.store.codec.encode(strange)
    await manager.backend.put("default", [StoredEntry(strange.key, data)])
    await manager.aclose()

    def look() -> tuple[Any, Any]:
        return run("show", strange.key, "--json"), run("ls", "--json")

    shown, listed = await asyncio.to_thread(look)
    assert "telepathy" in shown.json["problem"]
    assert shown.json["answer"] is None
    assert listed.json["matched"] == 10
