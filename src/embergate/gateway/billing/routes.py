"""GetBillingSummary."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Annotated, Final

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from embergate.aip.scalars import Timestamp
from embergate.gateway.access import Permission
from embergate.gateway.answers import answer
from embergate.gateway.billing.schemas import GetBillingSummaryResponse, LineItem
from embergate.gateway.call import CurrentCall
from embergate.gateway.edge import Operation
from embergate.gateway.money import money_of
from embergate.gateway.resource_type import QueryParameters
from embergate.gateway.usage.days import whole_days
from embergate.gateway.usage.prices import MILLION
from embergate.gateway.usage.queries import Line, lines
from embergate.gateway.usage.records import CATEGORIES
from embergate.gateway.usage.standing import CURRENCY

GET: Final = Operation("GetBillingSummary", GetBillingSummaryResponse, needs=Permission.ADMIN)
router = APIRouter(tags=["billing"])


class BillingSummaryParameters(QueryParameters):
    """The query of GetBillingSummary."""

    start_time: Timestamp = Field(description="From this day on, in UTC; the time of day does not count.")
    end_time: Timestamp = Field(description="Before this day, in UTC.")

    def days(self) -> tuple[datetime, datetime]:
        """Return the midnights at both ends. Raises: InvalidArgumentError if no day is between them."""
        return whole_days(self.start_time, self.end_time)


@router.get("/accounts/{account_id}/billing/summary", **GET.route("Tell what an account's usage cost"))
async def get_billing_summary(call: CurrentCall, query: Annotated[BillingSummaryParameters, Query()]) -> Response:
    """Return a line for each model and price: `quantity` millions of tokens times `unitAmount` is `totalCost`, to the nano."""
    start, end = query.days()
    connection = await call.db.connection()
    found = await connection.run_sync(partial(lines, account_id=call.account_id, start=start, end=end))
    return answer(GetBillingSummaryResponse(line_items=[_item_of(line) for line in found]))


def _item_of(line: Line) -> LineItem:
    category = CATEGORIES.get(line.usage_type, line.usage_type)
    return LineItem(
        category=f"{category} (cached input)" if line.is_cached else category,
        grouping_key="model",
        grouping_value=line.model,
        secondary_grouping_key="is_batch",
        secondary_grouping_value=str(line.is_batch).lower(),
        quantity=line.num_tokens / MILLION,
        unit_amount=money_of(line.price_nanos * MILLION, CURRENCY),
        total_cost=money_of(line.cost_nanos, CURRENCY),
    )
