"""The time by which servers that share a database wait for each other: the database's, since their own may differ."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.clock import now


async def database_now(db: AsyncSession) -> datetime:
    """Return the present moment by the database's clock, not that of the transaction's begin.

    SQLite has none but this machine's, on which all of its processes are.
    """
    if db.get_bind().dialect.name == "sqlite":
        return now()
    moment = await db.scalar(select(func.clock_timestamp()))
    assert isinstance(moment, datetime), "PostgreSQL knows the time. This is a bug."
    return moment
