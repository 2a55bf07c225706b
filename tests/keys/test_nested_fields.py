"""Everything inside a request counts: every field of every part, tool, message and item.

The official SDKs' types say what there is; `EXEMPT` says what does not count, and why.
"""

from __future__ import annotations

import re
from typing import Any, Final

import pytest
from keying import chat, items, key, said, text
from sdk_types import ROOTS, samples

from llmcache.keys import TABLES, Verdict

_MARK: Final = "where the provider's prompt cache ends"
EXEMPT: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "chat": (
        (r"\.prompt_cache_breakpoint\b", _MARK),
        (r"^<\w+>\.stop\[\]$", "a list of one sequence is the sequence"),
        (r"<FunctionDefinition>\.strict=absent$", "false is the documented default"),
    ),
    "responses": (
        (r"\.input\[\].*\.prompt_cache_breakpoint\b", _MARK),
        (r"\.input\[\]<\w*Message(Param)?>\.type=absent$", "`message` is the default type"),
        (r"\.input\[\]<EasyInputMessageParam>\.phase=absent$", "a string is one user message"),
    ),
    # Further inside (the document of a fetched page, say) a mark counts: two keys, in doubt.
    "messages": (
        (r"^<\w+>\.(system|tools)\[\]<\w+>\.cache_control\b", _MARK),
        (r"\.messages\[\]<\w+>\.content\[\]<\w+>(\.content\[\]<\w+>)*\.cache_control\b", _MARK),
    ),
    "completions": (),
    "embedding": (),
}


def _exempt(kind: str, path: str) -> bool:
    if path.endswith(".prewarm"):
        return False  # it asks for no answer, where the rest of its field is price
    field = re.match(r"<\w+>\.(\w+)", path)
    if field and TABLES[kind][field[1]].verdict is Verdict.NEUTRAL:
        return True
    return any(re.search(pattern, path) for pattern, _ in EXEMPT[kind])


@pytest.mark.timeout(300)  # ten thousand requests, on a machine that may be busy
@pytest.mark.parametrize(
    ("kind", "least"),
    [
        ("chat", 300),
        ("responses", 2_000),
        ("messages", 9_000),
        ("completions", 40),
        ("embedding", 15),
    ],
)
def test_any_change_of_a_documented_field_changes_the_key(kind: str, least: int) -> None:
    found = samples(ROOTS[kind])
    assert len(found) >= least, "the walk lost its way"
    counted: dict[str, str] = {}
    for path, body in found:
        if not _exempt(kind, path):
            other = counted.setdefault(key(kind, body), path)
            assert other == path, f"{path} and {other} share a key"
    neutral = [(path, body) for path, body in found if _exempt(kind, path)]
    for path, body in neutral:
        assert key(kind, body) in counted, f"{path} is exempt, and yet counts"
    for pattern, why in EXEMPT[kind]:
        assert any(re.search(pattern, path) for path, _ in neutral), f"nothing is exempt as {why}"


_MESSAGES: Final[dict[str, dict[str, Any]]] = {
    "role": {"role": "system"},
    "name": {"name": "bob"},
    "tool_call_id": {"tool_call_id": "call_2"},
    "refusal": {"refusal": "I will not."},
    "audio": {"audio": {"id": "audio_2"}},
    "content": {"content": "r"},
    "tool_calls": {"tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "f"}}]},
    "function_call": {"function_call": {"name": "f", "arguments": "{}"}},
    "reasoning_content": {"reasoning_content": "because"},
    "an unknown field": {"prefix": True},
}


@pytest.mark.parametrize("change", _MESSAGES.values(), ids=_MESSAGES)
def test_a_field_of_a_message_counts_on_every_server(change: dict[str, Any]) -> None:
    before = {"role": "user", "content": "q", "name": "al", "tool_call_id": "call_1"}
    for native in (True, False):
        assert key("chat", chat(before), native=native) != key(
            "chat", chat({**before, **change}), native=native
        )


_BLOCKS: Final[dict[str, tuple[dict[str, Any], dict[str, Any]]]] = {
    "text": (text("a"), {"text": "b"}),
    "text, citations": (text("a"), {"citations": [{"type": "char_location"}]}),
    "image": ({"type": "image", "source": {"type": "url", "url": "u"}}, {"source": {"url": "v"}}),
    "image, transformations": ({"type": "image", "source": {}}, {"transformations": {"crop": 1}}),
    "document, title": ({"type": "document", "source": {}, "title": "a"}, {"title": "b"}),
    "document, context": ({"type": "document", "source": {}}, {"context": "b"}),
    "document, citations": ({"type": "document"}, {"citations": {"enabled": True}}),
    "tool_use, id": ({"type": "tool_use", "id": "a", "name": "f", "input": {}}, {"id": "b"}),
    "tool_use, input": ({"type": "tool_use", "id": "a", "input": {"x": 1}}, {"input": {"x": None}}),
    "tool_use, caller": ({"type": "tool_use", "id": "a"}, {"caller": {"type": "direct"}}),
    "tool_result, error": ({"type": "tool_result", "tool_use_id": "a"}, {"is_error": True}),
    "tool_result, id": ({"type": "tool_result", "tool_use_id": "a"}, {"tool_use_id": "b"}),
    "tool_result, part": ({"type": "tool_result"}, {"content": [text("a")]}),
    "thinking": ({"type": "thinking", "thinking": "a", "signature": "s"}, {"thinking": "b"}),
    "thinking, signature": ({"type": "thinking", "thinking": "a"}, {"signature": "t"}),
    "redacted_thinking": ({"type": "redacted_thinking", "data": "a"}, {"data": "b"}),
    "search_result": ({"type": "search_result", "source": "a"}, {"source": "b"}),
}


@pytest.mark.parametrize(("block", "change"), _BLOCKS.values(), ids=_BLOCKS)
def test_a_field_of_an_anthropic_block_counts(
    block: dict[str, Any], change: dict[str, Any]
) -> None:
    before, after = ({"messages": [said([part])]} for part in (block, {**block, **change}))
    assert key("messages", before) != key("messages", after)


def test_an_item_of_no_known_type_counts_as_a_whole() -> None:
    keys = {
        key("responses", items(item))
        for item in (
            {"type": "new", "payload": {"a": 1}},
            {"type": "new", "payload": {"a": 2}},
            {"type": "newer", "payload": {"a": 1}},
            {"type": "new"},
            {"payload": {"a": 1}},
        )
    }
    assert len(keys) == 5
