"""`:prepare`: a model loaded in another precision, measured against f32, and served in it from then on if it is near enough."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.aip.errors import InvalidArgumentError
from embergate.clock import now
from embergate.engine.loaded_model import LoadedModel
from embergate.engine.loading.spec import Precision
from embergate.engine.self_check import Measured, SelfCheck, SelfCheckError, judge, measure
from embergate.errors import FailedPreconditionError, ModelError
from embergate.gateway.call import Call
from embergate.gateway.models import served, store
from embergate.gateway.models.schemas import DeploymentPrecision, ModelPrecision, ModelState, PrecisionState
from embergate.gateway.models.serving import ModelParts, Uploaded, uploaded_of
from embergate.storage.tables.models import ModelRow

# None is whatever the server computes in where nobody says otherwise.
OFFERED: Final = {
    DeploymentPrecision.PRECISION_UNSPECIFIED: None,
    DeploymentPrecision.BF16: Precision.BF16,
    DeploymentPrecision.INT8: Precision.INT8,
    DeploymentPrecision.F32: Precision.F32,
}


@dataclass(frozen=True, slots=True)
class _Variant:
    """A model as it was measured in a precision; `error` says why it is not near enough to f32."""

    precision: Precision
    computes_in: str
    weights_bytes: int
    fingerprint: str
    check: SelfCheck
    error: SelfCheckError | None = None


async def prepare(call: Call, model_id: str, asked: DeploymentPrecision) -> None:
    """Have a model served in a precision, if it is near enough to f32 in it; once more, it is measured again.

    Raises: NotFoundError; InvalidArgumentError for a precision that is not offered; FailedPreconditionError for a model that is
        not READY, and with the figures for a precision that is too far from f32.
    """
    if asked not in OFFERED:
        possible = ", ".join(name for name, precision in OFFERED.items() if precision)
        raise InvalidArgumentError(
            f"precision: {asked} is not offered here; this server has {possible}", field="precision"
        )
    if served.find(call.deps.models.registry, call.account_id, model_id) is not None:
        raise FailedPreconditionError(
            "the server was started with this model, and serves it in one precision: that of EMBERGATE_MODELS",
            param="name",
        )
    # In a unit of work of its own: measuring takes long, and nobody is to wait for the row meanwhile.
    async with call.deps.database.reading() as db:
        row = await store.get(db, call.account_id, model_id)
        if row.state != ModelState.READY:
            raise FailedPreconditionError(f"the model {row.id} is {row.state}; only one that is READY has precisions")
        uploaded = uploaded_of(row, await store.files_of(db, row))
    variant, exact = await _measured(call.deps.models, uploaded, OFFERED[asked])
    note = partial(_note, call, row, _message_of(variant, exact))
    if variant.error is not None:
        call.on_failure.append(note)
        raise FailedPreconditionError(_told(variant.error.message, row), param="precision")
    await note(call.db)


async def _measured(parts: ModelParts, uploaded: Uploaded, precision: Precision | None) -> tuple[_Variant, Measured]:
    """Measure a model in f32 and in a precision: one after the other, so that only one needs room in memory."""
    try:
        async with parts.measuring:
            async with parts.pool.using(parts.uploaded.content_of(uploaded, Precision.F32)) as (model, _):
                exact = await asyncio.to_thread(_measure, model)
            async with parts.pool.using(parts.uploaded.content_of(uploaded, precision)) as (model, _):
                return await asyncio.to_thread(_judged, model, exact.vectors, precision), exact
    except ModelError as error:
        raise FailedPreconditionError(error.message, param="precision") from error


def _measure(model: LoadedModel) -> Measured:
    try:
        return measure(model)
    finally:
        model.rest()


def _judged(model: LoadedModel, exact: NDArray[np.float32], asked: Precision | None) -> _Variant:
    backend = model.backend
    if asked is not None and backend.precision is not asked:
        raise ModelError(f"a network of this kind is served in {backend.precision} alone")
    measured, error = _measure(model), None
    try:
        check = judge(model, measured, exact)
    except SelfCheckError as refused:
        check, error = refused.check, refused
    return _Variant(backend.precision, backend.computes_in, backend.weights_bytes, model.fingerprint, check, error)


def _message_of(variant: _Variant, exact: Measured) -> ModelPrecision:
    check = variant.check
    return ModelPrecision(
        precision=DeploymentPrecision[variant.precision.name],
        state=PrecisionState.REFUSED if variant.error else PrecisionState.READY,
        min_cosine=round(check.min_cosine or 0.0, 6),
        mean_cosine=round(check.mean_cosine or 0.0, 6),
        max_score_difference=round(check.max_score_difference or 0.0, 6),
        tokens_per_second=round(check.tokens_per_s, 1),
        f32_tokens_per_second=round(exact.tokens_per_s, 1),
        computes_in=variant.computes_in,
        weights_bytes=variant.weights_bytes,
        fingerprint="" if variant.error else variant.fingerprint,
        prepare_time=now(),
    )


async def _note(call: Call, row: ModelRow, message: ModelPrecision, db: AsyncSession) -> None:
    kept = await store.find(db, row.account_id, row.id, for_update=True)
    if kept is None or kept.uid != row.uid:
        raise FailedPreconditionError("the model was deleted while it was measured", param="name")
    store.note_precision(kept, message)
    kept.update_time = now()
    call.after_commit.append(call.deps.models.uploaded.forget)


def _told(message: str, row: ModelRow) -> str:
    """Return a message with the model's own name: the folder that it was loaded from is called like all others."""
    return message.replace("model in ", f"{row.id} in ", 1)
