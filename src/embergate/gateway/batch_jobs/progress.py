"""How far a batch job is and how fast, from what is counted in the transactions that mark its chunks as done.

The time that a job is worked on is the union of its chunks' times, as they end: pauses, queues and dead servers are not in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from embergate.aip.scalars import MAX_INT32
from embergate.gateway.batch_jobs.schemas import JobProgress, JobState
from embergate.storage.tables.batch_jobs import BatchJobRow

MS_A_SECOND: Final = 1_000


@dataclass(frozen=True, slots=True)
class Done:
    """What a chunk adds to its job. `worked_ms` is how long it took whoever did it."""

    num_succeeded: int
    num_failed: int
    num_tokens: int
    worked_ms: int


def active_ms(done: Done, moment: datetime, last_active_time: datetime | None) -> int:
    """Return how much longer the job was worked on by the end of a chunk, at `moment`, than by that of the one before.

    Of chunks that were done at the same time no moment counts twice; servers' clocks may differ.
    """
    if last_active_time is None:
        return done.worked_ms
    since_ms = int((moment - last_active_time).total_seconds() * MS_A_SECOND)
    return min(done.worked_ms, max(0, since_ms))


def progress_of(row: BatchJobRow) -> JobProgress | None:
    """Return what is told of a job; nothing before its rows were checked."""
    if not row.is_prepared:
        return None
    num_processed = row.num_succeeded + row.num_failed
    return JobProgress(
        percent=100 * num_processed // row.num_requests if row.num_requests else 100,
        total_input_requests=row.num_requests,
        total_processed_requests=num_processed,
        successfully_processed_requests=row.num_succeeded,
        failed_requests=row.num_failed,
        output_rows=row.num_succeeded,
        input_tokens=min(row.num_tokens, MAX_INT32),  # the field has no room for more
        tokens_per_second=round(row.num_tokens * MS_A_SECOND / row.active_ms, 1) if row.active_ms else 0.0,
        estimated_seconds_left=_seconds_left(row, num_processed),
    )


def _seconds_left(row: BatchJobRow, num_processed: int) -> int | None:
    if row.state != JobState.JOB_STATE_RUNNING or not num_processed or not row.active_ms:
        return None
    num_left = max(0, row.num_requests - num_processed)
    return min(-(-row.active_ms * num_left // (num_processed * MS_A_SECOND)), MAX_INT32)
