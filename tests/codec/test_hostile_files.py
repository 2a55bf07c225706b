"""Damaged and hostile files in a cache folder: a warning and a call, never an exception."""

from __future__ import annotations

import asyncio
import logging
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
from codec_support import (
    BASE,
    COMPRESSED,
    SEALED,
    WITH_DICTIONARY,
    answer,
    claims,
    codec,
    frame,
)

from llmcache import (
    CacheMissError,
    CompletionResult,
    InvalidRequestError,
    OpenAIProvider,
    StreamEventType,
)
from llmcache.codec import Codec
from llmcache.testing import DemoUpstream
from llmcache.types import CacheEntry, Recording, WireEvent

MakeProvider = Callable[..., OpenAIProvider]

_PROMPT: Final = "Explain WAL."
_META: Final[dict[str, Any]] = {"kind": "chat", "created_at": 1.0}


def _status(result: CompletionResult) -> str:
    assert result.cache is not None
    return result.cache.status


def _entries(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache").rglob("*.llmc"))


def _aside(tmp_path: Path) -> list[bytes]:
    return sorted(path.read_bytes() for path in (tmp_path / "cache").glob("*/.corrupt/*"))


def _key_of(path: Path) -> str:
    return path.stem.replace("-", ":")


def _kinds(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the kinds of the warnings that were logged."""
    messages = [record.getMessage() for record in caplog.records]
    assert all("the call goes on without it" in message for message in messages)
    return sorted(message.split(": ")[2] for message in messages)


@pytest.fixture
async def stored(make_provider: MakeProvider, tmp_path: Path) -> Path:
    """The file of one stored answer."""
    async with make_provider() as provider:
        await provider.complete(_PROMPT, cache_response=True)
    (path,) = _entries(tmp_path)
    return path


# --- one file -------------------------------------------------------------------------------


def _forge(meta: object, data: bytes = b"{}") -> Callable[[str, bytes], bytes]:
    return lambda key, _: frame(answer(meta, data), key=key)


def _recorded(recording: Recording) -> Callable[[str, bytes], bytes]:
    """Return a sound entry whose recording is no answer."""
    return lambda key, _: Codec().encode(CacheEntry(key, recording, "chat", created_at=1.0))


_DAMAGE: Final[dict[str, Callable[[str, bytes], bytes]]] = {
    "empty": lambda _, __: b"",
    "torn": lambda _, data: data[: len(data) // 2],
    "one byte short": lambda _, data: data[:-1],
    "zeros": lambda _, data: bytes(len(data)),
    "a flipped bit": lambda _, data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:],
    "twice": lambda _, data: data * 2,
    "text": lambda _, __: b"not an entry at all\n",
    "html": lambda _, __: b"<html>502 Bad Gateway</html>" * 3_000,
    "another's entry": lambda _, __: codec().encode(
        CacheEntry("v1:" + "0" * 64, Recording(b""), "")
    ),
    "2 GiB": lambda key, _: frame(b"x" * 50, flags=COMPRESSED, sizes=(2**31, None, None), key=key),
    "not zstd": lambda key, _: frame(b"x" * 50, flags=COMPRESSED, key=key),
    "no payload": lambda key, _: frame(b"", key=key),
    "claims terabytes": lambda key, _: frame(
        claims(2**62), flags=COMPRESSED, sizes=(100, None, None), key=key
    ),
    "no fields": _forge({}),
    "metadata is a list": _forge([]),
    "cost is an object": _forge(
        {**_META, "cost": {}},
        b'{"choices": [{"message": {"role": "assistant", "content": "forged"}}]}',
    ),
    "body is no JSON": _recorded(Recording(b"not json")),
    "body is empty": _recorded(Recording(b"")),
    "body is an error": _recorded(Recording(b'{"error": {"message": "overloaded"}}')),
    "body is of another API": _recorded(Recording(b'{"candidates": []}')),
    "body is a list": _recorded(Recording(b"[1, 2]")),
    "body is deep": _recorded(Recording(b"[" * 100_000)),
    "content is a number": _recorded(Recording(b'{"choices": [{"message": {"content": 5}}]}')),
    "stream is cut": _recorded(Recording(events=(WireEvent(b'{"choices": []}'),))),
    "stream is noise": _recorded(Recording(events=(WireEvent(b"\xff\xfe"), WireEvent(b"[DONE]")))),
    "stream is a vector": _recorded(Recording(b'{"dtype":"<f4"}\n' + bytes(16))),
}


@pytest.mark.parametrize("name", _DAMAGE)
async def test_a_damaged_file_is_a_miss_and_set_aside(
    make_provider: MakeProvider,
    upstream: DemoUpstream,
    stored: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    name: str,
) -> None:
    hostile = _DAMAGE[name](_key_of(stored), stored.read_bytes())
    stored.write_bytes(hostile)
    async with make_provider() as provider:
        result = await provider.complete(_PROMPT, cache_response=True)
        assert (_status(result), upstream.calls) == ("miss", 2)
        assert result.content
        again = await provider.complete(_PROMPT, cache_response=True)
        assert (_status(again), again) == ("hit", result)
    assert _kinds(caplog) == ["corrupt entry, set aside"]
    assert _aside(tmp_path) == [hostile]
    async with make_provider() as later:
        hit = await later.complete(_PROMPT, cache_response=True)
        assert (_status(hit), hit, upstream.calls) == ("hit", result, 2)
    assert len(caplog.records) == 1


_UNREADABLE: Final[dict[str, Callable[[str, bytes], bytes]]] = {
    "a later version": lambda key, _: frame(b"from tomorrow", version=2, key=key),
    "sealed": lambda key, _: frame(b"secret", flags=SEALED, key=key),
    "an unknown dictionary": lambda key, _: frame(
        b"x",
        flags=COMPRESSED | WITH_DICTIONARY,
        dictionary=struct.pack("<I", BASE.id ^ 1),
        key=key,
    ),
}


@pytest.mark.parametrize("name", _UNREADABLE)
async def test_an_unreadable_file_is_a_miss_and_not_set_aside(
    make_provider: MakeProvider,
    upstream: DemoUpstream,
    stored: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    name: str,
) -> None:
    stored.write_bytes(_UNREADABLE[name](_key_of(stored), b""))
    async with make_provider() as provider:
        result = await provider.complete(_PROMPT, cache_response=True)
        assert (_status(result), upstream.calls) == ("miss", 2)
    assert _kinds(caplog) == ["unreadable"]
    assert _aside(tmp_path) == []
    async with make_provider() as later:
        assert _status(await later.complete(_PROMPT, cache_response=True)) == "hit"


async def test_a_stream_over_a_damaged_file_is_live(
    make_provider: MakeProvider,
    upstream: DemoUpstream,
    stored: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    stored.write_bytes(b"damaged")
    async with make_provider() as provider:
        events = [event async for event in provider.stream(_PROMPT, cache_response=True)]
        assert events[-1].type is StreamEventType.DONE
        assert _status(events[-1].data) == "miss"
        again = [event async for event in provider.stream(_PROMPT, cache_response=True)]
        assert again == events
    assert upstream.calls == 2
    assert _kinds(caplog) == ["corrupt entry, set aside"]
    assert _aside(tmp_path) == [b"damaged"]


async def test_offline_a_damaged_file_is_a_miss(
    make_provider: MakeProvider, upstream: DemoUpstream, stored: Path, tmp_path: Path
) -> None:
    stored.write_bytes(b"damaged")
    async with make_provider() as provider:
        with pytest.raises(CacheMissError):
            await provider.complete(_PROMPT, mode="offline")
    assert upstream.calls == 1
    assert _aside(tmp_path) == [b"damaged"]


async def test_a_damaged_vector_is_asked_for_again(
    make_provider: MakeProvider, upstream: DemoUpstream, tmp_path: Path
) -> None:
    async with make_provider() as provider:
        first = await provider.embed(["one", "two"], cache_response=True)
    hurt = _entries(tmp_path)[0]
    hurt.write_bytes(b"damaged")
    async with make_provider() as provider:
        again = await provider.embed(["one", "two"], cache_response=True)
        assert again.embeddings == first.embeddings
        assert again.cache is not None
        assert (again.cache.items_hit, upstream.calls) == (1, 2)
    assert _aside(tmp_path) == [b"damaged"]


async def test_a_chat_answer_in_place_of_a_vector_is_damage(
    make_provider: MakeProvider, upstream: DemoUpstream, tmp_path: Path
) -> None:
    async with make_provider() as provider:
        first = await provider.embed("one", cache_response=True)
    (path,) = _entries(tmp_path)
    recording = Recording(b'{"choices": [{"message": {"content": "Hello"}}]}')
    path.write_bytes(Codec().encode(CacheEntry(_key_of(path), recording, "embedding")))
    async with make_provider() as provider:
        assert (await provider.embed("one", cache_response=True)) == first
    assert upstream.calls == 2


async def test_a_folder_in_place_of_a_file_costs_a_warning(
    make_provider: MakeProvider,
    upstream: DemoUpstream,
    stored: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    stored.unlink()
    stored.mkdir()
    async with make_provider() as provider:
        result = await provider.complete(_PROMPT, cache_response=True)
        assert result.content
        assert result.cache is not None
        assert (result.cache.status, result.cache.stored) == ("miss", False)
        assert result.cache.reason
    assert upstream.calls == 2
    assert _kinds(caplog) == ["BackendUnavailableError"] * 2  # one of get, one of put


# --- many files -----------------------------------------------------------------------------


async def test_a_folder_full_of_accidents_answers_every_call(
    make_provider: MakeProvider,
    upstream: DemoUpstream,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    count = 150
    patient = {"deadline": 30.0}  # a busy machine takes its time over so many at once
    prompts = [f"{_PROMPT} {number}" for number in range(count)]

    async def ask(provider: OpenAIProvider) -> list[CompletionResult]:
        return await asyncio.gather(
            *(provider.complete(prompt, cache_response=True) for prompt in prompts)
        )

    async with make_provider(cache_options=patient) as provider:
        first = await ask(provider)
    chance = random.Random(3)
    hurt = _entries(tmp_path)
    for path in hurt:
        path.write_bytes(_accident(path.read_bytes(), chance))
    caplog.set_level(logging.WARNING, "llmcache")
    async with make_provider(cache_options=patient) as provider:
        second = await ask(provider)
        assert [_status(result) for result in second] == ["miss"] * count
        assert [result.content for result in second] == [result.content for result in first]
    assert upstream.calls == 2 * count
    assert _kinds(caplog) == ["corrupt entry, set aside"]
    assert len(_aside(tmp_path)) == count
    async with make_provider(cache_options=patient) as provider:
        third = await ask(provider)
        assert third == second
        assert [_status(result) for result in third] == ["hit"] * count
        report = await provider.cache.verify()
        assert (report.checked, report.corrupt) == (count, 0)
    assert len(caplog.records) == 1


def _accident(data: bytes, chance: random.Random) -> bytes:
    kind = chance.randrange(4)
    if kind == 0:
        return data[: chance.randrange(len(data))]
    if kind == 1:
        return chance.randbytes(chance.randint(1, 100))
    position = chance.randrange(5, len(data))  # the version's byte would be another kind
    if kind == 2:
        return data[:position] + bytes([data[position] ^ 0x55]) + data[position + 1 :]
    return data[:position] + bytes(20) + data[position:]


async def test_foreign_files_disturb_no_operation(
    make_provider: MakeProvider, stored: Path, tmp_path: Path
) -> None:
    for folder in (stored.parent, stored.parent.parent, tmp_path / "cache"):
        (folder / "README").write_text("notes")
        (folder / ".tmp-1-0-half").write_bytes(b"half")
    async with make_provider() as provider:
        cache = provider.cache
        assert (await cache.verify()).checked == 1
        assert (await cache.warm()).loaded == 1
        assert (await cache.stats()).entries == 1
        assert (await cache.prune()).entries_left == 1
        await cache.export(tmp_path / "out.jsonl")
        assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 1
        assert await cache.invalidate(model="demo") == 1


async def test_a_file_that_is_nearly_an_entry_disturbs_no_operation(
    make_provider: MakeProvider, stored: Path, tmp_path: Path
) -> None:
    (stored.parent / f"{stored.stem} (copy).llmc").write_bytes(stored.read_bytes())
    async with make_provider() as provider:
        cache = provider.cache
        assert (await cache.verify()).checked == 1
        assert (await cache.warm()).loaded == 1
        assert await cache.invalidate(model="demo") == 1


# --- answers that cannot be written ---------------------------------------------------------


async def test_an_infinite_ttl_is_for_ever(
    make_provider: MakeProvider, upstream: DemoUpstream
) -> None:
    async with make_provider() as provider:
        for expected in ("miss", "hit"):
            result = await provider.complete(_PROMPT, cache_response=True, ttl=float("inf"))
            assert _status(result) == expected
    assert upstream.calls == 1


async def test_a_tag_that_is_no_text_is_refused_before_the_call(
    make_provider: MakeProvider, upstream: DemoUpstream
) -> None:
    async with make_provider() as provider:
        with pytest.raises(InvalidRequestError, match="tags"):
            await provider.complete(_PROMPT, cache_response=True, tags=["\ud800"])
    assert upstream.calls == 0


async def test_an_answer_that_is_too_large_passes_by(
    make_provider: MakeProvider, upstream: DemoUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    async with make_provider(cache_options={"max_entry_bytes": 100}) as provider:
        for calls in (1, 2):
            result = await provider.complete(_PROMPT, cache_response=True)
            assert result.content
            assert result.cache is not None
            assert not result.cache.stored
            assert "ceiling of 100" in (result.cache.reason or "")
            assert upstream.calls == calls
    assert _kinds(caplog) == ["not stored"]


def test_the_forged_answer_is_one_but_for_its_cost() -> None:
    """So that `cost is an object` above tests the cost, and not the answer."""
    body = orjson.dumps({"choices": [{"message": {"role": "assistant", "content": "forged"}}]})
    entry = codec().decode("k", frame(answer(_META, body), key="k"))
    assert (entry.recording.body, entry.cost) == (body, None)
