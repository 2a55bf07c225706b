"""`llmcache show`: one entry, for people, for machines, or as the provider sent it."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import ConfigurationError
from . import output, reading
from .inspect import listed, one_entry
from .opening import AsJson, CacheDir, Collection, with_cache
from .places import CachePlace

if TYPE_CHECKING:
    from ..backends.base import EntryInfo
    from ..cache import CacheManager
    from ..types import CacheEntry

__all__ = ["show"]


def show(
    key: Annotated[str, typer.Argument(help="A key, or enough of its beginning.")],
    *,
    raw: Annotated[bool, typer.Option("--raw", help="Print what the provider sent.")] = False,
    collection: Collection = None,
    cache_dir: CacheDir = None,
    cache: CachePlace = None,
    as_json: AsJson = False,
) -> None:
    """Show one entry: request, answer, and what is known."""

    async def work(manager: CacheManager) -> tuple[EntryInfo, CacheEntry] | None:
        info = await one_entry(manager, key, collection)
        return None if info is None else (info, await reading.load(manager, info))

    found = with_cache(cache_dir, work, place=cache)
    if found is None:
        output.fail(f"no entry whose key begins with {key!r}")
        raise typer.Exit(1)
    info, entry = found
    if as_json:
        output.put_json(_document(info, entry, raw=raw))
    elif raw:
        _put_raw(reading.raw_bytes(entry))
    else:
        _put_entry(info, entry)


def _document(info: EntryInfo, entry: CacheEntry, *, raw: bool) -> dict[str, Any]:
    answer = reading.answer_of(entry)
    completion = answer.completion
    document = {
        **listed(info, entry),
        "headers": dict(entry.recording.headers),
        "events": None if entry.recording.events is None else len(entry.recording.events),
        "request": reading.request_of(entry),
        "components": dict(entry.components),
        "answer": None if completion is None else _answer(completion.to_dict()),
        "dimensions": answer.dimensions,
        "problem": answer.problem,
    }
    if raw:
        data = reading.raw_bytes(entry)
        try:
            document["raw"] = data.decode("utf-8")
        except UnicodeDecodeError:
            document["raw_base64"] = base64.b64encode(data).decode("ascii")
    return document


def _answer(completion: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in completion.items()
        if name not in {"raw_json", "cache", "samples"}
    }


def _put_raw(data: bytes) -> None:
    """Print bytes as they are; what is no text would only upset a terminal."""
    if sys.stdout.isatty():
        try:
            output.put(data.decode("utf-8"))
        except UnicodeDecodeError:
            msg = f"{len(data)} bytes that are no text: write them to a file, or add --json"
            raise ConfigurationError(msg) from None
    else:
        typer.echo(data, nl=False)


def _cost(entry: CacheEntry) -> str | None:
    listed = "" if entry.price_list is None else f" ({entry.price_list})"
    return None if entry.cost is None else f"${entry.cost}{listed}"


def _put_entry(info: EntryInfo, entry: CacheEntry) -> None:
    answer = reading.answer_of(entry)
    events = entry.recording.events
    request = reading.request_of(entry)
    usage = answer.usage
    tokens = None if usage is None else f"{usage.input_tokens} in, {usage.output_tokens} out"
    output.fields(
        {
            "key": entry.key,
            "collection": info.collection,
            "kind": entry.kind + (f", streamed in {len(events)} events" if events else ""),
            "model": entry.model,
            "answered by": entry.answered_by,
            "endpoint": None if request is None else str(request.get("endpoint")),
            "sample": _sample(request),
            "tags": ", ".join(entry.tags) or None,
            "created": f"{output.moment_text(entry.created_at)} ({output.age_text(entry.created_at)})",
            "expires": output.until_text(entry.expires_at),
            "size": output.size_text(info.size),
            "uses": f"{info.uses}, the last {output.age_text(info.used_at)}",
            "took": None if entry.duration is None else output.span_text(entry.duration),
            "cost": _cost(entry),
            "tokens": tokens,
        }
    )
    output.put("\nrequest")
    if request is None:
        output.put("not stored; digests of its parts are:")
        output.fields(dict(entry.components))
    else:
        output.put(json.dumps(request.get("body"), indent=2, ensure_ascii=False))
    output.put("\nanswer")
    output.put(_answer_text(answer))


def _sample(request: Mapping[str, Any] | None) -> str | None:
    sample = None if request is None else request.get("sample")
    return str(sample) if sample else None


def _answer_text(answer: reading.Answer) -> str:
    """Return the answer for people; `problem` where it is not understood."""
    if answer.dimensions is not None:
        return f"a vector of {answer.dimensions} numbers"
    completion = answer.completion
    if completion is None:
        return f"not understood: {answer.problem}"
    parts = [
        f"[reasoning] {completion.reasoning}" if completion.reasoning else "",
        completion.content or "",
        f"[refusal] {completion.refusal}" if completion.refusal else "",
        *(f"[tool call] {call.name}({call.arguments})" for call in completion.tool_calls or ()),
        *(f"[choice {c.index}] {c.message.text}" for c in completion.choices[1:]),
        f"[finish reason] {completion.finish_reason}" if completion.finish_reason else "",
    ]
    return "\n".join(part for part in parts if part)
