"""The rules of batch jobs: which may be made, and what becomes of one that is deleted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import orjson

from embergate.aip.errors import InvalidArgumentError
from embergate.aip.names import check_id
from embergate.aip.status import Code
from embergate.clock import now
from embergate.engine.loading.catalog import ModelKind
from embergate.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    ModelNotFoundError,
    NotFoundError,
    TooManyRequestsError,
    UnavailableError,
)
from embergate.gateway.accounts import store as accounts
from embergate.gateway.batch_jobs import store
from embergate.gateway.batch_jobs.formats import FORMATS
from embergate.gateway.batch_jobs.handler import handlers_over
from embergate.gateway.batch_jobs.run import KIND, MAX_AGE, Order
from embergate.gateway.batch_jobs.schemas import BatchInferenceJob, JobState, OutputFormat
from embergate.gateway.batch_jobs.store import JOBS
from embergate.gateway.call import Call
from embergate.gateway.datasets import store as datasets
from embergate.gateway.datasets.jsonl import require_json_lines
from embergate.gateway.datasets.schemas import DatasetState
from embergate.gateway.datasets.store import DATASETS
from embergate.gateway.quotas.known import BATCH_JOBS
from embergate.gateway.quotas.store import quotas_of
from embergate.ids import new_id, new_short_id
from embergate.jobs import control
from embergate.jobs.job import NewJob
from embergate.storage.tables.batch_jobs import BatchJobRow
from embergate.storage.tables.datasets import DatasetRow
from embergate.web.bulk import BulkAnswerer

OUTPUT_ID_CHARACTERS: Final = 8


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a job will be, once everything that it names was looked up."""

    model: str
    parameters: dict[str, Any]
    source: DatasetRow
    output_id: str
    output_format: str
    earlier_uids: list[str]


async def create(
    call: Call,
    draft: BatchInferenceJob,
    job_id: str,
    *,
    metadata: dict[str, str] | None = None,
    is_openai: bool = False,
) -> BatchInferenceJob:
    """Accept a batch job; its rows, which may be OpenAI's, are checked before the first is done.

    Raises: NotFoundError; AlreadyExistsError; FailedPreconditionError for a dataset that is not ready or a job that has not
        ended; ForbiddenError for a model that the account's policy does not allow; TooManyRequestsError if it has as many
        jobs as it may; InvalidArgumentError.
    """
    job_id = check_id(job_id, "batchInferenceJobId") if job_id else new_short_id("bij-")
    if draft.model:
        # On a connection of its own: before this call has one.
        await _require_model(call, draft.model, _output_format(draft), is_openai=is_openai)
    # NOTE: the account's row is the lock that keeps two calls from making one job more than there may be.
    await accounts.get(call.db, call.account_id, for_update=True)
    await _require_room(call)
    plan = await _plan(call, draft)
    if not draft.model:
        await _require_model(call, plan.model, plan.output_format, is_openai=is_openai)
    output_name = f"accounts/{call.account_id}/datasets/{plan.output_id}"
    await _require_free(call, plan.output_id, output_name)
    order = Order(
        job_id=job_id,
        model=plan.model,
        extra=_extra_of(plan.parameters),
        input_id=plan.source.id,
        input_uid=plan.source.uid,
        output_id=plan.output_id,
        output_uid=new_id(),
        output_format=plan.output_format,
        earlier_uids=plan.earlier_uids,
        created_by=call.caller.email,
        user_id=call.caller.user,
        key_id=call.caller.key_id,
        is_openai=is_openai,
    )
    run = await control.enqueue(call.db, NewJob(KIND, call.account_id, order.payload(), max_age=MAX_AGE))
    row = _new_row(call, draft, plan, order, run.id)
    row.user_metadata = metadata
    call.event.resource = JOBS.name_of(row)
    if not await store.insert(call.db, row):
        raise AlreadyExistsError(f"there is a batch job {job_id!r} already", param="batchInferenceJobId")
    call.after_commit.append(call.deps.tell_workers)
    return JOBS.message_of(row)


async def delete(call: Call, job_id: str) -> None:
    """Cancel a job that has not ended, and forget it; the output of one that has ended stays. Raises: NotFoundError."""
    row = await store.get(call.db, call.account_id, job_id)
    if row.state not in store.ENDED:
        handlers = handlers_over(call.deps.database, call.deps.objects)
        await control.cancel(call.db, handlers, account_id=call.account_id, job_id=row.run_id)
        call.after_commit.append(call.deps.tell_workers)
    await store.delete(call.db, call.account_id, job_id)


async def cancel(call: Call, job_id: str) -> BatchJobRow:
    """Have a job end soon, what is done by then being its output. Raises: NotFoundError; FailedPreconditionError."""
    row = await store.get(call.db, call.account_id, job_id)
    if row.state not in store.ENDED:
        run = await control.end_early(call.db, account_id=call.account_id, job_id=row.run_id)
        if not run.state.has_ended:
            values = {"state": JobState.JOB_STATE_CANCELLING.value, "cancel_time": row.cancel_time or now()}
            await store.change(call.db, row.run_id, values)
            await call.db.refresh(row)
            return row
    raise FailedPreconditionError(f"the job {row.id} has ended already")


async def _require_room(call: Call) -> None:
    quotas = await quotas_of(call.db, call.account_id, call.deps.quota_defaults)
    most = quotas[BATCH_JOBS].value
    if await store.count_open(call.db, call.account_id) >= most:
        raise TooManyRequestsError(
            f"the account has {most} batch jobs that have not ended, as many as the quota {BATCH_JOBS} gives it; wait for one",
            retry_after_s=60.0,
        )


async def _plan(call: Call, draft: BatchInferenceJob) -> _Plan:
    """Look up what a job names, or inherits. Raises: as `create`."""
    given = draft.inference_parameters
    parameters = {} if given is None else given.model_dump(exclude_unset=True)
    if not draft.continued_from_job_name:
        if not draft.model:
            raise InvalidArgumentError("model is required", field="model")
        if not draft.input_dataset_id:
            raise InvalidArgumentError("inputDatasetId is required", field="inputDatasetId")
        source = await _source_of(call, draft.input_dataset_id)
        return _Plan(draft.model, parameters, source, _output_id(call, draft), _output_format(draft), [])
    before = await _continued(call, draft.continued_from_job_name)
    for field, own, inherited in (
        ("model", draft.model, before.model),
        ("inputDatasetId", draft.input_dataset_id, before.input_dataset_id),
        ("outputFormat", _output_format(draft, before.output_format), before.output_format),
    ):
        if own and own != inherited:
            raise InvalidArgumentError(f"{field}: the continued job's is {inherited}; leave it out", field=field)
    if given is not None and parameters != before.parameters:
        raise InvalidArgumentError(
            "inferenceParameters are those of the continued job; leave them out", field="inferenceParameters"
        )
    source = await _source_of(call, before.input_dataset_id)
    earlier = await _outputs_of(call, before)
    return _Plan(before.model, before.parameters, source, _output_id(call, draft), before.output_format, earlier)


async def _continued(call: Call, name: str) -> BatchJobRow:
    job_id = JOBS.id_in(name, account_id=call.account_id, field="continuedFromJobName")
    row = await store.get(call.db, call.account_id, job_id)
    if row.state not in store.ENDED:
        raise FailedPreconditionError(f"the job {row.id} has not ended; wait for it", param="continuedFromJobName")
    return row


async def _outputs_of(call: Call, row: BatchJobRow) -> list[str]:
    """Return the uids of what a job and those before it have written, as far as it is still there."""
    uids: list[str] = []
    seen: set[str] = set()
    last: BatchJobRow | None = row
    while last is not None and last.id not in seen:
        seen.add(last.id)
        found = await datasets.find(call.db, call.account_id, last.output_dataset_id.rpartition("/")[2])
        if found is not None and found.source_job_name == JOBS.name_of(last):
            uids.append(found.uid)
        name = last.continued_from_job_name
        last = await store.find(call.db, call.account_id, name.rpartition("/")[2]) if name else None
    return uids


async def _source_of(call: Call, name: str) -> DatasetRow:
    dataset_id = DATASETS.id_in(name, account_id=call.account_id, field="inputDatasetId")
    source = await datasets.find(call.db, call.account_id, dataset_id)
    if source is None:
        raise NotFoundError(f"there is no dataset {dataset_id!r}", param="inputDatasetId")
    if source.state != DatasetState.READY:
        raise FailedPreconditionError(f"the dataset {dataset_id} is not READY", param="inputDatasetId")
    require_json_lines(dataset_id, await datasets.files_of(call.db, source), param="inputDatasetId")
    return source


def _output_id(call: Call, draft: BatchInferenceJob) -> str:
    if not draft.output_dataset_id:
        return f"bij-{new_short_id('')[:OUTPUT_ID_CHARACTERS]}"
    field = "outputDatasetId"
    return check_id(DATASETS.id_in(draft.output_dataset_id, account_id=call.account_id, field=field), field)


def _output_format(draft: BatchInferenceJob, default: str = OutputFormat.JSONL) -> str:
    is_chosen = draft.output_format is not OutputFormat.OUTPUT_FORMAT_UNSPECIFIED
    return draft.output_format.value if is_chosen else default


async def _require_model(call: Call, name: str, output_format: str, *, is_openai: bool) -> None:
    try:
        model = await bulk_of(call).find(name, call.account_id)
    except ModelNotFoundError:
        raise NotFoundError(f"model: no model {name[:200]!r} is served", param="model") from None
    if is_openai and model.kind is not ModelKind.EMBEDDING_MODEL:
        raise InvalidArgumentError(
            f"model: {model.id} is a reranker, and the endpoint is /v1/embeddings; make the job at batchInferenceJobs",
            field="model",
        )
    if FORMATS[output_format].has_vectors and model.kind is not ModelKind.EMBEDDING_MODEL:
        raise InvalidArgumentError(
            f"outputFormat: {output_format} holds vectors, and {model.id} gives scores; leave it out",
            field="outputFormat",
        )


def bulk_of(call: Call) -> BulkAnswerer:
    """Return what jobs are done with. Raises: UnavailableError in a process that has no engine."""
    if call.deps.bulk is None:
        raise UnavailableError("this process serves no models; ask a server")
    return call.deps.bulk


async def _require_free(call: Call, output_id: str, name: str) -> None:
    is_there = await datasets.find(call.db, call.account_id, output_id) is not None
    if is_there or await store.is_output_taken(call.db, call.account_id, name):
        raise AlreadyExistsError(f"there is a dataset {output_id!r} already", param="outputDatasetId")


def _extra_of(parameters: dict[str, Any]) -> dict[str, Any]:
    try:
        extra = orjson.loads(parameters.get("extra_body") or "{}")
    except orjson.JSONDecodeError as error:
        raise InvalidArgumentError(
            f"extraBody is not valid JSON: {error}", field="inferenceParameters.extraBody"
        ) from None
    if not isinstance(extra, dict):
        raise InvalidArgumentError("extraBody must be a JSON object", field="inferenceParameters.extraBody")
    return extra


def _new_row(call: Call, draft: BatchInferenceJob, plan: _Plan, order: Order, run_id: str) -> BatchJobRow:
    moment = now()
    names = f"accounts/{call.account_id}/datasets"
    continued = draft.continued_from_job_name
    if continued and "/" not in continued:
        continued = f"accounts/{call.account_id}/batchInferenceJobs/{continued}"
    return BatchJobRow(
        account_id=call.account_id,
        id=order.job_id,
        run_id=run_id,
        display_name=draft.display_name,
        create_time=moment,
        update_time=moment,
        created_by=call.caller.email,
        state=JobState.JOB_STATE_VALIDATING,
        status_code=Code.OK,
        status_message="",
        model=plan.model,
        input_dataset_id=f"{names}/{plan.source.id}",
        output_dataset_id=f"{names}/{plan.output_id}",
        parameters=plan.parameters,
        precision=draft.precision,
        continued_from_job_name=continued,
        output_format=plan.output_format,
        is_prepared=False,
        num_requests=plan.source.example_count,
        num_succeeded=0,
        num_failed=0,
        num_tokens=0,
        active_ms=0,
        last_active_time=None,
        needed_nanos=0,
    )
