"""Datasets: files of rows that an account has uploaded, or that a job has written, and what is known of them.

Units: sizes in bytes.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, ForeignKeyConstraint, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from embergate.storage.rows import Base, Json, UtcDateTime


class DatasetRow(Base):
    """One dataset. Its files lie under `datasets/{account_id}/{uid}/`: another one of the same id has other files."""

    __tablename__ = "datasets"

    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    id: Mapped[str] = mapped_column(String(63), primary_key=True)
    uid: Mapped[str] = mapped_column(String(40), unique=True)
    display_name: Mapped[str] = mapped_column(String(64))
    create_time: Mapped[datetime] = mapped_column(UtcDateTime)
    update_time: Mapped[datetime] = mapped_column(UtcDateTime)
    created_by: Mapped[str] = mapped_column(String(320))
    state: Mapped[str] = mapped_column(String(32))
    status_code: Mapped[str] = mapped_column(String(32))
    status_message: Mapped[str] = mapped_column(String(2000))
    example_count: Mapped[int] = mapped_column(BigInteger)
    estimated_token_count: Mapped[int] = mapped_column(BigInteger)
    format: Mapped[str] = mapped_column(String(32))
    external_url: Mapped[str] = mapped_column(String(2000))
    source_job_name: Mapped[str] = mapped_column(String(256))
    # Where its rows are from: the one of several messages that is set, by its name.
    origin: Mapped[dict[str, Any]] = mapped_column(Json)

    __table_args__ = (Index("ix_datasets_account_id_create_time_id", "account_id", "create_time", "id"),)


class DatasetFileRow(Base):
    """A file that a dataset is made of, or will be once it is uploaded."""

    __tablename__ = "dataset_files"

    account_id: Mapped[str] = mapped_column(String(63), primary_key=True)
    dataset_id: Mapped[str] = mapped_column(String(63), primary_key=True)
    filename: Mapped[str] = mapped_column(String(128), primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (
        ForeignKeyConstraint(["account_id", "dataset_id"], ["datasets.account_id", "datasets.id"], ondelete="CASCADE"),
    )
