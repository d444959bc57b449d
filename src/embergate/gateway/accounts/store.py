"""The SQL of accounts."""

from __future__ import annotations

from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.errors import NotFoundError
from embergate.gateway.accounts.schemas import Account
from embergate.gateway.resource_type import OK_STATUS, ListRules, ResourceType
from embergate.storage.tables.accounts import AccountRow

ACCOUNTS: Final = ResourceType(
    AccountRow,
    Account,
    pattern="accounts/{account}",
    columns=OK_STATUS,
    rules=ListRules(is_ordered_by_caller=False, searched=("display_name", "email")),
)


async def find(db: AsyncSession, account_id: str) -> AccountRow | None:
    """Return an account, or None."""
    return (await db.execute(select(AccountRow).where(AccountRow.id == account_id))).scalar_one_or_none()


async def get(db: AsyncSession, account_id: str, *, for_update: bool = False) -> AccountRow:
    """Return an account, locked against others' changes of what hangs on it if asked. Raises: NotFoundError."""
    statement = select(AccountRow).where(AccountRow.id == account_id)
    row = (await db.execute(statement.with_for_update() if for_update else statement)).scalar_one_or_none()
    if row is None:
        raise NotFoundError("resource not found")
    return row
