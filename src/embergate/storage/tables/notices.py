"""What accounts were warned of, and what is still to be told to whoever listens elsewhere.

Units: billionths of a dollar (nanos).
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from embergate.storage.rows import Base, UtcDateTime


class SpendWarningRow(Base):
    """That an account was warned, in a month, of having spent an amount; there is never a second."""

    __tablename__ = "spend_warnings"

    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    # In UTC, as 2026-01.
    month: Mapped[str] = mapped_column(String(7), primary_key=True)
    amount_nanos: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    create_time: Mapped[datetime] = mapped_column(UtcDateTime)


class WebhookDeliveryRow(Base):
    """A message that is not delivered yet; it goes once it is."""

    __tablename__ = "webhook_deliveries"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    # What is sent, to the byte.
    body: Mapped[str] = mapped_column(Text)
    num_attempts: Mapped[int]
    next_attempt_time: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    create_time: Mapped[datetime] = mapped_column(UtcDateTime)
