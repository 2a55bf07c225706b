"""Leases in Redis: a key with a token and a time to live, renewed by a task."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import Any

from ..errors import BackendUnavailableError
from ._loop_bound import spawn
from ._redis_client import RedisClient

__all__ = ["RedisLease"]


class RedisLease:
    """The lease at one place, of one who asks for it."""

    def __init__(
        self, client: RedisClient, place: str, told: tuple[str, str], seconds: float
    ) -> None:
        """`told` is the channel and the key with which others learn that it is free."""
        self._client = client
        self._place = place
        self._told = told
        self._milliseconds = int(seconds * 1000)
        self._token = secrets.token_bytes(16)
        self._renewal: asyncio.Task[None] | None = None

    async def take(self, renewals: set[asyncio.Task[Any]]) -> bool:
        """Return whether it is ours now; then it is renewed, by a task in `renewals`."""
        try:
            async with self._client.use("lease") as client:
                taken = await client.set(self._place, self._token, nx=True, px=self._milliseconds)
            if not taken:
                taken = await self._client.run("lease", "no_lease", [self._place], [self._token])
        except (asyncio.CancelledError, BackendUnavailableError):
            # Free what was perhaps taken, for a caller who had gone or by a reply that was lost.
            spawn(renewals, self._give_back())
            raise
        if not taken:
            return False
        self._renewal = spawn(renewals, self._renew())
        return True

    async def release(self) -> None:
        """Free it if it is still ours, and tell those who wait for it."""
        if self._renewal is not None:
            self._renewal.cancel()
            self._renewal = None
            with contextlib.suppress(Exception):
                await self._give_up()

    async def _renew(self) -> None:
        arguments = [self._token, self._milliseconds]
        while True:
            await asyncio.sleep(self._milliseconds / 3000)
            # A server that does not answer now may answer before the lease has run out.
            with contextlib.suppress(Exception):
                if not await self._client.run("lease", "renew", [self._place], arguments):
                    return

    async def _give_back(self) -> None:
        with contextlib.suppress(BackendUnavailableError):
            await self._give_up()

    async def _give_up(self) -> None:
        await self._client.run("lease", "release", [self._place], [self._token, *self._told])
