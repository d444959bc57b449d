"""Writing the audit trail: one entry a call, each sealed with a hash over itself and everything before it.

The hash is keyed, so that whoever can write to the database alone cannot forge a chain. An account's head holds what its
next entry goes on from: a seal over the last entry's hash, which stands nowhere else. So the end of a chain cannot be cut
off either: what an earlier head was cannot be told from the entries.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from sqlalchemy import insert, update
from sqlalchemy.ext.asyncio import AsyncSession

from embergate import __version__
from embergate.clock import now
from embergate.gateway.audit.redaction import bounded, redact, storable
from embergate.ids import new_id
from embergate.storage.insertion import dialect_insert
from embergate.storage.rows import table_of
from embergate.storage.tables.audit import AuditEntryRow, AuditHeadRow
from embergate.web.caller import Caller

METHOD_PREFIX: Final = "/gateway.Gateway/"
# The account that is none: its part of the trail is the platform's.
PLATFORM: Final = ""
# Who did what nobody asked for.
SERVER: Final = f"embergate/{__version__}"
MAX_TEXT_CHARACTERS: Final = 512
MAX_ADDRESS_CHARACTERS: Final = 64
# What the keyring calls the seals' keys.
AUDIT_SEAL: Final = "audit-seal"
# What the first entry of a chain goes on from.
GENESIS: Final = bytes(32)
HEAD_LABEL: Final = b"head"
# What the seal is over. NOTE: never changed, else the entries of before cannot be verified: a column that is added later is
# sealed only where it is not its default.
SEALED: Final = (
    "account_id",
    "sequence",
    "id",
    "method",
    "principal",
    "payload",
    "status_code",
    "status_message",
    "timestamp",
    "message",
    "resource",
    "is_admin_action",
    "user_agent",
    "client_ip",
    "api_key_id",
)
ENTRIES: Final = table_of(AuditEntryRow)
HEADS: Final = table_of(AuditHeadRow)


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


async def record(db: AsyncSession, account_id: str, event: Event, *, outcome: tuple[str, str], seal_key: bytes) -> None:
    """Append an entry to the account's chain in the caller's transaction; `outcome` is the status code's name and message."""
    # Whoever holds the head must not wait for another row any more: all take their rows first, then the head.
    await db.flush()
    sequence, previous = await _advance_head(db, account_id)
    entry: dict[str, Any] = {
        "account_id": account_id,
        "sequence": sequence,
        "id": new_id(),
        "method": METHOD_PREFIX + event.method,
        "principal": storable(event.principal),
        "payload": bounded(redact(event.payload)),
        "status_code": outcome[0],
        "status_message": storable(outcome[1], MAX_TEXT_CHARACTERS),
        "timestamp": event.timestamp,
        "message": storable(event.message, MAX_TEXT_CHARACTERS),
        "resource": storable(event.resource, MAX_TEXT_CHARACTERS),
        "is_admin_action": event.is_admin_action,
        "user_agent": storable(event.user_agent, MAX_TEXT_CHARACTERS),
        "client_ip": storable(event.client_ip, MAX_ADDRESS_CHARACTERS),
        "api_key_id": event.api_key_id,
    }
    entry_hash = seal(entry, previous, seal_key)
    await db.execute(insert(ENTRIES), {**entry, "hash": entry_hash})
    head = update(HEADS).where(HEADS.c.account_id == account_id)
    await db.execute(head.values(hash=seal_head(entry_hash, seal_key)))


async def _advance_head(db: AsyncSession, account_id: str) -> tuple[int, bytes]:
    """Take the head, which makes others wait for the end of the transaction; return the new sequence and the head's hash."""
    first = dialect_insert(db, HEADS).values(account_id=account_id, sequence=1, hash=GENESIS)
    next_one = first.on_conflict_do_update(index_elements=["account_id"], set_={"sequence": HEADS.c.sequence + 1})
    found = (await db.execute(next_one.returning(HEADS.c.sequence, HEADS.c.hash))).one()
    return found.sequence, found.hash


def act_of_server(method: str, resource: str, message: str, payload: dict[str, Any]) -> Event:
    """Return the event of what the server did of its own accord."""
    return Event(
        method,
        timestamp=now(),
        user_agent=SERVER,
        principal=SERVER,
        resource=resource,
        message=message,
        payload=payload,
    )


def seal(entry: Mapping[str, Any], previous: bytes, seal_key: bytes) -> bytes:
    """Return the hash of an entry that goes on from a head.

    Raises: TypeError or ValueError if the entry holds what no entry holds; the database was written to by others then.
    """
    content = {name: entry[name] for name in SEALED}
    content["timestamp"] = entry["timestamp"].astimezone(UTC).isoformat(timespec="microseconds")
    document = orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
    return hmac.digest(seal_key, previous + document, "sha256")


def seal_head(entry_hash: bytes, seal_key: bytes) -> bytes:
    """Return what the head holds after an entry."""
    return hmac.digest(seal_key, HEAD_LABEL + entry_hash, "sha256")
