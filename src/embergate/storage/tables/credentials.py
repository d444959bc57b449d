"""What a caller proves itself with, and what the server keeps secret for it. No plaintext is stored."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, ForeignKeyConstraint, Index, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from embergate.storage.rows import Base, Json, UtcDateTime

USER = ("users.account_id", "users.id")


class ApiKeyRow(Base):
    """An API key, known by its digest. A deleted one stays, so that what it used can still be named."""

    __tablename__ = "api_keys"

    key_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    account_id: Mapped[str] = mapped_column(String(63))
    user_id: Mapped[str] = mapped_column(String(63))
    display_name: Mapped[str] = mapped_column(String(63))
    digest: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    prefix: Mapped[str] = mapped_column(String(16))
    annotations: Mapped[dict[str, str]] = mapped_column(Json)
    create_time: Mapped[datetime] = mapped_column(UtcDateTime)
    expire_time: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_used: Mapped[datetime | None] = mapped_column(UtcDateTime)
    delete_time: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (
        ForeignKeyConstraint(["account_id", "user_id"], USER),
        Index("ix_api_keys_account_id_user_id_create_time", "account_id", "user_id", "create_time", "key_id"),
    )


class SessionRow(Base):
    """A login; its access tokens are worth nothing once it is revoked or expired."""

    __tablename__ = "sessions"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    account_id: Mapped[str] = mapped_column(String(63))
    user_id: Mapped[str] = mapped_column(String(63))
    login_method: Mapped[str] = mapped_column(String(20))
    # The key that the session was opened with; the session ends with it.
    key_id: Mapped[str | None] = mapped_column(ForeignKey("api_keys.key_id"))
    create_time: Mapped[datetime] = mapped_column(UtcDateTime)
    expire_time: Mapped[datetime] = mapped_column(UtcDateTime)
    revoke_time: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (
        ForeignKeyConstraint(["account_id", "user_id"], USER),
        Index("ix_sessions_account_id_user_id", "account_id", "user_id"),
    )


class RefreshTokenRow(Base):
    """One refresh token of a session, known by its digest; each is good for one use."""

    __tablename__ = "refresh_tokens"

    digest: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    session_id: Mapped[str] = mapped_column(ForeignKey("sessions.id"), index=True)
    create_time: Mapped[datetime] = mapped_column(UtcDateTime)
    expire_time: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    spend_time: Mapped[datetime | None] = mapped_column(UtcDateTime)


class SigningKeyRow(Base):
    """A key that access tokens are signed with, encrypted."""

    __tablename__ = "signing_keys"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    encrypted_key: Mapped[bytes] = mapped_column(LargeBinary)
    create_time: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


class SecretRow(Base):
    """A secret that an account has the server keep, encrypted."""

    __tablename__ = "secrets"

    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    id: Mapped[str] = mapped_column(String(63), primary_key=True)
    key_name: Mapped[str] = mapped_column(String(256))
    encrypted_value: Mapped[bytes] = mapped_column(LargeBinary)
    create_time: Mapped[datetime] = mapped_column(UtcDateTime)
    update_time: Mapped[datetime] = mapped_column(UtcDateTime)


class KeyringMarkRow(Base):
    """A mark left by each server secret in use, so that a start with a wrong one is noticed."""

    __tablename__ = "keyring_marks"

    mark: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    create_time: Mapped[datetime] = mapped_column(UtcDateTime)
