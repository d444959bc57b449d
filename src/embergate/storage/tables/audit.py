"""The audit trail: append-only, a chain of hashes for each account."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Index, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from embergate.storage.rows import Base, Json, UtcDateTime


class AuditEntryRow(Base):
    """What one call did, or tried to do. `account_id` is empty for acts that belong to the platform."""

    __tablename__ = "audit_entries"

    account_id: Mapped[str] = mapped_column(String(63), primary_key=True)
    sequence: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    id: Mapped[str] = mapped_column(String(40), unique=True)
    method: Mapped[str] = mapped_column(String(128))
    principal: Mapped[str] = mapped_column(String(320))
    payload: Mapped[dict[str, Any]] = mapped_column(Json)
    status_code: Mapped[str] = mapped_column(String(24))
    status_message: Mapped[str] = mapped_column(Text)
    timestamp: Mapped[datetime] = mapped_column(UtcDateTime)
    message: Mapped[str] = mapped_column(Text)
    resource: Mapped[str] = mapped_column(String(512))
    is_admin_action: Mapped[bool]
    user_agent: Mapped[str] = mapped_column(String(512))
    client_ip: Mapped[str] = mapped_column(String(64))
    api_key_id: Mapped[str] = mapped_column(String(40))
    hash: Mapped[bytes] = mapped_column(LargeBinary(32))

    __table_args__ = (
        # The last column is in no order: with it, entries that are not for everybody are counted by the index alone.
        Index("ix_audit_entries_account_id_timestamp", "account_id", "timestamp", "id", "is_admin_action"),
        Index(
            "ix_audit_entries_account_id_principal_timestamp",
            "account_id",
            "principal",
            "timestamp",
            "id",
            "is_admin_action",
        ),
    )


class AuditHeadRow(Base):
    """How far an account's chain goes, and what its next entry goes on from; locking it puts the entries in order."""

    __tablename__ = "audit_heads"

    account_id: Mapped[str] = mapped_column(String(63), primary_key=True)
    sequence: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[bytes] = mapped_column(LargeBinary(32))
