"""What the tests of the codec share: frames, honest and forged."""

from __future__ import annotations

import hashlib
import hmac
import struct
from typing import Any

import orjson

from llmcache import _base_dictionary
from llmcache.codec import HEADER_SIZE, Codec, Dictionary
from llmcache.types import CacheEntry, Recording, WireEvent

KEY = "v1:" + "0123456789abcdef" * 4
COMPRESSED, WITH_DICTIONARY, SEALED, REQUEST_COMPRESSED = 1, 2, 4, 8
BASE: Dictionary = _base_dictionary.load()

# What an answer may look like: whole and streamed, with everything and with nothing.
WHOLE = CacheEntry(
    KEY,
    Recording(b'{"choices":[{"message":{"content":"Paris."}}]}', headers=(("x-request-id", "r1"),)),
    "chat",
    "gpt-5-nano",
    ("prod", "größe"),
    1_790_000_000.123,
    1_790_003_600.5,
    1_790_007_200.25,
    1.25,
    "0.0001",
    "gpt-5-nano-2025-08-07",
    b'{"body":{"messages":[{"content":"Capital of France?","role":"user"}]}}',
)
STREAMED = WHOLE._replace(
    recording=Recording(
        events=(
            WireEvent(b'{"delta":"Par"}', None, 0.25),
            WireEvent(b"", "ping", 0.250001),
            WireEvent(b'{"delta":"is."}', None, 1.5),
            WireEvent(b"[DONE]", None, 1.5),
        )
    ),
    identity=b"",
    components={"model": "abc", "messages[0]": "def"},
)
LONG = WHOLE._replace(recording=Recording(orjson.dumps({"text": "All work and no play. " * 400})))
NOISE = WHOLE._replace(recording=Recording(hashlib.shake_256(b"noise").digest(700)))
BARE = CacheEntry(KEY, Recording(b""), "chat")
ENTRIES = {"whole": WHOLE, "streamed": STREAMED, "long": LONG, "noise": NOISE, "bare": BARE}


def codec(**options: Any) -> Codec:
    """Return a codec that knows the shipped dictionary."""
    made = Codec(**options)
    made.add(BASE)
    return made


def frames(entry: CacheEntry) -> dict[str, bytes]:
    """Return the entry in every kind of frame."""
    made = codec()
    parts = made.parts(entry)
    return {
        "compressed": made.encode(entry),
        "with dictionary": made.encode(entry, dictionary_id=BASE.id),
        "as it is": frame(parts.answer, parts.request),
    }


def frame(
    answer: bytes,
    request: bytes = b"",
    *,
    flags: int = 0,
    sizes: tuple[int | None, int | None, int | None] = (None, None, None),
    dictionary: bytes = b"",
    version: int = 1,
    until: int = 0,
    key: str = KEY,
) -> bytes:
    """Return a frame with a checksum that holds, whatever is inside.

    `sizes`: of answer and request before compression, and of the answer as it
    stands; what is `None` is honest.
    """
    honest = (len(answer), len(request), len(answer))
    declared = [h if d is None else d for h, d in zip(honest, sizes, strict=True)]
    header = struct.pack("<4sBBIIII", b"LLMC", version, flags, until, *declared)
    return signed(header + bytes(8) + dictionary + answer + request, key)


def signed(data: bytes, key: str = KEY) -> bytes:
    """Return a frame with its checksum mended, as that of `key`."""
    header, body = data[: HEADER_SIZE - 8], data[HEADER_SIZE:]
    return header + hashlib.sha256(key.encode() + header + body).digest()[:8] + body


def answer(meta: object, data: bytes = b"{}", *, meta_size: int | None = None) -> bytes:
    """Return the answer's part of an entry; `meta` is JSON bytes, or anything that becomes JSON."""
    text = meta if isinstance(meta, bytes) else orjson.dumps(meta)
    return struct.pack("<I", len(text) if meta_size is None else meta_size) + text + data


def claims(size: int) -> bytes:
    """Return a part that says that it holds `size` bytes, and holds none.

    A zstd frame header with an eight-byte content size (RFC 8878, 3.1.1.1), and an
    empty last block.
    """
    return bytes([0b1110_0000]) + struct.pack("<Q", size) + b"\x01\0\0"


class StandInEnvelope:
    """A stand-in for authenticated encryption. It hides nothing well: for tests only."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def seal(self, payload: bytes, context: bytes) -> bytes:
        return self._tag(payload, context) + self._mixed(payload)

    def unseal(self, sealed: bytes, context: bytes) -> bytes:
        plain = self._mixed(sealed[16:])
        if not hmac.compare_digest(self._tag(plain, context), sealed[:16]):
            msg = "forged, damaged, or sealed with another key"
            raise ValueError(msg)
        return plain

    def _tag(self, plain: bytes, context: bytes) -> bytes:
        return hmac.digest(self._secret, context + b"\0" + plain, "sha256")[:16]

    def _mixed(self, data: bytes) -> bytes:
        stream = hashlib.shake_256(self._secret).digest(len(data))
        return bytes(a ^ b for a, b in zip(data, stream, strict=True))
