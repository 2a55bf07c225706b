"""The guard: budgets, defaults, and one warning a minute."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any

import pytest

from llmcache.cache.guard import Budget, Guard
from llmcache.errors import ConfigurationError


async def test_an_answer_without_waiting_comes_through() -> None:
    async def answer() -> int:
        return 42

    assert await Guard("s").run("get", answer, Budget(1), 0) == 42


async def test_an_answer_with_waiting_comes_through() -> None:
    async def answer() -> int:
        await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        return 42

    assert await Guard("s").run("get", answer, Budget(5), 0) == 42


async def test_any_awaitable_will_do() -> None:
    loop = asyncio.get_running_loop()

    def later() -> Awaitable[int]:
        future: asyncio.Future[int] = loop.create_future()
        loop.call_later(0.01, future.set_result, 42)
        return future

    assert await Guard("s").run("get", later, Budget(5), 0) == 42
    assert await Guard("s").run("get", lambda: asyncio.create_task(_value(7)), Budget(5), 0) == 7


async def _value(value: int) -> int:
    await asyncio.sleep(0)
    return value


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("error", [RuntimeError("x"), OSError(5, "x"), TimeoutError("its own")])
async def test_a_failure_becomes_the_default(error: Exception, *, waits: bool) -> None:
    async def fail() -> int:
        if waits:
            await asyncio.sleep(0)
        raise error

    guard = Guard("s")
    assert await guard.run("get", fail, Budget(1), 7) == 7
    assert guard.failures == 1


async def test_work_that_is_no_awaitable_is_a_failure() -> None:
    bad: Any = lambda: 5  # noqa: E731 - a backend whose method is not async
    assert await Guard("s").run("get", bad, Budget(1), 7) == 7


async def test_a_hang_costs_what_is_left_and_then_nothing() -> None:
    cancelled = asyncio.Event()

    begun = 0

    async def hang() -> int:
        nonlocal begun
        begun += 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return 0

    guard, budget = Guard("s"), Budget(0.05)
    assert await guard.run("get", hang, budget, 7) == 7
    assert cancelled.is_set()
    assert budget.left <= 0
    assert await guard.run("put", hang, budget, 7) == 7
    assert begun == 1, "what has no time left is not begun"
    assert guard.failures == 1


async def test_a_cancelled_call_cancels_its_work() -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def hang() -> int:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # cleaning up may wait, too
            ended.set()
        return 0

    call = asyncio.ensure_future(Guard("s").run("get", hang, Budget(60), 0))
    await started.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert ended.is_set()


async def test_the_callers_mistake_is_raised() -> None:
    async def mistaken() -> int:
        raise ConfigurationError("collection '../x'")

    with pytest.raises(ConfigurationError):
        await Guard("s").run("get", mistaken, Budget(1), 0)


async def test_one_warning_per_kind_of_failure(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> int:
        raise RuntimeError("the disk is on fire")

    guard = Guard("s")
    for _ in range(100):
        await guard.run("get", fail, Budget(1), 0)
    await guard.run("put", fail, Budget(1), 0)
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 2
    assert guard.failures == 101


async def _keeps_the_cancellation(end: str) -> int:
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        if end == "raises":
            raise OSError(104, "connection reset") from None
    return 42


@pytest.mark.parametrize("end", ["returns", "raises"])
async def test_a_store_cannot_keep_a_cancellation_to_itself(end: str) -> None:
    guard = Guard("s")
    work = asyncio.create_task(guard.run("get", lambda: _keeps_the_cancellation(end), Budget(9), 7))
    await asyncio.sleep(0)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert guard.failures == 0


@pytest.mark.parametrize(("end", "expected"), [("returns", 42), ("raises", 7)])
async def test_the_deadline_is_no_cancellation_of_the_caller(end: str, expected: int) -> None:
    guard = Guard("s")
    work = asyncio.create_task(
        guard.run("get", lambda: _keeps_the_cancellation(end), Budget(0.01), 7)
    )
    assert await work == expected
