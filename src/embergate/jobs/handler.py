"""What a kind of job brings: how its chunks are planned, run and put together, and what changes with the job's state."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.jobs.job import ChunkState, Job, State, Step
from embergate.storage.database import Database
from embergate.storage.tables.jobs import JobChunkRow

Commit = Callable[[AsyncSession], Awaitable[None]]
# Takes a page of the chunks' payloads, each JSON; called as often as there are pages.
Plan = Callable[[Sequence[Any]], Awaitable[None]]
PAGE_SIZE: Final = 500


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a chunk has come to: a `result`, JSON, kept with it, and what is to be written in the database besides.

    `commit` runs in the transaction that marks the chunk as done, after it is certain that no other worker has it: what it
    writes happens once, or not at all. If that transaction fails it runs again in another, so it does nothing but write in
    the session it is given, briefly: the job's row is locked.
    """

    result: Any = None
    commit: Commit | None = None


@dataclass(frozen=True, slots=True)
class DoneChunk:
    """A chunk that is done."""

    number: int
    payload: Any
    result: Any


@dataclass(frozen=True, slots=True)
class Context:
    """What a handler is told: the job as it was at the claim, and which try this is.

    No two workers have the same `fence` for a chunk: an object that a try writes is named by chunk and fence, and the
    result says which name counts.
    """

    job: Job
    number: int
    fence: int
    attempt: int
    database: Database

    @property
    def is_expired(self) -> bool:
        """Return whether the job's time was up before all of it was done."""
        return self.job.is_expired

    async def done_chunks(self) -> AsyncIterator[DoneChunk]:
        """Yield what is done, by number. In `finish` and `cleanup` nothing is added to it any more.

        Raises: UnavailableError if the database cannot be reached.
        """
        last = -1
        while True:
            page = (
                select(JobChunkRow.number, JobChunkRow.payload, JobChunkRow.result)
                .where(JobChunkRow.job_id == self.job.id, JobChunkRow.step == Step.RUN)
                .where(JobChunkRow.number > last, JobChunkRow.state == ChunkState.DONE)
                .order_by(JobChunkRow.number)
                .limit(PAGE_SIZE)
            )
            async with self.database.reading() as db:
                rows = (await db.execute(page)).all()
            for row in rows:
                yield DoneChunk(*row)
            if len(rows) < PAGE_SIZE:
                return
            last = rows[-1].number


class Handler(Protocol):
    """A kind of job. One object serves all of them at once, in any number of processes, so it keeps nothing of a job.

    Each method may run more than once for the same chunk, also at the same time in two processes: only what `Outcome`
    says counts, and that of one of them. A method is cancelled when its job is, or when another worker has the chunk.

    Raises: JobError to fail the job for good; RetryLater, UnavailableError or OverloadedError to be tried again without
    using up an attempt, for a day at most; what else it raises uses up one of a few.
    """

    @property
    def timeout_s(self) -> float:
        """Return how long one call of a method may take; one that takes longer is cancelled, and has failed."""

    @property
    def keeps_part(self) -> bool:
        """Return whether what is done is of use where a chunk of RUN fails the job: it is put together by `finish` then."""

    async def prepare(self, context: Context, plan: Plan) -> Outcome:
        """Check that the job can be done, and hand `plan` the payloads of its chunks, a page at a time."""

    async def run(self, context: Context, payload: Any) -> Outcome:
        """Do a chunk."""

    async def finish(self, context: Context) -> Outcome:
        """Put together what is done: all chunks, or fewer if the job `is_expired`, maybe before it was prepared, or failed."""

    async def cleanup(self, context: Context) -> Outcome:
        """Take away what a job has left that failed or was cancelled; nothing of it runs any more."""

    async def on_state(self, db: AsyncSession, job: Job, state: State) -> None:
        """Write down the job's new state, in the transaction in which it changes; the job's row is locked.

        NOTE: whoever changes a job's state together with rows that this writes changes the job first, so that two who
        do so wait for each other in the same order.
        """

    async def on_wait(self, db: AsyncSession, job: Job, reason: str) -> None:
        """Write down why a job that is not paused waits, in the transaction in which one of its chunks is put back.

        Whatever a chunk's `Outcome` commits says that it waits no longer.
        """


Handlers = Mapping[str, Handler]
