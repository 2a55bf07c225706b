"""What the official SDK makes of an answer of the Messages API, held against what we make of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from anthropic._models import construct_type
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message as Theirs

from llmcache.providers.anthropic_messages import MessagesDialect
from llmcache.types import CompletionResult

from .claude import GENERATED, call_block, ends, outcome, recorded_messages, sse, starts
from .recorded import Exchange
from .specification import reference


def official(stream: bytes) -> Theirs:
    """Return the message that the official SDK folds a stream into."""
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    for event in reference(stream):
        if event.event is None or event.event == "ping":
            continue
        parsed: Any = json.loads(event.data)
        snapshot = accumulate_event(event=parsed, current_snapshot=snapshot, json_bufs=buffers)
    assert snapshot is not None
    return snapshot  # type: ignore[no-any-return]


def given(value: Any) -> Any:
    """Return JSON without nulls: the SDK leaves them in or out as its models have it."""
    if isinstance(value, dict):
        return {name: given(item) for name, item in value.items() if item is not None}
    return [given(item) for item in value] if isinstance(value, list) else value


def check_fields(ours: CompletionResult, theirs: Theirs) -> None:
    """Check field by field."""
    assert (ours.id, ours.model) == (theirs.id, theirs.model)
    assert ours.finish_reason == theirs.stop_reason
    texts = [block.text for block in theirs.content if block.type == "text"]
    assert (ours.content or "") == "".join(texts)
    thoughts = [block.thinking for block in theirs.content if block.type == "thinking"]
    assert (ours.reasoning or "") == "".join(thoughts)
    calls = [(b.id, b.name, b.input) for b in theirs.content if b.type == "tool_use"]
    assert [(c.id, c.name, c.parse_arguments()) for c in ours.tool_calls or ()] == calls
    if theirs.stop_reason == "refusal":
        details = theirs.stop_details
        assert ours.refusal == (None if details is None else details.explanation)
    assert ours.usage is not None
    usage = theirs.usage
    read, written = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
    assert ours.usage.input_tokens == usage.input_tokens + read + written
    assert (ours.usage.input_tokens_cached, ours.usage.input_tokens_cache_write) == (read, written)
    assert ours.usage.output_tokens == usage.output_tokens


def check_stream(stream: bytes) -> None:
    ours, whole = outcome(stream)
    assert whole
    theirs = official(stream)
    check_fields(ours, theirs)
    assert given(ours.raw) == given(theirs.to_dict())


@pytest.mark.parametrize("name", GENERATED)
def test_generated_streams_fold_as_in_the_official_sdk(name: str) -> None:
    check_stream(GENERATED[name])


@pytest.fixture
def answers(recordings: Path) -> list[Exchange]:
    return [e for e in recorded_messages(recordings) if not e.is_error]


def test_recorded_streams_fold_as_in_the_official_sdk(answers: list[Exchange]) -> None:
    rows = [e for e in answers if e.is_stream]
    assert len(rows) == 22
    for exchange in rows:
        check_stream(exchange.body)


def test_recorded_answers_parse_as_in_the_official_sdk(answers: list[Exchange]) -> None:
    rows = [e for e in answers if not e.is_stream]
    assert len(rows) == 24
    for exchange in rows:
        theirs: Any = construct_type(type_=Theirs, value=json.loads(exchange.body))
        ours = MessagesDialect("test").parse(exchange.body)
        check_fields(ours, theirs)
        assert ours.native is not None
        blocks = [block.to_dict() for block in theirs.content]
        assert given(ours.native.for_api("messages")["content"]) == given(blocks)


@pytest.mark.parametrize(
    "cut",
    ['{"a": 1, "b": "hal', '{"a": [1, 2', '{"a": tr', "{", '{"a": {"b": 1}, "c"', '{"a": 1} x'],
)
def test_an_input_that_the_token_limit_cuts_is_read_as_by_the_official_sdk(cut: str) -> None:

    stream = sse(starts(), *call_block(0, "toolu_1", cut), *ends("max_tokens"))
    ours, whole = outcome(stream)
    assert whole
    (call,) = ours.tool_calls or ()
    assert call.arguments == cut
    assert given(ours.raw) == given(official(stream).to_dict())
