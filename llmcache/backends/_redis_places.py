"""Where in a Redis things stand: every name begins with the prefix and the collection's tag."""

from __future__ import annotations

from ..errors import ConfigurationError

__all__ = ["Places", "bucket_of", "literal"]


class Places:
    """The names of one backend's keys and channels."""

    def __init__(self, prefix: str) -> None:
        """`prefix` sets the names apart from those of others on the same server.

        Raises:
            ConfigurationError: it is no text, or has a blank or a brace: the first braces of a
                name choose the node of a cluster, and are the collection's.
        """
        is_text = isinstance(prefix, str) and prefix.isascii() and prefix.isprintable()
        if not is_text or not prefix or any(each in prefix for each in " {}"):
            msg = "prefix must be printable ASCII without blanks and braces"
            raise ConfigurationError(msg)
        self._prefix = prefix

    def _tag(self, collection: str) -> str:
        return f"{self._prefix}:{{{collection}}}"

    def _place(self, collection: str, key: str) -> str:
        return f"{self._prefix}:{{{collection}}}:e:{key}"

    def _counter(self, collection: str, key: str) -> str:
        """Return the place of the counter of a key's bucket: one in 256, by its digits."""
        return f"{self._tag(collection)}:n:{bucket_of(key)}"

    def _revision(self, collection: str) -> str:
        return f"{self._tag(collection)}:r"

    def _clock(self, collection: str) -> str:
        """Return the place of the last version that was drawn here."""
        return f"{self._tag(collection)}:v"

    def _lease_place(self, collection: str, key: str) -> str:
        return f"{self._tag(collection)}:l:{key}"

    def _channel(self, collection: str) -> str:
        return f"{self._tag(collection)}:news"


def bucket_of(key: str) -> str:
    """Return the first two of a key's digits."""
    start = key.index(":") + 1
    return key[start : start + 2]


def literal(text: str) -> str:
    """Return `text` as a pattern that matches it alone."""
    return "".join(f"\\{char}" if char in r"*?[]\^" else char for char in text)
