"""The outputs that another one goes on from: those of the jobs that its job continues, and of those before them."""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from embergate.gateway.batch_jobs import store
from embergate.gateway.datasets import store as datasets
from embergate.storage.tables.datasets import DatasetRow

MAX_LENGTH: Final = 100


async def earlier_outputs(db: AsyncSession, output: DatasetRow) -> list[DatasetRow]:
    """Return the outputs before this one, the latest first, as far as they and their jobs are still there."""
    name, found = output.source_job_name, []
    for _ in range(MAX_LENGTH):
        job = await store.find(db, output.account_id, name.rpartition("/")[2]) if name else None
        if job is None:
            break
        name = job.continued_from_job_name
        if job.output_dataset_id.rpartition("/")[2] == output.id:
            continue
        row = await datasets.find(db, output.account_id, job.output_dataset_id.rpartition("/")[2])
        if row is not None and row.source_job_name.endswith(f"/{job.id}"):
            found.append(row)
    return found
