"""Canonical JSON: equal values give equal bytes, different values different ones."""

from __future__ import annotations

import enum
import json
import sys
from collections import OrderedDict
from types import MappingProxyType
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from json_values import EDGE_NUMBERS, json_values, numbers, typed
from keying import key, said, text

from llmcache.keys.canonical import canonical_bytes, ordered, plain, reference_bytes

_PROPERTY: Final = settings(deadline=None, max_examples=150)
_EVERY_CHARACTER: Final = [
    c for c in map(chr, range(sys.maxunicode + 1)) if not "\ud800" <= c <= "\udfff"
]


def _canonical(value: Any) -> bytes:
    return canonical_bytes(plain(value))


def _by_json(value: Any) -> bytes:
    """Return what the standard library prints, without anything of ours between."""
    value = json.loads(json.dumps(value), parse_float=lambda s: _whole(float(s)))
    printed = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return printed.encode()


def _whole(number: float) -> float | int:
    return int(number) if number.is_integer() else number


# --- one form, two encoders -------------------------------------------------------------------


@_PROPERTY
@given(json_values)
def test_both_encoders_print_the_same(value: Any) -> None:
    normal = plain(value)
    assert canonical_bytes(normal) == reference_bytes(normal) == _by_json(value)


@_PROPERTY
@given(st.lists(numbers, max_size=8) | st.dictionaries(st.text("ab"), numbers))
def test_both_encoders_print_numbers_the_same(value: Any) -> None:
    normal = plain(value)
    assert canonical_bytes(normal) == reference_bytes(normal) == _by_json(value)


@pytest.mark.parametrize("number", EDGE_NUMBERS, ids=repr)
def test_a_number_at_the_edge_is_printed_by_the_reference(number: float) -> None:
    for value in (number, -number, {"x": [number]}):
        assert _canonical(value) == _by_json(value)


def test_both_encoders_print_every_character_the_same() -> None:
    everything = "".join(_EVERY_CHARACTER)
    normal = plain({everything: [everything], "\x00": '\x1f\x7f\\"/\u2028'})
    assert canonical_bytes(normal) == reference_bytes(normal)


def test_keys_are_sorted_by_code_point_not_by_utf_16_unit() -> None:
    names = ["\U0001f600", "\uffff", "\ue000", "é", "z", "a", "A", "", "\x00"]
    value = dict.fromkeys(names, 1)
    assert list(json.loads(_canonical(value))) == sorted(names)
    assert canonical_bytes(plain(value)) == reference_bytes(plain(value))


@pytest.mark.parametrize("depth", [1, 100, 253, 254, 255, 300])
@pytest.mark.parametrize("wrap", [lambda v: [v], lambda v: {"a": v, "b": 1.0}])
def test_depth_does_not_change_the_form(depth: int, wrap: Any) -> None:
    # orjson stops at 254 levels; from there on the reference speaks.
    value: Any = 1e-7
    for _ in range(depth):
        value = wrap(value)
    assert _canonical(value) == _by_json(value)


# --- equal values -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "equal",
    [
        [1, 1.0, float("1e0")],
        [0, 0.0, -0.0],
        [10**22, 1e22],
        [
            {"a": 1, "b": 2},
            {"b": 2, "a": 1},
            OrderedDict(b=2, a=1),
            MappingProxyType({"b": 2, "a": 1}),
        ],
        [[1, "a"], (1, "a")],
        ["a", enum.StrEnum("E", {"A": "a"})("a")],
        [1, enum.IntEnum("I", {"ONE": 1})(1)],
    ],
    ids=str,
)
def test_spellings_of_one_value_are_one_value(equal: list[Any]) -> None:
    assert len({_canonical({"x": value}) for value in equal}) == 1
    assert len({key("chat", {"temperature": value}) for value in equal}) == 1


_DIFFERENT: Final[list[Any]] = [
    *(None, True, False, 0, 1, 2, -1, 0.1, 1e-7, 1e-8, 2**53, 2**53 + 1, 2**64, 2**64 + 1),
    *("", "1", "1.0", "true", "null", "[]", "{}", "a", "A", "a ", " a", "a\n", "\ta", "a\r\n"),
    *(
        "é",
        "e\u0301",
        "É",
        "ß",
        "ss",
        "\ufb01",
        "fi",
        "\u00a0",
        "\u200b",
        "\ufeff",
        "\x00",
        "K",
        "\u212a",
    ),
    *([], [None], [0], [[]], ["a"], ["a", "a"], [1, 2], [2, 1], {}, {"": None}, {"a": None}),
    *({"a": 1}, {"A": 1}, {"a": "1"}, {"a": [1]}, {"b": 1}, {"a": 1, "b": None}, {"a": {"b": 1}}),
]


def test_different_values_have_different_bytes_and_keys() -> None:
    assert len({_canonical(value) for value in _DIFFERENT}) == len(_DIFFERENT)
    assert len({key("chat", {"unknown": value}) for value in _DIFFERENT}) == len(_DIFFERENT)


@pytest.mark.parametrize("kind", ["chat", "responses", "messages", "ollama.chat"])
def test_a_prompt_is_never_touched(kind: str) -> None:
    strings = [value for value in _DIFFERENT if isinstance(value, str)]
    for wrap in (lambda s: s, lambda s: [text(s)], lambda s: [text("x"), text(s)]):
        keys = {key(kind, {"messages": [said(wrap(s))], "input": [said(wrap(s))]}) for s in strings}
        assert len(keys) == len(strings)


@_PROPERTY
@given(json_values)
def test_the_bytes_tell_the_whole_value(value: Any) -> None:
    # What can be read back is not shared by two values: the form is injective.
    assert typed(json.loads(_canonical(value))) == typed(value)


@_PROPERTY
@given(json_values, json_values)
def test_bytes_are_equal_exactly_when_values_are(a: Any, b: Any) -> None:
    assert (_canonical(a) == _canonical(b)) == (typed(a) == typed(b))


@_PROPERTY
@given(json_values, st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_count(value: Any, random: Any) -> None:
    def shuffled(item: Any) -> Any:
        if isinstance(item, dict):
            pairs = [(name, shuffled(inner)) for name, inner in item.items()]
            random.shuffle(pairs)
            return dict(pairs)
        return [shuffled(inner) for inner in item] if isinstance(item, list) else item

    assert _canonical(shuffled(value)) == _canonical(value)


@_PROPERTY
@given(json_values)
def test_what_is_ordered_tells_the_value_and_the_order(value: Any) -> None:
    def sequence(item: Any) -> Any:
        if isinstance(item, dict):
            return ("object", tuple((name, sequence(inner)) for name, inner in item.items()))
        return ("array", tuple(map(sequence, item))) if isinstance(item, list) else typed(item)

    kept = ordered(value)
    if isinstance(value, dict | list):
        assert kept.keys() == {"ordered"}
        kept = json.loads(kept["ordered"])
    assert sequence(kept) == sequence(value)
