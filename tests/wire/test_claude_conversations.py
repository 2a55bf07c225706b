"""Conversations on their way to the Messages API, and from one API to another and back."""

from __future__ import annotations

from typing import Any

import pytest

from llmcache import (
    AnthropicProvider,
    AudioPart,
    FilePart,
    ImagePart,
    InvalidRequestError,
    Message,
    ModelProfile,
    Native,
    TextPart,
    ToolCall,
)
from llmcache.providers.anthropic_turns import wire_conversation

from .claude import text, tool_use


def turns(*messages: Any) -> Any:
    return wire_conversation(list(messages))[1]


def system(*messages: Any) -> Any:
    return wire_conversation([*messages, "q"])[0]


Q = {"role": "user", "content": "q"}

# --- the system prompt ------------------------------------------------------------------------


def test_system_messages_at_the_start_are_the_system_prompt() -> None:
    assert system(Message.system("a"), {"role": "developer", "content": "b"}) == ["a", "b"]
    marked = text("c", cache_control={"type": "ephemeral"})
    assert system({"role": "system", "content": [marked]}) == [marked]
    assert system(Message.system("")) == []


def test_a_later_system_message_stands_after_the_users_turn() -> None:
    """Anywhere else the API refuses it: after an answer, or between two texts of the user's."""
    later = {"role": "system", "content": "b"}
    r = {"role": "user", "content": "r"}
    both = {"role": "user", "content": [text("q"), text("r")]}
    answer = {"role": "assistant", "content": "a"}
    system = Message.system("b")
    assert turns("q", system) == [Q, later]
    assert turns("q", system, "r") == [both, later]
    assert turns("q", system, answer, "r") == [Q, later, answer, r]
    assert turns("q", answer, system, "r") == [Q, answer, r, later]
    twice = {"role": "system", "content": [text("b"), text("c")]}
    assert turns("q", system, Message.system([TextPart("c")])) == [Q, twice]


def test_a_later_system_message_without_a_place_belongs_to_the_system_prompt() -> None:
    answer = {"role": "assistant", "content": "a"}
    prompt, sent = wire_conversation([Message.system("a"), "q", answer, Message.system("b")])
    assert (prompt, sent) == (["a", "b"], [Q, answer])
    told = [
        Message.system("a"),
        "q",
        Message("developer", "b"),
        Message.system([TextPart("c")]),
        "r",
    ]
    prompt, sent = wire_conversation(told, later_system=lambda: False)
    assert prompt == ["a", "b", text("c")]
    assert sent == [{"role": "user", "content": [text("q"), text("r")]}]


def test_a_model_is_asked_whether_it_takes_later_system_messages_only_where_there_is_one() -> None:
    def asked() -> bool:
        pytest.fail("asked")

    adds = {"role": "system", "content": [{"type": "tool_addition", "tool": {"name": "f"}}]}
    for messages in (["q"], [Message.system("a"), "q"], ["q", adds]):
        wire_conversation(messages, later_system=asked)


class Own(ModelProfile):
    model_name = "own-claude"
    later_system = True


@pytest.mark.parametrize(
    ("model", "base_url", "takes_it"),
    [
        ("claude-opus-5-5", None, True),
        ("claude-opus-4-8-20260528", None, True),
        ("claude-opus-4-7", None, False),
        ("claude-sonnet-4-5", None, False),
        ("claude-of-tomorrow", None, False),
        ("claude-opus-5-5", "https://h.test", False),
        ("own-claude", "https://h.test", True),
    ],
)
def test_only_models_that_are_known_to_take_it_get_a_later_system_message(
    model: str, base_url: str | None, *, takes_it: bool
) -> None:
    claude = AnthropicProvider(model, base_url=base_url, api_key="k", cache_backend=None)
    told: Any = [Message.system("a"), "q", Message.system("b")]
    body: Any = claude._call(told, {"system": "s"}).request.body
    if takes_it:
        assert body["messages"] == [Q, {"role": "system", "content": "b"}]
        assert body["system"] == [text("s"), text("a")]
    else:
        assert body["messages"] == [Q]
        assert body["system"] == [text("s"), text("a"), text("b")]


def test_a_system_message_of_other_blocks_is_a_turn() -> None:
    adds = {"role": "system", "content": [{"type": "tool_addition", "tool": {"name": "f"}}]}
    assert turns(adds, "q") == [adds, Q]


@pytest.mark.parametrize("messages", [[Message.system("a")], [Message.assistant(" ")], []])
def test_a_conversation_of_nothing_to_answer_is_refused(messages: Any) -> None:
    with pytest.raises(InvalidRequestError, match=r"^messages: "):
        wire_conversation(messages)


# --- turns --------------------------------------------------------------------------------------


def test_turns_of_one_role_become_one() -> None:
    assert turns("a", "b", Message.user([TextPart("c")])) == [
        {"role": "user", "content": [text("a"), text("b"), text("c")]}
    ]


def test_parallel_results_stand_together_and_first() -> None:
    calls = Message.assistant(tool_calls=[ToolCall("a", "f", ""), ToolCall("b", "f", "")])
    sent = turns(
        "q", calls, "wait", Message.tool_result("b", "2"), Message.tool_result("a", "1"), "and?"
    )
    assert sent[2] == {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "b", "content": "2"},
            {"type": "tool_result", "tool_use_id": "a", "content": "1"},
            text("wait"),
            text("and?"),
        ],
    }


def test_texts_that_are_empty_are_left_out() -> None:
    assert turns(Message.user([TextPart(""), TextPart("a")])) == [
        {"role": "user", "content": [text("a")]}
    ]
    assert turns("q", Message.assistant("", tool_calls=[ToolCall("a", "f", "")]))[1]["content"] == [
        tool_use("a")
    ]
    silent = Message.tool_result("a", "")
    assert turns(silent)[0]["content"] == [{"type": "tool_result", "tool_use_id": "a"}]


def test_an_answer_without_content_is_left_out() -> None:
    assert turns("a", Message.assistant(""), Message.assistant(None), "b") == [
        {"role": "user", "content": [text("a"), text("b")]}
    ]
    refused = Message("assistant", native=Native("messages", {"role": "assistant", "content": []}))
    assert turns("a", refused, "b")[0]["content"] == [text("a"), text("b")]


def test_an_answer_to_continue_ends_without_white_space() -> None:
    assert turns("q", Message.assistant("the answer is \n"))[-1]["content"] == "the answer is"
    parts = Message.assistant([TextPart("a"), TextPart(" b ")])
    assert turns("q", parts)[-1]["content"] == [text("a"), text(" b")]
    assert turns("q", Message.assistant([TextPart("a"), TextPart(" ")]))[-1]["content"] == [
        text("a")
    ]
    assert turns("q", Message.assistant(" \n")) == [Q]
    assert turns("q", Message.assistant("a "), "r")[1]["content"] == "a "


def test_a_paused_turn_goes_back_as_it_came() -> None:
    own = {"role": "assistant", "content": [text("searching ")]}
    assert turns("q", Message("assistant", "searching ", native=Native("messages", own)))[-1] == own


def test_what_other_servers_write_beside_a_turn_is_left_out() -> None:
    said = {"role": "assistant", "content": "a", "reasoning_content": "r", "annotations": []}
    assert turns("q", said, {**Q, "name": "n"}) == [Q, {"role": "assistant", "content": "a"}, Q]
    assert turns("q", {"role": "assistant", "content": None, "refusal": "no"}, "r")[1] == {
        "role": "assistant",
        "content": [text("no")],
    }


def test_legacy_function_calls_are_calls() -> None:
    asked = {
        "role": "assistant",
        "content": None,
        "function_call": {"name": "f", "arguments": "{}"},
    }
    sent = turns("q", asked, {"role": "function", "name": "f", "content": "12"})
    (call,) = sent[1]["content"]
    assert sent[2]["content"][0]["tool_use_id"] == call["id"]
    assert (call["name"], call["input"]) == ("f", {})


@pytest.mark.parametrize("arguments", ["not json", "[1]", '{"a": NaN}', '{"a": 1'])
def test_arguments_that_are_no_object_go_as_the_api_wants_them(arguments: str) -> None:
    sent = turns("q", Message.assistant(tool_calls=[ToolCall("a", "f", arguments)]), "r")
    assert sent[1]["content"][0]["input"] == {"INVALID_JSON": arguments}
    free = ToolCall("a", "f", arguments, "custom")
    sent = turns("q", Message.assistant(tool_calls=[free]), "r")
    assert sent[1]["content"][0]["input"] == {"input": arguments}


# --- parts --------------------------------------------------------------------------------------


def block(part: Any) -> Any:
    (sent,) = (
        turns(Message.user([part]))
        if not isinstance(part, dict)
        else turns({"role": "user", "content": [part]})
    )
    return sent["content"][0]


def test_files_become_documents() -> None:
    base64 = {"type": "base64", "media_type": "application/pdf", "data": "eA=="}
    assert block(FilePart("data:application/pdf;base64,eA==")) == {
        "type": "document",
        "source": base64,
    }
    assert block(FilePart("eA==", "a.pdf")) == {
        "type": "document",
        "source": base64,
        "title": "a.pdf",
    }
    assert block(FilePart.from_bytes("né".encode(), "a.md")) == {
        "type": "document",
        "source": {"type": "text", "media_type": "text/plain", "data": "né"},
        "title": "a.md",
    }
    assert block(FilePart("https://x/a.pdf"))["source"] == {"type": "url", "url": "https://x/a.pdf"}
    assert block(FilePart.from_bytes(b"x", "a.png"))["type"] == "image"
    assert block(ImagePart("data:image/svg+xml,%3Csvg%2F%3E"))["source"] == {
        "type": "base64",
        "media_type": "image/svg+xml",
        "data": "PHN2Zy8+",
    }


def test_chat_parts_with_more_fields_keep_them() -> None:
    marked = {
        "type": "image_url",
        "image_url": {"url": "https://x/y", "detail": "low"},
        "cache_control": {"type": "ephemeral"},
    }
    assert block(marked) == {
        "type": "image",
        "source": {"type": "url", "url": "https://x/y"},
        "cache_control": {"type": "ephemeral"},
    }


@pytest.mark.parametrize(
    "part",
    [
        AudioPart("d2F2", "wav"),
        FilePart(),
        FilePart("data:text/plain;base64,/w=="),
        FilePart("data:text/plain;base64,???"),
        ImagePart("data:image/png;base64"),
    ],
    ids=repr,
)
def test_what_the_api_has_no_block_for_is_refused_with_its_place(part: Any) -> None:
    with pytest.raises(InvalidRequestError, match=r"^messages\[1\].content\[1\]: "):
        turns("q", Message.user([TextPart("a"), part]))


@pytest.mark.parametrize("native", [5, [], {}, {"content": []}, {"role": 5, "content": []}])
def test_a_native_turn_that_is_none_is_refused(native: Any) -> None:
    with pytest.raises(InvalidRequestError, match=r"^messages\[1\].native: "):
        turns("q", Message("assistant", "a", native=Native("messages", native)))
