"""Entry ⇄ bytes: one self-describing, checksummed, compressed frame.

    offset  size  field
    0       4     magic, b"LLMC"
    4       1     format version
    5       1     flags: 1 answer compressed, 2 with a dictionary, 4 sealed, 8 request compressed
    6       4     keep until, Unix seconds rounded up; 0 is for ever
    10      4     size of the answer before compression
    14      4     size of the request before compression
    18      4     size of the answer as it stands here
    22      8     checksum: SHA-256 over key, bytes 0-21 and everything after 30, cut to 8
    30      (4)   dictionary id, when flag 2 is set
    …             answer: u32 (size of the next), metadata JSON, recording (`_answer_part`)
    …             request: its canonical bytes, which the key is the hash of

All integers are little-endian. Answer and request are compressed apart: a hit needs
the first, `explain` and `export` both. The checksum covers the key, so an entry that
was moved under another key is damage, not an answer. It finds accidents, not
forgery; an `Envelope` seals both parts where others can write to the store.

A compressed part is one zstd frame (RFC 8878) without its magic number, with a
frame header descriptor of 0 and a window of at most 8 MiB. So it carries no size of
its own: the declared sizes bound the output before anything is decompressed.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterable
from typing import Final, NamedTuple, Protocol

import zstandard

from ._answer_part import answer_of, entry_of
from .errors import CorruptEntryError, UnreadableEntryError
from .types.entry import CacheEntry

__all__ = [
    "FORMAT_VERSION",
    "HEADER_SIZE",
    "MAX_ENTRY_BYTES",
    "Codec",
    "Dictionary",
    "Envelope",
    "Parts",
    "dictionary_id",
    "dictionary_of",
    "keep_until",
    "train_dictionary",
]

FORMAT_VERSION: Final = 1
MAX_ENTRY_BYTES: Final = 64 * 2**20
"""Default ceiling of a payload: larger answers are not stored, larger declared sizes not believed."""

_MAGIC: Final = b"LLMC"
_HEADER: Final = struct.Struct("<4sBBIIII")
_CHECKSUM: Final = 8
HEADER_SIZE: Final = _HEADER.size + _CHECKSUM
_U32: Final = struct.Struct("<I")
_DICTIONARY_END: Final = HEADER_SIZE + _U32.size
_COMPRESSED, _WITH_DICTIONARY, _SEALED, _REQUEST_COMPRESSED = 1, 2, 4, 8
_ANSWER, _REQUEST = b"answer", b"request"
_FRAME: Final = zstandard.FORMAT_ZSTD1_MAGICLESS
_LEVEL: Final = 9
# Neither content size nor dictionary id nor checksum (RFC 8878, 3.1.1.1.1).
_DESCRIPTOR: Final = b"\0"
# What RFC 8878, 3.1.1.1.2 asks every decoder to support, and no encoder to exceed.
_WINDOW: Final = 8 * 2**20
_LAST: Final = 2**32 - 1


class Parts(NamedTuple):
    """The two parts of an entry that are compressed."""

    answer: bytes
    request: bytes


class Envelope(Protocol):
    """Authenticated encryption of an entry's parts. `context` is authenticated with them, not stored."""

    def seal(self, payload: bytes, context: bytes) -> bytes:
        """Return the sealed payload, with whatever `unseal` needs (nonce, key id) inside it."""
        ...

    def unseal(self, sealed: bytes, context: bytes) -> bytes:
        """Return the payload.

        Raises:
            ValueError: forged, damaged, or sealed with a key that is not at hand.
        """
        ...


class Dictionary:
    """A zstd dictionary, named by its content: `id` is the first four bytes of its SHA-256."""

    __slots__ = ("data", "id", "zstd")

    def __init__(self, data: bytes) -> None:
        """Wrap dictionary bytes as `train_dictionary` returns them."""
        self.data = data
        self.id = dictionary_id(data)
        self.zstd = zstandard.ZstdCompressionDict(data, dict_type=zstandard.DICT_TYPE_FULLDICT)


def dictionary_id(data: bytes) -> int:
    """Return the id of the dictionary with this content."""
    found: int = _U32.unpack(hashlib.sha256(data).digest()[:4])[0]
    return found


def train_dictionary(samples: Iterable[bytes], *, size: int = 16 * 2**10) -> Dictionary:
    """Return a dictionary of at most `size` bytes for parts like `samples` (see `Codec.parts`).

    A hundred samples are few, a thousand plenty. Runs without the interpreter lock.

    Raises:
        ValueError: too few or too small samples to find anything in common.
    """
    try:
        trained = zstandard.train_dictionary(size, list(samples))
    except zstandard.ZstdError as error:
        msg = f"cannot train a dictionary: {error}"
        raise ValueError(msg) from error
    return Dictionary(trained.as_bytes())


class Codec:
    """Encodes and decodes entries; knows the dictionaries it was given. Not thread-safe."""

    def __init__(
        self,
        *,
        max_bytes: int = MAX_ENTRY_BYTES,
        compress: bool = True,
        envelope: Envelope | None = None,
    ) -> None:
        """`max_bytes` bounds a payload in both directions; `compress=False` writes parts as they are."""
        self.max_bytes = max_bytes
        self._compress = compress
        self._envelope = envelope
        self._compressors: dict[int, zstandard.ZstdCompressor] = {0: _compressor(None)}
        self._decompressors: dict[int, zstandard.ZstdDecompressor] = {0: _decompressor(None)}

    def add(self, dictionary: Dictionary) -> None:
        """Make `dictionary` known: entries that name it can be decoded from now on."""
        if dictionary.id not in self._decompressors:
            self._compressors[dictionary.id] = _compressor(dictionary)
            self._decompressors[dictionary.id] = _decompressor(dictionary)

    def discard(self, dictionary_id: int) -> None:
        """Forget a dictionary, if it is known; entries that name it need it added anew."""
        self._compressors.pop(dictionary_id, None)
        self._decompressors.pop(dictionary_id, None)

    def can_open(self, data: bytes) -> bool:
        """Return whether the dictionary that a frame names, if any, was added."""
        # This is asked for every entry of every read.
        if len(data) < _DICTIONARY_END or not data[5] & _WITH_DICTIONARY:
            return True
        return _U32.unpack_from(data, HEADER_SIZE)[0] in self._decompressors

    def parts(self, entry: CacheEntry) -> Parts:
        """Return what is compressed, each by itself; what dictionaries are trained on.

        Raises:
            ValueError: larger than `max_bytes`, or with something that cannot be written.
        """
        parts = Parts(answer_of(entry), entry.identity)
        size = len(parts.answer) + len(parts.request)
        if size > self.max_bytes:
            msg = f"entry of {size} bytes exceeds the ceiling of {self.max_bytes}"
            raise ValueError(msg)
        return parts

    def encode(self, entry: CacheEntry, *, dictionary_id: int = 0) -> bytes:
        """Return the frame of `entry`, compressed with the dictionary of that id (0: none).

        Raises:
            ValueError: larger than `max_bytes`, or with something that cannot be written.
            KeyError: the dictionary was not added.
        """
        return self.pack(entry, self.parts(entry), dictionary_id)

    def pack(self, entry: CacheEntry, parts: Parts, dictionary_id: int) -> bytes:
        """Return the frame of `entry`, whose `parts` the caller already has."""
        compress = self._compressors[dictionary_id].compress
        flags, packed = 0, []
        for part, flag in zip(parts, (_COMPRESSED, _REQUEST_COMPRESSED), strict=True):
            small = compress(part) if self._compress else part
            if len(small) < len(part):
                flags |= flag
                packed.append(small)
            else:
                packed.append(part)
        prefix = b""
        if dictionary_id and flags:
            flags |= _WITH_DICTIONARY
            prefix = _U32.pack(dictionary_id)
        answer, request = packed
        if self._envelope is not None:
            flags |= _SEALED
            answer = self._envelope.seal(answer, _context(entry.key, prefix, _ANSWER))
            request = self._envelope.seal(request, _context(entry.key, prefix, _REQUEST))
        until = 0 if entry.keep_until is None else _rounded_up(entry.keep_until)
        sizes = (len(parts.answer), len(parts.request), len(answer))
        header = _HEADER.pack(_MAGIC, FORMAT_VERSION, flags, until, *sizes)
        body = prefix + answer + request
        return header + _checksum(entry.key, header, body) + body

    def decode(self, key: str, data: bytes, *, with_identity: bool = True) -> CacheEntry:
        """Return the entry that `data` holds for `key`; without its identity when nobody needs it.

        Raises:
            CorruptEntryError: damaged, truncated, not an entry, or not of this key.
            UnreadableEntryError: a later format, an unknown dictionary (`add` it and
                decode again; `dictionary_id` tells which), or sealed.
        """
        try:
            return entry_of(key, *self._opened(key, data, with_request=with_identity))
        except (CorruptEntryError, UnreadableEntryError):
            raise
        except (ValueError, KeyError, zstandard.ZstdError, struct.error) as error:
            raise _corrupt(f"{type(error).__name__}: {error}") from error

    def _opened(self, key: str, data: bytes, *, with_request: bool) -> tuple[bytes, bytes]:
        """Return answer and request after every check that a hostile frame must pass."""
        flags, answer_size, request_size, stored_size = self._checked(key, data)
        start = _DICTIONARY_END if flags & _WITH_DICTIONARY else HEADER_SIZE
        end = start + stored_size
        if end > len(data):
            raise _corrupt("the answer is longer than the entry")
        answer, request = data[start:end], data[end:] if with_request else b""
        if flags & _SEALED:
            prefix = data[HEADER_SIZE:start]
            answer = self._unsealed(answer, _context(key, prefix, _ANSWER))
            if with_request:
                request = self._unsealed(request, _context(key, prefix, _REQUEST))
        name = _U32.unpack_from(data, HEADER_SIZE)[0] if flags & _WITH_DICTIONARY else 0
        decompressor = self._decompressors.get(name)
        if decompressor is None:
            raise _unreadable(f"dictionary {name:08x} is missing")
        if flags & _COMPRESSED:
            answer = _decompressed(decompressor, answer, answer_size)
        if with_request and flags & _REQUEST_COMPRESSED:
            request = _decompressed(decompressor, request, request_size)
        if len(answer) != answer_size or (with_request and len(request) != request_size):
            raise _corrupt("a part has another size than the header declares")
        return answer, request

    def _checked(self, key: str, data: bytes) -> tuple[int, int, int, int]:
        """Return the flags and the three sizes of a frame that is whole and of this key."""
        header = data[: _HEADER.size]
        if len(data) < HEADER_SIZE or header[:4] != _MAGIC:
            raise _corrupt("not an entry")
        _, version, flags, _, answer_size, request_size, stored_size = _HEADER.unpack(header)
        if version != FORMAT_VERSION:
            raise _unreadable(f"entry format {version} is not known to this version")
        if data[_HEADER.size : HEADER_SIZE] != _checksum(key, header, data[HEADER_SIZE:]):
            raise _corrupt("checksum mismatch: damaged, or stored under another key")
        size = answer_size + request_size
        if size > self.max_bytes:
            raise _corrupt(f"declares {size} bytes, above the ceiling of {self.max_bytes}")
        return flags, answer_size, request_size, stored_size

    def _unsealed(self, sealed: bytes, context: bytes) -> bytes:
        if self._envelope is None:
            raise _unreadable("entry is sealed and no envelope was given")
        return self._envelope.unseal(sealed, context)


def dictionary_of(data: bytes) -> int:
    """Return the id of the dictionary that a frame needs; 0 when it needs none or is no frame."""
    if len(data) < _DICTIONARY_END or data[:4] != _MAGIC or not data[5] & _WITH_DICTIONARY:
        return 0
    found: int = _U32.unpack_from(data, HEADER_SIZE)[0]
    return found


def keep_until(header: bytes) -> float | None:
    """Return when the entry that starts with `header` may be dropped; `None`: never, or not an entry."""
    if len(header) < _HEADER.size or header[:4] != _MAGIC or header[4] != FORMAT_VERSION:
        return None
    until: int = _HEADER.unpack(header[: _HEADER.size])[3]
    return float(until) if until else None


def _corrupt(reason: str) -> CorruptEntryError:
    return CorruptEntryError(reason, operation="decode")


def _unreadable(reason: str) -> UnreadableEntryError:
    return UnreadableEntryError(reason, operation="decode")


def _compressor(dictionary: Dictionary | None) -> zstandard.ZstdCompressor:
    parameters = zstandard.ZstdCompressionParameters.from_level(
        _LEVEL, format=_FRAME, write_content_size=False, write_dict_id=False, write_checksum=False
    )
    return zstandard.ZstdCompressor(
        compression_params=parameters, dict_data=None if dictionary is None else dictionary.zstd
    )


def _decompressor(dictionary: Dictionary | None) -> zstandard.ZstdDecompressor:
    return zstandard.ZstdDecompressor(
        format=_FRAME,
        dict_data=None if dictionary is None else dictionary.zstd,
        max_window_size=_WINDOW,
    )


def _decompressed(decompressor: zstandard.ZstdDecompressor, part: bytes, size: int) -> bytes:
    """Return what `part` holds, `size` bytes at most."""
    # A content size in the frame would be believed, and `max_output_size` ignored.
    if part[:1] != _DESCRIPTOR:
        raise _corrupt("a part is not compressed as entries are")
    return decompressor.decompress(part, max_output_size=size, allow_extra_data=False)


def _rounded_up(moment: float) -> int:
    """Return a moment as the header has it; 0 would be for ever."""
    return max(1, math.ceil(min(_LAST, moment)))


def _context(key: str, prefix: bytes, part: bytes) -> bytes:
    return b"".join((key.encode(), b"\0", part, b"\0", prefix))


def _checksum(key: str, header: bytes, body: bytes) -> bytes:
    return hashlib.sha256(key.encode() + header + body).digest()[:_CHECKSUM]
