"""What a job is, to its handler and to whoever asks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from embergate.storage.tables.jobs import JobRunRow


class State(StrEnum):
    """What is told of a job."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    EXPIRED = "EXPIRED"
    CANCELLED = "CANCELLED"

    @property
    def has_ended(self) -> bool:
        """Return whether it is the last one; the handler may still clean up."""
        return self in ENDED


ENDED: Final = frozenset({State.COMPLETED, State.FAILED, State.EXPIRED, State.CANCELLED})


class Step(StrEnum):
    """How far a job is. RUN has any number of chunks, which run in any order; PREPARE, FINISH and CLEANUP have one."""

    PREPARE = "PREPARE"
    RUN = "RUN"
    FINISH = "FINISH"
    STOP = "STOP"  # failed or cancelled: what is under way is being left
    CLEANUP = "CLEANUP"
    END = "END"


class ChunkState(StrEnum):
    """How a chunk stands."""

    WAITING = "WAITING"
    RUNNING = "RUNNING"
    DONE = "DONE"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to be done. `max_age` is how long after it was enqueued it expires; of an account's jobs the highest `priority`
    goes first, then the oldest. `payload` is JSON, for the handler of `kind`.
    """

    kind: str
    account_id: str
    payload: Any = None
    priority: int = 0
    max_age: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it was when it was read. `num_chunks` is None until they are planned."""

    id: str
    kind: str
    account_id: str
    payload: Any
    state: State
    priority: int
    num_chunks: int | None
    num_done: int
    is_expired: bool
    create_time: datetime
    start_time: datetime | None
    end_time: datetime | None
    expire_time: datetime | None
    error_code: str | None
    error_message: str | None


def job_of(row: JobRunRow) -> Job:
    """Return the job that a row holds."""
    return Job(
        id=row.id,
        kind=row.kind,
        account_id=row.account_id,
        payload=row.payload,
        state=State(row.state),
        priority=row.priority,
        num_chunks=row.num_chunks,
        num_done=row.num_done,
        is_expired=row.is_expired,
        create_time=row.create_time,
        start_time=row.start_time,
        end_time=row.end_time,
        expire_time=row.expire_time,
        error_code=row.error_code,
        error_message=row.error_message,
    )


@dataclass(frozen=True, slots=True)
class Progress:
    """How many of a job's chunks wait, are under way, and are done; none before they are planned."""

    state: State
    num_waiting: int
    num_running: int
    num_done: int

    @property
    def num_chunks(self) -> int:
        """Return how many there are."""
        return self.num_waiting + self.num_running + self.num_done
