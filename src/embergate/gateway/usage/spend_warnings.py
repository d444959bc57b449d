"""Warnings of a month's spend: once a month for each amount, written down in the transaction that finds them due."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.aip.message import write_message
from embergate.gateway.audit.trail import Event, act_of_server
from embergate.gateway.money import format_amount, money_of
from embergate.gateway.usage.standing import CURRENCY, Standing, month_of
from embergate.gateway.webhooks import outbox
from embergate.storage.tables.notices import SpendWarningRow

KIND = "account.monthly_spend_warning"
log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SpendWarning:
    """That an account has spent an amount in a month."""

    standing: Standing
    month: str
    amount_nanos: int

    def event(self) -> Event:
        """Return it as the audit trail has it."""
        return act_of_server(
            "WarnOfMonthlySpend",
            f"accounts/{self.standing.account_id}",
            self._text(),
            {"month": self.month, **self._money()},
        )

    def message(self) -> dict[str, object]:
        """Return it as it is told elsewhere."""
        return {"account": f"accounts/{self.standing.account_id}", "month": self.month, **self._money()}

    def tell(self) -> None:
        """Log it."""
        log.warning("monthly_spend_warning", account=self.standing.account_id, month=self.month, message=self._text())

    def _money(self) -> dict[str, object]:
        limit_nanos = self.standing.monthly_limit_nanos
        return {
            "threshold": write_message(money_of(self.amount_nanos, CURRENCY)),
            "spend": write_message(money_of(self.standing.spent_nanos, CURRENCY)),
            "monthlyLimit": None if limit_nanos is None else write_message(money_of(limit_nanos, CURRENCY)),
        }

    def _text(self) -> str:
        limit_nanos = self.standing.monthly_limit_nanos
        of = "" if limit_nanos is None else f", of a monthly limit of {format_amount(limit_nanos)} USD"
        spent, amount = format_amount(self.standing.spent_nanos), format_amount(self.amount_nanos)
        return f"{spent} USD are spent in {self.month}, which reaches the threshold of {amount} USD{of}"


async def given(db: AsyncSession, account_ids: Collection[str], moment: datetime) -> set[tuple[str, int]]:
    """Return of what amounts accounts were warned in the month of a moment."""
    chosen = select(SpendWarningRow.account_id, SpendWarningRow.amount_nanos).where(
        SpendWarningRow.account_id.in_(account_ids), SpendWarningRow.month == month_of(moment)
    )
    return {(account_id, amount_nanos) for account_id, amount_nanos in await db.execute(chosen)}


async def give(db: AsyncSession, standing: Standing, moment: datetime, *, by_webhook: bool) -> list[SpendWarning]:
    """Write down the warnings that are due to an account, which is locked; return them, for the trail."""
    if not standing.amounts_reached:
        return []
    before = await given(db, [standing.account_id], moment)
    due = [
        SpendWarning(standing, month_of(moment), amount_nanos)
        for amount_nanos in standing.amounts_reached
        if (standing.account_id, amount_nanos) not in before
    ]
    for warning in due:
        db.add(
            SpendWarningRow(
                account_id=standing.account_id,
                month=warning.month,
                amount_nanos=warning.amount_nanos,
                create_time=moment,
            )
        )
        if by_webhook:
            await outbox.put(db, KIND, warning.message())
    await db.flush()
    return due
