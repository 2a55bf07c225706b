"""One Postgres database: a pool opened when it is first needed, a schema that is up to date.

Nothing here relies on the state of a session (but for leases, see `postgres.py`), so
that PgBouncer may hand out connections by the transaction.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

from ..errors import BackendUnavailableError, ConfigurationError, MissingExtraError
from ._batches import AT_ONCE
from ._deadlines import Deadlines
from ._loop_bound import LoopBound, spawn
from ._pg_errors import driver, failures, lost, ours, translated
from ._pg_sql import WITHIN, migrations, statements

__all__ = ["Database"]

T = TypeVar("T")

_MIGRATE: Final = "migrate.sql"
# Seconds for the server to end what nobody waits for any more.
_ENDING: Final = 2.0


class _Opened:
    """The pool of a loop, and the task that opens it."""

    def __init__(self) -> None:
        self.pool: Any = None
        self.divided = False
        self.opening: asyncio.Task[None] | None = None
        # Connections that wait for the next read.
        self.readers: list[Any] = []
        self.tasks: set[asyncio.Task[None]] = set()


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
        self.readers = min(AT_ONCE, max_connections - 1)
        """How many connections are for `read` alone; without any it takes those of the pool."""
        self._pooled = max_connections - self.readers
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

        async def attempt(connection: Any) -> Sequence[Any]:
            rows: Sequence[Any] = await connection.fetch(sql, *arguments)
            return rows

        return await self._twice(operation, attempt)

    async def _twice(self, operation: str, work: Callable[[Any], Awaitable[T]]) -> T:
        """Return what `work` makes of a connection, or of a second one where the first was lost."""
        pool = self._bound.get().pool or await self._opened(operation)
        with translated(operation):
            try:
                async with self._borrowed(pool) as connection:
                    return await work(connection)
            except lost() as error:
                if isinstance(error, TimeoutError):
                    raise
                async with self._borrowed(pool) as connection:
                    return await work(connection)

    @contextlib.asynccontextmanager
    async def _borrowed(self, pool: Any) -> AsyncGenerator[Any, None]:
        """Yield a connection of `pool`.

        Who gives up does not wait for the server, which may not answer for long, to end
        the statement: that goes on behind the call, and costs the connection.
        """
        connection = await pool.acquire(timeout=self._timeout)
        try:
            yield connection
        except (asyncio.CancelledError, TimeoutError):
            spawn(self._bound.get().tasks, _end(connection))
            raise
        except BaseException:
            await pool.release(connection)
            raise
        await pool.release(connection)

    async def read(self, operation: str, sql: str, *arguments: Any) -> Sequence[Any]:
        """As `fetch`, for the hot path: on connections of its own, since a pool costs as much as a row."""
        opened = self._bound.get()
        if opened.pool is None:
            await self._opened(operation)
        if self._given is not None or not self.readers:
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
        except lost() as error:
            if isinstance(error, TimeoutError):
                raise ours(operation, error) from error
            return await self.fetch(operation, sql, *arguments)
        except failures() as error:
            raise ours(operation, error) from error
        return rows

    async def _reader(self) -> Any:
        return await driver().connect(
            self._dsn, timeout=self._timeout, statement_cache_size=self._cache_size
        )

    async def transact(self, operation: str, work: Callable[[Any], Awaitable[T]]) -> T:
        """Return what `work` makes of a connection, in one transaction. It may be made twice.

        Raises:
            BackendUnavailableError: the server cannot be reached, or refused; nothing is changed.
        """

        async def attempt(connection: Any) -> T:
            transaction = connection.transaction()
            await transaction.start()
            try:
                made = await work(connection)
            except Exception as error:
                # One whose time is over ends with its connection.
                if not isinstance(error, TimeoutError):
                    await transaction.rollback()
                raise
            await transaction.commit()
            return made

        return await self._twice(operation, attempt)

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
        pool: Any = await driver().create_pool(
            self._dsn,
            min_size=0,  # to hold one open, the pool would retry by itself, with a log of its own
            max_size=self._pooled,
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
        if opened.tasks:
            await asyncio.wait(opened.tasks)  # the ends of what was given up; each takes a moment
        if pool is None or pool is self._given:
            return
        try:
            async with asyncio.timeout(self._timeout):
                for reader in readers:
                    await reader.close()
                await pool.close()
        except failures():
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
            return await driver().connect(
                self._dsn, timeout=self._timeout, command_timeout=self._timeout
            )

    async def on(self, session: Any, operation: str, sql: str, *arguments: Any) -> Any:
        """Return the first value that a statement gives on `session`."""
        with translated(operation):
            return await session.fetchval(sql, *arguments, timeout=self._timeout)

    @staticmethod
    def is_lost(session: Any) -> bool:
        """Return whether a session has ended, and what it held on the server is free."""
        try:
            return bool(session.is_closed())
        except driver().InterfaceError:  # the pool that was given has taken it back
            return True

    def lose(self, session: Any) -> None:
        """End a session at once, unless it has."""
        if not self.is_lost(session):
            session.terminate()

    async def disconnect(self, session: Any) -> None:
        """Close a session; what it holds on the server is free then."""
        try:
            async with asyncio.timeout(self._timeout):
                if self._given is None:
                    await session.close()
                else:
                    await self._given.release(session)
        except failures():
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


async def _end(connection: Any) -> None:
    """Have the server end what a connection does, and close it."""
    with contextlib.suppress(*failures()):
        async with asyncio.timeout(_ENDING):
            await connection.close()


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
    """Apply what is missing, all of it or nothing; others that start meanwhile wait.

    It may take long: an index of a large table takes minutes.

    Raises:
        BackendUnavailableError: others hold the tables; it says who.
    """
    sql = statements(_MIGRATE)
    try:
        async with connection.transaction():
            await connection.execute(sql["lock"], timeout=WITHIN)
            await connection.execute(sql["begin"])
            missing = await _missing(connection)
            for migration in migrations():
                if migration.number in missing:
                    await connection.execute(migration.sql, timeout=WITHIN)
                    await connection.execute(sql["note"], migration.number, migration.name)
    except driver().LockNotAvailableError as error:
        others = [row["who"] for row in await connection.fetch(sql["holders"])]
        msg = (
            f"to upgrade, the tables must be free for a moment, and others hold them: "
            f"{', '.join(others) or 'they have gone'}; end them or wait, then upgrade again"
        )
        raise BackendUnavailableError(msg, backend="pg", operation="open") from error
    return missing
