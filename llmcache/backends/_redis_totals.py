"""How much a Redis holds and can still take; what is many is estimated from a sample."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

from .base import BackendStats, EntryInfo

__all__ = ["SAMPLE", "counted", "on_all", "room_of", "sampled"]

SAMPLE: Final = 20_000
"""A server that has more keys is estimated from as many: a scan comes by keys in no order."""

_BATCH: Final = 500
_ENTRY: Final = b"}:e:"
_ASIDE: Final = b"}:c:"


def on_all(client: Any) -> dict[str, Any]:
    """Return the argument that asks every primary, where `client` is of a cluster: it asks one."""
    return {"target_nodes": "primaries"} if hasattr(client, "get_node_from_key") else {}


async def room_of(client: Any) -> int | None:
    """Return the bytes below `maxmemory`, of the fullest server; `None` where there is no ceiling.

    Raises:
        LookupError, TypeError, ValueError: the answer is not one of Redis.
    """
    said = await client.info("memory", **on_all(client))
    rooms = [
        max(0, int(each["maxmemory"]) - int(each["used_memory"]))
        for each in ([said] if "maxmemory" in said else said.values())
        if int(each["maxmemory"])
    ]
    return min(rooms, default=None)


async def counted(infos: AsyncIterator[EntryInfo], aside: AsyncIterator[Any]) -> BackendStats:
    """Return the totals of all of these."""
    sizes: dict[str, tuple[int, int]] = {}
    async for info in infos:
        _add(sizes, [info])
    quarantined = 0
    async for _ in aside:
        quarantined += 1
    return _stats(sizes, quarantined, 1.0)


async def sampled(
    client: Any,
    prefix: str,
    infos_of: Callable[[Any, Sequence[bytes]], Awaitable[Iterable[EntryInfo]]],
    keys: int,
) -> BackendStats:
    """Return totals as the first of the server's `keys` let expect them."""
    ours = f"{prefix}:{{".encode()
    sizes: dict[str, tuple[int, int]] = {}
    batch: list[bytes] = []
    seen = quarantined = 0
    async for place in client.scan_iter(count=_BATCH):
        seen += 1
        if place.startswith(ours):
            quarantined += _ASIDE in place
            if _ENTRY in place:
                batch.append(place)
        if len(batch) >= _BATCH:
            _add(sizes, await infos_of(client, batch))
            batch = []
        if seen >= SAMPLE:
            break
    _add(sizes, await infos_of(client, batch))
    return _stats(sizes, quarantined, max(1.0, keys / max(1, seen)))


def _add(sizes: dict[str, tuple[int, int]], infos: Iterable[EntryInfo]) -> None:
    for info in infos:
        count, size = sizes.get(info.collection, (0, 0))
        sizes[info.collection] = (count + 1, size + info.size)


def _stats(sizes: dict[str, tuple[int, int]], quarantined: int, factor: float) -> BackendStats:
    collections = {
        name: (round(count * factor), round(size * factor))
        for name, (count, size) in sorted(sizes.items())
    }
    return BackendStats(
        entries=sum(count for count, _ in collections.values()),
        bytes=sum(size for _, size in collections.values()),
        collections=collections,
        quarantined=round(quarantined * factor),
        estimated=factor > 1,
    )
