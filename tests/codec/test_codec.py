"""An entry becomes bytes and comes back the same; the bytes mean the same for ever."""

from __future__ import annotations

import json
import math
import statistics
import struct
from pathlib import Path
from typing import Any

import pytest
from codec_support import (
    BARE,
    BASE,
    COMPRESSED,
    ENTRIES,
    KEY,
    LONG,
    NOISE,
    REQUEST_COMPRESSED,
    SEALED,
    STREAMED,
    WHOLE,
    WITH_DICTIONARY,
    StandInEnvelope,
    codec,
    frame,
    frames,
    signed,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcache.codec import (
    FORMAT_VERSION,
    HEADER_SIZE,
    MAX_ENTRY_BYTES,
    Codec,
    Dictionary,
    _compressor,
    dictionary_of,
    keep_until,
    train_dictionary,
)
from llmcache.errors import CorruptEntryError, UnreadableEntryError
from llmcache.providers.sse import SSEDecoder
from llmcache.types import CacheEntry, Recording, WireEvent

# --- there and back -------------------------------------------------------------------------

_TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=30)
_MOMENTS = st.integers(0, 4 * 10**12).map(lambda n: n / 1000)  # kept in milliseconds
_SECONDS = st.floats(0, 2.0**40, allow_nan=False)
_DATA = st.binary(max_size=200).map(lambda data: data.replace(b"\x1e", b""))
_EVENTS = st.lists(
    st.builds(
        WireEvent,
        _DATA,
        st.none() | _TEXT,
        st.integers(0, 10**10).map(lambda n: n / 10**6),  # kept in microseconds
    ),
    max_size=8,
)
_HEADERS = st.lists(st.tuples(_TEXT, _TEXT), max_size=4).map(tuple)
_RECORDINGS = st.builds(
    lambda body, headers, status: Recording(body, None, headers, status),
    st.binary(max_size=3_000) | st.binary(max_size=20).map(lambda data: data * 500),
    _HEADERS,
    st.integers(200, 299),
) | st.builds(
    lambda events, headers, status: Recording(None, tuple(events), headers, status),
    _EVENTS,
    _HEADERS,
    st.integers(200, 299),
)
_ENTRIES = st.builds(
    CacheEntry,
    key=st.just(KEY),
    recording=_RECORDINGS,
    kind=_TEXT,
    model=st.none() | _TEXT,
    tags=st.lists(_TEXT, max_size=4).map(tuple),
    created_at=_MOMENTS,
    expires_at=st.none() | _SECONDS,
    keep_until=st.none() | _SECONDS,
    duration=st.none() | st.integers(0, 10**8).map(lambda n: n / 10**4),
    cost=st.none() | st.decimals(0, 100, places=6).map(str),
    answered_by=st.none() | _TEXT,
    identity=st.binary(max_size=500),
    components=st.dictionaries(_TEXT, _TEXT, max_size=4),
)
_CODECS = {
    "plain": codec(),
    "sealed": codec(envelope=StandInEnvelope(b"secret")),
}


@settings(max_examples=300, deadline=None)
@given(entry=_ENTRIES, which=st.sampled_from(sorted(_CODECS)), dictionary=st.booleans())
def test_what_goes_in_comes_out(entry: CacheEntry, which: str, *, dictionary: bool) -> None:
    used = _CODECS[which]
    data = used.encode(entry, dictionary_id=BASE.id if dictionary else 0)
    assert used.decode(KEY, data) == entry
    assert used.decode(KEY, data, with_identity=False) == entry._replace(identity=b"")
    assert type(used.decode(KEY, data).recording.status) is int
    if which == "plain":  # an envelope may take a new nonce each time
        assert used.encode(entry, dictionary_id=BASE.id if dictionary else 0) == data


@pytest.mark.parametrize("name", ENTRIES)
def test_every_kind_of_frame_is_the_same_entry(name: str) -> None:
    entry = ENTRIES[name]
    for kind, data in frames(entry).items():
        assert codec().decode(KEY, data) == entry, kind


def test_a_stream_without_events_comes_back_too() -> None:
    empty = STREAMED._replace(recording=Recording(events=()))
    assert Codec().decode(KEY, Codec().encode(empty)) == empty


def test_an_entry_needs_little_more_than_its_recording() -> None:
    bare = CacheEntry(KEY, NOISE.recording, "chat", created_at=1_790_000_000.0)
    assert len(Codec().encode(bare)) < len(NOISE.recording.body or b"") + 100


def test_what_does_not_compress_is_kept_as_it_is() -> None:
    assert Codec().encode(BARE)[5] == 0
    bare = LONG._replace(identity=b"")
    assert Codec().encode(bare)[5] == COMPRESSED
    assert codec().encode(bare, dictionary_id=BASE.id)[5] == COMPRESSED | WITH_DICTIONARY
    wordy = BARE._replace(identity=b"why? " * 100)
    assert Codec().encode(wordy)[5] == REQUEST_COMPRESSED


@pytest.mark.parametrize("dictionary", [None, BASE], ids=["no dictionary", "dictionary"])
def test_a_compressed_part_carries_no_size_of_its_own(dictionary: Dictionary | None) -> None:
    compressor = _compressor(dictionary)
    sizes = [*range(300), *(2**n + off for n in range(9, 26) for off in (-1, 0, 1))]
    for size in [*sizes, MAX_ENTRY_BYTES]:
        descriptor, window = compressor.compress(b"words and " * (size // 10) + bytes(size % 10))[
            :2
        ]
        assert descriptor == 0  # RFC 8878, 3.1.1.1.1
        exponent, mantissa = divmod(window, 8)  # RFC 8878, 3.1.1.1.2
        assert 2 ** (10 + exponent) * (8 + mantissa) / 8 <= 8 * 2**20


def test_the_largest_entry_comes_back() -> None:
    largest = BARE._replace(recording=Recording(b"0123456789abcdef" * (MAX_ENTRY_BYTES // 16 - 10)))
    assert Codec().decode(KEY, Codec().encode(largest)) == largest


def test_a_hit_opens_the_answer_and_not_the_request() -> None:
    # The request's part is noise under a checksum that holds: only who asks for it trips.
    parts = Codec().parts(WHOLE)
    data = frame(parts.answer, b"noise", flags=REQUEST_COMPRESSED, sizes=(None, 100, None))
    assert Codec().decode(KEY, data, with_identity=False) == WHOLE._replace(identity=b"")
    with pytest.raises(CorruptEntryError):
        Codec().decode(KEY, data)


def test_times_are_kept_to_what_matters() -> None:
    precise = STREAMED._replace(
        created_at=1.23456789,
        duration=1.23456789,
        recording=Recording(events=(WireEvent(b"x", None, 1.23456789),)),
    )
    kept = Codec().decode(KEY, Codec().encode(precise))
    assert (kept.created_at, kept.duration) == (1.235, 1.2346)
    assert kept.recording.events == (WireEvent(b"x", None, 1.234568),)


def test_offsets_do_not_drift() -> None:
    events = tuple(WireEvent(b"x", None, n / 3) for n in range(10_000))
    data = Codec().encode(STREAMED._replace(recording=Recording(events=events)))
    back = Codec().decode(KEY, data).recording.events or ()
    assert len(back) == 10_000
    assert all(abs(a.offset - b.offset) < 1e-6 for a, b in zip(events, back, strict=True))


# --- the format, for ever -------------------------------------------------------------------

# Written by format version 1. These never change: entries like them lie in caches.
_GOLDEN_AS_IT_IS = (
    "4c4c4d430100813bb16a8201000007000000820100005571703efee8c8d0a90000007b226b696e64223a2263"
    "686174222c226d6f64656c223a226770742d352d6e616e6f222c22637265617465645f6174223a3137393030"
    "30303030302e352c226b6565705f756e74696c223a313739303030303030302e352c226475726174696f6e22"
    "3a312e352c22636f7374223a22302e30303031222c2274616773223a5b2270726f64225d2c22686561646572"
    "73223a5b5b22782d726571756573742d6964222c227231225d5d7d7b22616e73776572223a227965732c2079"
    "65732c207965732c207965732c207965732c207965732c207965732c207965732c207965732c207965732c20"
    "7965732c207965732c207965732c207965732c207965732c207965732c207965732c207965732c207965732c"
    "207965732c207965732c207965732c207965732c207965732c207965732c207965732c207965732c20796573"
    "2c207965732c207965732c207965732c207965732c207965732c207965732c207965732c207965732c207965"
    "732c207965732c207965732c207965732c20227d7b2276223a317d"
)
_GOLDEN_COMPRESSED = (
    "4c4c4d430101813bb16a82010000070000009b00000070c4c74fbb5db2480000b5040092ca21218025ce0133"
    "309735184768211bbd19ba644b5ae917035587f032c7369630460536d1071999e07ac802d1eda1e838bee0f3"
    "aca58efc04304c03370c7d84cc9697e771f6a073431f95ede797528a50d7777cc9b32096debdd60b1fd6b476"
    "0fe23033cf825005c2d2f7228c7b1926cf3fb72e15a91de5fa86d90378be7749ae67ae318786612808030020"
    "10858a7a22950380027b2276223a317d"
)
_GOLDEN_WITH_DICTIONARY = (
    "4c4c4d430103813bb16a82010000070000005e0000005438b5ce723b68e1de82d0f00000cd0200c3830d3719"
    "2e0598de32589001bfc8c8fcfa64cc80051958e77b460a32e07b8ff3325890d1311e65a48052bb5b990d3e5a"
    "7b32524039af0c010afc40401c0b368c3a7c49a33dbb1f397e7a608e2bb024487c8c9b08a62b79017b227622"
    "3a317d"
)
_GOLDEN_ENTRY = CacheEntry(
    KEY,
    Recording(b'{"answer":"' + b"yes, yes, " * 20 + b'"}', headers=(("x-request-id", "r1"),)),
    "chat",
    "gpt-5-nano",
    ("prod",),
    1_790_000_000.5,
    None,
    1_790_000_000.5,
    1.5,
    "0.0001",
    None,
    b'{"v":1}',
)


@pytest.mark.parametrize("golden", [_GOLDEN_AS_IT_IS, _GOLDEN_COMPRESSED, _GOLDEN_WITH_DICTIONARY])
def test_format_1_stays_readable(golden: str) -> None:
    assert FORMAT_VERSION == 1
    assert codec().decode(KEY, bytes.fromhex(golden)) == _GOLDEN_ENTRY


def test_format_1_is_still_what_is_written() -> None:
    golden = bytes.fromhex(_GOLDEN_AS_IT_IS)
    parts = Codec().parts(_GOLDEN_ENTRY)
    assert parts.answer + parts.request == golden[HEADER_SIZE:]
    assert frame(*parts, until=1_790_000_001) == golden
    # How well zstd compresses may change with its version; what the header says of it may not.
    assert Codec().encode(_GOLDEN_ENTRY)[:18] == bytes.fromhex(_GOLDEN_COMPRESSED)[:18]


def test_the_shipped_dictionary_stays_what_it_is() -> None:
    data = bytes.fromhex(_GOLDEN_WITH_DICTIONARY)
    assert dictionary_of(data) == BASE.id


# --- what cannot be read --------------------------------------------------------------------


@pytest.mark.parametrize("version", [0, 2, 255])
def test_another_version_is_unreadable_and_not_damage(version: int) -> None:
    for data in (frame(b"whatever", version=version), b"LLMC" + bytes([version]) + bytes(40)):
        with pytest.raises(UnreadableEntryError, match=f"format {version}"):
            Codec().decode(KEY, data)


def test_a_missing_dictionary_is_unreadable_and_not_damage() -> None:
    data = codec().encode(LONG, dictionary_id=BASE.id)
    reader = Codec()
    assert not reader.can_open(data)
    with pytest.raises(UnreadableEntryError, match=f"{BASE.id:08x}"):
        reader.decode(KEY, data)
    reader.add(Dictionary(BASE.data))
    assert reader.can_open(data)
    assert reader.decode(KEY, data) == LONG


def test_a_sealed_entry_without_an_envelope_is_unreadable_and_not_damage() -> None:
    data = codec(envelope=StandInEnvelope(b"secret")).encode(WHOLE)
    assert data[5] & SEALED
    with pytest.raises(UnreadableEntryError, match="sealed"):
        codec().decode(KEY, data)


def test_an_unsealed_entry_is_read_with_an_envelope_too() -> None:
    assert codec(envelope=StandInEnvelope(b"x")).decode(KEY, Codec().encode(WHOLE)) == WHOLE


def test_a_seal_of_another_secret_or_place_does_not_open() -> None:
    data = codec(envelope=StandInEnvelope(b"secret")).encode(WHOLE, dictionary_id=BASE.id)
    with pytest.raises((CorruptEntryError, UnreadableEntryError)):
        codec(envelope=StandInEnvelope(b"another")).decode(KEY, data)
    other = "v1:" + "f" * 64
    with pytest.raises(CorruptEntryError):
        codec(envelope=StandInEnvelope(b"secret")).decode(other, signed(data, other))


def test_the_parts_of_a_sealed_entry_cannot_change_places() -> None:
    used = codec(envelope=StandInEnvelope(b"secret"))
    alike = BARE._replace(identity=Codec().parts(BARE).answer)
    data = used.encode(alike)
    answer_size, request_size, stored = struct.unpack("<III", data[10:22])
    assert answer_size == request_size
    first, second = data[HEADER_SIZE : HEADER_SIZE + stored], data[HEADER_SIZE + stored :]
    swapped = signed(data[:HEADER_SIZE] + second + first)
    assert swapped != data
    with pytest.raises(CorruptEntryError):
        used.decode(KEY, swapped)


def test_nothing_of_a_sealed_payload_is_left_open() -> None:
    data = codec(envelope=StandInEnvelope(b"secret")).encode(NOISE)
    assert (NOISE.recording.body or b"")[:40] not in data
    assert b"gpt-5-nano" not in data
    assert b"France" not in data


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_of_another_key_is_damage(name: str) -> None:
    for data in frames(ENTRIES[name]).values():
        for key in ("v1:" + "0" * 64, KEY[:-1] + "0", "", KEY.upper()):
            with pytest.raises(CorruptEntryError, match="checksum"):
                codec().decode(key, data)


# --- what cannot be written -----------------------------------------------------------------


def test_an_entry_above_the_ceiling_is_refused() -> None:
    small = Codec(max_bytes=1_000)
    for write in (small.parts, small.encode):
        with pytest.raises(ValueError, match="exceeds the ceiling of 1000"):
            write(LONG)
    with pytest.raises(CorruptEntryError, match="above the ceiling of 1000"):
        small.decode(KEY, Codec().encode(LONG))
    exact = Codec(max_bytes=sum(map(len, Codec().parts(LONG))))
    assert exact.decode(KEY, exact.encode(LONG)) == LONG
    with pytest.raises(ValueError, match="exceeds"):
        exact.encode(LONG._replace(identity=LONG.identity + b"!"))


def test_an_event_with_the_separator_is_refused() -> None:
    event = WireEvent(b"before\x1eafter")
    with pytest.raises(ValueError, match="0x1e"):
        Codec().encode(STREAMED._replace(recording=Recording(events=(event,))))
    body = WHOLE._replace(recording=Recording(body=event.data))
    assert Codec().decode(KEY, Codec().encode(body)) == body


@pytest.mark.parametrize("moment", [math.nan, math.inf, -math.inf, 10**400])
@pytest.mark.parametrize("field", ["created_at", "expires_at", "keep_until", "duration", "offset"])
def test_a_time_that_is_none_is_refused(field: str, moment: float) -> None:
    event = WireEvent(b"{}", None, moment if field == "offset" else 0.0)
    entry = BARE._replace(recording=Recording(events=(event,)))
    if field != "offset":
        entry = entry._replace(**{field: moment})
    if moment == math.inf and field in {"expires_at", "keep_until"}:
        assert Codec().decode(KEY, Codec().encode(entry))._asdict()[field] is None
        return
    for write in (Codec().parts, Codec().encode):
        with pytest.raises(ValueError):
            write(entry)


def test_an_unknown_dictionary_is_refused() -> None:
    with pytest.raises(KeyError):
        Codec().encode(WHOLE, dictionary_id=12345)


def test_an_infinite_time_is_for_ever() -> None:
    data = Codec().encode(WHOLE._replace(expires_at=math.inf, keep_until=math.inf))
    assert keep_until(data) in {None, 2.0**32 - 1}
    assert Codec().decode(KEY, data).expires_at is None


@pytest.mark.parametrize(
    "fields",
    [{"tags": ("\ud800",)}, {"model": "\ud800"}, {"answered_by": "\ud800"}],
    ids=["tags", "model", "answered_by"],
)
def test_text_that_cannot_be_written_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Codec().encode(WHOLE._replace(**fields))


# --- the header alone -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moment", "kept"),
    [
        (None, None),
        (1_790_000_000.0, 1_790_000_000.0),
        (1_790_000_000.001, 1_790_000_001.0),
        (1_790_000_000.999, 1_790_000_001.0),
        (0.0, 1.0),  # 0 would be for ever
        (0.4, 1.0),
        (-5.0, 1.0),
        (2.0**32 - 1, 2.0**32 - 1),
        (2.0**32, 2.0**32 - 1),
        (1e300, 2.0**32 - 1),
    ],
)
def test_keep_until_is_rounded_up(moment: float | None, kept: float | None) -> None:
    for data in (
        Codec().encode(WHOLE._replace(keep_until=moment)),
        codec(envelope=StandInEnvelope(b"x")).encode(WHOLE._replace(keep_until=moment)),
    ):
        assert keep_until(data) == kept
        assert keep_until(data[:HEADER_SIZE]) == kept
        assert keep_until(data[: HEADER_SIZE - 8]) == kept


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=60) | st.binary(max_size=60).map(lambda data: b"LLMC\x01" + data))
def test_the_header_of_anything_can_be_asked(data: bytes) -> None:
    until = keep_until(data)
    assert until is None or 1 <= until < 2**32
    assert 0 <= dictionary_of(data) < 2**32
    if not data.startswith(b"LLMC") or len(data) < HEADER_SIZE - 8:
        assert until is None
        assert dictionary_of(data) == 0


def test_a_frame_names_its_dictionary() -> None:
    assert dictionary_of(codec().encode(LONG, dictionary_id=BASE.id)) == BASE.id
    assert dictionary_of(codec().encode(LONG)) == 0
    assert dictionary_of(codec().encode(LONG, dictionary_id=BASE.id)[: HEADER_SIZE + 3]) == 0
    reader = Codec()
    assert reader.can_open(codec().encode(LONG))
    assert reader.can_open(b"no entry")
    assert not reader.can_open(codec().encode(LONG, dictionary_id=BASE.id))
    assert codec().can_open(codec().encode(LONG, dictionary_id=BASE.id))
    sealed = codec(envelope=StandInEnvelope(b"x")).encode(LONG, dictionary_id=BASE.id)
    assert dictionary_of(sealed) == BASE.id


# --- dictionaries ---------------------------------------------------------------------------


def test_too_few_samples_make_no_dictionary() -> None:
    for samples in ([], [b"x"], [b"ab"] * 3):
        with pytest.raises(ValueError, match="cannot train"):
            train_dictionary(samples)


def test_a_dictionary_is_named_by_its_content() -> None:
    samples = [json.dumps({"id": n, "text": f"answer {n * 7919}"}).encode() for n in range(300)]
    trained = train_dictionary(samples, size=2_048)
    assert len(trained.data) <= 2_048
    assert Dictionary(trained.data).id == trained.id != BASE.id


def _recorded(folder: Path) -> list[CacheEntry]:
    """Return the recorded answers of chat completions as entries."""
    entries = []
    for row in json.loads((folder / "manifest.json").read_text()):
        if row["endpoint"] != "chat.completions" or row["status"] != 200:
            continue
        exchange = json.loads((folder / row["file"]).read_text())
        body = exchange["response"]["body"].encode()
        recording = Recording(body=body)
        if row["stream"]:
            decoder = SSEDecoder()
            events = [*decoder.feed(body), *decoder.flush()]
            recording = Recording(
                events=tuple(WireEvent(e.data, e.event, n / 50) for n, e in enumerate(events))
            )
        identity = json.dumps(exchange["request"]["body"], sort_keys=True).encode()
        entries.append(CacheEntry(KEY, recording, "chat", created_at=1.0, identity=identity))
    return entries


@pytest.mark.parametrize("half", [0, 1])
def test_a_trained_dictionary_halves_recorded_answers(recordings: Path, half: int) -> None:
    entries = _recorded(recordings)
    assert len(entries) > 80
    used = Codec()
    samples = [part for entry in entries[half::2] for part in used.parts(entry) if part]
    trained = train_dictionary(samples)
    used.add(trained)
    assert len(trained.data) <= 16 * 2**10
    others = entries[1 - half :: 2]
    without = [len(used.encode(entry)) for entry in others]
    framed = [used.encode(entry, dictionary_id=trained.id) for entry in others]
    assert [used.decode(KEY, data) for data in framed] == others
    ratio = statistics.median(map(len, framed)) / statistics.median(without)
    assert ratio <= 0.55
