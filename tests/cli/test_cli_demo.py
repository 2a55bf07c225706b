"""`demo`: what it shows, what it counts, and that it does not claim what is not so."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from llmcache.cli import demo as demo_module
from llmcache.testing.upstream import DemoUpstream, Reply, Upstream, UpstreamRequest

SCENES = [
    "miss",
    "hit",
    "restart",
    "stream",
    "replay",
    "replay_paced",
    "burst",
    "embed",
    "embed_half",
]
CALLS = [1, 0, 0, 1, 0, 0, 1, 1, 1]
SPARED = [0, 1, 1, 0, 1, 1, 99, 0, 0]


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the stand-in answer at once."""
    monkeypatch.setattr(demo_module, "_LATENCY", 0.01)
    monkeypatch.setattr(demo_module, "_TOKEN_DELAY", 0.001)


@pytest.fixture
def against(
    tmp_path: Path, clean_environment: Callable[..., dict[str, str]]
) -> Callable[..., Awaitable[tuple[int, str, str]]]:
    """A function that runs `demo` as a process against a server of this test."""

    async def call(*args: str, **variables: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "llmcache", "demo", *args),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=tmp_path,
            env=clean_environment(**variables),
        )
        out, err = await asyncio.wait_for(process.communicate(), 50)
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    return call


def test_the_demo_runs_on_a_machine_with_nothing(
    process: Callable[..., Any], tmp_path: Path
) -> None:
    done = process("demo", "--json")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown["ok"] is True
    assert shown["server"]["stand_in"] is True
    scenes = shown["scenes"]
    assert [scene["name"] for scene in scenes] == SCENES
    assert [scene["calls"] for scene in scenes] == CALLS
    assert [scene["spared"] for scene in scenes] == SPARED
    assert [scene["problem"] for scene in scenes] == [None] * len(SCENES)
    seconds = {scene["name"]: scene["seconds"] for scene in scenes}
    for live, found in (("miss", "hit"), ("miss", "restart"), ("stream", "replay")):
        assert seconds[live] > 0.8 > seconds[found]
    assert seconds["replay_paced"] > 0.8  # with the pauses of the recording
    totals = shown["totals"]
    assert (totals["calls_made"], totals["calls_spared"], totals["vectors_spared"]) == (5, 103, 4)
    assert totals["seconds_saved"] > 0.8 * 103
    assert Decimal(totals["cost_saved"]) > 0
    assert b"stand-in on this machine" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_people_get_a_table_and_totals(run: Callable[..., Any], fast: None) -> None:
    ran = run("demo")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("A stand-in on this machine answers, with made-up text")
    lines = ran.out.splitlines()
    for start in (
        "asked  ",
        "asked again ",
        "asked after a restart ",
        "streamed again ",
        "streamed, as recorded ",
        "100 callers at once ",
        "8 texts, 4 known ",
        "calls made    5",
        "calls spared  103, and 4 vectors",
        "time saved ",
        "money saved   $",
    ):
        assert any(line.startswith(start) for line in lines), start


@pytest.mark.parametrize(
    ("provider", "scenes", "spared"),
    [("openai", SCENES, 103), ("anthropic", SCENES[:-1], 103), ("ollama", SCENES, 103)],
)
def test_each_provider_has_its_demo(
    run: Callable[..., Any],
    fast: None,
    monkeypatch: pytest.MonkeyPatch,
    provider: str,
    scenes: list[str],
    spared: int,
) -> None:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    shown = run("demo", "--provider", provider, "--json").json
    assert (shown["ok"], shown["provider"]) == (True, provider)
    assert [scene["name"] for scene in shown["scenes"]] == scenes
    assert shown["totals"]["calls_spared"] == spared
    skipped = [scene["skipped"] for scene in shown["scenes"] if scene["skipped"]]
    assert skipped == (["the API has no embeddings"] if provider == "anthropic" else [])


async def test_each_provider_asks_its_own_server(
    against: Callable[..., Any], upstream: DemoUpstream
) -> None:
    places = {
        "anthropic": ("ANTHROPIC_BASE_URL", upstream.base_url, "claude-haiku-4-5"),
        "ollama": ("OLLAMA_HOST", upstream.host.removeprefix("http://"), "qwen2.5:3b"),
    }
    for provider, (variable, address, model) in places.items():
        upstream.requests.clear()
        code, out, err = await against("--provider", provider, **{variable: address})
        assert code == 0, err
        assert "real calls" in out
        assert upstream.requests[0].json()["model"] == model


def test_the_cache_is_kept_where_it_is_asked_for(run: Callable[..., Any], fast: None) -> None:
    assert run("demo", "--cache-dir", "kept", "--json").json["cache_dir"] == "kept"
    stats = run("stats", "--cache-dir", "kept", "--json").json
    assert stats["collections"]["demo"]["entries"] == 3 + 8
    listed = run("ls", "--tag", "demo", "--cache-dir", "kept", "--json").json
    assert listed["matched"] == 11
    assert run("verify", "--cache-dir", "kept").code == 0
    assert run("demo", "--cache-dir", "kept", "--json").json["ok"] is True


async def test_a_server_from_the_environment_gets_five_calls(
    against: Callable[..., Any], upstream: DemoUpstream, secret: str, tmp_path: Path
) -> None:
    code, out, err = await against(
        "--json", "--cache-dir", "kept", OPENAI_BASE_URL=upstream.base_url, OPENAI_API_KEY=secret
    )
    assert code == 0, err
    shown = json.loads(out)
    assert shown["server"] == {
        "stand_in": False,
        "base_url": upstream.base_url,
        "model": "gpt-5-nano",
        "embedding_model": "text-embedding-3-small",
    }
    assert upstream.calls == shown["totals"]["calls_made"] == 5
    assert [scene["calls"] for scene in shown["scenes"]] == CALLS
    assert f"{upstream.base_url} answers" in err
    assert "5 real calls" in err
    assert upstream.requests[0].headers["authorization"] == f"Bearer {secret}"
    assert secret not in out + err
    for path in (tmp_path / "kept").rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes()


async def test_a_server_and_its_models_are_options(
    against: Callable[..., Any], upstream: DemoUpstream
) -> None:
    address = upstream.base_url.replace("http://", "http://user:hunter2@")
    options = ["--base-url", address, "--model", "chatty", "--embedding-model", "vectors"]
    code, out, err = await against(*options)
    assert code == 0, err
    models = [request.json()["model"] for request in upstream.requests]
    assert models == ["chatty", "chatty", "chatty", "vectors", "vectors"]
    assert "real calls" in out
    assert "hunter2" not in out + err


async def test_a_second_run_on_a_kept_cache_is_a_run_of_its_own(
    against: Callable[..., Any], upstream: DemoUpstream
) -> None:
    options = ["--json", "--base-url", upstream.base_url, "--cache-dir", "kept"]
    for calls in (5, 10):
        code, _, err = await against(*options)
        assert code == 0, err
        assert upstream.calls == calls


# --- servers that make the claims untrue ------------------------------------------------------


def _chat_only(change: Callable[[dict[str, Any]], None]) -> Upstream:
    """A server without embeddings whose answers were changed."""
    inner = DemoUpstream()

    async def answer(request: UpstreamRequest) -> Reply:
        if not request.path.endswith("/chat/completions"):
            return Reply(404, b'{"error": {"message": "no such path", "type": "not_found"}}')
        body = request.json()
        streamed = body.pop("stream", False)
        whole = UpstreamRequest("POST", request.path, {}, json.dumps(body).encode())
        reply = await inner._answer(whole)
        assert isinstance(reply.body, bytes)
        answer = json.loads(reply.body)
        change(answer)
        if not streamed:
            return Reply(body=json.dumps(answer).encode())
        choice = answer["choices"][0]
        chunk = {**answer, "choices": [{**choice, "delta": choice["message"]}]}
        lines = [f"data: {json.dumps(chunk)}\n\n".encode(), b"data: [DONE]\n\n"]
        return Reply(body=_pieces(lines), headers={"content-type": "text/event-stream"})

    return Upstream(answer)


async def _pieces(lines: list[bytes]) -> AsyncIterator[bytes]:
    for line in lines:
        yield line


async def test_a_server_without_embeddings_is_shown_without(against: Callable[..., Any]) -> None:
    async with _chat_only(lambda answer: None) as upstream:
        code, out, err = await against("--json", "--base-url", upstream.base_url)
    assert code == 0, err
    shown = json.loads(out)
    assert [scene["name"] for scene in shown["scenes"]] == SCENES[:-1]
    assert "404" in shown["scenes"][-1]["skipped"]
    assert shown["totals"]["calls_made"] == 3


async def test_money_is_unknown_where_nobody_knows_the_price(against: Callable[..., Any]) -> None:
    def unpriced(answer: dict[str, Any]) -> None:
        del answer["usage"]["cost"]

    async with _chat_only(unpriced) as upstream:
        options = ["--base-url", upstream.base_url, "--model", "nobody-prices-this"]
        code, out, _ = await against("--json", *options)
        _, text, _ = await against(*options)
    assert code == 0
    totals = json.loads(out)["totals"]
    assert totals["cost_saved"] is None
    assert totals["unpriced_hits"] == totals["calls_spared"] == 103
    assert "money saved   unknown" in text


async def test_an_answer_that_is_not_stored_ends_in_code_1(against: Callable[..., Any]) -> None:
    def cut(answer: dict[str, Any]) -> None:
        answer["choices"][0]["finish_reason"] = "length"

    async with _chat_only(cut) as upstream:
        code, out, err = await against("--json", "--base-url", upstream.base_url)
    assert code == 1
    shown = json.loads(out)
    assert shown["ok"] is False
    problems = {scene["name"]: scene["problem"] for scene in shown["scenes"]}
    assert "not stored" in problems["miss"]
    assert "length limit" in problems["miss"]
    assert "expected a hit from memory, got a miss" in problems["hit"]
    assert "asked again: expected a hit from memory" in err
    assert "Traceback" not in err


def test_a_cache_that_cannot_be_written_ends_in_code_1(
    run: Callable[..., Any], fast: None, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    ran = run("demo", "--cache-dir", "file/below", "--json")
    assert ran.code == 1
    assert ran.json["ok"] is False
    assert "the demo's claim does not hold" in ran.err


@pytest.mark.parametrize(("status", "word"), [(401, "no such key"), (404, "no such model")])
async def test_a_server_that_refuses_is_one_line_and_code_2(
    against: Callable[..., Any], secret: str, status: int, word: str
) -> None:
    message = f"{word}:\nyou sent Bearer {secret}"
    reply = Reply(status, json.dumps({"error": {"message": message, "type": "x"}}).encode())
    async with Upstream(lambda _: reply) as upstream:
        code, out, err = await against(
            "--json", OPENAI_BASE_URL=upstream.base_url, OPENAI_API_KEY=secret
        )
    assert (code, out) == (2, "")
    assert word in err
    assert secret not in err
    assert "Traceback" not in err
    assert err.count("\n") == 2  # what it runs against, and why it does not


def test_a_model_without_a_server_is_refused(run: Callable[..., Any]) -> None:
    ran = run("demo", "--model", "gpt-5")
    assert (ran.code, ran.out) == (2, "")
    assert "a model needs a server" in ran.err


@pytest.mark.parametrize("address", ["ftp://x", "nonsense", "http://", "http://h:port/v1"])
def test_an_address_that_is_none_is_refused(run: Callable[..., Any], address: str) -> None:
    ran = run("demo", "--base-url", address, "--json")
    assert (ran.code, ran.out) == (2, "")
    assert "URL" in ran.err
    assert "Traceback" not in ran.err
