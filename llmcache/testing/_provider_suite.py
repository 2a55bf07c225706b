"""What the halves of `ProviderTests` share: their hooks, their prompt, and looks at an answer."""

# ruff: noqa: S101 - a suite: asserts show it

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, ClassVar, Final

import pytest

from ..providers.base import Provider
from ..types import CacheInfo, CompletionResult, StreamEvent, StreamEventType

__all__ = [
    "PROMPT",
    "WRONG_OPTIONS",
    "ProviderSuite",
    "collect",
    "done",
    "info",
    "leave_early",
    "text_of",
]

PROMPT: Final = "Explain the write-ahead log in one paragraph."

WRONG_OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "misspelled": {"temprature": 0.5},
    "not a number": {"temperature": float("nan")},
    "no JSON form": {"extra_body": {"object": object()}},
    "mode": {"mode": "sideways"},
    "sample": {"cache_response": True, "sample": -1},
    "both ways": {"cache_response": True, "regen_cache": True, "rewrite_cache": True},
    "offline rewrite": {"cache_response": True, "mode": "offline", "rewrite_cache": True},
}


class ProviderSuite:
    """What a suite must know of the provider that it looks at."""

    pytestmark = pytest.mark.asyncio

    caches: ClassVar[bool] = True
    """The provider understands `cache_response` and its kin."""
    embeds: ClassVar[bool] = True
    """The provider has embeddings."""

    def upstream_calls(self, provider: Any) -> int | None:  # noqa: ARG002 - for who overrides it
        """Return how many calls went past the cache so far; `None`: nobody counts."""
        return None

    def fail_next(self, provider: Any, status: int) -> bool:  # noqa: ARG002 - as above
        """Let the next call fail as if the server had answered `status`; return whether it will."""
        return False

    def check_calls(self, provider: Provider, expected: int) -> None:
        """Check how many calls went past the cache, where somebody counts."""
        calls = self.upstream_calls(provider)
        assert calls is None or calls == expected

    @pytest.fixture
    def cached(self, provider: Provider) -> Provider:
        """The provider, in the tests that need its cache."""
        if not self.caches:
            pytest.skip("the provider has no cache")
        return provider


async def leave_early(stream: Any) -> None:
    """Read one event of a stream, and close it."""
    async with aclosing(stream) as events:
        async for _ in events:
            break


async def collect(
    stream: AsyncIterator[StreamEvent], into: list[StreamEvent] | None = None
) -> list[StreamEvent]:
    """Return the events of a stream; `into` has those that came before a failure."""
    events = [] if into is None else into
    async for event in stream:
        events.append(event)
    return events


def text_of(events: list[StreamEvent]) -> str:
    return "".join(event.data for event in events if event.type is StreamEventType.TOKEN)


def done(events: list[StreamEvent]) -> CompletionResult:
    result: CompletionResult = events[-1].data
    assert events[-1].type is StreamEventType.DONE
    return result


def info(result: CompletionResult) -> CacheInfo:
    assert result.cache is not None
    return result.cache
