"""What a quota is on the wire."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from embergate.aip.message import OUTPUT_ONLY, Message
from embergate.aip.scalars import MAX_INT64, Double, Int64, Timestamp
from embergate.gateway.answers import ListResponse

UNLIMITED = f"{MAX_INT64} is no limit."


class Quota(Message):
    """How much of something an account may use."""

    name: Annotated[str, OUTPUT_ONLY] = ""
    value: Annotated[Int64, Field(description=f"What is enforced; at most maxValue. {UNLIMITED}")] = 0
    max_value: Annotated[
        Int64, Field(description=f"Up to what the account may raise it; an operator's to change. {UNLIMITED}")
    ] = 0
    usage: Annotated[Double, OUTPUT_ONLY] = 0.0
    update_time: Annotated[Timestamp | None, OUTPUT_ONLY] = None


class ListQuotasResponse(ListResponse):
    """One page of quotas."""

    quotas: list[Quota] = []
