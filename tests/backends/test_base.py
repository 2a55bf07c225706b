"""Names are checked once, before anything is derived from them."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmcache.backends.base import check_collection, check_key
from llmcache.errors import ConfigurationError

_SAFE = set(string.ascii_letters + string.digits + "._-")


@given(st.text(max_size=140))
def test_a_collection_is_a_harmless_file_name(name: str) -> None:
    try:
        assert check_collection(name) == name
    except ConfigurationError:
        return
    assert 1 <= len(name) <= 128
    assert set(name) <= _SAFE
    assert name[0] not in "._-"


@given(st.text(alphabet="abcXYZ019._-", min_size=1, max_size=128))
def test_a_harmless_file_name_is_a_collection(name: str) -> None:
    if name[0] in "._-":
        with pytest.raises(ConfigurationError):
            check_collection(name)
    else:
        assert check_collection(name) == name


@given(st.text(max_size=200) | st.from_regex(r"\w{0,9}:?\w{20,140}", fullmatch=True))
def test_a_key_is_a_scheme_and_digits(name: str) -> None:
    try:
        assert check_key(name) == name
    except ConfigurationError:
        return
    scheme, _, digits = name.partition(":")
    assert scheme
    assert 32 <= len(digits) <= 128
    assert set(scheme + digits) <= set(string.ascii_letters + string.digits)


def test_a_scheme_is_short() -> None:
    with pytest.raises(ConfigurationError):
        check_key("v" * 300 + ":" + "0" * 64)


def test_a_collection_that_is_a_list_is_refused_by_name() -> None:
    name: object = ["default"]
    with pytest.raises(ConfigurationError):
        check_collection(name)  # type: ignore[arg-type]  # that is the point


def test_the_message_says_what_to_use() -> None:
    with pytest.raises(ConfigurationError, match=r"'\.\./x'.*letters, digits"):
        check_collection("../x")
    with pytest.raises(ConfigurationError, match="v1:<64 hex digits>"):
        check_key("x")
