"""Units of work: a block that reads, or a block whose writes are committed together at its end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_sessionmaker

from embergate.errors import UnavailableError
from embergate.storage import failures
from embergate.storage.direct import WorkConnection
from embergate.storage.engines import DialectName, Engines, open_engines
from embergate.storage.uncancelled import to_the_end

POOL_SIZE: Final = 8
T = TypeVar("T")


class Database:
    """A database, SQLite or PostgreSQL. Whoever opens it closes it, else its threads and connections stay."""

    def __init__(self, engines: Engines) -> None:
        """Serve from these engines; `open` makes them from a URL."""
        self._engines = engines
        self._read = async_sessionmaker(engines.reading, expire_on_commit=False)
        self._write = async_sessionmaker(engines.writing, expire_on_commit=False)

    @classmethod
    def open(cls, url: str, *, pool_size: int = POOL_SIZE, statement_timeout_s: float | None = None) -> Database:
        """Return the database at `sqlite:///path` or `postgresql://user:password@host/name`; connect at first use.

        Units: `pool_size` is the most connections at once; SQLite has one more, to write with. A statement that reads for
        longer than `statement_timeout_s` fails with a RequestTimeoutError, lest a few callers keep every connection.
        Raises: ConfigurationError if the URL is not valid, or PostgreSQL's driver is not installed.
        """
        return cls(open_engines(url, pool_size=pool_size, statement_timeout_s=statement_timeout_s))

    @property
    def dialect(self) -> DialectName:
        """Return which of the two it is."""
        return self._engines.dialect

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """Hand out a session that sees the rows as they are at its first statement, holds up no writer, and cannot write.

        Raises: UnavailableError if the database cannot be reached.
        """
        async with _connection_in_time(), self._read() as db:
            yield db

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncSession]:
        """Hand out a session whose writes are committed at the end of the block, and undone if it raises or is cancelled.

        The transaction begins at the first statement. On SQLite it is then the only one that writes, and others wait
        for its end in the order they came: do slow work before the block, and never open one inside another.

        Raises: UnavailableError if the database cannot be reached, is locked for too long, or its disk is full. What
        was written is then undone; only a connection that breaks during the commit leaves open whether it happened.
        """
        async with _connection_in_time(), self._write() as db:
            yield db
            await to_the_end(db.commit())

    async def write(self, work: Callable[[WorkConnection], T]) -> T:
        """Do synchronous work in one transaction, and return what it returns once that is committed.

        As `writing`, for the few transactions that every request waits for: on SQLite it takes a fraction of the time.
        Raises: as the work does, and UnavailableError as `writing`.
        """
        if self._engines.direct is not None:
            return await to_the_end(self._engines.direct.run(work))
        async with self.writing() as db:
            return await (await db.connection()).run_sync(work)

    @asynccontextmanager
    async def migrating(self) -> AsyncIterator[AsyncConnection]:
        """Hand out a connection of its own, in one transaction, for changing the schema; on SQLite without foreign keys."""
        async with self._engines.migrating.begin() as connection:
            yield connection

    async def close(self) -> None:
        """Close every connection; units of work must have ended."""
        for engine in (self._engines.reading, self._engines.writing, self._engines.migrating):
            await engine.dispose()


@asynccontextmanager
async def _connection_in_time() -> AsyncIterator[None]:
    try:
        yield
    except PoolTimeoutError as error:
        raise UnavailableError(failures.BUSY) from error
