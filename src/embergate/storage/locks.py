"""Locks that belong to no row, held until the transaction ends."""

from __future__ import annotations

from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

# Any numbers that no other program takes for its own locks in the same PostgreSQL database.
MIGRATION: Final = 0x656D62657267
START: Final = 0x656D62657268


async def lock(db: AsyncSession | AsyncConnection, key: int) -> None:
    """Wait until no other transaction holds the lock, and hold it. On SQLite a transaction that writes is alone anyway."""
    connection = db if isinstance(db, AsyncConnection) else await db.connection()
    if connection.dialect.name == "postgresql":
        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
