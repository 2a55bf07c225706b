"""One Postgres database: a pool opened when it is first needed, a schema that is up to date.

Nothing here relies on the state of a session (but for leases, see `postgres.py`), so
that PgBouncer may hand out connections by the transaction.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from ..errors import BackendUnavailableError, ConfigurationError, MissingExtraError
from ._batches import AT_ONCE
from ._deadlines import Deadlines
from ._loop_bound import LoopBound
from ._pg_sql import migrations, statements
from ._urls import has_numbered_ports, scheme_of

__all__ = ["Database", "check_dsn", "translated"]

T = TypeVar("T")

_MIGRATE: Final = "migrate.sql"
# As many reads are under way at once: see `Batches`.
_READERS: Final = AT_ONCE
_SCHEMES: Final = ("postgresql://", "postgres://")


class _Opened:
    """The pool of a loop, and the task that opens it."""

    def __init__(self) -> None:
        self.pool: Any = None
        self.divided = False
        self.opening: asyncio.Task[None] | None = None
        # Connections that wait for the next read.
        self.readers: list[Any] = []


class Database:
    """Runs statements; a connection that was lost is replaced once."""

    def __init__(
        self,
        dsn: str | None,
        *,
        pool: Any,
        max_connections: int,
        statement_timeout: float,
        statement_cache_size: int,
        migrate: bool,
    ) -> None:
        """Arguments as the backend's. Connects nothing yet."""
        self._dsn = dsn
        self._given = pool
        self._max_connections = max_connections
        self._timeout = statement_timeout
        self._cache_size = statement_cache_size
        self._migrate = migrate
        self._deadlines = Deadlines()
        self._bound = LoopBound(_Opened)

    async def fetch(self, operation: str, sql: str, *arguments: Any) -> Sequence[Any]:
        """Return the rows of a statement. Every statement of ours may be made twice.

        Raises:
            BackendUnavailableError: the server cannot be reached, or refused.
        """
        pool = self._bound.get().pool or await self._opened(operation)
        with translated(operation):
            try:
                rows: Sequence[Any] = await pool.fetch(sql, *arguments)
            except _lost() as error:
                if isinstance(error, TimeoutError):
                    raise
                rows = await pool.fetch(sql, *arguments)
            return rows

    async def read(self, operation: str, sql: str, *arguments: Any) -> Sequence[Any]:
        """As `fetch`, for the hot path: on connections of its own, since a pool costs as much as a row."""
        opened = self._bound.get()
        if opened.pool is None:
            await self._opened(operation)
        if self._given is not None:
            return await self.fetch(operation, sql, *arguments)
        try:
            reader = opened.readers.pop() if opened.readers else await self._reader()
            try:
                with self._deadlines.limit(self._timeout):
                    rows: Sequence[Any] = await reader.fetch(sql, *arguments)
            except BaseException:
                reader.terminate()  # to end the statement politely would hold up who has given up
                raise
            opened.readers.append(reader)
        except _lost() as error:
            if isinstance(error, TimeoutError):
                raise _ours(operation, error) from error
            return await self.fetch(operation, sql, *arguments)
        except _failures() as error:
            raise _ours(operation, error) from error
        return rows

    async def _reader(self) -> Any:
        return await _driver().connect(
            self._dsn, timeout=self._timeout, statement_cache_size=self._cache_size
        )

    async def transact(self, operation: str, work: Callable[[Any], Awaitable[T]]) -> T:
        """Return what `work` makes of a connection, in one transaction. It may be made twice.

        Raises:
            BackendUnavailableError: the server cannot be reached, or refused; nothing is changed.
        """
        pool = self._bound.get().pool or await self._opened(operation)

        async def attempt() -> T:
            async with pool.acquire(timeout=self._timeout) as connection, connection.transaction():
                return await work(connection)

        with translated(operation):
            try:
                return await attempt()
            except _lost() as error:
                if isinstance(error, TimeoutError):
                    raise
                return await attempt()

    @property
    def is_divided(self) -> bool:
        """Whether the entries were in partitions when the pool of this loop was opened."""
        return self._bound.get().divided

    async def _opened(self, operation: str) -> Any:
        """As `open`, for a call that a wrong setting must not fail."""
        try:
            return await self.open()
        except MissingExtraError:
            raise
        except ConfigurationError as error:
            raise BackendUnavailableError(str(error), backend="pg", operation=operation) from error

    async def open(self) -> Any:
        """Return the pool, with the schema there and up to date.

        All that come meanwhile wait for one attempt. It goes on when they leave: were it
        theirs, a server that is slow to open would be opened anew by every caller, and by
        none to the end.

        Raises:
            ConfigurationError: wrong password, no such database, no privilege, a schema
                of a later version; or one that is missing, where `migrate` is off.
            BackendUnavailableError: the server cannot be reached.
        """
        opened = self._bound.get()
        if opened.pool is None:
            if opened.opening is None or opened.opening.done():
                opened.opening = asyncio.create_task(self._open(opened))
                opened.opening.add_done_callback(_consume)
            await asyncio.shield(opened.opening)
        return opened.pool

    async def _open(self, opened: _Opened) -> None:
        with translated("open"):
            opened.pool, opened.divided = await self._prepared()

    async def upgrade(self) -> list[int]:
        """Apply the migrations that are missing, and return their numbers; raises as `open`."""
        with translated("open"):
            pool = self._given or await self._connected()
            try:
                async with pool.acquire(timeout=self._timeout) as connection:
                    return await _upgrade(connection)
            finally:
                if pool is not self._given:
                    await pool.close()

    async def _prepared(self) -> tuple[Any, bool]:
        pool = self._given or await self._connected()
        try:
            return pool, await self._prepare(pool)
        except BaseException:
            if pool is not self._given:
                pool.terminate()
            raise

    async def _connected(self) -> Any:
        driver = _driver()
        pool: Any = await driver.create_pool(
            self._dsn,
            min_size=0,  # to hold one open, the pool would retry by itself, with a log of its own
            max_size=max(1, self._max_connections - _READERS),
            command_timeout=self._timeout,
            timeout=self._timeout,
            statement_cache_size=self._cache_size,
            # No statement of ours changes its session: to reset it costs a round trip each time.
            reset=_as_it_is,
        )
        return pool

    async def aclose(self) -> None:
        """Close the pool if it is ours."""
        opened = self._bound.get()
        if opened.opening is not None and not opened.opening.done():
            opened.opening.cancel()
            await asyncio.wait({opened.opening})
        pool, opened.pool = opened.pool, None
        readers, opened.readers = opened.readers, []
        if pool is None or pool is self._given:
            return
        try:
            async with asyncio.timeout(self._timeout):
                for reader in readers:
                    await reader.close()
                await pool.close()
        except _failures():
            for reader in readers:
                reader.terminate()
            pool.terminate()

    # --- a session, for what lives as long as one --------------------------------------------

    async def connect(self, operation: str) -> Any:
        """Return a connection of its own, for `on` and `disconnect`."""
        pool = self._bound.get().pool or await self._opened(operation)
        with translated(operation):
            if self._given is not None:
                return await pool.acquire(timeout=self._timeout)
            return await _driver().connect(
                self._dsn, timeout=self._timeout, command_timeout=self._timeout
            )

    async def on(self, session: Any, operation: str, sql: str, *arguments: Any) -> Any:
        """Return the first value that a statement gives on `session`."""
        with translated(operation):
            return await session.fetchval(sql, *arguments)

    async def disconnect(self, session: Any) -> None:
        """Close a session; what it holds on the server is free then."""
        try:
            async with asyncio.timeout(self._timeout):
                if self._given is None:
                    await session.close()
                else:
                    await self._given.release(session)
        except _failures():
            session.terminate()

    # --- the schema ----------------------------------------------------------------------------

    async def _prepare(self, pool: Any) -> bool:
        """Bring the schema up to date; return whether the entries are in partitions."""
        async with pool.acquire(timeout=self._timeout) as connection:
            async with asyncio.timeout(self._timeout):
                missing = await _missing(connection)
            if missing and not self._migrate:
                msg = f"the schema lacks migrations {missing}; run `llmcache db upgrade`"
                raise ConfigurationError(msg)
            if missing:
                await _upgrade(connection)
            divided: bool = await connection.fetchval(statements(_MIGRATE)["divided"])
            return divided


async def _as_it_is(_: Any) -> None:
    """Leave a connection as it is."""


def _consume(task: asyncio.Task[None]) -> None:
    """Let a failure that nobody waited for be no news."""
    if not task.cancelled():
        task.exception()


async def _missing(connection: Any) -> list[int]:
    """Return the numbers of the migrations that are still to be applied."""
    sql = statements(_MIGRATE)
    known = [migration.number for migration in migrations()]
    if not await connection.fetchval(sql["known"]):
        return known
    applied = [row[0] for row in await connection.fetch(sql["applied"])]
    if applied and applied[-1] > known[-1]:
        msg = (
            f"the schema has migration {applied[-1]}, and this version of llmcache knows "
            f"{known[-1]}: upgrade llmcache"
        )
        raise ConfigurationError(msg)
    return [number for number in known if number not in applied]


async def _upgrade(connection: Any) -> list[int]:
    """Apply what is missing, all of it or nothing; others that start meanwhile wait."""
    sql = statements(_MIGRATE)
    async with connection.transaction():
        await connection.execute(sql["lock"])
        await connection.execute(sql["begin"])
        missing = await _missing(connection)
        for migration in migrations():
            if migration.number in missing:
                await connection.execute(migration.sql)
                await connection.execute(sql["note"], migration.number, migration.name)
    return missing


# --- errors --------------------------------------------------------------------------------------


@contextlib.contextmanager
def translated(operation: str) -> Generator[None, None, None]:
    """Turn what asyncpg raises into ours."""
    try:
        yield
    except _failures() as error:
        raise _ours(operation, error) from error


def _failures() -> tuple[type[Exception], ...]:
    """Return what asyncpg raises when a server refuses, or cannot be reached."""
    driver = _driver()
    return (
        driver.PostgresError,
        driver.InterfaceError,
        driver.InternalClientError,  # of a connection that broke in the middle of something
        OSError,
        TimeoutError,
    )


def _ours(operation: str, error: Exception) -> BackendUnavailableError | ConfigurationError:
    driver = _driver()
    if operation == "open":
        for kind, hint in (
            (driver.InvalidPasswordError, "check the user and password in pg_dsn"),
            (driver.InvalidAuthorizationSpecificationError, "check the user in pg_dsn"),
            (driver.exceptions.ClientConfigurationError, "correct pg_dsn"),
            (driver.InvalidCatalogNameError, "create the database, or name another in pg_dsn"),
            (
                driver.InsufficientPrivilegeError,
                "the user needs this right, or another must upgrade",
            ),
        ):
            if isinstance(error, kind):
                return ConfigurationError(f"Postgres: {error}; {hint}")
    text = str(error) or type(error).__name__
    return BackendUnavailableError(text, backend="pg", operation=operation)


def _lost() -> tuple[type[Exception], ...]:
    """Return what says that a connection was lost, and not that a statement was refused."""
    driver = _driver()
    return (
        driver.PostgresConnectionError,
        driver.AdminShutdownError,
        driver.CrashShutdownError,
        driver.InterfaceError,
        driver.InternalClientError,
        OSError,
    )


def _driver() -> Any:
    try:
        return importlib.import_module("asyncpg")
    except ImportError as error:
        raise MissingExtraError("cache_backend='pg'", "pg") from error


def check_dsn(dsn: str | None) -> None:
    """Do nothing when `dsn` names a Postgres database.

    Raises:
        ConfigurationError: it does not.
    """
    if not isinstance(dsn, str) or not dsn.startswith(_SCHEMES):
        msg = f"pg_dsn must start with postgresql://, not {scheme_of(dsn)}"
        raise ConfigurationError(msg)
    # asyncpg takes what follows the first @ for hosts.
    if not has_numbered_ports(dsn) or urlsplit(dsn).netloc.count("@") > 1:
        msg = "pg_dsn cannot be read: a port is no number, or the password needs quoting"
        raise ConfigurationError(msg)
