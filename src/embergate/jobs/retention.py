"""How long jobs are kept that have ended."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, exists, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.clock import monotonic_s
from embergate.jobs.claims import CHUNKS, RUNS
from embergate.jobs.job import Step
from embergate.storage.database import Database
from embergate.storage.moment import database_now

DEFAULT_RETENTION: Final = timedelta(days=7)
# So many rows are deleted in one transaction, for which others wait on SQLite.
PAGE_SIZE: Final = 2_000
PAUSE_S: Final = 0.05
# After so long a purge leaves the rest to the next one.
BUDGET_S: Final = 300.0


async def purge_jobs(
    database: Database, retention: timedelta = DEFAULT_RETENTION, *, budget_s: float = BUDGET_S
) -> int:
    """Delete jobs that ended before, with their chunks; return how many jobs. Raises: UnavailableError."""
    began_at_s, num_jobs = monotonic_s(), 0
    while monotonic_s() - began_at_s < budget_s:
        async with database.writing() as db:
            horizon = await database_now(db) - retention
            num_chunks = await _delete_chunks(db, horizon)
            # Only of jobs that are through with their clean-up: then none of their chunks is ever added.
            num_deleted = await _delete_runs(db, horizon) if num_chunks < PAGE_SIZE else 0
        num_jobs += num_deleted
        if num_chunks < PAGE_SIZE and num_deleted < PAGE_SIZE:
            break
        await asyncio.sleep(PAUSE_S)
    return num_jobs


async def open_jobs(db: AsyncSession) -> dict[tuple[str, str], int]:
    """Return how many jobs are not through yet, by kind and state."""
    counted = (
        select(RUNS.c.kind, RUNS.c.state, func.count()).where(RUNS.c.step.in_(OPEN)).group_by(RUNS.c.kind, RUNS.c.state)
    )
    return {(kind, state): num for kind, state, num in await db.execute(counted)}


OPEN: Final = tuple(step for step in Step if step is not Step.END)


async def _delete_chunks(db: AsyncSession, horizon: datetime) -> int:
    key = (CHUNKS.c.job_id, CHUNKS.c.step, CHUNKS.c.number)
    some = (
        select(*key)
        .join(RUNS, RUNS.c.id == CHUNKS.c.job_id)
        .where(RUNS.c.step == Step.END, RUNS.c.end_time < horizon)
        .limit(PAGE_SIZE)
    )
    deleted = await db.execute(delete(CHUNKS).where(tuple_(*key).in_(some)).returning(CHUNKS.c.number))
    return len(deleted.all())


async def _delete_runs(db: AsyncSession, horizon: datetime) -> int:
    empty = ~exists().where(CHUNKS.c.job_id == RUNS.c.id)
    some = select(RUNS.c.id).where(RUNS.c.step == Step.END, RUNS.c.end_time < horizon, empty).limit(PAGE_SIZE)
    return len((await db.execute(delete(RUNS).where(RUNS.c.id.in_(some)).returning(RUNS.c.id))).all())
