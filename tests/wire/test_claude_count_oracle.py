"""The official SDK as a second opinion on how the tokens of a message are counted."""

from __future__ import annotations

from typing import Any

import pytest
from anthropic import AsyncAnthropic
from anthropic.resources.beta.messages import AsyncMessages as BetaMessages
from anthropic.resources.messages import AsyncMessages

from .claude import reply_of, serving
from .sdk_parameters import asked, parameters
from .support import SECRET
from .test_claude_request_oracle import BETA, HEADERS, NEW, OPTIONS, Q

COUNTED: dict[str, dict[str, Any]] = {
    **{name: OPTIONS[name] for name in ("tools", "system blocks", "tool any", "format", "speed")},
    "thinking": {"thinking": {"type": "enabled", "budget_tokens": 1024}},
    "cache_control": {"cache_control": {"type": "ephemeral"}},
    "model": {"model": "claude-other"},
    "mcp": BETA["mcp"],
    "context_management": BETA["context_management"],
}
"""Options that the counting of tokens takes."""


def test_every_parameter_of_counting_has_a_case() -> None:
    # What is not named here goes through `extra_body`; `output_format` is the older API's.
    rest = {"messages", "output_format", "compaction", "billing_policy", *HEADERS}
    both_methods = parameters(AsyncMessages.count_tokens) | parameters(BetaMessages.count_tokens)
    assert both_methods == asked(COUNTED.values()) | rest


async def test_what_only_a_message_takes_is_left_out_of_its_counting() -> None:
    def answer(_: Any) -> Any:
        return reply_of({"input_tokens": 7})

    counting = parameters(AsyncMessages.count_tokens) | parameters(BetaMessages.count_tokens)
    making = parameters(AsyncMessages.create) | parameters(BetaMessages.create)
    fields = dict.fromkeys(making - {"model", "messages", "betas", *HEADERS}, "x")
    async with serving(answer, api_version=NEW) as (provider, upstream):
        await provider.count_tokens([Q], extra_body=fields)
        assert set(upstream.requests[0].json()) == (making & counting) - {"betas", *HEADERS}


@pytest.mark.parametrize("name", COUNTED)
async def test_tokens_are_counted_as_by_the_official_sdk(name: str) -> None:
    def answer(_: Any) -> Any:
        return reply_of({"input_tokens": 7})

    options = COUNTED[name]
    async with serving(answer, api_version=NEW) as (provider, upstream):
        assert await provider.count_tokens([Q], **options, max_tokens=3) == 7
        root = upstream.base_url.removesuffix("/v1")
        async with AsyncAnthropic(base_url=root, api_key=SECRET, max_retries=0) as client:
            resource: Any = client.beta.messages if "betas" in options else client.messages
            told = {"model": "demo", "messages": [Q], **options}
            assert (await resource.count_tokens(**told)).input_tokens == 7
        first, second = upstream.requests
    assert first.path == second.path.removesuffix("?beta=true") == "/v1/messages/count_tokens"
    assert first.json() == second.json()
