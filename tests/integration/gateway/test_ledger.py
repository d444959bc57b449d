"""The ledger on both databases: whatever is posted, it adds up."""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, func, insert, select, update

from embergate.aip.scalars import MAX_INT64, MIN_INT64
from embergate.clock import now
from embergate.errors import FailedPreconditionError
from embergate.gateway.credits.ledger import Discrepancy, UnbalancedError, balance, balances, check, credit_of, post
from embergate.storage.database import Database
from embergate.storage.tables.credits import BalanceRow, PostingRow
from tests.integration.gateway.trails import unguard

ACCOUNTS: Final = ("accounts/a/credit", "accounts/b/credit", "platform/granted-credit", "platform/revenue")
# Postings are there for good: each example has ledger accounts of its own.
NUMBERS: Final = itertools.count()
# Small sums, and sums so large that two of them do not fit.
AMOUNTS: Final = st.one_of(
    st.integers(-5, 5), st.integers(MIN_INT64, MAX_INT64), st.sampled_from([MIN_INT64, MAX_INT64, 2**62, -(2**62)])
)


@dataclass(frozen=True)
class Transaction:
    """What somebody posts; `is_undone` where the unit of work fails after it."""

    currency_code: str
    amounts: dict[str, int]
    is_undone: bool


@st.composite
def transactions(draw: st.DrawFn) -> Transaction:
    names = draw(st.lists(st.sampled_from(ACCOUNTS), min_size=1, max_size=4, unique=True))
    amounts = {name: draw(AMOUNTS) for name in names}
    if draw(st.integers(0, 9)):  # most of them add up
        amounts[names[-1]] = -sum(amounts[name] for name in names[:-1])
    return Transaction(draw(st.sampled_from(["USD", "EUR"])), amounts, draw(st.integers(0, 4)) == 0)


class UndoneError(Exception):
    """Something else in the unit of work failed."""


async def submit(database: Database, transaction: Transaction, prefix: str) -> Exception | None:
    """Post in a unit of work of its own; return why nothing came of it."""
    amounts = {prefix + name: nanos for name, nanos in transaction.amounts.items()}
    try:
        async with database.writing() as db:
            await post(db, "accounts/a/creditRedemptions/r", transaction.currency_code, amounts)
            if transaction.is_undone:
                raise UndoneError
    except (UnbalancedError, FailedPreconditionError, UndoneError) as error:
        return error
    return None


async def all_balances(database: Database, prefix: str) -> dict[tuple[str, str], int]:
    async with database.reading() as db:
        return {
            (name, code): nanos
            for name in ACCOUNTS
            for code, nanos in (await balances(db, prefix + name)).items()
            if nanos
        }


async def discrepancies(database: Database) -> list[Discrepancy]:
    async with database.reading() as db:
        return await check(db)


def may_be_posted(amounts: dict[str, int]) -> bool:
    return sum(amounts.values()) == 0 and all(nanos and MIN_INT64 <= nanos <= MAX_INT64 for nanos in amounts.values())


@given(submitted=st.lists(transactions(), max_size=8))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_balances_are_what_was_posted_and_the_ledger_always_adds_up(
    database: Database, submitted: list[Transaction]
) -> None:
    prefix = f"{next(NUMBERS)}/"
    expected: dict[tuple[str, str], int] = defaultdict(int)
    for transaction in submitted:
        after = {name: expected[name, transaction.currency_code] + nanos for name, nanos in transaction.amounts.items()}
        failure = await submit(database, transaction, prefix)
        if not may_be_posted(transaction.amounts):
            assert isinstance(failure, UnbalancedError)
        elif not all(MIN_INT64 <= nanos <= MAX_INT64 for nanos in after.values()):
            assert isinstance(failure, FailedPreconditionError)
        elif transaction.is_undone:
            assert isinstance(failure, UndoneError)
        else:
            assert failure is None
            expected.update({(name, transaction.currency_code): nanos for name, nanos in after.items()})
    assert await all_balances(database, prefix) == {key: nanos for key, nanos in expected.items() if nanos}
    assert await discrepancies(database) == []


@given(submitted=st.lists(transactions(), min_size=2, max_size=12))
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_transactions_at_the_same_time_lose_nothing_and_block_nobody_for_good(
    database: Database, submitted: list[Transaction]
) -> None:
    prefix = f"{next(NUMBERS)}/"
    failures = await asyncio.gather(*(submit(database, transaction, prefix) for transaction in submitted))
    expected: dict[tuple[str, str], int] = defaultdict(int)
    for transaction, failure in zip(submitted, failures, strict=True):
        for name, nanos in transaction.amounts.items() if failure is None else ():
            expected[name, transaction.currency_code] += nanos
    assert await all_balances(database, prefix) == {key: nanos for key, nanos in expected.items() if nanos}
    assert await discrepancies(database) == []


@pytest.mark.parametrize(
    "amounts",
    [{}, {"x": 1}, {"x": 1, "y": -2}, {"x": 0}, {"x": 0, "y": 0}, {"x": 2**63, "y": -(2**63)}],
    ids=["none", "one side", "not zero", "nothing", "twice nothing", "65 bits"],
)
async def test_what_is_no_transaction_is_refused_and_leaves_nothing(
    database: Database, amounts: dict[str, int]
) -> None:
    async with database.writing() as db:
        with pytest.raises(UnbalancedError):
            await post(db, "test", "USD", amounts)
    async with database.reading() as db:
        assert await db.scalar(select(func.count()).select_from(PostingRow)) == 0


async def test_balance_of_what_was_never_posted_to_is_zero(database: Database) -> None:
    async with database.reading() as db:
        assert await balance(db, credit_of("nobody"), "USD") == 0


async def test_postings_of_a_transaction_share_its_id_cause_and_time(database: Database) -> None:
    async with database.writing() as db:
        transaction_id = await post(db, "accounts/a/creditRedemptions/r", "USD", {"x": 3, "y": -1, "z": -2})
    async with database.reading() as db:
        rows = (await db.scalars(select(PostingRow).order_by(PostingRow.ledger_account))).all()
    assert [(row.ledger_account, row.amount_nanos) for row in rows] == [("x", 3), ("y", -1), ("z", -2)]
    assert {row.transaction_id for row in rows} == {transaction_id}
    assert {row.cause for row in rows} == {"accounts/a/creditRedemptions/r"}
    assert len({row.create_time for row in rows}) == 1


async def test_balance_beyond_64_bits_is_refused_and_the_unit_of_work_can_go_on(database: Database) -> None:
    async with database.writing() as db:
        await post(db, "test", "USD", {"x": MAX_INT64, "y": -MAX_INT64})
        with pytest.raises(FailedPreconditionError, match="larger than can be counted"):
            await post(db, "test", "USD", {"x": 1, "z": -1})
        assert await balance(db, "x", "USD") == MAX_INT64


TAMPERING: Final[dict[str, tuple[Any, list[Discrepancy]]]] = {
    "a balance": (
        update(BalanceRow).where(BalanceRow.ledger_account == "x").values(amount_nanos=MIN_INT64),
        [Discrepancy("balance of x", "USD", MAX_INT64 - MIN_INT64)],
    ),
    "a balance that is gone": (
        delete(BalanceRow).where(BalanceRow.ledger_account == "y"),
        [Discrepancy("balance of y", "USD", -MAX_INT64)],
    ),
    "a posting": (
        update(PostingRow).where(PostingRow.ledger_account == "x").values(amount_nanos=MAX_INT64 - 1),
        [Discrepancy("transaction {id}", "USD", -1), Discrepancy("balance of x", "USD", -1)],
    ),
    "a posting that is gone": (
        delete(PostingRow).where(PostingRow.ledger_account == "y"),
        [Discrepancy("transaction {id}", "USD", MAX_INT64), Discrepancy("balance of y", "USD", MAX_INT64)],
    ),
    "a currency": (
        update(PostingRow).where(PostingRow.ledger_account == "x").values(currency_code="EUR"),
        [
            Discrepancy("transaction {id}", "EUR", MAX_INT64),
            Discrepancy("transaction {id}", "USD", -MAX_INT64),
            Discrepancy("balance of x", "EUR", MAX_INT64),
            Discrepancy("balance of x", "USD", -MAX_INT64),
        ],
    ),
}


@pytest.mark.parametrize("tampered", TAMPERING)
async def test_check_finds_what_was_changed_behind_the_ledgers_back(database: Database, tampered: str) -> None:
    statement, expected = TAMPERING[tampered]
    async with database.writing() as db:
        await unguard(db, "postings")
        transaction_id = await post(db, "test", "USD", {"x": MAX_INT64, "y": -MAX_INT64})
        await post(db, "test", "EUR", {"v": 1, "w": -1})
        await db.execute(statement)
    assert await discrepancies(database) == [
        Discrepancy(one.what.format(id=transaction_id), one.currency_code, one.difference_nanos) for one in expected
    ]


async def test_check_adds_up_more_than_64_bits(database: Database) -> None:
    values = [
        {
            "ledger_account": name,
            "amount_nanos": MAX_INT64,
            "transaction_id": name,
            "currency_code": "USD",
            "cause": "t",
        }
        for name in "xxxx"
    ]
    async with database.writing() as db:
        await db.execute(insert(PostingRow), [{**row, "create_time": now()} for row in values])
    assert [one.difference_nanos for one in await discrepancies(database)] == [4 * MAX_INT64, 4 * MAX_INT64]
