"""Options of a call of the Messages API, and the counting of its tokens."""

from __future__ import annotations

from typing import Any

import pytest

from llmcache import (
    AnthropicProvider,
    InvalidRequestError,
)
from llmcache.errors import (
    InvalidResponseError,
)
from llmcache.options import CALL_FIELDS, COMPLETION_FIELDS
from llmcache.testing.upstream import Reply

from .claude import (
    plain_answer,
    reply_of,
    serving,
)
from .support import SECRET, collect


def made(**options: Any) -> AnthropicProvider:
    return AnthropicProvider(**{"model": "m", "cache_backend": None, "api_key": SECRET, **options})


# --- options ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(COMPLETION_FIELDS - AnthropicProvider._fields))
async def test_an_option_of_another_api_is_refused_by_name(name: str) -> None:
    async with serving(plain_answer) as (provider, upstream):
        options: Any = {name: 1}
        with pytest.raises(InvalidRequestError, match=f"^{name}: unknown option"):
            await provider.complete("x", **options)
        with pytest.raises(InvalidRequestError, match=f"^{name}: unknown option"):
            await collect(provider.stream("x", **options))
        with pytest.raises(InvalidRequestError, match=f"^{name}: unknown option"):
            await provider.count_tokens("x", **options)
        assert upstream.calls == 0


def test_which_options_those_are() -> None:
    assert AnthropicProvider._fields < COMPLETION_FIELDS
    assert COMPLETION_FIELDS - AnthropicProvider._fields >= {
        "n",
        "seed",
        "logprobs",
        "frequency_penalty",
        "audio",
        "stream_options",
    }


@pytest.mark.parametrize("name", sorted(AnthropicProvider._fields - CALL_FIELDS))
def test_an_option_that_is_none_is_left_out(name: str) -> None:
    body = made()._call("x", {name: None}).request.body
    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "x"}],
        "max_tokens": 4096,
    }


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({"tools": {"name": "f"}}, "tools"),
        ({"tools": [5]}, "tools[0]"),
        ({"tools": [{"description": "d"}]}, "tools[0]"),
        ({"tool_choice": 5}, "tool_choice"),
        ({"tool_choice": {"type": "function"}}, "tool_choice"),
        ({"stop": "a", "stop_sequences": ["b"]}, "stop"),
        ({"stop": 5}, "stop_sequences"),
        ({"max_tokens": 1, "max_completion_tokens": 2}, "max_completion_tokens"),
        ({"system": 5}, "system"),
        ({"metadata": "m"}, "metadata"),
        ({"output_config": "o"}, "output_config"),
        ({"response_format": "json_object"}, "response_format"),
        ({"response_format": {"type": "grammar"}}, "response_format"),
        ({"response_format": 5}, "response_format"),
        (
            {"response_format": {"type": "object"}, "output_config": {"format": {"type": "x"}}},
            "response_format",
        ),
        ({"betas": "a"}, "betas"),
        ({"extra_body": []}, "extra_body"),
    ],
    ids=repr,
)
async def test_an_option_of_the_wrong_shape_is_refused(options: dict[str, Any], path: str) -> None:
    async with serving(plain_answer) as (provider, upstream):
        with pytest.raises(InvalidRequestError) as raised:
            await provider.complete("x", **options)
        assert raised.value.path == path
        assert upstream.calls == 0


@pytest.mark.parametrize(
    ("given", "messages", "sent"),
    [
        ("a", "q", "a"),
        ("", "q", None),
        ("a", [{"role": "system", "content": "b"}, "q"], [("a"), ("b")]),
        ([{"type": "text", "text": "a"}], [{"role": "system", "content": "b"}, "q"], ["a", "b"]),
        (None, [{"role": "system", "content": "b"}, "q"], "b"),
    ],
    ids=repr,
)
def test_the_system_prompt_is_that_of_the_option_and_of_the_messages(
    given: Any, messages: Any, sent: Any
) -> None:
    body = made()._call(messages, {"system": given}).request.body
    if isinstance(sent, list):
        sent = [{"type": "text", "text": one} for one in sent]
    assert body.get("system") == sent


# --- counting -----------------------------------------------------------------------------------


async def test_tokens_are_counted_by_the_api() -> None:
    async with serving(reply_of({"input_tokens": 12}), betas=["a"]) as (provider, upstream):
        assert await provider.count_tokens("x", temperature=0.5, system="s", stop="a") == 12
        assert await provider.count_tokens("x", model="other", extra_body={"later": 1}) == 12
        first, second = upstream.requests
    assert first.path == "/v1/messages/count_tokens"
    assert first.headers["anthropic-beta"] == "a"
    turns = [{"role": "user", "content": "x"}]
    assert first.json() == {"model": "demo", "messages": turns, "system": "s"}
    assert second.json() == {"model": "other", "messages": turns, "later": 1}


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b'{"input_tokens": "5"}', b'{"input_tokens": true}']
)
async def test_a_count_that_is_none_is_a_typed_error(body: bytes) -> None:
    async with serving(Reply(body=body)) as (provider, _):
        with pytest.raises(InvalidResponseError):
            await provider.count_tokens("x")


async def test_counting_takes_no_part_in_the_cache() -> None:
    async with serving(reply_of({"input_tokens": 12})) as (provider, _):
        options: Any = {"cache_response": True}
        with pytest.raises(InvalidRequestError, match=r"^cache_response: "):
            await provider.count_tokens("x", **options)
