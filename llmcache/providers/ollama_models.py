"""The models of an Ollama server: which there are, what they are, fetching more. Never cached."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from ..errors import InvalidResponseError, ProviderError, StreamInterruptedError
from ..timeouts import Timeouts
from ..types._json import Json
from .delivery import Delivery
from .failures import MALFORMED, embedded_error, error_from_json, identified, snippet
from .http import HTTPReply
from .ollama_request import tagged
from .retry import Retry
from .wire_events import EventStream

__all__ = ["Digests", "ModelPull", "PullProgress", "installed", "json_of"]

_DONE: Final = "success"
# Seconds: how long a look-up of digests may take, and how soon one that failed is tried again.
_PATIENCE: Final = 5.0
_AGAIN: Final = 1.0


@dataclass(frozen=True, slots=True)
class PullProgress:
    """How far a pull is. `total` and `completed` are bytes of the layer `digest`, where there is one."""

    status: str
    digest: str | None = None
    total: int | None = None
    completed: int | None = None

    @property
    def fraction(self) -> float | None:
        """The part of the layer that is here, from 0 to 1; `None` when nobody says."""
        return (self.completed or 0) / self.total if self.total else None


class ModelPull:
    """A model on its way: `async for progress in pull`, or `await pull` for its end.

    It begins with either. Who leaves the loop early leaves the pull: the server keeps
    what it has, and the next pull goes on from there.
    """

    def __init__(
        self, delivery: Delivery, body: Mapping[str, Json], digests: Digests | None = None
    ) -> None:
        """Ask for nothing yet; `digests` are no longer true afterwards."""
        self._delivery = delivery
        self._body = body
        self._digests = digests

    def __await__(self) -> Generator[Any, None, bool]:
        """Return True when the model is there.

        Raises:
            ProviderError: it could not be fetched.
        """
        return self._finish().__await__()

    def __aiter__(self) -> AsyncIterator[PullProgress]:
        """Yield what the server says of it.

        Raises:
            ProviderError: it could not be fetched.
        """
        return self._progress()

    async def _finish(self) -> bool:
        async with aclosing(self._progress()) as steps:
            async for _ in steps:
                pass
        return True

    async def _progress(self) -> AsyncGenerator[PullProgress, None]:
        provider = self._delivery.transport.provider
        step: PullProgress | None = None
        body = {**self._body, "stream": True}
        events = EventStream(self._delivery, body, self._body, provider, lines=True)
        # Also of what a line says: a server may repeat the key that it was sent.
        with self._delivery.redaction(self._body), identified(events):
            async with aclosing(events):
                async for event in events:
                    step = _step(json_of(event.data, provider), event.data, provider)
                    yield step
            if step is None or step.status != _DONE:
                message = "the pull ended before it succeeded"
                raise StreamInterruptedError(message, provider=provider, retryable=True)
        if self._digests is not None:
            self._digests.forget()


def _step(data: Json, line: bytes, provider: str) -> PullProgress:
    try:
        status = data["status"]
        if not isinstance(status, str):
            msg = "a status that is no text"
            raise TypeError(msg)
        total, completed = data.get("total"), data.get("completed")
        return PullProgress(
            status,
            data.get("digest") or None,
            None if total is None else int(total),
            None if completed is None else int(completed),
        )
    except MALFORMED as error:
        message = f"no progress of a pull ({error}): {snippet(line)}"
        raise InvalidResponseError(message, provider=provider, status=200) from error


def json_of(body: bytes, provider: str) -> Json:
    """Return the JSON in a response.

    Raises:
        ProviderError: it is an error, or no JSON.
    """
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        message = f"not JSON: {snippet(body) or 'empty body'}"
        raise InvalidResponseError(message, provider=provider, status=200) from None
    if embedded_error(data):
        raise error_from_json(provider, data, 200)
    return data


def installed(reply: HTTPReply, provider: str) -> dict[str, str | None]:
    """Return the digest of every model in `/api/tags`, by name with tag.

    Raises:
        ProviderError: the reply is no list of models.
    """
    with identified(reply):
        data = json_of(reply.body, provider)
        try:
            return {_name(model): model.get("digest") or None for model in data["models"] or ()}
        except MALFORMED as error:
            message = f"no list of models ({error}): {snippet(reply.body)}"
            raise InvalidResponseError(message, provider=provider, status=reply.status) from error


def _name(model: Mapping[str, Any]) -> str:
    name = model.get("name") or model["model"]
    if not isinstance(name, str):
        msg = "a name that is no text"
        raise TypeError(msg)
    return name


class Digests:
    """What the tags of a server stand for, asked again after some seconds.

    A tag that is moved is seen at most so much later; until then an answer of the
    new model counts as one of the old.
    """

    def __init__(self, delivery: Delivery, seconds: float) -> None:
        """`delivery` leads to `/api/tags`; a call does not wait long for it."""
        self._delivery = replace(delivery, retry=Retry(1), timeout=Timeouts.of(_PATIENCE))
        self._seconds = seconds
        self._known: dict[str, str | None] = {}
        self._until = -1.0
        self._forgotten = 0
        self._asking: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None

    def of(self, model: str) -> str | None:
        """Return the digest that was known last; `None` when the server has not said."""
        return self._known.get(tagged(model))

    @property
    def are_due(self) -> bool:
        """Whether the server was not asked for so long that it is time to ask again."""
        return time.monotonic() >= self._until

    async def refresh(self) -> None:
        """Ask the server, unless it was asked a moment ago; one that does not say leaves none known."""
        if not self.are_due:
            return
        async with self._lock():
            while self.are_due:
                await self._ask()

    async def _ask(self) -> None:
        seconds, forgotten = self._seconds, self._forgotten
        try:
            reply = await self._delivery.get()
            found = installed(reply, self._delivery.transport.provider)
            known: dict[str, str | None] = {tagged(name): d for name, d in found.items()}
        except ProviderError:
            # The calls go past the cache, and say so; whether they fail is the server's matter.
            known, seconds = {}, min(seconds, _AGAIN)
        # What was forgotten meanwhile may be what the server said.
        if forgotten == self._forgotten:
            self._known, self._until = known, time.monotonic() + seconds

    def forget(self) -> None:
        """Have the server asked by the next call, also if somebody is asking it now."""
        self._until = -1.0
        self._forgotten += 1

    def _lock(self) -> asyncio.Lock:
        """Return the lock of this event loop: many calls at once ask once."""
        loop = asyncio.get_running_loop()
        if self._asking is None or self._asking[0] is not loop:
            self._asking = (loop, asyncio.Lock())
        return self._asking[1]
