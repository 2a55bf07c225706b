"""Reads that are joined, and time-outs with one timer for all."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from llmcache.backends._batches import Batches
from llmcache.backends._deadlines import Deadlines
from llmcache.backends.base import MOST_KEYS, check_keys
from llmcache.errors import ConfigurationError


class Reads:
    """A store that answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[str]]] = []
        self.gate = asyncio.Event()
        self.failure: Exception | None = None

    async def __call__(self, collection: str, keys: Sequence[str]) -> Mapping[str, str]:
        self.asked.append((collection, list(keys)))
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return {key: f"{collection}/{key}" for key in keys}


async def _started(reads: Batches[str], *wanted: tuple[str, Sequence[str]]) -> list[asyncio.Task]:
    tasks = [asyncio.create_task(reads.get(collection, keys)) for collection, keys in wanted]
    await asyncio.sleep(0.01)
    return tasks


async def test_those_who_come_while_others_read_are_read_together() -> None:
    store = Reads()
    reads = Batches(store, at_once=1)
    tasks = await _started(reads, ("a", ["1"]), ("a", ["2"]), ("a", ["3", "2"]), ("b", ["4"]))
    assert store.asked == [("a", ["1"])]
    store.gate.set()
    found = await asyncio.gather(*tasks)
    assert store.asked == [("a", ["1"]), ("a", ["2", "3"]), ("b", ["4"])]
    assert found[2]["3"] == "a/3"
    assert found[2]["2"] == found[1]["2"] == "a/2"
    assert found[3] == {"4": "b/4"}


async def test_nobody_waits_while_there_is_a_free_place() -> None:
    store = Reads()
    tasks = await _started(Batches(store, at_once=2), ("a", ["1"]), ("a", ["2"]), ("a", ["3"]))
    assert store.asked == [("a", ["1"]), ("a", ["2"])]
    store.gate.set()
    await asyncio.gather(*tasks)


async def test_a_batch_has_no_more_keys_than_one_read_may_name() -> None:
    store = Reads()
    many = [(("a"), [f"{n}-{i}" for i in range(400)]) for n in range(4)]
    tasks = await _started(Batches(store, at_once=1), ("a", ["first"]), *many)
    store.gate.set()
    await asyncio.gather(*tasks)
    sizes = [len(keys) for _, keys in store.asked]
    assert max(sizes) <= MOST_KEYS
    assert sum(sizes) == 1_601


async def test_who_has_gone_is_not_read_for_and_takes_nobody_along() -> None:
    store = Reads()
    reads = Batches(store, at_once=1)
    first, gone, last = await _started(reads, ("a", ["1"]), ("a", ["2"]), ("a", ["3"]))
    gone.cancel()
    first.cancel()  # its place is free for those who wait
    store.gate.set()
    assert (await last)["3"] == "a/3"
    assert store.asked == [("a", ["1"]), ("a", ["3"])]
    assert gone.cancelled()
    assert first.cancelled()


async def test_a_batch_that_everybody_has_left_gives_its_place_back() -> None:
    store = Reads()
    reads = Batches(store, at_once=1)
    first, one, two = await _started(reads, ("a", ["1"]), ("a", ["2"]), ("a", ["3"]))
    first.cancel()
    await asyncio.sleep(0.01)
    assert store.asked[1:] == [("a", ["2", "3"])]
    one.cancel()
    [last] = await _started(reads, ("a", ["4"]))
    assert len(store.asked) == 2, "one of them is still waiting"
    two.cancel()
    await asyncio.sleep(0.01)
    assert store.asked[2:] == [("a", ["4"])]
    store.gate.set()
    assert await last == {"4": "a/4"}


async def test_a_batch_that_is_left_before_it_is_read_gives_its_place_back() -> None:
    store = Reads()
    reads = Batches(store, at_once=1)
    first, one = await _started(reads, ("a", ["1"]), ("a", ["2"]))
    first.cancel()
    first.add_done_callback(lambda _: one.cancel())  # the batch is made, and has not begun
    await asyncio.gather(first, one, return_exceptions=True)
    store.gate.set()
    async with asyncio.timeout(5):
        assert await reads.get("a", ["3"]) == {"3": "a/3"}


async def test_a_failure_reaches_all_who_were_read_for_and_ends_with_them() -> None:
    store = Reads()
    reads = Batches(store, at_once=1)
    tasks = await _started(reads, ("a", ["1"]), ("a", ["2"]), ("a", ["3"]))
    store.failure = OSError("gone")
    store.gate.set()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(outcome, OSError)
    store.failure = None
    assert await reads.get("a", ["4"]) == {"4": "a/4"}


def test_a_queue_belongs_to_its_loop() -> None:
    store = Reads()
    reads = Batches(store, at_once=1)

    async def leave() -> None:
        await _started(reads, ("a", ["1"]))  # the loop ends while this reads

    async def use() -> Mapping[str, str]:
        store.gate.set()
        return await reads.get("a", ["2"])

    asyncio.run(leave())
    store.gate = asyncio.Event()
    assert asyncio.run(use()) == {"2": "a/2"}


@pytest.mark.parametrize("seconds", [0.01, 0.25])
async def test_a_limit_ends_what_takes_longer(seconds: float) -> None:
    with pytest.raises(TimeoutError):
        with Deadlines().limit(seconds) as limit:
            await asyncio.Event().wait()
    assert limit.rang
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@pytest.mark.parametrize("seconds", [0.05, 0.25])
async def test_what_ends_in_time_never_hears_of_its_limit(seconds: float) -> None:
    deadlines = Deadlines()
    for _ in range(3):
        with deadlines.limit(seconds) as limit:
            await asyncio.sleep(0)
        assert not limit.rang
    await asyncio.sleep(0.4)  # past every time at which one could ring


@pytest.mark.parametrize("seconds", [0.05, 0.3])
async def test_a_cancellation_by_somebody_else_is_no_time_out(seconds: float) -> None:
    async def work() -> None:
        with Deadlines().limit(seconds):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                asyncio.current_task().cancel()  # type: ignore[union-attr]
                raise

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(work())


async def test_limits_may_stand_inside_each_other() -> None:
    deadlines = Deadlines()
    with deadlines.limit(5) as outer:
        with pytest.raises(TimeoutError):
            with deadlines.limit(0.2):
                await asyncio.Event().wait()
        await asyncio.sleep(0)
    assert not outer.rang


@pytest.mark.parametrize(
    "wrong",
    ["", "v1:", f"v1:{'a' * 31}", f"v1:{'a' * 40}\nv1:{'b' * 40}", f"v1:{'ä' * 40}", 7, None],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_wrong_key_among_many_is_found(wrong: Any, place: int) -> None:
    keys: list[Any] = [f"v1:{n:064x}" for n in range(2)]
    assert check_keys(keys) is keys
    keys.insert(place, wrong)
    with pytest.raises(ConfigurationError):
        check_keys(keys)
    with pytest.raises(ConfigurationError):
        check_keys([wrong])


def test_no_keys_are_none_that_are_wrong() -> None:
    assert check_keys([]) == []
