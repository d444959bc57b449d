"""What credit codes and their redemptions are on the wire."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from embergate.aip.message import OUTPUT_ONLY, REQUIRED, Message
from embergate.aip.scalars import Bool, Int32, Timestamp
from embergate.gateway.answers import ListResponse
from embergate.gateway.money import Money


class RedeemCreditCodeRequest(Message):
    """The body of RedeemCreditCode."""

    code: Annotated[str, REQUIRED, Field(description="The code, in any case.")] = ""
    name: Annotated[str, REQUIRED, Field(description="The account that gets the credit, `accounts/{account_id}`.")] = ""


class RedeemCreditCodeResponse(Message):
    """What was granted."""

    amount: Money | None = None


class CreditRedemption(Message):
    """One account's redemption of one code."""

    name: Annotated[str, OUTPUT_ONLY] = ""
    credit_code: Annotated[str, REQUIRED] = ""
    create_time: Annotated[Timestamp | None, OUTPUT_ONLY] = None


class ListCreditRedemptionsResponse(ListResponse):
    """One page of redemptions."""

    credit_redemptions: list[CreditRedemption] = []


class CreditCode(Message):
    """A code, as operators see it; it has no place in the API."""

    code: Annotated[str, REQUIRED] = ""
    amount: Annotated[Money | None, REQUIRED] = None
    max_redemptions: Int32 = 1
    num_redemptions: Annotated[Int32, OUTPUT_ONLY] = 0
    start_time: Timestamp | None = None
    end_time: Timestamp | None = None
    enabled: Bool = True
    create_time: Annotated[Timestamp | None, OUTPUT_ONLY] = None
