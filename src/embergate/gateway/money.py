"""Money on the wire, and as the integer that the server counts with.

Source: https://github.com/googleapis/googleapis/blob/master/google/type/money.proto
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Final

from pydantic import Field

from embergate.aip.errors import InvalidArgumentError
from embergate.aip.message import Message
from embergate.aip.scalars import MAX_INT64, Int64

NANOS_PER_UNIT: Final = 1_000_000_000
MAX_NANOS: Final = NANOS_PER_UNIT - 1
AMOUNT: Final = re.compile(r"\d{1,10}(\.\d{1,9})?", re.ASCII)


class Money(Message):
    """An amount: whole units and billionths, both of the same sign."""

    currency_code: Annotated[str, Field(max_length=3, description="ISO 4217, for instance USD.")] = ""
    units: Int64 = 0
    nanos: Annotated[int, Field(ge=-MAX_NANOS, le=MAX_NANOS, json_schema_extra={"format": "int32"})] = 0


def money_of(amount_nanos: int, currency_code: str) -> Money:
    """Return an amount in nanos as Money."""
    units, nanos = divmod(abs(amount_nanos), NANOS_PER_UNIT)
    sign = -1 if amount_nanos < 0 else 1
    return Money(currency_code=currency_code, units=sign * units, nanos=sign * nanos)


def nanos_of(money: Money, field: str = "amount") -> int:
    """Return Money in nanos. Raises: InvalidArgumentError if its parts have different signs, or it has more than 64 bits."""
    if money.units * money.nanos < 0:
        raise InvalidArgumentError(f"{field}: units and nanos must have the same sign", field=field)
    return _bounded(money.units * NANOS_PER_UNIT + money.nanos, field)


def parse_amount(text: str, field: str = "amount") -> int:
    """Read a decimal number such as 12.50 as nanos, exactly. Raises: InvalidArgumentError."""
    if not AMOUNT.fullmatch(text):
        raise InvalidArgumentError(f"{field}: expected a number such as 12.50, with at most 9 decimals", field=field)
    return _bounded(int(Decimal(text) * NANOS_PER_UNIT), field)


def format_amount(amount_nanos: int) -> str:
    """Write nanos as a decimal number with 2 decimals or more, as -1.75."""
    units, nanos = divmod(abs(amount_nanos), NANOS_PER_UNIT)
    decimals = f"{nanos:09d}".rstrip("0").ljust(2, "0")
    return f"{'-' if amount_nanos < 0 else ''}{units}.{decimals}"


def _bounded(amount_nanos: int, field: str) -> int:
    if abs(amount_nanos) > MAX_INT64:
        limit = MAX_INT64 // NANOS_PER_UNIT
        raise InvalidArgumentError(f"{field}: an amount is at most {limit:,} units", field=field)
    return amount_nanos
