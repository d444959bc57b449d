"""`TermsBook`: what each account may do and what it pays, remembered for a second.

What this process charges is noticed at once; what another one changes a second later at most.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.clock import now
from embergate.errors import UnauthorizedError
from embergate.gateway.fresh_cache import MAX_CACHED, FreshCache
from embergate.gateway.usage.prices import Plan, by_model
from embergate.gateway.usage.standing import Standing, standings
from embergate.storage.database import Database
from embergate.storage.tables.accounts import QuotaRow
from embergate.storage.tables.prices import PriceRow, PricingPlanRow


@dataclass(frozen=True, slots=True)
class Found:
    """What the database said of an account when it was asked, as the `number`th.

    `num_settled` is how many charges this process had made of it by then; None if one was under way, during which what the
    database says of the account's money is not to be believed.
    """

    number: int
    num_settled: int | None
    standing: Standing
    quotas: Mapping[str, int]
    plans: Sequence[Plan]
    prices: Mapping[str, Sequence[PriceRow]]


@dataclass(slots=True)
class Terms:
    """One account's terms: what was found last, and what this process knows better.

    `reserved_nanos` is what calls under way will cost; `num_settling` counts charges under way.
    """

    found: Found
    standing: Standing
    reserved_nanos: int = 0
    num_settling: int = 0
    num_settled: int = 0

    @property
    def quotas(self) -> Mapping[str, int]:
        """The account's own quotas."""
        return self.found.quotas

    @property
    def plans(self) -> Sequence[Plan]:
        """The account's pricing plans."""
        return self.found.plans

    @property
    def prices(self) -> Mapping[str, Sequence[PriceRow]]:
        """Models' own prices, by model."""
        return self.found.prices

    def adopt(self, found: Found) -> None:
        """Take what was found, unless something newer has been, and of its money only what no charge has changed since."""
        if found.number <= self.found.number:
            return
        self.found = found
        if self.num_settling == 0 and self.num_settled == found.num_settled:
            self.standing = found.standing


class TermsBook:
    """Looks terms up in the database, and prices for all accounts, at most once a second."""

    def __init__(self, database: Database) -> None:
        """Know nothing yet."""
        self._database = database
        self._terms: OrderedDict[str, Terms] = OrderedDict()
        self._found: FreshCache[str, Found] = FreshCache()
        self._prices: FreshCache[None, Mapping[str, Sequence[PriceRow]]] = FreshCache()
        self._num_asked = 0

    async def get(self, account_id: str) -> Terms:
        """Return an account's terms, the same object each time. Raises: UnavailableError if the database cannot be asked."""
        found = await self._found.get(account_id, partial(self._look_up, account_id))
        terms = self._terms.get(account_id)
        if terms is None:
            terms = self._terms[account_id] = Terms(found, found.standing)
        terms.adopt(found)
        self._terms.move_to_end(account_id)
        self._drop_idle()
        return terms

    def forget(self) -> None:
        """Look everything up again: something may have changed."""
        self._found.forget()
        self._prices.forget()

    def _drop_idle(self) -> None:
        while len(self._terms) > MAX_CACHED:
            account_id, terms = next(iter(self._terms.items()))
            if terms.reserved_nanos or terms.num_settling:
                return  # its calls hold on to it
            del self._terms[account_id]

    async def _look_up(self, account_id: str) -> Found:
        prices = await self._prices.get(None, self._look_up_prices)
        terms = self._terms.get(account_id)
        num_settled = terms.num_settled if terms is not None and not terms.num_settling else None
        self._num_asked += 1
        number = self._num_asked
        async with self._database.reading() as db:
            standing, quotas, plans = await _read(db, account_id)
        return Found(number, num_settled, standing, quotas, plans, prices)

    async def _look_up_prices(self) -> Mapping[str, Sequence[PriceRow]]:
        async with self._database.reading() as db:
            return by_model((await db.scalars(select(PriceRow))).all())


async def _read(db: AsyncSession, account_id: str) -> tuple[Standing, dict[str, int], Sequence[Plan]]:
    connection = await db.connection()
    found = await connection.run_sync(partial(standings, account_ids=[account_id], moment=now()))
    if account_id not in found:
        raise UnauthorizedError  # its key cannot have been there either
    quotas = await db.execute(select(QuotaRow.id, QuotaRow.value).where(QuotaRow.account_id == account_id))
    plans = await db.scalars(select(PricingPlanRow).where(PricingPlanRow.account_id == account_id))
    return found[account_id], dict(quotas.all()), [Plan.of(plan) for plan in plans]
