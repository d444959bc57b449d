"""A job's life, from the transaction that enqueues it to its end, whichever that is."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import NoReturn

import pytest
from sqlalchemy import func, select, update

from embergate.errors import NotFoundError, OverloadedError, UnavailableError
from embergate.jobs import control
from embergate.jobs.errors import JobError, RetryLater
from embergate.jobs.handler import Context
from embergate.jobs.job import Job, NewJob, Progress, State
from embergate.jobs.metrics import DONE, FAILED, LOST, PUT_BACK
from embergate.jobs.retention import open_jobs, purge_jobs
from embergate.jobs.rules import WorkerRules
from embergate.storage.database import Database
from embergate.storage.tables.jobs import JobChunkRow, JobRunRow
from tests.integration.jobs import toy
from tests.integration.jobs.toy import (
    CLEANED,
    FINISHED,
    TOY,
    ToyHandler,
    end_leases,
    end_pauses,
    num_chunks,
    until,
    until_ended,
    value_of,
    working,
)


class Gate:
    """Holds up whoever comes, until it is opened."""

    def __init__(self) -> None:
        self.num_waiting = 0
        self.opened = asyncio.Event()

    async def __call__(self, _context: Context) -> None:
        self.num_waiting += 1
        await self.opened.wait()

    async def until_met(self, num: int) -> None:
        async def is_met() -> bool:
            return self.num_waiting >= num

        await until(is_met)


async def until_others_are_done(jobs: Database) -> None:
    """Let another worker do another job, and so look for work several times."""
    async with working(jobs, ToyHandler()):
        await until_ended(jobs, await toy.enqueue(jobs, 3, "beta"))


async def test_job_is_prepared_run_and_finished(jobs: Database) -> None:
    handler = ToyHandler()
    job_id = await toy.enqueue(jobs, 7)
    async with working(jobs, handler) as worker:
        await until_ended(jobs, job_id)
    job = await toy.get(jobs, job_id)
    assert (job.state, job.num_chunks, job.num_done) == (State.COMPLETED, 7, 7)
    assert job.start_time is not None
    assert job.end_time is not None
    assert job.create_time <= job.start_time <= job.end_time
    assert handler.finished[job_id] == [0, 10, 20, 30, 40, 50, 60]
    assert await toy.effects(jobs, job_id) == [FINISHED, *range(7)]
    assert await toy.states(jobs, job_id) == ["RUNNING", "COMPLETED"]
    assert [num_chunks(worker, outcome) for outcome in (DONE, FAILED, PUT_BACK, LOST)] == [9, 0, 0, 0]
    assert [value_of(worker.metrics.changes, kind=TOY, state=state) for state in ("RUNNING", "COMPLETED")] == [1, 1]


async def test_job_without_chunks_is_finished(jobs: Database) -> None:
    job_id = await toy.enqueue(jobs, 0)
    async with working(jobs, ToyHandler()):
        await until_ended(jobs, job_id)
    assert await toy.effects(jobs, job_id) == [FINISHED]
    assert await toy.states(jobs, job_id) == ["RUNNING", "COMPLETED"]


async def test_job_is_there_only_if_its_transaction_is_committed(jobs: Database) -> None:
    job_id = ""

    async def fail() -> NoReturn:
        nonlocal job_id
        async with jobs.writing() as db:
            job_id = (await control.enqueue(db, NewJob(TOY, "acme", {"num_chunks": 1}))).id
            raise LookupError("of the caller")

    with pytest.raises(LookupError):
        await fail()
    with pytest.raises(NotFoundError):
        await toy.get(jobs, job_id)
    handler = ToyHandler()
    other = await toy.enqueue(jobs, 1)
    async with working(jobs, handler):
        await until_ended(jobs, other)
    assert list(handler.finished) == [other]


async def test_woken_worker_does_not_wait_for_its_poll(jobs: Database) -> None:
    handler = ToyHandler()
    rules = WorkerRules(poll_s=3600.0, heartbeat_s=3600.0)
    async with working(jobs, handler, rules=rules) as worker:
        await asyncio.sleep(0.05)  # it looks for the first time, most likely
        job_id = await toy.enqueue(jobs, 3)
        worker.wake()
        await until_ended(jobs, job_id)


async def test_ten_thousand_chunks_are_planned_in_pages(jobs: Database) -> None:
    handler, gate = ToyHandler(page_size=4_000), Gate()
    handler.on_run = gate
    job_id = await toy.enqueue(jobs, 10_000)
    async with working(jobs, handler, num_slots=2):
        await gate.until_met(2)
        async with jobs.reading() as db:
            progress = await control.progress(db, account_id="acme", job_id=job_id)
        assert progress == Progress(State.RUNNING, 9_998, 2, 0)
        assert progress.num_chunks == 10_000
        async with jobs.writing() as db:
            await control.cancel(db, {TOY: handler}, account_id="acme", job_id=job_id)
        await until_ended(jobs, job_id)
    assert sorted(handler.runs) == [0, 1]


async def test_preparation_that_is_repeated_plans_anew(jobs: Database) -> None:
    handler = ToyHandler()

    async def fail_once(context: Context) -> None:
        if context.attempt == 1:
            raise LookupError("in the middle of it")

    handler.on_prepare = fail_once
    job_id = await toy.enqueue(jobs, 7)
    async with working(jobs, handler):
        await until_ended(jobs, job_id)
    assert await toy.effects(jobs, job_id) == [FINISHED, *range(7)]


async def test_job_of_another_account_is_not_found(jobs: Database) -> None:
    job_id = await toy.enqueue(jobs, 1)
    handlers = {TOY: ToyHandler()}
    async with jobs.writing() as db:
        for call in (control.cancel, control.pause, control.resume):
            with pytest.raises(NotFoundError):
                await call(db, handlers, account_id="beta", job_id=job_id)
        with pytest.raises(NotFoundError):
            await control.progress(db, account_id="beta", job_id=job_id)
    assert (await toy.get(jobs, job_id)).state == State.QUEUED


async def test_paused_job_begins_nothing_until_it_is_resumed(jobs: Database) -> None:
    handler, gate = ToyHandler(), Gate()
    handler.on_run = gate
    handlers = {TOY: handler}
    job_id = await toy.enqueue(jobs, 5)
    async with working(jobs, handler, num_slots=1):
        await gate.until_met(1)
        async with jobs.writing() as db:
            assert (await control.pause(db, handlers, account_id="acme", job_id=job_id)).state == State.PAUSED
            await control.pause(db, handlers, account_id="acme", job_id=job_id)  # once more does nothing
        gate.opened.set()
        other = await toy.enqueue(jobs, 2, "beta")
        await until_ended(jobs, other)
        # What was under way has ended.
        assert await toy.effects(jobs, job_id) == [0]
        async with jobs.writing() as db:
            assert (await control.resume(db, handlers, account_id="acme", job_id=job_id)).state == State.RUNNING
        await until_ended(jobs, job_id)
    assert await toy.effects(jobs, job_id) == [FINISHED, *range(5)]
    assert await toy.states(jobs, job_id) == ["RUNNING", "PAUSED", "RUNNING", "COMPLETED"]


async def test_job_that_is_paused_before_it_begins_is_queued_again(jobs: Database) -> None:
    handler = ToyHandler()
    job_id = await toy.enqueue(jobs, 1)
    async with jobs.writing() as db:
        await control.pause(db, {TOY: handler}, account_id="acme", job_id=job_id)
        assert (await control.resume(db, {TOY: handler}, account_id="acme", job_id=job_id)).state == State.QUEUED
    async with working(jobs, handler):
        await until_ended(jobs, job_id)
    assert await toy.states(jobs, job_id) == ["PAUSED", "QUEUED", "RUNNING", "COMPLETED"]


async def test_cancelled_job_stops_what_is_under_way_and_is_cleaned_up_once(jobs: Database) -> None:
    handler, gate, cancelled = ToyHandler(), Gate(), 0

    async def wait(context: Context) -> None:
        nonlocal cancelled
        try:
            await gate(context)
        except asyncio.CancelledError:
            cancelled += 1
            raise

    handler.on_run = wait
    job_id = await toy.enqueue(jobs, 5)
    async with working(jobs, handler, num_slots=2):
        await gate.until_met(2)
        async with jobs.writing() as db:
            job = await control.cancel(db, {TOY: handler}, account_id="acme", job_id=job_id)
            assert job.state == State.CANCELLED
        await until_ended(jobs, job_id)
    assert cancelled == 2
    assert await toy.effects(jobs, job_id) == [CLEANED]
    assert await toy.states(jobs, job_id) == ["RUNNING", "CANCELLED"]


async def test_chunk_that_ends_after_its_job_was_cancelled_commits_nothing(jobs: Database) -> None:
    handler, gate = ToyHandler(), Gate()
    handler.on_run = gate
    job_id = await toy.enqueue(jobs, 1)
    rules = WorkerRules(poll_s=0.02, heartbeat_s=3600.0)
    async with working(jobs, handler, num_slots=1, rules=rules) as worker:
        await gate.until_met(1)
        async with jobs.writing() as db:
            await control.cancel(db, {TOY: handler}, account_id="acme", job_id=job_id)
        await until_others_are_done(jobs)
        assert await toy.effects(jobs, job_id) == []  # it is cleaned up only when nothing of it runs any more
        gate.opened.set()
        await until_ended(jobs, job_id)
    assert await toy.effects(jobs, job_id) == [CLEANED]
    assert num_chunks(worker, LOST) == 1


async def test_job_that_has_ended_cannot_be_cancelled_or_paused(jobs: Database) -> None:
    handler = ToyHandler()
    job_id = await toy.enqueue(jobs, 1)
    async with working(jobs, handler):
        await until_ended(jobs, job_id)
        async with jobs.writing() as db:
            for call in (control.cancel, control.pause, control.resume):
                assert (await call(db, {TOY: handler}, account_id="acme", job_id=job_id)).state == State.COMPLETED


@pytest.mark.parametrize("is_told", [False, True])
async def test_job_that_expires_or_is_told_to_end_early_keeps_what_is_done(jobs: Database, is_told: bool) -> None:
    handler, gate = ToyHandler(), Gate()

    async def wait(context: Context) -> None:
        if context.number == 2:
            await gate(context)

    handler.on_run = wait
    job_id = await toy.enqueue(jobs, 5, max_age=timedelta(hours=1))
    async with working(jobs, handler, num_slots=1):
        await gate.until_met(1)
        if is_told:
            await end_early(jobs, job_id)
        else:
            await toy.expire(jobs, job_id)
        await until_others_are_done(jobs)
        assert job_id not in handler.finished
        gate.opened.set()  # what is under way may end
        await until_ended(jobs, job_id)
    assert handler.contexts[0].is_expired
    assert handler.finished[job_id] == [0, 10, 20]
    assert await toy.states(jobs, job_id) == ["RUNNING", "EXPIRED"]
    assert (await toy.get(jobs, job_id)).num_done == 3
    before = await toy.get(jobs, job_id)
    assert await end_early(jobs, job_id) == before


async def end_early(jobs: Database, job_id: str) -> Job:
    async with jobs.writing() as db:
        return await control.end_early(db, account_id="acme", job_id=job_id)


@pytest.mark.parametrize("is_paused", [False, True])
async def test_job_that_expires_before_it_begins_is_finished(jobs: Database, is_paused: bool) -> None:
    handler = ToyHandler()
    job_id = await toy.enqueue(jobs, 5, max_age=timedelta(0))
    if is_paused:
        async with jobs.writing() as db:
            await control.pause(db, {TOY: handler}, account_id="acme", job_id=job_id)
    async with working(jobs, handler):
        await until_ended(jobs, job_id)
    assert handler.runs == []
    assert await toy.effects(jobs, job_id) == [FINISHED]
    assert (await toy.states(jobs, job_id))[-1] == "EXPIRED"


async def test_chunk_that_fails_is_tried_again(jobs: Database) -> None:
    handler = ToyHandler()

    async def fail(context: Context) -> None:
        if context.number == 1 and context.attempt < 5:
            raise LookupError("a bug")

    handler.on_run = fail
    job_id = await toy.enqueue(jobs, 3)
    async with working(jobs, handler) as worker:
        await until_ended(jobs, job_id)
    assert await toy.effects(jobs, job_id) == [FINISHED, 0, 1, 2]
    assert num_chunks(worker, FAILED) == 4


async def test_poisonous_chunk_fails_its_job_and_says_which_and_why(jobs: Database) -> None:
    handler = ToyHandler()

    async def fail(context: Context) -> None:
        if context.number == 1:
            raise LookupError("with somebody's data in it")

    handler.on_run = fail
    job_id, other = await toy.enqueue(jobs, 3), await toy.enqueue(jobs, 1, "beta")
    async with working(jobs, handler, num_slots=1):
        await until_ended(jobs, job_id, other)
    job = await toy.get(jobs, job_id)
    assert (job.state, job.error_code) == (State.FAILED, "INTERNAL")
    assert job.error_message == "chunk 1 failed 5 times, at last with LookupError"
    assert handler.runs.count(1) == 5
    assert (await toy.effects(jobs, job_id))[0] == CLEANED
    assert await toy.states(jobs, job_id) == ["RUNNING", "FAILED"]
    assert await toy.states(jobs, other) == ["RUNNING", "COMPLETED"]


async def test_chunk_that_takes_its_process_with_it_fails_its_job(jobs: Database) -> None:
    handler = ToyHandler()
    job_id = await toy.enqueue(jobs, 1)
    async with working(jobs, handler):
        async with jobs.writing() as db:
            await control.pause(db, {TOY: handler}, account_id="acme", job_id=job_id)
        async with jobs.writing() as db:  # ten processes that had it are gone
            await db.execute(
                update(JobChunkRow).values(attempt=1, num_deaths=9, fence=10, lease_owner="gone", state="RUNNING")
            )
            await control.resume(db, {TOY: handler}, account_id="acme", job_id=job_id)
        await end_leases(jobs)
        await until_ended(jobs, job_id)
    job = await toy.get(jobs, job_id)
    assert job.error_message == (
        "the step PREPARE never ended: 10 servers that had begun it died, or were not heard of"
    )


@pytest.mark.parametrize("place", ["on_prepare", "on_run", "on_finish"])
async def test_job_error_fails_the_job_for_good(jobs: Database, place: str) -> None:
    handler = ToyHandler()

    async def refuse(_context: Context) -> None:
        raise JobError("INVALID_ARGUMENT", "line 3 is no JSON")

    setattr(handler, place, refuse)
    job_id = await toy.enqueue(jobs, 1)
    async with working(jobs, handler):
        await until_ended(jobs, job_id)
    job = await toy.get(jobs, job_id)
    assert (job.state, job.error_code, job.error_message) == (State.FAILED, "INVALID_ARGUMENT", "line 3 is no JSON")
    assert (await toy.effects(jobs, job_id))[0] == CLEANED


async def test_cleanup_that_fails_is_given_up_in_the_end(jobs: Database) -> None:
    handler = ToyHandler()

    async def fail(_context: Context) -> None:
        raise LookupError("a bug")

    handler.on_cleanup = fail
    job_id = await toy.enqueue(jobs, 1)
    async with jobs.writing() as db:
        await control.cancel(db, {TOY: handler}, account_id="acme", job_id=job_id)
    async with working(jobs, handler):
        await until_ended(jobs, job_id)
    assert len(handler.contexts) == 5
    assert await toy.states(jobs, job_id) == ["CANCELLED"]


@pytest.mark.parametrize(
    "error", [RetryLater(0.0, "not yet"), OverloadedError(retry_after_s=0.0), UnavailableError("the storage is away")]
)
async def test_what_is_no_fault_uses_up_no_attempt(jobs: Database, error: Exception) -> None:
    handler, num_tries = ToyHandler(), 0

    async def fail(context: Context) -> None:
        nonlocal num_tries
        num_tries += 1
        assert context.attempt == 1
        if num_tries < 8:
            raise error

    handler.on_run = fail
    job_id = await toy.enqueue(jobs, 1)
    async with working(jobs, handler) as worker:
        while await toy.step(jobs, job_id) != "END":
            await end_pauses(jobs)
            await asyncio.sleep(0.01)
    assert num_chunks(worker, PUT_BACK) == 7
    assert len(handler.waits) == 7
    assert await toy.effects(jobs, job_id) == [FINISHED, 0]


async def test_chunk_that_is_blocked_for_more_than_a_day_fails_its_job(jobs: Database) -> None:
    handler = ToyHandler()

    async def fail(_context: Context) -> None:
        raise UnavailableError("the storage is away")

    handler.on_run = fail
    job_id = await toy.enqueue(jobs, 1)
    async with working(jobs, handler) as worker:

        async def is_put_back() -> bool:
            return num_chunks(worker, PUT_BACK) > 0

        await until(is_put_back)
        async with jobs.writing() as db:
            await db.execute(update(JobChunkRow).values(blocked_since=toy.long_ago()))
        await end_pauses(jobs)
        await until_ended(jobs, job_id)
    job = await toy.get(jobs, job_id)
    assert job.error_code == "UNAVAILABLE"
    assert job.error_message == "chunk 0 could not be done for a day: the storage is away"


async def test_call_that_takes_too_long_has_failed(jobs: Database) -> None:
    handler, gate = ToyHandler(), Gate()
    handler.timeout_s = 0.01

    async def hang(context: Context) -> None:
        await gate(context)

    handler.on_cleanup = hang
    job_id = await toy.enqueue(jobs, 1)
    async with jobs.writing() as db:
        await control.cancel(db, {TOY: handler}, account_id="acme", job_id=job_id)
    async with working(jobs, handler):
        await until_ended(jobs, job_id)
    assert gate.num_waiting == 5


async def test_purge_takes_jobs_that_ended_long_ago_and_no_others(jobs: Database) -> None:
    handler = ToyHandler()
    old, recent = await toy.enqueue(jobs, 3), await toy.enqueue(jobs, 1)
    async with working(jobs, handler):
        await until_ended(jobs, old, recent)
    still_open = await toy.enqueue(jobs, 1)
    async with jobs.writing() as db:
        await db.execute(update(JobRunRow).where(JobRunRow.id != recent).values(end_time=toy.long_ago()))
    assert await purge_jobs(jobs) == 1
    assert await purge_jobs(jobs) == 0
    with pytest.raises(NotFoundError):
        await toy.get(jobs, old)
    async with jobs.reading() as db:
        left = await db.execute(select(JobChunkRow.job_id, func.count()).group_by(JobChunkRow.job_id))
        assert {row[0]: row[1] for row in left} == {recent: 3, still_open: 1}
        assert await open_jobs(db) == {(TOY, "QUEUED"): 1}


async def test_deaths_of_servers_leave_a_chunk_its_attempts(jobs: Database) -> None:
    handler, num_tries = ToyHandler(), 0

    async def fail(_context: Context) -> None:
        nonlocal num_tries
        num_tries += 1
        if num_tries < 5:
            raise LookupError("a bug")

    handler.on_prepare = fail
    job_id = await toy.enqueue(jobs, 1)
    async with jobs.writing() as db:  # nine processes that had it are gone
        gone = {"attempt": 1, "num_deaths": 8, "fence": 9, "lease_owner": "gone", "state": "RUNNING"}
        await db.execute(update(JobChunkRow).values(gone))
    await end_leases(jobs)
    async with working(jobs, handler):
        await until_ended(jobs, job_id)
    assert (await toy.get(jobs, job_id)).state is State.COMPLETED
    assert num_tries == 5


@pytest.mark.parametrize("is_paused", [False, True])
async def test_job_that_fails_keeps_what_is_done_where_its_kind_says_so(jobs: Database, is_paused: bool) -> None:
    handler = ToyHandler()
    handler.keeps_part = True

    async def fail(context: Context) -> None:
        if context.number == 2:
            if is_paused:
                async with jobs.writing() as db:
                    await control.pause(db, {TOY: handler}, account_id="acme", job_id=job_id)
            raise JobError("NOT_FOUND", "the input is gone")

    handler.on_run = fail
    job_id = await toy.enqueue(jobs, 5)
    async with working(jobs, handler, num_slots=1):
        await until_ended(jobs, job_id)
    job = await toy.get(jobs, job_id)
    assert (job.state, job.error_code, job.error_message) == (State.FAILED, "NOT_FOUND", "the input is gone")
    assert await toy.effects(jobs, job_id) == [FINISHED, 0, 1]
    assert handler.finished[job_id] == [0, 10]


async def test_job_that_fails_and_cannot_be_put_together_is_cleaned_up_and_says_why_it_failed(jobs: Database) -> None:
    handler = ToyHandler()
    handler.keeps_part = True

    async def fail(_context: Context) -> None:
        raise JobError("NOT_FOUND", "the input is gone")

    async def fail_again(_context: Context) -> None:
        raise JobError("INTERNAL", "it cannot be put together")

    handler.on_run, handler.on_finish = fail, fail_again
    job_id = await toy.enqueue(jobs, 1)
    async with working(jobs, handler):
        await until(lambda: is_at(jobs, job_id, "END"))
    job = await toy.get(jobs, job_id)
    assert (job.state, job.error_code) == (State.FAILED, "NOT_FOUND")
    assert await toy.effects(jobs, job_id) == [CLEANED]


async def is_at(database: Database, job_id: str, step: str) -> bool:
    return await toy.step(database, job_id) == step
