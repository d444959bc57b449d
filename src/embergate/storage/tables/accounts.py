"""Accounts and who acts for them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from embergate.storage.rows import Base, Json, UtcDateTime


class AccountRow(Base):
    """A tenant."""

    __tablename__ = "accounts"

    id: Mapped[str] = mapped_column(String(63), primary_key=True)
    display_name: Mapped[str] = mapped_column(String(63))
    email: Mapped[str] = mapped_column(String(320))
    account_type: Mapped[str] = mapped_column(String(40))
    state: Mapped[str] = mapped_column(String(20))
    suspend_state: Mapped[str] = mapped_column(String(40))
    notification_settings: Mapped[dict[str, Any] | None] = mapped_column(Json)
    create_time: Mapped[datetime] = mapped_column(UtcDateTime)
    update_time: Mapped[datetime] = mapped_column(UtcDateTime)


class PolicyRow(Base):
    """Which models an account may use; an account without a row has no policy and may use all."""

    __tablename__ = "policies"

    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    rules: Mapped[list[dict[str, Any]]] = mapped_column(Json)
    update_time: Mapped[datetime] = mapped_column(UtcDateTime)


class UserRow(Base):
    """A person or a service account of an account."""

    __tablename__ = "users"

    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    id: Mapped[str] = mapped_column(String(63), primary_key=True)
    display_name: Mapped[str] = mapped_column(String(63))
    email: Mapped[str] = mapped_column(String(320))
    # The address as it is compared: without regard to the case of ASCII letters.
    email_key: Mapped[str] = mapped_column(String(320))
    service_account: Mapped[bool]
    role: Mapped[str] = mapped_column(String(40))
    # An operator runs the platform: the rights of an admin in every account.
    is_operator: Mapped[bool]
    password_hash: Mapped[str | None] = mapped_column(String(256))
    state: Mapped[str] = mapped_column(String(20))
    create_time: Mapped[datetime] = mapped_column(UtcDateTime)
    update_time: Mapped[datetime] = mapped_column(UtcDateTime)

    __table_args__ = (
        Index("ux_users_account_id_email_key", "account_id", "email_key", unique=True),
        Index("ix_users_email_key", "email_key"),
    )
