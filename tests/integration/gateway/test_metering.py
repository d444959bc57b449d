"""Metering by the meter itself, on both databases: what is charged, what is refused, and that all sums are one."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import func, select, update

from embergate.clock import now
from embergate.errors import InvalidRequestError, SuspendedError, UnavailableError
from embergate.gateway.accounts.schemas import SuspendState
from embergate.gateway.credits.ledger import GRANTED_CREDIT, balance, credit_of, post
from embergate.gateway.money import NANOS_PER_UNIT
from embergate.gateway.usage import terms
from embergate.gateway.usage.standing import CURRENCY, Billing, receivable_of
from embergate.storage.database import Database
from embergate.storage.tables.accounts import AccountRow, QuotaRow
from embergate.storage.tables.credits import PostingRow
from embergate.web.caller import Caller, Role
from embergate.web.metering import Annotations, Demand
from tests.integration.gateway.platform import Platform
from tests.sums import sums_of

ADMIN = Caller(account="acme", user="admin", email="admin@acme.example", role=Role.ADMIN, key_id="key_1")
MODEL = "accounts/fireworks/models/all-minilm-l6-v2"
PRICE_NANOS = 8
TOKENS = 10
COST_NANOS = PRICE_NANOS * TOKENS


def demand(number: int = 0, **changes: object) -> Demand:
    made = Demand(f"request-{number}", ADMIN, MODEL, PRICE_NANOS, Annotations(team="search"))
    return replace(made, **changes)  # type: ignore[arg-type]


async def call(platform: Platform, asked: Demand, tokens: int = TOKENS) -> str:
    """Make one call as the inference plane makes it; return what came of it."""
    try:
        async with platform.gateway.meter.open(asked) as tab:
            await tab.reserve([tokens])
            await asyncio.sleep(0)
            await tab.settle()
    except SuspendedError:
        return "suspended"
    return "answered"


async def set_up(platform: Platform, *, credit_nanos: int = 0, billing: Billing = Billing.PREPAID) -> None:
    await platform.add_account("acme")
    async with platform.database.writing() as db:
        await db.execute(update(AccountRow).where(AccountRow.id == "acme").values(billing=billing))
        if credit_nanos:
            await post(db, "test", CURRENCY, {credit_of("acme"): credit_nanos, GRANTED_CREDIT: -credit_nanos})


async def charged(platform: Platform) -> tuple[int, int]:
    """Return the number of calls that were charged, and what they cost, once all sums agree."""
    sums = await sums_of(platform.database)
    return sums.num_calls, sums.cost_nanos


async def test_call_is_charged_to_credit_first_and_then_on_account(platform: Platform) -> None:
    await set_up(platform, credit_nanos=COST_NANOS + 30, billing=Billing.POSTPAID)
    assert [await call(platform, demand(number)) for number in range(2)] == ["answered"] * 2
    assert await charged(platform) == (2, 2 * COST_NANOS)
    async with platform.database.reading() as db:
        assert await balance(db, credit_of("acme"), CURRENCY) == 0
        assert await balance(db, receivable_of("acme"), CURRENCY) == 30 - COST_NANOS


async def test_credit_for_so_many_calls_pays_exactly_so_many_whoever_comes_together(platform: Platform) -> None:
    await set_up(platform, credit_nanos=100 * COST_NANOS + COST_NANOS - 1)
    turn = asyncio.Semaphore(64)

    async def one(number: int) -> str:
        async with turn:
            return await call(platform, demand(number))

    outcomes = Counter(await asyncio.gather(*(one(number) for number in range(250))))
    assert outcomes == {"answered": 100, "suspended": 150}
    assert await charged(platform) == (100, 100 * COST_NANOS)
    async with platform.database.reading() as db:
        assert await balance(db, credit_of("acme"), CURRENCY) == COST_NANOS - 1


async def test_two_servers_spend_no_credit_twice(platform: Platform, database_url: str) -> None:
    await set_up(platform, credit_nanos=50 * COST_NANOS)
    other_database = Database.open(database_url)
    other = Platform(other_database)
    outcomes = Counter(
        await asyncio.gather(*(call((platform, other)[number % 2], demand(number)) for number in range(120)))
    )
    assert outcomes == {"answered": 50, "suspended": 70}
    assert await charged(platform) == (50, 50 * COST_NANOS)
    await other.close()
    await other_database.close()


async def test_monthly_limit_is_never_exceeded(platform: Platform) -> None:
    await set_up(platform, billing=Billing.POSTPAID)
    tokens = NANOS_PER_UNIT // PRICE_NANOS // 4 + 1  # a little more than a quarter of a dollar
    async with platform.database.writing() as db:
        db.add(QuotaRow(account_id="acme", id="monthly-spend-usd", value=1, max_value=1, update_time=now()))
    outcomes = Counter(await asyncio.gather(*(call(platform, demand(number), tokens) for number in range(8))))
    assert outcomes == {"answered": 3, "suspended": 5}
    await charged(platform)


async def test_call_that_fails_or_whose_client_leaves_costs_nothing(platform: Platform) -> None:
    await set_up(platform, credit_nanos=COST_NANOS)

    async def fail() -> None:
        async with platform.gateway.meter.open(demand()) as tab:
            await tab.reserve([TOKENS])
            raise RuntimeError

    async def leave() -> None:
        async with platform.gateway.meter.open(demand()) as tab:
            await tab.reserve([TOKENS])
            await asyncio.sleep(60)

    with pytest.raises(RuntimeError):
        await fail()
    task = asyncio.create_task(leave())
    await asyncio.sleep(0.05)
    assert await call(platform, demand()) == "suspended"  # it is set aside
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await call(platform, demand()) == "answered"
    assert await charged(platform) == (1, COST_NANOS)


async def test_client_that_leaves_while_it_is_charged_is_charged(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    await set_up(platform, credit_nanos=2 * COST_NANOS)
    writing, write = asyncio.Event(), Database.write

    async def slow(*arguments: Any) -> Any:
        writing.set()
        return await write(*arguments)

    monkeypatch.setattr(Database, "write", slow)
    task = asyncio.create_task(call(platform, demand()))
    await writing.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await platform.gateway.meter.close()
    assert await charged(platform) == (1, COST_NANOS)
    assert [await call(platform, demand(number)) for number in (1, 2)] == ["answered", "suspended"]


async def test_repeated_call_is_answered_again_and_charged_once(platform: Platform) -> None:
    await set_up(platform, credit_nanos=10 * COST_NANOS)
    named = {"idempotency_key": "mine", "request_digest": b"a" * 32}
    outcomes = await asyncio.gather(*(call(platform, demand(number, **named)) for number in range(5)))
    assert outcomes == ["answered"] * 5
    assert await charged(platform) == (1, COST_NANOS)
    with pytest.raises(InvalidRequestError, match="another request"):
        await call(platform, demand(9, idempotency_key="mine", request_digest=b"b" * 32))
    assert await charged(platform) == (1, COST_NANOS)


async def test_charge_that_cannot_be_written_is_no_charge(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    await set_up(platform, credit_nanos=COST_NANOS)

    async def fail(*_: object) -> None:
        raise UnavailableError

    with monkeypatch.context() as broken:
        broken.setattr(Database, "write", fail)
        with pytest.raises(UnavailableError):
            await call(platform, demand())
    assert await call(platform, demand()) == "answered"
    assert await charged(platform) == (1, COST_NANOS)


async def test_free_calls_are_counted_and_move_no_money(platform: Platform) -> None:
    await set_up(platform, billing=Billing.POSTPAID)
    assert await call(platform, demand(list_price_nanos=0)) == "answered"
    assert await charged(platform) == (1, 0)
    async with platform.database.reading() as db:
        assert await db.scalar(select(func.count()).select_from(PostingRow)) == 0


async def test_answer_may_leave_before_its_charge_is_written(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    await set_up(platform, credit_nanos=2 * COST_NANOS)
    monkeypatch.setattr(platform.gateway.meter, "_answers_first", True)
    may_write, write = asyncio.Event(), Database.write

    async def held_up(*arguments: Any) -> Any:
        await may_write.wait()
        return await write(*arguments)

    monkeypatch.setattr(Database, "write", held_up)
    outcomes = [await call(platform, demand(number)) for number in range(3)]
    assert outcomes == ["answered", "answered", "suspended"]  # what is not written yet is set aside
    assert await charged(platform) == (0, 0)
    may_write.set()
    await platform.gateway.meter.close()
    assert await charged(platform) == (2, 2 * COST_NANOS)


async def test_repeated_call_with_other_annotations_leaves_no_gap_for_the_next(platform: Platform) -> None:
    await set_up(platform, credit_nanos=10 * COST_NANOS)
    named = {"idempotency_key": "mine", "request_digest": b"a" * 32}
    other = Annotations(team="other")
    assert await call(platform, demand(0, **named)) == "answered"
    assert await call(platform, demand(1, annotations=other, **named)) == "answered"  # charged before: not written
    assert await call(platform, demand(2, annotations=other)) == "answered"
    assert await charged(platform) == (2, 2 * COST_NANOS)


async def test_account_whose_first_charge_was_refused_is_served_once_it_has_credit(
    platform: Platform, database_url: str
) -> None:
    await set_up(platform, credit_nanos=COST_NANOS)
    other_database = Database.open(database_url)
    other = Platform(other_database)
    async with platform.gateway.meter.open(demand(0, annotations=Annotations(team="other"))) as tab:
        await tab.reserve([TOKENS])
        assert await call(other, demand(1)) == "answered"  # meanwhile, by another server: the credit is gone
        with pytest.raises(SuspendedError):
            await tab.settle()
    async with platform.database.writing() as db:
        await post(db, "test", CURRENCY, {credit_of("acme"): COST_NANOS, GRANTED_CREDIT: -COST_NANOS})
    platform.gateway.meter.forget()
    assert await call(platform, demand(2, annotations=Annotations(team="other"))) == "answered"
    assert await charged(platform) == (2, 2 * COST_NANOS)
    await other.close()
    await other_database.close()


async def test_key_is_held_to_its_body_also_where_answers_leave_first(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    await set_up(platform, credit_nanos=10 * COST_NANOS)
    monkeypatch.setattr(platform.gateway.meter, "_answers_first", True)
    assert await call(platform, demand(0, idempotency_key="mine", request_digest=b"a" * 32)) == "answered"
    with pytest.raises(InvalidRequestError, match="another request"):
        await call(platform, demand(1, idempotency_key="mine", request_digest=b"b" * 32))


async def test_call_that_was_charged_is_answered_again_though_nothing_is_left(platform: Platform) -> None:
    await set_up(platform, credit_nanos=COST_NANOS)
    named = {"idempotency_key": "mine", "request_digest": b"a" * 32}
    assert await call(platform, demand(0, **named)) == "answered"
    assert await call(platform, demand(1)) == "suspended"
    assert await call(platform, demand(2, **named)) == "answered"
    with pytest.raises(InvalidRequestError, match="another request"):
        await call(platform, demand(3, idempotency_key="mine", request_digest=b"b" * 32))
    async with platform.database.writing() as db:
        await db.execute(update(AccountRow).values(suspend_state=SuspendState.BLOCKED_BY_ABUSE_RULE))
    platform.gateway.meter.forget()
    assert await call(platform, demand(4, **named)) == "suspended"
    assert await charged(platform) == (1, COST_NANOS)


async def test_change_that_comes_during_a_look_up_is_not_undone_by_it(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    await set_up(platform, credit_nanos=COST_NANOS)
    assert await call(platform, demand(0)) == "answered"  # that was all
    platform.gateway.meter.forget()
    has_read, may_return, read = asyncio.Event(), asyncio.Event(), terms._read

    async def held_up(*arguments: Any) -> Any:
        found = await read(*arguments)
        has_read.set()
        await may_return.wait()
        return found

    with monkeypatch.context() as slow:
        slow.setattr(terms, "_read", held_up)
        early = asyncio.create_task(call(platform, demand(1)))
        await has_read.wait()
    async with platform.database.writing() as db:
        await post(db, "test", CURRENCY, {credit_of("acme"): 2 * COST_NANOS, GRANTED_CREDIT: -2 * COST_NANOS})
    platform.gateway.meter.forget()
    assert await call(platform, demand(2)) == "answered"
    may_return.set()
    assert await early == "answered"  # what it read is older than what is known
    assert await charged(platform) == (3, 3 * COST_NANOS)
