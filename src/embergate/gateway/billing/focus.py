"""What an account's usage cost, as FinOps tools read it: rows of FOCUS 1.1, a row for each day, price, key and annotations.

The list's price of an account's own plan is nowhere written down, so list and contracted cost are what was billed.

Source: https://focus.finops.org/focus-specification/v1-1/
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from sqlalchemy import Row, Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.gateway.money import NANOS_PER_UNIT
from embergate.gateway.usage.days import ONE_DAY
from embergate.gateway.usage.prices import MILLION
from embergate.gateway.usage.records import CATEGORIES, SPANS, slot_of, start_of
from embergate.gateway.usage.standing import CURRENCY
from embergate.gateway.usage.tables import DIMENSIONS, DIMENSIONS_OF_SLOT, SLOTS
from embergate.storage.tables.accounts import AccountRow

ROWS_AT_ONCE: Final = 1_000
PROVIDER: Final = "Embergate"
# What a tag that is not a user's own begins with.
TAG_PREFIX: Final = "embergate/"
ANNOTATIONS: Final = ("team", "project", "environment")
COLUMNS: Final = (
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractedCost",
    "ContractedUnitPrice",
    "EffectiveCost",
    "InvoiceIssuerName",
    "ListCost",
    "ListUnitPrice",
    "PricingCategory",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "RegionId",
    "ResourceId",
    "ResourceName",
    "ResourceType",
    "ServiceCategory",
    "ServiceName",
    "ServiceSubcategory",
    "SkuId",
    "SkuPriceId",
    "Tags",
)


async def focus_rows(
    db: AsyncSession, account: AccountRow, start: datetime, end: datetime
) -> AsyncIterator[dict[str, str]]:
    """Yield the rows of the days between two midnights of UTC, each with every column; they are never all in memory.

    The sum of their costs is that of the bill of these days, to the nano. A column that says nothing is empty.
    """
    found = await db.stream(_usage(account.id, start, end), execution_options={"yield_per": ROWS_AT_ONCE})
    async for used in found:
        for row in _rows_of(account, used):
            yield row


def _usage(account_id: str, start: datetime, end: datetime) -> Select[Any]:
    # In the order of the key, so that nothing is sorted.
    return (
        select(DIMENSIONS, SLOTS.c.slot, SLOTS.c.prompt_tokens, SLOTS.c.cached_tokens)
        .join_from(DIMENSIONS, SLOTS, DIMENSIONS_OF_SLOT)
        .where(
            DIMENSIONS.c.account_id == account_id,
            SLOTS.c.quarters == SPANS[0],
            SLOTS.c.slot >= slot_of(start),
            SLOTS.c.slot < slot_of(end),
        )
        .order_by(DIMENSIONS.c.id, SLOTS.c.slot)
    )


def _rows_of(account: AccountRow, used: Row[Any]) -> Iterator[dict[str, str]]:
    """Yield a row for the tokens that were computed, and one for those that were cached."""
    computed = used.prompt_tokens - used.cached_tokens
    if computed:
        yield _row(account, used, computed, used.price_nanos, is_cached=False)
    if used.cached_tokens:
        yield _row(account, used, used.cached_tokens, used.cached_price_nanos, is_cached=True)


def _row(account: AccountRow, used: Row[Any], num_tokens: int, price_nanos: int, *, is_cached: bool) -> dict[str, str]:
    day = start_of(used.slot)
    month = day.replace(day=1)
    next_month = (month + 31 * ONE_DAY).replace(day=1)
    cost = _decimal(num_tokens * price_nanos, NANOS_PER_UNIT)
    price = _decimal(price_nanos * MILLION, NANOS_PER_UNIT)
    sku = "/".join((used.model, "batch" if used.is_batch else "serverless", "cached-input" if is_cached else "input"))
    service = CATEGORIES.get(used.usage_type, used.usage_type)
    values = {
        "BilledCost": cost,
        "BillingAccountId": f"accounts/{account.id}",
        "BillingAccountName": account.display_name or account.id,
        "BillingCurrency": CURRENCY,
        "BillingPeriodEnd": _time(next_month),
        "BillingPeriodStart": _time(month),
        "ChargeCategory": "Usage",
        "ChargeDescription": f"{service}, {sku}: {num_tokens} tokens at {price} {CURRENCY} a million",
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodEnd": _time(day + ONE_DAY),
        "ChargePeriodStart": _time(day),
        "ConsumedQuantity": str(num_tokens),
        "ConsumedUnit": "Tokens",
        "ContractedCost": cost,
        "ContractedUnitPrice": price,
        "EffectiveCost": cost,
        "InvoiceIssuerName": PROVIDER,
        "ListCost": cost,
        "ListUnitPrice": price,
        "PricingCategory": "Standard",
        "PricingQuantity": _decimal(num_tokens, MILLION),
        "PricingUnit": f"{MILLION} Tokens",
        "ProviderName": PROVIDER,
        "PublisherName": PROVIDER,
        "ResourceId": used.model,
        "ResourceName": used.model.rpartition("/")[2],
        "ResourceType": "Model",
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": service,
        "ServiceSubcategory": "Machine Learning",
        "SkuId": sku,
        "SkuPriceId": f"{sku}/{price}",
        "Tags": _tags(used),
    }
    return {column: values.get(column, "") for column in COLUMNS}


def _tags(used: Row[Any]) -> str:
    tags = {name: getattr(used, name) for name in ANNOTATIONS} | {f"{TAG_PREFIX}api-key-id": used.api_key_id}
    return orjson.dumps({name: value for name, value in tags.items() if value}).decode()


def _decimal(amount: int, unit: int) -> str:
    """Write so many parts of a unit, which is a power of ten, as a decimal number, exactly."""
    whole, parts = divmod(amount, unit)
    decimals = str(unit + parts)[1:].rstrip("0")
    return f"{whole}.{decimals}" if decimals else str(whole)


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
