"""What a room does with its jobs, in its own transaction: enqueue, cancel, pause, resume, and ask how far one is."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.errors import NotFoundError
from embergate.ids import new_id
from embergate.jobs import steps
from embergate.jobs.handler import Handlers
from embergate.jobs.job import Job, NewJob, Progress, State, Step, job_of
from embergate.storage.moment import database_now
from embergate.storage.tables.jobs import JobChunkRow, JobRunRow


async def enqueue(db: AsyncSession, new: NewJob) -> Job:
    """Add a job, which begins once the caller's transaction is committed. It is QUEUED; `on_state` is not told of that."""
    moment = await database_now(db)
    run = JobRunRow(
        id=new_id("job_"),
        kind=new.kind,
        account_id=new.account_id,
        payload=new.payload,
        state=State.QUEUED,
        step=Step.PREPARE,
        priority=new.priority,
        num_done=0,
        is_expired=False,
        create_time=moment,
        expire_time=moment + new.max_age if new.max_age is not None else None,
    )
    db.add(run)
    await db.flush()
    await steps.begin(db, run, Step.PREPARE, moment)
    return job_of(run)


async def get(db: AsyncSession, *, account_id: str, job_id: str) -> Job:
    """Return a job. Raises: NotFoundError if the account has none of this id, or it ended long ago."""
    return job_of(await _get(db, account_id, job_id, is_locked=False))


async def progress(db: AsyncSession, *, account_id: str, job_id: str) -> Progress:
    """Return how far a job is. Raises: NotFoundError as `get`."""
    run = await _get(db, account_id, job_id, is_locked=False)
    if run.num_chunks is None:
        return Progress(State(run.state), 0, 0, run.num_done)
    running = (
        select(func.count())
        .select_from(JobChunkRow)
        .where(JobChunkRow.account_id == account_id, JobChunkRow.job_id == job_id)
        .where(JobChunkRow.lease_owner.is_not(None), JobChunkRow.step == Step.RUN)
    )
    num_running = await db.scalar(running) or 0
    # NOTE: outside REPEATABLE READ one that was running may be among those that are not done yet no more.
    num_waiting = max(0, run.num_chunks - run.num_done - num_running)
    return Progress(State(run.state), num_waiting, num_running, run.num_done)


async def cancel(db: AsyncSession, handlers: Handlers, *, account_id: str, job_id: str) -> Job:
    """End a job: nothing more of it is begun or committed, what is under way is cancelled soon, and then it is cleaned up.

    One that has ended stays as it is. Raises: NotFoundError as `get`.
    """
    run = await _get(db, account_id, job_id, is_locked=True)
    if not State(run.state).has_ended:
        run.step = Step.STOP
        await steps.change_state(db, handlers, run, State.CANCELLED)
    return job_of(run)


async def end_early(db: AsyncSession, *, account_id: str, job_id: str) -> Job:
    """Let a job's time be up now: what is under way may end, and what is done is put together.

    One that has ended, or is being put together, stays as it is. Raises: NotFoundError as `get`.
    """
    run = await _get(db, account_id, job_id, is_locked=True)
    moment = await database_now(db)
    if run.step in {Step.PREPARE, Step.RUN} and (run.expire_time is None or run.expire_time > moment):
        run.expire_time = moment
        await db.flush()
    return job_of(run)


async def pause(db: AsyncSession, handlers: Handlers, *, account_id: str, job_id: str) -> Job:
    """Have nothing more of a job begun until it is resumed or expires; what is under way may end.

    One that has ended or is paused stays as it is. Raises: NotFoundError as `get`.
    """
    run = await _get(db, account_id, job_id, is_locked=True)
    if run.state in {State.QUEUED, State.RUNNING}:
        await steps.change_state(db, handlers, run, State.PAUSED)
    return job_of(run)


async def resume(db: AsyncSession, handlers: Handlers, *, account_id: str, job_id: str) -> Job:
    """Let a paused job go on; one that is not paused stays as it is. Raises: NotFoundError as `get`."""
    run = await _get(db, account_id, job_id, is_locked=True)
    if run.state == State.PAUSED:
        await steps.unpause(db, handlers, run)
    return job_of(run)


async def _get(db: AsyncSession, account_id: str, job_id: str, *, is_locked: bool) -> JobRunRow:
    chosen = select(JobRunRow).where(JobRunRow.id == job_id, JobRunRow.account_id == account_id)
    if is_locked:
        chosen = chosen.with_for_update()
    run = (await db.scalars(chosen.execution_options(populate_existing=True))).one_or_none()
    if run is None:
        raise NotFoundError(f"There is no job {job_id}.")
    return run
