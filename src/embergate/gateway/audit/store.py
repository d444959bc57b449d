"""The SQL of reading the audit trail: as a list, newest first, and as the chains that its seals make of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from sqlalchemy import Row, select, union
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.aip.status import Code, Status
from embergate.gateway.audit.schemas import AuditLogEntry
from embergate.gateway.audit.trail import ENTRIES, HEADS
from embergate.gateway.resource_type import ListRules, ResourceType
from embergate.storage.tables.audit import AuditEntryRow

ENTRIES_AT_ONCE: Final = 200

AUDIT_LOGS: Final = ResourceType(
    AuditEntryRow,
    AuditLogEntry,
    columns={"status.code": AuditEntryRow.status_code, "status.message": AuditEntryRow.status_message},
    extra=lambda row: {"status": Status(code=Code(row.status_code), message=row.status_message)},
    rules=ListRules(
        default_order="timestamp desc, id desc",
        last_key="id",
        is_ordered_by_caller=False,
        default_page_size=10,
        aliases={"email": "principal"},
        searched=("method", "principal", "resource", "message", "status.message"),
    ),
)


async def chain_owners(db: AsyncSession) -> list[str]:
    """Return the accounts that have entries, or a head that says they had; the empty name is the platform's."""
    statement = union(select(HEADS.c.account_id), select(ENTRIES.c.account_id).distinct())
    return sorted((await db.execute(statement)).scalars())


async def find_head(db: AsyncSession, account_id: str) -> Row[int, bytes] | None:
    """Return the sequence and the hash of an account's head, or None."""
    statement = select(HEADS.c.sequence, HEADS.c.hash).where(HEADS.c.account_id == account_id)
    return (await db.execute(statement)).one_or_none()


async def entries_in_order(db: AsyncSession, account_id: str) -> AsyncIterator[Mapping[str, Any] | None]:
    """Yield an account's entries from the first on; None, and then no more, for one that holds what cannot be read."""
    statement = select(ENTRIES).where(ENTRIES.c.account_id == account_id).order_by(ENTRIES.c.sequence)
    after, limit = None, ENTRIES_AT_ONCE
    while True:
        ahead = statement if after is None else statement.where(ENTRIES.c.sequence > after)
        try:
            entries = (await db.execute(ahead.limit(limit))).mappings().all()
        except (SQLAlchemyError, TypeError, ValueError):
            # One of them is no longer of its columns' types: on, one by one, until it is found.
            if limit == 1:
                yield None
                return
            limit = 1
            continue
        for entry in entries:
            yield dict(entry)
        if len(entries) < limit:
            return
        after = entries[-1]["sequence"]
