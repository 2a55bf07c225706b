"""Answering a list of requests ahead of time, a few at once."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sized
from typing import Any, Final

from ..cache.warming import WarmReport
from ..errors import InvalidRequestError, LLMCacheError
from ..types import Message, MessageInput
from .base import Provider

__all__ = ["fill", "progress_bar"]

_LISTED: Final = 20


async def fill(
    provider: Provider,
    requests: Iterable[MessageInput | Mapping[str, Any]],
    collection: str | None,
    concurrency: int,
    progress: Callable[[int, int], Any] | None,
) -> WarmReport:
    """Answer `requests`, at most `concurrency` at a time; any iterable, read as it is needed.

    Raises:
        InvalidRequestError: `requests` is no list, or `concurrency` not above 0.
    """
    single = isinstance(requests, str | bytes | Message | Mapping)
    if single or not isinstance(requests, Iterable):
        reason = f"must be a list of requests, not {type(requests).__name__}; put it in a list"
        raise InvalidRequestError("requests", reason)
    if concurrency < 1:
        raise InvalidRequestError("concurrency", f"must be at least 1, not {concurrency}")
    started = time.monotonic()
    pending = iter(requests)
    total = len(requests) if isinstance(requests, Sized) else 0
    found = made = failed = 0
    errors: list[str] = []

    async def work() -> None:
        nonlocal found, made, failed
        for request in pending:
            try:
                messages, given = _split(request)
                options: Any = {"cache_collection": collection, **given, "cache_response": True}
                result = await provider.complete(messages, **options)
            except LLMCacheError as error:
                failed += 1
                if len(errors) < _LISTED:
                    errors.append(str(error))
            else:
                hit = result.cache is not None and result.cache.hit
                found += hit
                made += not hit
            if progress is not None:
                done = found + made + failed
                progress(done, max(total, done))

    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(work())
    return WarmReport(
        found=found,
        made=made,
        failed=failed,
        errors=tuple(errors),
        seconds=time.monotonic() - started,
        complete=not failed,
    )


def _split(request: Any) -> tuple[Any, dict[str, Any]]:
    if isinstance(request, Mapping) and "messages" in request:
        options = dict(request)
        return options.pop("messages"), options
    return request, {}


@contextlib.contextmanager
def progress_bar(title: str) -> Generator[Callable[[int, int], None] | None, None, None]:
    """Yield a function of (done, total) that moves a bar; `None` where nobody watches."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console  # noqa: PLC0415 - only where somebody watches
    from rich.progress import Progress  # noqa: PLC0415 - only where somebody watches

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
