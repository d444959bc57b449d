"""`:validateUpload`: what was uploaded is read by the very code that serves it, and loaded; then the model is READY."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
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
from embergate.errors import FailedPreconditionError, InvalidRequestError, ModelError
from embergate.gateway.call import Call
from embergate.gateway.deps import GatewayDeps
from embergate.gateway.models import store
from embergate.gateway.models.arrivals import Received, give_up_superseded, take_over
from embergate.gateway.models.imports.runs import require_none
from embergate.gateway.models.kinds import KIND_OF
from embergate.gateway.models.names import content_sha256, is_read, weights_bytes
from embergate.gateway.models.schemas import (
    BaseModelDetails,
    CheckpointFormat,
    EmbeddingDetails,
    ModelState,
    ValidateParameters,
)
from embergate.gateway.models.serving import ModelParts
from embergate.gateway.models.store import ModelFile
from embergate.storage.objects.protocol import Objects
from embergate.storage.tables.models import ModelRow

MAX_TOLD: Final = 20
MAX_STATUS_CHARACTERS: Final = 2000
PROOF: Final = "The quick brown fox jumps over the lazy dog."
SKIPPED_NOTHING: Final = "skipHfConfigValidation changes nothing: a model is served only if its configuration is right"


@dataclass(frozen=True, slots=True)
class Checked:
    """A model's files with their digests, and what is in them."""

    files: Mapping[str, ModelFile]
    report: FolderReport


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
        await require_none(db, row)
    place = store.place_of(row)
    received = await take_over(call.deps.objects, place, announced)
    call.on_failure.append(partial(_note_received, row, received))
    _require_all(announced, received, is_partial=query.config_only)
    try:
        checked = await examine(call.deps, row, received, config_only=query.config_only)
    except InvalidArgumentError as error:
        call.on_failure.append(partial(_note_refusal, row, error.message))
        raise
    warnings = [f"{name} is kept, and not read by this server" for name in checked.files if not is_read(name)]
    warnings += [SKIPPED_NOTHING] if query.skip_hf_config_validation else []
    if query.config_only:
        await _note_received(row, received, call.db)
    else:
        await store.find(call.db, row.account_id, row.id, for_update=True)
        await require_none(call.db, row)  # one may have begun meanwhile
        await keep(call.db, row, announced, checked)
        await give_up_superseded(call.db, place, received)
        call.after_commit.append(call.deps.models.uploaded.forget)
    return warnings


def _require_all(announced: Mapping[str, ModelFile], received: Received, *, is_partial: bool) -> None:
    if not announced:
        raise FailedPreconditionError("no file was uploaded: ask for upload endpoints first", param="name")
    missing = [name for name in announced if name not in received.files]
    if missing and not is_partial:
        more = f" and {len(missing) - MAX_TOLD} more" if len(missing) > MAX_TOLD else ""
        raise FailedPreconditionError(f"not uploaded yet: {', '.join(missing[:MAX_TOLD])}{more}", param=missing[0])


async def examine(deps: GatewayDeps, row: ModelRow, received: Received, *, config_only: bool = False) -> Checked:
    """Read a model's files, and load the model once, in no transaction: it may take long.

    Raises: InvalidArgumentError; as `validate`.
    """
    place, parts = store.place_of(row), deps.models
    folder, files = await parts.folders.make(place.folder, received.files)
    report = await asyncio.to_thread(check_folder, folder, parts.source, config_only=config_only)
    if report.problems:
        raise _refusal(report.problems)
    _require_kind(row, report)
    if not config_only:
        await _prove(parts, row, files)
    unread = [name for name in received.files if name not in files]
    for name in unread:
        file = received.files[name]
        files[name] = replace(file, sha256=await _sha256(deps.objects, place.key(file.path(name))))
    return Checked(dict(sorted(files.items())), report)


def _require_kind(row: ModelRow, report: FolderReport) -> None:
    if report.found is None or (kind := KIND_OF[report.found.spec.kind]).value == row.kind:
        return
    use = "a reranker's" if report.found.spec.kind is ModelKind.RERANKER else "an embedding model's"
    raise _refusal([f"the files are {use}, and the model was created as {row.kind}; create one of kind {kind.value}"])


async def keep(db: AsyncSession, row: ModelRow, announced: Mapping[str, ModelFile], checked: Checked) -> ModelRow:
    """Make a model READY that was examined. Raises: FailedPreconditionError if it was changed meanwhile."""
    found = checked.report.found
    assert found is not None, "a folder without problems is a model. This is a bug."
    kept = await store.find(db, row.account_id, row.id, for_update=True)
    files = await store.files_of(db, kept) if kept is not None and kept.uid == row.uid else {}
    if kept is not None and kept.state == ModelState.READY and files == checked.files:
        return kept  # another call has just done so
    if kept is None or kept.state != ModelState.UPLOADING or files != announced:
        raise FailedPreconditionError("the model was changed while it was read; try again", param="name")
    await store.replace_files(db, kept, checked.files)
    _make_ready(kept, checked.files, found.spec, checked.report.num_parameters)
    return kept


async def _sha256(objects: Objects, key: str) -> str:
    digest = hashlib.sha256()
    async with aclosing(objects.read(key)) as chunks:
        async for chunk in chunks:
            await asyncio.to_thread(digest.update, chunk)
    return digest.hexdigest()


def _refusal(problems: Sequence[str]) -> InvalidArgumentError:
    more = f"; and {len(problems) - MAX_TOLD} more" if len(problems) > MAX_TOLD else ""
    told = "; ".join(problems[:MAX_TOLD]) + more
    # Names of tensors come from the files as they are, and no database stores all that they may hold.
    return InvalidArgumentError(told.encode("utf-8", "replace").decode().replace("\0", "?"), field="files")


async def _prove(parts: ModelParts, row: ModelRow, files: Mapping[str, ModelFile]) -> None:
    """Load the model as a request for vectors does, so that the first one finds it loaded, and run a text through it."""
    folder = partial(parts.folders.folder_of, store.place_of(row).folder, files)
    content = Content(content_sha256(files), weights_bytes(files), folder)
    try:
        async with parts.pool.using(content) as (model, _):
            await asyncio.to_thread(_run_once, model)
    except (ModelError, InvalidRequestError) as error:
        raise _refusal([error.message]) from error


async def _note_received(row: ModelRow, received: Received, db: AsyncSession) -> None:
    """Say in which folders the files arrived that count from now on: whoever still reads others is not to keep them."""
    kept = await store.find(db, row.account_id, row.id, for_update=True)
    if kept is None or kept.uid != row.uid or kept.state != ModelState.UPLOADING:
        return
    announced = await store.files_of(db, kept)
    found = {name: received.files.get(name, file) for name, file in announced.items()}
    await store.replace_files(db, kept, {n: found[n] if found[n].size == f.size else f for n, f in announced.items()})
    await give_up_superseded(db, store.place_of(kept), received)


async def _note_refusal(row: ModelRow, message: str, db: AsyncSession) -> None:
    """Keep the reasons in the model's status, until its files are checked again."""
    kept = await store.find(db, row.account_id, row.id, for_update=True)
    if kept is not None and kept.uid == row.uid and kept.state == ModelState.UPLOADING:
        kept.status_code, kept.status_message = Code.INVALID_ARGUMENT, message[:MAX_STATUS_CHARACTERS]


def _run_once(model: LoadedModel) -> None:
    if not np.isfinite(model.run(model.sample_rows([PROOF]))).all():
        raise ModelError(f"the model gives NaN or infinite numbers in {model.backend.precision}")


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
    if spec.kind is ModelKind.EMBEDDING_MODEL:
        embedding = EmbeddingDetails(
            dimensions=spec.dimensions,
            pooling="+".join(spec.pooling.modes),
            normalize_default=spec.normalize_default,
            resizable=spec.resizable,
        )
        row.details = {**row.details, "embedding_details": embedding.model_dump(mode="json")}
