"""Token counts: against another engine, against what providers counted, and what is only a guess."""

from __future__ import annotations

import copy
import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcache import ImagePart, InvalidRequestError, Message, TextPart, ToolCall, count_tokens
from llmcache.models import GPT5, ModelProfile
from llmcache.tokens import TokenCount, counting, vocabulary
from llmcache.tokens.vocabulary import text_counter, vocabulary_of

WEATHER = {"name": "get_weather", "description": "Get weather.", "parameters": {"type": "object"}}
# Azure does not say which version it is; the first one counts one more for each message.
UNCLEAR = "gpt-35-turbo"


@pytest.mark.parametrize("name", ["cl100k_base", "o200k_base"])
def test_texts_have_the_tokens_that_another_engine_finds(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it opens its files the old way
        import bpe_openai  # noqa: PLC0415
    ours, theirs = text_counter(name), bpe_openai.get_encoding(name)
    assert ours is not None

    @settings(max_examples=300, deadline=None)
    @given(st.text(max_size=200))
    def check(text: str) -> None:
        assert ours(text) == len(theirs.encode_ordinary(text))

    check()
    for text in (
        "naïve café 東京 🎉🎉",
        "def f(x):\n    return x ** 2\n",
        " " * 99,
        "1234567890" * 9,
    ):
        assert ours(text) == len(theirs.encode_ordinary(text))


@pytest.mark.parametrize(
    ("name", "text", "tokens"),
    [  # OpenAI's cookbook
        ("cl100k_base", "tiktoken is great!", 6),
        ("cl100k_base", "antidisestablishmentarianism", 6),
        ("cl100k_base", "2 + 2 = 4", 7),
        ("cl100k_base", "お誕生日おめでとう", 9),
        ("o200k_base", "antidisestablishmentarianism", 6),
        ("o200k_base", "お誕生日おめでとう", 8),
    ],
)
def test_published_counts(name: str, text: str, tokens: int) -> None:
    counter = text_counter(name)
    assert counter is not None
    assert counter(text) == tokens


def test_a_mark_in_a_text_is_text() -> None:
    assert count_tokens("<|endoftext|>", model="gpt-4o") > 1


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt-4o", "o200k_base"),
        ("openai/gpt-5-nano", "o200k_base"),
        ("gpt-4-0613", "cl100k_base"),
        ("text-embedding-3-small", "cl100k_base"),
        (GPT5, "o200k_base"),
        ("claude-opus-5-5", None),
        ("llama3.2", None),
    ],
)
def test_the_vocabulary_of_a_model(model: Any, name: str | None) -> None:
    assert vocabulary_of(model) == name


def test_every_request_that_was_recorded_has_as_many_tokens_as_were_counted(
    recordings: Path,
) -> None:
    """Plain messages exactly; with tools, which nobody documents, all but one."""
    plain, tools = [], []
    for name, model, body, counted in _requests(recordings):
        count = count_tokens(body["messages"], model=model, tools=body.get("tools"))
        row = (name, model, int(count), counted)
        (tools if body.get("tools") else plain).append(row)
        assert count.estimated is bool(body.get("tools")), row
    wrong = [row for row in plain if row[2] != row[3]]
    assert all(row[1] == UNCLEAR and row[3] == row[2] + 1 for row in wrong), wrong
    assert len(wrong) == 2
    assert {row[1][:6] for row in plain} >= {"gpt-3.", "gpt-35", "gpt-4o", "gpt-5-", "gpt-5."}
    missed = [row for row in tools if row[2] != row[3]]
    assert [(row[1], row[3] - row[2]) for row in missed] == [("gpt-3.5-turbo-0125", 7)]
    assert (len(plain), len(tools)) == (12, 8)


def _requests(recordings: Path) -> list[tuple[str, str, dict[str, Any], int]]:
    """Return OpenAI's recorded requests of plain text, with what the API counted."""
    found = []
    for path in sorted(recordings.glob("*openai/*/*.json")):
        data = json.loads(path.read_text())
        body, text = data["request"].get("body") or {}, data["response"]["body"]
        if data["response"]["status"] != 200 or not text.startswith("{"):
            continue
        answer = json.loads(text)
        usage, model = answer.get("usage") or {}, answer.get("model") or ""
        if path.parent.name == "responses":
            if (
                not model.startswith("gpt-5")
                or body.get("tools")
                or body.get("previous_response_id")
            ):
                continue  # before gpt-5 a response holds more than its messages
            items = body.get("input")
            messages = [{"role": "user", "content": items}] if isinstance(items, str) else items
            if body.get("instructions"):
                messages = [{"role": "system", "content": body["instructions"]}, *messages]
            body, counted = {"messages": messages}, usage.get("input_tokens")
        else:
            body = {**body, "tools": body.get("tools") or body.get("functions")}
            counted = usage.get("prompt_tokens")
        shaped = body.get("response_format", {"type": "text"})["type"] != "json_schema"
        messages = body.get("messages") or [{}]
        plain = all(isinstance(one.get("content"), str) for one in messages)
        if counted and shaped and plain and vocabulary_of(model):
            found.append((path.name, model, body, counted))
    return found


@pytest.mark.parametrize(
    ("content", "model"),
    [
        ("Hello", "claude-opus-5-5"),
        ("Hello", "gpt-6-sol"),
        ([Message.user("Hello")], "gpt-oss-120b"),
        ([Message.user([TextPart("a"), ImagePart("https://example.com/a.png")])], "gpt-4o"),
        ([Message.assistant(None, tool_calls=[ToolCall("1", "f", "{}")])], "gpt-4o"),
        ([Message.tool_result("1", "4")], "gpt-4o"),
    ],
)
def test_what_is_not_certain_says_so(content: Any, model: str) -> None:
    count = count_tokens(content, model=model)
    assert count.estimated
    assert count > 0


def test_tools_and_images_count() -> None:
    ask: Any = [Message.user("Hi")]
    alone = count_tokens(ask, model="gpt-4o")
    assert not alone.estimated
    assert count_tokens(ask, model="gpt-4o", tools=[WEATHER]) > alone
    low = {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}}
    seen = count_tokens([{"role": "user", "content": ["Hi", low]}], model="gpt-4o")
    assert seen == alone + 85


@pytest.mark.parametrize(
    "parameters",
    [
        {"type": "object", "properties": {"a": {"type": "array"}, "b": {"enum": [1, "x"]}}},
        {"type": "object", "properties": {"a": {"type": "object", "properties": {"b": {}}}}},
        {"type": "object", "properties": {"a": {"type": ["string", "null"]}, "b": True}},
    ],
)
def test_any_schema_is_counted(parameters: dict[str, Any]) -> None:
    ask: Any = [Message.user("Hi")]
    tools = [{**WEATHER, "parameters": parameters}, {"type": "web_search"}]
    assert count_tokens(ask, model="gpt-4o", tools=tools) > count_tokens(ask, model="gpt-4o")


def test_a_schema_that_contains_itself_ends() -> None:
    inner: dict[str, Any] = {"type": "array"}
    inner["items"] = inner
    parameters = {"type": "object", "properties": {"a": inner}}
    tools = [{**WEATHER, "parameters": parameters}]
    assert count_tokens([Message.user("Hi")], model="gpt-4o", tools=tools).estimated


def test_messages_of_the_wrong_shape_are_named() -> None:
    wrong: Any = [{"content": "no role"}]
    with pytest.raises(InvalidRequestError, match=r"messages\[0\]\.role"):
        count_tokens(wrong, model="gpt-4o")


def test_a_count_is_a_number_that_knows_whether_it_is_a_guess() -> None:
    guess = TokenCount(7, estimated=True)
    assert (guess + 1, guess.tokens, type(guess.tokens)) == (8, 7, int)
    assert (repr(guess), repr(TokenCount(7))) == ("TokenCount(7, estimated=True)", "TokenCount(7)")
    assert pickle.loads(pickle.dumps(guess)).estimated
    assert copy.deepcopy(guess).estimated


def test_without_the_extra_every_count_is_a_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "text_counter", lambda _: None)
    monkeypatch.setattr(vocabulary, "_tiktoken", lambda: None)
    count = count_tokens("Twelve chars 東京", model="gpt-4o")
    assert (count, count.estimated) == (4 + 2, True)
    assert ModelProfile.get("gpt-4o").count_tokens([Message.user("Hi")]).estimated


def test_another_vocabulary_under_the_same_name_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = vocabulary._CL100K._replace(digest="0" * 64)
    assert vocabulary._ranks(source) is None
    monkeypatch.setitem(vocabulary._SOURCES, "changed", source)
    assert text_counter("changed") is None
