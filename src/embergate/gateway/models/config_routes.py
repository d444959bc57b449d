"""ValidateModelConfig: whether a model could be served, before its weights are uploaded."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter
from starlette.responses import Response

from embergate.aip.errors import InvalidArgumentError
from embergate.aip.message import require_fields
from embergate.engine.loading.check import check_config
from embergate.gateway.access import Permission
from embergate.gateway.answers import answer
from embergate.gateway.body import body_of
from embergate.gateway.call import CurrentCall
from embergate.gateway.edge import Operation
from embergate.gateway.models.config_schemas import ValidateModelConfigRequest, ValidateModelConfigResponse

MAX_TOLD: Final = 20
VALIDATE: Final = Operation(
    "ValidateModelConfig", ValidateModelConfigResponse, needs=Permission.READ, takes=ValidateModelConfigRequest
)
router = APIRouter(tags=["models"])


@router.post("/validateModelConfig", **VALIDATE.route("Check whether a model's configuration can be served"))
async def validate_model_config(
    _call: CurrentCall, request: Annotated[ValidateModelConfigRequest, body_of(ValidateModelConfigRequest)]
) -> Response:
    """Answer `{}` for a configuration that this server can load; else every reason why it cannot, in one error."""
    require_fields(request)
    problems = check_config(request.config_json, request.tokenizer_config_json)
    if problems:
        more = f"; and {len(problems) - MAX_TOLD} more" if len(problems) > MAX_TOLD else ""
        raise InvalidArgumentError("; ".join(problems[:MAX_TOLD]) + more, field="configJson")
    return answer(ValidateModelConfigResponse())
