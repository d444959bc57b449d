"""The SQL of credit codes and redemptions."""

from __future__ import annotations

from typing import Final

from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.errors import NotFoundError
from embergate.gateway.credits.schemas import CreditCode, CreditRedemption
from embergate.gateway.money import money_of
from embergate.gateway.resource_type import ListRules, ResourceType
from embergate.storage.tables.credits import CreditCodeRow, CreditRedemptionRow

REDEMPTIONS: Final = ResourceType(
    CreditRedemptionRow,
    CreditRedemption,
    pattern="accounts/{account}/creditRedemptions/{credit_redemption}",
    rules=ListRules(default_order="create_time", searched=("credit_code",)),
)
CODES: Final = ResourceType(
    CreditCodeRow,
    CreditCode,
    extra=lambda row: {"amount": money_of(row.amount_nanos, row.currency_code)},
    rules=ListRules(default_order="create_time", last_key="code", searched=("code",)),
)


async def lock_code(db: AsyncSession, code: str) -> CreditCodeRow:
    """Return a code as it is now, and keep others from changing it until this transaction ends. Raises: NotFoundError."""
    statement = select(CreditCodeRow).where(CreditCodeRow.code == code).with_for_update()
    row = (await db.execute(statement.execution_options(populate_existing=True))).scalar_one_or_none()
    if row is None:
        raise NotFoundError("there is no such credit code")
    return row


async def has_redeemed(db: AsyncSession, account_id: str, code: str) -> bool:
    """Tell whether the account has redeemed the code."""
    found = exists().where(CreditRedemptionRow.account_id == account_id, CreditRedemptionRow.credit_code == code)
    return bool((await db.execute(select(found))).scalar_one())
