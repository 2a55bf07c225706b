"""Conversations from one API to another and back."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from llmcache import (
    AnthropicProvider,
    Message,
    OpenAIProvider,
)
from llmcache.providers.anthropic_messages import MessagesDialect
from llmcache.providers.anthropic_turns import wire_conversation
from llmcache.providers.openai_chat import ChatDialect, wire_messages
from llmcache.testing.upstream import Reply, Upstream, UpstreamRequest

from .claude import call_block, ends, message, outcome, reply_of, sse, starts, text, tool_use
from .support import SECRET, as_json, completion


def turns(*messages: Any) -> Any:
    return wire_conversation(list(messages))[1]


# --- there and back -----------------------------------------------------------------------------

THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
HIDDEN = {"type": "redacted_thinking", "data": "b3BhcXVl"}
SEARCH = [
    {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}},
    {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{"type": "web_search_result", "encrypted_content": "e"}]},
]  # fmt: skip
CITED = text("found", citations=[{"type": "web_search_result_location", "url": "u"}])


def test_a_turn_goes_back_to_its_api_in_its_own_words_and_to_another_without_them() -> None:
    blocks = [THOUGHT, HIDDEN, *SEARCH, CITED, tool_use("toolu_1", "f", {"a": [1, None]})]
    turn = MessagesDialect("x").parse(as_json(message(*blocks, stop="tool_use"))).to_message()
    result = Message.tool_result("toolu_1", "12")
    assert turns("q", turn, result)[1] == {"role": "assistant", "content": blocks}
    stored = Message.from_dict(json.loads(json.dumps(turn.to_dict())))
    assert turns("q", stored, result) == turns("q", turn, result)
    chat = wire_messages(["q", turn, result])
    assert chat[1] == {
        "role": "assistant",
        "content": "found",
        "tool_calls": [
            {
                "id": "toolu_1",
                "type": "function",
                "function": {"name": "f", "arguments": '{"a": [1, null]}'},
            }
        ],
    }
    assert "sig" not in json.dumps(chat)


def test_a_streamed_turn_goes_back_as_its_events_add_up() -> None:
    body = sse(starts(), *call_block(0, "toolu_1", '{"b": 1, ', '"a": 2.0}'), *ends("tool_use"))
    turn = outcome(body)[0].to_message()
    assert turns("q", turn)[1]["content"] == [tool_use("toolu_1", "f", {"b": 1, "a": 2.0})]


def chat_turn(*ids: str, content: str | None = None) -> Message:
    """Return a turn as a chat-completions server gives it."""
    calls = [
        {"id": one, "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
        for one in ids
    ]
    whole = completion(content, finish="tool_calls" if ids else "stop")
    whole["choices"][0]["message"]["tool_calls"] = calls
    whole["choices"][0]["message"]["reasoning_content"] = "r"
    return ChatDialect("x").parse(as_json(whole)).to_message()


def claude_turn(*blocks: Any) -> Message:
    return MessagesDialect("x").parse(as_json(message(*blocks))).to_message()


async def test_one_conversation_with_two_apis_is_sendable_to_both_at_every_step() -> None:
    """Claude asks for a tool, a chat server answers and asks for another, Claude goes on."""

    def answer(request: UpstreamRequest) -> Reply:
        check_sendable(request)
        if not request.path.endswith("/messages"):
            return reply_of(next(chats))
        return reply_of(next(claudes))

    claudes = iter(
        [
            message(THOUGHT, tool_use("toolu_1"), tool_use("toolu_2"), stop="tool_use"),
            message(HIDDEN, text("so")),
            message(THOUGHT, tool_use("toolu_3"), stop="tool_use"),
        ]
    )
    asked = completion(None, finish="tool_calls")
    odd = {"id": "functions.f:0", "type": "function", "function": {"name": "f", "arguments": ""}}
    asked["choices"][0]["message"]["tool_calls"] = [odd, {**odd, "id": "functions.f:1"}]
    chats = iter([completion("12 and 13"), asked, completion("done")])
    async with (
        Upstream(answer) as upstream,
        AnthropicProvider(
            "c", base_url=upstream.base_url, api_key=SECRET, cache_backend=None
        ) as claude,
        OpenAIProvider("o", base_url=upstream.base_url, api_key=SECRET, cache_backend=None) as chat,
    ):
        conversation: list[Any] = [Message.system("s"), "q"]
        for provider in (claude, chat, chat, claude, claude, chat):
            result = await provider.complete(conversation)
            conversation.append(result.to_message())
            calls = result.tool_calls or ()
            conversation += [Message.tool_result(call.id, "x") for call in calls]
            if not calls:
                conversation.append("go on")
        last = [r for r in upstream.requests if r.path.endswith("/messages")][-1].json()["messages"]
        own = [turn["content"] for turn in last if turn["role"] == "assistant"]
        # In their own words, signatures and all.
        assert own[0] == [THOUGHT, tool_use("toolu_1"), tool_use("toolu_2")]
        assert own[3] == [HIDDEN, text("so")]
        assert own[1] == "12 and 13"
        assert [b["id"].startswith("toolu_") for b in own[2]] == [True, True]
        assert upstream.calls == 6


def check_sendable(request: UpstreamRequest) -> None:
    """Check the rules of either API."""
    body = request.json()
    assert "native" not in json.dumps(body)
    if request.path.endswith("/messages"):
        check_claude(body["messages"])
        return
    assert "signature" not in json.dumps(body)
    open_calls: set[str] = set()
    for one in body["messages"]:
        if one["role"] == "tool":
            open_calls.remove(one["tool_call_id"])
            continue
        assert not open_calls
        open_calls = {call["id"] for call in one.get("tool_calls") or ()}
        assert all(len(call) <= 40 for call in open_calls)


def check_claude(messages: list[Any]) -> None:
    """Check what the Messages API checks of turns, ids and blocks."""
    seen: set[str] = set()
    open_calls: list[str] = []
    assert messages[0]["role"] == "user"
    for index, turn in enumerate(messages):
        assert index == 0 or turn["role"] != messages[index - 1]["role"]
        blocks = turn["content"]
        assert blocks
        if isinstance(blocks, str):
            assert not open_calls
            continue
        assert all(b["type"] != "text" or b["text"] for b in blocks)
        answered = [b["tool_use_id"] for b in blocks if b["type"] == "tool_result"]
        assert sorted(answered) == sorted(open_calls)
        assert all(b["type"] == "tool_result" for b in blocks[: len(answered)])
        open_calls = [b["id"] for b in blocks if b["type"] == "tool_use"]
        assert seen.isdisjoint(open_calls)
        assert len(set(open_calls)) == len(open_calls)
        assert all(one.replace("_", "").replace("-", "").isalnum() for one in open_calls)
        assert all(one.isascii() for one in open_calls)
        seen.update(open_calls)


ids = st.sampled_from(["", "call_0", "call_1", "functions.f:0", "é", "toolu_1", "x" * 70])


@st.composite
def mixed(draw: st.DrawFn) -> list[Any]:
    """A conversation whose turns come from both APIs, tool calls answered in any order."""
    conversation: list[Any] = [draw(st.sampled_from(["q", "", " "]))]
    native = iter(f"toolu_n{i}" for i in range(100))
    for _ in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(["chat", "claude", "text", "empty"]))
        if kind == "chat":
            turn = chat_turn(
                *draw(st.lists(ids, max_size=3)), content=draw(st.sampled_from([None, "", "a"]))
            )
        elif kind == "claude":
            count = draw(st.integers(0, 2))
            turn = claude_turn(THOUGHT, text("b"), *(tool_use(next(native)) for _ in range(count)))
        else:
            turn = Message.assistant("c" if kind == "text" else None)
        conversation.append(turn)
        named = [Message.tool_result(call.id, "x", call.name) for call in turn.tool_calls or ()]
        conversation += draw(st.permutations(named))
        conversation.append(draw(st.sampled_from(["go on", "  ok "])))
    return conversation


@given(mixed())
@settings(max_examples=200, deadline=None)
def test_any_mixture_is_sendable(conversation: list[Any]) -> None:
    _, sent = wire_conversation([Message.user("first"), *conversation])
    check_claude(sent)
    natives = [m.native for m in conversation if isinstance(m, Message) and m.native]
    own = [native.for_api("messages") for native in natives if native.api == "messages"]
    blocks = [b for turn in sent if not isinstance(turn["content"], str) for b in turn["content"]]
    assert all(part in blocks for turn in own for part in turn["content"])
    assert wire_conversation([Message.user("first"), *conversation])[1] == sent
