"""The SQL of secrets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from sqlalchemy import delete as delete_rows
from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.errors import NotFoundError
from embergate.gateway.resource_type import ListRules, ResourceType
from embergate.gateway.secrets.schemas import Secret
from embergate.storage.insertion import insert_row_if_absent
from embergate.storage.tables.credentials import SecretRow

SECRETS_AT_ONCE: Final = 50

SECRETS: Final = ResourceType(
    SecretRow,
    Secret,
    pattern="accounts/{account}/secrets/{secret}",
    rules=ListRules(is_ordered_by_caller=False, searched=("name", "key_name")),
)


async def get(db: AsyncSession, account_id: str, secret_id: str, *, for_update: bool = False) -> SecretRow:
    """Return a secret, locked against others' changes and its deletion if asked. Raises: NotFoundError."""
    statement = select(SecretRow).where(SecretRow.account_id == account_id, SecretRow.id == secret_id)
    row = (await db.execute(statement.with_for_update() if for_update else statement)).scalar_one_or_none()
    if row is None:
        raise NotFoundError("resource not found")
    return row


async def insert(db: AsyncSession, row: SecretRow) -> bool:
    """Insert a secret unless the account has one of this id; return whether it was inserted."""
    return await insert_row_if_absent(db, row)


async def delete(db: AsyncSession, account_id: str, secret_id: str) -> None:
    """Delete a secret. Raises: NotFoundError."""
    statement = delete_rows(SecretRow).where(SecretRow.account_id == account_id, SecretRow.id == secret_id)
    if (await db.execute(statement.returning(SecretRow.id))).first() is None:
        raise NotFoundError("resource not found")


async def lock_all(db: AsyncSession) -> AsyncIterator[SecretRow]:
    """Yield every secret of every account, locked against changes, a few at a time."""
    key = tuple_(SecretRow.account_id, SecretRow.id)
    statement = select(SecretRow).order_by(SecretRow.account_id, SecretRow.id).limit(SECRETS_AT_ONCE).with_for_update()
    position: tuple[str, str] | None = None
    while True:
        ahead = statement if position is None else statement.where(key > position)
        rows = (await db.execute(ahead)).scalars().all()
        for row in rows:
            yield row
        if len(rows) < SECRETS_AT_ONCE:
            return
        position = (rows[-1].account_id, rows[-1].id)
        await db.flush()
        db.expunge_all()
