"""The ledger: what moves from one ledger account to another, and what each has, in double entry.

Everything happens in the caller's transaction; nothing here commits. Postings are never changed: a mistake is mended by
posting its opposite.

Units: amounts are integers in billionths of a currency (nanos), at most 64 bits. No other number is ever made of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    Subquery,
    cast,
    func,
    insert,
    literal_column,
    or_,
    select,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.aip.scalars import MAX_INT64, MIN_INT64
from embergate.clock import now
from embergate.errors import FailedPreconditionError
from embergate.ids import new_id
from embergate.storage.direct import WorkConnection
from embergate.storage.insertion import UpsertingInsert, dialect_insert, insert_for
from embergate.storage.rows import table_of
from embergate.storage.tables.credits import BalanceRow, PostingRow

# What the platform has given away: as far below zero as all the credit ever granted.
GRANTED_CREDIT: Final = "platform/granted-credit"
BALANCES: Final = table_of(BalanceRow)
POSTINGS: Final = table_of(PostingRow)
INSERT_POSTINGS: Final = insert(POSTINGS)
HALF_BITS: Final = 32
# NOTE: as a parameter it would be a bigint, by which PostgreSQL does not shift.
SHIFT: Final = literal_column(str(HALF_BITS), Integer)
LOW_HALF: Final = (1 << HALF_BITS) - 1


class UnbalancedError(Exception):
    """The amounts of a transaction do not add up to zero. This is a bug of whoever posts them."""


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """Where the ledger contradicts itself: a transaction that is not zero, or a balance that is not what was posted."""

    what: str
    currency_code: str
    # How far off it is; for a balance, what was posted less what it says.
    difference_nanos: int


@dataclass(frozen=True, slots=True)
class Transaction:
    """What moves at once, and what brought it about; see `post`."""

    cause: str
    amounts_nanos: Mapping[str, int]


def credit_of(account_id: str) -> str:
    """Return the ledger account that holds an account's prepaid credit."""
    return f"accounts/{account_id}/credit"


async def post(db: AsyncSession, cause: str, currency_code: str, amounts_nanos: Mapping[str, int]) -> str:
    """Write one transaction, an amount for each ledger account it touches; return the transaction's id.

    `cause` is the name of what brought it about. A positive amount adds to the account.

    Raises: UnbalancedError if the amounts do not add up to zero, are none, or one is zero or has more than 64 bits;
        FailedPreconditionError if a balance would have. What was written until then is undone with the transaction.
    """
    _check_amounts(amounts_nanos)
    transaction_id, moment = new_id(), now()
    # In one order everywhere: two transactions that touch the same balances wait for each other, and never both.
    for ledger_account, amount_nanos in sorted(amounts_nanos.items()):
        await _add_to_balance(db, ledger_account, currency_code, amount_nanos)
        db.add(
            PostingRow(
                transaction_id=transaction_id,
                ledger_account=ledger_account,
                amount_nanos=amount_nanos,
                currency_code=currency_code,
                cause=cause,
                create_time=moment,
            )
        )
    await db.flush()
    return transaction_id


def post_all(connection: WorkConnection, currency_code: str, transactions: Sequence[Transaction]) -> None:
    """Write transactions, in three statements however many they are; see `post`.

    NOTE: nothing here minds a balance of more than 64 bits: no number of calls that can be made is worth nine billion.
    Raises: UnbalancedError.
    """
    moment = now()
    sums: dict[str, int] = defaultdict(int)
    postings: list[dict[str, Any]] = []
    for transaction in transactions:
        _check_amounts(transaction.amounts_nanos)
        shared = {"transaction_id": new_id(), "cause": transaction.cause, "currency_code": currency_code}
        for ledger_account, amount_nanos in transaction.amounts_nanos.items():
            sums[ledger_account] += amount_nanos
            postings.append(
                {**shared, "ledger_account": ledger_account, "amount_nanos": amount_nanos, "create_time": moment}
            )
    if postings:
        rows = [
            {"ledger_account": name, "currency_code": currency_code, "amount_nanos": sums[name]}
            for name in sorted(sums)
        ]
        connection.execute(_add_to_balances(connection.dialect.name), rows)
        connection.execute(INSERT_POSTINGS, postings)


@cache
def _add_to_balances(dialect: str) -> UpsertingInsert:
    statement = insert_for(dialect, BALANCES)
    return statement.on_conflict_do_update(
        index_elements=["ledger_account", "currency_code"],
        set_={"amount_nanos": BALANCES.c.amount_nanos + statement.excluded.amount_nanos},
    )


async def balance(db: AsyncSession, ledger_account: str, currency_code: str) -> int:
    """Return what a ledger account has, in nanos; nothing was ever posted to it is zero too."""
    return (await balances(db, ledger_account)).get(currency_code, 0)


async def balances(db: AsyncSession, ledger_account: str) -> dict[str, int]:
    """Return what a ledger account has, in nanos by currency."""
    statement = (
        select(BalanceRow.currency_code, BalanceRow.amount_nanos)
        .where(BalanceRow.ledger_account == ledger_account)
        .order_by(BalanceRow.currency_code)
    )
    return {row.currency_code: row.amount_nanos for row in await db.execute(statement)}


async def check(db: AsyncSession) -> list[Discrepancy]:
    """Prove that every transaction adds up to zero, and every balance to its postings; return where that is not so.

    It reads every posting, in one snapshot if the unit of work is one that only reads.
    """
    postings = _halves(PostingRow.transaction_id.label("what"), PostingRow.currency_code, PostingRow.amount_nanos)
    posted = _halves(PostingRow.ledger_account.label("what"), PostingRow.currency_code, PostingRow.amount_nanos)
    kept = _halves(BalanceRow.ledger_account.label("what"), BalanceRow.currency_code, BalanceRow.amount_nanos, sign=-1)
    transactions = await _nonzero(db, "transaction ", postings.subquery())
    return transactions + await _nonzero(db, "balance of ", union_all(posted, kept).subquery())


def _check_amounts(amounts_nanos: Mapping[str, int]) -> None:
    if not amounts_nanos or sum(amounts_nanos.values()) != 0:
        raise UnbalancedError(f"{len(amounts_nanos)} amounts add up to {sum(amounts_nanos.values())}")
    for ledger_account, amount_nanos in amounts_nanos.items():
        if amount_nanos == 0 or not MIN_INT64 <= amount_nanos <= MAX_INT64:
            raise UnbalancedError(f"{amount_nanos} for {ledger_account} is no amount")


async def _add_to_balance(db: AsyncSession, ledger_account: str, currency_code: str, amount_nanos: int) -> None:
    statement = dialect_insert(db, BalanceRow).values(
        ledger_account=ledger_account, currency_code=currency_code, amount_nanos=amount_nanos
    )
    kept = BalanceRow.amount_nanos
    # NOTE: SQLite makes a float of a sum that is too large for it, and says nothing.
    fits = kept <= MAX_INT64 - amount_nanos if amount_nanos > 0 else kept >= MIN_INT64 - amount_nanos
    added = statement.on_conflict_do_update(
        index_elements=[BalanceRow.ledger_account, BalanceRow.currency_code],
        set_={"amount_nanos": kept + amount_nanos},
        where=fits,
    ).returning(BalanceRow.ledger_account)
    if (await db.execute(added)).first() is None:
        raise FailedPreconditionError("the balance would be larger than can be counted")


def _halves(
    what: ColumnElement[str], currency: Any, amount: Any, *, sign: int = 1
) -> Select[tuple[str, str, int, int]]:
    """Select amounts as their upper and lower 32 bits, whose sums no database overflows, whatever is in the tables."""
    high, low = amount.bitwise_rshift(SHIFT), amount.bitwise_and(LOW_HALF)
    return select(what, currency.label("currency"), (sign * high).label("high"), (sign * low).label("low"))


async def _nonzero(db: AsyncSession, prefix: str, halves: Subquery) -> list[Discrepancy]:
    """Return the groups that do not add up to zero."""
    high, low = (cast(func.sum(halves.c[half]), BigInteger) for half in ("high", "low"))
    is_off = or_(low.bitwise_and(LOW_HALF) != 0, high + low.bitwise_rshift(SHIFT) != 0)
    statement = (
        select(halves.c.what, halves.c.currency, high, low)
        .group_by(halves.c.what, halves.c.currency)
        .having(is_off)
        .order_by(halves.c.what, halves.c.currency)
    )
    found = await db.execute(statement)
    return [Discrepancy(prefix + what, code, (upper << HALF_BITS) + lower) for what, code, upper, lower in found]
