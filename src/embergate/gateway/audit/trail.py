"""Writing the audit trail: one entry a call, each sealed with a hash over itself and the hash of the entry before.

The hash is keyed, so that whoever can write to the database alone cannot forge a chain.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

import orjson
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.ids import new_id
from embergate.storage.insertion import insert_if_absent
from embergate.storage.tables.audit import AuditEntryRow, AuditHeadRow
from embergate.web.caller import Caller

METHOD_PREFIX: Final = "/gateway.Gateway/"
# Values under these names are never written down, wherever in a request they stand.
SECRET_NAMES: Final = frozenset(
    {
        *("key", "value", "apikey", "secret", "password", "currentpassword", "newpassword"),
        *("token", "refreshtoken", "accesstoken", "idtoken"),
    }
)
REDACTED: Final = "[redacted]"
MAX_PAYLOAD_BYTES: Final = 16_384
MAX_REDACTION_DEPTH: Final = 32
MAX_TEXT_CHARACTERS: Final = 512
GENESIS: Final = bytes(32)


@dataclass(slots=True)
class Event:
    """What the entry will say, as far as it is known before the call has ended."""

    method: str
    timestamp: datetime
    user_agent: str = ""
    client_ip: str = ""
    principal: str = ""
    api_key_id: str = ""
    is_admin_action: bool = False
    resource: str = ""
    message: str = ""
    payload: dict[str, Any] = field(default_factory=dict)

    def by(self, caller: Caller, account_id: str) -> None:
        """Note who acts; an operator in an account not its own acts for the platform."""
        self.principal = caller.email or caller.user
        self.api_key_id = caller.key_id
        self.is_admin_action = caller.is_operator and caller.account != account_id


async def record(
    db: AsyncSession, account_id: str, event: Event, *, outcome: tuple[str, str], seal_key: bytes
) -> AuditEntryRow:
    """Append an entry to the account's chain in the caller's transaction; `outcome` is the status code's name and message."""
    head = await _lock_head(db, account_id)
    row = AuditEntryRow(
        account_id=account_id,
        sequence=head.sequence + 1,
        id=new_id(),
        method=METHOD_PREFIX + event.method,
        principal=event.principal,
        payload=bounded(redact(event.payload)),
        status_code=outcome[0],
        status_message=outcome[1][:MAX_TEXT_CHARACTERS],
        timestamp=event.timestamp,
        message=event.message[:MAX_TEXT_CHARACTERS],
        resource=event.resource[:MAX_TEXT_CHARACTERS],
        is_admin_action=event.is_admin_action,
        user_agent=event.user_agent[:MAX_TEXT_CHARACTERS],
        client_ip=event.client_ip[:64],
        api_key_id=event.api_key_id,
    )
    row.hash = seal(row, head.hash, seal_key)
    db.add(row)
    where = AuditHeadRow.account_id == account_id
    await db.execute(update(AuditHeadRow).where(where).values(sequence=row.sequence, hash=row.hash))
    return row


async def _lock_head(db: AsyncSession, account_id: str) -> AuditHeadRow:
    await insert_if_absent(db, AuditHeadRow, {"account_id": account_id, "sequence": 0, "hash": GENESIS})
    statement = select(AuditHeadRow).where(AuditHeadRow.account_id == account_id).with_for_update()
    return (await db.execute(statement.execution_options(populate_existing=True))).scalar_one()


def seal(row: AuditEntryRow, previous_hash: bytes, seal_key: bytes) -> bytes:
    """Return the hash of an entry that follows the one with `previous_hash`."""
    content = {
        column.key: getattr(row, column.key) for column in AuditEntryRow.__table__.columns if column.key != "hash"
    }
    content["timestamp"] = row.timestamp.isoformat(timespec="microseconds")
    document = orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
    return hmac.new(seal_key, previous_hash + document, sha256).digest()


def redact(value: Any, depth: int = 0) -> Any:
    """Return a copy of a request without its secrets."""
    if depth > MAX_REDACTION_DEPTH:
        return REDACTED
    if isinstance(value, Mapping):
        return {key: REDACTED if _is_secret(key, item) else redact(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [redact(item, depth + 1) for item in value]
    return value


def _is_secret(name: str, value: Any) -> bool:
    return name.lower().replace("_", "") in SECRET_NAMES and not isinstance(value, Mapping)


def bounded(payload: dict[str, Any]) -> dict[str, Any]:
    """Return the payload, or its size where it is too large to keep."""
    size = len(orjson.dumps(payload))
    return payload if size <= MAX_PAYLOAD_BYTES else {"omittedBytes": size}
