"""A kind of job for tests: it counts, and writes down in the database what it was made to commit."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from prometheus_client import Counter, Gauge
from sqlalchemy import ColumnElement, MetaData, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from embergate.clock import now
from embergate.errors import UnavailableError
from embergate.jobs import control
from embergate.jobs.handler import Context, Outcome, Plan
from embergate.jobs.job import ChunkState, Job, NewJob, State
from embergate.jobs.rules import WorkerRules
from embergate.jobs.worker import Worker
from embergate.storage.database import Database
from embergate.storage.rows import Base
from embergate.storage.tables.accounts import AccountRow
from embergate.storage.tables.jobs import JobChunkRow, JobRunRow

TOY = "toy"
# Nothing in tests waits for these: leases are ended, and pauses too, in the database.
QUICK = WorkerRules(poll_s=0.02, heartbeat_s=0.05, lease_s=600.0, first_pause_s=0.0)
FINISHED, CLEANED = -1, -2


class ToyBase(Base):
    __abstract__ = True
    metadata = MetaData()


class EffectRow(ToyBase):
    """What was committed with a chunk; nothing but the mechanism keeps it from being there twice."""

    __tablename__ = "toy_effects"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    job_id: Mapped[str]
    number: Mapped[int]
    fence: Mapped[int]


class StateRow(ToyBase):
    __tablename__ = "toy_states"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    job_id: Mapped[str]
    state: Mapped[str]


class ToyHandler:
    """Plans as many chunks as the payload says, in pages of `page_size`; `on_run` and `on_prepare` may get in the way."""

    timeout_s = 60.0
    keeps_part = False

    def __init__(self, page_size: int = 3) -> None:
        self.page_size = page_size
        self.runs: list[int] = []
        self.finished: dict[str, list[Any]] = {}
        self.contexts: list[Context] = []
        self.waits: list[tuple[str, str]] = []
        self.on_prepare: Callable[[Context], Awaitable[None]] = nothing
        self.on_run: Callable[[Context], Awaitable[None]] = nothing
        self.on_finish: Callable[[Context], Awaitable[None]] = nothing
        self.on_cleanup: Callable[[Context], Awaitable[None]] = nothing

    async def prepare(self, context: Context, plan: Plan) -> Outcome:
        num_chunks = context.job.payload["num_chunks"]
        for first in range(0, num_chunks, self.page_size):
            await plan(list(range(first, min(first + self.page_size, num_chunks))))
        await self.on_prepare(context)
        return Outcome()

    async def run(self, context: Context, payload: Any) -> Outcome:
        self.runs.append(context.number)
        await self.on_run(context)
        return Outcome(payload * 10, effect(context, context.number))

    async def finish(self, context: Context) -> Outcome:
        self.contexts.append(context)
        await self.on_finish(context)
        self.finished[context.job.id] = [chunk.result async for chunk in context.done_chunks()]
        return Outcome(None, effect(context, FINISHED))

    async def cleanup(self, context: Context) -> Outcome:
        self.contexts.append(context)
        await self.on_cleanup(context)
        return Outcome(None, effect(context, CLEANED))

    async def on_state(self, db: AsyncSession, job: Job, state: State) -> None:
        await db.execute(insert(StateRow).values(job_id=job.id, state=state))

    async def on_wait(self, _db: AsyncSession, job: Job, reason: str) -> None:
        self.waits.append((job.id, reason))


async def nothing(_context: Context) -> None:
    pass


def effect(context: Context, number: int) -> Callable[[AsyncSession], Awaitable[None]]:
    async def commit(db: AsyncSession) -> None:
        await db.execute(insert(EffectRow).values(job_id=context.job.id, number=number, fence=context.fence))

    return commit


async def create(database: Database, *account_ids: str) -> None:
    """Make the toy's tables and accounts."""
    async with database.migrating() as connection:
        await connection.run_sync(ToyBase.metadata.create_all)
    async with database.writing() as db:
        db.add_all(account(id_) for id_ in account_ids)


async def create_once(database: Database, *account_ids: str) -> None:
    """As `create`, unless that was done."""
    async with database.reading() as db:
        is_there = await db.get(AccountRow, account_ids[0]) is not None
    if not is_there:
        await create(database, *account_ids)


def account(id_: str) -> AccountRow:
    return AccountRow(
        id=id_,
        display_name=id_,
        email="",
        account_type="",
        state="READY",
        suspend_state="UNSUSPENDED",
        create_time=now(),
        update_time=now(),
    )


async def enqueue(database: Database, num_chunks: int, account_id: str = "acme", **more: Any) -> str:
    async with database.writing() as db:
        job = await control.enqueue(db, NewJob(TOY, account_id, {"num_chunks": num_chunks}, **more))
    return job.id


async def get(database: Database, job_id: str, account_id: str = "acme") -> Job:
    async with database.reading() as db:
        return await control.get(db, account_id=account_id, job_id=job_id)


async def effects(database: Database, job_id: str) -> list[int]:
    async with database.reading() as db:
        chosen = select(EffectRow.number).where(EffectRow.job_id == job_id).order_by(EffectRow.number)
        return list(await db.scalars(chosen))


async def states(database: Database, job_id: str) -> list[str]:
    async with database.reading() as db:
        return list(await db.scalars(select(StateRow.state).where(StateRow.job_id == job_id).order_by(StateRow.id)))


async def step(database: Database, job_id: str) -> str | None:
    async with database.reading() as db:
        return await db.scalar(select(JobRunRow.step).where(JobRunRow.id == job_id))


async def end_leases(database: Database) -> None:
    """Let the time pass after which a worker that is not heard of is thought dead, and pauses are over."""
    await _let_pass(database, JobChunkRow.next_claim_time.is_not(None))


async def end_pauses(database: Database) -> None:
    """Let the time pass for which chunks wait that were put back."""
    await _let_pass(database, JobChunkRow.state == ChunkState.WAITING)


async def _let_pass(database: Database, chosen: ColumnElement[bool]) -> None:
    # It locks chunks in any order, as the program itself never does, and so may be in a deadlock, and has to give way.
    for _ in range(20):
        with contextlib.suppress(UnavailableError):
            async with database.writing() as db:
                await db.execute(update(JobChunkRow).where(chosen).values(next_claim_time=long_ago()))
            return
    raise AssertionError("there is always a deadlock")


async def expire(database: Database, job_id: str) -> None:
    async with database.writing() as db:
        await db.execute(update(JobRunRow).where(JobRunRow.id == job_id).values(expire_time=long_ago()))


def long_ago() -> Any:
    return now().replace(year=2020)


@contextlib.asynccontextmanager
async def working(
    database: Database, handler: ToyHandler, *, num_slots: int = 2, rules: WorkerRules = QUICK
) -> AsyncIterator[Worker]:
    """Have a worker at work during the block; it stops at its end."""
    worker = Worker(database, {TOY: handler}, owner="test", num_slots=num_slots, rules=rules)
    task = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()


async def until(is_so: Callable[[], Awaitable[bool]], *, every_s: float = 0.005) -> None:
    async with asyncio.timeout(60):
        while not await is_so():  # noqa: ASYNC110 - other processes set no event
            await asyncio.sleep(every_s)


async def until_ended(database: Database, *job_ids: str, every_s: float = 0.005) -> None:
    async def have_ended() -> bool:
        return all([await step(database, job_id) == "END" for job_id in job_ids])

    await until(have_ended, every_s=every_s)


def num_chunks(worker: Worker, outcome: str) -> float:
    """Return how many chunks of toy jobs a worker has counted so."""
    return value_of(worker.metrics.chunks, kind=TOY, outcome=outcome)


def value_of(metric: Counter | Gauge, **labels: str) -> float:
    """Return what a metric tells."""
    (family,) = metric.collect()
    values = [
        sample.value for sample in family.samples if sample.labels == labels and not sample.name.endswith("_created")
    ]
    return sum(values)
