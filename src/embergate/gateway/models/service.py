"""The rules of models: what may be created, changed and deleted, and which files a model may have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from embergate.aip.errors import InvalidArgumentError
from embergate.aip.fieldmask import fields_named, update_message
from embergate.aip.message import require_fields
from embergate.aip.names import check_id
from embergate.aip.status import Code
from embergate.clock import now
from embergate.engine.registry import CATALOG_ACCOUNT
from embergate.errors import AlreadyExistsError, FailedPreconditionError
from embergate.gateway.access import Permission, require
from embergate.gateway.accounts import store as accounts
from embergate.gateway.call import Call
from embergate.gateway.files.place import check_sizes, require_sizes
from embergate.gateway.models import served, store
from embergate.gateway.models.imports.runs import require_none
from embergate.gateway.models.kinds import USE_OF
from embergate.gateway.models.names import check_filenames
from embergate.gateway.models.schemas import CreateModelBody, Kind, Model, ModelState
from embergate.gateway.models.store import MODELS, ModelFile
from embergate.ids import new_id
from embergate.storage.tables.models import ModelRow

MAX_MODEL_BYTES: Final = 64 << 30
CHANGEABLE: Final = ("display_name", "description", "public", "context_length")
# What of a model has no column of its own: what a client may say of it, and what was measured.
DETAILS: Final = frozenset(
    {
        "github_url",
        "hugging_face_url",
        "base_model_details",
        "peft_details",
        "teft_details",
        "conversation_config",
        "supports_image_input",
        "supports_tools",
        "default_draft_model",
        "default_draft_token_count",
        "deprecation_date",
        "supports_lora",
        "use_hf_apply_chat_template",
        "training_context_length",
        "snapshot_type",
        "embedding_details",
        "precisions",
        "imported_from",
    }
)


async def create(call: Call, body: CreateModelBody) -> Model:
    """Create a model without files. Raises: AlreadyExistsError; InvalidArgumentError."""
    require_fields(body)
    assert body.model is not None, "it is required"
    model_id = check_id(body.model_id, "modelId")
    _check_kind(body.model.kind)
    if body.cluster:
        raise InvalidArgumentError("cluster: models run on this server; leave it out", field="cluster")
    row = _new_row(call, model_id, body.model)
    call.event.resource = MODELS.name_of(row)
    await accounts.get(call.db, call.account_id)
    is_taken = served.find(call.deps.models.registry, call.account_id, model_id) is not None
    if is_taken or not await store.insert(call.db, row):
        raise AlreadyExistsError(f"there is a model {model_id!r} already", param="modelId")
    call.after_commit.append(call.deps.models.uploaded.forget)
    return MODELS.message_of(row)


def _check_kind(kind: Kind) -> None:
    if kind.value in USE_OF:
        return
    said = Kind.HF_PEFT_ADDON if kind is Kind.KIND_UNSPECIFIED else kind
    why = " (which a model is that says no kind)" if kind is Kind.KIND_UNSPECIFIED else ""
    raise InvalidArgumentError(
        f"model.kind: {said}{why} cannot be served here; upload the whole model, with adapters merged into its weights, "
        "as kind EMBEDDING_MODEL, or as HF_BASE_MODEL if it is a reranker",
        field="model.kind",
    )


def _new_row(call: Call, model_id: str, draft: Model) -> ModelRow:
    moment = now()
    return ModelRow(
        account_id=call.account_id,
        id=model_id,
        uid=new_id(),
        display_name=draft.display_name,
        description=draft.description,
        create_time=moment,
        update_time=moment,
        created_by=call.caller.email,
        state=ModelState.UPLOADING,
        status_code=Code.OK,
        status_message="",
        kind=draft.kind,
        public=draft.public,
        context_length=draft.context_length,
        cluster="",
        details=_details_of(draft),
        content_sha256="",
        weights_bytes=0,
        parameter_count=0,
    )


def _details_of(model: Model) -> dict[str, Any]:
    return model.model_dump(mode="json", include=set(DETAILS))


async def get(call: Call, model_id: str) -> Model:
    """Return a model, and where it runs: the account's own, another's if that is public, or one of the catalogue.

    Raises: NotFoundError; ForbiddenError.
    """
    parts = call.deps.models
    known = served.find(parts.registry, call.account_id, model_id)
    is_foreign = call.account_id != call.caller.account and not call.caller.is_operator
    row = None if known is not None else await store.find(call.db, call.account_id, model_id)
    is_shown = call.account_id == CATALOG_ACCOUNT or (row is not None and row.public and row.state == ModelState.READY)
    if is_foreign and not is_shown:
        require(call.caller, Permission.READ, account_id=call.account_id)
    if known is not None:
        return served.describe(known)
    if row is None:
        if call.account_id not in {call.caller.account, CATALOG_ACCOUNT}:
            await accounts.get(call.db, call.account_id)
        row = await store.get(call.db, call.account_id, model_id)
    message = MODELS.message_of(row)
    message.deployed_model_refs = served.refs_of_uploaded(row, parts.pool)
    return message


async def update(call: Call, model_id: str, patch: Model, mask: str | None) -> Model:
    """Change what is said of a model. Raises: NotFoundError; InvalidArgumentError."""
    row = await store.get(call.db, call.account_id, model_id, for_update=True)
    after = update_message(MODELS.message_of(row), patch, mask)
    if "context_length" in fields_named(patch, mask) and row.state == ModelState.READY:
        raise InvalidArgumentError(
            "contextLength of a model that is READY was read from its files", field="contextLength"
        )
    for name in CHANGEABLE:
        setattr(row, name, getattr(after, name))
    row.details = _details_of(after)
    row.update_time = now()
    call.after_commit.append(call.deps.models.uploaded.forget)
    return MODELS.message_of(row)


async def delete(call: Call, model_id: str) -> None:
    """Delete a model, and soon its files. Who embeds with it at this moment is still answered. Raises: NotFoundError."""
    row = await store.get(call.db, call.account_id, model_id, for_update=True)
    await store.place_of(row).give_up(call.db)
    parts, sha256 = call.deps.models, row.content_sha256
    await store.delete(call.db, row)
    call.after_commit += [parts.uploaded.forget, lambda: parts.pool.forget(sha256)]


async def register_files(call: Call, model_id: str, sizes: Mapping[str, int]) -> ModelRow:
    """Say which files a model will have, in place of those that were said before.

    Raises: NotFoundError; FailedPreconditionError once it is ready; InvalidArgumentError for names or sizes that no file has.
    """
    require_sizes(sizes)
    check_filenames(sizes)
    check_sizes(sizes, what="model", max_bytes=MAX_MODEL_BYTES)
    row = await store.get(call.db, call.account_id, model_id, for_update=True)
    if row.state != ModelState.UPLOADING:
        raise FailedPreconditionError(f"the model {row.id} is {row.state} already; make another one", param="name")
    await require_none(call.db, row)
    await store.replace_files(call.db, row, {name: ModelFile(size) for name, size in sizes.items()})
    row.update_time = now()
    return row
