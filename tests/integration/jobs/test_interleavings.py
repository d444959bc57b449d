"""Whatever happens to workers and jobs, and in whatever order: every job ends, and each chunk is committed once."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embergate.jobs import control
from embergate.jobs.handler import Context
from embergate.jobs.job import State
from embergate.storage.database import Database
from tests.integration.jobs import toy
from tests.integration.jobs.mortal import RULES, MortalWorker
from tests.integration.jobs.toy import CLEANED, FINISHED, TOY, ToyHandler, end_leases

EVENTS = st.one_of(
    st.tuples(st.just("enqueue"), st.integers(0, 5), st.sampled_from(["acme", "beta"])),
    # One that is deaf hears of no lease that it has lost.
    st.tuples(st.just("start"), st.integers(1, 3), st.booleans()),
    st.tuples(st.just("let_run"), st.integers(0, 3)),
    st.tuples(st.just("let_run"), st.integers(0, 3)),
    st.tuples(st.just("kill"), st.integers(0, 2)),
    # At a unit of work of its own that is still to come.
    st.tuples(st.just("doom"), st.integers(0, 2), st.integers(1, 6), st.sampled_from(["before", "within", "after"])),
    st.tuples(st.just("wait"), st.integers(0, 8)),
    st.tuples(st.just("end_leases")),
    st.tuples(st.just("end_leases")),
    st.tuples(st.sampled_from(["cancel", "pause", "resume", "expire"]), st.integers(0, 3)),
)


class Play:
    """What happens, one event after another, while the workers work."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.handler = ToyHandler(page_size=2)
        self.workers: list[MortalWorker] = []
        self.jobs: list[tuple[str, str, int]] = []
        self.is_ending = False
        self.held_up: list[asyncio.Event] = []
        self.handler.on_run = self.hold_up

    async def hold_up(self, _context: Context) -> None:
        """Wait until the play lets this call go on."""
        if not self.is_ending:
            self.held_up.append(asyncio.Event())
            await self.held_up[-1].wait()

    async def event(self, kind: str, *arguments: Any) -> None:
        match kind, arguments:
            case "enqueue", (num_chunks, account_id):
                job_id = await toy.enqueue(self.database, num_chunks, account_id)
                self.jobs.append((job_id, account_id, num_chunks))
            case "start", (num_slots, is_deaf) if len(self.workers) < 3:
                self.workers.append(MortalWorker(self.database, self.handler, num_slots, is_deaf=is_deaf))
            case "let_run", (number,) if number < len(self.held_up):
                self.held_up.pop(number).set()
                await asyncio.sleep(0.005)
            case "kill", (number,) if number < len(self.workers):
                await self.workers.pop(number).kill()
            case "doom", (number, num_units, moment) if number < len(self.workers):
                self.workers[number].database.dies_after = num_units
                self.workers[number].database.moment = moment
            case "begin", ():
                await toy.until(self._has_begun)
            case "wait", (milliseconds,):
                await asyncio.sleep(milliseconds / 1000)
            case "end_leases", ():
                await end_leases(self.database)
                await asyncio.sleep(0.005)
            case "expire", (number,) if number < len(self.jobs):
                await toy.expire(self.database, self.jobs[number][0])
            case (("cancel" | "pause" | "resume"), (number,)) if number < len(self.jobs):
                await self._control(kind, number)

    async def end(self) -> None:
        """Kill everybody, and let a worker that lives do what is left."""
        self.is_ending = True
        for held_up in self.held_up:
            held_up.set()
        await asyncio.sleep(0.01)
        for worker in self.workers:
            await worker.kill()
        for number in range(len(self.jobs)):
            await self._control("resume", number)
        await end_leases(self.database)
        async with toy.working(self.database, self.handler, rules=RULES):
            await toy.until_ended(self.database, *(job_id for job_id, *_ in self.jobs))

    async def check(self) -> None:
        for job_id, account_id, num_chunks in self.jobs:
            job = await toy.get(self.database, job_id, account_id)
            found = Counter(await toy.effects(self.database, job_id))
            assert set(found.values()) == {1}, "something was committed twice"
            numbers = sorted(number for number in found if number >= 0)
            assert job.num_done == len(numbers)
            if job.state is State.CANCELLED:
                assert found.keys() & {FINISHED, CLEANED} == {CLEANED}
                continue
            assert found.keys() & {FINISHED, CLEANED} == {FINISHED}
            assert self.handler.finished[job_id] == [number * 10 for number in numbers], "not all was put together"
            if job.state is State.COMPLETED:
                assert numbers == list(range(num_chunks))
            else:
                assert job.state is State.EXPIRED
            assert (await toy.states(self.database, job_id))[-1] == job.state

    async def _has_begun(self) -> bool:
        return len(self.held_up) == 2

    async def _control(self, verb: str, number: int) -> None:
        job_id, account_id, _ = self.jobs[number]
        call = {"cancel": control.cancel, "pause": control.pause, "resume": control.resume}[verb]
        async with self.database.writing() as db:
            await call(db, {TOY: self.handler}, account_id=account_id, job_id=job_id)


# Each of the two has chunks under way, and one has room for more.
BEGINNING = [("enqueue", 4, "acme"), ("start", 2, True), ("begin",), ("start", 3, True)]
QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
SCRIPTS = st.lists(EVENTS, min_size=4, max_size=25)


@settings(max_examples=30, suppress_health_check=QUIET)
@given(events=SCRIPTS)
def test_each_chunk_is_committed_once_and_every_job_ends(sqlite_url: str, events: list[tuple[Any, ...]]) -> None:
    asyncio.run(play(sqlite_url, events))


@settings(max_examples=8, suppress_health_check=QUIET)
@given(events=SCRIPTS)
def test_the_same_on_postgresql(postgresql_url: str, events: list[tuple[Any, ...]]) -> None:
    asyncio.run(play(postgresql_url, events))


async def play(url: str, events: list[tuple[Any, ...]]) -> None:
    database = Database.open(url)
    try:
        await toy.create_once(database, "acme", "beta")
        it = Play(database)
        for event in [*BEGINNING, *events]:
            await it.event(*event)
        await it.end()
        await it.check()
    finally:
        await database.close()
