"""The SQL of users."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import exists, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.errors import NotFoundError
from embergate.gateway.resource_type import OK_STATUS, ListRules, ResourceType
from embergate.gateway.users.schemas import User
from embergate.storage.tables.accounts import UserRow
from embergate.web.caller import Role

USERS: Final = ResourceType(
    UserRow,
    User,
    pattern="accounts/{account}/users/{user}",
    columns=OK_STATUS,
    rules=ListRules(searched=("display_name", "email", "id")),
)


async def find(db: AsyncSession, account_id: str, user_id: str) -> UserRow | None:
    """Return a user, or None."""
    statement = select(UserRow).where(UserRow.account_id == account_id, UserRow.id == user_id)
    return (await db.execute(statement)).scalar_one_or_none()


async def get(db: AsyncSession, account_id: str, user_id: str) -> UserRow:
    """Return a user. Raises: NotFoundError."""
    row = await find(db, account_id, user_id)
    if row is None:
        raise NotFoundError("resource not found")
    return row


async def list_operators(db: AsyncSession, account_id: str) -> Sequence[UserRow]:
    """Return the account's operators."""
    statement = select(UserRow).where(UserRow.account_id == account_id, UserRow.is_operator)
    return (await db.execute(statement.order_by(UserRow.id))).scalars().all()


async def has_email(db: AsyncSession, account_id: str, email_key: str, *, besides: str = "") -> bool:
    """Tell whether another user than `besides` of the account has this address."""
    found = exists().where(UserRow.account_id == account_id, UserRow.email_key == email_key, UserRow.id != besides)
    return bool((await db.execute(select(found))).scalar_one())


async def count_admins(db: AsyncSession, account_id: str, *, besides: str) -> int:
    """Count the account's admins other than `besides`; service accounts do not count, nobody logs in as one."""
    statement = select(func.count()).where(
        UserRow.account_id == account_id,
        UserRow.role == Role.ADMIN.value,
        UserRow.service_account.is_(False),
        UserRow.id != besides,
    )
    return int((await db.execute(statement)).scalar_one())
