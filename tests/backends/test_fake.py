"""The made-up provider answers as it is told to, through everything a real one goes through."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from contextlib import aclosing
from decimal import Decimal
from typing import Any

import pytest
from backend_support import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcache import (
    CacheManager,
    CompletionResult,
    InvalidRequestError,
    MemoryBackend,
    Message,
    ProviderError,
    StreamEvent,
    StreamEventType,
    ToolCall,
    Usage,
)
from llmcache.errors import ContextLengthError, QuotaExceededError, RateLimitError
from llmcache.testing import FakeProvider, FakeRequest


async def _events(provider: FakeProvider, prompt: str = "Hi", **options: Any) -> list[StreamEvent]:
    return [event async for event in provider.stream(prompt, **options)]


# --- answers --------------------------------------------------------------------------------


async def test_without_answers_it_says_what_it_was_told() -> None:
    provider = FakeProvider()
    assert (await provider.complete("Hello")).content == "Hello"


async def test_one_answer_is_for_every_call() -> None:
    provider = FakeProvider("Paris.")
    assert [(await provider.complete(p)).content for p in "ab"] == ["Paris.", "Paris."]


async def test_a_script_is_played_in_order_and_runs_out_loudly() -> None:
    provider = FakeProvider(["one", RateLimitError("slow down", status=429), "two"])
    assert (await provider.complete("a")).content == "one"
    with pytest.raises(RateLimitError):
        await provider.complete("b")
    assert (await provider.complete("b")).content == "two"
    with pytest.raises(AssertionError, match="3 answers"):
        await provider.complete("c")
    assert provider.calls == 4


async def test_a_function_sees_the_request() -> None:
    def answer(request: FakeRequest) -> str:
        return f"{request.model}: {request.prompt.upper()}"

    provider = FakeProvider(answer, model="demo")
    assert (await provider.complete("hello")).content == "demo: HELLO"
    assert (await provider.complete("hello", model="other")).content == "other: HELLO"


async def test_an_async_function_decides_when() -> None:
    asked, gate = asyncio.Event(), asyncio.Event()

    async def answer(_: FakeRequest) -> str:
        asked.set()
        await gate.wait()
        return "now"

    provider = FakeProvider(answer)
    tasks = [asyncio.create_task(provider.complete("Hi", cache_response=True)) for _ in range(5)]
    async with asyncio.timeout(20):
        await asked.wait()
    assert not any(task.done() for task in tasks)
    gate.set()
    assert {result.content for result in await asyncio.gather(*tasks)} == {"now"}
    assert provider.calls == 1


async def test_an_answer_can_be_a_whole_result() -> None:
    call = ToolCall("call_1", "get_weather", '{"city": "Paris"}')
    usage = Usage(10, 20, 30, input_tokens_cached=4, reasoning_tokens=5, total_cost=Decimal("0.01"))
    given_result = CompletionResult(
        tool_calls=(call,), usage=usage, reasoning="Let me look.", model="demo-1", id="x"
    )
    provider = FakeProvider(given_result)
    result = await provider.complete("Weather?")
    assert result.tool_calls == (call,)
    assert result.usage == usage
    assert (result.reasoning, result.model, result.id) == ("Let me look.", "demo-1", "x")
    assert result.finish_reason == "tool_calls"
    assert result.to_message().tool_calls == (call,)


async def test_a_result_that_failed_is_the_error_it_stands_for() -> None:
    provider = FakeProvider(CompletionResult(status=429, error="slow down"))
    with pytest.raises(RateLimitError, match="slow down"):
        await provider.complete("Hi")


async def test_n_choices() -> None:
    result = await FakeProvider("Yes.").complete("Hi", n=3)
    assert [choice.message.text for choice in result.choices] == ["Yes."] * 3


_TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60)
_CALLS = st.builds(
    ToolCall,
    id=st.text("abc123", min_size=1, max_size=8),
    name=st.text("abc", min_size=1, max_size=8),
    arguments=_TEXTS,
    type=st.sampled_from(["function", "custom"]),
)
_USAGES = st.builds(
    lambda read, written: Usage(read, written, read + written),
    st.integers(1, 1000),
    st.integers(1, 1000),
)


@settings(max_examples=150, deadline=None)
@given(
    content=st.none() | _TEXTS,
    calls=st.lists(_CALLS, max_size=3, unique_by=lambda call: call.id),
    reasoning=st.none() | _TEXTS,
    refusal=st.none() | _TEXTS,
    usage=st.none() | _USAGES,
)
def test_streamed_or_not_the_answer_is_the_one_given(
    content: str | None,
    calls: list[ToolCall],
    reasoning: str | None,
    refusal: str | None,
    usage: Usage | None,
) -> None:
    wanted = CompletionResult(
        content=content,
        tool_calls=tuple(calls) or None,
        reasoning=reasoning or None,
        refusal=refusal or None,
        usage=usage,
    )

    async def ask() -> tuple[CompletionResult, list[StreamEvent]]:
        provider = FakeProvider(wanted)
        return await provider.complete("Hi"), await _events(provider)

    whole, events = asyncio.run(ask())
    streamed = events[-1].data
    for name in ("content", "tool_calls", "reasoning", "refusal"):
        assert getattr(whole, name) == getattr(wanted, name) == getattr(streamed, name), name
    assert whole.usage == streamed.usage
    assert usage is None or whole.usage == usage
    assert (whole.id, whole.finish_reason) == (streamed.id, streamed.finish_reason)
    tokens = [event.data for event in events if event.type is StreamEventType.TOKEN]
    assert "".join(tokens) == (content or "")


async def test_a_stream_comes_word_by_word() -> None:
    events = await _events(FakeProvider("One two,  three\nfour "))
    tokens = [event.data for event in events if event.type is StreamEventType.TOKEN]
    assert tokens == ["One ", "two,  ", "three\n", "four "]


async def test_a_stream_that_is_left_is_not_stored() -> None:
    provider = FakeProvider("One two three four five six seven", token_delay=0.02)
    async with aclosing(provider.stream("Hi", cache_response=True)) as events:
        async for event in events:
            if event.type is StreamEventType.TOKEN:
                break
    result = await provider.complete("Hi", cache_response=True)
    assert result.cache is not None
    assert result.cache.status == "miss"
    assert provider.calls == 2


# --- what it remembers ----------------------------------------------------------------------


async def test_it_remembers_what_arrived() -> None:
    provider = FakeProvider("Hello.")
    turn = {"role": "user", "content": "Hi"}
    messages = [Message.system("Be brief."), turn]
    await provider.complete(messages, temperature=0.5, extra_body={"top_k": 3})
    turn["content"] = "changed later"
    await _events(provider, "Again")
    await provider.embed(["a", "b"])
    first, second, third = provider.requests
    assert (first.model, first.prompt, first.streamed) == ("fake", "Hi", False)
    assert first.messages == [Message.system("Be brief."), Message.user("Hi")]
    assert first.body["temperature"] == 0.5
    assert first.body["top_k"] == 3
    assert (second.prompt, second.streamed) == ("Again", True)
    assert (third.inputs, third.messages, third.prompt) == (["a", "b"], [], "")
    assert json.dumps(first.body)


async def test_a_hit_does_not_arrive() -> None:
    provider = FakeProvider(["one", "two"])
    for _ in range(3):
        await provider.complete("Hi", cache_response=True)
    assert provider.calls == 1


# --- failures -------------------------------------------------------------------------------


async def test_a_status_is_the_error_of_a_real_provider() -> None:
    provider = FakeProvider("Hello.")
    provider.fail(429, times=2)
    for _ in range(2):
        with pytest.raises(RateLimitError) as caught:
            await provider.complete("Hi", cache_response=True)
        assert (caught.value.status, caught.value.retryable) == (429, True)
    assert (await provider.complete("Hi", cache_response=True)).content == "Hello."
    assert provider.calls == 3


@pytest.mark.parametrize("error", [ContextLengthError("too long"), QuotaExceededError("spent")])
async def test_an_error_is_raised_as_it_is(error: ProviderError) -> None:
    provider = FakeProvider("Hello.")
    provider.fail(error)
    with pytest.raises(type(error)) as caught:
        await _events(provider)
    assert caught.value is error


async def test_a_stream_can_break_in_the_middle() -> None:
    provider = FakeProvider("One two three four")
    provider.fail(500, after=3)
    seen: list[StreamEvent] = []

    async def read() -> None:
        async for event in provider.stream("Hi", cache_response=True):
            seen.append(event)  # noqa: PERF401 - those before the failure count

    with pytest.raises(ProviderError):
        await read()
    assert [event.data for event in seen if event.type is StreamEventType.TOKEN] == ["One ", "two "]
    assert seen[-1].type is StreamEventType.ERROR
    result = await provider.complete("Hi", cache_response=True)
    assert result.cache is not None
    assert (result.content, result.cache.status) == ("One two three four", "miss")


async def test_a_failure_later_than_the_end_is_still_one() -> None:
    provider = FakeProvider("One")
    provider.fail(500, after=1_000)
    with pytest.raises(ProviderError):
        await _events(provider)


async def test_embeddings_fail_too() -> None:
    provider = FakeProvider()
    provider.fail(401)
    with pytest.raises(ProviderError):
        await provider.embed("Hi")
    assert len((await provider.embed("Hi")).embedding) == 8


# --- embeddings -----------------------------------------------------------------------------


async def test_a_vector_depends_on_its_input_alone() -> None:
    provider = FakeProvider()
    result = await provider.embed(["one", "two", "one"])
    first, second, third = result.embeddings
    assert first == third != second
    assert sum(x * x for x in first) == pytest.approx(1)
    assert len((await provider.embed("one", dimensions=3)).embedding) == 3
    assert (await FakeProvider().embed("one")).embedding == first
    assert len((await provider.embed([1, 2, 3])).embeddings) == 1


async def test_vectors_can_be_given() -> None:
    provider = FakeProvider(embedding=lambda text: [float(len(text)), 0.5])
    result = await provider.embed(["a", "bcd"])
    assert result.embeddings == ((1.0, 0.5), (3.0, 0.5))


# --- the cache ------------------------------------------------------------------------------


async def test_a_shared_cache_is_not_closed() -> None:
    cache = CacheManager(MemoryBackend())
    async with FakeProvider("one", cache=cache) as first:
        await first.complete("Hi", cache_response=True)
    async with FakeProvider("two", cache=cache) as second:
        assert (await second.complete("Hi", cache_response=True)).content == "one"
        assert second.calls == 0
    await cache.aclose()


async def test_tenants_are_apart() -> None:
    cache = CacheManager(MemoryBackend())
    results = [
        await FakeProvider(name, cache=cache, tenant=name).complete("Hi", cache_response=True)
        for name in ("one", "two", "one")
    ]
    assert [result.content for result in results] == ["one", "two", "one"]
    await cache.aclose()


async def test_an_error_is_not_stored_by_a_cache() -> None:
    provider = FakeProvider([RateLimitError("slow"), "fine"])
    with pytest.raises(RateLimitError):
        await provider.complete("Hi", cache_response=True)
    assert (await provider.complete("Hi", cache_response=True)).content == "fine"
    assert (await provider.cache.stats()).entries == 1


async def test_what_cannot_be_sent_is_refused_without_a_cache_too() -> None:
    provider = FakeProvider()
    with pytest.raises(InvalidRequestError, match="temperature"):
        await provider.complete("Hi", temperature=float("inf"))
    assert provider.calls == 0


# --- the kit --------------------------------------------------------------------------------


def _python(script: str) -> str:
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, cwd=ROOT, check=True, timeout=50, text=True)
    return done.stdout


def test_the_kit_needs_no_test_tools() -> None:
    script = """
import sys
sys.modules["pytest"] = sys.modules["hypothesis"] = None  # as if they were not installed
import asyncio, llmcache.testing
from llmcache.testing import DemoUpstream, FakeProvider, FakeRequest, Reply, Upstream
print(asyncio.run(FakeProvider("Hello").complete("Hi")).content)
for name in ("BackendTests", "ProviderTests", "BackendMachine"):
    try:
        getattr(llmcache.testing, name)
    except ImportError as error:
        print(name, error.name)
"""
    assert _python(script).splitlines() == [
        "Hello",
        "BackendTests pytest",
        "ProviderTests pytest",
        "BackendMachine hypothesis",
    ]


def test_the_kit_loads_nothing_before_it_is_asked() -> None:
    script = """
import sys, llmcache.testing
print(sorted(name for name in sys.modules if name.startswith(("llmcache.", "h11", "httpx"))))
"""
    assert _python(script).strip() == "['llmcache._lazy', 'llmcache._version', 'llmcache.testing']"


def test_the_kit_lists_its_names() -> None:
    import llmcache.testing as kit  # noqa: PLC0415 - the module itself is the subject

    assert list(kit.__all__) == sorted(kit.__all__) == sorted(dir(kit))
    assert all(getattr(kit, name) is not None for name in kit.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        _ = kit.nothing
