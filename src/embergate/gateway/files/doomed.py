"""Deleting files: said in the transaction that gives them up, done after it, and tried again until it is done."""

from __future__ import annotations

from typing import Final

import structlog
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.clock import now
from embergate.errors import UnavailableError
from embergate.storage.database import Database
from embergate.storage.insertion import insert_if_absent
from embergate.storage.objects.protocol import Objects
from embergate.storage.tables.files import DoomedFolderRow

FOLDERS_AT_ONCE: Final = 100
log: structlog.stdlib.BoundLogger = structlog.get_logger()


async def doom(db: AsyncSession, prefix: str) -> None:
    """Have the objects of a folder deleted once the caller's transaction is committed."""
    await insert_if_absent(db, DoomedFolderRow, {"prefix": prefix, "create_time": now()})


async def delete_doomed(database: Database, objects: Objects) -> int:
    """Delete the objects of all folders that are given up; return how many.

    One that cannot be deleted holds up no other, and is tried again the next time. Raises: UnavailableError.
    """
    num_deleted, last = 0, ""
    while True:
        async with database.reading() as db:
            next_ones = select(DoomedFolderRow.prefix).where(DoomedFolderRow.prefix > last)
            prefixes = (await db.scalars(next_ones.order_by(DoomedFolderRow.prefix).limit(FOLDERS_AT_ONCE))).all()
        for prefix in prefixes:
            try:
                await objects.delete_prefix(prefix)
            except UnavailableError as error:
                log.warning("files_not_deleted", prefix=prefix, reason=error.message)
                continue
            async with database.writing() as db:
                await db.execute(delete(DoomedFolderRow).where(DoomedFolderRow.prefix == prefix))
            num_deleted += 1
        if len(prefixes) < FOLDERS_AT_ONCE:
            return num_deleted
        last = prefixes[-1]
