"""Calls of one account at the same time, in any order of their steps, on one server and on two: credit is never reserved twice,
never spent twice, and never kept back.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from embergate.errors import SuspendedError
from embergate.gateway.credits.ledger import balance, credit_of
from embergate.gateway.usage.standing import CURRENCY, Billing
from embergate.storage.database import Database
from embergate.storage.tables.usage import UsageRecordRow
from embergate.web.metering import Demand
from tests.integration.gateway.operating import add_payer
from tests.integration.gateway.platform import Platform
from tests.integration.gateway.test_metering import ADMIN, PRICE_NANOS, demand
from tests.sums import sums_by_account

# Records are there for good: each example has an account of its own.
NUMBERS: Final = itertools.count()
FEW: Final = settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])


class FailedError(Exception):
    """The call itself failed."""


@dataclass(frozen=True)
class Plan:
    """One call: how many turns it waits before each step, whether it fails, and after how many turns its client leaves."""

    num_tokens: int
    waits: tuple[int, int, int]
    fails: bool
    leaves_after: int | None
    key: str | None


PLANS: Final = st.lists(
    st.builds(
        Plan,
        num_tokens=st.integers(1, 6),
        waits=st.tuples(*[st.integers(0, 6)] * 3),
        fails=st.sampled_from([False, False, False, True]),
        leaves_after=st.none() | st.integers(0, 12),
        key=st.none() | st.sampled_from("ab"),
    ),
    min_size=1,
    max_size=12,
)


class Race:
    """One account's calls."""

    def __init__(self, platforms: list[Platform], credit_tokens: int) -> None:
        self.platforms = platforms
        self.account = f"race-{next(NUMBERS)}"
        self.credit_nanos = credit_tokens * PRICE_NANOS

    def demand(self, number: int, key: str | None = None) -> Demand:
        caller = replace(ADMIN, account=self.account)
        digest = b"a" * 32 if key else None
        return demand(caller=caller, request_id=f"{self.account}-{number}", idempotency_key=key, request_digest=digest)

    async def run(self, plans: list[Plan]) -> list[str]:
        """Make the calls; return what came of each, in order."""
        tasks = [asyncio.create_task(self._call(number, plan)) for number, plan in enumerate(plans)]
        leaving = [asyncio.create_task(self._leave(task, plan)) for task, plan in zip(tasks, plans, strict=True)]
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*leaving)
        for platform in self.platforms:
            await platform.gateway.meter.close()
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(outcome, asyncio.CancelledError):
                raise outcome
        return [outcome if isinstance(outcome, str) else "left" for outcome in outcomes]

    async def _call(self, number: int, plan: Plan) -> str:
        meter = self.platforms[number % len(self.platforms)].gateway.meter
        try:
            await self._wait(plan.waits[0])
            async with meter.open(self.demand(number, plan.key)) as tab:
                await self._wait(plan.waits[1])
                await tab.reserve([plan.num_tokens])
                await self._wait(plan.waits[2])
                if plan.fails:
                    raise FailedError
                await tab.settle()
                self.check_reserved()
        except SuspendedError:
            return "refused"
        except FailedError:
            return "failed"
        return "answered"

    async def _leave(self, task: asyncio.Task[str], plan: Plan) -> None:
        if plan.leaves_after is not None:
            await self._wait(plan.leaves_after)
            task.cancel()

    async def _wait(self, num_turns: int) -> None:
        for _ in range(num_turns):
            await asyncio.sleep(0)
            self.check_reserved()

    def check_reserved(self) -> None:
        """What is reserved is there, as far as a server that is alone can know."""
        for platform in self.platforms if len(self.platforms) == 1 else ():
            terms = platform.gateway.meter._terms._terms.get(self.account)  # type: ignore[attr-defined]
            if terms is not None:
                assert 0 <= terms.reserved_nanos <= max(0, terms.standing.credit_nanos)

    def check_nothing_is_reserved(self) -> None:
        for platform in self.platforms:
            terms = platform.gateway.meter._terms._terms.get(self.account)  # type: ignore[attr-defined]
            assert terms is None or (terms.reserved_nanos, terms.num_settling) == (0, 0)


@pytest.fixture
async def platforms(platform: Platform, database_url: str) -> AsyncIterator[list[Platform]]:
    """Two servers on one database, each with all its connections: a new one that nobody waits for is left to the collector."""
    other_database = Database.open(database_url)
    other = Platform(other_database)
    for opened in (platform.database, other_database):
        await asyncio.gather(*(ask(opened) for _ in range(30)))
    yield [platform, other]
    await other.close()
    await other_database.close()


async def ask(database: Database) -> None:
    async with database.reading() as db:
        await db.scalar(select(1))


@pytest.mark.parametrize("num_servers", [1, 2])
@FEW
@given(plans=PLANS, credit_tokens=st.integers(1, 40))
async def test_credit_is_never_spent_twice_nor_kept_back(
    platforms: list[Platform], num_servers: int, plans: list[Plan], credit_tokens: int
) -> None:
    race, database = Race(platforms[:num_servers], credit_tokens), platforms[0].database
    await add_payer(database, race.account, Billing.PREPAID, race.credit_nanos)
    outcomes = await race.run(plans)
    race.check_nothing_is_reserved()

    charged = (await sums_by_account(database)).get(race.account)
    cost_nanos = charged.cost_nanos if charged else 0
    async with database.reading() as db:
        assert await balance(db, credit_of(race.account), CURRENCY) == race.credit_nanos - cost_nanos >= 0
        of_account = select(UsageRecordRow).where(UsageRecordRow.account_id == race.account)
        records = {row.request_id: row for row in await db.scalars(of_account)}
    numbers = {f"{race.account}-{number}": number for number in range(len(plans))}
    # Whoever was answered was charged, those with a key once together; nobody else but clients that left meanwhile.
    named = {row.idempotency_key for row in records.values()}
    for request_id, number in numbers.items():
        if outcomes[number] == "answered":
            assert request_id in records or (plans[number].key is not None and plans[number].key in named)
        if request_id in records:
            assert outcomes[number] in {"answered", "left"}
            assert records[request_id].prompt_tokens == plans[number].num_tokens
    assert sum(plan.num_tokens for plan in plans) > credit_tokens or "refused" not in outcomes
    # All that is left can still be spent, and no more.
    left = credit_tokens - cost_nanos // PRICE_NANOS
    if left:
        last = Plan(left, (0, 0, 0), False, None, None)
        assert await race._call(len(plans), last) == "answered"
    assert await race._call(len(plans) + 1, Plan(1, (0, 0, 0), False, None, None)) == "refused"
