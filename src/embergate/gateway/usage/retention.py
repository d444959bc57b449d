"""How long the records of calls are kept. Their sums stay for good, and answer what is older, to the quarter of an hour."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from sqlalchemy import Connection, delete, select

from embergate.clock import monotonic_s, now
from embergate.gateway.usage.days import Day
from embergate.gateway.usage.records import slot_after, slot_of, start_of
from embergate.gateway.usage.tables import RECORDS
from embergate.storage.database import Database
from embergate.storage.direct import WorkConnection
from embergate.storage.insertion import insert_for
from embergate.storage.rows import table_of
from embergate.storage.tables.usage import UsageHorizonRow

DEFAULT_RETENTION: Final = timedelta(days=90)
# So many are deleted in one transaction, for which a charge waits on SQLite.
CHUNK_SIZE: Final = 2_000
PAUSE_S: Final = 0.05
# After so long a purge leaves the rest to the next one.
BUDGET_S: Final = 300.0
HORIZON_ID: Final = 1
HORIZONS: Final = table_of(UsageHorizonRow)


async def purge_records(database: Database, retention: timedelta, *, budget_s: float = BUDGET_S) -> int:
    """Delete records that are older than is kept, in chunks; return how many. Raises: UnavailableError."""
    horizon = start_of(slot_of(now() - retention))
    started_at_s = monotonic_s()
    num_deleted = 0
    # First it is said that they are gone, so that nobody counts on what is left of them.
    await database.write(partial(_move_horizon, horizon=horizon))
    while monotonic_s() - started_at_s < budget_s:
        num = await database.write(partial(_delete_chunk, horizon=horizon))
        num_deleted += num
        if num < CHUNK_SIZE:
            break
        await asyncio.sleep(PAUSE_S)  # charges come first
    return num_deleted


def records_since(connection: Connection) -> datetime | None:
    """Return the moment, where a quarter of an hour begins, from which on every record is there; None for all of them."""
    return connection.execute(select(HORIZONS.c.records_since)).scalar_one_or_none()


def whole_quarters(days: Sequence[Day], since: datetime | None) -> list[Day]:
    """Return days in whole quarters of an hour before `since`, where nothing finer is known.

    A quarter that the range cuts counts whole; one that two days share counts for the first of them.
    """
    if since is None:
        return list(days)
    found = []
    for number, day in enumerate(days):
        start, end = day.start, day.end
        if start < since:
            start = start_of(slot_of(start)) if number == 0 else start_of(slot_after(start))
        if end < since:
            end = start_of(slot_after(end))
        if start < end:
            found.append(replace(day, start=start, end=end))
    return found


def _move_horizon(connection: WorkConnection, horizon: datetime) -> None:
    """Move it on, and never back: what is gone is gone, also where more is kept from now on."""
    statement = insert_for(connection.dialect.name, HORIZONS).values(id=HORIZON_ID, records_since=horizon)
    further = statement.on_conflict_do_update(
        index_elements=["id"],
        set_={"records_since": statement.excluded.records_since},
        where=HORIZONS.c.records_since < statement.excluded.records_since,
    )
    connection.execute(further)


def _delete_chunk(connection: WorkConnection, horizon: datetime) -> int:
    some = select(RECORDS.c.id).where(RECORDS.c.time < horizon).order_by(RECORDS.c.time).limit(CHUNK_SIZE)
    return connection.execute(delete(RECORDS).where(RECORDS.c.id.in_(some))).rowcount
