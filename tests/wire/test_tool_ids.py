"""Ids of tool calls, renamed for the API that a conversation goes to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcache import Message, Native, ToolCall
from llmcache.providers.tool_ids import (
    ANTHROPIC_IDS,
    MISTRAL_IDS,
    OPENAI_IDS,
    IdRule,
    with_ids,
)

RULES = {"anthropic": ANTHROPIC_IDS, "mistral": MISTRAL_IDS, "openai": OPENAI_IDS}


def asks(*ids: str, name: str = "f") -> Message:
    return Message.assistant(tool_calls=[ToolCall(one, name, "{}") for one in ids])


def tells(identifier: str, content: str = "x", name: str | None = None) -> Message:
    return Message.tool_result(identifier, content, name)


def calls(messages: Sequence[Message]) -> list[str]:
    return [call.id for message in messages for call in message.tool_calls or ()]


def results(messages: Sequence[Message]) -> list[str | None]:
    return [message.tool_call_id for message in messages if message.role == "tool"]


@pytest.mark.parametrize(
    ("rule", "identifier"),
    [
        ("anthropic", "toolu_01A09q90qw90lq917835lq9"),
        ("anthropic", "call_abc-1"),
        ("mistral", "D681PevKs"),
        ("openai", "call_12345xyz"),
        ("openai", "functions.get_weather:0"),
    ],
)
def test_what_can_stay_stays(rule: str, identifier: str) -> None:
    conversation = [asks(identifier), tells(identifier)]
    assert with_ids(conversation, RULES[rule]) == conversation


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("identifier", ["functions.f:0 ", "é", "x" * 100, "a\nb", "\ud800"])
def test_what_cannot_stay_gets_a_name_that_can(rule: IdRule, identifier: str) -> None:
    made = with_ids([asks(identifier), tells(identifier)], rule)
    assert calls(made) == results(made)
    assert rule.allows(calls(made)[0])
    assert made == with_ids([asks(identifier), tells(identifier)], rule)


def test_names_do_not_change_from_one_process_to_the_next() -> None:
    made = with_ids([asks("functions.f:0", "")], ANTHROPIC_IDS)
    assert calls(made) == ["toolu_CTU5r2GteHoz81OO64ug0iTm", "toolu_Y3aKlB37qX9ZQQJFpHsFhCTI"]


def test_calls_without_ids_are_answered_by_name_and_order() -> None:
    first = Message.assistant(
        tool_calls=[ToolCall("", "f", "1"), ToolCall("", "g", "2"), ToolCall("", "f", "3")]
    )
    made = with_ids([first, tells("", name="g"), tells("", name="f"), tells("")], ANTHROPIC_IDS)
    one, two, three = calls(made)
    assert len({one, two, three}) == 3
    assert results(made) == [two, one, three]


def test_equal_ids_of_two_turns_become_two() -> None:
    conversation = [asks("call_0"), tells("call_0"), asks("call_0"), tells("call_0")]
    made = with_ids(conversation, ANTHROPIC_IDS)
    first, second = calls(made)
    assert (first, first != second) == ("call_0", True)
    assert results(made) == [first, second]
    assert with_ids(conversation[:2], ANTHROPIC_IDS) == made[:2]


def test_equal_ids_of_one_turn_are_answered_in_order() -> None:
    made = with_ids([asks("a", "a"), tells("a", "1"), tells("a", "2")], ANTHROPIC_IDS)
    assert results(made) == calls(made)
    assert len(set(calls(made))) == 2


def test_a_second_result_belongs_to_the_call_of_the_first() -> None:
    made = with_ids([asks("é"), tells("é"), tells("é")], ANTHROPIC_IDS)
    assert results(made) == calls(made) * 2


def test_a_result_of_no_call_has_an_id_that_can_be_sent() -> None:
    (made,) = with_ids([tells("é")], ANTHROPIC_IDS)
    assert ANTHROPIC_IDS.allows(made.tool_call_id or "")
    assert with_ids([tells("toolu_9")], ANTHROPIC_IDS) == [tells("toolu_9")]


def test_a_turn_in_its_own_words_keeps_its_ids_and_nobody_else_gets_them() -> None:
    own = Native("messages", {"role": "assistant", "content": []})
    fixed = Message("assistant", tool_calls=(ToolCall("toolu_1", "f", ""),), native=own)
    made = with_ids(
        [asks("toolu_1"), tells("toolu_1"), fixed, tells("toolu_1")], ANTHROPIC_IDS, fixed=[2]
    )
    first, second = calls(made)
    assert second == "toolu_1" != first
    assert results(made) == [first, second]


class _Few(IdRule):
    """Makes the same few names again and again."""

    def __init__(self) -> None:
        super().__init__(ANTHROPIC_IDS.allowed, "t", 1)


def test_a_made_name_is_never_one_that_is_there() -> None:
    names = [
        f"t{digit}" for digit in "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxy"
    ]
    made = with_ids([asks("é"), asks(*names)], _Few())
    assert calls(made) == ["tz", *names]


identifiers = st.one_of(st.sampled_from(["", "a", "call_0", "é", "x" * 50]), st.text(max_size=12))


@st.composite
def conversations(draw: st.DrawFn) -> list[Message]:
    """Turns of calls, each with its results in any order."""
    turns: list[Message] = []
    for _ in range(draw(st.integers(1, 4))):
        ids = draw(st.lists(identifiers, min_size=1, max_size=4))
        turns.append(asks(*ids))
        turns += [tells(one) for one in draw(st.permutations(ids))]
    return turns


@given(conversations(), st.sampled_from(list(RULES.values())))
@settings(max_examples=300, deadline=None)
def test_every_call_has_a_name_of_its_own_and_its_results_have_it_too(
    conversation: list[Message], rule: IdRule
) -> None:
    made = with_ids(conversation, rule)
    assert len(set(calls(made))) == len(calls(made))
    assert all(rule.allows(one) for one in calls(made))
    assert with_ids(conversation, rule) == made
    assert with_ids(made, rule) == made
    end = 0
    for index, message in enumerate(made):
        if message.tool_calls:
            end = index
            own = {call.id for call in message.tool_calls}
            old = [call.id for call in conversation[end].tool_calls or ()]
        elif message.tool_call_id is not None:
            assert message.tool_call_id in own
            if len(set(old)) == len(old) and conversation[index].tool_call_id:
                place = old.index(conversation[index].tool_call_id or "")
                assert made[end].tool_calls is not None
                assert message.tool_call_id == made[end].tool_calls[place].id


@given(conversations(), conversations(), st.sampled_from(list(RULES.values())))
@settings(max_examples=100, deadline=None)
def test_turns_that_come_later_rename_nothing(
    before: list[Message], after: list[Message], rule: IdRule
) -> None:
    made: Any = with_ids([*before, *after], rule)
    assert made[: len(before)] == with_ids(before, rule)
