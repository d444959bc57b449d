"""Credit codes, who redeemed them, and the ledger that says what every account is worth.

Units: amounts are integers in billionths of the currency (nanos).
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from embergate.storage.rows import Base, UtcDateTime


class CreditCodeRow(Base):
    """A code that an operator gives out; it adds `amount_nanos` to each account that redeems it."""

    __tablename__ = "credit_codes"

    code: Mapped[str] = mapped_column(String(64), primary_key=True)
    amount_nanos: Mapped[int] = mapped_column(BigInteger)
    currency_code: Mapped[str] = mapped_column(String(3))
    max_redemptions: Mapped[int]
    num_redemptions: Mapped[int]
    start_time: Mapped[datetime | None] = mapped_column(UtcDateTime)
    end_time: Mapped[datetime | None] = mapped_column(UtcDateTime)
    enabled: Mapped[bool]
    create_time: Mapped[datetime] = mapped_column(UtcDateTime)


class CreditRedemptionRow(Base):
    """One account's redemption of one code; there is never a second."""

    __tablename__ = "credit_redemptions"

    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    credit_code: Mapped[str] = mapped_column(ForeignKey("credit_codes.code"))
    create_time: Mapped[datetime] = mapped_column(UtcDateTime)

    __table_args__ = (
        Index("ux_credit_redemptions_credit_code_account_id", "credit_code", "account_id", unique=True),
        Index("ix_credit_redemptions_account_id_create_time_id", "account_id", "create_time", "id"),
    )


class PostingRow(Base):
    """One side of a transaction in the ledger: the postings of a transaction add up to zero. Never changed."""

    __tablename__ = "postings"

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    transaction_id: Mapped[str] = mapped_column(String(40), index=True)
    ledger_account: Mapped[str] = mapped_column(String(128))
    amount_nanos: Mapped[int] = mapped_column(BigInteger)
    currency_code: Mapped[str] = mapped_column(String(3))
    # What caused it, for instance `accounts/a/creditRedemptions/r`.
    cause: Mapped[str] = mapped_column(String(256))
    create_time: Mapped[datetime] = mapped_column(UtcDateTime)

    __table_args__ = (Index("ix_postings_ledger_account_id", "ledger_account", "id"),)


class BalanceRow(Base):
    """The sum of a ledger account's postings, kept in the same transaction."""

    __tablename__ = "balances"

    ledger_account: Mapped[str] = mapped_column(String(128), primary_key=True)
    currency_code: Mapped[str] = mapped_column(String(3), primary_key=True)
    amount_nanos: Mapped[int] = mapped_column(BigInteger)
