"""How long a server asks to wait, and what any error body may do: nothing worse than be an error."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmcache.errors import (
    ConnectionFailedError,
    ResponseTimeoutError,
)
from llmcache.providers.failures import error_from_json, error_from_response, retry_after


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "1500", "retry-after": "20"}, 1.5),
        ({"retry-after": "0"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e999"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after-ms": "-1"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, None),
        ({"retry-after-ms": "soon", "retry-after": "2"}, 2.0),
        ({"retry-after": "Wed, 21 Oct 99999 07:28:00 GMT"}, None),
    ],
    ids=str,
)
def test_how_long_to_wait(headers: Mapping[str, str], expected: float | None) -> None:
    assert retry_after(headers) == expected


def test_a_date_is_seconds_from_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmcache.providers.failures.time.time", lambda: 1445412480.0 - 30)
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 30.0
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 09:28:00 +0200"}) == 30.0


@pytest.mark.parametrize(
    ("delay", "headers", "expected"),
    [
        ("34s", {}, 34.0),
        ("34.074824224s", {}, 34.074824224),
        ("34s", {"retry-after": "2"}, 2.0),
        ("34s", {"retry-after": "0"}, 34.0),
        ("0s", {}, None),
        ("-1s", {}, None),
        ("nans", {}, None),
        ("soon", {}, None),
        (None, {}, None),
        ({"seconds": 34}, {}, None),
    ],
    ids=str,
)
def test_google_says_in_the_body_how_long_to_wait(
    delay: Any, headers: Mapping[str, str], expected: float | None
) -> None:
    google = "type.googleapis.com/google.rpc"
    details = [
        {"@type": f"{google}.QuotaFailure", "violations": [{"quotaId": "PerMinute"}]},
        {"@type": f"{google}.RetryInfo", "retryDelay": delay},
    ]
    error = {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED", "details": details}
    for data in ({"error": error}, [{"error": error}]):
        for raised in (
            error_from_response("google", 429, headers, json.dumps(data).encode()),
            error_from_json("google", data, 200, headers),
        ):
            assert (raised.message, raised.code, raised.retry_after) == ("m", "429", expected)
            assert raised.retryable


@pytest.mark.parametrize("details", [7, "x", {}, [], [None], [[]], [{}], {"@type": "x"}], ids=str)
def test_details_of_another_shape_say_nothing_of_a_wait(details: Any) -> None:
    data = {"error": {"code": 429, "message": "m", "details": details}}
    assert error_from_json("google", data, 200).retry_after is None


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["error", "message", "code", "type", "status", "detail", "details", "@type", "retryDelay"]), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip


@given(
    _json,
    st.integers(400, 599),
    st.dictionaries(
        st.sampled_from(["retry-after", "retry-after-ms", "x-should-retry"]), st.text(max_size=12)
    ),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_error_body_is_an_error_and_no_crash(
    data: Any, status: int, headers: dict[str, str]
) -> None:
    error = error_from_response("p", status, headers, json.dumps(data).encode())
    assert error.status == status
    assert error.message
    try:
        parsed = orjson.loads(json.dumps(data))
    except orjson.JSONDecodeError:
        return
    assert error_from_json("p", parsed, 200).status == 200


def test_errors_with_the_same_name_as_builtins_are_those() -> None:
    assert issubclass(ConnectionFailedError, ConnectionError)
    assert issubclass(ResponseTimeoutError, TimeoutError)
