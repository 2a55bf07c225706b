"""What asyncpg raises, as ours; and the driver itself, which is an extra."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Generator
from typing import Any, Final
from urllib.parse import urlsplit

from ..errors import BackendUnavailableError, ConfigurationError, MissingExtraError
from ._urls import has_numbered_ports, scheme_of

__all__ = ["check_dsn", "driver", "failures", "lost", "ours", "translated"]

_SCHEMES: Final = ("postgresql://", "postgres://")


@contextlib.contextmanager
def translated(operation: str) -> Generator[None, None, None]:
    """Turn what asyncpg raises into ours."""
    try:
        yield
    except failures() as error:
        raise ours(operation, error) from error


def failures() -> tuple[type[Exception], ...]:
    """Return what asyncpg raises when a server refuses, or cannot be reached."""
    asyncpg = driver()
    return (
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        asyncpg.InternalClientError,  # of a connection that broke in the middle of something
        OSError,
        TimeoutError,
    )


def ours(operation: str, error: Exception) -> BackendUnavailableError | ConfigurationError:
    """Return our error for one of `failures`."""
    asyncpg = driver()
    if operation == "open":
        for kind, hint in (
            (asyncpg.InvalidPasswordError, "check the user and password in pg_dsn"),
            (asyncpg.InvalidAuthorizationSpecificationError, "check the user in pg_dsn"),
            (asyncpg.exceptions.ClientConfigurationError, "correct pg_dsn"),
            (asyncpg.InvalidCatalogNameError, "create the database, or name another in pg_dsn"),
            (
                asyncpg.InsufficientPrivilegeError,
                "the user needs this right, or another must upgrade",
            ),
        ):
            if isinstance(error, kind):
                return ConfigurationError(f"Postgres: {error}; {hint}")
    text = str(error) or type(error).__name__
    return BackendUnavailableError(text, backend="pg", operation=operation)


def lost() -> tuple[type[Exception], ...]:
    """Return what says that a connection was lost, and not that a statement was refused."""
    asyncpg = driver()
    return (
        asyncpg.PostgresConnectionError,
        asyncpg.AdminShutdownError,
        asyncpg.CrashShutdownError,
        asyncpg.InterfaceError,
        asyncpg.InternalClientError,
        OSError,
    )


def driver() -> Any:
    """Return the module asyncpg; raises `MissingExtraError` where it is not installed."""
    try:
        return importlib.import_module("asyncpg")
    except ImportError as error:
        raise MissingExtraError("cache_backend='pg'", "pg") from error


def check_dsn(dsn: str | None) -> None:
    """Do nothing when `dsn` names a Postgres database.

    Raises:
        ConfigurationError: it does not.
    """
    if dsn is None:
        msg = "pg_dsn is missing: give it or set PG_DSN, as in postgresql://user:password@host/name"
        raise ConfigurationError(msg)
    if not isinstance(dsn, str) or not dsn.startswith(_SCHEMES):
        msg = f"pg_dsn must start with postgresql://, not {scheme_of(dsn)}"
        raise ConfigurationError(msg)
    # asyncpg takes what follows the first @ for hosts.
    if not has_numbered_ports(dsn) or urlsplit(dsn).netloc.count("@") > 1:
        msg = "pg_dsn cannot be read: a port is no number, or the password needs quoting"
        raise ConfigurationError(msg)
