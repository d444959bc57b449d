"""The SQL of API keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import Row, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.errors import NotFoundError
from embergate.gateway.api_keys.schemas import ApiKey
from embergate.gateway.resource_type import ListRules, ResourceType
from embergate.storage.tables.accounts import UserRow
from embergate.storage.tables.credentials import ApiKeyRow

API_KEYS: Final = ResourceType(
    ApiKeyRow,
    ApiKey,
    # NOTE: `key` is no column: the server does not know it; the address is its user's.
    extra=lambda _row: {"secure": True},
    rules=ListRules(default_order="create_time", last_key="key_id", searched=("display_name", "key_id", "prefix")),
)


async def get(db: AsyncSession, account_id: str, user_id: str, key_id: str, *, for_update: bool = False) -> ApiKeyRow:
    """Return a user's key that is not deleted, locked against others' changes if asked. Raises: NotFoundError."""
    statement = select(ApiKeyRow).where(
        ApiKeyRow.account_id == account_id,
        ApiKeyRow.user_id == user_id,
        ApiKeyRow.key_id == key_id,
        ApiKeyRow.delete_time.is_(None),
    )
    row = (await db.execute(statement.with_for_update() if for_update else statement)).scalar_one_or_none()
    if row is None:
        raise NotFoundError("resource not found")
    return row


async def find_by_digest(db: AsyncSession, digests: Sequence[bytes]) -> Row[ApiKeyRow, UserRow] | None:
    """Return the key with one of these digests, and its user, in whatever state it is: also deleted or expired.

    NOTE: the one lookup that takes no account: the digest is what tells it.
    """
    statement = (
        select(ApiKeyRow, UserRow)
        .join(UserRow, (UserRow.account_id == ApiKeyRow.account_id) & (UserRow.id == ApiKeyRow.user_id))
        .where(ApiKeyRow.digest.in_(digests))
    )
    return (await db.execute(statement)).one_or_none()


async def note_use(db: AsyncSession, used_at: Mapping[str, datetime]) -> None:
    """Write down when keys were last used, unless another process knows of a later use."""
    for key_id, moment in sorted(used_at.items()):
        is_later = ApiKeyRow.last_used.is_(None) | (ApiKeyRow.last_used < moment)
        await db.execute(update(ApiKeyRow).where(ApiKeyRow.key_id == key_id, is_later).values(last_used=moment))
