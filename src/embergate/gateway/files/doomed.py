"""Deleting files: said in the transaction that gives them up, done after it, and tried again until it is done."""

from __future__ import annotations

from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.clock import now
from embergate.storage.database import Database
from embergate.storage.insertion import insert_if_absent
from embergate.storage.objects.protocol import Objects
from embergate.storage.tables.files import DoomedFolderRow

FOLDERS_AT_ONCE: Final = 100


async def doom(db: AsyncSession, prefix: str) -> None:
    """Have the objects of a folder deleted once the caller's transaction is committed."""
    await insert_if_absent(db, DoomedFolderRow, {"prefix": prefix, "create_time": now()})


async def delete_doomed(database: Database, objects: Objects) -> int:
    """Delete the objects of all folders that are given up; return how many. Raises: UnavailableError."""
    num_deleted = 0
    while True:
        async with database.reading() as db:
            oldest = select(DoomedFolderRow.prefix).order_by(DoomedFolderRow.create_time).limit(FOLDERS_AT_ONCE)
            prefixes = (await db.scalars(oldest)).all()
        for prefix in prefixes:
            await objects.delete_prefix(prefix)
            async with database.writing() as db:
                await db.execute(delete(DoomedFolderRow).where(DoomedFolderRow.prefix == prefix))
            num_deleted += 1
        if len(prefixes) < FOLDERS_AT_ONCE:
            return num_deleted
