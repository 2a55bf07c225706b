"""Connections on which values are read, and nothing else is done.

The hot path of a hit. What `Redis.mget` does around its command (a pool behind a lock,
retries, metrics, three timers) takes about as long as a server on the same machine takes
to answer, so reads have a few connections of their own, and one timer for them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ._deadlines import Deadlines

__all__ = ["Readers"]


class Readers:
    """Connections of one loop to one server, made when they are needed, kept until `aclose`."""

    def __init__(self, pool: Any, lost: type[Exception], timeout: float) -> None:
        """`pool` makes connections; `lost` is what they raise when they were closed meanwhile.

        `timeout` is seconds for connecting, and for an answer.
        """
        self._pool = pool
        self._lost = lost
        self._timeout = timeout
        self._idle: list[Any] = []
        self._deadlines = Deadlines()

    async def mget(self, places: Sequence[str]) -> Sequence[bytes | None]:
        """Return the values at `places`. Raises what redis-py raises, and `TimeoutError`."""
        connection = self._idle.pop() if self._idle else self._pool.make_connection()
        try:
            with self._deadlines.limit(self._timeout):
                try:
                    return await self._ask(connection, places)
                except self._lost:
                    # The server may have closed what was idle; whoever asked need not know.
                    return await self._ask(connection, places)
        finally:
            # One that failed, or was given up, has been disconnected, and connects anew.
            self._idle.append(connection)

    async def _ask(self, connection: Any, places: Sequence[str]) -> Sequence[bytes | None]:
        if not connection.is_connected:
            connection.socket_timeout = self._timeout
            await connection.connect()
            connection.socket_timeout = None  # the time-out of the whole is enough from here on
        command = connection.pack_command("MGET", *places)
        await connection.send_packed_command(command, check_health=False)
        values: Sequence[bytes | None] = await connection.read_response(disable_decoding=True)
        return values

    async def aclose(self) -> None:
        """Close those that are idle; the others are closed when who uses them is cancelled."""
        while self._idle:
            await self._idle.pop().disconnect()
