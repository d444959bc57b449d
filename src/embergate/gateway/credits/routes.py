"""RedeemCreditCode and ListCreditRedemptions. Codes are made by an operator, on the command line."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter
from starlette.responses import Response

from embergate.gateway.access import Permission
from embergate.gateway.answers import answer
from embergate.gateway.body import body_of
from embergate.gateway.call import CurrentCall
from embergate.gateway.credits import service
from embergate.gateway.credits.schemas import (
    CreditRedemption,
    ListCreditRedemptionsResponse,
    RedeemCreditCodeRequest,
    RedeemCreditCodeResponse,
)
from embergate.gateway.credits.store import REDEMPTIONS
from embergate.gateway.edge import Operation
from embergate.gateway.resource_type import ListQuery, answer_page
from embergate.storage.tables.credits import CreditRedemptionRow

ADMIN: Final = Permission.ADMIN
REDEEM: Final = Operation(
    "RedeemCreditCode", RedeemCreditCodeResponse, needs=ADMIN, takes=RedeemCreditCodeRequest, writes=True
)
LIST: Final = Operation("ListCreditRedemptions", ListCreditRedemptionsResponse, needs=ADMIN)

router = APIRouter(tags=["credits"])


@router.post("/creditCodes:redeem", **REDEEM.route("Redeem a credit code"))
async def redeem_credit_code(
    call: CurrentCall, request: Annotated[RedeemCreditCodeRequest, body_of(RedeemCreditCodeRequest)]
) -> Response:
    """Add a code's amount to the credit of the account that `name` names; each account redeems a code once."""
    return answer(RedeemCreditCodeResponse(amount=await service.redeem(call, request)))


@router.get("/accounts/{account_id}/creditRedemptions", **LIST.route("List the credit codes that an account redeemed"))
async def list_credit_redemptions(call: CurrentCall, query: ListQuery) -> Response:
    """Return one page of redemptions, oldest first unless `orderBy` says otherwise."""
    page = await REDEMPTIONS.page(call, query, CreditRedemptionRow.account_id == call.account_id)
    return answer_page("creditRedemptions", page, CreditRedemption, query.read_mask)
