"""The SQL of policies."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.storage.insertion import dialect_insert
from embergate.storage.tables.accounts import PolicyRow


async def find(db: AsyncSession, account_id: str) -> PolicyRow | None:
    """Return an account's policy; None where none was ever set."""
    return (await db.execute(select(PolicyRow).where(PolicyRow.account_id == account_id))).scalar_one_or_none()


async def put(db: AsyncSession, account_id: str, rules: Sequence[dict[str, Any]], update_time: datetime) -> None:
    """Set an account's policy, the first or another."""
    values = {"rules": list(rules), "update_time": update_time}
    insert = dialect_insert(db, PolicyRow).values(account_id=account_id, **values)
    await db.execute(insert.on_conflict_do_update(index_elements=["account_id"], set_=values))
