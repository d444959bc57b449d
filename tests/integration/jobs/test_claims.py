"""Whose turn it is, who has a chunk, and what is left of a worker that has lost its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from embergate.jobs import claims, control, steps
from embergate.jobs.claims import Claim, Room
from embergate.jobs.errors import LeaseLostError
from embergate.jobs.handler import Context, Outcome
from embergate.jobs.job import Step
from embergate.jobs.rules import WorkerRules
from embergate.jobs.steps import Again, Done, Verdict
from embergate.storage.database import Database
from embergate.storage.tables.jobs import JobChunkRow, JobRunRow
from tests.integration.gateway.platform import on_postgresql_only, on_sqlite_only
from tests.integration.jobs import toy
from tests.integration.jobs.toy import FINISHED, TOY, ToyHandler, end_leases, until_ended, working

HANDLERS = {TOY: ToyHandler()}


async def take(database: Database, num: int, owner: str = "one") -> list[Claim]:
    async with database.writing() as db:
        return await claims.claim(db, [TOY], Room(num, num), owner=owner, lease=timedelta(minutes=1))


async def settle(database: Database, claim: Claim, verdict: Verdict) -> None:
    async with database.writing() as db:
        await steps.settle(db, HANDLERS, claim, verdict)


async def running(database: Database, num_chunks: int, account_id: str = "acme", priority: int = 0) -> str:
    """Return a job whose chunks are planned."""
    job_id = await toy.enqueue(database, num_chunks, account_id, priority=priority)
    async with database.writing() as db:
        await db.execute(
            update(JobRunRow)
            .where(JobRunRow.id == job_id)
            .values(step=Step.RUN, state="RUNNING", num_chunks=num_chunks)
        )
        chunk = (await db.scalars(select(JobChunkRow).where(JobChunkRow.job_id == job_id))).one()
        common = {"account_id": account_id, "state": "WAITING", "next_claim_time": chunk.next_claim_time}
        chunk.next_claim_time = None
        db.add_all(
            JobChunkRow(job_id=job_id, step=Step.RUN, number=number, payload=number, fence=0, attempt=0, **common)
            for number in range(num_chunks)
        )
    return job_id


def jobs_of(taken: Sequence[Claim]) -> list[str]:
    return [claim.job.id for claim in taken]


async def test_jobs_that_are_prepared_leave_a_slot_for_the_work_on_others(jobs: Database) -> None:
    new = [await toy.enqueue(jobs, 1) for _ in range(3)]
    under_way = await running(jobs, 5)
    async with jobs.writing() as db:
        taken = await claims.claim(db, [TOY], Room(4, 2), owner="one", lease=timedelta(minutes=1))
    assert jobs_of(taken) == [*new[:2], under_way, under_way]
    full = Room(1, 0)
    async with jobs.writing() as db:
        await db.execute(update(JobRunRow).where(JobRunRow.id == under_way).values(state="PAUSED"))
        assert not await claims.has_claimable(db, [TOY], full)
        assert await claims.has_claimable(db, [TOY], Room(1, 1))
        assert await claims.claim(db, [TOY], full, owner="one", lease=timedelta(minutes=1)) == []


async def test_account_with_the_fewest_chunks_under_way_goes_first(jobs: Database) -> None:
    many, later = await running(jobs, 100), await running(jobs, 100)
    few = await running(jobs, 2, "beta")
    assert jobs_of(await take(jobs, 6)) == [many, few, many, few, many, many]
    assert jobs_of(await take(jobs, 1, "two")) == [many]
    other = await running(jobs, 5, "beta", priority=-5)
    assert jobs_of(await take(jobs, 4, "two")) == [other, other, other, many]
    assert later  # the same account's, which is younger


async def test_of_an_accounts_jobs_the_highest_priority_goes_first_and_then_the_oldest(jobs: Database) -> None:
    old, young = await running(jobs, 2), await running(jobs, 2)
    urgent = await running(jobs, 1, priority=5)
    assert jobs_of(await take(jobs, 5)) == [urgent, old, old, young, young]


async def test_chunks_of_dead_workers_do_not_count_as_under_way(jobs: Database) -> None:
    job_id, other = await running(jobs, 9), await running(jobs, 9, "beta")
    await take(jobs, 1)
    await take(jobs, 1)
    await take(jobs, 1)
    await end_leases(jobs)
    # Both have none: the oldest job goes first, with the chunks that are open longest.
    taken = await take(jobs, 2, "two")
    assert jobs_of(taken) == [job_id, other]
    assert (taken[0].number, taken[0].fence) == (0, 2)


async def test_workers_that_claim_at_once_never_claim_the_same(jobs: Database) -> None:
    await running(jobs, 40)
    await running(jobs, 40, "beta")
    taken = await asyncio.gather(*(take(jobs, 4, f"owner {number}") for number in range(20)))
    keys = [claim.key for group in taken for claim in group]
    assert len(set(keys)) == len(keys) == 80


@on_postgresql_only  # with SQLite a transaction that writes is alone
async def test_job_whose_chunks_others_have_locked_is_passed_over(jobs: Database) -> None:
    locked, free = await running(jobs, 1), await running(jobs, 1)
    async with jobs.writing() as db:
        await db.execute(select(JobChunkRow).where(JobChunkRow.job_id == locked).with_for_update())
        assert jobs_of(await take(jobs, 2)) == [free]
    assert jobs_of(await take(jobs, 2)) == [locked]


async def test_lease_that_has_run_out_is_anothers_with_a_higher_fence(jobs: Database) -> None:
    await running(jobs, 1)
    [first] = await take(jobs, 1)
    assert await take(jobs, 1, "two") == []
    await end_leases(jobs)
    [second] = await take(jobs, 1, "two")
    assert (first.fence, second.fence, second.attempt, second.num_deaths) == (1, 2, 1, 1)


@pytest.mark.parametrize("is_second_done", [False, True])
async def test_worker_that_was_thought_dead_commits_nothing(jobs: Database, is_second_done: bool) -> None:
    job_id = await running(jobs, 2)
    committed: list[str] = []

    def outcome(owner: str) -> Done:
        async def commit(_db: object) -> None:
            committed.append(owner)

        return Done(Outcome(owner, commit))

    [first] = await take(jobs, 1)
    await end_leases(jobs)
    [second] = await take(jobs, 1, "two")
    if is_second_done:
        await settle(jobs, second, outcome("two"))
    with pytest.raises(LeaseLostError):
        await settle(jobs, first, outcome("one"))
    with pytest.raises(LeaseLostError):
        await settle(jobs, first, Again("no matter", timedelta(), is_fault=True))
    if not is_second_done:
        await settle(jobs, second, outcome("two"))
    assert committed == ["two"]
    assert (await toy.get(jobs, job_id)).num_done == 1


async def test_chunk_is_done_once_also_by_the_same_worker(jobs: Database) -> None:
    job_id = await running(jobs, 2)
    [claim] = await take(jobs, 1)
    await settle(jobs, claim, Done(Outcome()))
    with pytest.raises(LeaseLostError):  # as after a commit of which it is not known whether it happened
        await settle(jobs, claim, Done(Outcome()))
    assert (await toy.get(jobs, job_id)).num_done == 1


async def test_last_two_chunks_that_are_done_at_once_begin_the_finish_once(jobs: Database) -> None:
    job_id = await running(jobs, 8)
    taken = await take(jobs, 8)
    await asyncio.gather(*(settle(jobs, claim, Done(Outcome())) for claim in taken))
    assert await toy.step(jobs, job_id) == "FINISH"
    assert len(await take(jobs, 8)) == 1


async def test_renewed_lease_is_nobody_elses(jobs: Database) -> None:
    await running(jobs, 1)
    taken = await take(jobs, 1)
    await end_leases(jobs)
    async with jobs.writing() as db:
        assert await claims.renew(db, taken, lease=timedelta(minutes=1)) == {taken[0].key}
    assert await take(jobs, 1, "two") == []


async def test_lease_that_another_has_or_whose_job_has_stopped_is_not_renewed(jobs: Database) -> None:
    job_id, other = await running(jobs, 1), await running(jobs, 1, "beta")
    taken = await take(jobs, 2)
    assert jobs_of(taken) == [job_id, other]
    async with jobs.writing() as db:
        await db.execute(update(JobChunkRow).where(JobChunkRow.job_id == job_id).values(next_claim_time=toy.long_ago()))
    await take(jobs, 1, "two")
    async with jobs.writing() as db:
        assert await claims.renew(db, taken, lease=timedelta(minutes=1)) == {taken[1].key}
        await control.cancel(db, HANDLERS, account_id="beta", job_id=other)
        assert await claims.renew(db, taken, lease=timedelta(minutes=1)) == set()


@on_postgresql_only  # with SQLite a transaction that writes is alone
async def test_lease_that_is_being_ended_is_left_for_the_next_time(jobs: Database) -> None:
    await running(jobs, 1)
    taken = await take(jobs, 1)
    async with jobs.writing() as ending:
        await steps.hold(ending, taken[0])
        async with jobs.writing() as db, asyncio.timeout(60):
            assert await claims.renew(db, taken, lease=timedelta(minutes=1)) == {taken[0].key}


async def test_worker_drops_a_chunk_that_another_has(jobs: Database) -> None:
    handler, cancelled = ToyHandler(), asyncio.Event()

    async def hang(context: Context) -> None:
        if context.fence == 1:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

    handler.on_run = hang
    job_id = await toy.enqueue(jobs, 1)
    slow = WorkerRules(poll_s=0.02, heartbeat_s=3600.0, lease_s=600.0)
    async with working(jobs, handler, num_slots=1, rules=slow) as first:

        async def is_running() -> bool:
            return handler.runs == [0]

        await toy.until(is_running)
        await end_leases(jobs)
        async with working(jobs, handler, num_slots=1):
            await until_ended(jobs, job_id)
        first.wake()
        async with asyncio.timeout(60):
            await cancelled.wait()
    assert await toy.effects(jobs, job_id) == [FINISHED, 0]


@on_sqlite_only  # PostgreSQL plans by what it knows of the tables, which are empty here
async def test_claim_reads_open_chunks_by_their_index(jobs: Database) -> None:
    """Of a job with many chunks that have ended, a claim reads those that are open."""
    statement = claims.CANDIDATES.params(moment=toy.long_ago(), kinds=[TOY], steps=[Step.RUN], num=1)
    async with jobs.reading() as db:
        compiled = statement.compile(dialect=db.get_bind().dialect, compile_kwargs={"literal_binds": True})
        plan = (await db.connection()).exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}")
        lines = " ".join(row[-1] for row in (await plan).all())
    assert "ix_job_chunks_open" in lines
    assert "ix_job_chunks_leased" in lines
    assert "SCAN job_chunks USING INDEX ix_job_chunks_leased" in lines or "SCAN job_chunks" not in lines
