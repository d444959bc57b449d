"""A worker that stops, and one whose database is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from structlog.testing import capture_logs

from embergate.errors import UnavailableError
from embergate.jobs import claims
from embergate.jobs.claims import Room
from embergate.jobs.handler import Context
from embergate.jobs.job import Job, State
from embergate.jobs.rules import WorkerRules
from embergate.jobs.worker import Worker
from embergate.storage.database import Database
from embergate.storage.tables.jobs import JobChunkRow
from tests.integration.jobs import toy
from tests.integration.jobs.toy import FINISHED, QUICK, TOY, ToyHandler, until, until_ended, working


class MovingDatabase(Database):
    """A database that is away while `is_away`, for whoever begins a unit of work and whoever is in the middle of one."""

    is_away = False
    num_refused = 0

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        self._refuse()
        async with super().reading() as db:
            yield db

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncSession]:
        self._refuse()
        async with super().writing() as db:
            yield db
            self._refuse()

    def _refuse(self) -> None:
        if self.is_away:
            self.num_refused += 1
            raise UnavailableError("The database cannot be reached.")


async def leased(database: Database) -> list[str]:
    async with database.reading() as db:
        return list(await db.scalars(select(JobChunkRow.step).where(JobChunkRow.lease_owner.is_not(None))))


async def test_worker_that_stops_lets_end_what_is_under_way(jobs: Database) -> None:
    handler, opened = ToyHandler(), asyncio.Event()

    async def wait(_context: Context) -> None:
        await opened.wait()

    handler.on_run = wait
    job_id = await toy.enqueue(jobs, 5)
    async with working(jobs, handler, num_slots=2):
        await until(lambda: _has_begun(handler, 2))
        asyncio.get_running_loop().call_later(0.05, opened.set)
    assert sorted(handler.runs) == [0, 1]
    assert await toy.effects(jobs, job_id) == [0, 1]
    assert await leased(jobs) == []


async def test_worker_that_stops_gives_back_at_once_what_does_not_end(jobs: Database) -> None:
    handler = ToyHandler()

    async def hang(context: Context) -> None:
        if context.fence == 1:
            await asyncio.Event().wait()
        assert context.attempt == 1  # none was used up

    handler.on_run = hang
    job_id = await toy.enqueue(jobs, 2)
    async with working(jobs, handler, rules=WorkerRules(poll_s=0.02, grace_s=0.0)):
        await until(lambda: _has_begun(handler, 2))
    assert await leased(jobs) == []
    async with working(jobs, handler):
        await until_ended(jobs, job_id)
    assert await toy.effects(jobs, job_id) == [FINISHED, 0, 1]


@pytest.mark.parametrize("num_steps", [*range(0, 40, 3), 60, 100, 200])
async def test_worker_that_stops_at_any_step_leaves_no_lease(jobs: Database, num_steps: int) -> None:
    handler = ToyHandler()
    job_id = await toy.enqueue(jobs, 3)
    worker = Worker(jobs, {TOY: handler}, owner="test", num_slots=2, rules=WorkerRules(grace_s=0.0))
    task = asyncio.create_task(worker.run())
    for _ in range(num_steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert await leased(jobs) == []
    async with working(jobs, handler):
        await until_ended(jobs, job_id)
    assert await toy.effects(jobs, job_id) == [FINISHED, 0, 1, 2]


async def test_chunk_that_is_cancelled_before_its_first_step_frees_its_slot(jobs: Database) -> None:
    await toy.enqueue(jobs, 1)
    worker = Worker(jobs, {TOY: ToyHandler()}, owner="test", num_slots=1)
    async with jobs.writing() as db:
        [claim] = await claims.claim(db, [TOY], Room(1, 1), owner=worker.owner, lease=timedelta(minutes=1))
    worker._begin(claim)
    [slot] = worker._slots
    slot.task.cancel()
    await asyncio.wait([slot.task])
    await asyncio.sleep(0)
    assert toy.value_of(worker.metrics.running) == 0


async def test_worker_goes_on_when_its_database_is_back_and_says_so_once(jobs: Database) -> None:
    handler, moving = ToyHandler(), MovingDatabase(jobs._engines)

    async def lose(context: Context) -> None:
        if context.number == 1 and moving.num_refused == 0:
            moving.is_away = True  # its result finds no database

    handler.on_run = lose
    job_id = await toy.enqueue(jobs, 3)
    with capture_logs() as logs:
        async with working(moving, handler, num_slots=1) as worker:

            async def has_tried() -> bool:
                return moving.num_refused >= 3

            await until(has_tried)
            assert toy.value_of(worker.metrics.database_away) == 1
            moving.is_away = False
            await until_ended(jobs, job_id)
            await until(lambda: _is_back(worker))
    assert await toy.effects(jobs, job_id) == [FINISHED, 0, 1, 2]
    assert handler.runs == [0, 1, 2]  # the result was kept
    events = [entry["event"] for entry in logs]
    assert events.count("jobs_database_away") == 1
    assert events.count("jobs_database_back") == 1


async def test_worker_that_stops_while_its_database_is_away_does_stop(jobs: Database) -> None:
    moving, handler = MovingDatabase(jobs._engines), ToyHandler()
    job_id = await toy.enqueue(jobs, 1)

    async def lose(_context: Context) -> None:
        moving.is_away = True

    handler.on_run = lose
    async with working(moving, handler, rules=WorkerRules(poll_s=0.02, grace_s=0.0)):
        await until(lambda: _has_begun(handler, 1))
    await toy.end_leases(jobs)
    async with working(jobs, ToyHandler()):
        await until_ended(jobs, job_id)
    assert await toy.effects(jobs, job_id) == [FINISHED, 0]


async def test_commit_that_fails_undoes_the_chunk_and_its_state(jobs: Database) -> None:
    handler = ToyHandler()
    original, num_failed = handler.on_state, 0

    async def fail_twice(db: AsyncSession, job: Job, state: State) -> None:
        nonlocal num_failed
        await original(db, job, state)
        if num_failed < 2:
            num_failed += 1
            raise LookupError("a bug in the room")

    handler.on_state = fail_twice  # type: ignore[method-assign]
    job_id = await toy.enqueue(jobs, 2)
    async with working(jobs, handler, rules=QUICK):
        await until_ended(jobs, job_id)
    assert await toy.effects(jobs, job_id) == [FINISHED, 0, 1]
    assert await toy.states(jobs, job_id) == ["RUNNING", "COMPLETED"]


async def _has_begun(handler: ToyHandler, num: int) -> bool:
    return len(handler.runs) >= num


async def _is_back(worker: Worker) -> bool:
    return toy.value_of(worker.metrics.database_away) == 0
