"""The promises of a provider with a cache in front, as tests for any of them.

    class TestMine(ProviderTests):
        @pytest.fixture
        async def provider(self) -> AsyncIterator[Provider]:
            async with MyProvider(cache=CacheManager(MemoryBackend())) as provider:
                yield provider

The fixture gives a provider that nobody has used yet, with an empty cache, whose
model answers any prompt with some text. Needs pytest and pytest-asyncio.
"""

# ruff: noqa: D102, PLR2004, S101 - a suite: names say what is shown, asserts show it

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from ..errors import (
    AuthenticationError,
    BadRequestError,
    CacheMissError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    ProviderError,
    RateLimitError,
    ServerError,
)
from ..providers.base import Provider
from ..types import CompletionResult, Message, StreamEvent, StreamEventType, TextPart
from ._provider_figures import FigureTests
from ._provider_suite import PROMPT, WRONG_OPTIONS, collect, done, info, leave_early, text_of

__all__ = ["ProviderTests"]

_SHAPES: dict[str, Any] = {
    "text": PROMPT,
    "texts": [PROMPT],
    "message": Message.user(PROMPT),
    "messages": [Message.user(PROMPT)],
    "tuple": (Message.user(PROMPT),),
    "dict": {"role": "user", "content": PROMPT},
    "dicts": [{"role": "user", "content": PROMPT}],
}

_LONGER: dict[str, Any] = {
    "system": [Message.system("Be brief."), Message.user(PROMPT)],
    "mixed": [{"role": "system", "content": "Be brief."}, Message.user(PROMPT), "Please."],
    "parts": [Message.user([TextPart("Hello"), TextPart("there")])],
    "dict-parts": [{"role": "user", "content": [{"type": "text", "text": PROMPT}]}],
    "turns": [PROMPT, Message.assistant("Which one?"), "SQLite's."],
}

_OTHERS: list[tuple[Any, dict[str, Any]]] = [
    (PROMPT + " ", {}),
    (PROMPT, {"temperature": 0.5}),
    (PROMPT, {"model": "another"}),
    (PROMPT, {"cache_collection": "another"}),
    (PROMPT, {"sample": 1}),
    ([Message.system(PROMPT), Message.user(PROMPT)], {}),
]

_WRONG: dict[str, Any] = {
    "none": None,
    "number": 5,
    "bytes": b"Hello",
    "empty": [],
    "number in list": [5],
    "none in list": [None],
    "no role": [{"content": "Hello"}],
    "role of a number": [{"role": 5, "content": "Hello"}],
    "content of a number": [{"role": "user", "content": 5}],
    "part without type": [{"role": "user", "content": [{"text": "Hello"}]}],
    "part of a number": [{"role": "user", "content": [5]}],
    "lone surrogate": "\ud800",
}

_STATUSES: dict[int, type[ProviderError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    429: RateLimitError,
    500: ServerError,
    503: OverloadedError,
}


class ProviderTests(FigureTests):
    """Subclass it with a fixture `provider`; see the module's own words.

    Override `upstream_calls` and `fail_next`, and the tests that count calls and
    make them fail run too. A provider without a cache or embeddings says so
    (`caches = False`, `embeds = False`).
    """

    # --- answers ----------------------------------------------------------------------------

    async def test_it_is_a_provider(self, provider: Provider) -> None:
        assert isinstance(provider, Provider)

    async def test_a_prompt_is_answered(self, provider: Provider) -> None:
        result = await provider.complete(PROMPT)
        assert result.ok
        assert result.content
        self.check_calls(provider, 1)

    async def test_a_stream_ends_with_the_whole_answer(self, provider: Provider) -> None:
        events = await collect(provider.stream(PROMPT))
        kinds = [event.type for event in events]
        assert kinds.count(StreamEventType.DONE) == 1
        assert kinds[-1] is StreamEventType.DONE
        assert text_of(events) == done(events).content
        assert text_of(events)

    async def test_a_stream_that_nobody_reads_to_the_end_harms_nothing(
        self, provider: Provider
    ) -> None:
        await leave_early(provider.stream(PROMPT))
        assert (await provider.complete(PROMPT)).content

    @pytest.mark.parametrize("shape", [*_SHAPES, *_LONGER])
    async def test_messages_come_in_every_shape(self, provider: Provider, shape: str) -> None:
        messages = {**_SHAPES, **_LONGER}[shape]
        assert (await provider.complete(messages)).content

    @pytest.mark.parametrize("shape", _WRONG)
    async def test_a_wrong_shape_is_refused_before_anything_is_sent(
        self, provider: Provider, shape: str
    ) -> None:
        with pytest.raises(InvalidRequestError):
            await provider.complete(_WRONG[shape])
        with pytest.raises(InvalidRequestError):
            await collect(provider.stream(_WRONG[shape]))
        self.check_calls(provider, 0)

    @pytest.mark.parametrize("option", WRONG_OPTIONS)
    async def test_a_wrong_option_is_refused_before_anything_is_sent(
        self, provider: Provider, option: str
    ) -> None:
        with pytest.raises(InvalidRequestError):
            await provider.complete(PROMPT, **WRONG_OPTIONS[option])
        with pytest.raises(InvalidRequestError):
            await collect(provider.stream(PROMPT, **WRONG_OPTIONS[option]))
        self.check_calls(provider, 0)

    async def test_closing_twice_is_closing_once(self, provider: Provider) -> None:
        await provider.complete(PROMPT)
        await provider.close()
        await provider.close()

    async def test_it_is_a_context_manager(self, provider: Any) -> None:
        async with provider as entered:
            assert entered is provider
            assert (await entered.complete(PROMPT)).content

    @pytest.mark.parametrize("status", _STATUSES)
    @pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
    async def test_an_error_is_typed_and_passes(
        self, provider: Provider, status: int, *, streamed: bool
    ) -> None:
        options: dict[str, Any] = {"attempts": 1}
        if self.caches:
            options["cache_response"] = True
        if not self.fail_next(provider, status):
            pytest.skip("fail_next is not overridden")
        seen: list[StreamEvent] = []
        asking: Coroutine[Any, Any, Any] = (
            collect(provider.stream(PROMPT, **options), seen)
            if streamed
            else provider.complete(PROMPT, **options)
        )
        with pytest.raises(_STATUSES[status]) as caught:
            await asking
        assert caught.value.status == status
        assert [event.type for event in seen] == [StreamEventType.ERROR] * streamed
        result = await provider.complete(PROMPT, **options)
        assert result.content
        if self.caches:
            assert info(result).status == "miss"
        self.check_calls(provider, 2)

    # --- the cache --------------------------------------------------------------------------

    async def test_what_is_asked_again_is_a_hit(self, cached: Provider) -> None:
        first = await cached.complete(PROMPT, cache_response=True)
        again = await cached.complete(PROMPT, cache_response=True)
        assert (info(first).status, info(first).stored) == ("miss", True)
        assert info(again).status == "hit"
        assert again == first
        self.check_calls(cached, 1)

    async def test_other_questions_are_misses(self, cached: Provider) -> None:
        await cached.complete(PROMPT, cache_response=True)
        for messages, options in _OTHERS:
            result = await cached.complete(messages, cache_response=True, **options)
            assert info(result).status == "miss"
        self.check_calls(cached, 7)

    async def test_another_salt_is_another_question(self, cached: Provider) -> None:
        await cached.complete(PROMPT, cache_response=True)
        salted = await cached.complete(PROMPT, cache_response=True, salt="documents of May")
        other = await cached.complete(PROMPT, cache_response=True, salt="documents of June")
        again = await cached.complete(PROMPT, cache_response=True, salt="documents of May")
        assert [info(result).status for result in (salted, other, again)] == [
            "miss",
            "miss",
            "hit",
        ]
        self.check_calls(cached, 3)

    async def test_every_shape_of_one_message_is_one_question(self, cached: Provider) -> None:
        results = [await cached.complete(m, cache_response=True) for m in _SHAPES.values()]
        assert [info(result).status for result in results] == ["miss"] + ["hit"] * (
            len(_SHAPES) - 1
        )
        self.check_calls(cached, 1)

    async def test_without_being_asked_to_the_cache_takes_no_part(self, cached: Provider) -> None:
        assert info(await cached.complete(PROMPT)).status == "bypass"
        assert info(await cached.complete(PROMPT, cache_response=True)).status == "miss"
        assert info(await cached.complete(PROMPT)).status == "bypass"
        self.check_calls(cached, 3)

    async def test_a_stream_is_stored_and_answers_whole(self, cached: Provider) -> None:
        live = await collect(cached.stream(PROMPT, cache_response=True))
        replayed = await collect(cached.stream(PROMPT, cache_response=True))
        whole = await cached.complete(PROMPT, cache_response=True)
        assert replayed == live
        assert whole == done(live) == done(replayed)
        assert info(done(live)).status == "miss"
        assert info(done(replayed)).status == info(whole).status == "hit"
        self.check_calls(cached, 1)

    async def test_a_whole_answer_is_stored_and_streams(self, cached: Provider) -> None:
        whole = await cached.complete(PROMPT, cache_response=True)
        events = await collect(cached.stream(PROMPT, cache_response=True))
        assert done(events) == whole
        assert text_of(events) == whole.content
        assert info(done(events)).status == "hit"
        self.check_calls(cached, 1)

    async def test_a_stream_that_was_left_leaves_no_half_answer(self, cached: Provider) -> None:
        await leave_early(cached.stream(PROMPT, cache_response=True))
        whole = await cached.complete(PROMPT, cache_response=True)
        assert whole.ok
        assert whole.finish_reason
        events = await collect(cached.stream(PROMPT, cache_response=True))
        assert text_of(events) == whole.content

    async def test_regen_adds_a_sample_and_plain_hits_stay(self, cached: Provider) -> None:
        first = await cached.complete(PROMPT, cache_response=True)
        second = await cached.complete(PROMPT, cache_response=True, regen_cache=True)
        assert (info(second).status, info(second).sample) == ("miss", 1)
        plain = await cached.complete(PROMPT, cache_response=True)
        assert info(plain).key == info(first).key != info(second).key
        assert plain == first
        assert await cached.complete(PROMPT, cache_response=True, sample=1) == second
        self.check_calls(cached, 2)

    async def test_rewrite_replaces_what_plain_hits_return(self, cached: Provider) -> None:
        first = await cached.complete(PROMPT, cache_response=True)
        second = await cached.complete(PROMPT, cache_response=True, rewrite_cache=True)
        assert (info(second).status, info(second).stored) == ("miss", True)
        assert info(second).key == info(first).key
        plain = await cached.complete(PROMPT, cache_response=True)
        assert info(plain).status == "hit"
        assert plain == second
        self.check_calls(cached, 2)

    async def test_offline_never_calls(self, cached: Provider) -> None:
        with pytest.raises(CacheMissError):
            await cached.complete(PROMPT, mode="offline")
        with pytest.raises(CacheMissError):
            await collect(cached.stream(PROMPT, mode="offline"))
        self.check_calls(cached, 0)
        stored = await cached.complete(PROMPT, cache_response=True)
        assert await cached.complete(PROMPT, mode="offline") == stored
        assert done(await collect(cached.stream(PROMPT, mode="offline"))) == stored
        self.check_calls(cached, 1)

    async def test_samples_are_topped_up(self, cached: Provider) -> None:
        await cached.complete(PROMPT, cache_response=True)
        result = await cached.complete(PROMPT, cache_response=True, samples=3)
        assert [info(sample).sample for sample in result.samples] == [0, 1, 2]
        assert [info(sample).status for sample in result.samples] == ["hit", "miss", "miss"]
        again = await cached.complete(PROMPT, cache_response=True, samples=3)
        assert again.samples == result.samples
        self.check_calls(cached, 3)

    async def test_a_rejected_answer_is_asked_for_again(self, cached: Provider) -> None:
        first = await cached.complete(PROMPT, cache_response=True)
        assert await info(first).reject()
        assert not await info(first).reject()
        assert info(await cached.complete(PROMPT, cache_response=True)).status == "miss"
        self.check_calls(cached, 2)

    async def test_equal_calls_at_once_are_one_call(self, cached: Provider) -> None:
        async def streamed() -> CompletionResult:
            return done(await collect(cached.stream(PROMPT, cache_response=True)))

        asked = [cached.complete(PROMPT, cache_response=True) for _ in range(10)]
        results = await asyncio.gather(*asked, *(streamed() for _ in range(10)))
        assert all(result == results[0] for result in results)
        assert [info(result).status for result in results].count("miss") == 1
        self.check_calls(cached, 1)

    # --- embeddings -------------------------------------------------------------------------

    async def test_every_input_has_a_vector(self, provider: Provider) -> None:
        if not self.embeds:
            with pytest.raises(NotImplementedError):
                await provider.embed("one")
            return
        result = await provider.embed(["one", "two", "one"])
        assert len(result.embeddings) == 3
        assert result.embeddings[0] == result.embeddings[2] != result.embeddings[1]
        assert (await provider.embed("two")).embedding == result.embeddings[1]

    async def test_a_list_that_is_half_known_asks_for_the_rest(self, cached: Provider) -> None:
        if not self.embeds:
            pytest.skip("the provider has no embeddings")
        first = await cached.embed(["one", "two"], cache_response=True)
        both = await cached.embed(["three", "two", "one"], cache_response=True)
        assert both.embeddings[1:] == first.embeddings[::-1]
        assert both.cache is not None
        assert (both.cache.items, both.cache.items_hit) == (3, 2)
        again = await cached.embed(["one", "two", "three"], mode="offline")
        assert again.embeddings == both.embeddings[::-1]
        self.check_calls(cached, 2)
