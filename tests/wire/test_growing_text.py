"""A long answer takes the memory of its text, however small the pieces are in which it comes."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcache.providers.anthropic_messages import MessagesDialect
from llmcache.providers.growing_text import GrowingText
from llmcache.providers.ollama_answer import CHAT, GENERATE, OllamaDialect
from llmcache.providers.openai_chat import ChatDialect
from llmcache.providers.openai_responses import ResponsesDialect
from llmcache.types import WireEvent

from . import claude, ollama_support, responses
from .support import call_piece, chunk

WORDS = 40_000
WORD = "wordword"

texts = st.text(max_size=3)


@settings(deadline=None)
@given(start=texts, pieces=st.lists(texts, max_size=20), times=st.integers(1, 200))
def test_a_text_is_the_sum_of_its_pieces(start: str, pieces: list[str], times: int) -> None:
    text = GrowingText(start)
    for piece in pieces * times:
        text.add(piece)
    for _ in range(2):  # looking at it changes nothing
        assert str(text) == start + "".join(pieces * times)


def chat() -> Iterator[dict[str, Any]]:
    for name in ("content", "reasoning_content", "refusal"):
        yield chunk({name: WORD})
    yield chunk(call_piece(0, WORD, id="c", name="f"))


def in_responses() -> Iterator[dict[str, Any]]:
    at = {"output_index": 0, "content_index": 0, "item_id": "i"}
    for kind in ("output_text", "refusal", "reasoning_summary_text"):
        yield responses.event(f"{kind}.delta", **at, delta=WORD)
    yield responses.event("function_call_arguments.delta", output_index=1, delta=WORD)


def in_messages() -> Iterator[dict[str, Any]]:
    yield claude.grows(0, "text_delta", text=WORD)
    yield claude.grows(1, "input_json_delta", partial_json=WORD)
    yield claude.grows(2, "thinking_delta", thinking=WORD)


def in_ollama() -> Iterator[dict[str, Any]]:
    yield ollama_support.line(WORD)
    yield ollama_support.line(thinking=WORD)


def generated() -> Iterator[dict[str, Any]]:
    yield {**ollama_support.generated(WORD), "done": False}


BEGUN: dict[str, list[dict[str, Any]]] = {
    "messages": [
        claude.starts(),
        claude.begins(0, claude.text("")),
        claude.begins(1, claude.tool_use("t")),
        claude.begins(2, {"type": "thinking", "thinking": "", "signature": ""}),
    ],
}
APIS: dict[str, tuple[Callable[[], Any], Callable[[], Iterator[dict[str, Any]]]]] = {
    "chat": (lambda: ChatDialect("test").decoder(), chat),
    "responses": (lambda: ResponsesDialect("test").decoder(), in_responses),
    "messages": (lambda: MessagesDialect("test").decoder(), in_messages),
    "ollama chat": (lambda: OllamaDialect(CHAT).decoder(), in_ollama),
    "ollama generate": (lambda: OllamaDialect(GENERATE).decoder(), generated),
}


@pytest.mark.parametrize("name", APIS)
def test_a_word_takes_its_letters_and_little_more(name: str) -> None:
    make, words = APIS[name]
    decoder = make()
    events = [WireEvent(json.dumps(one).encode()) for one in words()]
    for one in BEGUN.get(name, ()):
        decoder.feed(WireEvent(json.dumps(one).encode()))
    tracemalloc.start()
    try:
        for _ in range(WORDS // len(events)):
            for event in events:
                decoder.feed(event)
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    # Kept one by one, they would take seven times that.
    assert len(WORD) * WORDS < kept < 2.5 * len(WORD) * WORDS
