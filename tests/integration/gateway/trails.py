"""Writing to the audit trail, and tampering with it past the guards of the database."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.clock import now
from embergate.gateway.audit.trail import AUDIT_SEAL, Event, record
from embergate.gateway.audit.verify import ChainReport, verify_trail
from embergate.storage.database import Database
from embergate.web.keyring import Keyring

SEAL_KEYS: Final = Keyring([bytes(range(32))]).keys(AUDIT_SEAL)


async def write(
    database: Database,
    account_id: str = "mine",
    *,
    method: str = "CreateUser",
    payload: dict[str, Any] | None = None,
    seal_key: bytes = SEAL_KEYS[0],
) -> None:
    """Append one entry."""
    event = Event(
        method,
        timestamp=now(),
        user_agent="firectl/1.2.3",
        client_ip="192.0.2.7",
        principal=f"ada@{account_id}.example",
        api_key_id="key_1",
        resource=f"accounts/{account_id}/users/ada",
        message="made",
        payload=payload or {"body": {"displayName": "Ada"}},
    )
    async with database.writing() as db:
        await record(db, account_id, event, outcome=("OK", "fine"), seal_key=seal_key)


async def verified(database: Database, seal_keys: tuple[bytes, ...] = SEAL_KEYS) -> dict[str, ChainReport]:
    """Return the report of each chain."""
    return {report.account_id: report async for report in verify_trail(database, seal_keys)}


async def unguard(db: AsyncSession, table: str = "audit_entries") -> None:
    """Take away the triggers that keep rows as they are, as the database's owner can."""
    if db.get_bind().dialect.name == "postgresql":
        await db.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
    else:
        for change in ("update", "delete"):
            await db.execute(text(f"DROP TRIGGER {table}_refuse_{change}"))
