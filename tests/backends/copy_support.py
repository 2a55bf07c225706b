"""Entries with everything that a copy must carry along."""

from __future__ import annotations

from collections.abc import Sequence

from llmcache import _base_dictionary
from llmcache.backends import Backend, StoredEntry, SupportsDictionaries
from llmcache.codec import Codec, Dictionary, train_dictionary
from llmcache.keys import key_of_identity
from llmcache.keys.canonical import canonical_bytes
from llmcache.types import CacheEntry, Recording


def made(number: int, *, created_at: float = 1_700_000_000.0, text: str = "answer") -> CacheEntry:
    """Return an entry whose key is that of its request."""
    body = {"model": f"m{number % 3}", "messages": [{"role": "user", "content": f"q{number}"}]}
    identity = canonical_bytes({"v": 1, "kind": "chat", "body": body})
    return CacheEntry(
        key=key_of_identity(identity),
        recording=Recording(body=f'{{"id": "{number}", "text": "{text}"}}'.encode() * 3),
        kind="chat",
        model=f"m{number % 3}",
        tags=(f"t{number % 5}", "größe"),
        created_at=created_at,
        expires_at=4_000_000_000.0 if number % 2 else None,
        keep_until=4_000_000_100.0 if number % 2 else None,
        duration=0.5,
        cost="0.25",
        answered_by=f"m{number % 3}-2026",
        identity=identity,
    )


def stored(entry: CacheEntry, codec: Codec | None = None, dictionary: int = 0) -> StoredEntry:
    """Return an entry as the cache writes it."""
    data = (codec or Codec()).encode(entry, dictionary_id=dictionary)
    return StoredEntry(entry.key, data, entry.model, entry.tags, entry.created_at, entry.keep_until)


async def fill(backend: Backend, entries: Sequence[CacheEntry], collection: str = "one") -> None:
    """Store entries, every other one with a dictionary of the collection's own, if it keeps any."""
    codec, dictionary = Codec(), 0
    if isinstance(backend, SupportsDictionaries):
        trained = dictionary_for(collection)
        codec.add(trained)
        await backend.put_dictionary(collection, trained.data)
        dictionary = trained.id
    frames = [stored(entry, codec, dictionary if n % 2 else 0) for n, entry in enumerate(entries)]
    for start in range(0, len(frames), 1_000):
        await backend.put(collection, frames[start : start + 1_000])


def dictionary_for(collection: str) -> Dictionary:
    """Return a dictionary that no other collection has."""
    samples = [
        part
        for number in range(300)
        for part in Codec().parts(made(number, text=f"{collection} {number * number}"))
    ]
    return train_dictionary(samples)


async def contents(backend: Backend) -> dict[tuple[str, str], CacheEntry]:
    """Return every entry, read as by a cache that knows this backend alone."""
    found = {}
    codecs: dict[str, Codec] = {}
    async for info in backend.scan():
        codec = codecs.get(info.collection)
        if codec is None:
            codec = codecs[info.collection] = Codec()
            codec.add(_base_dictionary.load())
            if isinstance(backend, SupportsDictionaries):
                for data in await backend.dictionaries(info.collection):
                    codec.add(Dictionary(data))
        data = (await backend.get(info.collection, [info.key]))[info.key]
        found[info.collection, info.key] = codec.decode(info.key, data)
    return found
