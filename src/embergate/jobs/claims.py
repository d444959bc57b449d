"""Which worker has which chunk: claimed by one statement, kept by a lease that is renewed, told apart by a fence.

The database's clock says when a lease has run out, so servers need not agree on the time. It decides only who may try:
what is committed is decided by the fence, whatever the clocks say.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, exists, func, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.jobs.job import ChunkState, Job, State, Step, job_of
from embergate.storage.moment import database_now
from embergate.storage.rows import table_of
from embergate.storage.tables.jobs import JobChunkRow, JobRunRow

RUNS: Final = table_of(JobRunRow)
CHUNKS: Final = table_of(JobChunkRow)
# Of so many jobs the first is tried that others leave a chunk of.
MAX_CANDIDATES: Final = 16
Key = tuple[str, str, int, int]


@dataclass(frozen=True, slots=True)
class Claim:
    """A chunk that a worker has, until its lease runs out or another has a higher fence."""

    job: Job
    step: Step
    number: int
    payload: Any
    owner: str
    fence: int
    attempt: int

    @property
    def key(self) -> Key:
        """Return what tells it from every other claim."""
        return self.job.id, self.step, self.number, self.fence


async def has_claimable(db: AsyncSession, kinds: Collection[str]) -> bool:
    """Return whether there is anything to claim; it takes no lock."""
    return (await db.scalar(_candidates(await database_now(db), kinds).limit(1))) is not None


async def claim(
    db: AsyncSession, kinds: Collection[str], *, owner: str, lease: timedelta, max_claims: int
) -> list[Claim]:
    """Take chunks for a worker, each of the account that has the fewest under way then."""
    claims: list[Claim] = []
    while len(claims) < max_claims:
        taken = await _claim_one(db, kinds, owner, lease)
        if taken is None:
            break
        claims.append(taken)
    return claims


async def renew(db: AsyncSession, claims: Sequence[Claim], *, lease: timedelta) -> set[Key]:
    """Prolong leases, and return the claims that still hold and whose job wants them.

    Rows that somebody has locked are being ended by them, and are left for the next time.
    """
    if not claims:
        return set()
    keys = tuple_(CHUNKS.c.job_id, CHUNKS.c.step, CHUNKS.c.number)
    fenced = tuple_(CHUNKS.c.job_id, CHUNKS.c.step, CHUNKS.c.number, CHUNKS.c.fence)
    ours = and_(CHUNKS.c.lease_owner == claims[0].owner, fenced.in_([claim.key for claim in claims]))
    free = select(CHUNKS.c.job_id, CHUNKS.c.step, CHUNKS.c.number).where(ours).with_for_update(skip_locked=True)
    moment = await database_now(db)
    await db.execute(update(CHUNKS).where(keys.in_(free)).values(next_claim_time=moment + lease))
    wanted = (
        select(CHUNKS.c.job_id, CHUNKS.c.step, CHUNKS.c.number, CHUNKS.c.fence)
        .join(RUNS, and_(RUNS.c.id == CHUNKS.c.job_id, RUNS.c.step == CHUNKS.c.step))
        .where(ours)
    )
    return {(row.job_id, row.step, row.number, row.fence) for row in await db.execute(wanted)}


async def release(db: AsyncSession, owner: str) -> int:
    """Give back at once whatever a worker that stops still has, so that nobody waits for its leases; return how many."""
    moment = await database_now(db)
    given_back = (
        update(CHUNKS)
        .where(CHUNKS.c.lease_owner == owner)
        .values(state=ChunkState.WAITING, lease_owner=None, next_claim_time=moment, attempt=CHUNKS.c.attempt - 1)
    )
    return (await db.execute(given_back)).rowcount  # type: ignore[attr-defined,no-any-return]


def is_under_way(moment: datetime) -> ColumnElement[bool]:
    """Return whether a chunk has a worker whose lease has not run out."""
    return and_(CHUNKS.c.lease_owner.is_not(None), CHUNKS.c.next_claim_time > moment)


async def _claim_one(db: AsyncSession, kinds: Collection[str], owner: str, lease: timedelta) -> Claim | None:
    moment = await database_now(db)
    for job_id, step in (await db.execute(_candidates(moment, kinds).limit(MAX_CANDIDATES))).all():
        first = (
            select(CHUNKS.c.number)
            .where(CHUNKS.c.job_id == job_id, CHUNKS.c.step == step, CHUNKS.c.next_claim_time <= moment)
            .order_by(CHUNKS.c.number)
            .limit(1)
            .with_for_update(skip_locked=True)
            # NOTE: with `=`, not IN, which PostgreSQL may ask several times, and so lock several.
            .scalar_subquery()
        )
        taken = (
            update(CHUNKS)
            .where(CHUNKS.c.job_id == job_id, CHUNKS.c.step == step, CHUNKS.c.number == first)
            .values(
                state=ChunkState.RUNNING,
                lease_owner=owner,
                next_claim_time=moment + lease,
                fence=CHUNKS.c.fence + 1,
                attempt=CHUNKS.c.attempt + 1,
            )
            .returning(CHUNKS.c.number, CHUNKS.c.payload, CHUNKS.c.fence, CHUNKS.c.attempt)
        )
        row = (await db.execute(taken)).one_or_none()
        if row is not None:
            reading = select(JobRunRow).where(JobRunRow.id == job_id).execution_options(populate_existing=True)
            run = (await db.scalars(reading)).one()
            return Claim(job_of(run), Step(step), row.number, row.payload, owner, row.fence, row.attempt)
    return None


def _candidates(moment: datetime, kinds: Collection[str]) -> Select[str, str]:
    """Return the jobs that have a chunk to claim, the one first whose turn it is."""
    busy = (
        select(CHUNKS.c.account_id, func.count().label("num_chunks"))
        .where(is_under_way(moment))
        .group_by(CHUNKS.c.account_id)
        .subquery()
    )
    due = exists().where(CHUNKS.c.job_id == RUNS.c.id, CHUNKS.c.step == RUNS.c.step, CHUNKS.c.next_claim_time <= moment)
    in_time = or_(
        RUNS.c.step.in_([Step.FINISH, Step.CLEANUP]),
        and_(
            RUNS.c.step.in_([Step.PREPARE, Step.RUN]),
            or_(RUNS.c.expire_time.is_(None), RUNS.c.expire_time > moment),
        ),
    )
    return (
        select(RUNS.c.id, RUNS.c.step)
        .outerjoin(busy, busy.c.account_id == RUNS.c.account_id)
        .where(in_time, RUNS.c.state != State.PAUSED, RUNS.c.kind.in_(list(kinds)), due)
        .order_by(func.coalesce(busy.c.num_chunks, 0), RUNS.c.priority.desc(), RUNS.c.create_time, RUNS.c.id)
    )
