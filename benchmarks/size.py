"""How small entries are: recorded exchanges, sent through the real client, then measured.

A ratio is the bytes of the stored frame (header, checksum, metadata, request
identity, answer) over the bytes of the canonical JSON of what it holds: the
request identity and the answer. The answer of a stream is the list of its chunks;
that of an embedding is one vector with its numbers as base64, the shortest JSON.
"""

from __future__ import annotations

import base64
import json
import os
import random
import statistics
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import orjson

from llmcache import CacheManager, CachePolicy, LLMCacheError, MemoryBackend, OpenAIProvider
from llmcache.cache.inspection import entries
from llmcache.codec import Codec, Dictionary, train_dictionary
from llmcache.keys.canonical import canonical_bytes, plain
from llmcache.types import CacheEntry

from .runner import Bar, Options, Row
from .worker import ROOT

__all__ = ["recorded", "rows"]

_GROUP: Final = "stored size, recorded bodies"
_SEEDS: Final = range(5)
_SUFFIXES: Final = {"chat.completions": "/chat/completions", "embeddings": "/embeddings"}
_OK: Final = 200
# Not part of what is asked: the client adds them when it streams.
_DELIVERY: Final = frozenset({"stream", "stream_options"})
_BASE_DICTIONARY: Final = ROOT / "llmcache" / "data" / "base.zdict"


def recordings() -> Path | None:
    """Return the folder of recorded exchanges, `None` where it is absent."""
    shared = Path(os.environ.get("LLMCACHE_SHARED", ROOT.parent / "shared"))
    folder = Path(os.environ.get("LLMCACHE_RECORDINGS", shared / "recordings"))
    return folder if (folder / "manifest.json").is_file() else None


def recorded(folder: Path, endpoints: Container[str] = _SUFFIXES) -> list[dict[str, Any]]:
    """Return the successful exchanges of some endpoints, those that are known here by default."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return [
        json.loads((folder / row["file"]).read_text(encoding="utf-8"))
        for row in manifest
        if row["endpoint"] in endpoints and row["status"] == _OK
    ]


async def rows(_: Options) -> list[Row]:
    """Return the median ratio without a dictionary, with the shipped one, and with a trained one."""
    folder = recordings()
    if folder is None:
        return [Row(_GROUP, "skipped", "", note="recorded data is not here (set LLMCACHE_SHARED)")]
    exchanges = recorded(folder)
    whole = await _entries(exchanges, CachePolicy())
    bare = await _entries(exchanges, CachePolicy(store_request=False))
    chat = [entry for entry in whole if entry.kind == "chat"]
    vectors = [entry for entry in whole if entry.kind == "embedding"]
    streamed = sum(entry.recording.events is not None for entry in chat)
    note = (
        f"{len(exchanges)} recorded exchanges gave {len(chat)} chat entries "
        f"({streamed} streamed) and {len(vectors)} vectors"
    )
    answers = [entry for entry in bare if entry.kind == "chat"]
    both, alone = "request and answer", "answer only (store_request=False)"
    return [
        *_ratios(chat, both, note),
        _trained(chat, both, Bar("ratio", "<=", 0.35)),
        *_ratios(answers, alone),
        _trained(answers, alone),
        *_ratios(vectors, "vector and its request"),
    ]


# --- through the client -------------------------------------------------------------------------


async def _entries(exchanges: Sequence[Mapping[str, Any]], policy: CachePolicy) -> list[CacheEntry]:
    """Return what the cache holds after every recorded request was made and answered."""
    cache = CacheManager(MemoryBackend(), policy=policy)
    try:
        for number, exchange in enumerate(exchanges):
            try:
                await _replay(exchange, cache, f"exchange-{number}")
            except (LLMCacheError, KeyError):
                continue  # an error in a 200, or no request was recorded: nothing to store
        await cache.store.settle()
        found = [entry async for _, entry in entries(cache.store, None)]
        held = [entry for entry in found if isinstance(entry, CacheEntry)]
        # The same exchange recorded twice would sit in both halves.
        distinct = {(entry.key, _canonical_answer(entry)): entry for entry in held}
        return [distinct[place] for place in sorted(distinct)]
    finally:
        await cache.aclose()


async def _replay(exchange: Mapping[str, Any], cache: CacheManager, collection: str) -> None:
    """Make one recorded call; in a collection of its own, so that equal requests do not meet."""
    request, response = exchange["request"], exchange["response"]
    suffix = _SUFFIXES[exchange["endpoint"]]
    path = urlsplit(request["path"]).path
    body = request["body"]
    if body is None or not path.endswith(suffix):
        msg = "no request was recorded, or one that has another path"
        raise KeyError(msg)
    known = {"model", "messages", "input"} | _DELIVERY
    options: dict[str, Any] = {
        "model": body.get("model") or "unknown",
        "extra_body": {k: v for k, v in body.items() if k not in known},
        "cache_response": True,
        "cache_collection": collection,
        "attempts": 1,
    }
    async with httpx.AsyncClient(transport=httpx.MockTransport(_answers(response))) as client:
        provider = OpenAIProvider(
            base_url=f"https://{exchange['host'] or 'api.openai.com'}{path.removesuffix(suffix)}",
            api_key="sk-benchmark",
            cache=cache,
            http_client=client,
        )
        if exchange["endpoint"] == "embeddings":
            await provider.embed(body["input"], **options)
        elif exchange["stream"]:
            async for _ in provider.stream(body["messages"], **options):
                pass
        else:
            await provider.complete(body["messages"], **options)
        await provider.close()


def _answers(response: Mapping[str, Any]) -> Any:
    hop = {"content-encoding", "content-length", "transfer-encoding"}
    headers = {k: v for k, v in response["headers"].items() if k.lower() not in hop}
    body = response["body"]
    content = body if isinstance(body, str) else json.dumps(body)

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(response["status"], headers=headers, content=content.encode())

    return answer


# --- measured -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Sizes:
    """One entry: bytes of its canonical JSON, and of its frame."""

    canonical: int
    stored: int

    @property
    def ratio(self) -> float:
        return self.stored / self.canonical


def _ratios(found: Sequence[CacheEntry], what: str, note: str = "") -> list[Row]:
    codec = Codec()
    base = Dictionary(_BASE_DICTIONARY.read_bytes())
    codec.add(base)
    return [
        _row(f"{what}: no dictionary", [_measured(codec, e, 0) for e in found], note=note),
        _row(f"{what}: shipped dictionary", [_measured(codec, e, base.id) for e in found]),
    ]


def _trained(found: Sequence[CacheEntry], what: str, bar: Bar | None = None) -> Row:
    codec = Codec()
    sizes: list[_Sizes] = []
    medians: list[float] = []
    for seed in _SEEDS:
        shuffled = list(found)
        random.Random(seed).shuffle(shuffled)
        half = len(shuffled) // 2
        dictionary = train_dictionary(
            part for entry in shuffled[:half] for part in codec.parts(entry)
        )
        codec.add(dictionary)
        measured = [_measured(codec, entry, dictionary.id) for entry in shuffled[half:]]
        medians.append(statistics.median(size.ratio for size in measured))
        sizes += measured
    row = _row(f"{what}: 16 KiB trained on the other half", sizes, bar)
    row.ratio = statistics.median(medians)
    row.note = "medians of 5 seeds: " + ", ".join(f"{median:.3f}" for median in medians)
    return row


def _row(title: str, sizes: Sequence[_Sizes], bar: Bar | None = None, note: str = "") -> Row:
    stored = sorted(size.stored for size in sizes)
    return Row(
        _GROUP,
        title,
        "bytes",
        statistics.median(stored),
        stored[len(stored) // 10],
        stored[int(len(stored) * 0.99)],
        "canonical JSON, median",
        statistics.median(size.ratio for size in sizes),
        bar,
        note,
        details={
            "canonical_median": statistics.median(size.canonical for size in sizes),
            "all_stored_over_all_canonical": sum(stored) / sum(size.canonical for size in sizes),
        },
    )


def _measured(codec: Codec, entry: CacheEntry, dictionary: int) -> _Sizes:
    stored = len(codec.encode(entry, dictionary_id=dictionary))
    return _Sizes(len(entry.identity) + len(_canonical_answer(entry)), stored)


def _canonical_answer(entry: CacheEntry) -> bytes:
    recording = entry.recording
    if entry.kind == "embedding":
        head, _, numbers = (recording.body or b"").partition(b"\n")
        vector = base64.b64encode(numbers).decode()
        return canonical_bytes({**orjson.loads(head), "embedding": vector})
    if recording.events is None:
        return canonical_bytes(plain(orjson.loads(recording.body or b"null")))
    chunks = [event.data for event in recording.events if event.data.strip() != b"[DONE]"]
    return canonical_bytes([plain(orjson.loads(chunk)) for chunk in chunks])
