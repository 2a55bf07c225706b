"""An entry and its exported line say the same."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmcache.cache.transfer import entry_from_line, line_of_entry
from llmcache.types import CacheEntry, Recording, WireEvent

_KEY = "v1:" + "0" * 64
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,15}", fullmatch=True)
_HEADERS = st.dictionaries(_NAMES, _TEXT, max_size=4).map(lambda named: tuple(named.items()))
_OFFSETS = st.integers(0, 10**9).map(lambda micros: micros / 1e6)
_EVENTS = st.lists(st.builds(WireEvent, st.binary(max_size=30), st.none() | _NAMES, _OFFSETS))
_STATUSES = st.integers(200, 299)
_RECORDINGS = st.builds(
    Recording,
    body=st.binary(max_size=50),
    events=st.none(),
    headers=_HEADERS,
    status=_STATUSES,
) | st.builds(
    Recording, body=st.none(), events=_EVENTS.map(tuple), headers=_HEADERS, status=_STATUSES
)
_TIMES = st.floats(0, 2e9, allow_nan=False)


@given(
    st.builds(
        CacheEntry,
        key=st.just(_KEY),
        recording=_RECORDINGS,
        kind=_NAMES,
        model=st.none() | _TEXT.filter(bool),
        tags=st.lists(_TEXT.filter(bool), max_size=3).map(tuple),
        created_at=_TIMES,
        expires_at=st.none() | _TIMES,
        keep_until=st.none() | _TIMES,
        duration=st.none() | _TIMES,
        cost=st.none() | st.decimals(0, 10, allow_nan=False).map(str),
        answered_by=st.none() | _TEXT.filter(bool),
        identity=st.just(b""),
        components=st.dictionaries(_NAMES, _TEXT, max_size=3),
    )
)
def test_an_entry_comes_back_from_its_line(entry: CacheEntry) -> None:
    assert entry_from_line(line_of_entry("default", entry)) == ("default", entry)


@pytest.mark.parametrize("status", ["200", 2e2, True, None])
def test_a_status_is_a_whole_number(status: object) -> None:
    line = json.loads(line_of_entry("default", CacheEntry(_KEY, Recording(body=b"{}"), "chat")))
    with pytest.raises(ValueError, match="status"):
        entry_from_line(json.dumps({**line, "status": status}))
