"""Charging a group of calls in one transaction: their records, the sums by spans of time, the ledger.

Either all of it is there or none. What an account cannot pay any more is refused here at the latest, whatever other servers
have charged it meanwhile.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import cache
from typing import Any, Final

from sqlalchemy import Select, insert, select

from embergate.gateway.accounts.schemas import SuspendState
from embergate.gateway.credits.ledger import Transaction, credit_of, post_all
from embergate.gateway.usage.records import SPANS, UsageRecord, slot_of
from embergate.gateway.usage.standing import CURRENCY, Standing, receivable_of, spend_of, standings
from embergate.gateway.usage.tables import DIMENSIONS, RECORDS, SLOTS
from embergate.storage.direct import WorkConnection
from embergate.storage.insertion import UpsertingInsert, insert_for
from embergate.storage.value_lists import is_one_of, length_for, values_for

SUMS: Final = ("num_requests", "prompt_tokens", "cached_tokens", "cost_nanos")
INSERT_RECORDS: Final = insert(RECORDS)
# An account and what it named a call by.
CallKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Charged:
    """What came of a record; `standing` is its account's after the whole group, `is_to_be_warned` if that reached an amount.

    `refused` says why it was not charged. What was charged before is repeated; `is_other_body` tells that what was sent then
    was not the same.
    """

    standing: Standing
    refused: SuspendState | None = None
    is_repeated: bool = False
    is_other_body: bool = False
    is_to_be_warned: bool = False

    @property
    def is_written(self) -> bool:
        """Whether there is a record of it, and so its dimensions."""
        return self.refused is None and not self.is_repeated


@dataclass(slots=True)
class _Group:
    """What is gathered while the records are looked at, before anything is written."""

    standings: dict[str, Standing]
    charged_before: dict[CallKey | None, bytes | None]
    accepted: list[UsageRecord] = field(default_factory=list)

    def add(self, record: UsageRecord) -> dict[str, Any]:
        """Take a record, unless its account cannot pay it or it was charged before; return what came of it."""
        account_id, key = record.dimensions.account_id, _key_of(record)
        if key in self.charged_before:
            return {"is_repeated": True, "is_other_body": self.charged_before[key] != record.request_digest}
        standing = self.standings[account_id]
        refused = None if record.is_answered else standing.shortfall(record.cost_nanos)
        if refused is None:
            self.standings[account_id] = standing.after(record.cost_nanos)
            self.accepted.append(record)
            if key is not None:
                self.charged_before[key] = record.request_digest
        return {"refused": refused}


def charge(
    connection: WorkConnection, records: Sequence[UsageRecord], *, moment: datetime, known: Set[bytes]
) -> list[Charged]:
    """Charge records, all at one moment, in the caller's transaction; return what came of each, in order.

    `known` are the ids of dimensions that are written down already; those of this group are for the caller to add, once it
    is committed.
    """
    account_ids = {record.dimensions.account_id for record in records}
    # NOTE: this lock is what makes two servers charge an account one after the other.
    before = standings(connection, account_ids, moment, for_update=True)
    group = _Group(dict(before), _charged_before(connection, records))
    outcomes = [group.add(record) for record in records]
    if group.accepted:
        _write_records(connection, group.accepted, moment, known)
        _write_sums(connection, group.accepted, slot_of(moment))
        _post(connection, group.accepted, moment, before)
    to_be_warned = {
        account_id
        for account_id, after in group.standings.items()
        if after.amounts_reached != before[account_id].amounts_reached
    }
    return [
        Charged(
            group.standings[record.dimensions.account_id],
            is_to_be_warned=record.dimensions.account_id in to_be_warned,
            **outcome,
        )
        for record, outcome in zip(records, outcomes, strict=True)
    ]


def _key_of(record: UsageRecord) -> CallKey | None:
    return (record.dimensions.account_id, record.idempotency_key) if record.idempotency_key is not None else None


def _charged_before(connection: WorkConnection, records: Sequence[UsageRecord]) -> dict[CallKey | None, bytes | None]:
    found = [key for record in records if (key := _key_of(record)) is not None]
    if not found:
        return {}
    account_ids, keys = (sorted(set(part)) for part in zip(*found, strict=True))
    # Those that one account has named like another's are found as well; nobody asks for them.
    statement = _records_named(length_for(account_ids), length_for(keys))
    values = values_for(RECORDS.c.account_id, account_ids) | values_for(RECORDS.c.idempotency_key, keys)
    return {(account_id, key): digest for account_id, key, digest in connection.execute(statement, values).all()}


@cache
def _records_named(num_accounts: int, num_keys: int) -> Select[Any]:
    return select(RECORDS.c.account_id, RECORDS.c.idempotency_key, RECORDS.c.request_digest).where(
        is_one_of(RECORDS.c.account_id, num_accounts), is_one_of(RECORDS.c.idempotency_key, num_keys)
    )


def _write_records(
    connection: WorkConnection, records: Sequence[UsageRecord], moment: datetime, known: Set[bytes]
) -> None:
    new = {record.dimensions.id: record.dimensions for record in records if record.dimensions.id not in known}
    if new:
        connection.execute(_insert_dimensions(connection.dialect.name), [asdict(new[id_]) for id_ in sorted(new)])
    connection.execute(INSERT_RECORDS, [{**_row_of(record), "time": moment} for record in records])


@cache
def _insert_dimensions(dialect: str) -> UpsertingInsert:
    return insert_for(dialect, DIMENSIONS).on_conflict_do_nothing()


def _row_of(record: UsageRecord) -> dict[str, Any]:
    return {
        "account_id": record.dimensions.account_id,
        "dimensions_id": record.dimensions.id,
        "request_id": record.request_id,
        "user_id": record.user_id,
        "num_inputs": record.num_inputs,
        "prompt_tokens": record.prompt_tokens,
        "cached_tokens": record.cached_tokens,
        "cost_nanos": record.cost_nanos,
        "idempotency_key": record.idempotency_key,
        "request_digest": record.request_digest,
    }


@cache
def _add_sums(dialect: str) -> UpsertingInsert:
    statement = insert_for(dialect, SLOTS)
    return statement.on_conflict_do_update(
        index_elements=["account_id", "dimensions_id", "quarters", "slot"],
        set_={name: SLOTS.c[name] + statement.excluded[name] for name in SUMS},
    )


def _write_sums(connection: WorkConnection, records: Sequence[UsageRecord], slot: int) -> None:
    sums: dict[tuple[str, bytes], list[int]] = defaultdict(lambda: [0] * len(SUMS))
    for record in records:
        amounts = (1, record.prompt_tokens, record.cached_tokens, record.cost_nanos)
        key = (record.dimensions.account_id, record.dimensions.id)
        sums[key] = [total + amount for total, amount in zip(sums[key], amounts, strict=True)]
    names = ("account_id", "dimensions_id", *SUMS)
    # In one order everywhere, as all rows that several servers write.
    rows = [
        {"quarters": quarters, "slot": slot - slot % quarters, **dict(zip(names, (*key, *sums[key]), strict=True))}
        for key in sorted(sums)
        for quarters in SPANS
    ]
    connection.execute(_add_sums(connection.dialect.name), rows)


def _post(
    connection: WorkConnection, records: Sequence[UsageRecord], moment: datetime, before: Mapping[str, Standing]
) -> None:
    """Write each account's charges as one transaction of the ledger: from its credit first, then on its account."""
    costs_nanos: dict[str, int] = defaultdict(int)
    for record in records:
        costs_nanos[record.dimensions.account_id] += record.cost_nanos
    transactions = []
    for account_id, cost_nanos in sorted(costs_nanos.items()):
        from_credit = before[account_id].from_credit(cost_nanos)
        amounts = {
            credit_of(account_id): -from_credit,
            receivable_of(account_id): from_credit - cost_nanos,
            spend_of(account_id, moment): cost_nanos,
        }
        if cost_nanos:
            cause = f"accounts/{account_id}/usage/{slot_of(moment)}"
            transactions.append(Transaction(cause, {name: amount for name, amount in amounts.items() if amount}))
    post_all(connection, CURRENCY, transactions)
