"""Letting batch jobs go on that were paused because their accounts could not pay."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Final

import structlog

from embergate.clock import now
from embergate.errors import NotFoundError
from embergate.gateway.batch_jobs import store
from embergate.gateway.batch_jobs.handler import handlers_over
from embergate.gateway.usage.standing import standings
from embergate.jobs import control
from embergate.storage.database import Database
from embergate.storage.objects.protocol import Objects

PAGE_SIZE: Final = 100
log: structlog.stdlib.BoundLogger = structlog.get_logger()


async def resume_paid(database: Database, objects: Objects) -> int:
    """Resume jobs whose accounts can pay what they could not; return how many. Raises: UnavailableError."""
    handlers, num_resumed, last = handlers_over(database, objects), 0, ""
    while True:
        async with database.reading() as db:
            rows = await store.paused(db, after=last, limit=PAGE_SIZE)
            work = partial(standings, account_ids={row.account_id for row in rows}, moment=now())
            found = await (await db.connection()).run_sync(work)
        for row in rows:
            if found[row.account_id].shortfall(row.needed_nanos) is None:
                with suppress(NotFoundError):  # it was deleted meanwhile
                    async with database.writing() as db:
                        await control.resume(db, handlers, account_id=row.account_id, job_id=row.run_id)
                    log.info("batch_job_resumed", account=row.account_id, job=row.id)
                    num_resumed += 1
        if len(rows) < PAGE_SIZE:
            return num_resumed
        last = rows[-1].run_id
