"""Charging, whatever happens in whatever order, beside a model of it in plain numbers: who pays and who is refused."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import delete, select, update

from embergate.gateway.accounts.schemas import SuspendState
from embergate.gateway.credits.ledger import GRANTED_CREDIT, balances, credit_of, post
from embergate.gateway.money import NANOS_PER_UNIT
from embergate.gateway.quotas.known import MONTHLY_SPEND
from embergate.gateway.usage.charging import Charged, charge
from embergate.gateway.usage.prices import Price
from embergate.gateway.usage.records import EMBEDDING, Dimensions, UsageRecord
from embergate.gateway.usage.standing import CURRENCY, Billing, receivable_of, spend_of
from embergate.storage.database import Database
from embergate.storage.direct import WorkConnection
from embergate.storage.tables.accounts import AccountRow, QuotaRow
from embergate.storage.tables.credits import PostingRow
from tests.databases import PostgresqlServer
from tests.integration.gateway.operating import add_payer
from tests.sums import Sums, sums_by_account

ACCOUNTS = ("acme", "bolt", "core")
START = datetime(2026, 1, 31, 23, 40, tzinfo=UTC)
T = TypeVar("T")


@dataclass(frozen=True)
class Asked:
    """A call that is to be charged."""

    account: str
    num_tokens: int
    num_cached: int
    price: Price
    is_batch: bool
    team: str
    key: str | None
    digest: bytes

    @property
    def cost_nanos(self) -> int:
        return (self.num_tokens - self.num_cached) * self.price.nanos + self.num_cached * self.price.cached_nanos

    def record(self, number: int) -> UsageRecord:
        dimensions = Dimensions(
            account_id=self.account,
            usage_type=EMBEDDING,
            model="accounts/fireworks/models/m",
            api_key_id="key_1",
            team=self.team,
            project="",
            environment="",
            is_batch=self.is_batch,
            price_nanos=self.price.nanos,
            cached_price_nanos=self.price.cached_nanos,
        )
        return UsageRecord(
            dimensions,
            request_id=f"request-{number}",
            user_id="admin",
            num_inputs=1,
            prompt_tokens=self.num_tokens,
            cached_tokens=self.num_cached,
            idempotency_key=self.key,
            request_digest=self.digest if self.key else None,
        )


@st.composite
def asked(draw: st.DrawFn) -> Asked:
    # A few tokens, or many: limits are whole dollars. What costs a half or a whole one reaches a limit exactly.
    num_tokens = draw(st.integers(1, 12) | st.sampled_from([62_500_000, 100_000_000, 125_000_000]))
    price, is_batch = (
        draw(st.sampled_from([Price(0, 0), Price(8, 4), Price(10, 10), Price(16, 2)])),
        draw(st.booleans()),
    )
    return Asked(
        account=draw(st.sampled_from(ACCOUNTS)),
        num_tokens=num_tokens,
        num_cached=draw(st.sampled_from([0, 0, 1, num_tokens])),
        price=price.for_batch() if is_batch else price,
        is_batch=is_batch,
        team=draw(st.sampled_from(["", "search", "docs"])),
        key=draw(st.none() | st.sampled_from("ab")),
        digest=draw(st.sampled_from([b"a" * 32, b"b" * 32])),
    )


@dataclass
class Account:
    """What an account should have."""

    billing: Billing = Billing.POSTPAID
    is_blocked: bool = False
    limit_nanos: int | None = None
    credit_nanos: int = 0
    owed_nanos: int = 0
    spent_nanos: Counter[str] = field(default_factory=Counter)
    sums: Sums = field(default_factory=Sums)
    digests: dict[str, bytes] = field(default_factory=dict)

    def refuses(self, cost_nanos: int, month: str) -> SuspendState | None:
        spent, is_prepaid = self.spent_nanos[month], self.billing is Billing.PREPAID
        if self.is_blocked:
            return SuspendState.BLOCKED_BY_ABUSE_RULE
        # A free call needs credit too, and a limit that is not reached; a call may use up all that is left.
        if is_prepaid and self.credit_nanos == 0:
            return SuspendState.CREDIT_DEPLETED
        if self.limit_nanos is not None and self.limit_nanos <= spent:
            return SuspendState.MONTHLY_SPEND_LIMIT_EXCEEDED
        if is_prepaid and self.credit_nanos < cost_nanos:
            return SuspendState.CREDIT_DEPLETED
        if self.limit_nanos is not None and self.limit_nanos - spent < cost_nanos:
            return SuspendState.MONTHLY_SPEND_LIMIT_EXCEEDED
        return None

    def pay(self, call: Asked, month: str) -> None:
        from_credit = min(self.credit_nanos, call.cost_nanos)
        self.credit_nanos -= from_credit
        self.owed_nanos += call.cost_nanos - from_credit
        self.spent_nanos[month] += call.cost_nanos
        self.sums += Sums(1, call.num_tokens, call.cost_nanos)
        if call.key is not None:
            self.digests[call.key] = call.digest

    def charge(self, call: Asked, month: str) -> tuple[SuspendState | None, bool, bool]:
        """Return why it is refused, whether it is repeated, and with another body."""
        if call.key in self.digests:
            return None, True, self.digests[call.key] != call.digest
        refused = self.refuses(call.cost_nanos, month)
        if refused is None:
            self.pay(call, month)
        return refused, False, False


class UndoneError(Exception):
    """Something else in the transaction failed."""


class Books(RuleBasedStateMachine):
    """Two servers charge three accounts, whose credit, limits and ways to pay change in between."""

    def new_database(self) -> str:
        """Return the URL of an empty database."""
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.database = Database.open(self.new_database())
        # The dimensions that each server knows to be written.
        self.known: tuple[set[bytes], ...] = (set(), set())
        self.now, self.num_calls = START, 0
        self.accounts = {name: Account() for name in ACCOUNTS}
        for name in ACCOUNTS:
            self.run(add_payer(self.database, name, Billing.POSTPAID))
        # So that there is something to run out of from the start.
        self.grant("acme", NANOS_PER_UNIT)
        self.pay_otherwise("acme", Billing.PREPAID)
        self.limit("bolt", 1)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def teardown(self) -> None:
        self.run(self.database.close())
        self.runner.close()

    @property
    def month(self) -> str:
        return f"{self.now:%Y-%m}"

    @rule(
        name=st.sampled_from(ACCOUNTS),
        nanos=st.integers(1, 200) | st.sampled_from([NANOS_PER_UNIT // 2, NANOS_PER_UNIT]),
    )
    def grant(self, name: str, nanos: int) -> None:
        self.run(self._grant(name, nanos))
        self.accounts[name].credit_nanos += nanos

    @rule(name=st.sampled_from(ACCOUNTS), billing=st.sampled_from(Billing))
    def pay_otherwise(self, name: str, billing: Billing) -> None:
        self.run(self._set(name, billing=billing.value))
        self.accounts[name].billing = billing

    @rule(name=st.sampled_from(ACCOUNTS), is_blocked=st.sampled_from([False, False, True]))
    def block(self, name: str, is_blocked: bool) -> None:
        state = SuspendState.BLOCKED_BY_ABUSE_RULE if is_blocked else SuspendState.UNSUSPENDED
        self.run(self._set(name, suspend_state=state.value))
        self.accounts[name].is_blocked = is_blocked

    @rule(name=st.sampled_from(ACCOUNTS), dollars=st.none() | st.integers(0, 3))
    def limit(self, name: str, dollars: int | None) -> None:
        self.run(self._limit(name, dollars))
        self.accounts[name].limit_nanos = None if dollars is None else dollars * NANOS_PER_UNIT

    @rule(passed=st.sampled_from([timedelta(minutes=7), timedelta(minutes=21), timedelta(hours=5), timedelta(days=20)]))
    def wait(self, passed: timedelta) -> None:
        self.now += passed

    @rule(calls=st.lists(asked(), min_size=1, max_size=6), server=st.integers(0, 1))
    def charge(self, calls: list[Asked], server: int) -> None:
        expected = [self.accounts[call.account].charge(call, self.month) for call in calls]
        records = self._records(calls)
        work = partial(charge, records=records, moment=self.now, known=self.known[server])
        outcomes = self.run(self.database.write(work))
        self.known[server].update(
            record.dimensions.id for record, outcome in zip(records, outcomes, strict=True) if outcome.is_written
        )
        assert [(one.refused, one.is_repeated, one.is_other_body) for one in outcomes] == expected
        for call, outcome in zip(calls, outcomes, strict=True):
            account = self.accounts[call.account]
            standing = outcome.standing.credit_nanos, outcome.standing.spent_nanos
            assert standing == (account.credit_nanos, account.spent_nanos[self.month])

    @rule(name=st.sampled_from(ACCOUNTS), is_used_up=st.booleans())
    def charge_at_the_edge(self, name: str, is_used_up: bool) -> None:
        """Charge a nano more than is left, and perhaps all that is left, and then one more."""
        account = self.accounts[name]
        left = [account.credit_nanos] if account.billing is Billing.PREPAID else []
        if account.limit_nanos is not None:
            left.append(account.limit_nanos - account.spent_nanos[self.month])
        least = max(0, min(left, default=0))
        amounts = [least + 1, *([least, 1] if is_used_up and least else [])]
        self.charge([Asked(name, nanos, 0, Price(1, 1), False, "", None, b"") for nanos in amounts], server=0)

    @rule(calls=st.lists(asked(), min_size=1, max_size=6), server=st.integers(0, 1))
    def charge_in_vain(self, calls: list[Asked], server: int) -> None:
        def fail(connection: WorkConnection) -> list[Charged]:
            charge(connection, self._records(calls), moment=self.now, known=self.known[server])
            raise UndoneError

        with suppress(UndoneError):
            self.run(self.database.write(fail))

    @invariant()
    def books_agree(self) -> None:
        used = {name: account.sums for name, account in self.accounts.items() if account.sums.num_calls}
        assert self.run(sums_by_account(self.database)) == used

    @invariant()
    def each_account_has_what_it_should(self) -> None:
        for name, account in self.accounts.items():
            credit, owed, spent, lowest = self.run(self._money_of(name))
            assert lowest >= 0
            assert (credit, owed, spent) == (account.credit_nanos, account.owed_nanos, account.spent_nanos[self.month])

    def _records(self, calls: list[Asked]) -> list[UsageRecord]:
        self.num_calls += len(calls)
        return [call.record(self.num_calls + index) for index, call in enumerate(calls)]

    async def _grant(self, name: str, nanos: int) -> None:
        async with self.database.writing() as db:
            await post(db, "test", CURRENCY, {credit_of(name): nanos, GRANTED_CREDIT: -nanos})

    async def _set(self, name: str, **columns: str) -> None:
        async with self.database.writing() as db:
            await db.execute(update(AccountRow).where(AccountRow.id == name).values(**columns))

    async def _limit(self, name: str, dollars: int | None) -> None:
        async with self.database.writing() as db:
            await db.execute(delete(QuotaRow).where(QuotaRow.account_id == name))
            if dollars is not None:
                fixed = {"id": MONTHLY_SPEND, "max_value": 10, "update_time": START}
                db.add(QuotaRow(account_id=name, value=dollars, **fixed))

    async def _money_of(self, name: str) -> tuple[int, int, int, int]:
        """Return an account's credit, what it owes, what it spent this month, and the least credit it ever had."""
        async with self.database.reading() as db:
            names = (credit_of(name), receivable_of(name), spend_of(name, self.now))
            credit, owed, spent = [(await balances(db, one)).get(CURRENCY, 0) for one in names]
            of_credit = select(PostingRow.amount_nanos).where(PostingRow.ledger_account == credit_of(name))
            amounts = (await db.scalars(of_credit.order_by(PostingRow.id))).all()
        return credit, -owed, spent, min([0, *accumulate(amounts)])


def test_books_agree_whatever_happens(sqlite_template: Path, tmp_path: Path) -> None:
    def copied() -> str:
        return f"sqlite:///{shutil.copyfile(sqlite_template, tmp_path / 'embergate.db')}"

    check(copied, max_examples=20)


def test_books_agree_whatever_happens_on_postgresql(postgresql_server: PostgresqlServer) -> None:
    check(postgresql_server.create, max_examples=4)


def check(new_database: Callable[[], str], *, max_examples: int) -> None:
    machine = type("BooksOfOneKind", (Books,), {"new_database": staticmethod(new_database)})
    run_state_machine_as_test(machine, settings=settings(max_examples=max_examples, stateful_step_count=25))
