"""The SQL of pricing plans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.errors import NotFoundError
from embergate.gateway.billing.schemas import BillingType, PricingPlan
from embergate.gateway.resource_type import ListRules, ResourceType
from embergate.storage.tables.prices import PricingPlanRow

PLANS: Final = ResourceType(
    PricingPlanRow,
    PricingPlan,
    pattern="accounts/{account}/pricingPlans/{pricing_plan}",
    rules=ListRules(default_order="start_time"),
)


async def get(db: AsyncSession, *, account_id: str, plan_id: str) -> PricingPlanRow:
    """Return a plan. Raises: NotFoundError."""
    chosen = select(PricingPlanRow).where(PricingPlanRow.account_id == account_id, PricingPlanRow.id == plan_id)
    row = (await db.execute(chosen)).scalar_one_or_none()
    if row is None:
        raise NotFoundError("resource not found")
    return row


async def of_type(db: AsyncSession, account_id: str, billing_type: BillingType) -> Sequence[PricingPlanRow]:
    """Return an account's plans of one type, whether they are over or not."""
    chosen = select(PricingPlanRow).where(
        PricingPlanRow.account_id == account_id, PricingPlanRow.billing_type == billing_type.value
    )
    return (await db.scalars(chosen)).all()
