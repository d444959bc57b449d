"""At what a month's spend an account is warned: four fifths of its limit, and the amounts that it named itself.

Units: billionths of a dollar (nanos).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from embergate.aip.errors import InvalidArgumentError
from embergate.gateway.accounts.schemas import NotificationSettings
from embergate.gateway.money import NANOS_PER_UNIT, nanos_of

# Of the monthly limit.
ALWAYS_PERCENT: Final = 80
FIELD: Final = "monthlySpendThresholds"


def thresholds_of(settings: NotificationSettings) -> tuple[int, ...]:
    """Return the amounts that an account named, in order.

    Raises: InvalidArgumentError if one is not in dollars, or not above zero.
    """
    found = set()
    for money in settings.monthly_spend_thresholds:
        amount_nanos = nanos_of(money, FIELD)
        if money.currency_code != "USD" or amount_nanos <= 0:
            raise InvalidArgumentError(f"{FIELD}: expected amounts above zero, in USD", field=FIELD)
        found.add(amount_nanos)
    return tuple(sorted(found))


def stored_thresholds(document: Mapping[str, Any] | None) -> tuple[int, ...]:
    """Return the amounts in an account's settings as they are stored, checked; every charge asks for them."""
    if not document:
        return ()
    return tuple(int(money["units"]) * NANOS_PER_UNIT + money["nanos"] for money in document[FIELD])


def warning_amounts(own_nanos: Collection[int], monthly_limit_nanos: int | None) -> tuple[int, ...]:
    """Return at what amounts an account is warned; one of its own that is no less than the limit is none."""
    if monthly_limit_nanos is None:
        return tuple(sorted(own_nanos))
    always = monthly_limit_nanos * ALWAYS_PERCENT // 100
    return tuple(
        sorted({*(nanos for nanos in own_nanos if nanos < monthly_limit_nanos), *([always] if always else [])})
    )
