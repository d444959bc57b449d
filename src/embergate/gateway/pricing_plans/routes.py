"""ListPricingPlans and GetPricingPlan. Plans are made by an operator, on the command line."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter
from starlette.responses import Response

from embergate.gateway.access import Permission
from embergate.gateway.answers import answer
from embergate.gateway.billing.schemas import ListPricingPlansResponse, PricingPlan
from embergate.gateway.call import CurrentCall
from embergate.gateway.edge import Operation
from embergate.gateway.pricing_plans import store
from embergate.gateway.pricing_plans.store import PLANS
from embergate.gateway.resource_type import ListQuery, ReadQuery, answer_page
from embergate.storage.tables.prices import PricingPlanRow

LIST: Final = Operation("ListPricingPlans", ListPricingPlansResponse, needs=Permission.ADMIN)
GET: Final = Operation("GetPricingPlan", PricingPlan, needs=Permission.ADMIN)

router = APIRouter(prefix="/accounts/{account_id}/pricingPlans", tags=["billing"])


@router.get("", **LIST.route("List an account's pricing plans"))
async def list_pricing_plans(call: CurrentCall, query: ListQuery) -> Response:
    """Return one page of plans, those that are over too; by their start unless `orderBy` says otherwise."""
    page = await PLANS.page(call, query, PricingPlanRow.account_id == call.account_id)
    return answer_page("pricingPlans", page, PricingPlan, query.read_mask)


@router.get("/{pricing_plan_id}", **GET.route("Describe a pricing plan"))
async def get_pricing_plan(call: CurrentCall, pricing_plan_id: str, query: ReadQuery) -> Response:
    """Return one plan."""
    row = await store.get(call.db, account_id=call.account_id, plan_id=pricing_plan_id)
    return answer(PLANS.message_of(row), query.read_mask)
