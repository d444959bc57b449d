"""Files that came, and that nobody waits for any more: their resource was deleted, or is ready, while the URL was good."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import structlog
from sqlalchemy import select, union_all

from embergate.gateway.files.place import ARRIVALS
from embergate.storage.database import Database
from embergate.storage.objects.protocol import Objects
from embergate.storage.tables.datasets import DatasetRow
from embergate.storage.tables.models import ModelRow

PAGE_SIZE: Final = 1_000
UPLOADING: Final = "UPLOADING"
log: structlog.stdlib.BoundLogger = structlog.get_logger()


async def sweep_arrivals(database: Database, objects: Objects) -> int:
    """Delete what arrived for resources that wait for no files; return for how many. Raises: UnavailableError.

    Whatever has arrived was announced by a resource before: one that is not there now never comes again.
    """
    num_swept, prefixes = 0, dict[str, str]()
    async for info in objects.list(ARRIVALS):
        account_id, uid = info.key.split("/")[1:3]
        if uid not in prefixes and len(prefixes) == PAGE_SIZE:
            num_swept += await _sweep(database, objects, prefixes)
            prefixes = {}
        prefixes[uid] = f"{ARRIVALS}/{account_id}/{uid}"
    return num_swept + await _sweep(database, objects, prefixes)


async def _sweep(database: Database, objects: Objects, prefixes: Mapping[str, str]) -> int:
    """Delete what is under the prefixes, which are told by their resources' uids, that no resource waits for."""
    waiting = union_all(
        *(select(row.uid).where(row.uid.in_(prefixes), row.state == UPLOADING) for row in (DatasetRow, ModelRow))
    )
    async with database.reading() as db:
        wanted = set(await db.scalars(waiting))
    for uid in prefixes.keys() - wanted:
        await objects.delete_prefix(prefixes[uid])
        log.info("arrivals_swept", prefix=prefixes[uid])
    return len(prefixes.keys() - wanted)
