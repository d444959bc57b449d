"""Datasets: list, create, get, update, delete, and the ways that their files come and go."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from embergate.gateway.access import Permission
from embergate.gateway.answers import GATEWAY_ERRORS, Empty, answer
from embergate.gateway.batch_jobs.lineage import earlier_outputs
from embergate.gateway.body import body_of
from embergate.gateway.call import CurrentCall
from embergate.gateway.datasets import filtered, service, split, store
from embergate.gateway.datasets.schemas import (
    CreateDatasetBody,
    Dataset,
    DatasetUrls,
    DownloadParameters,
    FileUploadResponse,
    GetDatasetUploadEndpointBody,
    ListDatasetsResponse,
    SplitDatasetBody,
    SplitDatasetResponse,
    ValidateDatasetUploadBody,
)
from embergate.gateway.datasets.store import DATASETS
from embergate.gateway.datasets.upload import received_file
from embergate.gateway.edge import Operation
from embergate.gateway.resource_type import ListQuery, ReadQuery, UpdateQuery, answer_page
from embergate.storage.tables.datasets import DatasetRow
from embergate.web.errors import JSONResponse

READ, WRITE = Permission.READ, Permission.WRITE
LIST: Final = Operation("ListDatasets", ListDatasetsResponse, needs=READ)
CREATE: Final = Operation("CreateDataset", Dataset, needs=WRITE, takes=CreateDatasetBody, writes=True)
GET: Final = Operation("GetDataset", Dataset, needs=READ)
UPDATE: Final = Operation("UpdateDataset", Dataset, needs=WRITE, takes=Dataset, takes_part=True, writes=True)
DELETE: Final = Operation("DeleteDataset", Empty, needs=WRITE, writes=True)
GET_UPLOAD: Final = Operation(
    "GetDatasetUploadEndpoint", DatasetUrls, needs=WRITE, takes=GetDatasetUploadEndpointBody, writes=True
)
VALIDATE: Final = Operation("ValidateDatasetUpload", Empty, needs=WRITE, takes=ValidateDatasetUploadBody, writes=True)
GET_DOWNLOAD: Final = Operation("GetDatasetDownloadEndpoint", DatasetUrls, needs=READ, audited=True)
UPLOAD: Final = Operation("UploadDatasetFile", Empty, needs=WRITE, writes=True)
SPLIT: Final = Operation("SplitDataset", SplitDatasetResponse, needs=WRITE, takes=SplitDatasetBody, writes=True)
FORM: Final = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {"file": {"type": "string", "format": "binary"}},
            }
        }
    },
}
router = APIRouter(prefix="/accounts/{account_id}/datasets", tags=["datasets"])


@router.get("", **LIST.route("List the datasets of an account"))
async def list_datasets(call: CurrentCall, query: ListQuery) -> Response:
    """Return one page of datasets, oldest first unless `orderBy` says otherwise."""
    page = await DATASETS.page(call, query, DatasetRow.account_id == call.account_id)
    return answer_page("datasets", page, Dataset, query.read_mask)


@router.post("", **CREATE.route("Create a dataset"))
async def create_dataset(call: CurrentCall, body: Annotated[CreateDatasetBody, body_of(CreateDatasetBody)]) -> Response:
    """Create a dataset, to upload files to; or with a source, one of its rows that the filter lets through, which is READY."""
    is_copy = body.source_dataset_id or body.filter
    return answer(await (filtered if is_copy else service).create(call, body))


# Before the one without a verb, which would take the verb for a part of the id.
@router.get("/{dataset_id}:getDownloadEndpoint", **GET_DOWNLOAD.route("Say where a dataset's files are"))
async def get_dataset_download_endpoint(
    call: CurrentCall, dataset_id: str, query: Annotated[DownloadParameters, Query()]
) -> Response:
    """Return a URL for each file, good for ten minutes, under `dataset/{id}/{file}`."""
    row = await store.get(call.db, call.account_id, dataset_id)
    urls = call.deps.signer.at(call.base_url)
    earlier = await earlier_outputs(call.db, row) if query.download_lineage else []
    found = {
        f"dataset/{one.id}/{name}": await store.place_of(one).download_url(urls, name)
        for one in (row, *earlier)
        for name in await store.files_of(call.db, one)
    }
    return answer(DatasetUrls(filename_to_signed_urls=found), query.read_mask)


@router.get("/{dataset_id}", **GET.route("Describe a dataset"))
async def get_dataset(call: CurrentCall, dataset_id: str, query: ReadQuery) -> Response:
    """Return one dataset."""
    return answer(DATASETS.message_of(await store.get(call.db, call.account_id, dataset_id)), query.read_mask)


@router.patch("/{dataset_id}", **UPDATE.route("Change what is said of a dataset"))
async def update_dataset(
    call: CurrentCall, dataset_id: str, dataset: Annotated[Dataset, body_of(Dataset)], query: UpdateQuery
) -> Response:
    """Change the fields that the body holds, or those that `updateMask` names."""
    return answer(await service.update(call, dataset_id, dataset, query.update_mask))


@router.delete("/{dataset_id}", **DELETE.route("Delete a dataset"))
async def delete_dataset(call: CurrentCall, dataset_id: str) -> Response:
    """Delete a dataset and its files."""
    await service.delete(call, dataset_id)
    return answer(Empty())


@router.post("/{dataset_id}:getUploadEndpoint", **GET_UPLOAD.route("Say which files will be uploaded, and where to"))
async def get_dataset_upload_endpoint(
    call: CurrentCall,
    dataset_id: str,
    body: Annotated[GetDatasetUploadEndpointBody, body_of(GetDatasetUploadEndpointBody)],
) -> Response:
    """Return a URL for each file, good for an hour; the files of an earlier call are not the dataset's any more."""
    sizes = body.filename_to_size
    row = await service.register_files(call, dataset_id, sizes)
    found = await store.place_of(row).upload_urls(call.deps.signer.at(call.base_url), sizes)
    return answer(DatasetUrls(filename_to_signed_urls=found), body.read_mask)


@router.post("/{dataset_id}:validateUpload", **VALIDATE.route("Read what was uploaded, and make a dataset ready"))
async def validate_dataset_upload(
    call: CurrentCall,
    dataset_id: str,
    _body: Annotated[ValidateDatasetUploadBody, body_of(ValidateDatasetUploadBody)],
) -> Response:
    """Check every row of every file; an error names the file, the line and the column."""
    await service.validate(call, dataset_id)
    return answer(Empty())


@router.post(
    "/{dataset_id}:upload",
    **{
        **UPLOAD.route("Upload a dataset's only file"),
        "openapi_extra": {"requestBody": FORM},
        "responses": {**GATEWAY_ERRORS, 200: {"model": FileUploadResponse, "description": "The dataset is READY."}},
    },
)
async def upload_dataset_file(call: CurrentCall, request: Request, dataset_id: str) -> Response:
    """Take one file of at most 150 MiB, check its rows, and make the dataset ready."""
    found = await service.find_uploading(call, dataset_id)
    file = await received_file(request)
    try:
        row = await service.take_file(call, found, file)
    finally:
        await file.close()
    taken = FileUploadResponse(
        id=DATASETS.name_of(row),
        bytes=file.size or 0,
        created_at=int(row.update_time.timestamp()),
        filename=file.filename or "",
    )
    return JSONResponse(taken.model_dump())


@router.post("/{dataset_id}:splitDataset", **SPLIT.route("Split a dataset into several"))
async def split_dataset(
    call: CurrentCall, dataset_id: str, body: Annotated[SplitDatasetBody, body_of(SplitDatasetBody)]
) -> Response:
    """Write the dataset's rows, in their order, as datasets of `chunkSize` rows each."""
    chunks = await split.split(call, dataset_id, body.chunk_size)
    names, total = split.names_of(chunks), sum(row.example_count for row in chunks)
    return answer(SplitDatasetResponse(chunk_dataset_names=names, chunks_created=len(names), total_examples=total))
