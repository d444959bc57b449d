"""Whole transactions on the SQLite connection's own thread: for what every request waits for.

A statement by way of the event loop costs a hop to the thread and back, which is as much as the statement itself. Synchronous
work over the very connection costs one hop for all of it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine, StaticPool, create_engine, event
from sqlalchemy.ext.asyncio import AsyncConnection

from embergate.storage import failures

T = TypeVar("T")
# Where a connection keeps the engine over itself, in its own notes.
ENGINE: Final = "embergate_direct_engine"


async def run_directly(held: AsyncConnection, work: Callable[[Connection], T]) -> T:
    """Do `work` in one transaction of the SQLite connection that `held`, in which nothing has begun, keeps others from.

    Raises: as the work does, after a rollback; UnavailableError if the database is locked for too long, or the disk is full.
    """
    raw = await held.get_raw_connection()
    driver: Any = raw.driver_connection
    engine = raw.info.get(ENGINE)
    if engine is None:
        engine = raw.info[ENGINE] = _engine_over(driver._conn)

    def transaction() -> T:
        with engine.begin() as connection:
            return work(connection)

    result: T = await driver._execute(transaction)
    return result


def _engine_over(connection: sqlite3.Connection) -> Engine:
    engine = create_engine("sqlite://", creator=lambda: connection, poolclass=StaticPool, hide_parameters=True)
    event.listen(engine, "handle_error", failures.translate_in_writer)

    @event.listens_for(engine, "begin")
    def begin(begun: Connection) -> None:
        begun.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
