"""What the database says of usage, counted in every way there is."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Executable, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.gateway.credits.ledger import check, credit_of
from embergate.gateway.usage.queries import lines
from embergate.gateway.usage.records import SPANS
from embergate.gateway.usage.standing import receivable_of
from embergate.storage.database import Database
from embergate.storage.tables.credits import BalanceRow, PostingRow
from embergate.storage.tables.usage import UsageRecordRow, UsageSlotRow

# Whole days of UTC, as bills count, around all that a test can have used.
EVER: Final = (datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC))


@dataclass(frozen=True)
class Sums:
    """Calls, their tokens and what they cost, in billionths of a dollar."""

    num_calls: int = 0
    num_tokens: int = 0
    cost_nanos: int = 0

    def __add__(self, other: Sums) -> Sums:
        return Sums(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(Sums)))


async def sums_of(database: Database) -> Sums:
    """Return the sums of all accounts; see `sums_by_account`."""
    return sum((await sums_by_account(database)).values(), Sums())


async def sums_by_account(database: Database) -> dict[str, Sums]:
    """Return each account's sums, after asserting that they are the same to the nano in every way they are kept.

    These are the records of calls, the sums by quarters of an hour, by hours and by days, the bill, what the ledger says was
    spent, and what it says that was paid by credit and on account; the ledger itself must add up, too.
    """
    record, slot = UsageRecordRow, UsageSlotRow
    by_record = select(record.account_id, func.count(), func.sum(record.prompt_tokens), func.sum(record.cost_nanos))
    by_slot = select(
        slot.account_id, func.sum(slot.num_requests), func.sum(slot.prompt_tokens), func.sum(slot.cost_nanos)
    )
    async with database.reading() as db:
        found = await _grouped(db, by_record.group_by(record.account_id))
        for quarters in SPANS:
            of_span = by_slot.where(slot.quarters == quarters).group_by(slot.account_id)
            assert await _grouped(db, of_span) == found, f"records, and sums by {quarters} quarters of an hour"
        connection = await db.connection()
        for account_id, sums in found.items():
            bill = await connection.run_sync(lines, account_id, *EVER)
            billed = sum(line.num_tokens for line in bill), sum(line.cost_nanos for line in bill)
            assert billed == (sums.num_tokens, sums.cost_nanos), f"the bill of {account_id}"
            spends = BalanceRow.ledger_account.startswith(f"accounts/{account_id}/spend/")
            spent = await db.scalar(select(func.sum(BalanceRow.amount_nanos)).where(spends))
            assert int(spent or 0) == sums.cost_nanos, f"the ledger's spend of {account_id}"
            paid = await db.scalar(
                select(func.sum(PostingRow.amount_nanos)).where(
                    PostingRow.ledger_account.in_([credit_of(account_id), receivable_of(account_id)]),
                    PostingRow.cause.startswith(f"accounts/{account_id}/usage/"),
                )
            )
            assert -int(paid or 0) == sums.cost_nanos, f"what {account_id} paid"
        all_spent = select(func.sum(BalanceRow.amount_nanos)).where(BalanceRow.ledger_account.contains("/spend/"))
        assert int(await db.scalar(all_spent) or 0) == sum(one.cost_nanos for one in found.values()), "spend of nobody"
        discrepancies = await check(db)
        assert discrepancies == [], discrepancies
    return found


async def _grouped(db: AsyncSession, statement: Executable) -> dict[str, Sums]:
    rows = await db.execute(statement)
    return {account_id: Sums(*(int(value) for value in values)) for account_id, *values in rows}
