"""What a call used, in each API's words."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from llmcache.providers.anthropic_messages import MessagesDialect
from llmcache.providers.openai_responses import ResponsesDialect
from llmcache.providers.usage import parse_usage
from llmcache.types import Usage

from . import claude, responses
from .support import as_json


def test_a_chat_completion_counts_cached_tokens_as_input() -> None:
    usage = parse_usage(
        {
            "prompt_tokens": 100,
            "completion_tokens": 20,
            "total_tokens": 120,
            "prompt_tokens_details": {
                "cached_tokens": 60,
                "cache_write_tokens": 7,
                "audio_tokens": 5,
            },
            "completion_tokens_details": {"reasoning_tokens": 8, "audio_tokens": 3},
        }
    )
    assert usage == Usage(
        input_tokens=100,
        output_tokens=20,
        total_tokens=120,
        input_tokens_cached=60,
        input_tokens_cache_write=7,
        input_tokens_audio=5,
        output_tokens_audio=3,
        reasoning_tokens=8,
    )


@pytest.mark.parametrize(
    "place",
    [
        {"prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 6},
        {"num_cached_tokens": 4},
        {"cached_tokens": 4},
        {"prompt_tokens_details": {"cached_tokens": 4}},
        {"prompt_tokens_details": None, "num_cached_tokens": 4},
    ],
)
def test_cached_tokens_stand_where_the_server_puts_them(place: dict[str, Any]) -> None:
    usage = parse_usage({"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11, **place})
    assert (usage.input_tokens, usage.input_tokens_cached) == (10, 4)


def test_an_anthropic_message_leaves_cached_tokens_out_of_its_input() -> None:
    usage = parse_usage(
        {
            "input_tokens": 10,
            "cache_read_input_tokens": 200,
            "cache_creation_input_tokens": 30,
            "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 10},
            "output_tokens": 50,
            "output_tokens_details": {"thinking_tokens": 40},
        },
        "messages",
    )
    assert usage == Usage(
        input_tokens=240,
        output_tokens=50,
        total_tokens=290,
        input_tokens_cached=200,
        input_tokens_cache_write=30,
        input_tokens_cache_write_1h=10,
        reasoning_tokens=40,
    )


def test_a_response_counts_as_a_chat_completion_does() -> None:
    usage = parse_usage(
        {
            "input_tokens": 8253,
            "input_tokens_details": {"cache_write_tokens": 9, "cached_tokens": 4224},
            "output_tokens": 84,
            "output_tokens_details": {"reasoning_tokens": 37},
            "total_tokens": 8337,
        },
        "responses",
    )
    assert usage == Usage(
        input_tokens=8253,
        output_tokens=84,
        total_tokens=8337,
        input_tokens_cached=4224,
        input_tokens_cache_write=9,
        reasoning_tokens=37,
    )


@pytest.mark.parametrize("api", ["ollama.chat", "ollama.generate"])
def test_an_ollama_answer_without_a_prompt_count_had_its_prompt_in_memory(api: str) -> None:
    assert parse_usage({"prompt_eval_count": 26, "eval_count": 298}, api).total_tokens == 324
    assert parse_usage({"eval_count": 3}, api) == Usage(output_tokens=3, total_tokens=3)


def test_an_embedding_reads_and_writes_nothing() -> None:
    assert parse_usage({"total_tokens": 12}, "embedding").input_tokens == 12
    assert parse_usage({"prompt_tokens": 4, "total_tokens": 4}, "embedding").total_tokens == 4


@pytest.mark.parametrize(
    ("place", "cost"),
    [
        ({"cost": 0.00444105}, "0.00444105"),
        ({"cost": 0}, "0"),
        ({"cost": {"total_cost": 0.006}}, "0.006"),
        ({"cost_in_usd_ticks": 1777000}, "0.0001777"),
        ({"cost": True}, None),
        ({"cost": None}, None),
        ({"cost_details": {"upstream_inference_cost": 1}}, None),
    ],
)
@pytest.mark.parametrize("api", ["chat", "responses"])
def test_a_stated_cost_is_taken_exactly(place: dict[str, Any], cost: str | None, api: str) -> None:
    assert parse_usage(place, api).total_cost == (None if cost is None else Decimal(cost))


def test_reasoning_beside_the_completion_is_output() -> None:
    """xAI: 307 read, 26 written, 255 thought, 588 in all; the cost agrees with 281 written."""
    details = {"completion_tokens_details": {"reasoning_tokens": 255}}
    usage = parse_usage(
        {"prompt_tokens": 307, "completion_tokens": 26, "total_tokens": 588, **details}
    )
    assert (usage.output_tokens, usage.reasoning_tokens) == (281, 255)


HOUR = {
    "input_tokens": 3,
    "cache_creation_input_tokens": 100_000,
    "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 100_000},
    "output_tokens": 2,
    "cost": 0.5,
}


@pytest.mark.parametrize("streamed", [False, True])
def test_a_message_says_what_was_kept_for_an_hour_and_what_it_cost(*, streamed: bool) -> None:
    if streamed:
        start = claude.starts(usage={**HOUR, "output_tokens": 1})
        events, result, _ = claude.told(
            claude.sse(start, *claude.text_block(0, "a"), *claude.ends())
        )
        assert events[-1].data == result.usage
    else:
        result = MessagesDialect().parse(as_json(claude.message(usage=HOUR)))
    assert result.usage == Usage(
        input_tokens=100_003,
        output_tokens=2,
        total_tokens=100_005,
        input_tokens_cache_write=100_000,
        input_tokens_cache_write_1h=100_000,
        total_cost=Decimal("0.5"),
    )


@pytest.mark.parametrize("streamed", [False, True])
def test_a_response_says_in_ticks_what_it_cost(*, streamed: bool) -> None:
    """xAI."""
    whole = responses.response(usage={**responses.COUNTS, "cost_in_usd_ticks": 1_777_000})
    if streamed:
        _, result = responses.feed(*responses.events_of(whole))
    else:
        result = ResponsesDialect().parse(as_json(whole))
    assert result.usage is not None
    assert result.usage.total_cost == Decimal("0.0001777")


def test_an_unknown_api_is_an_error() -> None:
    with pytest.raises(KeyError):
        parse_usage({}, "ollama.embed")
