"""The policy of an account: get and update."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter
from starlette.responses import Response

from embergate.gateway.access import Permission
from embergate.gateway.answers import answer
from embergate.gateway.body import body_of
from embergate.gateway.call import CurrentCall
from embergate.gateway.edge import Operation
from embergate.gateway.policy_settings import service
from embergate.gateway.policy_settings.schemas import PolicySettings
from embergate.gateway.resource_type import ReadQuery, UpdateQuery

GET: Final = Operation("GetPolicySettings", PolicySettings, needs=Permission.READ)
UPDATE: Final = Operation(
    "UpdatePolicySettings",
    PolicySettings,
    needs=Permission.ADMIN,
    takes=PolicySettings,
    takes_part=True,
    writes=True,
)

router = APIRouter(prefix="/accounts/{account_id}/policySettings", tags=["policies"])


@router.get("", **GET.route("Describe which models an account may use"))
async def get_policy_settings(call: CurrentCall, query: ReadQuery) -> Response:
    """Return the rules; none, and no updateTime, where the account may use every model."""
    return answer(await service.get(call), query.read_mask)


@router.patch("", **UPDATE.route("Say which models an account may use"))
async def update_policy_settings(
    call: CurrentCall, settings: Annotated[PolicySettings, body_of(PolicySettings)], query: UpdateQuery
) -> Response:
    """Replace the rules. From then on the account may use what they allow, and nothing else."""
    return answer(await service.update(call, settings, query.update_mask))
