"""`GET /models` and `GET /models/{id}`: what is served here."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any, Final

from fastapi import APIRouter
from starlette.responses import Response

from embergate.engine.registry import ServedModel
from embergate.inference.deps import CurrentDeps
from embergate.inference.documents import ERRORS, Model, ModelList
from embergate.web.caller import CurrentCaller
from embergate.web.errors import JSONResponse
from embergate.web.own_models import OwnModel

router = APIRouter()
_OF_EMBEDDINGS: Final = {"supports_chat": False, "supports_image_input": False, "supports_tools": False}


@router.get("/models", responses={200: {"model": ModelList}, **ERRORS}, summary="List the models served")
async def list_models(caller: CurrentCaller, deps: CurrentDeps) -> Response:
    """Return every model that the account may use: those served to all, then its own and the public ones of others."""
    allows = partial(deps.policies.allows, caller.account)
    data = [describe(served) for served in deps.registry.list() if await allows(served.names)]
    if deps.own_models is not None:
        own = await deps.own_models.ready(caller.account)
        data += [_describe_unloaded(model) for model in own if await allows(model.names)]
    return JSONResponse({"object": "list", "data": data})


@router.get("/models/{model_id:path}", responses={200: {"model": Model}, **ERRORS}, summary="Describe one model")
async def get_model(model_id: str, caller: CurrentCaller, deps: CurrentDeps) -> Response:
    """Return one model, by any form of its name; slashes may be sent as they are or as %2F."""
    async with deps.using_model(model_id, caller.account) as served:
        return JSONResponse(describe(served))


def _describe_unloaded(model: OwnModel) -> dict[str, Any]:
    """Return an uploaded model as clients read it; what only a loaded one tells is in `GET /models/{id}`."""
    return {
        "id": f"accounts/{model.account}/models/{model.slug}",
        "object": "model",
        "created": int(model.created_at.timestamp()),
        "owned_by": model.account,
        **_OF_EMBEDDINGS,
        "kind": model.kind.value,
        "context_length": model.max_tokens,
        "hub_id": model.slug,
        "dimensions": model.dimensions,
        "max_input_tokens": model.max_tokens,
        "normalize_default": model.normalize_default,
        "resizable": model.resizable,
        "precisions": list(model.precisions),
    }


def describe(served: ServedModel) -> dict[str, Any]:
    """Return a model as clients read it, with our own facts behind the ones they know."""
    spec, check = served.model.spec, served.self_check
    name = served.slug if served.is_uploaded else spec.name
    description: dict[str, Any] = {
        "id": served.id,
        "object": "model",
        "created": int(served.loaded_at.timestamp()),
        "owned_by": served.account,
        **_OF_EMBEDDINGS,
        "kind": spec.kind.value,
        "context_length": spec.max_tokens,
        "hub_id": name,
        "revision": spec.revision,
        "dimensions": spec.dimensions,
        "max_input_tokens": spec.max_tokens,
        "normalize_default": spec.normalize_default,
        "resizable": spec.resizable,
        "precision": served.model.backend.precision.value,
        "computes_in": served.model.backend.computes_in,
        "fingerprint": served.model.fingerprint,
    }
    if check is not None:
        description["self_check"] = {
            "min_cosine": check.min_cosine,
            "mean_cosine": check.mean_cosine,
            "max_score_difference": check.max_score_difference,
            "tokens_per_s": round(check.tokens_per_s, 1),
        }
    if served.memory is not None:
        description["memory"] = asdict(served.memory)
    return description
