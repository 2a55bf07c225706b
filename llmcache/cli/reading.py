"""Entries as commands need them: found by the start of a key, newest first, with their answers."""

from __future__ import annotations

import heapq
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ..backends.base import EntryInfo
    from ..cache import CacheManager
    from ..providers.base import Dialect
    from ..types import CacheEntry, CompletionResult, Usage

__all__ = ["Answer", "Listing", "answer_of", "find", "load", "newest", "raw_bytes", "request_of"]

_SCHEME_END: Final = ":"


@dataclass(frozen=True, slots=True)
class Answer:
    """What an entry's recording says: a completion, or the length of a vector."""

    completion: CompletionResult | None = None
    dimensions: int | None = None
    usage: Usage | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """The newest entries that match, and how many matched or could not be read."""

    rows: Sequence[tuple[EntryInfo, CacheEntry]] = ()
    matched: int = 0
    unreadable: int = 0


async def find(manager: CacheManager, start: str, collection: str | None) -> list[EntryInfo]:
    """Return the entries whose key is `start`, else those whose key begins with it.

    The scheme (`v1:`) may be left out.
    """
    exact: list[EntryInfo] = []
    similar: list[EntryInfo] = []
    async for info in manager.backend.scan(collection):
        key = info.key if _SCHEME_END in start else info.key.partition(_SCHEME_END)[2]
        if key == start:
            exact.append(info)
        elif key.startswith(start):
            similar.append(info)
    return exact or similar


async def load(manager: CacheManager, info: EntryInfo) -> CacheEntry:
    """Return one entry; reading it here does not count as a use.

    Raises:
        CorruptEntryError, UnreadableEntryError: saying what is wrong with it.
        BackendError: the store failed, or the entry has gone meanwhile.
    """
    from ..errors import BackendError  # noqa: PLC0415 - `--help` needs no errors

    entry = await manager.entry(info.key, info.collection)
    if entry is None:
        msg = f"{info.key} has gone meanwhile"
        raise BackendError(msg)
    return entry


async def newest(
    manager: CacheManager,
    collection: str | None,
    *,
    tag: str | None = None,
    model: str | None = None,
    limit: int,
) -> Listing:
    """Return the `limit` newest entries; memory does not grow with the number of the rest."""
    heap: list[tuple[float, int, EntryInfo, CacheEntry]] = []
    matched = unreadable = number = 0
    async for info, entry in manager.entries(collection):
        if isinstance(entry, Exception):
            unreadable += 1
            continue
        if tag is not None and tag not in entry.tags:
            continue
        if model is not None and model not in {entry.model, entry.answered_by}:
            continue
        matched += 1
        number -= 1  # no two are equal, and the first of equals stays
        item = (entry.created_at, number, info, entry)
        if len(heap) < limit:
            heapq.heappush(heap, item)
        else:
            heapq.heappushpop(heap, item)
    rows = [(info, entry) for _, _, info, entry in sorted(heap, reverse=True, key=_age)]
    return Listing(rows, matched, unreadable)


def _age(item: tuple[float, int, EntryInfo, CacheEntry]) -> tuple[float, int]:
    return item[:2]


# --- what an entry says -----------------------------------------------------------------------


def answer_of(entry: CacheEntry) -> Answer:
    """Return the answer in an entry; `problem` where this version does not understand it."""
    from ..cache.recording import parse_entry  # noqa: PLC0415 - `--help` needs no parser
    from ..errors import LLMCacheError  # noqa: PLC0415 - as above
    from ..providers.anthropic_messages import MessagesDialect  # noqa: PLC0415 - as above
    from ..providers.ollama_answer import OLLAMA_KINDS, OllamaDialect  # noqa: PLC0415 - as above
    from ..providers.openai_chat import ChatDialect  # noqa: PLC0415 - as above
    from ..providers.openai_embeddings import parse_vector  # noqa: PLC0415 - as above
    from ..providers.openai_responses import ResponsesDialect  # noqa: PLC0415 - as above

    try:
        if entry.kind == "embedding":
            vector, usage, _ = parse_vector(entry.recording.body or b"", "stored")
            return Answer(dimensions=len(vector), usage=usage)
        spoken: list[Dialect] = [ChatDialect("stored"), ResponsesDialect("stored")]
        spoken.append(MessagesDialect("stored"))
        spoken += [OllamaDialect(kind, "stored") for kind in OLLAMA_KINDS]
        for dialect in spoken:
            if entry.kind == dialect.kind:
                completion = parse_entry(entry, dialect)
                return Answer(completion, usage=completion.usage)
    except LLMCacheError as error:
        return Answer(problem=str(error))
    return Answer(problem=f"answers of the kind {entry.kind!r} are not known to this version")


def request_of(entry: CacheEntry) -> Mapping[str, Any] | None:
    """Return the canonical request, `None` when requests are not stored."""
    request: Mapping[str, Any] | None = json.loads(entry.identity) if entry.identity else None
    return request


def raw_bytes(entry: CacheEntry) -> bytes:
    """Return what the provider sent: the body as it was, or the stream's events framed as they came."""
    from ..providers.ollama_answer import OLLAMA_KINDS  # noqa: PLC0415 - `--help` needs no parser

    recording = entry.recording
    if recording.events is None:
        return recording.body or b""
    if entry.kind in OLLAMA_KINDS:
        return b"".join(event.data + b"\n" for event in recording.events)
    pieces: list[bytes] = []
    for event in recording.events:
        if event.event is not None:
            pieces.append(b"event: " + event.event.encode() + b"\n")
        pieces += [b"data: " + line + b"\n" for line in event.data.split(b"\n")]
        pieces.append(b"\n")
    return b"".join(pieces)
