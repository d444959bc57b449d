"""What files and batches are on OpenAI's wire.

Source: https://platform.openai.com/docs/api-reference/files and https://platform.openai.com/docs/api-reference/batch
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from embergate.gateway.answers import CredentialError

MAX_FILES_LISTED: Final = 10_000
MAX_BATCHES_LISTED: Final = 100
MAX_METADATA: Final = 16
ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {"model": CredentialError, "description": "The call cannot be done; the body says why."},
    "5XX": {"model": CredentialError, "description": "The server cannot do it now."},
}
T = TypeVar("T")


class File(BaseModel):
    """A dataset, or one of the two files that a batch has written."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: None = Field(None, description="Files are kept until they are deleted.")
    filename: str
    purpose: Literal["batch", "batch_output"]
    status: Literal["uploaded", "processed", "error"]
    status_details: str | None = None


class FileDeleted(BaseModel):
    """The answer of a deletion."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


class BatchProblem(BaseModel):
    """What is wrong with a batch, or with one row of it."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None


class BatchProblems(BaseModel):
    """All that is wrong with a batch."""

    object: Literal["list"] = "list"
    data: list[BatchProblem]


class RequestCounts(BaseModel):
    """How many rows there are, and what has come of them; nothing is told before all were checked."""

    total: int
    completed: int
    failed: int


class InputTokensDetails(BaseModel):
    """Nothing is cached."""

    cached_tokens: int = 0


class OutputTokensDetails(BaseModel):
    """Nothing reasons."""

    reasoning_tokens: int = 0


class BatchUsage(BaseModel):
    """Tokens that were run."""

    input_tokens: int
    input_tokens_details: InputTokensDetails = InputTokensDetails()
    output_tokens: int = 0
    output_tokens_details: OutputTokensDetails = OutputTokensDetails()
    total_tokens: int


class Batch(BaseModel):
    """A batch job. Times are in seconds since 1970."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: Literal["/v1/embeddings"] = "/v1/embeddings"
    model: str
    errors: BatchProblems | None = None
    input_file_id: str
    completion_window: Literal["24h"] = "24h"
    status: Literal[
        "validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"
    ]
    output_file_id: str | None = None
    error_file_id: str | None = None
    created_at: int
    in_progress_at: int | None = None
    expires_at: int
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    request_counts: RequestCounts
    usage: BatchUsage
    metadata: dict[str, str] | None = None


class Listed(BaseModel, Generic[T]):
    """A page; the next one begins behind `last_id`."""

    object: Literal["list"] = "list"
    data: list[T]
    first_id: str | None
    last_id: str | None
    has_more: bool


class CreateBatchBody(BaseModel):
    """The body of CreateBatch."""

    model_config = ConfigDict(extra="forbid", strict=True)

    input_file_id: str = Field(max_length=128, description="A file of purpose batch.")
    endpoint: Literal["/v1/embeddings"]
    completion_window: Literal["24h"]
    metadata: (
        Annotated[
            dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]],
            Field(max_length=MAX_METADATA),
        ]
        | None
    ) = None
    output_expires_after: None = Field(None, description="Not supported: outputs are kept until they are deleted.")


class ListFilesQuery(BaseModel):
    """The query of ListFiles."""

    after: str = Field("", description="The id of the last file of the page before.")
    limit: int = Field(MAX_FILES_LISTED, ge=1, le=MAX_FILES_LISTED, description="At most 1,000 come at once.")
    order: Literal["asc", "desc"] = Field("desc", description="By the time they were made.")
    purpose: str = Field("", description="`batch` or `batch_output`; of another purpose there are none.")


class ListBatchesQuery(BaseModel):
    """The query of ListBatches."""

    after: str = Field("", description="The id of the last batch of the page before.")
    limit: int = Field(20, ge=1, le=MAX_BATCHES_LISTED)
