"""What the official SDK reads from recorded chat completions, held against what we read, field by field."""

from __future__ import annotations

from typing import Any

import pytest
from openai import APIError, AsyncOpenAI
from openai.types.chat import ChatCompletion, ChatCompletionMessage

from llmcache import ProviderError
from llmcache.testing.upstream import Upstream
from llmcache.types import CompletionResult, Message, ToolCall

from .recorded import ERRORS, WHOLE, Exchange, each
from .streams import outcome
from .support import SECRET, provider_of
from .test_chat_oracle import official

# Why a field of ours may differ from the SDK's:
# - where it has null, empty text or an empty list, we may have another one of them;
# - Mistral's content is a list of parts, which the SDK hands out as it is; ours is their text;
# - Azure's first chunk names neither answer nor model, and the SDK leaves it at that;
# - of a stream, the SDK does not fold Groq's usage, which stands under a name of its own;
# - Gemini gives calls no ids, and ours are made;
# - xAI and Gemini leave reasoning out of `completion_tokens`: ours are the total's rest.


def client_of(upstream: Upstream) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=upstream.base_url, api_key=SECRET, max_retries=0)


def check_fields(ours: CompletionResult, theirs: ChatCompletion) -> None:
    """Check every field that both have."""
    if theirs.model:
        assert (ours.id or "", ours.model) == (theirs.id or "", theirs.model)
    first = theirs.choices[0]
    check_said(ours, first.message)
    assert (ours.refusal or None) == (first.message.refusal or None)
    assert (ours.finish_reason or None) == (first.finish_reason or None)
    check_logprobs(ours.logprobs, first.logprobs)
    thoughts = extra(first.message, "reasoning_content") or extra(first.message, "reasoning")
    if isinstance(thoughts, str):
        assert (ours.reasoning or "") == thoughts
    for name in ("audio", "annotations"):
        value = getattr(first.message, name, None)
        if value:
            plain = value.to_dict() if name == "audio" else [item.to_dict() for item in value]
            assert thawed(ours.extra[name]) == plain
    check_choices(ours, theirs)
    check_usage(ours, theirs)


def check_choices(ours: CompletionResult, theirs: ChatCompletion) -> None:
    if len(theirs.choices) == 1:
        assert ours.choices == ()
        return
    assert len(ours.choices) == len(theirs.choices)
    for one, other in zip(ours.choices, theirs.choices, strict=True):
        assert one.index == other.index
        assert (one.finish_reason or None) == (other.finish_reason or None)
        check_logprobs(one.logprobs, other.logprobs)
        check_said(one.message, other.message)


def check_said(ours: CompletionResult | Message, theirs: ChatCompletionMessage) -> None:
    content: Any = theirs.content
    if isinstance(content, list):
        content = "".join(part["text"] for part in content if part["type"] == "text")
    assert (ours.content or "") == (content or "")
    made = [parts(call) for call in ours.tool_calls or ()]
    given = calls(theirs)
    if theirs.tool_calls and not all(identifier for identifier, *_ in given):
        assert len({identifier for identifier, *_ in made} - {""}) == len(given)
        given = [
            (one[0], *other[1:]) if not other[0] else other
            for one, other in zip(made, given, strict=True)
        ]
    assert made == given


def parts(call: ToolCall) -> tuple[str, str, str]:
    return call.id, call.name, call.arguments


def calls(message: ChatCompletionMessage) -> list[tuple[str, str, str]]:
    legacy = message.function_call
    if legacy is not None and legacy.name:
        return [("", legacy.name, legacy.arguments)]
    found: list[tuple[str, str, str]] = []
    for call in message.tool_calls or ():
        if call.type == "custom":
            found.append((call.id, call.custom.name, call.custom.input))
        else:
            found.append((call.id or "", call.function.name, call.function.arguments))
    return found


def check_logprobs(ours: Any, theirs: Any) -> None:
    assert (thawed(ours) or None) == (None if theirs is None else theirs.to_dict() or None)


def thawed(value: Any) -> Any:
    """Return our immutable JSON as plain JSON."""
    if isinstance(value, dict):
        return {name: thawed(item) for name, item in value.items()}
    return [thawed(item) for item in value] if isinstance(value, list | tuple) else value


def extra(model: Any, name: str) -> Any:
    return (model.model_extra or {}).get(name)


def check_usage(ours: CompletionResult, theirs: ChatCompletion) -> None:
    usage = theirs.usage
    if usage is None:
        return
    assert ours.usage is not None
    total = usage.total_tokens or usage.prompt_tokens + usage.completion_tokens
    assert ours.usage.input_tokens == usage.prompt_tokens
    assert ours.usage.total_tokens == total
    assert ours.usage.output_tokens == max(usage.completion_tokens, total - usage.prompt_tokens)
    read, written = usage.prompt_tokens_details, usage.completion_tokens_details
    if read is not None:
        assert ours.usage.input_tokens_audio == (read.audio_tokens or 0)
        if read.cached_tokens:
            assert ours.usage.input_tokens_cached == read.cached_tokens
    if written is not None:
        assert ours.usage.output_tokens_audio == (written.audio_tokens or 0)
        if written.reasoning_tokens:
            assert ours.usage.reasoning_tokens == written.reasoning_tokens


def given(value: Any) -> Any:
    """Return JSON without nulls: the SDK leaves them in or out as its models have it."""
    if isinstance(value, dict):
        return {name: given(item) for name, item in value.items() if item is not None}
    return [given(item) for item in value] if isinstance(value, list) else value


async def check_whole(exchange: Exchange) -> None:
    messages, options = exchange.chat()
    async with Upstream(lambda _: exchange.reply()) as upstream:
        async with provider_of(upstream) as provider:
            ours = await provider.complete(messages, **options)
        async with client_of(upstream) as client:
            theirs = await client.chat.completions.create(model="m", messages=messages)
    check_fields(ours, theirs)
    assert given(ours.raw) == given(theirs.to_dict(mode="json", exclude_unset=False))


async def test_recorded_answers_are_read_as_by_the_official_sdk(chats: list[Exchange]) -> None:
    rows = [e for e in chats if not e.is_stream and not e.is_error]
    assert await each(rows, check_whole) == WHOLE


def test_recorded_streams_are_read_as_by_the_official_sdk(recorded_streams: list[bytes]) -> None:
    for stream in recorded_streams:
        result, _ = outcome(stream)
        check_fields(result, ChatCompletion.construct(**official(stream)))


async def check_error(exchange: Exchange) -> None:
    messages, options = exchange.chat()
    async with Upstream(lambda _: exchange.reply()) as upstream:
        async with provider_of(upstream, attempts=1) as provider:
            with pytest.raises(ProviderError) as ours:
                await provider.complete(messages, **options)
        async with client_of(upstream) as client:
            if exchange.status < 400:
                # The SDK does not look: an error for an answer is an answer without choices.
                answer = await client.chat.completions.create(model="m", messages=messages)
                assert not answer.choices
                return
            with pytest.raises(APIError) as theirs:
                await client.chat.completions.create(model="m", messages=messages)
    error: Any = theirs.value
    assert ours.value.status == error.status_code
    assert ours.value.request_id == (error.request_id or ours.value.request_id)
    body = error.body if isinstance(error.body, dict) else {}
    if body.get("code") or body.get("type"):
        assert ours.value.code == str(body.get("code") or body.get("type"))
    if body.get("message"):
        assert ours.value.message == body["message"]


async def test_recorded_errors_are_read_as_by_the_official_sdk(chats: list[Exchange]) -> None:
    assert await each([e for e in chats if e.is_error], check_error) == ERRORS
