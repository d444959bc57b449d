"""The list of models' own prices. Rows are added and never changed: what is used is billed at the price of its moment."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.aip.errors import InvalidArgumentError
from embergate.clock import now
from embergate.gateway.call import Call
from embergate.gateway.prices.model_names import resource_name_of
from embergate.storage.tables.prices import PriceRow


async def set_price(call: Call, model: str, price_nanos: int | None, start_time: datetime | None) -> PriceRow:
    """Give a model a price from a moment on, now if None; a `price_nanos` of None returns it to the price of its size.

    Units: nanos a token. Raises: InvalidArgumentError for a model that is not named well, or a moment that has passed.
    """
    moment = now()
    if start_time is not None and start_time < moment:
        raise InvalidArgumentError("startTime: it has passed, and what was used then is billed", field="startTime")
    row = PriceRow(
        model=resource_name_of(model, "model"),
        price_nanos=price_nanos,
        start_time=start_time or moment,
        create_time=moment,
    )
    call.db.add(row)
    await call.db.flush()
    call.event.resource = row.model
    call.after_commit.append(call.deps.meter.forget)
    return row


async def list_prices(db: AsyncSession, model: str | None = None) -> Sequence[PriceRow]:
    """Return every price that was ever set, of one model or of all; the latest of each model first.

    Raises: InvalidArgumentError for a model that is not named well.
    """
    statement = select(PriceRow).order_by(PriceRow.model, PriceRow.start_time.desc(), PriceRow.id.desc())
    if model is not None:
        statement = statement.where(PriceRow.model == resource_name_of(model, "model"))
    return (await db.scalars(statement)).all()


def in_force(prices: Sequence[PriceRow], moment: datetime) -> set[int]:
    """Return the ids of the prices that are in force at a moment, of those that `list_prices` returns."""
    found: dict[str, int] = {}
    for price in prices:
        if price.start_time <= moment:
            found.setdefault(price.model, price.id)
    return set(found.values())
