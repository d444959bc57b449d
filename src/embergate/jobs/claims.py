"""Which worker has which chunk: claimed by one statement, kept by a lease that is renewed, told apart by a fence.

The database's clock says when a lease has run out, so servers need not agree on the time. It decides only who may try:
what is committed is decided by the fence, whatever the clocks say.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Integer, Select, and_, bindparam, case, exists, func, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.dml import ReturningUpdate

from embergate.jobs.job import ChunkState, Job, State, Step, job_of
from embergate.storage.moment import database_now
from embergate.storage.rows import UtcDateTime, table_of
from embergate.storage.tables.jobs import JobChunkRow, JobRunRow

RUNS: Final = table_of(JobRunRow)
CHUNKS: Final = table_of(JobChunkRow)
# Of so many jobs the first is tried that others leave a chunk of.
MAX_CANDIDATES: Final = 16
CLAIMED_STEPS: Final = (Step.PREPARE, Step.RUN, Step.FINISH, Step.CLEANUP)
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
    # How often a worker that had it was not heard of again.
    num_deaths: int

    @property
    def key(self) -> Key:
        """Return what tells it from every other claim."""
        return self.job.id, self.step, self.number, self.fence


@dataclass(frozen=True, slots=True)
class Room:
    """How many chunks a worker can take; of these `num_preparing` may prepare jobs, which can take hours each."""

    num_chunks: int
    num_preparing: int

    def after(self, step: Step) -> Room:
        """Return the room that is left once a chunk of a step is taken."""
        return Room(self.num_chunks - 1, self.num_preparing - (step is Step.PREPARE))

    @property
    def steps(self) -> list[Step]:
        """The steps whose chunks may be taken."""
        return [step for step in CLAIMED_STEPS if step is not Step.PREPARE or self.num_preparing > 0]


async def has_claimable(db: AsyncSession, kinds: Collection[str], room: Room) -> bool:
    """Return whether there is anything to claim; it takes no lock."""
    chosen = {"moment": await database_now(db), "kinds": list(kinds), "steps": room.steps, "num": 1}
    return (await db.scalar(CANDIDATES, chosen)) is not None


async def claim(db: AsyncSession, kinds: Collection[str], room: Room, *, owner: str, lease: timedelta) -> list[Claim]:
    """Take chunks for a worker, each of the account that has the fewest under way then."""
    claims: list[Claim] = []
    moment = await database_now(db)
    while room.num_chunks > 0:
        chosen = {"moment": moment, "kinds": list(kinds), "steps": room.steps, "num": MAX_CANDIDATES}
        taken = await _claim_one(db, chosen, owner, moment + lease)
        if taken is None:
            break
        claims.append(taken)
        room = room.after(taken.step)
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


def is_under_way(moment: datetime | ColumnElement[datetime]) -> ColumnElement[bool]:
    """Return whether a chunk has a worker whose lease has not run out."""
    return and_(CHUNKS.c.lease_owner.is_not(None), CHUNKS.c.next_claim_time > moment)


async def _claim_one(db: AsyncSession, chosen: dict[str, Any], owner: str, lease_end: datetime) -> Claim | None:
    for run in (await db.scalars(CANDIDATES, chosen)).all():
        of_run = {"of_job": run.id, "of_step": run.step, "moment": chosen["moment"]}
        row = (await db.execute(TAKE, of_run | {"owner": owner, "lease_end": lease_end})).one_or_none()
        if row is not None:
            step = Step(run.step)
            return Claim(job_of(run), step, row.number, row.payload, owner, row.fence, row.attempt, row.num_deaths)
    return None


def _candidates() -> Select[JobRunRow]:
    """Return the jobs that have a chunk to claim, the one first whose turn it is."""
    moment = bindparam("moment", type_=UtcDateTime)
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
        select(JobRunRow)
        .outerjoin(busy, busy.c.account_id == RUNS.c.account_id)
        .where(in_time, RUNS.c.state != State.PAUSED, due)
        .where(RUNS.c.kind.in_(bindparam("kinds", expanding=True)), RUNS.c.step.in_(bindparam("steps", expanding=True)))
        .order_by(func.coalesce(busy.c.num_chunks, 0), RUNS.c.priority.desc(), RUNS.c.create_time, RUNS.c.id)
        .limit(bindparam("num", type_=Integer))
        .execution_options(populate_existing=True)
    )


def _take() -> ReturningUpdate[Any]:
    """Return the statement that claims a job's first chunk that is due; it waits for nobody."""
    mine = and_(CHUNKS.c.job_id == bindparam("of_job"), CHUNKS.c.step == bindparam("of_step"))
    first = (
        select(CHUNKS.c.number)
        .where(mine, CHUNKS.c.next_claim_time <= bindparam("moment", type_=UtcDateTime))
        .order_by(CHUNKS.c.number)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    is_orphan = CHUNKS.c.state == ChunkState.RUNNING
    return (
        update(CHUNKS)
        # NOTE: with `=`, not IN, which PostgreSQL may ask several times, and so lock several.
        .where(mine, CHUNKS.c.number == first)
        .values(
            state=ChunkState.RUNNING,
            lease_owner=bindparam("owner"),
            next_claim_time=bindparam("lease_end", type_=UtcDateTime),
            fence=CHUNKS.c.fence + 1,
            attempt=CHUNKS.c.attempt + case((is_orphan, 0), else_=1),
            num_deaths=CHUNKS.c.num_deaths + case((is_orphan, 1), else_=0),
        )
        .returning(CHUNKS.c.number, CHUNKS.c.payload, CHUNKS.c.fence, CHUNKS.c.attempt, CHUNKS.c.num_deaths)
    )


# Made once: to put them together costs more than to run them.
CANDIDATES: Final = _candidates()
TAKE: Final = _take()
