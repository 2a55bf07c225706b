"""A state machine that runs a backend beside a dict, and compares. For Hypothesis.

    class FolderMachine(BackendMachine):
        durable = True

        def make_backend(self) -> Backend:
            return FSCache(self.folder)

    TestFolder = FolderMachine.TestCase

A durable backend is opened twice, and now and then anew, on the same data: what
one instance did, the other must see. Needs hypothesis; a test runs without a loop.
"""

# ruff: noqa: D102, S101 - a suite: names say what is shown, asserts show it

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ..backends.base import (
    Backend,
    Lease,
    StoredEntry,
    SupportsLease,
    SupportsQuarantine,
    SupportsRevision,
    SupportsTouch,
)

__all__ = ["BackendMachine"]

T = TypeVar("T")
_Place = tuple[str, str]

# Few places, so that the rules meet.
_COLLECTIONS: Final = st.sampled_from(["default", "other.one"])
_KEYS: Final = st.sampled_from([f"v1:{n:02x}{'5' * 62}" for n in (0, 1, 1 << 4, 255)])
_VALUES: Final = st.one_of(
    st.binary(max_size=64),
    st.binary(min_size=1, max_size=8).map(lambda data: data * 20_000),
)
_BATCHES: Final = st.dictionaries(_KEYS, _VALUES, max_size=4)
_WHICH: Final = st.integers(0, 1)


class BackendMachine(RuleBasedStateMachine):
    """Subclass it with `make_backend`; its `TestCase` is the test."""

    durable: ClassVar[bool] = False
    """A second instance on the same data sees what the first one stored."""

    def __init__(self) -> None:
        super().__init__()
        self._temporary = tempfile.TemporaryDirectory()
        self.folder: Final = Path(self._temporary.name)
        """An empty folder of this run."""
        self._runner = asyncio.Runner()
        self._model: dict[_Place, bytes] = {}
        self._leases: dict[_Place, tuple[Lease, int]] = {}
        self._backends = [self._run(self._made) for _ in range(1 + self.durable)]

    def make_backend(self) -> Backend:
        """Return a backend: empty at first; when it is durable, then on the same data."""
        raise NotImplementedError

    def teardown(self) -> None:
        """Release and close everything."""
        for lease, _ in self._leases.values():
            self._run(lease.release)
        for backend in self._backends:
            self._run(backend.aclose)
        self._runner.close()
        self._temporary.cleanup()

    # --- the map ----------------------------------------------------------------------------

    @rule(which=_WHICH, collection=_COLLECTIONS, batch=_BATCHES)
    def put(self, which: int, collection: str, batch: dict[str, bytes]) -> None:
        before = self._revision(which, collection)
        entries = [StoredEntry(key, data) for key, data in batch.items()]
        self._run(lambda: self._at(which).put(collection, entries))
        values = {(collection, key): data for key, data in batch.items()}
        replaced = values.keys() & self._model.keys()
        self._model |= values
        self._check_revision(collection, before, changed=bool(replaced))

    @rule(which=_WHICH, collection=_COLLECTIONS, keys=st.lists(_KEYS, max_size=5))
    def get(self, which: int, collection: str, keys: list[str]) -> None:
        self._compare(which, collection, keys)

    @rule(which=_WHICH, collection=_COLLECTIONS, keys=st.lists(_KEYS, max_size=5))
    def delete(self, which: int, collection: str, keys: list[str]) -> None:
        before = self._revision(which, collection)
        there = {(collection, key) for key in keys} & self._model.keys()
        removed = self._run(lambda: self._at(which).delete(collection, keys))
        assert removed == len(there)
        for place in there:
            del self._model[place]
        self._check_revision(collection, before, changed=bool(there))

    @rule(which=_WHICH, collection=st.one_of(st.none(), _COLLECTIONS))
    def scan(self, which: int, collection: str | None) -> None:
        async def sizes() -> list[tuple[_Place, int]]:
            infos = self._at(which).scan(collection)
            return [((info.collection, info.key), info.size) async for info in infos]

        expected = {
            place: len(data)
            for place, data in self._model.items()
            if collection in {None, place[0]}
        }
        assert sorted(self._run(sizes)) == sorted(expected.items())

    # --- powers -----------------------------------------------------------------------------

    @rule(which=_WHICH, collection=_COLLECTIONS, key=_KEYS)
    def lease(self, which: int, collection: str, key: str) -> None:
        backend, place = self._at(which), (collection, key)
        if isinstance(backend, SupportsLease):
            lease = self._run(lambda: backend.try_lease(collection, key))
            assert (lease is None) == (place in self._leases)
            if lease is not None:
                self._leases[place] = lease, which % len(self._backends)

    @precondition(lambda self: bool(self._leases))
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        place = data.draw(st.sampled_from(sorted(self._leases)))
        lease, _ = self._leases.pop(place)
        self._run(lease.release)

    @rule(which=_WHICH, collection=_COLLECTIONS, key=_KEYS, known=st.booleans())
    def quarantine(self, which: int, collection: str, key: str, *, known: bool) -> None:
        backend, place = self._at(which), (collection, key)
        if isinstance(backend, SupportsQuarantine):
            there = self._model.get(place, b"nothing")
            data = there if known else there + b"!"
            self._run(lambda: backend.quarantine(collection, key, data))
            if known:
                self._model.pop(place, None)

    @rule(which=_WHICH, collection=_COLLECTIONS, key=_KEYS, uses=st.integers(1, 5))
    def touch(self, which: int, collection: str, key: str, uses: int) -> None:
        backend = self._at(which)
        if isinstance(backend, SupportsTouch):
            self._run(lambda: backend.touch(collection, {key: uses}))

    @precondition(lambda self: self.durable)
    @rule(which=_WHICH)
    def reopen(self, which: int) -> None:
        for place, (lease, holder) in list(self._leases.items()):
            if holder == which:
                self._run(lease.release)
                del self._leases[place]
        self._run(self._backends[which].aclose)
        self._backends[which] = self._run(self._made)

    @invariant()
    def everything_is_there(self) -> None:
        for collection, key in self._model:
            for number in range(len(self._backends)):
                self._compare(number, collection, [key])

    # --- inside -----------------------------------------------------------------------------

    def _compare(self, which: int, collection: str, keys: list[str]) -> None:
        found = self._run(lambda: self._at(which).get(collection, keys))
        places = [(collection, key) for key in keys]
        assert dict(found) == {p[1]: self._model[p] for p in places if p in self._model}

    async def _made(self) -> Backend:
        return self.make_backend()

    def _at(self, which: int) -> Backend:
        return self._backends[which % len(self._backends)]

    def _run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return self._runner.run(work())

    def _revision(self, which: int, collection: str) -> int | None:
        backend = self._at(which)
        if not isinstance(backend, SupportsRevision):
            return None
        return self._run(lambda: backend.revision(collection))

    def _check_revision(self, collection: str, before: int | None, *, changed: bool) -> None:
        """Check that every instance sees a new revision, or that none does."""
        if before is not None:
            for number in range(len(self._backends)):
                assert (self._revision(number, collection) != before) == changed
