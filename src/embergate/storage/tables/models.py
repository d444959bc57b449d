"""Models that accounts have uploaded: what is known of them, and the files that they are made of.

Units: sizes in bytes.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, ForeignKeyConstraint, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from embergate.storage.rows import Base, Json, UtcDateTime


class ModelRow(Base):
    """One model. Its files lie under `models/{account_id}/{uid}/`: another one of the same id has other files."""

    __tablename__ = "models"

    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    id: Mapped[str] = mapped_column(String(63), primary_key=True)
    uid: Mapped[str] = mapped_column(String(40), unique=True)
    display_name: Mapped[str] = mapped_column(String(64))
    description: Mapped[str] = mapped_column(String(1000))
    create_time: Mapped[datetime] = mapped_column(UtcDateTime)
    update_time: Mapped[datetime] = mapped_column(UtcDateTime)
    created_by: Mapped[str] = mapped_column(String(320))
    state: Mapped[str] = mapped_column(String(32))
    status_code: Mapped[str] = mapped_column(String(32))
    status_message: Mapped[str] = mapped_column(String(2000))
    kind: Mapped[str] = mapped_column(String(32))
    public: Mapped[bool]
    context_length: Mapped[int]
    cluster: Mapped[str] = mapped_column(String(256))
    # The other fields that a client may set, as they are on the wire.
    details: Mapped[dict[str, Any]] = mapped_column(Json)
    # Of a model that is READY: the sha256 over its files' names and digests, what it weighs, and how many weights it has.
    content_sha256: Mapped[str] = mapped_column(String(64), index=True)
    weights_bytes: Mapped[int] = mapped_column(BigInteger)
    parameter_count: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (Index("ix_models_account_id_create_time_id", "account_id", "create_time", "id"),)


class ModelFileRow(Base):
    """A file that a model is made of, or will be once it is uploaded; its sha256 is known once it was checked."""

    __tablename__ = "model_files"

    account_id: Mapped[str] = mapped_column(String(63), primary_key=True)
    model_id: Mapped[str] = mapped_column(String(63), primary_key=True)
    filename: Mapped[str] = mapped_column(String(400), primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    # Below the model's own, that it arrived in; empty for a file that was imported.
    folder: Mapped[str] = mapped_column(String(40))

    __table_args__ = (
        ForeignKeyConstraint(["account_id", "model_id"], ["models.account_id", "models.id"], ondelete="CASCADE"),
    )
