"""The quotas of an account: list, get and update."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from embergate.gateway.access import Permission
from embergate.gateway.answers import answer
from embergate.gateway.body import body_of
from embergate.gateway.call import CurrentCall
from embergate.gateway.edge import Operation
from embergate.gateway.quotas import service, store
from embergate.gateway.quotas.schemas import ListQuotasResponse, Quota
from embergate.gateway.resource_type import ListQuery, ReadQuery, UpdateParameters, answer_page

LIST: Final = Operation("ListQuotas", ListQuotasResponse, needs=Permission.READ)
GET: Final = Operation("GetQuota", Quota, needs=Permission.READ)
UPDATE: Final = Operation("UpdateQuota", Quota, needs=Permission.ADMIN, takes=Quota, takes_part=True, writes=True)

router = APIRouter(prefix="/accounts/{account_id}/quotas", tags=["quotas"])


class UpdateQuotaParameters(UpdateParameters):
    """The query of UpdateQuota."""

    allow_missing: bool = Field(False, description="Not needed: every quota that there is, is there.")


@router.get("", **LIST.route("List an account's quotas"))
async def list_quotas(call: CurrentCall, query: ListQuery) -> Response:
    """Return one page of quotas: all that there are, with the platform's default where the account has none of its own."""
    resources = store.as_resources(call.account_id, await service.every(call))
    return answer_page("quotas", await resources.page(call, query), Quota, query.read_mask)


@router.get("/{quota_id}", **GET.route("Describe a quota"))
async def get_quota(call: CurrentCall, quota_id: str, query: ReadQuery) -> Response:
    """Return one quota, with what the account uses of it right now."""
    return answer(await service.get(call, quota_id), query.read_mask)


@router.patch("/{quota_id}", **UPDATE.route("Change a quota"))
async def update_quota(
    call: CurrentCall,
    quota_id: str,
    quota: Annotated[Quota, body_of(Quota)],
    query: Annotated[UpdateQuotaParameters, Query()],
) -> Response:
    """Change `value`, up to `maxValue`; an operator may change `maxValue` as well."""
    return answer(await service.update(call, quota_id, quota, query.update_mask))
