"""Batch jobs: list, create, get, delete."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query
from starlette.responses import Response

from embergate.gateway.access import Permission
from embergate.gateway.answers import Empty, answer
from embergate.gateway.batch_jobs import service, store
from embergate.gateway.batch_jobs.schemas import BatchInferenceJob, CreateParameters, ListBatchInferenceJobsResponse
from embergate.gateway.batch_jobs.store import JOBS
from embergate.gateway.body import body_of
from embergate.gateway.call import CurrentCall
from embergate.gateway.edge import Operation
from embergate.gateway.resource_type import ListQuery, ReadQuery, answer_page
from embergate.storage.tables.batch_jobs import BatchJobRow

READ, WRITE = Permission.READ, Permission.WRITE
LIST: Final = Operation("ListBatchInferenceJobs", ListBatchInferenceJobsResponse, needs=READ)
CREATE: Final = Operation(
    "CreateBatchInferenceJob", BatchInferenceJob, needs=WRITE, takes=BatchInferenceJob, writes=True
)
GET: Final = Operation("GetBatchInferenceJob", BatchInferenceJob, needs=READ)
DELETE: Final = Operation("DeleteBatchInferenceJob", Empty, needs=WRITE, writes=True)
router = APIRouter(prefix="/accounts/{account_id}/batchInferenceJobs", tags=["batch jobs"])


@router.get("", **LIST.route("List the batch jobs of an account"))
async def list_batch_inference_jobs(call: CurrentCall, query: ListQuery) -> Response:
    """Return one page of batch jobs, oldest first unless `orderBy` says otherwise."""
    page = await JOBS.page(call, query, BatchJobRow.account_id == call.account_id)
    return answer_page("batchInferenceJobs", page, BatchInferenceJob, query.read_mask)


@router.post("", **CREATE.route("Have the requests of a dataset answered"))
async def create_batch_inference_job(
    call: CurrentCall,
    job: Annotated[BatchInferenceJob, body_of(BatchInferenceJob)],
    query: Annotated[CreateParameters, Query()],
) -> Response:
    """Accept a job; its state says how it goes on."""
    return answer(await service.create(call, job, query.batch_inference_job_id))


@router.get("/{batch_inference_job_id}", **GET.route("Say how a batch job stands"))
async def get_batch_inference_job(call: CurrentCall, batch_inference_job_id: str, query: ReadQuery) -> Response:
    """Return one batch job."""
    row = await store.get(call.db, call.account_id, batch_inference_job_id)
    return answer(JOBS.message_of(row), query.read_mask)


@router.delete("/{batch_inference_job_id}", **DELETE.route("Cancel and forget a batch job"))
async def delete_batch_inference_job(call: CurrentCall, batch_inference_job_id: str) -> Response:
    """Stop a job, if it has not ended, and take away what it has written; the output of one that has ended stays."""
    await service.delete(call, batch_inference_job_id)
    return answer(Empty())
