"""What the shared cache leaves to Postgres, which has every entry."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from ._circuit import Circuit
from .base import BackendStats, EntryInfo, PruneReport
from .postgres import PostgresBackend
from .powers import FoundEntry, Order, Sought

__all__ = ["LeftToPostgres"]


class LeftToPostgres:
    """The operations of which Redis hears nothing."""

    def __init__(self, postgres: PostgresBackend) -> None:
        """Postgres is left alone for a while when it fails."""
        self.postgres = postgres
        self._far = Circuit(postgres.name)

    async def peek(self, collection: str, keys: Sequence[str], /) -> Mapping[str, bytes]:
        """Return the entries that Postgres has among `keys`; Redis is neither asked nor filled."""
        with self._far.use("get"):
            return await self.postgres.get(collection, keys)

    async def scan(self, collection: str | None = None, /) -> AsyncIterator[EntryInfo]:
        """Yield the entries that Postgres has."""
        async for info in self.postgres.scan(collection):
            yield info

    async def fence(self, collection: str, /) -> int:
        """Return a version of Postgres, whoever gave the lease."""
        with self._far.use("fence"):
            return await self.postgres.fence(collection)

    async def dictionaries(self, collection: str, /) -> Sequence[bytes]:
        """Return the dictionaries of the collection, oldest first."""
        with self._far.use("dictionaries"):
            return await self.postgres.dictionaries(collection)

    async def put_dictionary(self, collection: str, data: bytes, /) -> None:
        """Keep one more."""
        with self._far.use("put_dictionary"):
            await self.postgres.put_dictionary(collection, data)

    async def clock(self) -> float:
        """Return the time of Postgres in Unix seconds."""
        with self._far.use("clock"):
            return await self.postgres.clock()

    async def revision(self, collection: str, /) -> int:
        """Return how many changes replaced or removed entries."""
        with self._far.use("revision"):
            return await self.postgres.revision(collection)

    async def touch(self, collection: str, uses: Mapping[str, int], /) -> None:
        """Add `uses` to the keys' counts and set their time of last use to the database's now."""
        with self._far.use("touch"):
            await self.postgres.touch(collection, uses)

    async def stats(self) -> BackendStats:
        """Return the totals of Postgres; of a large table, estimated."""
        return await self.postgres.stats()

    async def count(self) -> BackendStats:
        """Return the totals of Postgres, however long it takes."""
        return await self.postgres.count()

    async def names(self) -> Sequence[str]:
        """Return the names of the collections that have entries."""
        return await self.postgres.names()

    def find(self, collection: str, sought: Sought, /) -> AsyncIterator[FoundEntry]:
        """Yield what Postgres has that matches."""
        return self.postgres.find(collection, sought)

    def ranked(self, collection: str, order: Order, /) -> AsyncIterator[EntryInfo]:
        """Yield what Postgres has, the best first."""
        return self.postgres.ranked(collection, order)

    async def prune(
        self, collection: str | None = None, /, *, max_bytes: int | None = None
    ) -> PruneReport:
        """Shrink Postgres; in Redis, entries go with their own time to live.

        So what was evicted from Postgres may still be served, for `redis_ttl_seconds` at
        most: it is as right as before, and room is what was asked for. To have it
        gone, `delete` it.
        """
        return await self.postgres.prune(collection, max_bytes=max_bytes)
