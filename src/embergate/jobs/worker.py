"""A process' part in the work: it claims chunks, does several at once, keeps its leases, and leaves in good order.

Any number of workers share a database, in one process or many; no one leads.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Final

import structlog

from embergate.clock import monotonic_s
from embergate.errors import UnavailableError
from embergate.ids import new_short_id
from embergate.jobs import claims, metrics, steps
from embergate.jobs.claims import Claim, Room
from embergate.jobs.errors import LeaseLostError
from embergate.jobs.execution import about, perform, verdict_on
from embergate.jobs.handler import Handlers
from embergate.jobs.job import State, Step
from embergate.jobs.metrics import JobMetrics
from embergate.jobs.rules import WorkerRules
from embergate.jobs.steps import Again, Done, Failed, Verdict
from embergate.storage.database import Database

# While the database is away it is tried again after so long, twice as long each time.
FIRST_WAIT_S: Final = 0.1
LONGEST_WAIT_S: Final = 5.0
RELEASE_TIMEOUT_S: Final = 5.0
log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(eq=False, slots=True)
class _Slot:
    """A chunk that is being done."""

    claim: Claim
    task: asyncio.Task[None] = field(init=False)
    is_settling: bool = False


class Worker:
    """Does the jobs of the kinds that it has handlers for."""

    def __init__(
        self,
        database: Database,
        handlers: Handlers,
        *,
        owner: str,
        num_slots: int,
        rules: WorkerRules | None = None,
        metrics: JobMetrics | None = None,
    ) -> None:
        """Do up to `num_slots` chunks at once; `owner` names this process where a chunk's lease is looked at."""
        self.owner: Final = f"{owner[:100]}/{new_short_id('')}"  # no two are alike, also not after a restart
        self._database = database
        self._handlers = handlers
        self._num_slots = num_slots
        self._rules = rules or WorkerRules()
        self.metrics: Final = metrics or JobMetrics()
        self._is_database_away = False
        self._slots: set[_Slot] = set()
        self._has_work = asyncio.Event()
        self._has_changes = asyncio.Event()
        # Until then the last look holds: there is more to claim, and no job to move on.
        self._look_at_s = 0.0

    def wake(self) -> None:
        """Look at once whether there is work, and whether what is under way is still wanted.

        To be called after a commit in this process that enqueued, resumed or cancelled a job; others are found by polling.
        """
        self._look_at_s = 0.0
        self._has_work.set()
        self._has_changes.set()

    async def run(self) -> None:
        """Work until cancelled; then let what is under way end for a while, and give back the rest."""
        heart = asyncio.create_task(self._keep_leases())
        try:
            await self._look_for_work()
        finally:
            try:
                await self._let_end()
            finally:
                heart.cancel()
                await asyncio.wait([heart])

    async def _look_for_work(self) -> None:
        wait_s = FIRST_WAIT_S
        while True:
            self._has_work.clear()
            try:
                await self._take_work()
                self._database_is_back()
                timeout_s, wait_s = self._rules.poll_s, FIRST_WAIT_S
            except UnavailableError as error:
                self._database_is_away(error)
                timeout_s, wait_s = wait_s, min(LONGEST_WAIT_S, wait_s * 2)
            except Exception:
                log.exception("jobs_not_looked_for")  # a bug; it is tried again all the same
                timeout_s, wait_s = wait_s, min(LONGEST_WAIT_S, wait_s * 2)
            await _wait(self._has_work, timeout_s)

    async def _take_work(self) -> None:
        """Claim what there is room for; look first, without a lock, unless the last claim left something."""
        kinds, room = self._handlers.keys(), self._room()
        if monotonic_s() >= self._look_at_s:
            async with self._database.reading() as db:
                has_to_move = await steps.has_to_move(db, kinds)
                has_more = has_to_move or await claims.has_claimable(db, kinds, room)
            if has_to_move:
                await self._move_on()
            if has_more:
                self._look_at_s = monotonic_s() + self._rules.poll_s
            else:
                return
        if room.num_chunks > 0:
            lease = timedelta(seconds=self._rules.lease_s)
            async with self._database.writing() as db:
                taken = await claims.claim(db, kinds, room, owner=self.owner, lease=lease)
            for claim in taken:
                self._begin(claim)
            if len(taken) < room.num_chunks:
                self._look_at_s = 0.0

    def _room(self) -> Room:
        """Return what may be claimed: all slots but one may prepare jobs, which must not hold up the work on others."""
        num_preparing = sum(slot.claim.step is Step.PREPARE for slot in self._slots)
        return Room(self._num_slots - len(self._slots), max(1, self._num_slots - 1) - num_preparing)

    async def _move_on(self) -> None:
        async with self._database.writing() as db:
            changed = await steps.move_on(db, self._handlers)
        for job_id, kind, state in changed:
            self._note_state(job_id, kind, state)

    def _begin(self, claim: Claim) -> None:
        slot = _Slot(claim)
        self._slots.add(slot)
        self.metrics.running.inc()
        slot.task = asyncio.create_task(self._do(slot))
        # NOTE: a task that is cancelled before its first step never runs, its `finally` neither.
        slot.task.add_done_callback(partial(self._free, slot))

    def _free(self, slot: _Slot, _task: asyncio.Task[None]) -> None:
        self._slots.discard(slot)
        self.metrics.running.dec()
        self._has_work.set()

    async def _do(self, slot: _Slot) -> None:
        claim = slot.claim
        try:
            verdict = await perform(self._database, self._handlers[claim.job.kind], claim, self._rules)
            slot.is_settling = True
            await self._settle(claim, verdict)
        except asyncio.CancelledError:
            await self._let_go(claim)
            raise
        except LeaseLostError as error:
            log.warning("job_chunk_lost", **about(claim), reason=str(error))
            await self._let_go(claim)
        except Exception:
            log.exception("job_chunk_not_settled", **about(claim))  # its lease runs out, and it is tried again

    async def _settle(self, claim: Claim, verdict: Verdict) -> None:
        """Write a verdict down, however long the database is away: nobody else could, until it is back."""
        wait_s, began_at_s = FIRST_WAIT_S, monotonic_s()
        while True:
            try:
                async with self._database.writing() as db:
                    state = await steps.settle(db, self._handlers, claim, verdict)
            except UnavailableError as error:
                self._database_is_away(error)
                if isinstance(verdict, Done) and monotonic_s() - began_at_s > self._rules.hold_result_s:
                    verdict = verdict_on(error, claim, self._rules)
                await asyncio.sleep(wait_s)
                wait_s = min(LONGEST_WAIT_S, wait_s * 2)
            except LeaseLostError:
                raise
            except Exception as error:
                if not isinstance(verdict, Done):
                    raise
                verdict = verdict_on(error, claim, self._rules)  # the handler's, of its commit
            else:
                self._count(claim, verdict, state)
                return

    def _count(self, claim: Claim, verdict: Verdict, state: State | None) -> None:
        outcome = metrics.FAILED
        match verdict:
            case Done():
                outcome = metrics.DONE
            case Failed():
                log.warning("job_given_up", **about(claim), code=verdict.error.code, reason=verdict.detail)
            case Again(is_fault=False):
                outcome = metrics.PUT_BACK
                log.info("job_chunk_put_back", **about(claim), reason=verdict.reason)
        self.metrics.chunks.labels(claim.job.kind, outcome).inc()
        if state is not None:
            self._look_at_s = 0.0
            self._note_state(claim.job.id, claim.job.kind, state)

    def _note_state(self, job_id: str, kind: str, state: State) -> None:
        self.metrics.changes.labels(kind, state.value).inc()
        log.info("job_state", job=job_id, kind=kind, state=state.value)

    async def _keep_leases(self) -> None:
        while True:
            await _wait(self._has_changes, self._rules.heartbeat_s)
            self._has_changes.clear()
            try:
                await self._renew()
            except UnavailableError as error:
                self._database_is_away(error)
            except Exception:
                log.exception("job_leases_not_renewed")  # a bug; the leases run out, if it stays

    async def _renew(self) -> None:
        slots = list(self._slots)
        if not slots:
            return
        async with self._database.writing() as db:
            held = await claims.renew(db, [slot.claim for slot in slots], lease=timedelta(seconds=self._rules.lease_s))
        for slot in slots:
            if slot.claim.key not in held and not slot.is_settling:
                slot.task.cancel()
                log.info("job_chunk_cancelled", **about(slot.claim))

    async def _let_go(self, claim: Claim) -> None:
        self.metrics.chunks.labels(claim.job.kind, metrics.LOST).inc()
        with contextlib.suppress(UnavailableError, TimeoutError):  # then its lease runs out
            async with asyncio.timeout(RELEASE_TIMEOUT_S), self._database.writing() as db:
                await steps.let_go(db, claim)
        self._look_at_s = 0.0  # its job may wait for it

    async def _let_end(self) -> None:
        """Wait for what is under way, for a while, and give back what has not ended; a second cancellation waits no more."""
        try:
            if self._slots:
                await asyncio.wait([slot.task for slot in self._slots], timeout=self._rules.grace_s)
        finally:
            tasks = [slot.task for slot in self._slots]
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)
            with contextlib.suppress(UnavailableError, TimeoutError):
                async with asyncio.timeout(RELEASE_TIMEOUT_S), self._database.writing() as db:
                    num_released = await claims.release(db, self.owner)  # claimed in the moment of the cancellation
                log.info("jobs_stopped", owner=self.owner, num_given_back=len(tasks) + num_released)

    def _database_is_away(self, error: UnavailableError) -> None:
        if not self._is_database_away:
            self._is_database_away = True
            self.metrics.database_away.set(1)
            log.warning("jobs_database_away", reason=error.message)

    def _database_is_back(self) -> None:
        if self._is_database_away:
            self._is_database_away = False
            self.metrics.database_away.set(0)
            log.info("jobs_database_back")


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    # NOTE: not `wait_for`, which in Python 3.11 swallows a cancellation that comes together with the event.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()
