"""Batches: each is a batch job whose model is that of its first row."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Any, Final, Literal

import orjson

from embergate.aip.errors import InvalidArgumentError
from embergate.aip.status import Code
from embergate.errors import FailedPreconditionError, NotFoundError
from embergate.gateway.batch_jobs import service as jobs
from embergate.gateway.batch_jobs import store as job_store
from embergate.gateway.batch_jobs.run import MAX_AGE
from embergate.gateway.batch_jobs.schemas import BatchInferenceJob, JobState, OutputFormat
from embergate.gateway.batch_jobs.store import JOBS
from embergate.gateway.call import Call
from embergate.gateway.datasets.jsonl import BYTE_ORDER_MARK, MAX_LINE_BYTES, Lines
from embergate.gateway.openai import files, store
from embergate.gateway.openai.files import ERRORS_ENDING
from embergate.gateway.openai.listing import listed
from embergate.gateway.openai.schemas import (
    Batch,
    BatchProblem,
    BatchProblems,
    BatchUsage,
    CreateBatchBody,
    ListBatchesQuery,
    Listed,
    RequestCounts,
)
from embergate.ids import new_id
from embergate.storage.objects.protocol import Objects
from embergate.storage.tables.batch_jobs import BatchJobRow

Status = Literal["validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"]
STATUSES: Final[dict[str, Status]] = {
    JobState.JOB_STATE_VALIDATING: "validating",
    JobState.JOB_STATE_RUNNING: "in_progress",
    JobState.JOB_STATE_WRITING_RESULTS: "finalizing",
    JobState.JOB_STATE_COMPLETED: "completed",
    JobState.JOB_STATE_FAILED: "failed",
    JobState.JOB_STATE_EXPIRED: "expired",
    JobState.JOB_STATE_CANCELLING: "cancelling",
    JobState.JOB_STATE_CANCELLED: "cancelled",
}
WITH_OUTPUT: Final = frozenset({"completed", "expired", "cancelled", "failed"})
# Of a name of a model.
MAX_MODEL_CHARACTERS: Final = 512


async def create(call: Call, body: CreateBatchBody) -> Batch:
    """Accept a batch; its rows are checked before the first is done.

    Raises: InvalidArgumentError, FailedPreconditionError and NotFoundError for a file that cannot be one's input, or whose
        first row names no model that is served; what else `batch_jobs.service.create` raises.
    """
    # In a unit of work of its own: nobody who writes is to wait for a store of files.
    async with call.deps.database.reading() as db:
        found = await files.find(db, call.account_id, body.input_file_id)
        if found is None or found.part == "errors":
            raise NotFoundError("input_file_id: there is no such file", param="input_file_id")
        if not found.is_ready:
            raise FailedPreconditionError("input_file_id: the file was not uploaded yet", param="input_file_id")
        keys = await files.keys_of(db, found)
    model = _model_in(await _first_row(call.deps.objects, keys))
    draft = BatchInferenceJob(model=model, input_dataset_id=found.row.id, output_dataset_id=new_id("file-"))
    job_id = new_id("batch-")
    await jobs.create(call, draft, job_id, metadata=body.metadata, is_openai=True)
    return batch_of(await job_store.get(call.db, call.account_id, job_id))


async def _first_row(objects: Objects, keys: Sequence[str]) -> bytes:
    """Return the first line of the files that is a row. Of each no more is read than one line may have."""
    for key in keys:
        lines = Lines()
        async with aclosing(objects.read(key, 0, MAX_LINE_BYTES + 1)) as pieces:
            async for piece in pieces:
                for line in lines.take(piece):
                    if line.strip():
                        return line.removeprefix(BYTE_ORDER_MARK)
        for line in lines.finish():
            if line.strip():
                return line.removeprefix(BYTE_ORDER_MARK)
    return b""


def _model_in(line: bytes) -> str:
    try:
        model: Any = orjson.loads(line)["body"]["model"]
    except (ValueError, KeyError, TypeError):
        model = None
    if not isinstance(model, str) or not 1 <= len(model) <= MAX_MODEL_CHARACTERS or "\0" in model:
        raise InvalidArgumentError(
            "input_file_id: the first row names no model: each must be "
            '{"custom_id": "...", "method": "POST", "url": "/v1/embeddings", "body": {"model": "...", "input": "..."}}',
            field="input_file_id",
        )
    return model


async def list_batches(call: Call, query: ListBatchesQuery) -> Listed[Batch]:
    """Return one page of batches, newest first. Raises: InvalidArgumentError."""
    last = None
    if query.after:
        last = await job_store.find(call.db, call.account_id, query.after)
        if last is None:
            raise InvalidArgumentError("after: there is no such batch; begin again without it", field="after")
    rows = await store.rows_behind(
        call.db, BatchJobRow, call.account_id, after=last, is_descending=True, limit=query.limit + 1
    )
    return listed([batch_of(row) for row in rows[: query.limit]], has_more=len(rows) > query.limit)


async def get(call: Call, batch_id: str) -> Batch:
    """Return a batch. Raises: NotFoundError."""
    return batch_of(await job_store.get(call.db, call.account_id, batch_id))


async def cancel(call: Call, batch_id: str) -> Batch:
    """Have a batch end soon; what is done by then is in its output. Raises: NotFoundError; FailedPreconditionError."""
    row = await jobs.cancel(call, batch_id)
    call.event.resource = JOBS.name_of(row)
    return batch_of(row)


def batch_of(row: BatchJobRow) -> Batch:
    """Return a batch job as clients of OpenAI read it."""
    status = _status_of(row)
    output_id = row.output_dataset_id.rpartition("/")[2]
    # Vectors are no rows of OpenAI's: they are fetched as the dataset that they are.
    has_output = status in WITH_OUTPUT and row.output_format == OutputFormat.JSONL
    return Batch(
        id=row.id,
        model=row.model,
        errors=_errors_of(row),
        input_file_id=row.input_dataset_id.rpartition("/")[2],
        status=status,
        output_file_id=output_id if has_output and row.num_succeeded else None,
        error_file_id=output_id + ERRORS_ENDING if has_output and row.num_failed else None,
        created_at=_seconds(row.create_time),
        in_progress_at=_seconds(row.start_time) if row.start_time else None,
        expires_at=_seconds(row.create_time + MAX_AGE),
        finalizing_at=_seconds(row.finalize_time) if row.finalize_time else None,
        cancelling_at=_seconds(row.cancel_time) if row.cancel_time else None,
        # Nothing changes a job that has ended.
        **({f"{status}_at": _seconds(row.update_time)} if row.state in job_store.ENDED else {}),
        request_counts=RequestCounts(
            total=row.num_requests if row.is_prepared else 0, completed=row.num_succeeded, failed=row.num_failed
        ),
        usage=BatchUsage(input_tokens=row.num_tokens, total_tokens=row.num_tokens),
        metadata=row.user_metadata,
    )


def _status_of(row: BatchJobRow) -> Status:
    if row.state == JobState.JOB_STATE_PAUSED:  # which OpenAI does not know; its `errors` say why
        return "in_progress" if row.is_prepared else "validating"
    return STATUSES[row.state]


def _errors_of(row: BatchJobRow) -> BatchProblems | None:
    if row.status_code == Code.OK:
        return None
    if row.problems:
        return BatchProblems(data=[BatchProblem(**problem) for problem in row.problems])
    return BatchProblems(data=[BatchProblem(code=row.status_code, message=row.status_message)])


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())
