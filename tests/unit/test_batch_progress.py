"""How fast a batch job is, by the moments at which its chunks end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from embergate.gateway.batch_jobs.progress import Done, active_ms, progress_of
from embergate.gateway.batch_jobs.schemas import JobState
from embergate.storage.tables.batch_jobs import BatchJobRow

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def job(chunks: list[tuple[float, float]], *, num_requests: int = 100) -> BatchJobRow:
    """Return a job of which each chunk, of 10 requests and 1,000 tokens, ended at a second and took so many."""
    row = BatchJobRow(
        state=JobState.JOB_STATE_RUNNING,
        is_prepared=True,
        num_requests=num_requests,
        num_succeeded=10 * len(chunks),
        num_failed=0,
        num_tokens=1_000 * len(chunks),
        active_ms=0,
        last_active_time=None,
    )
    for end_s, took_s in chunks:
        moment = NOON + timedelta(seconds=end_s)
        row.active_ms += active_ms(Done(10, 0, 1_000, int(took_s * 1_000)), moment, row.last_active_time)
        row.last_active_time = max(moment, row.last_active_time or moment)
    return row


RATES: list[tuple[str, list[tuple[float, float]], float, int]] = [
    ("one after the other", [(2, 2), (4, 2), (6, 2)], 500.0, 14),
    ("two at a time", [(2, 2), (2, 2), (4, 2), (4, 2)], 1000.0, 6),
    ("overlapping", [(2, 2), (3, 2), (4, 2), (5, 2)], 800.0, 8),
    ("after a pause of an hour", [(2, 2), (3602, 2), (3604, 2)], 500.0, 14),
    ("by a server whose clock is a minute behind", [(62, 2), (2, 2), (64, 2)], 750.0, 10),
]


@pytest.mark.parametrize(("chunks", "rate", "left"), [case[1:] for case in RATES], ids=[case[0] for case in RATES])
def test_only_the_time_that_is_worked_counts(chunks: list[tuple[float, float]], rate: float, left: int) -> None:
    progress = progress_of(job(chunks))
    assert progress is not None
    assert (progress.tokens_per_second, progress.estimated_seconds_left) == (rate, left)


def test_nothing_is_foretold_before_the_first_chunk_or_while_the_job_does_not_run() -> None:
    first = progress_of(job([]))
    assert first is not None
    assert (first.tokens_per_second, first.estimated_seconds_left) == (0.0, None)
    paused = job([(2, 2)])
    paused.state = JobState.JOB_STATE_PAUSED
    progress = progress_of(paused)
    assert progress is not None
    assert (progress.tokens_per_second, progress.estimated_seconds_left) == (500.0, None)


def test_nothing_is_told_before_the_rows_were_checked() -> None:
    unchecked = job([])
    unchecked.is_prepared = False
    assert progress_of(unchecked) is None
