"""What was used: a record of each call, and sums by quarters of an hour, hours and days, which answer every question.

Units: money in billionths of a dollar (nanos), prices in nanos a token, slots in quarters of an hour since 1970 in UTC.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, ForeignKeyConstraint, Index, Integer, LargeBinary, String, text
from sqlalchemy.orm import Mapped, mapped_column

from embergate.storage.rows import Base, UtcDateTime

DIMENSIONS = ("usage_dimensions.account_id", "usage_dimensions.id")


class UsageDimensionsRow(Base):
    """By what usage can be told apart, written down once: records and sums refer to it.

    `id` is a hash of the rest, so that every server gives it alike without asking.
    """

    __tablename__ = "usage_dimensions"

    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    id: Mapped[bytes] = mapped_column(LargeBinary(16), primary_key=True)
    usage_type: Mapped[str] = mapped_column(String(64))
    # The model's resource name.
    model: Mapped[str] = mapped_column(String(512))
    api_key_id: Mapped[str] = mapped_column(String(40))
    # What the caller's annotations say; empty where they say nothing.
    team: Mapped[str] = mapped_column(String(128))
    project: Mapped[str] = mapped_column(String(128))
    environment: Mapped[str] = mapped_column(String(128))
    is_batch: Mapped[bool]
    # Of a token that was computed, a batch's discount taken off, and of one that was cached.
    price_nanos: Mapped[int] = mapped_column(BigInteger)
    cached_price_nanos: Mapped[int] = mapped_column(BigInteger)


class UsageRecordRow(Base):
    """One call that was answered, or is about to be."""

    __tablename__ = "usage_records"

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    account_id: Mapped[str] = mapped_column(String(63))
    dimensions_id: Mapped[bytes] = mapped_column(LargeBinary(16))
    time: Mapped[datetime] = mapped_column(UtcDateTime)
    request_id: Mapped[str] = mapped_column(String(40))
    user_id: Mapped[str] = mapped_column(String(63))
    num_inputs: Mapped[int]
    prompt_tokens: Mapped[int] = mapped_column(BigInteger)
    cached_tokens: Mapped[int] = mapped_column(BigInteger)
    cost_nanos: Mapped[int] = mapped_column(BigInteger)
    # What the caller named the call by, so that it is billed once however often it is sent; and what it sent then.
    idempotency_key: Mapped[str | None] = mapped_column(String(255))
    request_digest: Mapped[bytes | None] = mapped_column(LargeBinary(32))

    __table_args__ = (
        ForeignKeyConstraint(["account_id", "dimensions_id"], DIMENSIONS),
        Index("ix_usage_records_account_id_time", "account_id", "time"),
        Index("ix_usage_records_time", "time"),
        Index(
            "ux_usage_records_account_id_idempotency_key",
            "account_id",
            "idempotency_key",
            unique=True,
            sqlite_where=text("idempotency_key IS NOT NULL"),
            postgresql_where=text("idempotency_key IS NOT NULL"),
        ),
    )


class UsageSlotRow(Base):
    """The sum of the records of the same dimensions in a span of time, kept in the transaction that adds a record.

    Spans are quarters of an hour, hours, and days of UTC, each by the number of quarters it has and the first of them.
    """

    __tablename__ = "usage_slots"

    account_id: Mapped[str] = mapped_column(String(63), primary_key=True)
    dimensions_id: Mapped[bytes] = mapped_column(LargeBinary(16), primary_key=True)
    quarters: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    slot: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    num_requests: Mapped[int] = mapped_column(BigInteger)
    prompt_tokens: Mapped[int] = mapped_column(BigInteger)
    cached_tokens: Mapped[int] = mapped_column(BigInteger)
    cost_nanos: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (
        ForeignKeyConstraint(["account_id", "dimensions_id"], DIMENSIONS),
        # Clustered by its key: a question reads runs of it and little else.
        {"sqlite_with_rowid": False},
    )


class UsageHorizonRow(Base):
    """From when on every record is there; the one row is missing as long as none was ever deleted."""

    __tablename__ = "usage_horizon"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    records_since: Mapped[datetime] = mapped_column(UtcDateTime)
