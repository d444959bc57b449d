"""What datasets are on the wire."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from embergate.aip.message import IMMUTABLE, OUTPUT_ONLY, REQUIRED, Message, ProtoEnum
from embergate.aip.scalars import Double, Int32, Int64, Timestamp
from embergate.aip.status import Status
from embergate.gateway.answers import ListResponse
from embergate.gateway.resource_type import ReadParameters

MAX_FILES = 1_000


class DatasetState(ProtoEnum):
    """Whether a dataset's files are there and were looked at."""

    STATE_UNSPECIFIED = "STATE_UNSPECIFIED"
    UPLOADING = "UPLOADING"
    READY = "READY"


class DatasetFormat(ProtoEnum):
    """What a row is for; rows of embeddings have none of these."""

    FORMAT_UNSPECIFIED = "FORMAT_UNSPECIFIED"
    CHAT = "CHAT"
    COMPLETION = "COMPLETION"
    RL = "RL"


class UserUploaded(Message):
    """Somebody uploaded the rows."""


class EvaluationResult(Message):
    """A job of evaluation wrote the rows."""

    evaluation_job_id: str = ""


class Transformed(Message):
    """The rows are those of another dataset that a filter let through."""

    source_dataset_id: str = ""
    filter: str = ""
    original_format: DatasetFormat = DatasetFormat.FORMAT_UNSPECIFIED


class Splitted(Message):
    """The rows are a part of another dataset's."""

    source_dataset_id: str = ""


class EvalProtocol(Message):
    """The rows are for an evaluation."""


class Dataset(Message):
    """Rows in files, one JSON object a line."""

    name: Annotated[str, OUTPUT_ONLY] = ""
    display_name: Annotated[str, Field(max_length=63)] = ""
    create_time: Annotated[Timestamp | None, OUTPUT_ONLY] = None
    state: Annotated[DatasetState, OUTPUT_ONLY] = DatasetState.STATE_UNSPECIFIED
    status: Annotated[Status, OUTPUT_ONLY] = Status()
    example_count: Annotated[
        Int64, Field(ge=0, description="How many rows there are; corrected once they are read.")
    ] = 0
    user_uploaded: Annotated[UserUploaded | None, IMMUTABLE] = None
    evaluation_result: Annotated[EvaluationResult | None, IMMUTABLE] = None
    transformed: Annotated[Transformed | None, IMMUTABLE] = None
    splitted: Annotated[Splitted | None, IMMUTABLE] = None
    eval_protocol: Annotated[EvalProtocol | None, IMMUTABLE] = None
    external_url: Annotated[str, Field(max_length=2000)] = ""
    format: Annotated[DatasetFormat, IMMUTABLE] = DatasetFormat.FORMAT_UNSPECIFIED
    created_by: Annotated[str, OUTPUT_ONLY] = ""
    update_time: Annotated[Timestamp | None, OUTPUT_ONLY] = None
    source_job_name: Annotated[str, Field(max_length=256)] = ""
    estimated_token_count: Annotated[Int64, OUTPUT_ONLY] = 0
    average_turn_count: Annotated[Double, OUTPUT_ONLY] = 0.0


class CreateDatasetBody(Message):
    """The body of CreateDataset."""

    dataset: Annotated[Dataset | None, REQUIRED] = None
    dataset_id: Annotated[str, REQUIRED, Field(description="1 to 63 of a-z, 0-9 and -, from a letter on.")] = ""
    source_dataset_id: Annotated[str, Field(max_length=256, description="The dataset to copy rows of.")] = ""
    filter: Annotated[
        str, Field(description='Which rows: an AIP-160 filter over their own fields, as `body.input_type = "query"`.')
    ] = ""


class ListDatasetsResponse(ListResponse):
    """One page of datasets."""

    datasets: list[Dataset] = []


class GetDatasetUploadEndpointBody(Message):
    """The body of GetDatasetUploadEndpoint."""

    filename_to_size: Annotated[
        dict[str, Int64], REQUIRED, Field(max_length=MAX_FILES, description="The exact size of each file, in bytes.")
    ] = {}
    read_mask: str = ""


class DatasetUrls(Message):
    """Where each file is to be sent to, or fetched from."""

    filename_to_signed_urls: dict[str, str] = {}


class DownloadParameters(ReadParameters):
    """The query of GetDatasetDownloadEndpoint."""

    download_lineage: bool = Field(False, description="Also the files of the datasets that this one continues.")


class ValidateDatasetUploadBody(Message):
    """The body of ValidateDatasetUpload."""


class SplitDatasetBody(Message):
    """The body of SplitDataset."""

    chunk_size: Int32 = 0
    parent: str = ""


class SplitDatasetResponse(Message):
    """The datasets that one was split into."""

    chunk_dataset_names: list[str] = []
    chunks_created: Int32 = 0
    total_examples: Int64 = 0


class FileUploadResponse(BaseModel):
    """What an upload answers; unlike everything else it is in snake_case, with numbers for numbers."""

    id: str
    object: str = "file"
    bytes: int
    created_at: int
    filename: str
    purpose: str = "dataset"
