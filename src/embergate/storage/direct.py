"""Transactions that every request waits for, on SQLite's own connection: SQLAlchemy's statements without its execution.

A statement by way of the event loop costs a hop to the connection's thread and back, and what SQLAlchemy does around it takes
several times as long as SQLite itself. So such a transaction runs as a whole on that thread, and each of its statements is
compiled once.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Delete, Insert, Select, Update, event
from sqlalchemy.dialects import sqlite
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.type_api import TypeEngine
from sqlalchemy.util.concurrency import await_only

from embergate.errors import UnavailableError
from embergate.storage import failures

T = TypeVar("T")
Statement = Select[Any] | Insert | Update | Delete
Parameters = Mapping[str, Any] | Sequence[Mapping[str, Any]]
# In a connection's own notes: that the pool has the turn for it.
HAS_TURN: Final = "embergate_has_turn"
# From what Python has to what SQLite takes, or back; None where they are the same.
Convert = Callable[[Any], Any] | None


@dataclass(frozen=True, slots=True)
class DirectResult:
    """What came of a statement. `rowcount` is how many rows it changed, -1 if it is none that changes any."""

    rows: Sequence[tuple[Any, ...]]
    rowcount: int

    def all(self) -> Sequence[tuple[Any, ...]]:
        """Return the rows, in the order of the statement's columns."""
        return self.rows


class DirectConnection:
    """As much of SQLAlchemy's `Connection` as the work may use that is given to `Database.write`."""

    dialect: Final = sqlite.dialect()

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Run statements on this connection, on the thread that it belongs to."""
        self._connection = connection
        # By statement: those of a module are compiled once, one that was made for this call is forgotten with it.
        self._prepared: WeakKeyDictionary[Statement, _Prepared] = WeakKeyDictionary()

    def execute(self, statement: Statement, parameters: Parameters = ()) -> DirectResult:
        """Run a statement: once, or for each of a sequence of rows, which all have the same names."""
        rows = [parameters] if isinstance(parameters, Mapping) else parameters
        prepared = self._prepared.get(statement)
        if prepared is None:
            prepared = self._prepared[statement] = _prepare(statement, rows[0].keys() if rows else ())
        if len(rows) > 1:
            cursor = self._connection.executemany(prepared.sql, [prepared.fill(row) for row in rows])
        else:
            cursor = self._connection.execute(prepared.sql, prepared.fill(rows[0] if rows else {}))
        found = cursor.fetchall() if cursor.description else ()
        return DirectResult([prepared.read(row) for row in found], cursor.rowcount)

    def transaction(self, work: Callable[[DirectConnection], T]) -> T:
        """Do `work` in one transaction. Raises: as the work does, after a rollback; UnavailableError; sqlite3.Error."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            result = work(self)
            self._connection.execute("COMMIT")
        except BaseException as error:
            if self._connection.in_transaction:  # SQLite itself ends one that a full disk has broken
                self._connection.execute("ROLLBACK")
            unavailable = failures.of_sqlite_writer(error) if isinstance(error, sqlite3.Error) else None
            if unavailable is None:
                raise
            raise unavailable from error
        return result


class DirectWriter:
    """Hands the one connection that writes to SQLite to work that is done directly, in turn with the pool's other users.

    To take it out of the pool and put it back costs as much as the work itself.
    """

    def __init__(self, engine: AsyncEngine, *, timeout_s: float) -> None:
        """Share the connection of an engine whose pool has one; a turn is waited for as long as `timeout_s`."""
        self._engine = engine
        self._timeout_s = timeout_s
        self._turn = asyncio.Lock()
        # The driver's connection that the pool has, if it has one.
        self._driver: Any = None
        self._direct: DirectConnection | None = None
        # To be made after whoever prepares a connection: they are asked in this order.
        event.listen(engine.sync_engine, "connect", self._on_connect)
        event.listen(engine.sync_engine, "close", self._on_close)
        event.listen(engine.sync_engine, "checkout", self._on_checkout)
        event.listen(engine.sync_engine, "checkin", self._on_checkin)

    async def run(self, work: Callable[[DirectConnection], T]) -> T:
        """Do `work` in one transaction. To be awaited to its end.

        Raises: as the work does, after a rollback; UnavailableError if the database is locked for too long, or its disk full.
        """
        while True:
            if self._direct is None:
                async with self._engine.connect():
                    pass  # it is connected
            try:
                async with asyncio.timeout(self._timeout_s):
                    await self._turn.acquire()
            except TimeoutError as error:
                raise UnavailableError(failures.BUSY) from error
            try:
                if self._direct is not None:
                    result: T = await self._driver._execute(self._direct.transaction, work)
                    return result
                # Whoever had the turn was cancelled in the middle of a statement, and the connection closed.
            finally:
                self._turn.release()

    def _on_connect(self, connection: Any, _record: object) -> None:
        self._driver = connection.driver_connection
        self._direct = DirectConnection(self._driver._conn)

    def _on_close(self, connection: Any, _record: object) -> None:
        if connection.driver_connection is self._driver:
            self._driver = self._direct = None

    def _on_checkout(self, _connection: object, record: Any, _proxy: object) -> None:
        await_only(self._turn.acquire())
        record.info[HAS_TURN] = True

    def _on_checkin(self, _connection: object, record: Any) -> None:
        if record.info.pop(HAS_TURN, False):
            self._turn.release()


WorkConnection = Connection | DirectConnection


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A statement as SQLite takes it: parameters by position, each with the value that the statement itself gives it."""

    sql: str
    parameters: Sequence[tuple[str, Any, Convert]]
    columns: Sequence[Convert]

    def fill(self, row: Mapping[str, Any]) -> list[Any]:
        """Return the parameters' values."""
        values = [(row.get(name, own), convert) for name, own, convert in self.parameters]
        return [convert(value) if convert is not None else value for value, convert in values]

    def read(self, row: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return a row's values."""
        return tuple(
            convert(value) if convert is not None else value for value, convert in zip(row, self.columns, strict=True)
        )


def _prepare(statement: Statement, names: Any) -> _Prepared:
    dialect = DirectConnection.dialect
    compiled = statement.compile(dialect=dialect, column_keys=list(names))
    assert isinstance(compiled, SQLCompiler), "every statement that is none of the schema's has such a compiler"
    assert not compiled.post_compile_params, "its SQL would differ from call to call: write IN with a parameter each"
    own, columns = compiled.params, statement.selected_columns if isinstance(statement, Select) else ()
    return _Prepared(
        str(compiled),
        [
            (name, own[name], _type_of(compiled.binds[name]).bind_processor(dialect))
            for name in compiled.positiontup or ()
        ],
        [_type_of(column).result_processor(dialect, None) for column in columns],
    )


def _type_of(element: Any) -> TypeEngine[Any]:
    kind: TypeEngine[Any] = element.type
    return kind.dialect_impl(DirectConnection.dialect)
