"""How an account stands: what it has, what it has spent this month, and whether it may go on.

Units: billionths of a dollar (nanos).
"""

from __future__ import annotations

import enum
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

from sqlalchemy import Select, select

from embergate.gateway.accounts.schemas import SuspendState
from embergate.gateway.credits.ledger import BALANCES, credit_of
from embergate.gateway.money import NANOS_PER_UNIT
from embergate.gateway.quotas.known import MONTHLY_SPEND, NO_LIMIT
from embergate.gateway.usage.spend_thresholds import stored_thresholds, warning_amounts
from embergate.storage.direct import WorkConnection
from embergate.storage.rows import table_of
from embergate.storage.tables.accounts import AccountRow, QuotaRow
from embergate.storage.value_lists import is_one_of, length_for, values_for

CURRENCY: Final = "USD"

ACCOUNTS: Final = table_of(AccountRow)
QUOTAS: Final = table_of(QuotaRow)
# Statements that every call waits for are made once: to make one takes as long as to run it.
ALL_ACCOUNTS: Final = (
    select(
        ACCOUNTS.c.id, ACCOUNTS.c.billing, ACCOUNTS.c.suspend_state, ACCOUNTS.c.notification_settings, QUOTAS.c.value
    )
    .outerjoin(QUOTAS, (QUOTAS.c.account_id == ACCOUNTS.c.id) & (QUOTAS.c.id == MONTHLY_SPEND))
    .order_by(ACCOUNTS.c.id)
)
ALL_BALANCES: Final = select(BALANCES.c.ledger_account, BALANCES.c.amount_nanos).where(
    BALANCES.c.currency_code == CURRENCY
)


class Billing(enum.StrEnum):
    """How an account pays: out of the credit it has, and then not at all; or for what is more than its credit, later."""

    PREPAID = "PREPAID"
    POSTPAID = "POSTPAID"


@dataclass(frozen=True, slots=True)
class Standing:
    """An account at one moment. `monthly_limit_nanos` None is no limit; `suspend_state` is the one that is written down."""

    account_id: str
    billing: Billing
    suspend_state: SuspendState
    credit_nanos: int
    spent_nanos: int
    monthly_limit_nanos: int | None
    # At what spend it wants to be warned.
    own_thresholds_nanos: tuple[int, ...] = ()

    @property
    def amounts_reached(self) -> tuple[int, ...]:
        """The amounts to be warned of that it has spent this month."""
        if not self.own_thresholds_nanos and self.monthly_limit_nanos is None:
            return ()
        amounts = warning_amounts(self.own_thresholds_nanos, self.monthly_limit_nanos)
        return tuple(nanos for nanos in amounts if nanos <= self.spent_nanos)

    @property
    def computed_state(self) -> SuspendState:
        """Whether it may go on: what an operator or a failed payment says stands, the rest follows from its money."""
        if self.suspend_state in {SuspendState.BLOCKED_BY_ABUSE_RULE, SuspendState.FAILED_PAYMENTS}:
            return self.suspend_state
        if self.billing is Billing.PREPAID and self.credit_nanos <= 0:
            return SuspendState.CREDIT_DEPLETED
        if self.monthly_limit_nanos is not None and self.spent_nanos >= self.monthly_limit_nanos:
            return SuspendState.MONTHLY_SPEND_LIMIT_EXCEEDED
        return SuspendState.UNSUSPENDED

    def shortfall(self, cost_nanos: int) -> SuspendState | None:
        """Return what keeps the account from paying so much more: its state, or what it would be."""
        if self.computed_state is not SuspendState.UNSUSPENDED:
            return self.computed_state
        if self.billing is Billing.PREPAID and cost_nanos > self.credit_nanos:
            return SuspendState.CREDIT_DEPLETED
        if self.monthly_limit_nanos is not None and self.spent_nanos + cost_nanos > self.monthly_limit_nanos:
            return SuspendState.MONTHLY_SPEND_LIMIT_EXCEEDED
        return None

    def after(self, cost_nanos: int) -> Standing:
        """Return the standing once so much more is charged."""
        from_credit = self.from_credit(cost_nanos)
        return replace(self, credit_nanos=self.credit_nanos - from_credit, spent_nanos=self.spent_nanos + cost_nanos)

    def from_credit(self, cost_nanos: int) -> int:
        """Return how much of a charge is paid by credit, which goes first."""
        return max(0, min(cost_nanos, self.credit_nanos))


def month_of(moment: datetime) -> str:
    """Return the month of a moment, in UTC, as 2026-01."""
    return f"{moment.astimezone(UTC):%Y-%m}"


def spend_of(account_id: str, moment: datetime) -> str:
    """Return the ledger account that gathers what an account is charged in a month, in UTC."""
    return f"accounts/{account_id}/spend/{month_of(moment)}"


def receivable_of(account_id: str) -> str:
    """Return the ledger account of what an account owes."""
    return f"accounts/{account_id}/receivable"


@cache
def _accounts(length: int, *, for_update: bool) -> Select[Any]:
    statement = ALL_ACCOUNTS.where(is_one_of(ACCOUNTS.c.id, length))
    return statement.with_for_update(of=ACCOUNTS) if for_update else statement


@cache
def _balances(length: int) -> Select[Any]:
    return ALL_BALANCES.where(is_one_of(BALANCES.c.ledger_account, length))


def standings(
    connection: WorkConnection, account_ids: Collection[str], moment: datetime, *, for_update: bool = False
) -> dict[str, Standing]:
    """Return how accounts stand at a moment; `for_update` makes other charges of them wait for the transaction's end."""
    ids = sorted(account_ids)
    if not ids:
        return {}
    statement = _accounts(length_for(ids), for_update=for_update)
    accounts = connection.execute(statement, values_for(ACCOUNTS.c.id, ids)).all()
    # Only now, once nobody else changes them.
    names = [name for account_id in ids for name in (credit_of(account_id), spend_of(account_id, moment))]
    statement = _balances(length_for(names))
    balances = connection.execute(statement, values_for(BALANCES.c.ledger_account, names)).all()
    found: dict[str, int] = dict(balances)
    return {
        id_: Standing(
            account_id=id_,
            billing=Billing(billing),
            suspend_state=SuspendState(suspend_state),
            credit_nanos=found.get(credit_of(id_), 0),
            spent_nanos=found.get(spend_of(id_, moment), 0),
            monthly_limit_nanos=None if limit is None or limit == NO_LIMIT else limit * NANOS_PER_UNIT,
            own_thresholds_nanos=stored_thresholds(notifications),
        )
        for id_, billing, suspend_state, notifications, limit in accounts
    }
