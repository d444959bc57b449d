"""The SQL of batch jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import case, func, select, update
from sqlalchemy import delete as delete_rows
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.aip.status import Code
from embergate.clock import now
from embergate.errors import NotFoundError
from embergate.gateway.batch_jobs.progress import Done, active_ms, progress_of
from embergate.gateway.batch_jobs.schemas import BatchInferenceJob, InferenceParameters, JobState
from embergate.gateway.resource_type import ListRules, ResourceType
from embergate.storage.insertion import insert_row_if_absent
from embergate.storage.tables.batch_jobs import BatchJobRow

ENDED: Final = (
    JobState.JOB_STATE_COMPLETED,
    JobState.JOB_STATE_FAILED,
    JobState.JOB_STATE_EXPIRED,
    JobState.JOB_STATE_CANCELLED,
)
IS_PAUSED: Final = BatchJobRow.state == JobState.JOB_STATE_PAUSED


JOBS: Final = ResourceType(
    BatchJobRow,
    BatchInferenceJob,
    pattern="accounts/{account}/batchInferenceJobs/{batch_inference_job}",
    columns={"status.code": BatchJobRow.status_code, "status.message": BatchJobRow.status_message},
    extra=lambda row: {
        "status": {"code": row.status_code, "message": row.status_message},
        "inference_parameters": InferenceParameters(**row.parameters),
        "job_progress": progress_of(row),
    },
    rules=ListRules(
        default_order="create_time", aliases={"created_time": "create_time"}, searched=("display_name", "id")
    ),
)


async def get(db: AsyncSession, account_id: str, job_id: str) -> BatchJobRow:
    """Return a batch job. Raises: NotFoundError."""
    row = await find(db, account_id, job_id)
    if row is None:
        raise NotFoundError("resource not found")
    return row


async def find(db: AsyncSession, account_id: str, job_id: str) -> BatchJobRow | None:
    """Return a batch job, or None."""
    statement = select(BatchJobRow).where(BatchJobRow.account_id == account_id, BatchJobRow.id == job_id)
    return (await db.execute(statement)).scalar_one_or_none()


async def insert(db: AsyncSession, row: BatchJobRow) -> bool:
    """Insert a batch job unless the account has one of this id; return whether it was inserted."""
    return await insert_row_if_absent(db, row)


async def delete(db: AsyncSession, account_id: str, job_id: str) -> None:
    """Delete a batch job."""
    chosen = delete_rows(BatchJobRow).where(BatchJobRow.account_id == account_id, BatchJobRow.id == job_id)
    await db.execute(chosen)


async def count_open(db: AsyncSession, account_id: str) -> int:
    """Return how many of an account's batch jobs have not ended."""
    chosen = BatchJobRow.account_id == account_id, BatchJobRow.state.not_in(ENDED)
    return await db.scalar(select(func.count()).select_from(BatchJobRow).where(*chosen)) or 0


async def is_output_taken(db: AsyncSession, account_id: str, name: str) -> bool:
    """Tell whether a batch job that has not ended will write to the dataset of this name."""
    chosen = BatchJobRow.account_id == account_id, BatchJobRow.output_dataset_id == name
    statement = select(BatchJobRow.id).where(*chosen, BatchJobRow.state.not_in(ENDED))
    return (await db.scalar(statement.limit(1))) is not None


async def paused(db: AsyncSession, *, after: str, limit: int) -> Sequence[BatchJobRow]:
    """Return paused batch jobs of all accounts, by their runs' ids, those behind `after`."""
    chosen = BatchJobRow.state == JobState.JOB_STATE_PAUSED, BatchJobRow.run_id > after
    return (await db.scalars(select(BatchJobRow).where(*chosen).order_by(BatchJobRow.run_id).limit(limit))).all()


async def change(db: AsyncSession, run_id: str, values: Mapping[str, Any]) -> None:
    """Change the batch job of a run, if it was not deleted."""
    changed = update(BatchJobRow).where(BatchJobRow.run_id == run_id).values(**values, update_time=now())
    await db.execute(changed.execution_options(synchronize_session=False))


async def is_cancelled(db: AsyncSession, run_id: str) -> bool:
    """Tell whether the batch job of a run was told to end early."""
    chosen = BatchJobRow.run_id == run_id, BatchJobRow.cancel_time.is_not(None)
    return (await db.scalar(select(BatchJobRow.id).where(*chosen))) is not None


async def note_writing(db: AsyncSession, run_id: str) -> None:
    """Say that a job's results are being put together, unless it has another state than that of being done."""
    chosen = BatchJobRow.run_id == run_id, BatchJobRow.state == JobState.JOB_STATE_RUNNING
    values = {"state": JobState.JOB_STATE_WRITING_RESULTS.value, "finalize_time": now()}
    await db.execute(update(BatchJobRow).where(*chosen).values(values))


async def add_progress(db: AsyncSession, run_id: str, done: Done, moment: datetime) -> None:
    """Count a chunk that was done by `moment`; whatever the job has waited for is there.

    Nobody else does so meanwhile: the run is locked.
    """
    chosen = select(BatchJobRow.active_ms, BatchJobRow.last_active_time).where(BatchJobRow.run_id == run_id)
    found = (await db.execute(chosen)).one_or_none()
    if found is None:  # it was deleted
        return
    before_ms, last_active_time = found
    values = {
        "num_succeeded": BatchJobRow.num_succeeded + done.num_succeeded,
        "num_failed": BatchJobRow.num_failed + done.num_failed,
        "num_tokens": BatchJobRow.num_tokens + done.num_tokens,
        "active_ms": before_ms + active_ms(done, moment, last_active_time),
        "last_active_time": moment if last_active_time is None else max(moment, last_active_time),
        "status_code": case((IS_PAUSED, BatchJobRow.status_code), else_=Code.OK.value),
        "status_message": case((IS_PAUSED, BatchJobRow.status_message), else_=""),
    }
    await change(db, run_id, values)
