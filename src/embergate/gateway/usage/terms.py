"""`TermsBook`: what each account may do and what it pays, remembered for a second.

What this process charges is noticed at once; what another one changes a second later at most.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.clock import monotonic_s, now
from embergate.errors import UnauthorizedError
from embergate.gateway.usage.standing import Standing, standings
from embergate.storage.database import Database
from embergate.storage.tables.accounts import QuotaRow
from embergate.storage.tables.prices import PriceRow, PricingPlanRow

TTL_S: Final = 1.0
MAX_CACHED: Final = 20_000


@dataclass(slots=True)
class Terms:
    """One account's terms.

    `reserved_nanos` is what calls under way will cost; `num_settling` counts charges under way, during which what the
    database says of the account's money is not to be believed.
    """

    standing: Standing
    quotas: Mapping[str, int]
    plans: Sequence[PricingPlanRow]
    prices: Sequence[PriceRow]
    looked_up_at_s: float
    reserved_nanos: int = 0
    num_settling: int = 0
    num_settled: int = 0


class TermsBook:
    """Looks terms up in the database, at most once a second for each account."""

    def __init__(self, database: Database) -> None:
        """Know nothing yet."""
        self._database = database
        self._terms: OrderedDict[str, Terms] = OrderedDict()

    async def get(self, account_id: str) -> Terms:
        """Return an account's terms, the same object each time. Raises: UnavailableError if the database cannot be asked."""
        terms = self._terms.get(account_id)
        if terms is not None and monotonic_s() - terms.looked_up_at_s < TTL_S:
            return terms
        asked_at_s = monotonic_s()
        settled_before = terms.num_settled if terms is not None and not terms.num_settling else None
        async with self._database.reading() as db:
            found = await _look_up(db, account_id, asked_at_s)
        # Another call may have looked it up meanwhile.
        terms = self._terms.setdefault(account_id, found)
        self._terms.move_to_end(account_id)
        self._drop_idle()
        if terms is not found:
            terms.quotas, terms.plans, terms.prices = found.quotas, found.plans, found.prices
            terms.looked_up_at_s = asked_at_s
            if terms.num_settling == 0 and terms.num_settled == settled_before:
                terms.standing = found.standing
        return terms

    def forget(self) -> None:
        """Look everything up again: something may have changed."""
        for terms in self._terms.values():
            terms.looked_up_at_s = float("-inf")

    def _drop_idle(self) -> None:
        while len(self._terms) > MAX_CACHED:
            account_id, terms = next(iter(self._terms.items()))
            if terms.reserved_nanos or terms.num_settling:
                return  # its calls hold on to it
            del self._terms[account_id]


async def _look_up(db: AsyncSession, account_id: str, asked_at_s: float) -> Terms:
    connection = await db.connection()
    found = await connection.run_sync(partial(standings, account_ids=[account_id], moment=now()))
    if account_id not in found:
        raise UnauthorizedError  # its key cannot have been there either
    quotas = await db.execute(select(QuotaRow.id, QuotaRow.value).where(QuotaRow.account_id == account_id))
    plans = await db.scalars(select(PricingPlanRow).where(PricingPlanRow.account_id == account_id))
    prices = await db.scalars(select(PriceRow))
    return Terms(found[account_id], dict(quotas.all()), plans.all(), prices.all(), asked_at_s)
