"""The promises of stores that many machines share, as tests: fences and news.

`BackendTests` inherits them; the tests of a power that a backend lacks are skipped.
"""

# ruff: noqa: S101 - a suite: asserts show what is promised

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

import pytest

from ..backends.base import Backend, SupportsLoad, SupportsRevision
from ..backends.powers import Change, SupportsFence, SupportsNews
from ._backend_powers import entry, key

__all__ = ["SharedPowerTests"]

_PATIENCE: Final = 30.0


class SharedPowerTests:
    """The part of `BackendTests` that is about what only shared stores can do."""

    # --- fences -----------------------------------------------------------------------------

    @pytest.fixture
    def fenced(self, backend: Backend) -> SupportsFence:
        """The backend, in the tests that need fences; the other fixture likewise."""
        if not isinstance(backend, SupportsFence):
            pytest.skip(f"{backend.name} has no fences")
        return backend

    async def test_what_came_after_the_fence_stays(
        self, backend: Backend, fenced: SupportsFence
    ) -> None:
        await backend.put("default", [entry(1, b"old"), entry(2, b"old")])
        fence = await fenced.fence("default")
        await backend.put("default", [entry(1, b"rewritten")])
        late = [entry(number, b"late") for number in (1, 2, 3)]
        assert list(await fenced.put_unless_newer("default", late, fence=fence)) == [key(1)]
        expected = {key(1): b"rewritten", key(2): b"late", key(3): b"late"}
        assert await backend.get("default", list(expected)) == expected

    async def test_what_was_there_before_the_fence_is_replaced(
        self, backend: Backend, fenced: SupportsFence
    ) -> None:
        for number in range(5):
            fence = await fenced.fence("default")
            batch = [entry(1, b"%d" % number)]
            assert not await fenced.put_unless_newer("default", batch, fence=fence)
            assert (await backend.get("default", [key(1)]))[key(1)] == b"%d" % number

    async def test_a_fence_of_0_replaces_nothing_and_none_everything(
        self, backend: Backend, fenced: SupportsFence
    ) -> None:
        await backend.put("default", [entry(1, b"first")])
        batch = [entry(1, b"second"), entry(2, b"second")]
        assert list(await fenced.put_unless_newer("default", batch, fence=0)) == [key(1)]
        assert (await backend.get("default", [key(1)]))[key(1)] == b"first"
        assert (await backend.get("default", [key(2)]))[key(2)] == b"second"
        assert not await fenced.put_unless_newer("default", batch, fence=None)
        assert (await backend.get("default", [key(1)]))[key(1)] == b"second"

    async def test_of_a_key_twice_in_a_batch_the_last_counts(
        self, backend: Backend, fenced: SupportsFence
    ) -> None:
        fence = await fenced.fence("default")
        batch = [entry(1, b"first"), entry(1, b"last")]
        assert not await fenced.put_unless_newer("default", batch, fence=fence)
        assert (await backend.get("default", [key(1)]))[key(1)] == b"last"

    async def test_of_many_with_the_same_fence_one_is_stored(
        self, backend: Backend, fenced: SupportsFence
    ) -> None:
        await backend.put("default", [entry(1, b"old")])
        fence = await fenced.fence("default")
        late = await asyncio.gather(
            *(
                fenced.put_unless_newer("default", [entry(1, b"%d" % n)], fence=fence)
                for n in range(20)
            )
        )
        stored = [b"%d" % number for number, keys in enumerate(late) if not keys]
        assert [(await backend.get("default", [key(1)]))[key(1)]] == stored

    async def test_an_entry_that_is_kept_out_is_no_revision(
        self, backend: Backend, fenced: SupportsFence
    ) -> None:
        if not isinstance(backend, SupportsRevision):
            pytest.skip(f"{backend.name} has no revision")
        await backend.put("default", [entry(1, b"first")])
        before = await backend.revision("default")
        await fenced.put_unless_newer("default", [entry(1, b"second")], fence=0)
        assert await backend.revision("default") == before

    async def test_who_is_late_leaves_what_was_loaded_meanwhile(
        self, backend: Backend, fenced: SupportsFence
    ) -> None:
        if not isinstance(backend, SupportsLoad):
            pytest.skip(f"{backend.name} loads no faster than it puts")
        fence = await fenced.fence("default")
        await backend.load("default", [entry(1, b"loaded")])
        batch = [entry(1, b"late"), entry(2, b"new")]
        assert list(await fenced.put_unless_newer("default", batch, fence=fence)) == [key(1)]
        found = await backend.get("default", [key(1), key(2)])
        assert dict(found) == {key(1): b"loaded", key(2): b"new"}

    # --- news -------------------------------------------------------------------------------

    @pytest.fixture
    def telling(self, backend: Backend) -> SupportsNews:
        if not isinstance(backend, SupportsNews):
            pytest.skip(f"{backend.name} tells no news")
        return backend

    async def test_who_listens_hears_of_every_change(
        self, backend: Backend, telling: SupportsNews
    ) -> None:
        async with aclosing(telling.news("default")) as news:
            assert await _heard(news) == Change(), "it is listened to"
            await backend.put("other", [entry(1, b"not here")])
            await backend.put("default", [entry(1, b"new")])
            assert key(1) in ((await _heard(news)).keys or ())
            await backend.put("default", [entry(1, b"replaced"), entry(2, b"new")])
            assert {key(1), key(2)} <= set((await _heard(news)).keys or ())
            await backend.delete("default", [key(2)])
            assert key(2) in ((await _heard(news)).keys or ())

    async def test_what_was_kept_out_is_not_told_and_an_author_is_named(
        self, fenced: SupportsFence, telling: SupportsNews
    ) -> None:
        async with aclosing(telling.news("default")) as news:
            assert await _heard(news) == Change()
            batch = [entry(1, b"first")]
            await fenced.put_unless_newer("default", batch, fence=None, author="me")
            await fenced.put_unless_newer("default", batch, fence=0, author="late")
            await fenced.put_unless_newer("default", batch, fence=None, author="you")
            assert [(await _heard(news)).author for _ in range(2)] == ["me", "you"]


async def _heard(news: AsyncGenerator[Change, None]) -> Change:
    async with asyncio.timeout(_PATIENCE):
        return await anext(news)
