"""What things cost, and have cost: rows are added and never changed, so that the price of any moment can be told.

Units: prices in billionths of a dollar a token (nanos).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from embergate.storage.rows import Base, Json, UtcDateTime


class PriceRow(Base):
    """What a token of a model costs from a moment on."""

    __tablename__ = "prices"

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    # The model's resource name.
    model: Mapped[str] = mapped_column(String(512))
    # None returns the model to the price of its size.
    price_nanos: Mapped[int | None] = mapped_column(BigInteger)
    start_time: Mapped[datetime] = mapped_column(UtcDateTime)
    create_time: Mapped[datetime] = mapped_column(UtcDateTime)

    __table_args__ = (Index("ix_prices_model_start_time", "model", "start_time"),)


class PricingPlanRow(Base):
    """What an account pays in place of the list's prices, for a time."""

    __tablename__ = "pricing_plans"

    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    id: Mapped[str] = mapped_column(String(63), primary_key=True)
    billing_type: Mapped[str] = mapped_column(String(40))
    token_config: Mapped[list[dict[str, Any]]] = mapped_column(Json)
    accelerator_hour_config: Mapped[list[dict[str, Any]]] = mapped_column(Json)
    start_time: Mapped[datetime] = mapped_column(UtcDateTime)
    end_time: Mapped[datetime | None] = mapped_column(UtcDateTime)
    state: Mapped[str] = mapped_column(String(20))
    create_time: Mapped[datetime] = mapped_column(UtcDateTime)
    update_time: Mapped[datetime] = mapped_column(UtcDateTime)
