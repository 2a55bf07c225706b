"""The promises of `complete_with_stats` and `stream_with_stats`: as `complete` and `stream`, and counted.

`ProviderTests` inherits them; a provider that has neither is skipped.
"""

# ruff: noqa: S101 - a suite: names say what is shown, asserts show it

from __future__ import annotations

from typing import Any, Final

import pytest

from ..errors import InvalidRequestError, ServerError
from ..types import CompletionResult
from ._provider_suite import (
    PROMPT,
    WRONG_OPTIONS,
    ProviderSuite,
    collect,
    done,
    info,
    leave_early,
)

__all__ = ["FigureTests"]

_DOORS: Final = ("complete", "stream", "complete_with_stats", "stream_with_stats")

# Options that one API or another has: whoever does not have one must say so at every door.
_OPTIONS: Final[dict[str, Any]] = {
    "betas": ["some-beta-2026-01-01"],
    "format": "json",
    "frequency_penalty": 0.5,
    "instructions": "Be brief.",
    "logprobs": True,
    "max_output_tokens": 50,
    "max_tokens": 50,
    "metadata": {"ticket": "7"},
    "min_p": 0.5,
    "num_ctx": 4096,
    "previous_response_id": "resp_1",
    "reasoning_effort": "low",
    "seed": 7,
    "service_tier": "auto",
    "speed": "fast",
    "stop": ["END"],
    "store": False,
    "system": "Be brief.",
    "temperature": 0.5,
    "think": True,
    "thinking": {"type": "adaptive"},
    "top_k": 5,
    "user": "somebody",
    "verbosity": "low",
}


class FigureTests(ProviderSuite):
    """The half of `ProviderTests` that is about calls with figures."""

    @pytest.fixture
    def measured(self, provider: Any) -> Any:
        """The provider, in the tests that need its figures."""
        if not hasattr(provider, "complete_with_stats"):
            pytest.skip("the provider has no figures")
        return provider

    async def test_an_answer_has_its_figures(self, measured: Any) -> None:
        result, stats = await measured.complete_with_stats(PROMPT)
        assert result.ok
        assert result.content
        assert stats.has_ended
        assert (stats.finish_reason, stats.usage) == (result.finish_reason, result.usage)
        assert stats.cache_status == (result.cache.status if result.cache else None)
        self.check_calls(measured, 1)

    async def test_a_stream_has_its_figures(self, measured: Any) -> None:
        events = measured.stream_with_stats(PROMPT)
        result = done(await collect(events))
        assert result.content
        assert events.stats.has_ended
        assert events.stats.token_events > 0
        assert events.stats.usage == result.usage
        await leave_early(measured.stream_with_stats(PROMPT))

    @pytest.mark.usefixtures("cached")
    @pytest.mark.parametrize("first", _DOORS)
    async def test_what_one_door_stored_every_other_finds(self, measured: Any, first: str) -> None:
        made = await _ask(measured, first, cache_response=True)
        assert info(made).status == "miss"
        for door in _DOORS:
            found = await _ask(measured, door, cache_response=True)
            assert info(found).status == "hit"
            assert info(found).key == info(made).key
            assert found == made
        _, stats = await measured.complete_with_stats(PROMPT, cache_response=True)
        assert (stats.cache_status, stats.attempts) == ("hit", 0)
        self.check_calls(measured, 1)

    @pytest.mark.parametrize("option", WRONG_OPTIONS)
    async def test_a_wrong_option_is_refused_with_figures_as_without(
        self, measured: Any, option: str
    ) -> None:
        said = {await _refusal(measured, door, **WRONG_OPTIONS[option]) for door in _DOORS}
        assert None not in said
        assert len(said) == 1
        self.check_calls(measured, 0)

    @pytest.mark.usefixtures("cached")
    @pytest.mark.parametrize("option", _OPTIONS)
    async def test_an_option_means_the_same_at_every_door(self, measured: Any, option: str) -> None:
        given: dict[str, Any] = {"cache_response": True, option: _OPTIONS[option]}
        refusal = await _refusal(measured, "complete", **given)
        if refusal is not None:
            assert {await _refusal(measured, door, **given) for door in _DOORS} == {refusal}
            self.check_calls(measured, 0)
            return
        found = [info(await _ask(measured, door, **given)) for door in _DOORS]
        assert len({(one.key, one.status, one.reason) for one in found}) == 1

    async def test_a_failure_is_counted_and_passes(self, measured: Any) -> None:
        for door in ("complete_with_stats", "stream_with_stats"):
            if not self.fail_next(measured, 500):
                pytest.skip("fail_next is not overridden")
            with pytest.raises(ServerError):
                await _ask(measured, door, attempts=1)
            assert (await _ask(measured, door, attempts=1)).content


async def _ask(provider: Any, door: str, **options: Any) -> CompletionResult:
    """Return the whole answer to the prompt, asked for at one door or another."""
    asked = getattr(provider, door)(PROMPT, **options)
    if door.startswith("stream"):
        return done(await collect(asked))
    found = await asked
    result: CompletionResult = found[0] if door == "complete_with_stats" else found
    return result


async def _refusal(provider: Any, door: str, **options: Any) -> str | None:
    """Return why a call is refused before anything is sent, `None` when it is not."""
    try:
        await _ask(provider, door, **options)
    except InvalidRequestError as error:
        return str(error)
    return None
