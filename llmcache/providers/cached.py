"""A provider with the cache in front: what every client of a wire API shares."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing, suppress
from typing import Any, ClassVar, Final, Unpack

from ..backends.base import check_collection
from ..cache import inspection
from ..cache.control import Control
from ..cache.inspection import Explanation
from ..cache.manager import CacheManager
from ..cache.warming import Order, WarmReport
from ..errors import ConfigurationError, InvalidRequestError
from ..options import (
    COMPLETION_FIELDS,
    CONTROL_FIELDS,
    EMBEDDING_FIELDS,
    CompletionOptions,
    EmbeddingOptions,
    check_switches,
    reject_unknown,
)
from ..types import CompletionResult, EmbeddingResult, MessageInput, StreamEvent
from .base import BaseProvider, Call, EmbedCall
from .filling import fill, progress_bar

__all__ = ["CachedProvider"]

_MOST_CONTROLS: Final = 1_000


class CachedProvider(BaseProvider):
    """Turns calls into requests, and lets the cache answer them."""

    _fields: ClassVar[frozenset[str]] = COMPLETION_FIELDS
    """The names of the options that a call may have."""

    def __init__(self, cache: CacheManager, *, owns_cache: bool, enabled: bool) -> None:
        """`enabled` says whether there is a cache at all, or only the path around it."""
        self._cache = cache
        self._owns_cache = owns_cache
        self._enabled = enabled
        self._controls: dict[tuple[Any, ...], Control] = {}

    @property
    def cache(self) -> CacheManager:
        """The cache, for `invalidate`, `stats`, `prune` and the like."""
        return self._cache

    @abstractmethod
    def _call(self, messages: MessageInput, options: Mapping[str, Any]) -> Call:
        """Return the call that asks for an answer to `messages`."""

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
        control, rest = self._control(options, self._fields)
        return await self._cache.complete(self._call(messages, rest), control)

    async def stream(
        self, messages: MessageInput, **options: Unpack[CompletionOptions]
    ) -> AsyncGenerator[StreamEvent, None]:
        """Yield the answer as it arrives; the last event is `DONE` with the whole of it.

        A stored answer is played back (`replay`). An answer is stored when its
        terminal marker has arrived; who stops reading earlier stores nothing.

        Raises:
            InvalidRequestError, CacheMissError, ProviderError: as `complete`; a
                failure between two events comes after an `ERROR` event.
        """
        control, rest = self._control(options, self._fields)
        async with aclosing(self._cache.stream(self._call(messages, rest), control)) as events:
            async for event in events:
                yield event

    async def embed(self, inputs: Any, **options: Unpack[EmbeddingOptions]) -> EmbeddingResult:
        """Return a vector per input: a text, a list of texts, or lists of token ids.

        Every input is cached by itself: a list that is half known sends the other half.

        Raises:
            InvalidRequestError, CacheMissError, ProviderError: as `complete`.
        """
        control, rest = self._control(options, EMBEDDING_FIELDS)
        return await self._cache.embed(self._embed_call(inputs, rest), control)

    async def explain(
        self, messages: MessageInput, **options: Unpack[CompletionOptions]
    ) -> Explanation:
        """Return whether this call is stored, and if not, what tells it from the nearest that is."""
        control, rest = self._control(options, self._fields)
        request = self._call(messages, rest).request
        return await inspection.explain(
            self._cache.store, control.collection, request, control.sample
        )

    async def warm_cache(
        self,
        requests: Iterable[MessageInput | Mapping[str, Any]] | None = None,
        *,
        collection: str | None = None,
        order: Order | None = None,
        max_bytes: int | None = None,
        seconds: float | None = None,
        concurrency: int = 8,
    ) -> WarmReport:
        """Prepare the cache for what is to come.

        Without `requests`: load the most used (or, with `order="newest"`, the newest)
        entries of a collection into memory, up to `max_bytes` (default: the tier's
        ceiling) and `seconds` (default: 5). With them: answer each one, from the store
        or now, at most `concurrency` at a time. A request is what `complete` takes as
        messages, or a mapping with `messages` and options. Shows a progress bar on a
        terminal.

        A request that fails is counted and reported, and the others go on.

        Raises:
            InvalidRequestError: `requests` is no list, or comes with an argument that
                is for loading.
            ConfigurationError: an unknown order, a name that no collection can have,
                or `requests` where there is no cache to keep the answers.
        """
        place = check_collection(self._cache.collection if collection is None else collection)
        asked: dict[str, Any] = {"order": order, "max_bytes": max_bytes, "seconds": seconds}
        loading = {name: value for name, value in asked.items() if value is not None}
        if requests is not None:
            for name in loading:
                reason = "is for loading what is stored; leave it out beside requests"
                raise InvalidRequestError(name, reason)
            self._check_enabled()
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
