"""The rules of credit codes: who may redeem one, once each, as often as it was made for, while it lasts."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

from embergate.aip.errors import InvalidArgumentError
from embergate.aip.message import require_fields
from embergate.aip.names import USER_ID
from embergate.clock import now
from embergate.errors import AlreadyExistsError, FailedPreconditionError, TooManyRequestsError
from embergate.gateway.access import Permission, require
from embergate.gateway.accounts import store as accounts
from embergate.gateway.call import Call
from embergate.gateway.credits import store
from embergate.gateway.credits.ledger import GRANTED_CREDIT, balances, credit_of, post
from embergate.gateway.credits.schemas import CreditCode, RedeemCreditCodeRequest
from embergate.gateway.credits.store import CODES, REDEMPTIONS
from embergate.gateway.money import Money, money_of, nanos_of
from embergate.gateway.usage.suspension import review_in
from embergate.ids import new_id
from embergate.storage.insertion import insert_if_absent
from embergate.storage.tables.credits import CreditCodeRow, CreditRedemptionRow

CODE: Final = re.compile(r"[A-Z0-9][A-Z0-9_-]{0,63}")
CURRENCY: Final = re.compile(r"[A-Z]{3}")
# An account may try so many codes that there are not, in each five minutes and each process.
MAX_GUESSES: Final = 20
ACCOUNT_NAME: Final = re.compile(rf"accounts/({USER_ID.pattern})")


async def redeem(call: Call, request: RedeemCreditCodeRequest) -> Money:
    """Grant a code's credit to the account that the request names, which becomes the account of the call.

    Raises: NotFoundError for a code that there is not; AlreadyExistsError for one that the account has redeemed;
        FailedPreconditionError for one that is disabled, used up, over or not valid yet; TooManyRequestsError if the
        account has tried too many that there are not.
    """
    require_fields(request)
    name = ACCOUNT_NAME.fullmatch(request.name)
    if name is None:
        raise InvalidArgumentError("name: expected an account's name, accounts/{account_id}", field="name")
    call.turn_to(name.group(1))
    require(call.caller, Permission.ADMIN, account_id=call.account_id)
    # NOTE: locked before anything else, as whoever charges the account does: two that did it the other way round would wait
    # for each other.
    account = await accounts.get(call.db, call.account_id, for_update=True)
    # Counted before it is known whether there is such a code, so that guesses at the same time are counted as well.
    wait_s = call.deps.code_guesses.admit(account.id)
    if wait_s:
        raise TooManyRequestsError("too many credit codes that there are not; try again later", retry_after_s=wait_s)
    # NOTE: the code's row is the lock that makes its redemptions one after the other.
    code = await store.lock_code(call.db, canonical(request.code))
    call.deps.code_guesses.take_back(account.id)
    if await store.has_redeemed(call.db, account.id, code.code):
        raise AlreadyExistsError("the account has redeemed this credit code already")
    moment = now()
    _check_redeemable(code, moment)
    redemption = CreditRedemptionRow(account_id=account.id, id=new_id(), credit_code=code.code, create_time=moment)
    call.db.add(redemption)
    code.num_redemptions += 1
    call.event.resource = REDEMPTIONS.name_of(redemption)
    amounts = {credit_of(account.id): code.amount_nanos, GRANTED_CREDIT: -code.amount_nanos}
    await post(call.db, call.event.resource, code.currency_code, amounts)
    await review_in(call)
    return money_of(code.amount_nanos, code.currency_code)


async def create_code(call: Call, draft: CreditCode) -> CreditCode:
    """Make a code. Raises: AlreadyExistsError if there is one of this name; InvalidArgumentError naming a bad field."""
    require_fields(draft)
    assert draft.amount is not None, "require_fields has seen to it. This is a bug."
    code = canonical(draft.code)
    amount_nanos = nanos_of(draft.amount)
    if not CODE.fullmatch(code):
        raise InvalidArgumentError("code: use 1 to 64 letters, digits, - and _, not - or _ first", field="code")
    if amount_nanos <= 0:
        raise InvalidArgumentError("amount: a code is worth more than nothing", field="amount")
    if not CURRENCY.fullmatch(draft.amount.currency_code):
        raise InvalidArgumentError("amount.currencyCode: three capital letters, as USD", field="amount.currencyCode")
    if draft.max_redemptions < 1:
        raise InvalidArgumentError("maxRedemptions: at least 1", field="maxRedemptions")
    if draft.start_time and draft.end_time and draft.start_time >= draft.end_time:
        raise InvalidArgumentError("endTime: it must be after startTime", field="endTime")
    values = {
        "code": code,
        "amount_nanos": amount_nanos,
        "currency_code": draft.amount.currency_code,
        "max_redemptions": draft.max_redemptions,
        "num_redemptions": 0,
        "start_time": draft.start_time,
        "end_time": draft.end_time,
        "enabled": draft.enabled,
        "create_time": now(),
    }
    if not await insert_if_absent(call.db, CreditCodeRow, values):
        raise AlreadyExistsError(f"there is a credit code {code} already", param="code")
    call.event.resource = audit_name(code)
    return CODES.message_of(await store.lock_code(call.db, code))


async def disable_code(call: Call, code: str) -> CreditCode:
    """End a code at once; what was granted by it stays. Raises: NotFoundError."""
    row = await store.lock_code(call.db, canonical(code))
    row.enabled = False
    call.event.resource = audit_name(row.code)
    return CODES.message_of(row)


async def credit(call: Call) -> list[Money]:
    """Return the prepaid credit of the account of the call, one amount a currency. Raises: NotFoundError."""
    account = await accounts.get(call.db, call.account_id)
    return [money_of(nanos, code) for code, nanos in (await balances(call.db, credit_of(account.id))).items()]


def canonical(code: str) -> str:
    """Return a code as it is stored and compared."""
    return code.strip().upper()


def audit_name(code: str) -> str:
    """Return what the audit trail calls a code: codes have no name on the wire."""
    return f"creditCodes/{code}"


def _check_redeemable(code: CreditCodeRow, moment: datetime) -> None:
    if not code.enabled:
        raise FailedPreconditionError("the credit code is no longer accepted")
    if code.start_time is not None and moment < code.start_time:
        raise FailedPreconditionError("the credit code is not valid yet")
    if code.end_time is not None and moment >= code.end_time:
        raise FailedPreconditionError("the credit code has expired")
    if code.num_redemptions >= code.max_redemptions:
        raise FailedPreconditionError("the credit code has been used up")
