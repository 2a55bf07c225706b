"""A provider with the cache in front: what every client of a wire API shares."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing, suppress
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Final, Self, Unpack

from ..backends.base import check_collection
from ..cache import inspection
from ..cache.control import Control
from ..cache.inspection import Explanation
from ..cache.manager import CacheManager
from ..cache.warming import Order, WarmReport
from ..errors import ConfigurationError, InvalidRequestError, LLMCacheError
from ..options import (
    COMPLETION_FIELDS,
    CONTROL_FIELDS,
    EMBEDDING_FIELDS,
    CompletionOptions,
    EmbeddingOptions,
    check_switches,
    reject_unknown,
)
from ..stats import CallStats, new_request_id
from ..types import CompletionResult, EmbeddingResult, MessageInput, StreamEvent, StreamEventType
from .base import BaseProvider, Call, CallT, EmbedCall
from .filling import fill, progress_bar
from .measured import MeasuredStream

__all__ = ["CachedProvider"]

_MOST_CONTROLS: Final = 1_000


class CachedProvider(BaseProvider):
    """Turns calls into requests, and lets the cache answer them.

        options → _control → _call → _prepared → the cache → _delivered

    Whatever asks for an answer takes this way, through `_answer` or `_events`: what a
    subclass does at one of these steps holds for `complete` and `stream`, with and without
    figures, and for what the subclass adds. It overrides the steps, never the doors.
    """

    _fields: ClassVar[frozenset[str]] = COMPLETION_FIELDS
    """The options of a completion that the provider knows; others are refused."""
    _embedding_fields: ClassVar[frozenset[str]] = EMBEDDING_FIELDS

    def __init__(
        self, cache: CacheManager, *, owns_cache: bool, enabled: bool, strict: bool = False
    ) -> None:
        """`enabled` says whether there is a cache at all, or only the path around it.

        `strict`: a store that does not work is an error at start; see `open`.
        """
        self._cache = cache
        self._owns_cache = owns_cache
        self._enabled = enabled
        self._strict = strict
        self._controls: dict[tuple[Any, ...], Control] = {}

    @property
    def cache(self) -> CacheManager:
        """The cache, for `invalidate`, `stats`, `prune` and the like."""
        return self._cache

    @abstractmethod
    def _call(self, messages: MessageInput, options: Mapping[str, Any]) -> Call:
        """Return the call that asks for an answer to `messages`."""

    async def _prepared(self, call: CallT, control: Control) -> CallT:  # noqa: ARG002 - for who overrides it
        """Return the call as the cache is asked for it, once what its key needs is known.

        Nothing was sent yet. The cache takes part when `control.reads` or `control.writes`;
        without `control.calls`, nobody may be asked.
        """
        return call

    def _delivered(self, call: Call, result: CompletionResult) -> CompletionResult:  # noqa: ARG002 - for who overrides it
        """Return the answer to `call` as its caller may see it."""
        return result

    def _embed_call(self, inputs: Any, options: Mapping[str, Any]) -> EmbedCall:
        """Return the call that asks for vectors."""
        msg = f"{type(self).__name__} has no embeddings"
        raise NotImplementedError(msg)

    async def complete(
        self, messages: MessageInput, **options: Unpack[CompletionOptions]
    ) -> CompletionResult:
        """Return the answer to `messages`; `result.cache` says where it came from.

        `messages` is a prompt, a message, or a list of either. See
        `CompletionOptions` for what else a call can say.

        Raises:
            InvalidRequestError: a message or an option is wrong; nothing was sent.
            CacheMissError: `mode="offline"`, and nothing stored answers.
            ProviderError: the provider failed; a subclass says how.
        """
        # As `_asked` and `_answer` do it, without their frames: every hit passes here.
        control, rest = self._control(options, self._fields)
        call = await self._prepared(self._call(messages, rest), control)
        return self._delivered(call, await self._cache.complete(call, control))

    def stream(
        self, messages: MessageInput, **options: Unpack[CompletionOptions]
    ) -> AsyncGenerator[StreamEvent, None]:
        """Yield the answer as it arrives; the last event is `DONE` with the whole of it.

        A stored answer is played back (`replay`). An answer is stored when its
        terminal marker has arrived; who stops reading earlier stores nothing.

        Raises:
            InvalidRequestError, CacheMissError, ProviderError: as `complete`; a
                failure between two events comes after an `ERROR` event.
        """
        return self._events(partial(self._asked, messages, options))

    async def complete_with_stats(
        self, messages: MessageInput, **options: Unpack[CompletionOptions]
    ) -> tuple[CompletionResult, CallStats]:
        """Return the answer as `complete` does, and the figures of the call.

        Raises:
            InvalidRequestError, CacheMissError, ProviderError: as `complete`.
        """
        control, call, stats = self._measured(messages, options)
        stats.record_start()
        result = await self._answer(call, control)
        stats.record_end()
        stats.record_result(result)
        return result, stats

    def stream_with_stats(
        self, messages: MessageInput, **options: Unpack[CompletionOptions]
    ) -> MeasuredStream:
        """Return the events that `stream` yields; their `stats` are complete at the end.

        Raises:
            InvalidRequestError: a message or an option is wrong. What `stream` raises
                otherwise comes with the events.
        """
        control, call, stats = self._measured(messages, options)
        return MeasuredStream(self._events(lambda: (control, call)), stats)

    def _asked(self, messages: MessageInput, options: Mapping[str, Any]) -> tuple[Control, Call]:
        """Return how a call is made, and the call."""
        control, rest = self._control(options, self._fields)
        return control, self._call(messages, rest)

    def _measured(
        self, messages: MessageInput, options: Mapping[str, Any]
    ) -> tuple[Control, Call, CallStats]:
        """Return how a call is made, the call, and the figures that its journey fills in."""
        control, rest = self._control(options, self._fields)
        name = rest.get("request_id")
        stats = CallStats(new_request_id() if name is None else name)
        own = {**rest, "request_id": stats.client_request_id, "stats": stats}
        call = self._call(messages, own)
        stats.provider = call.dialect.provider
        stats.model = str(call.request.body.get("model") or "") or None
        return control, call, stats

    async def _answer(self, call: Call, control: Control) -> CompletionResult:
        """Return the answer to a call as its caller may see it: the one way to whole answers."""
        call = await self._prepared(call, control)
        return self._delivered(call, await self._cache.complete(call, control))

    async def _events(
        self, ask: Callable[[], tuple[Control, Call]]
    ) -> AsyncGenerator[StreamEvent, None]:
        """Yield the answer to what `ask` returns: the one way to streams. Asks when it is read."""
        control, call = ask()
        call = await self._prepared(call, control)
        async with aclosing(self._cache.stream(call, control)) as events:
            async for event in events:
                if event.type is StreamEventType.DONE:
                    yield replace(event, data=self._delivered(call, event.data))
                else:
                    yield event

    async def embed(self, inputs: Any, **options: Unpack[EmbeddingOptions]) -> EmbeddingResult:
        """Return a vector per input: a text, a list of texts, or lists of token ids.

        Every input is cached by itself: a list that is half known sends the other half.

        Raises:
            InvalidRequestError, CacheMissError, ProviderError: as `complete`.
        """
        control, rest = self._control(options, self._embedding_fields)
        call = await self._prepared(self._embed_call(inputs, rest), control)
        return await self._cache.embed(call, control)

    async def explain(
        self, messages: MessageInput, **options: Unpack[CompletionOptions]
    ) -> Explanation:
        """Return whether this call is stored, and if not, what tells it from the nearest that is."""
        control, call = self._asked(messages, options)
        call = await self._prepared(call, replace(control, reads=True))
        return await inspection.explain(
            self._cache.store, control.collection, call.request, control.sample
        )

    async def open(self) -> None:
        """Connect to the cache's store now, where it is a server, and check that calls will work.

        `async with` and `warm_cache` do this by themselves when the provider is `strict`.
        A provider that is not logs a warning instead of raising, and its calls go past
        a cache that does not work.

        Raises:
            ConfigurationError: wrong password, no such database, a right that is lacking,
                a schema of another version; the message says what to do.
            BackendUnavailableError: the server cannot be reached.
        """
        try:
            await self._cache.open()
        except LLMCacheError as error:
            if self._strict:
                raise
            self._cache.store.guard.warn("open", type(error).__name__, str(error))

    async def __aenter__(self) -> Self:
        """Return self, connected if it is `strict`; raises as `open`."""
        if self._strict:
            try:
                await self.open()
            except BaseException:
                await self.close()
                raise
        return self

    async def warm_cache(  # noqa: PLR0913 - limits, all keyword-only with defaults
        self,
        requests: Iterable[MessageInput | Mapping[str, Any]] | None = None,
        *,
        collection: str | None = None,
        order: Order | None = None,
        max_bytes: int | None = None,
        max_entries: int | None = None,
        near_bytes: int | None = None,
        seconds: float | None = None,
        concurrency: int = 8,
    ) -> WarmReport:
        """Prepare the cache for what is to come.

        Without `requests`: load the most used (or, with `order="newest"`, the newest)
        entries of a collection into memory, up to `max_bytes` (default: the tier's
        ceiling), `max_entries` and `seconds` (default: 5). With `"pg_redis"`, Redis gets
        them too, up to `near_bytes` (default: most of what it has left below its
        `maxmemory`). With `requests`: answer each one, from the store or now, at most
        `concurrency` at a time. A request is what `complete` takes as messages, or a
        mapping with `messages` and options. Shows a progress bar on a terminal.

        A request that fails is counted and reported, and the others go on.

        Raises:
            InvalidRequestError: `requests` is no list, or comes with an argument that
                is for loading.
            ConfigurationError: an unknown order, a name that no collection can have,
                or `requests` where there is no cache to keep the answers; when the
                provider is `strict`, also as `open`.
            BackendUnavailableError: when the provider is `strict`, as `open`.
        """
        place = check_collection(self._cache.collection if collection is None else collection)
        asked: dict[str, Any] = {
            "order": order,
            "max_bytes": max_bytes,
            "max_entries": max_entries,
            "near_bytes": near_bytes,
            "seconds": seconds,
        }
        loading = {name: value for name, value in asked.items() if value is not None}
        if requests is not None:
            for name in loading:
                reason = "is for loading what is stored; leave it out beside requests"
                raise InvalidRequestError(name, reason)
            self._check_enabled()
        if self._strict:
            await self.open()
        with progress_bar("warming the cache") as advance:
            if requests is None:
                return await self._cache.warm(place, progress=advance, **loading)
            return await fill(self, requests, collection, concurrency, advance)

    async def close(self) -> None:
        """Close the cache and the connections that this provider opened itself."""
        if self._owns_cache:
            await self._cache.aclose()

    def _control(
        self, options: Mapping[str, Any], known: frozenset[str]
    ) -> tuple[Control, dict[str, Any]]:
        """Split the options of a call into what the cache understands and the rest."""
        try:
            # The same few combinations come again and again, most of them with no other option.
            return self._controls[tuple(options.items())], {}
        except (KeyError, TypeError):  # a list cannot be looked up
            pass
        chosen: dict[str, Any] = {}
        rest: dict[str, Any] = {}
        for name, value in options.items():
            if name in CONTROL_FIELDS:
                chosen[name] = value
            else:
                rest[name] = value
        if not rest.keys() <= known:
            reject_unknown(rest, known)
        return self._checked(chosen), rest

    def _checked(self, chosen: Mapping[str, Any]) -> Control:
        # 1 equals True, which is no number of seconds: of numbers, the type counts as well.
        numbers = [type(value) for value in chosen.values() if isinstance(value, int | float)]
        place = (*chosen.items(), *(kind for kind in numbers if kind is not bool))
        with suppress(KeyError, TypeError):
            return self._controls[place]
        check_switches(chosen)
        control = Control.of(chosen, self._cache.policy, self._cache.collection)
        if control.reads or control.writes:
            self._check_enabled()
        if len(self._controls) < _MOST_CONTROLS:
            with suppress(TypeError):
                self._controls[place] = control
        return control

    def _check_enabled(self) -> None:
        if not self._enabled:
            msg = (
                "this provider was made with cache_backend=None; "
                "make it with cache_backend='fs' to use cache_response or mode='offline'"
            )
            raise ConfigurationError(msg)
