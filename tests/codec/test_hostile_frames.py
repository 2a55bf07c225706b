"""Damaged and hostile frames: one of two errors, never another entry, never memory without bound."""

from __future__ import annotations

import random
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any, Final

import orjson
import pytest
import zstandard
from codec_support import (
    BASE,
    COMPRESSED,
    ENTRIES,
    KEY,
    LONG,
    REQUEST_COMPRESSED,
    SEALED,
    WITH_DICTIONARY,
    StandInEnvelope,
    answer,
    claims,
    codec,
    frame,
    frames,
    signed,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcache.codec import HEADER_SIZE, MAX_ENTRY_BYTES, Codec
from llmcache.errors import CorruptEntryError, UnreadableEntryError
from llmcache.types import CacheEntry, Recording

_FRAMES: Final = {
    f"{name}, {kind}": (entry, data)
    for name, entry in ENTRIES.items()
    for kind, data in frames(entry).items()
}


# --- damage ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", _FRAMES)
def test_a_cut_anywhere_is_damage(name: str) -> None:
    _, data = _FRAMES[name]
    used = codec()
    for length in range(len(data)):
        with pytest.raises(CorruptEntryError):
            used.decode(KEY, data[:length])


@pytest.mark.parametrize("name", _FRAMES)
def test_what_follows_an_entry_is_damage(name: str) -> None:
    _, data = _FRAMES[name]
    for tail in (b"\0", b"\n", data, b"LLMC"):
        with pytest.raises(CorruptEntryError):
            codec().decode(KEY, data + tail)


@pytest.mark.parametrize("name", _FRAMES)
def test_every_flipped_bit_is_noticed(name: str) -> None:
    _, data = _FRAMES[name]
    used = codec()
    for position in range(min(len(data), 400)):
        for bit in (0, 3, 7):
            flipped = bytearray(data)
            flipped[position] ^= 1 << bit
            # Only the version may say that somebody else could read it.
            expected = UnreadableEntryError if position == 4 else CorruptEntryError
            with pytest.raises(expected):
                used.decode(KEY, bytes(flipped))


def _mutations(count: int) -> Iterator[tuple[CacheEntry, bytes]]:
    """Yield frames after one or a few accidents, each with the entry it began as."""
    chance = random.Random(20_261_120)
    originals = list(_FRAMES.values())
    while count:
        entry, data = chance.choice(originals)
        mutated = data
        for _ in range(chance.choice((1, 1, 1, 2, 5))):
            mutated = chance.choice(_ACCIDENTS)(mutated, chance, chance.choice(originals)[1])
        if mutated != data and all(mutated != other for _, other in originals):
            count -= 1
            yield entry, mutated


def _flip(data: bytes, chance: random.Random, _: bytes) -> bytes:
    changed = bytearray(data or b"\0")
    for _ in range(chance.randint(1, 8)):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _cut(data: bytes, chance: random.Random, _: bytes) -> bytes:
    start, stop = sorted(chance.randint(0, len(data)) for _ in range(2))
    return data[:start] + data[stop:]


def _splice(data: bytes, chance: random.Random, other: bytes) -> bytes:
    return data[: chance.randint(0, len(data))] + other[chance.randint(0, len(other)) :]


def _swap_heads(data: bytes, _: random.Random, other: bytes) -> bytes:
    return other[:HEADER_SIZE] + data[HEADER_SIZE:]


def _overwrite(data: bytes, chance: random.Random, _: bytes) -> bytes:
    start = chance.randint(0, len(data))
    noise = chance.choice((chance.randbytes, bytes))(chance.randint(1, 64))
    return data[:start] + noise + data[start + len(noise) :]


def _repeat(data: bytes, chance: random.Random, _: bytes) -> bytes:
    start, stop = sorted(chance.randint(0, len(data)) for _ in range(2))
    return data[:stop] + data[start:stop] * chance.randint(1, 3) + data[stop:]


def _noise(_: bytes, chance: random.Random, __: bytes) -> bytes:
    return b"LLMC\x01"[: chance.randint(0, 5)] + chance.randbytes(chance.randint(0, 200))


_ACCIDENTS: Final[list[Callable[[bytes, random.Random, bytes], bytes]]] = [
    _flip,
    _cut,
    _splice,
    _swap_heads,
    _overwrite,
    _repeat,
    _noise,
]


def test_five_thousand_accidents_are_noticed() -> None:
    used = codec()
    damaged = 0
    for _, data in _mutations(5_000):
        with pytest.raises((CorruptEntryError, UnreadableEntryError)) as caught:
            used.decode(KEY, data)
        damaged += caught.type is CorruptEntryError
    assert damaged > 4_500


@settings(max_examples=1_000, deadline=None)
@given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda data: b"LLMC\x01" + data))
def test_nothing_that_is_no_entry_is_one(data: bytes) -> None:
    with pytest.raises((CorruptEntryError, UnreadableEntryError)):
        codec().decode(KEY, data)


# --- forgery: the checksum holds ------------------------------------------------------------

_META: Final[dict[str, Any]] = {"kind": "chat", "created_at": 1.0}


def _peak(data: bytes, used: Codec | None = None) -> tuple[type[Exception] | None, int]:
    """Return what decoding raises, and the most memory it took."""
    used = used or codec()
    used.decode(KEY, codec().encode(LONG))  # what is made once is made before
    raised: type[Exception] | None = None
    tracemalloc.start()
    try:
        used.decode(KEY, data)
    except Exception as error:  # noqa: BLE001 - what it is, is the question
        raised = type(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return raised, peak


_NAME_OF_BASE: Final = struct.pack("<I", BASE.id)


@pytest.mark.parametrize(
    "sizes",
    [
        (2**31, 0, None),
        (2**32 - 1, 2**32 - 1, 2**32 - 1),
        (0, 2**31, 0),
        (MAX_ENTRY_BYTES + 1, 0, None),
        (MAX_ENTRY_BYTES, 1, None),  # each of them would do
    ],
)
@pytest.mark.parametrize(
    "flags",
    [
        0,
        COMPRESSED,
        SEALED,
        COMPRESSED | WITH_DICTIONARY,
        REQUEST_COMPRESSED,
        COMPRESSED | SEALED,
        255,
    ],
)
def test_a_declared_size_of_gigabytes_takes_no_memory(
    sizes: tuple[int | None, int | None, int | None], flags: int
) -> None:
    squeezed = _squeezed(b"{}" * 100)
    data = frame(squeezed, squeezed, flags=flags, sizes=sizes, dictionary=_NAME_OF_BASE)
    raised, peak = _peak(data)
    assert raised is CorruptEntryError
    assert peak < 100_000


def _squeezed(data: bytes, *, content_size: bool = False, **options: Any) -> bytes:
    """Return a frame of zstd without its magic number, as the codec writes it, or not quite."""
    parameters = zstandard.ZstdCompressionParameters.from_level(
        1, format=zstandard.FORMAT_ZSTD1_MAGICLESS, write_content_size=content_size, **options
    )
    return zstandard.ZstdCompressor(compression_params=parameters).compress(data)


_BOMB: Final = bytes(200 * 2**20)


def _with_bomb(part: str, bomb: bytes, declared: int) -> bytes:
    if part == "answer":
        return frame(bomb, flags=COMPRESSED, sizes=(declared, None, None))
    return frame(answer(_META), bomb, flags=REQUEST_COMPRESSED, sizes=(None, declared, None))


_PARTS: Final = pytest.mark.parametrize("part", ["answer", "request"])


@_PARTS
@pytest.mark.parametrize("declared", [0, 1, 100, 100_000])
def test_a_bomb_bursts_at_the_declared_size(part: str, declared: int) -> None:
    bomb = _squeezed(_BOMB)
    assert len(bomb) < 30_000
    raised, peak = _peak(_with_bomb(part, bomb, declared))
    assert raised is CorruptEntryError
    assert peak < 500_000


@_PARTS
@pytest.mark.parametrize("declared", [0, 100])
def test_a_bomb_that_names_its_size_bursts_at_the_declared_size(part: str, declared: int) -> None:
    raised, peak = _peak(_with_bomb(part, _squeezed(_BOMB, content_size=True), declared))
    assert raised is CorruptEntryError
    assert peak < 500_000


@_PARTS
@pytest.mark.parametrize("claimed", [2**31, 2**40, 2**62])
def test_a_part_that_claims_gigabytes_takes_no_memory(part: str, claimed: int) -> None:
    raised, peak = _peak(_with_bomb(part, claims(claimed), 100))
    assert raised is CorruptEntryError
    assert peak < 500_000


@_PARTS
@pytest.mark.parametrize("exponent", [14, 17, 20, 21, 31])
def test_a_window_of_megabytes_takes_no_memory(part: str, exponent: int) -> None:
    # Behind the window's size, one raw last block of five bytes.
    wide = bytes([0, exponent << 3]) + struct.pack("<I", 1 | 5 << 3)[:3] + b"hello"
    used = codec()
    raised, _ = _peak(_with_bomb(part, wide, 5), used)
    assert raised is CorruptEntryError
    # What zstd takes by itself, and keeps, Python does not trace.
    assert used._decompressors[0].memory_size() < 10 * 2**20


_OTHERWISE: Final[dict[str, Callable[[bytes], bytes]]] = {
    "checksum": lambda data: _squeezed(data, write_checksum=True),
    "content size": lambda data: _squeezed(data, content_size=True),
    "magic": zstandard.compress,
    "tail": lambda data: _squeezed(data) + b"x",
    "twice": lambda data: _squeezed(data) * 2,
    "nothing": lambda _: b"",
}


@_PARTS
@pytest.mark.parametrize("how", _OTHERWISE)
def test_a_part_that_is_not_compressed_as_entries_are_is_damage(part: str, how: str) -> None:
    whole = answer(_META)
    for data in (whole, whole + bytes(1_000)):
        assert codec().decode(KEY, _with_bomb(part, _squeezed(data), len(data)))
        with pytest.raises(CorruptEntryError):
            codec().decode(KEY, _with_bomb(part, _OTHERWISE[how](data), len(data)))


def test_an_entry_of_the_largest_size_is_read() -> None:
    used = Codec(max_bytes=2**20)
    bare = answer(_META, b"")
    exact = bare + bytes(2**20 - len(bare))
    data = frame(_squeezed(exact), flags=COMPRESSED, sizes=(len(exact), None, None))
    assert len(used.decode(KEY, data).recording.body or b"") == len(exact) - len(bare)


@_PARTS
@pytest.mark.parametrize("off", [-1, 1])
def test_a_part_of_another_size_than_declared_is_damage(part: str, off: int) -> None:
    whole = answer(_META)
    size = len(whole) + off
    for squeezed in (False, True):
        body = _squeezed(whole) if squeezed else whole
        if part == "answer":
            data = frame(body, flags=COMPRESSED * squeezed, sizes=(size, None, None))
        else:
            data = frame(whole, body, flags=REQUEST_COMPRESSED * squeezed, sizes=(None, size, None))
        with pytest.raises(CorruptEntryError):
            codec().decode(KEY, data)


_SECTIONS: Final = {
    "nothing": b"",
    "half a size": b"\1\0\0",
    "no metadata": struct.pack("<I", 0),
    "metadata past the end": answer(_META, meta_size=10**6),
    "metadata of 4 GiB": answer(_META, meta_size=2**32 - 1),
    "metadata cut": answer(_META, meta_size=5),
    "metadata and more": answer(_META, meta_size=len(orjson.dumps(_META)) + 1),
    "metadata empty": answer(b""),
}


@pytest.mark.parametrize("name", _SECTIONS)
def test_sections_that_do_not_fit_are_damage(name: str) -> None:
    raised, peak = _peak(frame(_SECTIONS[name]))
    assert raised is CorruptEntryError
    assert peak < 100_000


@pytest.mark.parametrize("stored", [0, 1, 10**6, 2**32 - 1])
def test_an_answer_that_ends_elsewhere_is_damage(stored: int) -> None:
    for flags, dictionary in ((0, b""), (WITH_DICTIONARY, _NAME_OF_BASE), (WITH_DICTIONARY, b"")):
        data = frame(
            answer(_META), b"{}", flags=flags, sizes=(None, None, stored), dictionary=dictionary
        )
        for whole in (True, False):
            with pytest.raises((CorruptEntryError, UnreadableEntryError)):
                codec().decode(KEY, data, with_identity=whole)


def test_a_frame_without_room_for_its_dictionary_is_damage() -> None:
    for name in (b"", b"\1", b"\1\2\3"):
        data = signed(frame(b"", flags=WITH_DICTIONARY) + name)
        with pytest.raises(CorruptEntryError):
            codec().decode(KEY, data)


_WRONG: Final[dict[str, object]] = {
    "a list": [],
    "a string": "x",
    "a null": None,
    "a number": 5,
    "a true": True,
    "empty": {},
    "no kind": {"created_at": 1.0},
    "no time": {"kind": "chat"},
    "NaN": b'{"kind":"chat","created_at":NaN}',
    "Infinity": b'{"kind":"chat","created_at":1e999}',
    "no UTF-8": b'{"kind":"\xff","created_at":1}',
    "surrogate": b'{"kind":"\\ud800","created_at":1}',
    "deep": b'{"kind":' + b"[" * 100_000,
    "deep and closed": b'{"a":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    "endless number": b'{"kind":"chat","created_at":1' + b"0" * 5_000 + b"}",
    "not json": b"{'kind': 'chat'}",
    "time of text": {**_META, "created_at": "soon"},
    "time of a list": {**_META, "created_at": []},
    "time of null": {**_META, "created_at": None},
    "expiry of a list": {**_META, "expires_at": [1]},
    "keep_until of an object": {**_META, "keep_until": {}},
    "duration of text": {**_META, "duration": "long"},
    "tags of a number": {**_META, "tags": 5},
    "tags of null": {**_META, "tags": None},
    "headers of a number": {**_META, "headers": 5},
    "headers of long lists": {**_META, "headers": [["a", "b", "c"]]},
    "offsets of text": {**_META, "offsets": "a"},
    "offsets of a number": {**_META, "offsets": 5},
    "offsets of null": {**_META, "offsets": None},
    "offset of text": {**_META, "offsets": ["a"]},
    "offset of null": {**_META, "offsets": [None]},
    "too many offsets": {**_META, "offsets": [1, 2]},
    "too many names": {**_META, "offsets": [1], "events": ["a", "b"]},
    "names of a number": {**_META, "offsets": [1], "events": 5},
    "a huge list": {**_META, "offsets": [0] * 300_000},
    "kind of a number": {**_META, "kind": 5},
    "kind of null": {**_META, "kind": None},
    "model of a number": {**_META, "model": 5},
    "model of a list": {**_META, "model": ["a"]},
    "answered_by of a list": {**_META, "answered_by": []},
    "tags of text": {**_META, "tags": "abc"},
    "tag of a number": {**_META, "tags": [1]},
    "tags of an object": {**_META, "tags": {"a": 1}},
    "headers of text": {**_META, "headers": ["ab"]},
    "headers of numbers": {**_META, "headers": [[1, 2]]},
    "headers of an object": {**_META, "headers": {"ab": 1}},
    "status of text": {**_META, "status": "200"},
    "cost of an object": {**_META, "cost": {}},
    "cost of a list": {**_META, "cost": [1]},
    "time of digits": {**_META, "created_at": "12"},
    "time of true": {**_META, "created_at": True},
    "time of nan as text": {**_META, "created_at": "nan"},
    "expiry of inf as text": {**_META, "expires_at": "inf"},
    "components of a number": {**_META, "components": 5},
    "components of null": {**_META, "components": None},
    "component of a number": {**_META, "components": {"model": 5}},
    "offsets of an object": {**_META, "offsets": {}},
    "offset of true": {**_META, "offsets": [True]},
    "offset of a fraction": {**_META, "offsets": [0.5]},
    "name of a number": {**_META, "offsets": [1], "events": [5]},
    "names of text": {**_META, "offsets": [1], "events": "a"},
    "events without offsets": {**_META, "offsets": []},
}


@pytest.mark.parametrize("name", _WRONG)
def test_metadata_of_the_wrong_type_is_damage(name: str) -> None:
    with pytest.raises(CorruptEntryError):
        codec().decode(KEY, frame(answer(_WRONG[name])))


def test_metadata_of_the_right_types_is_an_entry() -> None:
    entry = codec().decode(KEY, frame(answer(_META), b"request"))
    assert entry == CacheEntry(
        KEY, Recording(b"{}"), "chat", created_at=1.0, identity=b"request", components={}
    )


def test_fields_of_a_later_writer_are_no_damage() -> None:
    later = answer({**_META, "color": ["blue"], "size": None})
    assert codec().decode(KEY, frame(later)) == codec().decode(KEY, frame(answer(_META)))


_TIMES: Final = ("created_at", "expires_at", "keep_until", "duration")
_TEXTS: Final = ("kind", "model", "cost", "answered_by")
_LISTS: Final = ("tags", "headers", "components", "status", "offsets", "events")
_JSON: Final = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "text"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("ab"), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=1_000, deadline=None)
@given(st.dictionaries(st.sampled_from(_TIMES + _TEXTS + _LISTS), _JSON))
def test_whatever_the_metadata_is_what_comes_out_could_go_in(changes: dict[str, object]) -> None:
    try:
        entry = codec().decode(KEY, frame(answer({**_META, **changes})))
    except CorruptEntryError:
        return
    hash(entry.recording)  # tuples to the bottom
    assert all(type(getattr(entry, name)) in {str, type(None)} for name in _TEXTS)
    assert all(type(getattr(entry, name)) in {int, float, type(None)} for name in _TIMES)
    kept = codec().decode(KEY, codec().encode(entry))
    assert kept._replace(created_at=0, duration=0) == entry._replace(created_at=0, duration=0)


def test_two_thousand_accidents_below_the_checksum() -> None:
    chance = random.Random(7)
    used = codec()
    for _, data in _mutations(2_000):
        magic, version = data[:4], data[4:5]
        if chance.random() < 0.9:
            magic, version = b"LLMC", b"\1"
        forged = signed(magic + version + data[5:].ljust(HEADER_SIZE, b"\0"))
        for whole in (True, False):
            try:
                entry = used.decode(KEY, forged, with_identity=whole)
            except (CorruptEntryError, UnreadableEntryError):
                continue
            assert isinstance(entry, CacheEntry)


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=200), st.binary(max_size=50), st.integers(0, 15), st.data())
def test_a_seal_hides_nothing_hostile(
    first: bytes, second: bytes, flags: int, data: st.DataObject
) -> None:
    size = st.none() | st.integers(0, 2**32 - 1)
    sizes = data.draw(st.tuples(size, size, size))
    with pytest.raises((CorruptEntryError, UnreadableEntryError)):
        codec(envelope=StandInEnvelope(b"secret")).decode(
            KEY, frame(first, second, flags=flags | SEALED, sizes=sizes)
        )
