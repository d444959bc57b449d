"""What batch jobs are on the wire."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from embergate.aip.message import IMMUTABLE, OUTPUT_ONLY, Message, ProtoEnum
from embergate.aip.scalars import Double, Int32, Timestamp
from embergate.aip.status import Status
from embergate.gateway.answers import ListResponse
from embergate.gateway.resource_type import QueryParameters


class JobState(ProtoEnum):
    """How a job stands; not every kind of job has every state."""

    JOB_STATE_UNSPECIFIED = "JOB_STATE_UNSPECIFIED"
    JOB_STATE_CREATING = "JOB_STATE_CREATING"
    JOB_STATE_RUNNING = "JOB_STATE_RUNNING"
    JOB_STATE_COMPLETED = "JOB_STATE_COMPLETED"
    JOB_STATE_FAILED = "JOB_STATE_FAILED"
    JOB_STATE_CANCELLED = "JOB_STATE_CANCELLED"
    JOB_STATE_DELETING = "JOB_STATE_DELETING"
    JOB_STATE_WRITING_RESULTS = "JOB_STATE_WRITING_RESULTS"
    JOB_STATE_VALIDATING = "JOB_STATE_VALIDATING"
    JOB_STATE_DELETING_CLEANING_UP = "JOB_STATE_DELETING_CLEANING_UP"
    JOB_STATE_PENDING = "JOB_STATE_PENDING"
    JOB_STATE_EXPIRED = "JOB_STATE_EXPIRED"
    JOB_STATE_RE_QUEUEING = "JOB_STATE_RE_QUEUEING"
    JOB_STATE_CREATING_INPUT_DATASET = "JOB_STATE_CREATING_INPUT_DATASET"
    JOB_STATE_IDLE = "JOB_STATE_IDLE"
    JOB_STATE_CANCELLING = "JOB_STATE_CANCELLING"
    JOB_STATE_EARLY_STOPPED = "JOB_STATE_EARLY_STOPPED"
    JOB_STATE_PAUSED = "JOB_STATE_PAUSED"
    JOB_STATE_DELETED = "JOB_STATE_DELETED"


class DeploymentPrecision(ProtoEnum):
    """In what numbers a model computes."""

    PRECISION_UNSPECIFIED = "PRECISION_UNSPECIFIED"
    FP16 = "FP16"
    FP8 = "FP8"
    FP8_MM = "FP8_MM"
    FP8_AR = "FP8_AR"
    FP8_MM_KV_ATTN = "FP8_MM_KV_ATTN"
    FP8_KV = "FP8_KV"
    FP8_MM_V2 = "FP8_MM_V2"
    FP8_V2 = "FP8_V2"
    FP8_MM_KV_ATTN_V2 = "FP8_MM_KV_ATTN_V2"
    NF4 = "NF4"
    FP4 = "FP4"
    BF16 = "BF16"
    FP4_BLOCKSCALED_MM = "FP4_BLOCKSCALED_MM"
    FP4_MX_MOE = "FP4_MX_MOE"


class OutputFormat(ProtoEnum):
    """What the answers of a job are written as; its errors are JSON Lines in any case."""

    OUTPUT_FORMAT_UNSPECIFIED = "OUTPUT_FORMAT_UNSPECIFIED"
    JSONL = "JSONL"
    PARQUET = "PARQUET"
    NPY = "NPY"


def _is_unset(value: Any) -> bool:
    return value is None


class InferenceParameters(Message):
    """What every request of a job is given; only what was set is shown."""

    max_tokens: Annotated[Int32 | None, Field(exclude_if=_is_unset, description="Accepted and not used.")] = None
    temperature: Annotated[
        Double | None, Field(allow_inf_nan=False, exclude_if=_is_unset, description="Accepted and not used.")
    ] = None
    top_p: Annotated[
        Double | None, Field(allow_inf_nan=False, exclude_if=_is_unset, description="Accepted and not used.")
    ] = None
    n: Annotated[Int32 | None, Field(exclude_if=_is_unset, description="Accepted and not used.")] = None
    extra_body: Annotated[
        str, Field(max_length=65_536, description="A JSON object, whose fields every body has that lacks them.")
    ] = "{}"
    top_k: Annotated[Int32 | None, Field(exclude_if=_is_unset, description="Accepted and not used.")] = None


class JobProgress(Message):
    """How far a job is."""

    percent: Int32 = 0
    epoch: Int32 = 0
    total_input_requests: Int32 = 0
    total_processed_requests: Int32 = 0
    successfully_processed_requests: Int32 = 0
    failed_requests: Int32 = 0
    output_rows: Int32 = 0
    input_tokens: Int32 = 0
    output_tokens: Int32 = 0
    cached_input_token_count: Int32 = 0
    tokens_per_second: Annotated[
        Double, Field(description="An extension: input tokens a second of the time that it was worked on.")
    ] = 0.0
    estimated_seconds_left: Annotated[
        Int32 | None, Field(description="An extension: while it runs, how long the open requests take at that rate.")
    ] = None


class BatchInferenceJob(Message):
    """The requests of a dataset, answered into another one."""

    name: Annotated[str, OUTPUT_ONLY] = ""
    display_name: Annotated[str, Field(max_length=63)] = ""
    create_time: Annotated[Timestamp | None, OUTPUT_ONLY] = None
    created_by: Annotated[str, OUTPUT_ONLY] = ""
    state: Annotated[JobState, OUTPUT_ONLY] = JobState.JOB_STATE_UNSPECIFIED
    status: Annotated[Status, OUTPUT_ONLY] = Status()
    model: Annotated[str, IMMUTABLE, Field(max_length=512, description="Needed unless another job is continued.")] = ""
    input_dataset_id: Annotated[
        str, IMMUTABLE, Field(max_length=256, description="A dataset's name; needed unless another job is continued.")
    ] = ""
    output_dataset_id: Annotated[
        str, IMMUTABLE, Field(max_length=256, description="Of a dataset that is not there yet; made up if left out.")
    ] = ""
    inference_parameters: Annotated[InferenceParameters | None, IMMUTABLE] = None
    update_time: Annotated[Timestamp | None, OUTPUT_ONLY] = None
    precision: Annotated[DeploymentPrecision, IMMUTABLE] = DeploymentPrecision.PRECISION_UNSPECIFIED
    job_progress: Annotated[JobProgress | None, OUTPUT_ONLY] = None
    continued_from_job_name: Annotated[
        str, IMMUTABLE, Field(max_length=256, description="A job that has ended, whose open requests are to be done.")
    ] = ""
    output_format: Annotated[
        OutputFormat,
        IMMUTABLE,
        Field(
            description="An extension: `JSONL`, the default, or vectors alone as `PARQUET` or `NPY`, in the rows' order."
        ),
    ] = OutputFormat.OUTPUT_FORMAT_UNSPECIFIED


class ListBatchInferenceJobsResponse(ListResponse):
    """One page of batch jobs."""

    batch_inference_jobs: list[BatchInferenceJob] = []


class CreateParameters(QueryParameters):
    """The query of CreateBatchInferenceJob."""

    batch_inference_job_id: str = Field(
        "", description="1 to 63 of a-z, 0-9 and -, from a letter on; made up if empty."
    )
