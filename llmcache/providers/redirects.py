"""Sending a request to where it has moved, without what only the first server may see."""

from __future__ import annotations

from typing import Any, Final

__all__ = ["send"]

# Headers that say something about the body, and nothing about who sends it.
_ANYONES: Final = frozenset(
    "accept accept-encoding connection content-length content-type host transfer-encoding "
    "user-agent".split()
)


async def send(client: Any, request: Any, library: Any) -> Any:
    """Return the open response to `request`, after the redirects if `client` follows them.

    `library` is the client's own, httpx or httpx2. It would take every header but
    `authorization` and cookies along to another server; here, all that may name the
    caller stay behind.

    Raises:
        TooManyRedirects: the library's, as all it raises itself.
    """
    response = await client.send(request, stream=True, follow_redirects=False)
    hops = 0
    while client.follow_redirects and response.next_request is not None:
        await response.aclose()
        hops += 1
        if hops > client.max_redirects:
            msg = f"more than {client.max_redirects} redirects"
            raise library.TooManyRedirects(msg, request=request)
        request = _moved(request, response.next_request)
        # What the client's own `auth` has added is a header by now, kept or left behind like others.
        response = await client.send(request, stream=True, auth=None, follow_redirects=False)
    return response


def _moved(request: Any, following: Any) -> Any:
    if not _same_server(request.url, following.url):
        for name in following.headers.keys() - _ANYONES:
            del following.headers[name]
    return following


def _same_server(here: Any, there: Any) -> bool:
    upgraded = (here.scheme, here.port, there.scheme, there.port) == ("http", None, "https", None)
    same = (here.scheme, here.port) == (there.scheme, there.port)
    return here.host == there.host and (same or upgraded)
