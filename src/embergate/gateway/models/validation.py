"""`:validateUpload`: what was uploaded is read by the very code that serves it, and loaded; then the model is READY."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Final

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.aip.errors import InvalidArgumentError
from embergate.aip.status import Code
from embergate.clock import now
from embergate.engine.folder_check import FolderReport, check_folder
from embergate.engine.loaded_model import LoadedModel
from embergate.engine.loading.catalog import ModelKind
from embergate.engine.loading.spec import ModelSpec
from embergate.engine.model_pool import Content
from embergate.errors import FailedPreconditionError, ModelError
from embergate.gateway.call import Call
from embergate.gateway.models import store
from embergate.gateway.models.kinds import KIND_OF
from embergate.gateway.models.names import content_sha256, is_read, weights_bytes
from embergate.gateway.models.schemas import BaseModelDetails, CheckpointFormat, ModelState, ValidateParameters
from embergate.gateway.models.store import ModelFile
from embergate.storage.objects.protocol import Objects
from embergate.storage.tables.models import ModelRow

MAX_TOLD: Final = 20
MAX_STATUS_CHARACTERS: Final = 2000
PROOF: Final = "The quick brown fox jumps over the lazy dog."
SKIPPED_NOTHING: Final = "skipHfConfigValidation changes nothing: a model is served only if its configuration is right"


async def validate(call: Call, model_id: str, query: ValidateParameters) -> list[str]:
    """Make a model ready if its files are a model that this server can serve; return what is odd about it.

    Raises: NotFoundError; FailedPreconditionError while files are missing, or are not as large as was said;
        InvalidArgumentError with every reason why it cannot be served.
    """
    if query.trust_remote_code:
        raise InvalidArgumentError("trustRemoteCode: a model's own code is never run here", field="trustRemoteCode")
    # In a unit of work of its own: reading may take long, and nobody is to wait for the rows meanwhile.
    async with call.deps.database.reading() as db:
        row = await store.get(db, call.account_id, model_id)
        announced = await store.files_of(db, row)
    if row.state == ModelState.READY:
        return []
    files = await _received(call.deps.objects, row, announced, is_partial=query.config_only)
    warnings = [f"{name} is kept, and not read by this server" for name in files if not is_read(name)]
    warnings += [SKIPPED_NOTHING] if query.skip_hf_config_validation else []
    try:
        report = await _checked(call, row, files, config_only=query.config_only)
        if query.config_only:
            return warnings
        await _prove(call, row, files)
    except InvalidArgumentError as error:
        call.on_failure.append(partial(_note_refusal, row, error.message))
        raise
    assert report.found is not None, "a folder without problems is a model. This is a bug."
    kept = await store.get(call.db, call.account_id, model_id, for_update=True)
    if kept.uid != row.uid or _sizes(await store.files_of(call.db, kept)) != _sizes(announced):
        raise FailedPreconditionError("the model was changed while it was read; try again", param="name")
    await store.replace_files(call.db, kept, files)
    _make_ready(kept, files, report.found.spec, report.num_parameters)
    call.after_commit.append(call.deps.models.uploaded.forget)
    return warnings


async def _received(
    objects: Objects, row: ModelRow, announced: Mapping[str, ModelFile], *, is_partial: bool
) -> dict[str, ModelFile]:
    """Move what was uploaded to where no upload reaches it, and return the files with their digests."""
    if not announced:
        raise FailedPreconditionError("no file was uploaded: ask for upload endpoints first", param="name")
    place = store.place_of(row)
    there = {name: await place.take_over(objects, name, file.size) for name, file in announced.items()}
    missing = [name for name, is_there in there.items() if not is_there]
    if missing and not is_partial:
        more = f" and {len(missing) - MAX_TOLD} more" if len(missing) > MAX_TOLD else ""
        raise FailedPreconditionError(f"not uploaded yet: {', '.join(missing[:MAX_TOLD])}{more}", param=missing[0])
    return {
        name: ModelFile(file.size, await _sha256(objects, place.key(name)))
        for name, file in announced.items()
        if there[name]
    }


async def _sha256(objects: Objects, key: str) -> str:
    digest = hashlib.sha256()
    async with aclosing(objects.read(key)) as chunks:
        async for chunk in chunks:
            await asyncio.to_thread(digest.update, chunk)
    return digest.hexdigest()


async def _checked(call: Call, row: ModelRow, files: Mapping[str, ModelFile], *, config_only: bool) -> FolderReport:
    folder = await call.deps.models.folders.folder_of(store.place_of(row).folder, files)
    report = await asyncio.to_thread(check_folder, folder, config_only=config_only)
    if report.problems:
        raise _refusal(report.problems)
    if report.found is not None and (kind := KIND_OF[report.found.spec.kind]).value != row.kind:
        use = "a reranker's" if report.found.spec.kind is ModelKind.RERANKER else "an embedding model's"
        raise _refusal(
            [f"the files are {use}, and the model was created as {row.kind}; create one of kind {kind.value}"]
        )
    return report


def _refusal(problems: Sequence[str]) -> InvalidArgumentError:
    more = f"; and {len(problems) - MAX_TOLD} more" if len(problems) > MAX_TOLD else ""
    told = "; ".join(problems[:MAX_TOLD]) + more
    # Names of tensors come from the files as they are, and no database stores all that they may hold.
    return InvalidArgumentError(told.encode("utf-8", "replace").decode().replace("\0", "?"), field="files")


async def _prove(call: Call, row: ModelRow, files: Mapping[str, ModelFile]) -> None:
    """Load the model as a request for vectors does, so that the first one finds it loaded, and run a text through it."""
    parts = call.deps.models
    folder = partial(parts.folders.folder_of, store.place_of(row).folder, files)
    content = Content(content_sha256(files), weights_bytes(files), folder)
    try:
        async with parts.pool.using(content) as (model, _):
            await asyncio.to_thread(_run_once, model)
    except ModelError as error:
        raise _refusal([error.message]) from error


async def _note_refusal(row: ModelRow, message: str, db: AsyncSession) -> None:
    """Keep the reasons in the model's status, until its files are checked again."""
    kept = await store.find(db, row.account_id, row.id, for_update=True)
    if kept is not None and kept.uid == row.uid and kept.state == ModelState.UPLOADING:
        kept.status_code, kept.status_message = Code.INVALID_ARGUMENT, message[:MAX_STATUS_CHARACTERS]


def _run_once(model: LoadedModel) -> None:
    if not np.isfinite(model.run(model.sample_rows([PROOF]))).all():
        raise ModelError(f"the model gives NaN or infinite numbers in {model.backend.precision}")


def _sizes(files: Mapping[str, ModelFile]) -> dict[str, int]:
    return {name: file.size for name, file in files.items()}


def _make_ready(row: ModelRow, files: Mapping[str, ModelFile], spec: ModelSpec, num_parameters: int) -> None:
    row.state, row.update_time = ModelState.READY, now()
    row.status_code, row.status_message = Code.OK, ""
    row.context_length = spec.max_tokens
    row.content_sha256, row.weights_bytes = content_sha256(files), weights_bytes(files)
    row.parameter_count = num_parameters
    details = BaseModelDetails(
        world_size=1,
        checkpoint_format=CheckpointFormat.HUGGINGFACE,
        huggingface_files=list(files),
        parameter_count=num_parameters,
        model_type=spec.architecture,
    )
    row.details = {**row.details, "base_model_details": details.model_dump(mode="json")}
