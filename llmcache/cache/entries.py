"""The entries of one backend as operators see them: what fails is said."""

from __future__ import annotations

from collections.abc import Sequence

from ..backends.base import Backend, SupportsPeek
from ..codec import Codec
from ..errors import BackendError
from ..types import CacheEntry
from .dictionaries import Dictionaries
from .guard import Budget, Guard

__all__ = ["Entries"]


class Entries:
    """A backend with its codec and its dictionaries."""

    def __init__(self, backend: Backend, codec: Codec, background_timeout: float) -> None:
        """Arguments as the manager's."""
        self.backend = backend
        self.codec = codec
        self.guard = Guard(backend.name)
        self.dictionaries = Dictionaries(backend, codec, self.guard)
        self._background = background_timeout

    async def raw(self, collection: str, keys: Sequence[str]) -> dict[str, bytes | BackendError]:
        """Return the bytes of the entries that exist among `keys`, or what kept one from being read.

        One entry that cannot be read does not hide the others.

        Raises:
            BackendError: none of them can be read.
        """
        try:
            backend = self.backend
            read = backend.peek if isinstance(backend, SupportsPeek) else backend.get
            found = dict(await read(collection, keys))
        except BackendError:
            if len(keys) == 1:
                raise
            return await self._raw_one_by_one(collection, keys)
        if not all(map(self.codec.can_open, found.values())):
            await self.dictionaries.load(collection, Budget(self._background))
        known: dict[str, bytes | BackendError] = {**found}
        return known

    async def _raw_one_by_one(
        self, collection: str, keys: Sequence[str]
    ) -> dict[str, bytes | BackendError]:
        found: dict[str, bytes | BackendError] = {}
        for key in keys:
            try:
                found |= await self.raw(collection, [key])
            except BackendError as error:
                found[key] = error
        failures = [value for value in found.values() if isinstance(value, BackendError)]
        if len(failures) == len(keys):
            raise failures[0]
        return found

    async def fetch(
        self, collection: str, keys: Sequence[str]
    ) -> dict[str, CacheEntry | BackendError]:
        """Return the entries among `keys` with their identities, or what is wrong with one.

        Does not count as a use.

        Raises:
            BackendError: the store failed.
        """
        entries: dict[str, CacheEntry | BackendError] = {}
        for key, data in (await self.raw(collection, keys)).items():
            try:
                entries[key] = (
                    data if isinstance(data, BackendError) else self.codec.decode(key, data)
                )
            except BackendError as error:
                entries[key] = error
        return entries
