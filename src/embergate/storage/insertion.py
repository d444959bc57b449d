"""INSERT that minds a row that is there already, on either database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Table, inspect
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.storage.rows import Base

UpsertingInsert = postgresql.Insert | sqlite.Insert


def dialect_insert(db: AsyncSession, into: type[Base] | Table) -> UpsertingInsert:
    """Return the session's database's INSERT, which has `on_conflict_do_nothing` and `on_conflict_do_update`."""
    return insert_for(db.get_bind().dialect.name, into)


def insert_for(dialect: str, into: type[Base] | Table) -> UpsertingInsert:
    """Return a dialect's INSERT; see `dialect_insert`."""
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    return insert(into)


async def insert_row_if_absent(db: AsyncSession, row: Base) -> bool:
    """Insert a row as it is, unless one with the same key is there; return whether it was inserted."""
    values = {column.key: getattr(row, column.key) for column in row.__table__.columns}
    return await insert_if_absent(db, type(row), values)


async def insert_if_absent(db: AsyncSession, row: type[Base], values: Mapping[str, Any]) -> bool:
    """Insert unless a row with the same key is there; return whether it was inserted."""
    key = inspect(row).primary_key[0]
    statement = dialect_insert(db, row).values(**values).on_conflict_do_nothing().returning(key)
    return (await db.execute(statement)).first() is not None
