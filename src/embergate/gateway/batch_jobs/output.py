"""A batch job's output: what its chunks have come to, in the order of its rows, as a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from embergate.gateway.batch_jobs import store
from embergate.gateway.batch_jobs.formats import Format
from embergate.gateway.batch_jobs.results import Results, compose_parts
from embergate.gateway.batch_jobs.run import ERROR_FILE, Order, parts_of
from embergate.gateway.datasets import store as datasets
from embergate.gateway.datasets.jsonl import BYTES_A_TOKEN
from embergate.gateway.datasets.schemas import Dataset, DatasetState
from embergate.gateway.datasets.service import new_row
from embergate.gateway.files.doomed import doom
from embergate.gateway.files.place import FilePlace
from embergate.ids import new_short_id
from embergate.jobs.job import Job
from embergate.storage.objects.protocol import Objects
from embergate.storage.tables.datasets import DatasetRow

MAX_TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class Written:
    """The sizes of the output's files, in bytes, how many rows its answers are, and about how many tokens they have."""

    sizes: dict[str, int]
    num_rows: int
    num_tokens: int


async def write(
    objects: Objects, place: FilePlace, output: Format, results: Sequence[Results], scratch: str
) -> Written:
    """Put the chunks' results together, as the files of a dataset. Raises: UnavailableError; JobError."""
    errors = [one.errors_key for one in results if one.errors_key]
    sizes = await output.compose(objects, place, results, scratch)
    sizes[ERROR_FILE] = await compose_parts(objects, place.key(ERROR_FILE), errors)
    if output.has_vectors:
        return Written(sizes, sum(one.num_inputs for one in results), 0)
    return Written(sizes, sum(one.num_succeeded for one in results), sum(sizes.values()) // BYTES_A_TOKEN)


async def keep(db: AsyncSession, job: Job, order: Order, written: Written) -> None:
    """Make what was written a dataset, in the transaction in which the job ends; under another id if its own was taken."""
    dataset_id = order.output_id
    for _ in range(MAX_TRIES):
        row = _dataset_of(job, order, dataset_id, written)
        if await datasets.insert(db, row):
            break
        dataset_id = new_short_id("bij-")
    await datasets.replace_files(db, row, written.sizes)
    await store.change(db, job.id, {"output_dataset_id": f"accounts/{job.account_id}/datasets/{dataset_id}"})
    await doom(db, parts_of(job.account_id, order))


def _dataset_of(job: Job, order: Order, dataset_id: str, written: Written) -> DatasetRow:
    job_name = f"accounts/{job.account_id}/batchInferenceJobs/{order.job_id}"
    draft = Dataset(example_count=written.num_rows, source_job_name=job_name)
    row = new_row(job.account_id, dataset_id, draft, {}, created_by=order.created_by)
    row.uid, row.state = order.output_uid, DatasetState.READY
    row.estimated_token_count = written.num_tokens
    return row
