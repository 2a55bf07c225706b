"""What the URL of a Redis says, as far as redis-py does not read it itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from ..errors import ConfigurationError
from ._urls import has_numbered_ports, scheme_of

__all__ = ["Behind", "behind_sentinel", "check_url", "is_cluster", "is_sentinel"]

_SINGLE: Final = ("redis", "rediss", "unix")
_SENTINEL: Final = ("redis+sentinel", "rediss+sentinel")
_CLUSTER: Final = ("redis+cluster", "rediss+cluster")
_SENTINEL_PORT: Final = 26379
# What Sentinel itself takes for the name of a service.
_SERVICE: Final = re.compile(r"[A-Za-z0-9._-]+")
_LOGIN: Final = ("sentinel_username", "sentinel_password")
_TLS: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs")
_TLS_YES_NO: Final = "ssl_check_hostname"
_YES_NO: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


class Behind(NamedTuple):
    """A server that Sentinels know: where these are, and what the connections to each are given."""

    sentinels: tuple[tuple[str, int], ...]
    service: str
    db: int
    to_sentinels: Mapping[str, Any]
    to_server: Mapping[str, Any]


def check_url(url: object) -> None:
    """Do nothing when `url` is one of Redis.

    Raises:
        ConfigurationError: it is not. The URL is not repeated: it may hold a password.
    """
    scheme = scheme_of(url)
    known = (*_SINGLE, *_SENTINEL, *_CLUSTER)
    if scheme not in known:
        msg = f"redis_url must start with {', '.join(known)} and ://, not {scheme}"
        raise ConfigurationError(msg)
    if scheme in _SENTINEL:
        behind_sentinel(str(url))
        return
    if not has_numbered_ports(str(url)):
        raise _unreadable("a port is no number, or the password needs quoting")
    if "decode_responses" in dict(parse_qsl(urlsplit(str(url)).query)):
        msg = "redis_url: leave decode_responses out: entries are bytes, and no text"
        raise ConfigurationError(msg)


def is_cluster(url: str) -> bool:
    """Return whether a URL, which `check_url` let pass, is one of a cluster."""
    return url.partition("://")[0] in _CLUSTER


def is_sentinel(url: str) -> bool:
    """Return whether a URL, which `check_url` let pass, is one of Sentinels."""
    return url.partition("://")[0] in _SENTINEL


def behind_sentinel(url: str) -> Behind:
    """Return what `redis+sentinel://[user:password@]host[:port],…/<service>[/<db>][?settings]` says.

    With `rediss+sentinel` the connections to the Sentinels use TLS as well.

    Raises:
        ConfigurationError: it says something else; what is said is not repeated.
    """
    scheme, _, rest = url.partition("://")
    place, _, query = rest.partition("?")
    authority, _, path = place.partition("/")
    login, _, hosts = authority.rpartition("@")
    service, _, db = path.strip("/").partition("/")
    if not service:
        msg = "redis_url: a Sentinel's URL ends in the service's name, as in …:26379/mymaster"
        raise ConfigurationError(msg)
    if "#" in rest or not _SERVICE.fullmatch(service) or not re.fullmatch("[0-9]{0,9}", db):
        raise _unreadable("service or database is none, or the password needs quoting")
    settings = dict(parse_qsl(query, keep_blank_values=True))
    login_there = _login(*(settings.pop(name, "") for name in _LOGIN))
    tls = _tls(settings, is_used=scheme.startswith("rediss"))
    return Behind(
        tuple(_host_and_port(each) for each in hosts.split(",")),
        service,
        int(db or 0),
        login_there | tls,
        _login(*(unquote(each) for each in login.partition(":")[::2])) | tls,
    )


def _login(user: str, password: str) -> dict[str, Any]:
    """Return what redis-py logs in with; a user without a password is none."""
    return {"username": user or None, "password": password} if password else {}


def _tls(settings: Mapping[str, str], *, is_used: bool) -> dict[str, Any]:
    """Return what redis-py makes connections with; settings that nobody heeds are refused."""
    known = (*_TLS, _TLS_YES_NO) if is_used else ()
    check_hostname = _YES_NO.get(settings.get(_TLS_YES_NO, "true").lower())
    if not settings.keys() <= set(known) or check_hostname is None:
        msg = (
            f"redis_url: a Sentinel's URL takes {', '.join(_LOGIN)} and, with rediss+sentinel, "
            f"{', '.join(_TLS)} and {_TLS_YES_NO} (true or false); for more, give a client"
        )
        raise ConfigurationError(msg)
    if not is_used:
        return {}
    said = {_TLS_YES_NO: check_hostname} if _TLS_YES_NO in settings else {}
    return {"ssl": True, **settings, **said}


def _host_and_port(place: str) -> tuple[str, int]:
    """Return where a Sentinel listens; the brackets of an IPv6 address are left out."""
    try:
        parts = urlsplit(f"//{place}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or (port is None and place.rpartition("]")[2].count(":")):
        raise _unreadable("a Sentinel's host or port is none, or the password needs quoting")
    return unquote(host), _SENTINEL_PORT if port is None else port


def _unreadable(why: str) -> ConfigurationError:
    return ConfigurationError(f"redis_url cannot be read: {why}")
