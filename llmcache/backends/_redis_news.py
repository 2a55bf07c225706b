"""What the scripts of a Redis backend publish, for those who listen: one connection a loop.

A message is `c <author> <revision> <key> <key> …` when entries changed, with `-` for what
is not said and `*` for too many keys to name; `f <key>` when a lease is free. What reads
otherwise is not ours, and taken for a change of anything.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final, NamedTuple

from ..errors import BackendUnavailableError
from ._loop_bound import LoopBound
from ._redis_client import RedisClient, translated
from .base import may_be_key
from .powers import Change

__all__ = ["NOBODY", "NO_REVISION", "News", "Told", "named"]

NOBODY: Final = "-"
NO_REVISION: Final = "-"
"""Who tells a change and no revision of its own."""

# Silence after which the server is asked whether it is there; after twice that, it is not.
_SILENCE: Final = 5.0
_MOST_UNREAD: Final = 1_000
_LISTENING: Final = Change()
_ANYTHING: Final = Change(None)
_LEASE_WORDS: Final = 2
_CHANGE_WORDS: Final = 4


def named(revision: int | None) -> str:
    """Return how the news name a revision."""
    return NO_REVISION if revision is None else str(revision)


class Told(NamedTuple):
    """What goes with a write: who made it, the revision to tell, and the fence."""

    author: str = NOBODY
    revision: str = ""
    fence: int | None = None


class _Listener:
    """What was told and not yet read. Who is too slow hears that anything may have happened."""

    def __init__(self) -> None:
        self._unread: asyncio.Queue[Change | BackendUnavailableError] = asyncio.Queue()

    def tell(self, change: Change | BackendUnavailableError) -> None:
        if self._unread.qsize() >= _MOST_UNREAD:
            while not self._unread.empty():
                self._unread.get_nowait()
            self._unread.put_nowait(_ANYTHING)
        self._unread.put_nowait(change)

    async def next(self) -> Change:
        change = await self._unread.get()
        if isinstance(change, BackendUnavailableError):
            raise change
        return change


class _Line:
    """The connection of a loop, and who listens to which channel on it."""

    def __init__(self) -> None:
        self.listeners: dict[str, set[_Listener]] = {}
        self.turn = asyncio.Lock()
        self.client: Any = None
        self.subscriber: Any = None
        self.reading: asyncio.Task[None] | None = None

    def tell(self, channel: str | None, change: Change | BackendUnavailableError) -> None:
        """Tell the listeners of a channel, or all."""
        for name in list(self.listeners) if channel is None else [channel]:
            for listener in self.listeners.get(name, ()):
                listener.tell(change)


class News:
    """The channels of one backend."""

    def __init__(self, client: RedisClient) -> None:
        """Connect nothing yet."""
        self._client = client
        self._bound = LoopBound(_Line)

    async def changes(self, channel: str) -> AsyncGenerator[Change, None]:
        """Yield what is told on a channel; the first says that it is listened to.

        Raises:
            BackendUnavailableError: the server cannot be reached, or not any more.
        """
        line = self._bound.get()
        listener = _Listener()
        line.listeners.setdefault(channel, set()).add(listener)
        try:
            await self._join(line, channel)
            _check_cancelled()
            while True:
                yield await listener.next()
        finally:
            line.listeners[channel].discard(listener)
            if not line.listeners[channel]:
                del line.listeners[channel]
                await self._leave(line, channel)

    async def aclose(self) -> None:
        """Tell all listeners of this loop that nothing more comes, and close the connection."""
        line = self._bound.get()
        line.tell(None, BackendUnavailableError("closed", backend="redis", operation="news"))
        await self._stop(line)

    async def _join(self, line: _Line, channel: str) -> None:
        async with line.turn:
            with translated("news"):
                if line.subscriber is None:
                    line.client = await self._client.separate()
                    line.subscriber = line.client.pubsub()
                await line.subscriber.subscribe(channel)
            if line.reading is None:
                line.reading = asyncio.create_task(self._read(line, line.subscriber))

    async def _leave(self, line: _Line, channel: str) -> None:
        """Hear no more of a channel; with the last, the connection is closed."""
        if not line.listeners:
            await self._stop(line)
        elif line.subscriber is not None:
            with contextlib.suppress(BackendUnavailableError), translated("news"):
                await line.subscriber.unsubscribe(channel)

    async def _read(self, line: _Line, subscriber: Any) -> None:
        """Tell what comes, until the connection is lost."""
        asked = False
        try:
            while True:
                with translated("news"):
                    message = await subscriber.get_message(timeout=_SILENCE)
                    _check_cancelled()
                    if message is None and asked:
                        msg = f"no answer within {_SILENCE:g} s"
                        raise TimeoutError(msg)
                    asked = message is None
                    if message is None:
                        await subscriber.ping()
                        continue
                _pass_on(line, message)
        except BackendUnavailableError as error:
            line.tell(None, error)
            line.reading = None
            await self._stop(line)

    async def _stop(self, line: _Line) -> None:
        reading, line.reading = line.reading, None
        subscriber, line.subscriber = line.subscriber, None
        client, line.client = line.client, None
        if reading is not None:
            reading.cancel()
            await asyncio.wait({reading})
        if subscriber is not None:
            with contextlib.suppress(BackendUnavailableError), translated("close"):
                await subscriber.aclose()
        await self._client.close(client)


def _check_cancelled() -> None:
    """Raise the cancellation that the driver has swallowed, as it does while it connects."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _pass_on(line: _Line, message: Mapping[str, Any]) -> None:
    if message["type"] == "subscribe":
        line.tell(message["channel"].decode(), _LISTENING)
    elif message["type"] == "message":
        line.tell(message["channel"].decode(), _change(message["data"]))


def _change(data: bytes) -> Change:
    """Return what a message says."""
    words = data.decode("ascii", "replace").split(" ")
    if words[0] == "f" and len(words) == _LEASE_WORDS and may_be_key(words[1]):
        return Change((words[1],), is_lease=True)
    if words[0] != "c" or len(words) < _CHANGE_WORDS:
        return _ANYTHING
    author, number, *keys = words[1:]
    if number != "-" and not number.isdecimal():
        return _ANYTHING
    revision = None if number == "-" else int(number)
    if not all(map(may_be_key, keys)):
        return Change(None, author, revision if keys == ["*"] else None)
    return Change(tuple(keys), author, revision)
