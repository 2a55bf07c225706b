"""What the URLs of servers have in common."""

from __future__ import annotations

from urllib.parse import urlsplit

__all__ = ["has_numbered_ports", "scheme_of"]


def scheme_of(url: object) -> str:
    """Return the scheme of a URL, or what stands there instead, fit to be shown.

    What no `://` follows may be a password: it is not repeated.
    """
    if not isinstance(url, str):
        return type(url).__name__
    scheme, colon, _ = url.partition("://")
    return scheme if colon and scheme.replace("+", "").isalnum() else "something without a scheme"


def has_numbered_ports(url: str) -> bool:
    """Return whether every port in `url`, of one host or of several, is a number.

    Where a user or password holds an unquoted `/`, `?` or `#`, what comes before it is
    taken for host and port. Drivers repeat that in their errors.
    """
    try:
        netloc = urlsplit(url).netloc
    except ValueError:  # brackets that are no address
        return False
    for place in netloc.rpartition("@")[2].split(","):
        _, colon, port = place.rpartition("]")[2].rpartition(":")
        if colon and port and not (port.isascii() and port.isdigit()):
            return False
    return True
