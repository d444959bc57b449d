"""What the database says of usage, counted in every way there is."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select

from embergate.gateway.credits.ledger import check
from embergate.gateway.usage.records import SPANS
from embergate.storage.database import Database
from embergate.storage.tables.credits import BalanceRow
from embergate.storage.tables.usage import UsageRecordRow, UsageSlotRow


@dataclass(frozen=True)
class Sums:
    """Calls, their tokens and what they cost, in billionths of a dollar."""

    num_calls: int
    num_tokens: int
    cost_nanos: int


async def sums_of(database: Database) -> Sums:
    """Return the sums, after asserting that records, quarters of an hour and the ledger agree to the nano."""
    record, slot = UsageRecordRow, UsageSlotRow
    async with database.reading() as db:
        by_record = select(func.count(), func.sum(record.prompt_tokens), func.sum(record.cost_nanos)).select_from(
            record
        )
        by_slot = select(func.sum(slot.num_requests), func.sum(slot.prompt_tokens), func.sum(slot.cost_nanos))
        ways = [by_record, *(by_slot.where(slot.quarters == quarters) for quarters in SPANS)]
        found = [Sums(*(int(value or 0) for value in (await db.execute(by)).one())) for by in ways]
        spent = select(func.sum(BalanceRow.amount_nanos)).where(BalanceRow.ledger_account.contains("/spend/"))
        assert len(set(found)) == 1, found
        assert int(await db.scalar(spent) or 0) == found[0].cost_nanos
        assert await check(db) == []
    return found[0]
