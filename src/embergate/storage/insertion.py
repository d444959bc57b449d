"""INSERT that leaves a row alone where there is one, on either database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.storage.rows import Base


async def insert_if_absent(db: AsyncSession, row: type[Base], values: Mapping[str, Any]) -> bool:
    """Insert unless a row with the same key is there; return whether it was inserted."""
    insert = postgresql.insert if db.get_bind().dialect.name == "postgresql" else sqlite.insert
    key = next(iter(row.__table__.primary_key.columns))
    statement = insert(row).values(**values).on_conflict_do_nothing().returning(key)
    return (await db.execute(statement)).first() is not None
