"""A scope is a request without its last question: matching by meaning stays inside one."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import pytest
from keying import ask, call, calls, chat, image, items, result, said, text, tool

_SCOPED: Final[dict[str, tuple[str, Callable[[Any], dict[str, Any]]]]] = {
    "chat": ("chat", lambda q: chat({"role": "system", "content": "s"}, said(q))),
    "chat, mid-way": ("chat", lambda q: chat("a", {"role": "assistant", "content": "b"}, said(q))),
    "chat, tools": ("chat", lambda q: chat(said(q), calls(call("f", "1")), result("1", "r"))),
    "responses": ("responses", lambda q: items(said("a"), said(q))),
    "messages": ("messages", lambda q: {"system": "s", "messages": [said("a"), said(q)]}),
    "ollama.chat": ("ollama.chat", lambda q: {"messages": [said(q)]}),
    "ollama.generate": ("ollama.generate", lambda q: {"prompt": q}),
    "completions": ("completions", lambda q: {"prompt": q, "max_tokens": 5}),
}


@pytest.mark.parametrize(("kind", "build"), _SCOPED.values(), ids=_SCOPED)
def test_requests_that_differ_in_the_last_question_share_a_scope(kind: str, build: Any) -> None:
    one, other = ask(kind, build("a?")), ask(kind, build("b?"))
    assert one.key() != other.key()
    assert one.scope() == other.scope()
    assert ask(kind, {**build("a?"), "stream": True}).scope() == one.scope()


@pytest.mark.parametrize(("kind", "build"), _SCOPED.values(), ids=_SCOPED)
def test_a_scope_is_never_a_key(kind: str, build: Any) -> None:
    asked = [ask(kind, build(q)) for q in ("a", "", [])] + [
        ask(kind, {}),
        ask(kind, {"scope": True}),
    ]
    keys = {request.key(sample) for request in asked for sample in range(3)}
    assert not keys & {request.scope() for request in asked}
    assert all(re.fullmatch(r"v1:[0-9a-f]{64}", request.scope()) for request in asked)


_OTHER: Final[dict[str, dict[str, Any]]] = {
    "plain": chat("a", {"role": "assistant", "content": "b"}, "c"),
    "an earlier question": chat("x", {"role": "assistant", "content": "b"}, "c"),
    "an answer": chat("a", {"role": "assistant", "content": "x"}, "c"),
    "a name": chat(said("a", name="n"), {"role": "assistant", "content": "b"}, "c"),
    "a system message": chat(
        {"role": "system", "content": "s"}, "a", {"role": "assistant", "content": "b"}, "c"
    ),
    "fewer turns": chat("a", "c"),
    "an image before": chat(said([image("u")]), {"role": "assistant", "content": "b"}, "c"),
    "temperature": chat("a", {"role": "assistant", "content": "b"}, "c", temperature=0.5),
    "a tool": chat("a", {"role": "assistant", "content": "b"}, "c", tools=[tool()]),
    "a format": chat(
        "a", {"role": "assistant", "content": "b"}, "c", response_format={"type": "json_object"}
    ),
    "a result after": chat("a", {"role": "assistant", "content": "b"}, "c", result("1", "r")),
    "an unknown field": chat("a", {"role": "assistant", "content": "b"}, "c", new=None),
}


def test_a_difference_anywhere_else_is_another_scope() -> None:
    scopes = {ask("chat", body).scope(): name for name, body in _OTHER.items()}
    assert len(scopes) == len(_OTHER)
    body = _OTHER["plain"]
    asked = [ask("chat", body), ask("chat", body, tenant="t"), ask("chat", body, salt="s")]
    asked += [ask("chat", body, api={"a": "b"}), ask("chat", body, native=True)]
    asked += [ask("messages", body), ask("chat", {**body, "model": "n"})]
    assert len({request.scope() for request in asked}) == len(asked)


@pytest.mark.parametrize(
    ("kind", "a", "b"),
    [
        pytest.param(
            "chat",
            chat("q", {"role": "assistant", "content": "b"}),
            chat({"role": "assistant", "content": "b"}, "q"),
            id="before an answer, or behind it",
        ),
        pytest.param(
            "chat",
            chat({"role": "system", "content": "s"}),
            chat({"role": "system", "content": "s"}, "q"),
            id="no question at all",
        ),
        pytest.param("responses", {"input": []}, {"input": "q"}, id="no input"),
        pytest.param("completions", {}, {"prompt": "q"}, id="no prompt"),
        pytest.param(
            "responses", {"prompt": {"id": "a"}}, {"prompt": {"id": "b"}}, id="another template"
        ),
    ],
)
def test_requests_that_differ_in_more_than_the_question_have_two_scopes(
    kind: str, a: Any, b: Any
) -> None:
    assert ask(kind, a).scope() != ask(kind, b).scope()


def test_the_scope_of_a_question_does_not_depend_on_its_form() -> None:
    whole, parts = ask("chat", chat(said("q"))), ask("chat", chat(said([text("q"), image("u")])))
    assert whole.scope() == parts.scope()
    assert (
        ask("responses", {"input": "q"}).scope() == ask("responses", {"input": [said("q")]}).scope()
    )
