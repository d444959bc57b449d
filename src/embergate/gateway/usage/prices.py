"""What a token costs an account at a moment: its pricing plan, else the model's own price, else the price of the model's size.

Units: nanos, billionths of a dollar, a token. A price is a whole, even number of them (a multiple of 0.002 dollars a million
tokens), so that half of it is whole too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from embergate.aip.errors import InvalidArgumentError
from embergate.aip.message import parse_message
from embergate.gateway.billing.schemas import TokenBillingConfig
from embergate.gateway.money import Money, format_amount, nanos_of
from embergate.storage.tables.prices import PriceRow, PricingPlanRow

MILLION: Final = 1_000_000
STEP_NANOS: Final = 2 * MILLION
BATCH_DIVISOR: Final = 2
CACHED_DIVISOR: Final = 2


@dataclass(frozen=True, slots=True)
class Price:
    """Of a token that is computed, and of one whose vector was cached."""

    nanos: int
    cached_nanos: int

    def for_batch(self) -> Price:
        """Return the price in a batch: half, a cached token no dearer than a computed one."""
        nanos = self.nanos // BATCH_DIVISOR
        return Price(nanos, min(nanos, self.cached_nanos))


def per_token(money: Money, field: str) -> int:
    """Return the price of a token from that of a million.

    Raises: InvalidArgumentError if it is negative, not in dollars, or finer than the smallest step.
    """
    nanos = nanos_of(money, field)
    if money.currency_code != "USD" or nanos < 0 or nanos % STEP_NANOS:
        raise InvalidArgumentError(
            f"{field}: a price a million tokens is a multiple of {format_amount(STEP_NANOS)} USD, so that every token costs "
            "a whole number of billionths, at half price too",
            field=field,
        )
    return nanos // MILLION


@dataclass(frozen=True, slots=True)
class Plan:
    """A pricing plan that counts from one moment up to another, with its prices by model."""

    start_time: datetime
    end_time: datetime | None
    prices: Mapping[str, Price]

    @classmethod
    def of(cls, row: PricingPlanRow) -> Plan:
        """Read a plan that is written down."""
        prices = {config["baseModelName"]: _planned(config) for config in row.token_config}
        return cls(row.start_time, row.end_time, prices)


def by_model(rows: Sequence[PriceRow]) -> dict[str, list[PriceRow]]:
    """Return models' own prices, of each model its own."""
    found: dict[str, list[PriceRow]] = defaultdict(list)
    for row in rows:
        found[row.model].append(row)
    return found


def price_of(
    model: str, moment: datetime, *, list_nanos: int, prices: Mapping[str, Sequence[PriceRow]], plans: Sequence[Plan]
) -> Price:
    """Return what a token of a model costs at a moment; `list_nanos` is the price of its size."""
    for plan in plans:
        if plan.start_time <= moment and (plan.end_time is None or moment < plan.end_time) and model in plan.prices:
            return plan.prices[model]
    started = [price for price in prices.get(model, ()) if price.start_time <= moment]
    # The later row of two that begin together is the correction of the earlier.
    last = max(started, key=lambda price: (price.start_time, price.id), default=None)
    nanos = list_nanos if last is None or last.price_nanos is None else last.price_nanos
    return Price(nanos, nanos // CACHED_DIVISOR)


def _planned(config: Mapping[str, Any]) -> Price:
    parsed = parse_message(TokenBillingConfig, dict(config))
    computed = parsed.uncached_input_token_price_per_million or parsed.input_token_price_per_million
    nanos = per_token(computed, "inputTokenPricePerMillion") if computed else 0
    cached = parsed.cached_input_token_price_per_million
    return Price(nanos, per_token(cached, "cachedInputTokenPricePerMillion") if cached else nanos // CACHED_DIVISOR)
