"""OpenAI's routes of files and batches, under both prefixes of the inference plane. Whoever calls acts in its own account."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, TypeVar

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ValidationError
from starlette.responses import Response

from embergate.gateway.access import Permission
from embergate.gateway.audit.redaction import redact
from embergate.gateway.body import read_json
from embergate.gateway.call import Call, CurrentCall
from embergate.gateway.datasets.store import DATASETS
from embergate.gateway.datasets.upload import received_form
from embergate.gateway.edge import Operation
from embergate.gateway.files.sending import send_file, send_made
from embergate.gateway.files.urls import safe_name
from embergate.gateway.openai import batches, files
from embergate.gateway.openai.files import MAX_FILE_BYTES
from embergate.gateway.openai.schemas import (
    ERRORS,
    Batch,
    CreateBatchBody,
    File,
    FileDeleted,
    ListBatchesQuery,
    Listed,
    ListFilesQuery,
)
from embergate.web.errors import JSONResponse
from embergate.web.problems import first_problem

READ, WRITE = Permission.READ, Permission.WRITE
FORM: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "properties": {
                        "purpose": {"type": "string", "enum": [files.PURPOSE]},
                        "file": {"type": "string", "format": "binary"},
                    },
                }
            }
        },
    }
}
BATCH: Final = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": CreateBatchBody.model_json_schema()}},
    }
}
M = TypeVar("M", bound=BaseModel)


async def create_file(call: CurrentCall, request: Request) -> Response:
    """Take one file of at most 512 MiB of JSON Lines; a line that is no JSON object is named, and nothing is kept."""
    file, fields = await received_form(request, MAX_FILE_BYTES)
    try:
        made = await files.create(call, file, fields)
    finally:
        await file.close()
    return _answer(made.described())


async def list_files(call: CurrentCall, query: Annotated[ListFilesQuery, Query()]) -> Response:
    """Return one page of files, newest first unless `order` says otherwise."""
    return _answer(await files.list_files(call, query))


async def get_file(call: CurrentCall, file_id: str) -> Response:
    """Return one file."""
    return _answer((await files.get(call, file_id)).described())


async def delete_file(call: CurrentCall, file_id: str) -> Response:
    """Delete a file; of a batch's two files the other one stays."""
    await files.delete(call, file_id)
    return _answer(FileDeleted(id=file_id))


async def get_file_content(call: CurrentCall, request: Request, file_id: str) -> Response:
    """Send a file's content, or a range of it; what a batch has written comes whole, as OpenAI writes it."""
    found = await files.get(call, file_id)
    call.event.resource = DATASETS.name_of(found.row)
    keys, filename = await files.keys_of(call.db, found), safe_name(found.filename)
    if found.part != "all":
        return await send_made(request, files.results_of(call, found), filename)
    if len(keys) == 1:
        return await send_file(request, call.deps.objects, keys[0], filename)
    return await send_made(request, files.joined(call.deps.objects, keys), filename)


async def create_batch(call: CurrentCall, request: Request) -> Response:
    """Accept a batch; its status says how it goes on."""
    return _answer(await batches.create(call, await _body(call, request, CreateBatchBody)))


async def list_batches(call: CurrentCall, query: Annotated[ListBatchesQuery, Query()]) -> Response:
    """Return one page of batches, newest first."""
    return _answer(await batches.list_batches(call, query))


async def get_batch(call: CurrentCall, batch_id: str) -> Response:
    """Return one batch."""
    return _answer(await batches.get(call, batch_id))


async def cancel_batch(call: CurrentCall, batch_id: str) -> Response:
    """Have a batch end soon; the rows that are done by then are in its output."""
    return _answer(await batches.cancel(call, batch_id))


def _answer(content: BaseModel) -> JSONResponse:
    return JSONResponse(content.model_dump())


async def _body(call: Call, request: Request, kind: type[M]) -> M:
    """Read a body in OpenAI's shape. Raises: InvalidRequestError naming the field; as `read_json`."""
    content = await read_json(request, is_required=True)
    call.event.payload["body"] = redact(content)
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise first_problem(error) from error


Handler = Callable[..., Any]
CONTENT: Final = {200: {"description": "The content.", "content": {"application/octet-stream": {}}}}
ROUTES: Final[tuple[tuple[str, str, Handler, Operation, str], ...]] = (
    ("POST", "/files", create_file, Operation("CreateFile", File, needs=WRITE, writes=True), "Upload a file"),
    ("GET", "/files", list_files, Operation("ListFiles", Listed[File], needs=READ), "List files"),
    ("GET", "/files/{file_id}", get_file, Operation("GetFile", File, needs=READ), "Describe a file"),
    (
        "DELETE",
        "/files/{file_id}",
        delete_file,
        Operation("DeleteFile", FileDeleted, needs=WRITE, writes=True),
        "Delete a file",
    ),
    (
        "GET",
        "/files/{file_id}/content",
        get_file_content,
        Operation("GetFileContent", File, needs=READ, audited=True),
        "Download a file",
    ),
    (
        "POST",
        "/batches",
        create_batch,
        Operation("CreateBatch", Batch, needs=WRITE, writes=True),
        "Have the requests of a file answered",
    ),
    ("GET", "/batches", list_batches, Operation("ListBatches", Listed[Batch], needs=READ), "List batches"),
    ("GET", "/batches/{batch_id}", get_batch, Operation("GetBatch", Batch, needs=READ), "Say how a batch stands"),
    (
        "POST",
        "/batches/{batch_id}/cancel",
        cancel_batch,
        Operation("CancelBatch", Batch, needs=WRITE, writes=True),
        "Have a batch end early",
    ),
)
# What the document cannot tell from the handlers.
EXTRA: Final[dict[Handler, dict[str, Any]]] = {create_file: FORM, create_batch: BATCH}


def router(variant: str = "") -> APIRouter:
    """Return the routes; `variant` tells those under a second prefix from the first in the OpenAPI document."""
    made = APIRouter(tags=["openai"])
    for method, path, handler, operation, summary in ROUTES:
        declared = operation.route(summary, variant=variant)
        if handler is get_file_content:
            declared["responses"] = CONTENT
        declared["responses"] = {200: declared["responses"][200], **ERRORS}
        declared["openapi_extra"] = EXTRA.get(handler)
        made.add_api_route(path, handler, methods=[method], **declared)
    return made
