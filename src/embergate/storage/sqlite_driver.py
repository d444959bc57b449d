"""SQLAlchemy's driver for aiosqlite with one hop to the connection's thread a statement, where the original makes four.

A hop costs about as much as a small statement: to make a cursor, run the statement, fetch its rows and close the cursor each by
itself takes most of a call's time.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import aiosqlite
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.aiosqlite import (
    AsyncAdapt_aiosqlite_connection,
    AsyncAdapt_aiosqlite_cursor,
    AsyncAdapt_aiosqlite_dbapi,
    SQLiteDialect_aiosqlite,
)
from sqlalchemy.util.concurrency import await_only

from embergate.storage.uncancelled import to_the_end

DRIVER: Final = "sqlite+embergate"


@dataclass(slots=True)
class _Outcome:
    """What is left of a cursor that was closed."""

    description: Any = None
    rowcount: int = -1
    lastrowid: int = 0
    arraysize: int = 1


class _Cursor(AsyncAdapt_aiosqlite_cursor):
    """Runs a statement and fetches all its rows in one go."""

    __slots__ = ()

    def __init__(self, adapt_connection: AsyncAdapt_aiosqlite_connection) -> None:
        self._adapt_connection = adapt_connection
        self._connection = adapt_connection._connection
        self._cursor = _Outcome()  # type: ignore[assignment]
        self._soft_closed_memoized = {}  # type: ignore[assignment]
        self._rows = deque()

    async def _execute_async(self, operation: Any, parameters: Any) -> None:
        await self._run(lambda cursor: cursor.execute(operation, parameters or ()))

    async def _executemany_async(self, operation: Any, seq_of_parameters: Any) -> None:
        await self._run(lambda cursor: cursor.executemany(operation, seq_of_parameters))

    async def _run(self, execute: Callable[[sqlite3.Cursor], object]) -> None:
        driver: Any = self._connection
        async with self._adapt_connection._execute_mutex:
            self._cursor, rows = await driver._execute(_in_one_go, driver._conn, execute)
            self._rows = deque(rows)

    async def _async_soft_close(self) -> None:
        """Do nothing: it is closed."""

    def close(self) -> None:
        """Forget the rows."""
        self._rows.clear()


def _in_one_go(
    connection: sqlite3.Connection, execute: Callable[[sqlite3.Cursor], object]
) -> tuple[_Outcome, Sequence[Any]]:
    cursor = connection.cursor()
    try:
        execute(cursor)
        rows = cursor.fetchall() if cursor.description else ()
        return _Outcome(cursor.description, cursor.rowcount, cursor.lastrowid or 0), rows
    finally:
        cursor.close()


class _Connection(AsyncAdapt_aiosqlite_connection):
    __slots__ = ()
    _cursor_cls = _Cursor  # type: ignore[assignment]  # it is one, but for the names


class _Dbapi(AsyncAdapt_aiosqlite_dbapi):
    def connect(self, *arguments: Any, **options: Any) -> _Connection:
        connection = aiosqlite.connect(*arguments, **options)
        connection._thread.daemon = True  # a program may end without closing it
        opened: Any = await_only(_opened(connection))
        return _Connection(self, opened)


async def _opened(connection: aiosqlite.Connection) -> aiosqlite.Connection:
    """Return a connection once it is open; whoever is cancelled meanwhile leaves none behind that nobody closes."""
    try:
        return await to_the_end(_open(connection))
    except asyncio.CancelledError:
        await to_the_end(connection.close())
        raise


async def _open(connection: aiosqlite.Connection) -> aiosqlite.Connection:
    return await connection


class Dialect(SQLiteDialect_aiosqlite):
    """The dialect of `DRIVER`."""

    supports_statement_cache = True

    @classmethod
    def import_dbapi(cls) -> AsyncAdapt_aiosqlite_dbapi:
        """Return the driver."""
        return _Dbapi(aiosqlite, sqlite3)


registry.register(DRIVER.replace("+", "."), __name__, Dialect.__name__)
