"""Framing: bytes to events, whatever the line ends and wherever the chunks are cut."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcache.errors import InvalidResponseError
from llmcache.providers.sse import NDJSONDecoder, ServerSentEvent, SSEDecoder

from .specification import BOM, reference

E = ServerSentEvent


def decode(chunks: Sequence[bytes]) -> list[ServerSentEvent]:
    decoder = SSEDecoder()
    return [event for chunk in chunks for event in decoder.feed(chunk)] + decoder.flush()


TABLE: dict[str, tuple[bytes, list[ServerSentEvent]]] = {
    "LF": (b"data: a\n\ndata: b\n\n", [E(b"a"), E(b"b")]),
    "CR": (b"data: a\r\rdata: b\r\r", [E(b"a"), E(b"b")]),
    "CRLF": (b"data: a\r\n\r\ndata: b\r\n\r\n", [E(b"a"), E(b"b")]),
    "mixed line ends": (b"data: a\r\n\ndata: b\r\r\ndata: c\n\r", [E(b"a"), E(b"b"), E(b"c")]),
    "CRLF is one end, not two": (b"data: a\r\ndata: b\r\n\r\n", [E(b"a\nb")]),
    "LF CR is two ends": (b"data: a\n\rdata: b\n\n", [E(b"a"), E(b"b")]),
    "byte order mark": (BOM + b"data: a\n\n", [E(b"a")]),
    "only one byte order mark is one": (BOM + BOM + b"data: a\n\ndata: b\n\n", [E(b"b")]),
    "byte order mark inside": (b"data: a\n\n" + BOM + b"data: b\n\n", [E(b"a")]),
    "part of a byte order mark": (BOM[:2], []),
    "comment": (b": hello\ndata: a\n: between\ndata: b\n\n: after\n\n", [E(b"a\nb")]),
    "only comments": (b": OPENROUTER PROCESSING\n\n: OPENROUTER PROCESSING\n\n", []),
    "comment without text": (b":\n\ndata: a\n\n", [E(b"a")]),
    "many data lines": (b"data: a\ndata: b\ndata:\ndata: c\n\n", [E(b"a\nb\n\nc")]),
    "no space": (b"data:a\n\ndata:  b\n\n", [E(b"a"), E(b" b")]),
    "only the first colon counts": (b'data: {"a":"b: c"}\n\n', [E(b'{"a":"b: c"}')]),
    "no colon": (b"data\n\ndata\ndata\n\n", [E(b""), E(b"\n")]),
    "empty data": (b"data:\n\ndata: \n\n", [E(b""), E(b"")]),
    "blank lines alone": (b"\n\n\r\n\r\r", []),
    "unknown fields": (b"foo: 1\ndata: a\nDATA: b\n data: c\ndatax: d\n\n", [E(b"a")]),
    "name": (b"event: error\ndata: a\n\ndata: b\n\n", [E(b"a", "error"), E(b"b")]),
    "last name wins": (b"event: x\nevent: y\ndata: a\n\n", [E(b"a", "y")]),
    "empty name": (b"event: x\nevent:\ndata: a\n\n", [E(b"a")]),
    "a name without data is forgotten": (b"event: x\n\ndata: a\n\n", [E(b"a")]),
    "id stays": (b"id: 7\ndata: a\n\ndata: b\n\n", [E(b"a", None, "7"), E(b"b", None, "7")]),
    "id of an event without data": (b"id: 7\n\ndata: a\n\n", [E(b"a", None, "7")]),
    "empty id resets": (
        b"id: 7\ndata: a\n\nid\ndata: b\n\n",
        [E(b"a", None, "7"), E(b"b", None, "")],
    ),
    "NUL in id": (b"id: 7\0\ndata: a\n\n", [E(b"a")]),
    "NUL in data": (b"data: a\0b\n\n", [E(b"a\0b")]),
    "retry": (b"retry: 300\ndata: a\n\ndata: b\n\n", [E(b"a", None, None, 300), E(b"b")]),
    "retry that is no number": (b"retry: 3s\nretry: -1\nretry:\ndata: a\n\n", [E(b"a")]),
    "retry in other digits": ("retry: ٣\ndata: a\n\n".encode(), [E(b"a")]),
    "no final blank line": (b"data: a\n\ndata: b\n", [E(b"a"), E(b"b")]),
    "no final line end": (b"data: a\n\ndata: b", [E(b"a"), E(b"b")]),
    "ends in CR": (b"data: a\r", [E(b"a")]),
    "nothing": (b"", []),
    "no field at all": (b"Internal Server Error", []),
    "not UTF-8": (b"event: \xff\ndata: \xff\xfe\n\n", [E(b"\xff\xfe", "�")]),
}


@pytest.mark.parametrize(("stream", "events"), TABLE.values(), ids=TABLE)
def test_a_framing_decodes_to_these_events_however_it_is_cut(
    stream: bytes, events: list[ServerSentEvent]
) -> None:
    assert decode([stream]) == events
    assert decode([stream[i : i + 1] for i in range(len(stream))]) == events
    for cut in range(len(stream) + 1):
        assert decode([stream[:cut], b"", stream[cut:]]) == events
    assert reference(stream) == events


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\u0085", "\v", "\f", "\x1c", "\x1d", "\x1e"])
def test_what_other_splitters_take_for_a_line_end_survives_inside_data(mark: str) -> None:
    text = f'{{"content":"a{mark}b"}}'
    stream = f"data: {text}\n\n".encode()
    for cut in range(len(stream)):
        assert decode([stream[:cut], stream[cut:]]) == [E(text.encode())]


def test_an_event_is_returned_as_soon_as_its_blank_line_is_there() -> None:
    decoder = SSEDecoder()
    assert decoder.feed(b"data: a\n") == []
    assert decoder.feed(b"\n") == [E(b"a")]
    assert decoder.feed(b"data: b\r\n") == []
    assert decoder.feed(b"\r\n") == [E(b"b")]


def test_with_cr_line_ends_an_event_does_not_wait_for_the_next_one() -> None:
    assert SSEDecoder().feed(b"data: [DONE]\r\r") == [E(b"[DONE]")]


_BITS = [b"data", b"event", b"id", b"retry", b":", b" ", b"\r", b"\n", b"\r\n", b"\n\n", b"data: "]
_BITS += [BOM, BOM[:1], BOM[1:], b"\0", b"7", b"x", b"\xc2\x85", "\u2028".encode(), b"\xf0\x9f"]
streams = st.lists(st.sampled_from(_BITS) | st.binary(max_size=3), max_size=40).map(b"".join)


@st.composite
def cut_streams(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    stream = draw(streams)
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    edges = [0, *cuts, len(stream)]
    return stream, [stream[a:b] for a, b in itertools.pairwise(edges)]


@given(cut_streams())
@settings(max_examples=400, deadline=None)
def test_any_cutting_of_any_bytes_decodes_as_the_specification_says(
    case: tuple[bytes, list[bytes]],
) -> None:
    stream, chunks = case
    expected = reference(stream)
    assert decode([stream]) == expected
    assert decode(chunks) == expected


@given(cut_streams())
@settings(max_examples=150, deadline=None)
def test_any_cutting_of_any_lines_decodes_to_the_same_lines(
    case: tuple[bytes, list[bytes]],
) -> None:
    stream, chunks = case
    whole = stream.removeprefix(BOM).split(b"\n")
    expected = [line.removesuffix(b"\r") for line in whole if line.strip()]
    for cutting in ([stream], chunks):
        decoder = NDJSONDecoder()
        lines = [line for chunk in cutting for line in decoder.feed(chunk)]
        assert lines + decoder.flush() == expected


def test_ndjson_lines_keep_what_other_splitters_take_for_a_line_end() -> None:
    line = '{"content":"a\u2028b\u0085c"}'.encode()
    decoder = NDJSONDecoder()
    assert decoder.feed(b"\n" + line + b"\r\n  \n" + line) == [line]
    assert decoder.flush() == [line]


def test_a_carriage_return_alone_ends_no_line_of_json() -> None:
    decoder = NDJSONDecoder()
    assert decoder.feed(b'{"a":\r1}\n{"b":\r') == [b'{"a":\r1}']
    assert decoder.feed(b"2}\r\n") == [b'{"b":\r2}']


def test_an_endless_retry_number_is_no_crash() -> None:
    assert SSEDecoder().feed(b"retry: " + b"9" * 5000 + b"\ndata: a\n\n")[0].data == b"a"


# --- ceilings ---------------------------------------------------------------------------------

LIMIT = 1_000_000
PIECE = 10_000


def feed_for_ever(decoder: SSEDecoder | NDJSONDecoder, piece: bytes) -> None:
    """Feed many times what the ceiling allows."""
    for _ in range(10 * LIMIT // len(piece)):
        decoder.feed(piece)


@pytest.mark.parametrize("decoder_type", [SSEDecoder, NDJSONDecoder])
@pytest.mark.parametrize("start", [b"data: ", b": ", b"unknown", b"", BOM])
def test_a_line_without_end_is_an_error_in_bounded_memory(
    decoder_type: type[SSEDecoder | NDJSONDecoder], start: bytes
) -> None:
    decoder = decoder_type(max_bytes=LIMIT)
    decoder.feed(start)
    tracemalloc.start()
    try:
        with pytest.raises(InvalidResponseError, match="exceeds 1000000 bytes"):
            feed_for_ever(decoder, b"x" * PIECE)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * LIMIT


@pytest.mark.parametrize(
    "line", [b"data: " + b"x" * 994 + b"\n", b"data:\n" * 1000, b"data\r\n" * 1000]
)
def test_an_event_without_end_is_an_error(line: bytes) -> None:
    decoder = SSEDecoder(max_bytes=LIMIT)
    with pytest.raises(InvalidResponseError, match="exceeds 1000000 bytes"):
        feed_for_ever(decoder, line)


def test_a_stream_of_small_events_is_longer_than_any_ceiling() -> None:
    decoder = SSEDecoder(max_bytes=100)
    events = [
        event for _ in range(1000) for event in decoder.feed(b"data: 0123456789\n\n: 0123456789\n")
    ]
    assert len(events) == 1000


def test_an_event_of_exactly_the_ceiling_passes() -> None:
    assert SSEDecoder(max_bytes=100).feed(b"data: " + b"x" * 94 + b"\n\n") == [E(b"x" * 94)]


@pytest.mark.parametrize(
    ("decoder_type", "line"),
    [
        (SSEDecoder, b"data: " + b"x" * 200),
        (NDJSONDecoder, b"x" * 200),
    ],
)
def test_the_ceiling_of_a_line_does_not_depend_on_where_it_is_cut(
    decoder_type: type[SSEDecoder | NDJSONDecoder], line: bytes
) -> None:
    whole = line + b"\n\n"
    for cut in (0, 150, len(whole)):
        decoder = decoder_type(max_bytes=100)
        with pytest.raises(InvalidResponseError):
            decoder.feed(whole[:cut]) + decoder.feed(whole[cut:])


def test_a_long_line_in_small_chunks_costs_no_more_than_its_length() -> None:
    decoder = SSEDecoder()
    decoder.feed(b"data: ")
    for _ in range(100_000):
        decoder.feed(b"0123456789")
    (event,) = decoder.feed(b"\n\n")
    assert len(event.data) == 1_000_000
