"""What the demo shows, scene by scene: each measures what happened and checks what it claims."""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..errors import ProviderError
from ..types import CacheInfo, CompletionResult, EmbeddingResult, StreamEvent, StreamEventType
from .asking import ProviderName, provider_class
from .output import span_text

if TYPE_CHECKING:
    from ..cache import CacheStats
    from ..providers.cached import CachedProvider
    from ..testing.upstream import DemoUpstream

__all__ = ["COLLECTION", "Scene", "Stage", "Totals", "scenes"]

T = TypeVar("T")

COLLECTION: Final = "demo"
_QUESTION: Final = "Explain write-ahead logging in one short paragraph."
_STREAMED: Final = "Explain checkpoints of a write-ahead log in one short paragraph."
_CROWD: Final = "Explain in one sentence why a log is written in order."
_TEXTS: Final = tuple(f"Chapter {number} of a book about storage." for number in range(1, 9))
_KNOWN: Final = 4
_CALLERS: Final = 100
# A slower recording is played faster, so that the demo stays short.
_LONGEST_REPLAY: Final = 3.0


@dataclass(frozen=True, slots=True)
class Scene:
    """One thing shown: who answered, how long it took, and what is wrong with it, if anything.

    `calls` reached the server, `spared` did not have to. `skipped` says why a
    scene could not be played on this server.
    """

    name: str
    title: str
    source: str
    seconds: float
    calls: int
    spared: int = 0
    note: str = ""
    problem: str | None = None
    skipped: str | None = None


@dataclass(slots=True)
class Totals:
    """The sum of all scenes. `cost_saved` is `None` where no price is known."""

    calls_made: int = 0
    calls_spared: int = 0
    vectors_spared: int = 0
    seconds_saved: float = 0.0
    cost_saved: Decimal | None = None
    unpriced_hits: int = 0


@dataclass(slots=True)
class Stage:
    """Where the scenes play: one cache folder, and one provider at a time in front of it.

    `salt` makes this run's requests its own: an earlier run's answers do not count.
    """

    asker: ProviderName
    options: Mapping[str, Any]
    embedding_model: str
    upstream: DemoUpstream | None = None
    salt: str = field(default_factory=lambda: secrets.token_hex(8))
    totals: Totals = field(default_factory=Totals)
    _provider: CachedProvider | None = None

    @property
    def provider(self) -> CachedProvider:
        """The provider that runs now."""
        if self._provider is None:
            self._provider = provider_class(self.asker)(**self.options)
        return self._provider

    @property
    def asking(self) -> dict[str, Any]:
        """The options of every call."""
        return {
            "cache_response": True,
            "cache_collection": COLLECTION,
            "salt": self.salt,
            "tags": (COLLECTION,),
        }

    async def restart(self) -> None:
        """Close the provider with everything it has in memory; the next one starts from files."""
        if self._provider is not None:
            provider, self._provider = self._provider, None
            self._add(provider.cache.counters)
            await provider.close()

    def _add(self, counters: CacheStats) -> None:
        totals = self.totals
        totals.seconds_saved += counters.saved_seconds
        totals.unpriced_hits += counters.unpriced_hits
        if counters.hits > counters.unpriced_hits:
            totals.cost_saved = (totals.cost_saved or Decimal()) + counters.saved_cost

    async def measured(self, work: Callable[[], Awaitable[T]]) -> tuple[T, float, int]:
        """Return what `work` returns, the seconds it took, and the calls that reached the server.

        The stand-in counts them itself; for a real server the cache's counters do.
        """
        before, started = self._calls(), time.perf_counter()
        result = await work()
        return result, time.perf_counter() - started, self._calls() - before

    def _calls(self) -> int:
        if self.upstream is not None:
            return self.upstream.calls
        return self.provider.cache.counters.misses


async def scenes(stage: Stage) -> AsyncGenerator[Scene, None]:
    """Play every scene; the totals are complete at the end.

    Raises:
        LLMCacheError: the server failed.
    """
    try:
        for play in (_asked, _streamed, _crowd, _embedded):
            async with contextlib.aclosing(play(stage)) as played:
                async for scene in played:
                    stage.totals.calls_made += scene.calls
                    stage.totals.calls_spared += scene.spared
                    yield scene
    finally:
        await stage.restart()


async def _asked(stage: Stage) -> AsyncGenerator[Scene, None]:
    """Ask, ask again, and ask after a restart."""

    async def ask() -> CompletionResult:
        return await stage.provider.complete(_QUESTION, **stage.asking)

    first, seconds, calls = await stage.measured(ask)
    problem = _not_made(first.cache, calls)
    yield Scene("miss", "asked", "server", seconds, calls, problem=problem)

    again, seconds, calls = await stage.measured(ask)
    problem = _not_found(again.cache, calls, "memory") or _differs(first, again)
    yield Scene("hit", "asked again", "memory", seconds, calls, 1, problem=problem)

    await stage.restart()
    later, seconds, calls = await stage.measured(ask)
    problem = _not_found(later.cache, calls, "backend") or _differs(first, later)
    yield Scene("restart", "asked after a restart", "files", seconds, calls, 1, problem=problem)


async def _streamed(stage: Stage) -> AsyncGenerator[Scene, None]:
    """Record a stream, and play it back at once and with its own pauses."""

    async def play(replay: Any) -> _Read:
        return await _read(stage.provider.stream(_STREAMED, replay=replay, **stage.asking))

    first, seconds, calls = await stage.measured(partial(play, "instant"))
    problem = _not_made(first.result.cache, calls)
    said = f"first after {span_text(first.first_after)}"
    yield Scene("stream", "streamed", "server", seconds, calls, note=said, problem=problem)

    times = math.ceil(seconds / _LONGEST_REPLAY)
    speed = "as recorded" if times == 1 else f"{times} × as fast"
    for name, title, replay in (
        ("replay", "streamed again", "instant"),
        ("replay_paced", f"streamed, {speed}", "recorded" if times == 1 else float(times)),
    ):
        again, seconds, calls = await stage.measured(partial(play, replay))
        problem = _not_found(again.result.cache, calls, "memory")
        problem = problem or _differs(first.result, again.result)
        if problem is None and again.pieces != first.pieces:
            problem = f"expected {first.pieces} pieces, got {again.pieces}"
        said = f"first after {span_text(again.first_after)}"
        yield Scene(name, title, "memory", seconds, calls, 1, said, problem)


async def _crowd(stage: Stage) -> AsyncGenerator[Scene, None]:
    """Ask the same a hundred times at once."""

    async def ask() -> list[CompletionResult]:
        calls = [stage.provider.complete(_CROWD, **stage.asking) for _ in range(_CALLERS)]
        return await asyncio.gather(*calls)

    results, seconds, calls = await stage.measured(ask)
    hits = sum(r.cache is not None and r.cache.hit for r in results)
    problem = None
    if calls != 1 or hits != _CALLERS - 1:
        problem = (
            f"expected 1 call and {_CALLERS - 1} hits, got {calls} calls and {hits} hits"
            f"{_why(results[0].cache)}"
        )
    problem = problem or next(filter(None, (_differs(results[0], r) for r in results)), None)
    title = f"{_CALLERS} callers at once"
    yield Scene("burst", title, "server, once", seconds, calls, hits, f"{hits} joined", problem)


async def _embedded(stage: Stage) -> AsyncGenerator[Scene, None]:
    """Embed a list, and a longer one of which half is known."""

    async def embed(texts: tuple[str, ...]) -> EmbeddingResult:
        return await stage.provider.embed(list(texts), model=stage.embedding_model, **stage.asking)

    title = f"{_KNOWN} texts embedded"
    try:
        first, seconds, calls = await stage.measured(partial(embed, _TEXTS[:_KNOWN]))
    except NotImplementedError:
        yield Scene("embed", title, "", 0.0, 0, skipped="the API has no embeddings")
        return
    except ProviderError as error:
        if stage.upstream is not None:
            raise
        yield Scene("embed", title, "", 0.0, 0, skipped=str(error))
        return
    # The counters count vectors; they were made by one call.
    calls = min(calls, 1)
    problem = _not_made(first.cache, calls)
    yield Scene("embed", title, "server", seconds, calls, problem=problem)

    more, seconds, calls = await stage.measured(partial(embed, _TEXTS))
    calls = min(calls, 1)
    known = 0 if more.cache is None else more.cache.items_hit
    stage.totals.vectors_spared += known
    yield Scene(
        "embed_half",
        f"{len(_TEXTS)} texts, {_KNOWN} known",
        "memory, server",
        seconds,
        calls,
        note=f"{known} found, {len(_TEXTS) - known} made",
        problem=_not_half(stage, first, more, calls),
    )


@dataclass(frozen=True, slots=True)
class _Read:
    result: CompletionResult
    pieces: int
    first_after: float


async def _read(events: AsyncIterator[StreamEvent]) -> _Read:
    """Read a stream; note when its first text came, and in how many pieces it did."""
    started = time.perf_counter()
    pieces, first_after = 0, 0.0
    result = CompletionResult()
    async for event in events:
        if event.type is StreamEventType.TOKEN:
            pieces += 1
            first_after = first_after or time.perf_counter() - started
        elif event.type is StreamEventType.DONE:
            result = event.data
    return _Read(result, pieces, first_after)


# --- claims -----------------------------------------------------------------------------------


def _not_made(cache: CacheInfo | None, calls: int) -> str | None:
    """Return what is wrong with an answer that one call should have made and stored."""
    if cache is None or cache.status != "miss" or calls != 1:
        status = "no label" if cache is None else cache.status
        return f"expected a miss and 1 call, got {status} and {calls} calls{_why(cache)}"
    return None if cache.stored else f"the answer was not stored{_why(cache)}"


def _not_found(cache: CacheInfo | None, calls: int, tier: str) -> str | None:
    """Return what is wrong with an answer that should have come from `tier`, without a call."""
    if cache is not None and cache.status == "hit" and cache.tier == tier and not calls:
        return None
    found = "no label" if cache is None else f"a {cache.status} from {cache.tier or 'the server'}"
    return f"expected a hit from {tier}, got {found} and {calls} calls{_why(cache)}"


def _not_half(
    stage: Stage, first: EmbeddingResult, more: EmbeddingResult, calls: int
) -> str | None:
    known = 0 if more.cache is None else more.cache.items_hit
    if known != _KNOWN or calls != 1:
        return (
            f"expected {_KNOWN} known vectors and 1 call, got {known} and {calls}{_why(more.cache)}"
        )
    if more.embeddings[:_KNOWN] != first.embeddings:
        return "the known vectors came back otherwise than they were"
    if stage.upstream is not None:
        sent = stage.upstream.requests[-1].json()["input"]
        if sent != list(_TEXTS[_KNOWN:]):
            return f"expected the other {len(_TEXTS) - _KNOWN} texts to be sent, sent {sent}"
    return None


def _differs(first: CompletionResult, again: CompletionResult) -> str | None:
    return None if first == again else "the answer came back otherwise than it was"


def _why(cache: CacheInfo | None) -> str:
    return f" ({cache.reason})" if cache is not None and cache.reason else ""
