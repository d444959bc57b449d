"""Money on the wire, and as the integer that the server counts with.

Source: https://github.com/googleapis/googleapis/blob/master/google/type/money.proto
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from embergate.aip.message import Message
from embergate.aip.scalars import Int64

NANOS_PER_UNIT: Final = 1_000_000_000
MAX_NANOS: Final = NANOS_PER_UNIT - 1


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
