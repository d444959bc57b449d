"""What the database says of usage, counted in every way there is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.gateway.credits.ledger import check, credit_of
from embergate.gateway.usage.queries import lines
from embergate.gateway.usage.records import SPANS, slot_of
from embergate.gateway.usage.standing import receivable_of
from embergate.storage.database import Database
from embergate.storage.tables.credits import BalanceRow, PostingRow
from embergate.storage.tables.usage import UsageRecordRow, UsageSlotRow

# Whole days of UTC, as bills count, around all that a test can have used.
EVER: Final = (datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC))


# An account, its dimensions' id, and the first quarter of a span.
SlotKey = tuple[str, bytes, int]


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

    These are the records of calls, the sums of each quarter of an hour, hour and day, the bill, what the ledger says was
    spent, and what it says that was paid by credit and on account; the ledger itself must add up, too.
    """
    async with database.reading() as db:
        by_slot = await _by_slot(db)
        expected = await _by_slot_of_records(db)
        for quarters in SPANS:
            assert by_slot[quarters] == expected[quarters], f"records, and sums by {quarters} quarters of an hour"
        found: defaultdict[str, Sums] = defaultdict(Sums)
        for (account_id, _, _), sums in by_slot[SPANS[0]].items():
            found[account_id] += sums
        connection = await db.connection()
        for account_id, sums in found.items():
            bill = await connection.run_sync(lines, account_id, *EVER)
            billed = sum(line.num_tokens for line in bill), sum(line.cost_nanos for line in bill)
            assert billed == (sums.num_tokens, sums.cost_nanos), f"the bill of {account_id}"
            spends = BalanceRow.ledger_account.startswith(f"accounts/{account_id}/spend/")
            spent = await db.scalar(select(func.sum(BalanceRow.amount_nanos)).where(spends))
            assert int(spent or 0) == sums.cost_nanos, f"the ledger's spend of {account_id}"
            of_usage = PostingRow.cause.startswith(f"accounts/{account_id}/usage/")
            payers = PostingRow.ledger_account.in_([credit_of(account_id), receivable_of(account_id)])
            paid = await db.scalar(select(func.sum(PostingRow.amount_nanos)).where(of_usage, payers))
            assert -int(paid or 0) == sums.cost_nanos, f"what {account_id} paid"
        all_spent = await db.scalar(
            select(func.sum(BalanceRow.amount_nanos)).where(BalanceRow.ledger_account.contains("/spend/"))
        )
        assert int(all_spent or 0) == sum(sums.cost_nanos for sums in found.values()), "spend of nobody"
        discrepancies = await check(db)
        assert discrepancies == [], discrepancies
    return dict(found)


async def _by_slot(db: AsyncSession) -> Mapping[int, dict[SlotKey, Sums]]:
    found: defaultdict[int, dict[SlotKey, Sums]] = defaultdict(dict)
    for row in await db.scalars(select(UsageSlotRow)):
        sums = Sums(row.num_requests, row.prompt_tokens, row.cost_nanos)
        found[row.quarters][row.account_id, row.dimensions_id, row.slot] = sums
    return found


async def _by_slot_of_records(db: AsyncSession) -> Mapping[int, dict[SlotKey, Sums]]:
    found: defaultdict[int, defaultdict[SlotKey, Sums]] = defaultdict(lambda: defaultdict(Sums))
    for row in await db.scalars(select(UsageRecordRow)):
        slot = slot_of(row.time)
        for quarters in SPANS:
            key = (row.account_id, row.dimensions_id, slot - slot % quarters)
            found[quarters][key] += Sums(1, row.prompt_tokens, row.cost_nanos)
    return defaultdict(dict, found)
