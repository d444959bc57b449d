"""Two processes do a job together, and are killed again and again while they do."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

from sqlalchemy import func, select

from embergate.jobs.job import State
from embergate.jobs.metrics import FAILED
from embergate.storage.database import Database
from tests.integration.jobs import toy
from tests.integration.jobs.toy import FINISHED, EffectRow

ROOT = Path(__file__).parents[3]
NUM_CHUNKS = 2_000
NUM_KILLS = 5


def start(url: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.integration.jobs.worker_process", url]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)


async def num_effects(database: Database) -> int:
    async with database.reading() as db:
        return await db.scalar(select(func.count()).select_from(EffectRow)) or 0


async def test_two_processes_that_are_killed_commit_each_chunk_once(jobs: Database, database_url: str) -> None:
    # Each is killed when so many chunks are done, wherever it is then.
    kills = sorted(random.sample(range(NUM_CHUNKS * 9 // 10), NUM_KILLS))
    job_id = await toy.enqueue(jobs, NUM_CHUNKS)
    workers = [start(database_url), start(database_url)]
    try:
        for number, kill_at in enumerate(kills):
            await toy.until(lambda kill_at=kill_at: _has_done(jobs, kill_at), every_s=0.05)  # type: ignore[misc]
            victim = workers[number % 2]
            victim.kill()
            victim.wait()
            workers[number % 2] = start(database_url)
        await toy.until_ended(jobs, job_id, every_s=0.05)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    assert (await toy.get(jobs, job_id)).state is State.COMPLETED
    assert Counter(await toy.effects(jobs, job_id)) == Counter([FINISHED, *range(NUM_CHUNKS)]), f"killed at {kills}"


async def _has_done(database: Database, num: int) -> bool:
    return await num_effects(database) >= num


async def test_one_killed_process_is_not_missed(jobs: Database, database_url: str) -> None:
    job_id = await toy.enqueue(jobs, 20)
    worker = start(database_url)
    try:
        await toy.until(lambda: _has_done(jobs, 5))
    finally:
        worker.kill()
        worker.wait()
    await toy.end_leases(jobs)
    async with toy.working(jobs, toy.ToyHandler()):
        await toy.until_ended(jobs, job_id)
    assert await toy.effects(jobs, job_id) == [FINISHED, *range(20)]


async def test_waiting_for_the_database_is_no_fault_of_a_chunk(jobs: Database) -> None:
    """More workers than the database has connections, or turns to write, at once."""
    job_id = await toy.enqueue(jobs, 30)
    handler = toy.ToyHandler()
    async with toy.working(jobs, handler, num_slots=16) as one, toy.working(jobs, handler, num_slots=16) as two:
        await toy.until_ended(jobs, job_id)
    assert await toy.effects(jobs, job_id) == [FINISHED, *range(30)]
    assert toy.num_chunks(one, FAILED) + toy.num_chunks(two, FAILED) == 0
