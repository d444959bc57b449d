"""How a job gets from step to step. Every change begins with the job's row locked, then its chunk's, then whatever else.

So of two workers that believe to have the same chunk the second finds that it has not, and the last of a job's chunks to
be done knows that it is the last.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Select, bindparam, exists, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.jobs.claims import CHUNKS, Claim, is_under_way
from embergate.jobs.errors import JobError, LeaseLostError
from embergate.jobs.handler import Handlers, Outcome
from embergate.jobs.job import ChunkState, State, Step, job_of
from embergate.jobs.rules import BLOCKED_AT_MOST, block_after
from embergate.storage.moment import database_now
from embergate.storage.tables.jobs import JobChunkRow, JobRunRow

# A job and one of its chunks, both locked, as they are once nobody else has them locked.
HELD: Final = (
    select(JobRunRow, JobChunkRow)
    .join(JobChunkRow, JobChunkRow.job_id == JobRunRow.id)
    .where(JobRunRow.id == bindparam("of_job"))
    .where(JobChunkRow.step == bindparam("of_step"), JobChunkRow.number == bindparam("of_number"))
    .with_for_update()
    .execution_options(populate_existing=True)
)
# So many jobs are moved on in one transaction.
MAX_MOVED: Final = 20


@dataclass(frozen=True, slots=True)
class Done:
    """The chunk is done; `num_planned` is how many chunks it has planned, if it was PREPARE."""

    outcome: Outcome
    num_planned: int = 0


@dataclass(frozen=True, slots=True)
class Failed:
    """The job has failed; `detail` is for whoever runs the platform."""

    error: JobError
    detail: str


@dataclass(frozen=True, slots=True)
class Again:
    """The chunk is to be tried again. `after` is None for as long as it has been blocked already.

    Only what `is_fault` uses up an attempt.
    """

    reason: str
    after: timedelta | None
    is_fault: bool


Verdict = Done | Failed | Again


async def hold(db: AsyncSession, claim: Claim) -> tuple[JobRunRow, JobChunkRow]:
    """Lock the job and the chunk of a claim. Raises: LeaseLostError if another has it, or the job has gone on without it."""
    chosen = {"of_job": claim.job.id, "of_step": claim.step, "of_number": claim.number}
    found = (await db.execute(HELD, chosen)).one_or_none()
    if found is None or found[0].step != claim.step:
        raise LeaseLostError("the job has stopped")
    run, chunk = found
    if chunk.fence != claim.fence or chunk.lease_owner != claim.owner:
        raise LeaseLostError("another worker has the chunk")
    return run, chunk


async def settle(db: AsyncSession, handlers: Handlers, claim: Claim, verdict: Verdict) -> State | None:
    """Write down how a chunk has ended, and move its job on; return the job's state if it is a new one.

    Raises: LeaseLostError as `hold`; what the outcome's `commit` or the handler's `on_state` raises.
    """
    run, chunk = await hold(db, claim)
    before = run.state
    match verdict:
        case Done():
            await _done(db, handlers, (run, chunk), verdict)
        case Failed():
            await _fail(db, handlers, (run, chunk), verdict)
        case Again():
            moment = await database_now(db)
            if not verdict.is_fault:
                chunk.blocked_since = chunk.blocked_since or moment
                # Results are put together however long it takes until there is room for them.
                if moment - chunk.blocked_since > BLOCKED_AT_MOST and claim.step is not Step.FINISH:
                    error = JobError("UNAVAILABLE", f"{name_of(claim)} could not be done for a day: {verdict.reason}")
                    await _fail(db, handlers, (run, chunk), Failed(error, verdict.reason))
                    return State(run.state)
                if run.state != State.PAUSED:  # which has its own reason
                    await handlers[run.kind].on_wait(db, job_of(run), verdict.reason)
            _put_back(chunk, verdict, moment)
    return State(run.state) if run.state != before else None


async def let_go(db: AsyncSession, claim: Claim) -> None:
    """Give a chunk back that was neither done nor failed, if it is still ours; its job may have stopped."""
    chunk = await db.get(
        JobChunkRow, (claim.job.id, claim.step, claim.number), with_for_update=True, populate_existing=True
    )
    if chunk is not None and chunk.fence == claim.fence and chunk.lease_owner == claim.owner:
        again = Again(chunk.error or "", timedelta(), is_fault=False)
        _put_back(chunk, again, await database_now(db))


async def move_on(db: AsyncSession, handlers: Handlers) -> list[tuple[str, str, State]]:
    """Move on jobs whose time is up, and those that have stopped, once nothing of them is under way.

    Returns: the id, the kind and the state of each that has a new one.
    """
    changed = []
    ids = (await db.scalars(_waiting_to_move(await database_now(db), handlers.keys()))).all()
    for job_id in ids:
        locked = (
            select(JobRunRow)
            .where(JobRunRow.id == job_id)
            .with_for_update(skip_locked=True)
            .execution_options(populate_existing=True)
        )
        run = (await db.scalars(locked)).one_or_none()
        moment = await database_now(db)
        # Once more, now that nobody else changes it.
        still = _waiting_to_move(moment, handlers.keys()).where(JobRunRow.id == job_id)
        if run is None or (await db.scalar(still)) is None:
            continue
        if run.step == Step.STOP and State(run.state).has_ended:
            await begin(db, run, Step.CLEANUP, moment)
            continue
        if run.state == State.PAUSED:
            await unpause(db, handlers, run)
            changed.append((run.id, run.kind, State(run.state)))
        if run.step == Step.STOP:  # it has failed, and what is done of it is kept
            await begin(db, run, Step.FINISH, moment)
        if run.step in {Step.PREPARE, Step.RUN}:
            run.is_expired = True
            await begin(db, run, Step.FINISH, moment)
    return changed


async def has_to_move(db: AsyncSession, kinds: Collection[str]) -> bool:
    """Return whether there is a job for `move_on`; it takes no lock."""
    return (await db.scalar(_waiting_to_move(await database_now(db), kinds).limit(1))) is not None


async def begin(db: AsyncSession, run: JobRunRow, step: Step, moment: datetime) -> None:
    """Let a job's next step begin: with its one chunk, but for RUN, whose chunks are planned."""
    run.step = step
    if step is not Step.RUN:
        row = JobChunkRow(
            job_id=run.id,
            step=step,
            number=0,
            account_id=run.account_id,
            state=ChunkState.WAITING,
            next_claim_time=moment,
            fence=0,
            attempt=0,
        )
        db.add(row)
    await db.flush()


async def change_state(db: AsyncSession, handlers: Handlers, run: JobRunRow, state: State) -> None:
    """Write down a job's new state, here and with its handler."""
    run.state = state
    moment = await database_now(db)
    if state is State.RUNNING:
        run.start_time = run.start_time or moment
    if state.has_ended:
        run.end_time = moment
    await db.flush()
    await handlers[run.kind].on_state(db, job_of(run), state)


async def unpause(db: AsyncSession, handlers: Handlers, run: JobRunRow) -> None:
    """Give a paused job the state that it has without the pause."""
    await change_state(db, handlers, run, State.QUEUED if run.step == Step.PREPARE else State.RUNNING)


def name_of(claim: Claim) -> str:
    """Return what a chunk is called where a job's owner reads it."""
    return f"chunk {claim.number}" if claim.step is Step.RUN else f"the step {claim.step}"


async def _done(db: AsyncSession, handlers: Handlers, rows: tuple[JobRunRow, JobChunkRow], done: Done) -> None:
    run, chunk = rows
    _end(chunk, ChunkState.DONE, error=None)
    chunk.result = done.outcome.result
    if chunk.step == Step.RUN:
        run.num_done += 1
    elif chunk.step == Step.PREPARE:
        run.num_chunks = done.num_planned
    await db.flush()
    if done.outcome.commit is not None:
        await done.outcome.commit(db)
    match Step(chunk.step):
        case Step.PREPARE:
            moment = await database_now(db)
            await begin(db, run, Step.RUN, moment)
            if run.state != State.PAUSED:
                await change_state(db, handlers, run, State.RUNNING)
            if run.num_chunks == 0:
                await begin(db, run, Step.FINISH, moment)
        case Step.RUN if run.num_done == run.num_chunks:
            await begin(db, run, Step.FINISH, await database_now(db))
        case Step.FINISH:
            run.step = Step.END
            await change_state(db, handlers, run, _end_of(run))
        case Step.CLEANUP:
            run.step = Step.END
    await db.flush()


async def _fail(db: AsyncSession, handlers: Handlers, rows: tuple[JobRunRow, JobChunkRow], failed: Failed) -> None:
    run, chunk = rows
    _end(chunk, ChunkState.FAILED, error=failed.detail)
    if chunk.step == Step.CLEANUP:  # it has failed or was cancelled before, and that is what it is told
        run.step = Step.END
        await db.flush()
        return
    run.step = Step.STOP
    if run.error_code is None:  # else it is what is left of a failed job that cannot be put together
        run.error_code, run.error_message = failed.error.code, failed.error.message
    if chunk.step == Step.RUN and handlers[run.kind].keeps_part:
        await db.flush()
    else:
        await change_state(db, handlers, run, State.FAILED)


def _end_of(run: JobRunRow) -> State:
    if run.error_code is not None:
        return State.FAILED
    return State.EXPIRED if run.is_expired else State.COMPLETED


def _put_back(chunk: JobChunkRow, again: Again, moment: datetime) -> None:
    chunk.state, chunk.lease_owner, chunk.error = ChunkState.WAITING, None, again.reason or None
    if again.is_fault:
        chunk.blocked_since = None
    else:
        chunk.attempt -= 1
    after = again.after
    if after is None:
        after = block_after(moment - (chunk.blocked_since or moment))
    chunk.next_claim_time = moment + after


def _end(chunk: JobChunkRow, state: ChunkState, *, error: str | None) -> None:
    chunk.state, chunk.lease_owner, chunk.next_claim_time, chunk.error = state, None, None, error


def _waiting_to_move(moment: datetime, kinds: Collection[str]) -> Select[str]:
    under_way = exists().where(
        CHUNKS.c.account_id == JobRunRow.account_id, CHUNKS.c.job_id == JobRunRow.id, is_under_way(moment)
    )
    unfinished = JobRunRow.step.in_([Step.PREPARE, Step.RUN]) | (
        (JobRunRow.step == Step.FINISH) & (JobRunRow.state == State.PAUSED)
    )
    return (
        select(JobRunRow.id)
        .where(or_(JobRunRow.step == Step.STOP, unfinished & (JobRunRow.expire_time <= moment)))
        .where(JobRunRow.kind.in_(list(kinds)), ~under_way)
        .order_by(JobRunRow.id)
        .limit(MAX_MOVED)
    )
