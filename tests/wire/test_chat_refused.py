"""Calls of a wrong shape: an error that names the place, and nothing is sent."""

from __future__ import annotations

import math
from typing import Any

import pytest

from llmcache import InvalidRequestError, OpenAIProvider
from llmcache.errors import LLMCacheError
from llmcache.testing.upstream import Reply

from .support import as_json, collect, completion, serving

ANSWER = Reply(body=as_json(completion("hi")))


def user(content: Any) -> list[Any]:
    return [{"role": "user", "content": content}]


LONE = "a\ud800b"
_NESTED_LIST: list[Any] = []
for _ in range(100_000):
    _NESTED_LIST = [_NESTED_LIST]

WRONG: dict[str, tuple[Any, dict[str, Any], str]] = {
    "no messages": ([], {}, "messages"),
    "messages None": (None, {}, "messages"),
    "messages a number": (7, {}, "messages"),
    "messages bytes": (b"x", {}, "messages"),
    "messages a generator": ((m for m in ["x"]), {}, "messages"),
    "messages a set": ({"x"}, {}, "messages"),
    "a message that is a number": (["x", 7], {}, "messages[1]"),
    "a message that is a list": ([["user", "x"]], {}, "messages[0]"),
    "a message that is None": ([None], {}, "messages[0]"),
    "no role": ([{"content": "x"}], {}, "messages[0].role"),
    "role a number": (["x", {"role": 7, "content": "x"}], {}, "messages[1].role"),
    "role empty": ([{"role": "", "content": "x"}], {}, "messages[0].role"),
    "role None": ([{"role": None, "content": "x"}], {}, "messages[0].role"),
    "content a number": (user(7), {}, "messages[0].content"),
    "content an object": (user({"type": "text", "text": "x"}), {}, "messages[0].content"),
    "content bytes": (user(b"x"), {}, "messages[0].content"),
    "a part without type": (user([{"text": "x"}]), {}, "messages[0].content[0]"),
    "a part with a wrong type": (user(["x", {"type": 7}]), {}, "messages[0].content[1]"),
    "a part that is None": (user([None]), {}, "messages[0].content[0]"),
    "bytes inside a part": (user([{"type": "text", "text": b"x"}]), {}, "messages[0].content[0].text"),
    "an object in a message": ([{"role": "user", "content": "x", "y": object()}], {}, "messages[0].y"),
    "a lone surrogate": (f"x{LONE}", {}, "messages[0].content"),
    "a lone surrogate in a part": (user([{"type": "text", "text": LONE}]), {}, "messages[0].content[0].text"),
    "a lone surrogate in a name": ([{"role": "user", "content": "x", LONE: 1}], {}, "messages[0]"),
    "NaN": ("x", {"temperature": math.nan}, "temperature"),
    "infinity": ("x", {"top_p": math.inf}, "top_p"),
    "NaN inside": ("x", {"logit_bias": {"1": -math.inf}}, "logit_bias.1"),
    "bytes in an option": ("x", {"stop": ["a", b"b"]}, "stop[1]"),
    "a set in an option": ("x", {"metadata": {"a": {1}}}, "metadata.a"),
    "a lone surrogate in an option": ("x", {"user": LONE}, "user"),
    "a foreign object in extra_body": ("x", {"extra_body": {"a": [object()]}}, "a[0]"),
    "extra_body no object": ("x", {"extra_body": [("a", 1)]}, "extra_body"),
    "tools text": ("x", {"tools": "f"}, "tools[0]"),
    "a tool that is a number": ("x", {"tools": [{"name": "f"}, 7]}, "tools[1]"),
    "a tool without a name": ("x", {"tools": [{"parameters": {}}]}, "tools[0]"),
    "a tool with a wrong name": ("x", {"tools": [{"name": 7}]}, "tools[0]"),
    "a function as a tool": ("x", {"tools": [len]}, "tools[0]"),
    "tool_choice a number": ("x", {"tool_choice": 7}, "tool_choice"),
    "response_format unknown": ("x", {"response_format": "yaml"}, "response_format"),
    "response_format a class": ("x", {"response_format": int}, "response_format"),
    "an unknown option": ("x", {"temprature": 1}, "temprature"),
    "stream as an option": ("x", {"stream": True}, "stream"),
}  # fmt: skip


async def ask(provider: OpenAIProvider, how: str, messages: Any, options: Any) -> None:
    if how == "streamed":
        await collect(provider.stream(messages, **options))
    else:
        await provider.complete(messages, cache_response=how == "stored", **options)


@pytest.mark.parametrize("how", ["complete", "stored", "streamed"])
@pytest.mark.parametrize("case", [name for name in WRONG if name != "messages a generator"])
async def test_a_wrong_shape_is_an_error_that_names_the_place(case: str, how: str) -> None:
    messages, options, path = WRONG[case]
    async with serving(ANSWER) as (provider, upstream):
        with pytest.raises(InvalidRequestError) as raised:
            await ask(provider, how, messages, options)
        assert raised.value.path == path
        assert raised.value.reason
        assert upstream.calls == 0


async def test_a_generator_of_messages_is_refused_and_not_read() -> None:
    messages, _, _ = WRONG["messages a generator"]
    async with serving(ANSWER) as (provider, upstream):
        with pytest.raises(InvalidRequestError, match=r"^messages: .*generator"):
            await provider.complete(messages)
        assert upstream.calls == 0


@pytest.mark.parametrize("cached", [True, False])
async def test_a_request_nested_too_deeply_is_a_typed_error(*, cached: bool) -> None:
    async with serving(ANSWER) as (provider, upstream):
        with pytest.raises(InvalidRequestError):
            await provider.complete("x", cache_response=cached, extra_body={"a": _NESTED_LIST})
        assert upstream.calls == 0


@pytest.mark.parametrize(
    ("option", "meant"),
    [
        ("temprature", "temperature"),
        ("max_token", "max_tokens"),
        ("cache_respond", "cache_response"),
    ],
)
async def test_a_misspelled_option_says_what_was_meant(option: str, meant: str) -> None:
    async with serving(ANSWER) as (provider, upstream):
        with pytest.raises(InvalidRequestError, match=f"did you mean '{meant}'"):
            await provider.complete("x", **{option: True})  # type: ignore[misc]
        assert upstream.calls == 0


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({"tools": 7}, "tools"),
        ({"tools": {"name": "f"}}, "tools"),
        ({"attempts": "2"}, "attempts"),
        ({"attempts": 0}, "attempts"),
        ({"backoff": "2"}, "backoff"),
        ({"timeout": "2"}, "timeout"),
        ({"timeout": -1}, "timeout"),
        ({"extra_headers": "x"}, "extra_headers"),
        ({"extra_headers": {"x-a": 1}}, "extra_headers"),
        ({"extra_headers": {"x-a": "é"}}, "extra_headers"),
        ({"extra_headers": {"x-a": "a\nb"}}, "extra_headers"),
    ],
    ids=str,
)  # fmt: skip
async def test_transport_options_of_a_wrong_shape_are_typed_errors(
    options: dict[str, Any], path: str
) -> None:
    async with serving(Reply(status=500)) as (provider, _):
        with pytest.raises(InvalidRequestError) as raised:
            await provider.complete("x", **options)
        assert raised.value.path.split(".")[0] == path


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({"attempts": 0}, "attempts"),
        ({"attempts": True}, "attempts"),
        ({"backoff": -1}, "backoff"),
        ({"backoff": math.nan}, "backoff"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": math.nan}, "timeout"),
        ({"headers": ["x-a"]}, "headers"),
        ({"headers": {7: "x"}}, "headers.7"),
    ],
    ids=str,
)
def test_what_no_call_can_travel_with_is_refused_at_once(
    options: dict[str, Any], path: str
) -> None:
    with pytest.raises(InvalidRequestError) as raised:
        OpenAIProvider(model="m", cache_backend="memory", **options)
    assert raised.value.path == path


async def test_stream_options_of_a_wrong_shape_are_a_typed_error() -> None:
    async with serving(ANSWER) as (provider, _):
        with pytest.raises(InvalidRequestError, match=r"^stream_options"):
            await collect(provider.stream("x", stream_options="x"))  # type: ignore[arg-type]


async def test_a_key_that_is_no_string_is_treated_alike_with_and_without_the_cache() -> None:
    outcomes = []
    async with serving(ANSWER) as (provider, _):
        for cached in (True, False):
            try:
                await provider.complete("x", logit_bias={50256: -100}, cache_response=cached)  # type: ignore[dict-item]
            except LLMCacheError as error:
                outcomes.append(type(error))
            else:
                outcomes.append(None)
    assert outcomes[0] == outcomes[1]


async def test_an_unknown_role_is_the_servers_business() -> None:
    async with serving(ANSWER) as (provider, upstream):
        await provider.complete([{"role": "critic", "content": "x"}], cache_response=True)
        assert upstream.requests[0].json()["messages"][0]["role"] == "critic"
