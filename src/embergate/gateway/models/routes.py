"""Models: list, create, get, update, delete, and the ways that their files come and go."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query
from starlette.responses import Response

from embergate.aip.errors import InvalidArgumentError
from embergate.engine.registry import CATALOG_ACCOUNT
from embergate.gateway.access import Permission, require
from embergate.gateway.accounts import store as accounts
from embergate.gateway.answers import Empty, answer
from embergate.gateway.body import body_of
from embergate.gateway.call import Call, CurrentCall
from embergate.gateway.edge import Operation
from embergate.gateway.models import served, service, store
from embergate.gateway.models.imports import service as imports
from embergate.gateway.models.imports.schemas import ImportModelBody
from embergate.gateway.models.preparation import prepare
from embergate.gateway.models.schemas import (
    CreateModelBody,
    GetModelUploadEndpointBody,
    ListModelsResponse,
    Model,
    ModelUploadUrls,
    ModelUrls,
    PrepareModelBody,
    ValidateModelUploadResponse,
    ValidateParameters,
)
from embergate.gateway.models.store import MODELS
from embergate.gateway.models.validation import validate
from embergate.gateway.operations.schemas import LongRunningOperation
from embergate.gateway.operations.store import OPERATIONS
from embergate.gateway.resource_type import ListParameters, ListQuery, Page, ReadQuery, UpdateQuery, answer_page
from embergate.storage.tables.models import ModelRow

READ, WRITE = Permission.READ, Permission.WRITE
LIST: Final = Operation("ListModels", ListModelsResponse, needs=READ, shows_others=True)
CREATE: Final = Operation("CreateModel", Model, needs=WRITE, takes=CreateModelBody, writes=True)
GET: Final = Operation("GetModel", Model, needs=READ, shows_others=True)
UPDATE: Final = Operation("UpdateModel", Model, needs=WRITE, takes=Model, takes_part=True, writes=True)
DELETE: Final = Operation("DeleteModel", Empty, needs=WRITE, writes=True)
GET_UPLOAD: Final = Operation(
    "GetModelUploadEndpoint", ModelUploadUrls, needs=WRITE, takes=GetModelUploadEndpointBody, writes=True
)
VALIDATE: Final = Operation("ValidateModelUpload", ValidateModelUploadResponse, needs=WRITE, writes=True)
GET_DOWNLOAD: Final = Operation("GetModelDownloadEndpoint", ModelUrls, needs=READ, audited=True)
IMPORT: Final = Operation("ImportModel", LongRunningOperation, needs=WRITE, takes=ImportModelBody, writes=True)
PREPARE: Final = Operation("PrepareModel", Empty, needs=WRITE, takes=PrepareModelBody, writes=True)
router = APIRouter(prefix="/accounts/{account_id}/models", tags=["models"])
# The list once more, where clients look for it that know the inference plane alone.
of_inference = APIRouter(prefix="/accounts/{account_id}/models", tags=["models"])


@of_inference.get("", **LIST.route("List the models of an account", variant="OfInference"))
@router.get("", **LIST.route("List the models of an account, or of the catalogue in account `fireworks`"))
async def list_models(call: CurrentCall, query: ListQuery) -> Response:
    """Return one page of models, oldest first unless `orderBy` says otherwise."""
    if call.account_id == CATALOG_ACCOUNT:
        return answer_page("models", _catalog_page(call, query), Model, query.read_mask)
    require(call.caller, READ, account_id=call.account_id)
    if call.account_id != call.caller.account:
        await accounts.get(call.db, call.account_id)
    page = await MODELS.page(call, query, ModelRow.account_id == call.account_id)
    return answer_page("models", page, Model, query.read_mask)


def _catalog_page(call: Call, query: ListParameters) -> Page[Model]:
    """Return what the server was started with, all on one page and without where it runs, as every list."""
    if query.filter or query.order_by or query.page_token:
        raise InvalidArgumentError("the models of the catalogue come whole: leave out filter, orderBy and pageToken")
    models = [served.describe(one) for one in served.in_account(call.deps.models.registry, CATALOG_ACCOUNT)]
    for model in models:
        model.deployed_model_refs = []
    return Page(models, "", len(models))


@router.post("", **CREATE.route("Create a model"))
async def create_model(call: CurrentCall, body: Annotated[CreateModelBody, body_of(CreateModelBody)]) -> Response:
    """Create a model, to upload files to; `kind` must be EMBEDDING_MODEL, or HF_BASE_MODEL for a reranker."""
    return answer(await service.create(call, body))


# Before the one without a verb, which would take the verb for a part of the id.
@router.get("/{model_id}:getDownloadEndpoint", **GET_DOWNLOAD.route("Say where a model's files are"))
async def get_model_download_endpoint(call: CurrentCall, model_id: str, query: ReadQuery) -> Response:
    """Return a URL for each file, good for ten minutes."""
    row = await store.get(call.db, call.account_id, model_id)
    urls, place = call.deps.signer.at(call.base_url), store.place_of(row)
    files = await store.files_of(call.db, row)
    found = {name: await place.download_url(urls, file.path(name)) for name, file in files.items()}
    return answer(ModelUrls(filename_to_signed_urls=found), query.read_mask)


@router.get("/{model_id}:validateUpload", **VALIDATE.route("Check what was uploaded, and make a model ready"))
async def validate_model_upload(
    call: CurrentCall, model_id: str, query: Annotated[ValidateParameters, Query()]
) -> Response:
    """Load the model as it will be served; an error names every reason why it cannot be."""
    return answer(ValidateModelUploadResponse(warnings=await validate(call, model_id, query)))


@router.get("/{model_id}", **GET.route("Describe a model"))
async def get_model(call: CurrentCall, model_id: str, query: ReadQuery) -> Response:
    """Return one model, and in `deployedModelRefs` where it runs."""
    return answer(await service.get(call, model_id), query.read_mask)


@router.patch("/{model_id}", **UPDATE.route("Change what is said of a model"))
async def update_model(
    call: CurrentCall, model_id: str, model: Annotated[Model, body_of(Model)], query: UpdateQuery
) -> Response:
    """Change the fields that the body holds, or those that `updateMask` names."""
    return answer(await service.update(call, model_id, model, query.update_mask))


@router.delete("/{model_id}", **DELETE.route("Delete a model"))
async def delete_model(call: CurrentCall, model_id: str) -> Response:
    """Delete a model and its files."""
    await service.delete(call, model_id)
    return answer(Empty())


@router.post("/{model_id}:getUploadEndpoint", **GET_UPLOAD.route("Say which files will be uploaded, and where to"))
async def get_model_upload_endpoint(
    call: CurrentCall,
    model_id: str,
    body: Annotated[GetModelUploadEndpointBody, body_of(GetModelUploadEndpointBody)],
) -> Response:
    """Return a URL for each file, good for an hour; the files of an earlier call are not the model's any more."""
    sizes = body.filename_to_size
    row = await service.register_files(call, model_id, sizes)
    found = await store.place_of(row).upload_urls(call.deps.signer.at(call.base_url), sizes)
    unsigned = {name: url.partition("?")[0] for name, url in found.items()}
    return answer(ModelUploadUrls(filename_to_signed_urls=found, filename_to_unsigned_uris=unsigned), body.read_mask)


@router.post("/{model_id}:prepare", **PREPARE.route("Have a model served in another precision too"))
async def prepare_model(
    call: CurrentCall, model_id: str, body: Annotated[PrepareModelBody, body_of(PrepareModelBody)]
) -> Response:
    """Load a model in a precision and measure it; `precisions` of the model tells what came of it."""
    await prepare(call, model_id, body.precision)
    return answer(Empty())


@router.post("/{model_id}:import", **IMPORT.route("Have a model's files fetched from where they are"))
async def import_model(
    call: CurrentCall, model_id: str, body: Annotated[ImportModelBody, body_of(ImportModelBody)]
) -> Response:
    """Begin an operation; once it is done the model is READY, or the operation's error says why it cannot be."""
    return answer(OPERATIONS.message_of(await imports.start(call, model_id, body)))
