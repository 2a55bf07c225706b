"""What refers to state on the server is not cached, unless for a time that was asked for."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

import pytest
from keying import ask, call, calls, chat, items, key, said, text, tool

from llmcache.keys import KeyRules

_HOSTED: Final = {
    "responses": [
        *("web_search", "web_search_2025_08_26", "web_search_preview", "file_search", "mcp"),
        *("code_interpreter", "computer_use_preview", "shell"),
    ],
    "messages": [
        *("web_search_20250305", "web_search_20260318", "web_fetch_20260209", "mcp_toolset"),
        *("code_execution_20250522", "code_execution_20260521"),
    ],
    "chat": ["web_search", "code_interpreter"],
}
_MISSED: Final = [
    ("responses", "computer"),  # the name of computer_use_preview since it left preview
    ("responses", "programmatic_tool_calling"),
    ("chat", "browser_search"),  # Groq's
    ("chat", "openrouter:web_search"),
]
_CLIENT: Final = [
    *("function", "custom", "local_shell", "apply_patch", "namespace", "bash_20250124"),
    *("text_editor_20250728", "memory_20250818"),
    # These run on the server, and depend on nothing but the request: they sample.
    *("image_generation", "advisor_20260301", "openrouter:advisor"),
]


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k, names in _HOSTED.items() for n in names])
def test_a_tool_that_runs_on_the_server_bypasses_the_cache(kind: str, name: str) -> None:
    request = ask(kind, {"tools": [tool(), {"type": name}]})
    assert request.bypass() == f"tool {name!r} runs on the server"
    assert request.is_stateful


@pytest.mark.parametrize(("kind", "name"), _MISSED)
def test_every_tool_that_runs_on_the_server_is_known(kind: str, name: str) -> None:
    assert ask(kind, {"tools": [{"type": name}]}).bypass() is not None


@pytest.mark.parametrize("name", _CLIENT)
def test_a_tool_that_runs_here_does_not(name: str) -> None:
    for kind in ("chat", "responses", "messages"):
        request = ask(kind, {"tools": [{"type": name, "name": "web_search"}]})
        assert request.bypass() is None
        assert not request.is_stateful


_FILES: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "chat, file": ("chat", chat(said([{"type": "file", "file": {"file_id": "f"}}]))),
    "chat, later": ("chat", chat("a", said([text("b"), {"file": {"file_id": "f"}}]), "c")),
    "responses, file": ("responses", items(said([{"type": "input_file", "file_id": "f"}]))),
    "responses, image": ("responses", items(said([{"type": "input_image", "file_id": "f"}]))),
    "messages, source": (
        "messages",
        {"messages": [said([{"type": "document", "source": {"type": "file", "file_id": "f"}}])]},
    ),
    "messages, upload": (
        "messages",
        {"messages": [said([{"type": "container_upload", "file_id": "f"}])]},
    ),
}


@pytest.mark.parametrize(("kind", "body"), _FILES.values(), ids=_FILES)
def test_a_file_id_bypasses_the_cache(kind: str, body: dict[str, Any]) -> None:
    assert ask(kind, body).bypass() == "a file id refers to server state"


_INLINE: Final = {"type": "base64", "media_type": "image/png", "data": "QQ=="}


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("chat", chat(said([{"type": "file", "file": {"file_data": "data:,x"}}]))),
        ("chat", chat(said("file_id: f"))),
        ("chat", chat(calls(call("f", "1", '{"file_id": "f"}')))),
        ("responses", {"input": "file_id"}),
        ("responses", items(said([{"type": "input_file", "file_id": None}]))),
        ("messages", {"messages": [said([{"type": "image", "source": _INLINE}])]}),
        ("embedding", {"input": "file_id"}),
    ],
)
def test_a_file_that_is_in_the_request_does_not(kind: str, body: dict[str, Any]) -> None:
    assert ask(kind, body).bypass() is None


_HIDDEN: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "a reference to an item": ("responses", items({"type": "item_reference", "id": "msg_1"})),
    "the same, without a type": ("responses", items({"id": "msg_1"})),
    "reasoning without content": (
        "responses",
        items({"type": "reasoning", "id": "rs_1", "summary": []}),
    ),
    "a file in a tool's output": (
        "responses",
        items({"type": "function_call_output", "output": [{"type": "input_file", "file_id": "f"}]}),
    ),
    "a screenshot's file": (
        "responses",
        items({"type": "computer_call_output", "output": {"file_id": "f"}}),
    ),
    "a hosted tool among the items": (
        "responses",
        items({"type": "additional_tools", "tools": [{"type": "web_search"}]}),
    ),
    "a file in a tool's result": (
        "messages",
        {"messages": [said([{"type": "tool_result", "content": [{"source": {"file_id": "f"}}]}])]},
    ),
    "a tuple of tools": ("responses", {"tools": ({"type": "web_search"},)}),
    "a tool that is no dict": ("responses", {"tools": [OrderedDict(type="web_search")]}),
    "a tuple of messages": ("chat", {"messages": (said([{"file": {"file_id": "f"}}]),)}),
    "a tuple of parts": ("chat", chat(said(({"file": {"file_id": "f"}},)))),
}


@pytest.mark.parametrize(("kind", "body"), _HIDDEN.values(), ids=_HIDDEN)
def test_state_is_seen_wherever_it_hides(kind: str, body: dict[str, Any]) -> None:
    assert ask(kind, body).bypass() is not None


def test_a_time_to_live_lifts_the_bypass_and_keeps_the_request_stateful() -> None:
    body = {"input": "a", "previous_response_id": "resp_1"}
    plain = ask("responses", body)
    timed = ask("responses", body, merge=())
    timed = type(timed)(timed.kind, timed.endpoint, body, rules=KeyRules(stateful_ttl=60))
    assert plain.bypass() == "previous_response_id refers to server state"
    assert timed.bypass() is None
    assert timed.is_stateful
    assert timed.key() == plain.key()
    others = [{"input": "a"}, {**body, "previous_response_id": "resp_2"}]
    assert len({plain.key(), *(key("responses", other) for other in others)}) == 3


def test_a_background_request_is_never_cached() -> None:
    request = ask("responses", {"input": "a", "background": True})
    timed = type(request)(
        "responses", request.endpoint, request.body, rules=KeyRules(stateful_ttl=1)
    )
    assert timed.bypass() is not None


@pytest.mark.parametrize("kind", ["chat", "embedding", "ollama.chat", "completions", "tomorrow"])
def test_a_stateful_field_of_another_api_is_none_here(kind: str) -> None:
    request = ask(kind, {"previous_response_id": "r", "container": "c"}, url="https://x.example/")
    assert request.bypass() is None


@pytest.mark.parametrize(
    "odd", [1, "a", {"a": 1}, [1], [None], [[]], [{"content": 1}], [{"content": [1]}]]
)
def test_a_body_of_any_shape_is_looked_through(odd: Any) -> None:
    for kind in ("chat", "responses", "messages"):
        assert ask(kind, {"messages": odd, "tools": odd}).bypass() is None
        assert ask(kind, {"input": odd}).bypass() is None
