"""Many small realistic entries in a folder, made through the codec and the backend.

Run as a module, this is one of the processes that write them.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from llmcache import FSCache
from llmcache.backends.base import StoredEntry
from llmcache.codec import Codec, Dictionary, train_dictionary
from llmcache.keys import Request, normalize_endpoint
from llmcache.types import CacheEntry, Recording

from . import exchange
from .worker import ROOT, clean_environment

__all__ = ["BASE_URL", "COLLECTION", "fill", "made_entry", "prompt", "stored"]

# A port on which nobody listens: whatever is not a hit fails at once.
BASE_URL: Final = "http://127.0.0.1:9/v1"
COLLECTION: Final = "default"
_ENDPOINT: Final = normalize_endpoint(f"{BASE_URL}/chat/completions")
_BATCH: Final = 500
_SAMPLES: Final = 1_000
_SAMPLED_FROM: Final = 10_000_000


def prompt(number: int) -> str:
    """Return the prompt of entry `number`: 120 to 520 characters."""
    size = random.Random(number).randint(120, 520)
    return f"Question {number}: {exchange.prose(size, seed=number)}"


def made_entry(number: int) -> CacheEntry:
    """Return an entry with the answer to `prompt(number)`."""
    source = random.Random(~number)
    text = exchange.prose(source.randint(300, 1_200), seed=~number)
    body: dict[str, Any] = exchange.body(prompt(number))
    request = Request("chat", _ENDPOINT, body)
    identity = request.identity()
    now = time.time()
    return CacheEntry(
        key=request.key(),
        recording=Recording(
            body=exchange.answer(text, number=number),
            headers=(("x-request-id", f"req_{source.randbytes(16).hex()}"),),
        ),
        kind="chat",
        model=exchange.MODEL,
        answered_by="gpt-4o-mini-2024-07-18",
        created_at=round(now, 3),
        duration=round(source.uniform(0.4, 4.0), 4),
        identity=identity,
    )


async def fill(folder: Path, count: int) -> float:
    """Write entries 0 to `count` - 1 and return the seconds it took.

    They are compressed with a dictionary of the collection's own, as they would be.
    """
    started = time.perf_counter()
    codec = Codec()
    samples = [
        part
        for number in range(_SAMPLES)
        for part in codec.parts(made_entry(_SAMPLED_FROM + number))
    ]
    backend = FSCache(folder)
    await backend.put_dictionary(COLLECTION, train_dictionary(samples).data)
    await backend.aclose()
    half = count // 2
    children = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "benchmarks.filling",
            str(folder),
            str(first),
            str(last),
            cwd=ROOT,
            env=clean_environment(),
        )
        for first, last in ((0, half), (half, count))
    ]
    if any(await asyncio.gather(*(child.wait() for child in children))):
        msg = "a process that writes entries failed"
        raise RuntimeError(msg)
    return time.perf_counter() - started


async def _write(folder: Path, first: int, last: int) -> None:
    backend, codec = FSCache(folder), Codec()
    dictionary = Dictionary((await backend.dictionaries(COLLECTION))[-1])
    codec.add(dictionary)
    for start in range(first, last, _BATCH):
        numbers = range(start, min(start + _BATCH, last))
        await backend.put(COLLECTION, list(stored(codec, dictionary.id, numbers)))
    await backend.aclose()


def stored(codec: Codec, dictionary: int, numbers: range) -> Iterator[StoredEntry]:
    """Yield the entries of those numbers as a store gets them; `dictionary` 0 is none."""
    for number in numbers:
        entry = made_entry(number)
        data = codec.encode(entry, dictionary_id=dictionary)
        yield StoredEntry(entry.key, data, entry.model, (), entry.created_at, None)


if __name__ == "__main__":
    asyncio.run(_write(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
